/**
 * The inner loops of the erasure code, in AssemblyScript. `npm run build:kernel` compiles this file to WebAssembly and
 * writes it, as text, to kernel_bytes.ts; a test rebuilds it and compares. The project's tsc and linter leave it alone.
 *
 * A product in GF(2^8) with a fixed factor is linear, so it is the sum of two look-ups of 16 entries each, one for the low
 * and one for the high four bits of a byte: a swizzle looks up sixteen bytes at once (Plank, Greenan, Miller, "Screaming
 * fast Galois field arithmetic using Intel SIMD instructions", FAST 2013). `relaxed_swizzle` leaves open what indices above
 * 15 give, and there are none here; it is one machine instruction where the strict one is two.
 *
 * The memory is: tables[8 rows][16 inputs][two times 16 bytes], then 24 slots for one block of each shard, inputs first,
 * outputs right after them. Several rows are computed in one pass over the inputs, since splitting the bytes of an input
 * into halves costs as much as a row. Lengths are rounded up to whole vectors: what is computed beyond the end of a block
 * lands in the gap after its slot.
 */

export const blockBytes: i32 = 16 * 1024;
export const tablesAt: i32 = 1024;
export const tableBytes: i32 = 32;
export const rowBytes: i32 = 16 * tableBytes;
export const slotsAt: i32 = tablesAt + 8 * rowBytes;
/** A little more than a block, so that the same position of all shards does not fall into the same set of the cache. */
export const slotBytes: i32 = blockBytes + 192;

/** What a vector's bytes give, split into halves, with the two tables at `table`. */
function product(table: usize, low: v128, high: v128): v128 {
  return v128.xor(i8x16.relaxed_swizzle(v128.load(table), low), i8x16.relaxed_swizzle(v128.load(table, 16), high));
}

function lowHalves(bytes: v128): v128 {
  return v128.and(bytes, i8x16.splat(15));
}

function highHalves(bytes: v128): v128 {
  return v128.and(i16x8.shr_u(bytes, 4), i8x16.splat(15));
}

function oneRow(inputs: i32, tables: usize, output: usize, length: usize): void {
  for (let at: usize = 0; at < length; at += 16) {
    let a = i64x2.splat(0);
    let table = tables;
    let slot = <usize>slotsAt + at;
    for (let input = 0; input < inputs; input++) {
      const bytes = v128.load(slot);
      a = v128.xor(a, product(table, lowHalves(bytes), highHalves(bytes)));
      table += tableBytes;
      slot += slotBytes;
    }
    v128.store(output + at, a);
  }
}

function twoRows(inputs: i32, tables: usize, output: usize, length: usize): void {
  for (let at: usize = 0; at < length; at += 16) {
    let a = i64x2.splat(0);
    let b = a;
    let table = tables;
    let slot = <usize>slotsAt + at;
    for (let input = 0; input < inputs; input++) {
      const bytes = v128.load(slot);
      const low = lowHalves(bytes);
      const high = highHalves(bytes);
      a = v128.xor(a, product(table, low, high));
      b = v128.xor(b, product(table + rowBytes, low, high));
      table += tableBytes;
      slot += slotBytes;
    }
    v128.store(output + at, a);
    v128.store(output + at + slotBytes, b);
  }
}

function threeRows(inputs: i32, tables: usize, output: usize, length: usize): void {
  for (let at: usize = 0; at < length; at += 16) {
    let a = i64x2.splat(0);
    let b = a;
    let c = a;
    let table = tables;
    let slot = <usize>slotsAt + at;
    for (let input = 0; input < inputs; input++) {
      const bytes = v128.load(slot);
      const low = lowHalves(bytes);
      const high = highHalves(bytes);
      a = v128.xor(a, product(table, low, high));
      b = v128.xor(b, product(table + rowBytes, low, high));
      c = v128.xor(c, product(table + 2 * rowBytes, low, high));
      table += tableBytes;
      slot += slotBytes;
    }
    v128.store(output + at, a);
    v128.store(output + at + slotBytes, b);
    v128.store(output + at + 2 * slotBytes, c);
  }
}

function fourRows(inputs: i32, tables: usize, output: usize, length: usize): void {
  for (let at: usize = 0; at < length; at += 16) {
    let a = i64x2.splat(0);
    let b = a;
    let c = a;
    let d = a;
    let table = tables;
    let slot = <usize>slotsAt + at;
    for (let input = 0; input < inputs; input++) {
      const bytes = v128.load(slot);
      const low = lowHalves(bytes);
      const high = highHalves(bytes);
      a = v128.xor(a, product(table, low, high));
      b = v128.xor(b, product(table + rowBytes, low, high));
      c = v128.xor(c, product(table + 2 * rowBytes, low, high));
      d = v128.xor(d, product(table + 3 * rowBytes, low, high));
      table += tableBytes;
      slot += slotBytes;
    }
    v128.store(output + at, a);
    v128.store(output + at + slotBytes, b);
    v128.store(output + at + 2 * slotBytes, c);
    v128.store(output + at + 3 * slotBytes, d);
  }
}

/** Outputs 0 to `rows` - 1: each the sum of all inputs, multiplied as the row's tables say. */
export function multiply(inputs: i32, rows: i32, length: i32): void {
  for (let row = 0; row < rows;) {
    const count = min(rows - row, 4);
    const tables: usize = tablesAt + row * rowBytes;
    const output: usize = slotsAt + (inputs + row) * slotBytes;
    if (count === 4) fourRows(inputs, tables, output, length);
    else if (count === 3) threeRows(inputs, tables, output, length);
    else if (count === 2) twoRows(inputs, tables, output, length);
    else oneRow(inputs, tables, output, length);
    row += count;
  }
}

/** One output: the plain sum of all inputs, many times faster than with tables. */
export function sum(inputs: i32, output: i32, length: i32): void {
  const end: usize = slotsAt + length;
  let to: usize = slotsAt + (inputs + output) * slotBytes;
  for (let from: usize = slotsAt; from < end; from += 64) {
    let slot = from;
    let a = v128.load(slot);
    let b = v128.load(slot, 16);
    let c = v128.load(slot, 32);
    let d = v128.load(slot, 48);
    for (let input = 1; input < inputs; input++) {
      slot += slotBytes;
      a = v128.xor(a, v128.load(slot));
      b = v128.xor(b, v128.load(slot, 16));
      c = v128.xor(c, v128.load(slot, 32));
      d = v128.xor(d, v128.load(slot, 48));
    }
    v128.store(to, a);
    v128.store(to, b, 16);
    v128.store(to, c, 32);
    v128.store(to, d, 48);
    to += 64;
  }
}

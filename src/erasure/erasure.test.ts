import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import * as fc from "fast-check";
import { limits } from "../core/limits.ts";
import { shardsOf, type Redundancy } from "../core/redundancy.ts";
import { seededRandom } from "../core/random.ts";
import { encode, reconstruct } from "./erasure.ts";
import { openKernel } from "./kernel.ts";
import { parityMatrix, type Matrix } from "./matrix.ts";
import { multiplyPlain } from "./plain.ts";
import { transformOf } from "./transform.ts";

const kernel = openKernel();
const codes: Redundancy[] = Array.from({ length: 15 * 8 }, (_, index) => ({
  dataShards: 2 + Math.floor(index / 8),
  parityShards: 1 + (index % 8),
}));
const anyCode = fc.constantFrom(...codes);
/** Around whole vectors and whole blocks, where the kernel changes its step. */
const anyLength = fc.oneof(
  fc.integer({ min: 1, max: 300 }),
  fc.integer({ min: 16_300, max: 16_500 }),
  fc.integer({ min: 1, max: 50_000 }),
);
const anySeed = fc.nat(2 ** 31);

/** As many buffers of random bytes, each beginning at an odd place of its own. */
function randomShards(count: number, lengthBytes: number, seed: number): Uint8Array[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, (_, index) => random.bytes(lengthBytes + index).subarray(index));
}

function empty(count: number, lengthBytes: number): Uint8Array[] {
  return Array.from({ length: count }, () => new Uint8Array(lengthBytes).fill(0xa5));
}

/** All shards, the parity computed by the plain implementation. */
function encodedPlain(code: Redundancy, lengthBytes: number, seed: number): Uint8Array[] {
  const data = randomShards(code.dataShards, lengthBytes, seed);
  const parity = empty(code.parityShards, lengthBytes);
  multiplyPlain(parityMatrix(code), data, parity);
  return [...data, ...parity];
}

/** By comparing bytes: deepEqual would spend minutes on showing how two large buffers differ. */
function assertSame(found: readonly Uint8Array[], expected: readonly Uint8Array[], what: string): void {
  assert.equal(found.length, expected.length);
  for (const [index, bytes] of found.entries())
    assert.ok(Buffer.compare(bytes, expected[index]!) === 0, `${what}, ${index}`);
}

function without(shards: readonly Uint8Array[], lost: readonly number[]): (Uint8Array | undefined)[] {
  return shards.map((shard, index) => (lost.includes(index) ? undefined : shard));
}

function assertReconstructs(code: Redundancy, shards: readonly Uint8Array[], lost: readonly number[]): void {
  const out = empty(lost.length, shards[0]!.length);
  reconstruct(code, without(shards, lost), lost, out);
  assertSame(
    out,
    lost.map((index) => shards[index]!),
    `of those lost: ${lost.join()}`,
  );
}

/** A random choice of `count` of the code's shards, in random order. */
function chosen(code: Redundancy, count: number, seed: number): number[] {
  const ranks = Buffer.from(seededRandom(seed).bytes(4 * shardsOf(code)));
  return Array.from({ length: shardsOf(code) }, (_, index) => index)
    .toSorted((a, b) => ranks.readUInt32LE(4 * a) - ranks.readUInt32LE(4 * b))
    .slice(0, count);
}

void test("the kernel opens on what runs the tests", () => {
  assert.ok(kernel !== undefined);
});

void test("the kernel computes what plain TypeScript does, for any matrix", () => {
  const anyMatrix = fc
    .record({ inputs: fc.integer({ min: 2, max: 16 }), rows: fc.integer({ min: 1, max: 8 }) })
    .chain(({ inputs, rows }) =>
      fc.array(
        fc.oneof(
          { weight: 4, arbitrary: fc.uint8Array({ minLength: inputs, maxLength: inputs }) },
          { weight: 1, arbitrary: fc.constant(new Uint8Array(inputs).fill(1)) },
          { weight: 1, arbitrary: fc.uint8Array({ minLength: inputs, maxLength: inputs, max: 1 }) },
        ),
        { minLength: rows, maxLength: rows },
      ),
    );
  fc.assert(
    fc.property(anyMatrix, anyLength, anySeed, (matrix: Matrix, lengthBytes, seed) => {
      const inputs = randomShards(matrix[0]!.length, lengthBytes, seed);
      const [found, expected] = [empty(matrix.length, lengthBytes), empty(matrix.length, lengthBytes)];
      kernel!.multiply(transformOf(matrix), inputs, found);
      multiplyPlain(matrix, inputs, expected);
      assertSame(found, expected, "row");
    }),
    { numRuns: 200 },
  );
});

void test("every code within the bounds encodes as the plain implementation does, and bears the loss of any m", () => {
  for (const [index, code] of codes.entries()) {
    const lengthBytes = 1 + ((index * 37) % 200);
    const shards = encodedPlain(code, lengthBytes, index);
    const parity = empty(code.parityShards, lengthBytes);
    encode(code, shards.slice(0, code.dataShards), parity);
    assertSame(parity, shards.slice(code.dataShards), "parity");
    assertReconstructs(code, shards, chosen(code, code.parityShards, index));
  }
});

void test("small codes: every set of lost shards that can be borne", () => {
  for (const code of codes.filter((code) => shardsOf(code) <= 8)) {
    const shards = encodedPlain(code, 35, shardsOf(code));
    for (let mask = 1; mask < 2 ** shardsOf(code); mask++) {
      const lost = shards.flatMap((_, index) => ((mask >> index) & 1 ? [index] : []));
      if (lost.length <= code.parityShards) assertReconstructs(code, shards, lost);
    }
  }
});

void test("any code, length and loss: what is wanted comes back, whatever else is missing, in the order asked for", () => {
  fc.assert(
    fc.property(anyCode, anyLength, anySeed, fc.nat(7), fc.nat(7), (code, lengthBytes, seed, losses, wishes) => {
      const shards = encodedPlain(code, lengthBytes, seed);
      const lost = chosen(code, 1 + (losses % code.parityShards), seed);
      const wanted = lost.slice(0, 1 + (wishes % lost.length));
      const out = empty(wanted.length, lengthBytes);
      reconstruct(code, without(shards, lost), wanted, out);
      assertSame(
        out,
        wanted.map((index) => shards[index]!),
        `wanted: ${wanted.join()}`,
      );
    }),
  );
});

void test("a range of the shards gives that range of the missing ones", () => {
  fc.assert(
    fc.property(anyCode, anyLength, anySeed, fc.nat(), fc.nat(), (code, lengthBytes, seed, a, b) => {
      const from = a % lengthBytes;
      const to = from + 1 + (b % (lengthBytes - from));
      const shards = encodedPlain(code, lengthBytes, seed).map((shard) => shard.subarray(from, to));
      assertReconstructs(code, shards, chosen(code, code.parityShards, seed));
    }),
  );
});

void test("nothing beside the outputs is written, and the inputs stay", () => {
  fc.assert(
    fc.property(anyCode, anyLength, anySeed, (code, lengthBytes, seed) => {
      const room = new Uint8Array(shardsOf(code) * (lengthBytes + 2)).fill(0x5a);
      const shards = Array.from({ length: shardsOf(code) }, (_, index) =>
        room.subarray(index * (lengthBytes + 2) + 1, (index + 1) * (lengthBytes + 2) - 1),
      );
      const expected = encodedPlain(code, lengthBytes, seed);
      for (let index = 0; index < code.dataShards; index++) shards[index]!.set(expected[index]!);
      encode(code, shards.slice(0, code.dataShards), shards.slice(code.dataShards));
      const gap = Buffer.of(0x5a);
      const whole = Buffer.concat(expected.flatMap((shard) => [gap, shard, gap]));
      assert.ok(Buffer.compare(room, whole) === 0);
    }),
    { numRuns: 50 },
  );
});

void test("more patterns of losses than are remembered", () => {
  const code = { dataShards: 8, parityShards: 4 };
  const shards = encodedPlain(code, 3, 7);
  const patterns = Array.from({ length: limits.erasureMatricesMax + 50 }, (_, seed) => chosen(code, 4, seed));
  for (const lost of [...patterns, ...patterns.slice(0, 50)]) assertReconstructs(code, shards, lost);
});

void test("what breaks the contract is asserted", () => {
  const code = { dataShards: 2, parityShards: 2 };
  const [a, b, p, q] = encodedPlain(code, 20, 1) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  const out = new Uint8Array(20);
  const short = new Uint8Array(19);
  const none = new Uint8Array(0);
  const thrown: [RegExp, () => void][] = [
    [/within its bounds/, () => encode({ dataShards: 1, parityShards: 2 }, [a], [p, q])],
    [/within its bounds/, () => encode({ dataShards: 2, parityShards: 0 }, [a, b], [])],
    [/within its bounds/, () => encode({ dataShards: 17, parityShards: 1 }, [a, b], [p])],
    [/all data shards/, () => encode(code, [a], [p, q])],
    [/every parity shard/, () => encode(code, [a, b], [p])],
    [/same length/, () => encode(code, [a, short], [p, q])],
    [/same length/, () => encode(code, [a, b], [p, short])],
    [/has bytes/, () => encode(code, [none, none], [none, none])],
    [/lies apart/, () => encode(code, [a, b], [p, p])],
    [/lies apart/, () => encode(code, [a, b], [p, b])],
    [/every shard of the code/, () => reconstruct(code, [a, b, p], [0], [out])],
    [/as many shards are there/, () => reconstruct(code, [a, undefined, undefined, undefined], [1], [out])],
    [/that is missing/, () => reconstruct(code, [a, undefined, p, q], [0], [out])],
    [/that is missing/, () => reconstruct(code, [a, undefined, p, q], [4], [out])],
    [/place to go to/, () => reconstruct(code, [a, undefined, p, q], [], [])],
    [/place to go to/, () => reconstruct(code, [undefined, undefined, p, q], [0, 1], [out])],
    [/wanted twice/, () => reconstruct(code, [a, undefined, p, q], [1, 1], [out, short])],
    [/same length/, () => reconstruct(code, [a, undefined, p, q], [1], [short])],
  ];
  for (const [message, call] of thrown) assert.throws(call, { name: "AssertionError", message });
});

void test("without WebAssembly, or without its relaxed SIMD, plain TypeScript does the same", () => {
  assert.equal(openKernel(Buffer.from("not a module")), undefined);
  const front = new URL("./erasure.ts", import.meta.url).href;
  const program = `
    await import(${JSON.stringify(new URL("../core/assert.ts", import.meta.url).href)});
    delete globalThis.WebAssembly;
    const { encode, reconstruct } = await import(${JSON.stringify(front)});
    const code = { dataShards: 2, parityShards: 2 };
    const [data, parity, out] = [[Uint8Array.of(1, 2), Uint8Array.of(3, 4)], [new Uint8Array(2), new Uint8Array(2)], new Uint8Array(2)];
    encode(code, data, parity);
    reconstruct(code, [undefined, undefined, ...parity], [1], [out]);
    console.log(JSON.stringify([typeof WebAssembly, parity.map((shard) => [...shard]), [...out]]));`;
  const printed = execFileSync(process.execPath, ["--input-type=module", "--eval", program]).toString();
  const parity = empty(2, 2);
  encode({ dataShards: 2, parityShards: 2 }, [Uint8Array.of(1, 2), Uint8Array.of(3, 4)], parity);
  assert.deepEqual(JSON.parse(printed), ["undefined", parity.map((shard) => [...shard]), [3, 4]]);
});

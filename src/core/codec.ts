/**
 * The byte codec that every persisted record uses: little pieces, no schema language, strict on reading.
 * A record that ends early or goes on after its end is corrupt (`corrupt_record`), never silently accepted.
 */
import { assert } from "./assert.ts";
import { HoldfastError } from "./errors.ts";

const scratchBytes = 64 * 1024;
const scratch = Buffer.allocUnsafeSlow(scratchBytes);
const nothing = new Uint8Array(0);

/**
 * Writes a record front to back. `finish` returns a fresh copy. Writers are not nested: each record is written in one
 * synchronous go, which lets all of them share one scratch buffer (a larger record moves to a buffer of its own).
 */
export class ByteWriter {
  #buffer: Buffer = scratch;
  #length = 0;

  #reserve(extra: number): void {
    const needed = this.#length + extra;
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }

  u8(value: number): this {
    assert(value >= 0 && value <= 0xff, "u8 out of range");
    this.#reserve(1);
    this.#buffer[this.#length++] = value;
    return this;
  }

  u32(value: number): this {
    this.#reserve(4);
    this.#length = this.#buffer.writeUInt32BE(value, this.#length);
    return this;
  }

  /** A whole number in [0, 2^53), seven bits a byte, least significant first. */
  varint(value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, "varint takes a whole number from 0 to 2^53 - 1");
    this.#reserve(8);
    let rest = value;
    while (rest > 0x7f) {
      this.#buffer[this.#length++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    this.#buffer[this.#length++] = rest;
    return this;
  }

  /** Bytes of a length the reader knows. */
  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  /** An id or digest given in hex; the reader knows how many bytes it has. */
  hex(text: string): this {
    this.#reserve(text.length >>> 1);
    this.#length += this.#buffer.write(text, this.#length, "hex");
    return this;
  }

  bytes(bytes: Uint8Array): this {
    return this.varint(bytes.length).raw(bytes);
  }

  string(text: string): this {
    const lengthBytes = Buffer.byteLength(text);
    this.varint(lengthBytes).#reserve(lengthBytes);
    this.#length += this.#buffer.write(text, this.#length, "utf8");
    return this;
  }

  /** `rest`: raw bytes behind the record, which are not copied twice. */
  finish(rest: Uint8Array = nothing): Buffer {
    const out = Buffer.allocUnsafeSlow(this.#length + rest.length);
    this.#buffer.copy(out, 0, 0, this.#length);
    out.set(rest, this.#length);
    return out;
  }
}

export class ByteReader {
  readonly #buffer: Buffer;
  readonly #what: string;
  #offset = 0;

  /** `what` names the record in errors. */
  constructor(bytes: Uint8Array, what: string) {
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }

  #take(length: number): number {
    const start = this.#offset;
    if (length > this.#buffer.length - start) throw this.corrupt("it ends too early");
    this.#offset = start + length;
    return start;
  }

  corrupt(why: string): HoldfastError {
    return new HoldfastError("corrupt_record", `The ${this.#what} record is corrupt: ${why}.`);
  }

  get isAtEnd(): boolean {
    return this.#offset === this.#buffer.length;
  }

  u8(): number {
    return this.#buffer[this.#take(1)]!;
  }

  u32(): number {
    return this.#buffer.readUInt32BE(this.#take(4));
  }

  varint(): number {
    let value = 0;
    let factor = 1;
    for (let index = 0; index < 8; index++) {
      const byte = this.u8();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) throw this.corrupt("a number is too large");
        return value;
      }
      factor *= 128;
    }
    throw this.corrupt("a number is too long");
  }

  /** A view, not a copy. */
  raw(length: number): Buffer {
    const start = this.#take(length);
    return this.#buffer.subarray(start, start + length);
  }

  hex(lengthBytes: number): string {
    const start = this.#take(lengthBytes);
    return this.#buffer.toString("hex", start, start + lengthBytes);
  }

  bytes(): Buffer {
    return this.raw(this.varint());
  }

  string(): string {
    const length = this.varint();
    const start = this.#take(length);
    return this.#buffer.toString("utf8", start, start + length);
  }

  /** Reads the format version and refuses one this build does not know. */
  version(known: number): number {
    const version = this.u8();
    if (version < 1 || version > known)
      throw this.corrupt(`format version ${version} is not known (newest is ${known})`);
    return version;
  }

  end(): void {
    if (this.#offset !== this.#buffer.length) throw this.corrupt("it goes on after its end");
  }
}

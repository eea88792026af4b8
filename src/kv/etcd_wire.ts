/**
 * The few messages of etcd's public API (etcdserverpb/rpc.proto, mvccpb/kv.proto) that the driver speaks, in protobuf's
 * wire format (protobuf.dev/programming-guides/encoding). Field numbers are etcd's and never change.
 *
 * Requests are written from their end to their start: the length of a nested message is known then when it is needed, so
 * nothing is measured beforehand or copied afterwards. Lists are therefore written last element first.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { absent } from "./kv.ts";
import type { Key, Version } from "./kv.ts";

/** `mod_revision` of the key equals the version. */
export type Compare = { readonly key: Key; readonly version: Version };

export type RangeRequest = {
  readonly key: Key;
  /** Excluded; left out for the one key. */
  readonly end?: Key;
  readonly limit?: number;
  readonly reverse?: boolean;
  readonly keysOnly?: boolean;
  /** Reads that state of the store instead of the newest one. */
  readonly revision?: number;
};

export type Operation =
  | { readonly kind: "range"; readonly range: RangeRequest }
  | { readonly kind: "put"; readonly key: Key; readonly value: Uint8Array }
  | { readonly kind: "delete"; readonly key: Key }
  | { readonly kind: "txn"; readonly txn: TxnRequest };

export type TxnRequest = {
  readonly compares: readonly Compare[];
  readonly success: readonly Operation[];
  readonly failure: readonly Operation[];
};

export type Row = { readonly key: Buffer; readonly value: Buffer; readonly version: Version };

export type OperationResult =
  | { readonly kind: "rows"; readonly rows: readonly Row[] }
  | { readonly kind: "txn"; readonly txn: TxnResult }
  | { readonly kind: "done" };

/** `revision`: what the outermost transaction made of the store; 0 in a nested one. */
export type TxnResult = {
  readonly revision: number;
  readonly succeeded: boolean;
  readonly results: readonly OperationResult[];
};

const wireVarint = 0;
const wireBytes = 2;

/** Fills a buffer from its end. */
export class WireWriter {
  #buffer = Buffer.allocUnsafe(4_096);
  #start = this.#buffer.length;

  get bytesWritten(): number {
    return this.#buffer.length - this.#start;
  }

  /** The message, behind `headBytes` bytes of the caller's. */
  finish(headBytes: number): Buffer {
    this.#reserve(headBytes);
    return this.#buffer.subarray(this.#start - headBytes);
  }

  varint(field: number, value: number): void {
    this.#number(value);
    this.#number(field * 8 + wireVarint);
  }

  bytes(field: number, ...pieces: readonly Uint8Array[]): void {
    let length = 0;
    for (let index = pieces.length - 1; index >= 0; index--) {
      const piece = pieces[index]!;
      this.#reserve(piece.length);
      this.#start -= piece.length;
      this.#buffer.set(piece, this.#start);
      length += piece.length;
    }
    this.#number(length);
    this.#number(field * 8 + wireBytes);
  }

  message(field: number, write: () => void): void {
    const endsBefore = this.#buffer.length - this.#start;
    write();
    this.#number(this.#buffer.length - this.#start - endsBefore);
    this.#number(field * 8 + wireBytes);
  }

  #number(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, "a number on the wire is whole and not negative");
    let length = 1;
    for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) length += 1;
    this.#reserve(length);
    this.#start -= length;
    let rest = value;
    for (let at = this.#start; at < this.#start + length - 1; at++) {
      this.#buffer[at] = (rest % 128) + 128;
      rest = Math.floor(rest / 128);
    }
    this.#buffer[this.#start + length - 1] = rest;
  }

  #reserve(bytes: number): void {
    if (this.#start >= bytes) return;
    const used = this.#buffer.length - this.#start;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, used + bytes + 4_096));
    this.#buffer.copy(larger, larger.length - used, this.#start);
    this.#start = larger.length - used;
    this.#buffer = larger;
  }
}

/** Every key of the request gets the prefix before it. */
export function writeTxn(writer: WireWriter, prefix: Uint8Array, { compares, success, failure }: TxnRequest): void {
  for (const each of failure.toReversed()) writeOperation(writer, prefix, 3, each);
  for (const each of success.toReversed()) writeOperation(writer, prefix, 2, each);
  for (const { key, version } of compares.toReversed()) {
    writer.message(1, () => {
      writer.varint(6, version);
      writer.bytes(3, prefix, key);
      // Target MOD; the result EQUAL is 0 and so left out.
      writer.varint(2, 2);
    });
  }
}

/** As one of a transaction's operations: `field` 2 if its compares hold, 3 if not. */
export function writeOperation(writer: WireWriter, prefix: Uint8Array, field: number, operation: Operation): void {
  writer.message(field, () => {
    if (operation.kind === "range") return writer.message(1, () => writeRange(writer, prefix, operation.range));
    if (operation.kind === "txn") return writer.message(4, () => writeTxn(writer, prefix, operation.txn));
    if (operation.kind === "delete") return writer.message(3, () => writer.bytes(1, prefix, operation.key));
    writer.message(2, () => {
      writer.bytes(2, operation.value);
      writer.bytes(1, prefix, operation.key);
    });
  });
}

/** Never `serializable`: that would be answered from what a member happens to have. */
export function writeRange(writer: WireWriter, prefix: Uint8Array, range: RangeRequest): void {
  if (range.keysOnly === true) writer.varint(8, 1);
  // Order DESCEND; the target KEY is 0.
  if (range.reverse === true) writer.varint(5, 2);
  if (range.revision !== undefined) writer.varint(4, range.revision);
  if (range.limit !== undefined) writer.varint(3, range.limit);
  if (range.end !== undefined) writer.bytes(2, prefix, range.end);
  writer.bytes(1, prefix, range.key);
}

/** Reads one message; what it does not ask for it skips. */
export class WireReader {
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;
  #wire = wireVarint;

  constructor(bytes: Buffer, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  /** The next field's number, or 0 at the end. Its value is to be read or skipped before the next call. */
  field(): number {
    if (this.#at === this.#end) return 0;
    const tag = this.varint();
    this.#wire = tag % 8;
    return Math.floor(tag / 8);
  }

  varint(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (this.#at >= this.#end || factor > 2 ** 63) throw malformed();
      const byte = this.#bytes[this.#at++]!;
      value += (byte % 128) * factor;
      if (byte < 128) break;
    }
    // Revisions are signed 64-bit; one that a number cannot bear exactly must not pass for another.
    if (!Number.isSafeInteger(value)) throw malformed();
    return value;
  }

  /** A view of the message's own bytes. */
  bytes(): Buffer {
    const { start, end } = this.#span();
    return this.#bytes.subarray(start, end);
  }

  message(): WireReader {
    const { start, end } = this.#span();
    return new WireReader(this.#bytes, start, end);
  }

  skip(): void {
    if (this.#wire === wireBytes) this.#span();
    else if (this.#wire === wireVarint) while (this.#byte() >= 128);
    else throw malformed();
  }

  #byte(): number {
    if (this.#at >= this.#end) throw malformed();
    return this.#bytes[this.#at++]!;
  }

  #span(): { readonly start: number; readonly end: number } {
    const length = this.varint();
    const start = this.#at;
    this.#at += length;
    if (this.#at > this.#end) throw malformed();
    return { start, end: this.#at };
  }
}

export function malformed(): HoldfastError {
  return new HoldfastError("unavailable", "etcd answered what is not its protocol.");
}

/** Keys in the answer have lost the prefix of `prefixBytes` bytes. Rows are views of the answer's bytes. */
export function readTxn(reader: WireReader, prefixBytes: number): TxnResult {
  let [revision, succeeded] = [0, false];
  const results: OperationResult[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) revision = readRevision(reader.message());
    else if (field === 2) succeeded = reader.varint() === 1;
    else if (field === 3) results.push(readResult(reader.message(), prefixBytes));
    else reader.skip();
  }
  return { revision, succeeded, results };
}

function readResult(reader: WireReader, prefixBytes: number): OperationResult {
  let result: OperationResult = { kind: "done" };
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) result = { kind: "rows", rows: readRange(reader.message(), prefixBytes) };
    else if (field === 4) result = { kind: "txn", txn: readTxn(reader.message(), prefixBytes) };
    else reader.skip();
  }
  return result;
}

export function readRange(reader: WireReader, prefixBytes: number): Row[] {
  const rows: Row[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 2) rows.push(readRow(reader.message(), prefixBytes));
    else reader.skip();
  }
  return rows;
}

const noBytes: Buffer = Buffer.alloc(0);

function readRow(reader: WireReader, prefixBytes: number): Row {
  let [key, value, version] = [noBytes, noBytes, absent];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 1) key = reader.bytes().subarray(prefixBytes);
    else if (field === 3) version = reader.varint();
    else if (field === 5) value = reader.bytes();
    else reader.skip();
  }
  if (version === absent) throw malformed();
  return { key, value, version };
}

/** Of an answer's header. */
export function readRevision(reader: WireReader): number {
  let revision = 0;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 3) revision = reader.varint();
    else reader.skip();
  }
  return revision;
}

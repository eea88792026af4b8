import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { AssertionError } from "../core/assert.ts";
import { hasReason } from "../core/errors.ts";
import { readTxn, WireReader, WireWriter, writeTxn } from "./etcd_wire.ts";

const numbers = fc.oneof(fc.nat(300), fc.maxSafeNat(), fc.constantFrom(0, 127, 128, 2 ** 32, Number.MAX_SAFE_INTEGER));

void test("what is written is read, last field first, and in between it can be skipped", () => {
  const property = fc.property(numbers, fc.uint8Array({ maxLength: 9_000 }), numbers, (first, piece, last) => {
    const writer = new WireWriter();
    writer.varint(3, last);
    writer.message(2, () => writer.bytes(16, piece, piece));
    writer.varint(1, first);
    const frame = writer.finish(5);
    assert.equal(writer.bytesWritten, frame.length - 5);
    const reader = new WireReader(frame.subarray(5));
    assert.deepEqual([reader.field(), reader.varint(), reader.field()], [1, first, 2]);
    const nested = reader.message();
    assert.equal(nested.field(), 16);
    assert.ok(nested.bytes().equals(Buffer.concat([piece, piece])));
    assert.deepEqual([nested.field(), reader.field(), reader.varint(), reader.field()], [0, 3, last, 0]);
    const skipping = new WireReader(frame.subarray(5));
    for (let field = 1; field <= 3; field++) {
      assert.equal(skipping.field(), field);
      skipping.skip();
    }
    assert.equal(skipping.field(), 0);
  });
  fc.assert(property);
});

void test("a transaction is the bytes that the protocol says", () => {
  const writer = new WireWriter();
  const key = Buffer.from("k");
  writeTxn(writer, Buffer.from("p"), {
    compares: [{ key, version: 300 }],
    success: [
      { kind: "put", key, value: Buffer.from("v") },
      { kind: "delete", key },
    ],
    failure: [{ kind: "range", range: { key, keysOnly: true } }],
  });
  // Compare { target MOD, key, mod_revision }, then two operations and one, each by its field number and length.
  const compare = "0a09 1002 1a02706b 30ac02";
  const success = "1209 1207 0a02706b 120176 1206 1a04 0a02706b";
  const failure = "1a08 0a06 0a02706b 4001";
  assert.equal(writer.finish(0).toString("hex"), `${compare}${success}${failure}`.replaceAll(" ", ""));
});

void test("a negative number or one beyond 2^53 is not written, and not taken for another when read", () => {
  for (const value of [-1, 0.5, 2 ** 53]) assert.throws(() => new WireWriter().varint(1, value), AssertionError);
  for (const hex of ["08ffffffffffffffffff01", "0880808080808080a001", "08ffffffffffffffffffffffffff01"]) {
    const reader = new WireReader(Buffer.from(hex, "hex"));
    reader.field();
    assert.throws(
      () => reader.varint(),
      (error) => hasReason(error, "unavailable"),
      hex,
    );
  }
});

void test("bytes that are no message are an error and nothing else", () => {
  const property = fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
    try {
      readTxn(new WireReader(Buffer.from(bytes)), 2);
    } catch (error) {
      assert.ok(hasReason(error, "unavailable"), String(error));
    }
  });
  fc.assert(property, { numRuns: 2_000 });
});

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import * as fc from "fast-check";
import { combineCrc, type CrcAlgorithm } from "./combine.ts";
import { RunningDigests, wholeDigests } from "./running.ts";
import type { DigestAlgorithm } from "./digest.ts";

const all: readonly DigestAlgorithm[] = ["md5", "sha1", "sha256", "crc32", "crc32c", "crc64nvme"];
const crcs: readonly CrcAlgorithm[] = ["crc32", "crc32c", "crc64nvme"];

function hex(algorithm: DigestAlgorithm, bytes: Uint8Array): string {
  return wholeDigests([algorithm], bytes)[algorithm]!.toString("hex");
}

/** The definition, bit by bit: slow, and unlike the tables. */
function bitwiseCrc(bytes: Uint8Array, polynomial: bigint, widthBits: bigint): string {
  const ones = (1n << widthBits) - 1n;
  let crc = ones;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ polynomial : crc >> 1n;
  }
  return (crc ^ ones).toString(16).padStart(Number(widthBits) / 4, "0");
}

const body = fc.uint8Array({ maxLength: 300 });

void test("published check values", () => {
  const check = Buffer.from("123456789");
  assert.equal(hex("crc32", check), "cbf43926");
  assert.equal(hex("crc32c", check), "e3069283");
  assert.equal(hex("crc64nvme", check), "ae8b14860a799888");
  // RFC 3720, appendix B.4.
  assert.equal(hex("crc32c", Buffer.alloc(32)), "8a9136aa");
  assert.equal(hex("crc32c", Buffer.alloc(32, 0xff)), "62a8ab43");
  assert.equal(hex("md5", Buffer.alloc(0)), "d41d8cd98f00b204e9800998ecf8427e");
  assert.equal(hex("sha1", Buffer.from("abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
  assert.equal(hex("sha256", Buffer.alloc(0)), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  assert.equal(hex("crc64nvme", Buffer.alloc(0)), "0000000000000000");
});

void test("CRCs are what their definition says, at any alignment", () => {
  fc.assert(
    fc.property(body, fc.nat(9), (bytes, skip) => {
      const view = bytes.subarray(Math.min(skip, bytes.length));
      assert.equal(hex("crc32c", view), bitwiseCrc(view, 0x82f63b78n, 32n));
      assert.equal(hex("crc64nvme", view), bitwiseCrc(view, 0x9a6c9329ac4bc9b5n, 64n));
      assert.equal(hex("crc32", view), crc32(view).toString(16).padStart(8, "0"));
    }),
  );
});

void test("a running digest does not depend on where the bytes are split", () => {
  fc.assert(
    fc.property(fc.array(body, { maxLength: 5 }), (pieces) => {
      const running = new RunningDigests(all);
      for (const piece of pieces) running.update(piece);
      const digests = running.finish();
      const bytes = Buffer.concat(pieces);
      assert.deepEqual(digests, wholeDigests(all, bytes));
      for (const name of ["md5", "sha1", "sha256"] as const)
        assert.deepEqual(digests[name], createHash(name).update(bytes).digest());
    }),
  );
});

void test("combining the CRCs of two pieces gives the CRC of both together", () => {
  fc.assert(
    fc.property(body, body, fc.constantFrom(...crcs), (a, b, algorithm) => {
      const [ofA, ofB, ofBoth] = [a, b, Buffer.concat([a, b])].map(
        (bytes) => wholeDigests([algorithm], bytes)[algorithm]!,
      );
      assert.deepEqual(combineCrc(algorithm, ofA!, ofB!, b.length), ofBoth);
    }),
  );
});

void test("combining is associative for lengths far beyond memory", () => {
  const length = fc.integer({ min: 0, max: 2 ** 43 });
  fc.assert(
    fc.property(
      fc.constantFrom(...crcs),
      fc.uint8Array({ minLength: 24, maxLength: 24 }),
      length,
      length,
      (name, s, lb, lc) => {
        const width = name === "crc64nvme" ? 8 : 4;
        const [a, b, c] = [0, 8, 16].map((at) => Buffer.from(s.subarray(at, at + width)));
        const left = combineCrc(name, combineCrc(name, a!, b!, lb), c!, lc);
        const right = combineCrc(name, a!, combineCrc(name, b!, c!, lc), lb + lc);
        assert.deepEqual(left, right);
      },
    ),
  );
});

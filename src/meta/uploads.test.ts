import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { BlobId, BucketId } from "../core/ids.ts";
import { checksumBytes } from "./fields.ts";
import {
  decodeAbandoned,
  decodeFinished,
  decodeLeftover,
  decodePart,
  decodeUpload,
  encodeAbandoned,
  encodeFinished,
  encodeLeftover,
  encodePart,
  encodeUpload,
  isListedPart,
  listedBits,
} from "./uploads.ts";

const bytes = (minLength: number, maxLength = minLength) =>
  fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array));
const hex = <T extends string>(length: number) => bytes(length).map((buffer) => buffer.toString("hex") as T);
const number = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const text = fc.string({ maxLength: 20 });
const named = fc.dictionary(fc.string({ maxLength: 12 }), text, { noNullPrototype: true });
const metadata = fc.record({ headers: named, user: named }, { noNullPrototype: true });
const kind = fc.constantFrom(
  { algorithm: "crc32", type: "COMPOSITE" } as const,
  { algorithm: "crc64nvme", type: "FULL_OBJECT" } as const,
  { algorithm: "sha256", type: "COMPOSITE" } as const,
);
const checksum = kind.chain((each) => bytes(checksumBytes(each.algorithm)).map((value) => ({ ...each, value })));
const blob = hex<BlobId>(16);

function agrees<T>(arbitrary: fc.Arbitrary<T>, encode: (value: T) => Buffer, decode: (value: Buffer) => T): void {
  fc.assert(
    fc.property(arbitrary, (record) => {
      const encoded = encode(record);
      assert.deepEqual(decode(encoded), record);
      assert.throws(() => decode(Buffer.concat([encoded, Buffer.from([0])])), "a longer record is corrupt");
      assert.throws(() => decode(encoded.subarray(0, -1)), "a shorter record is corrupt");
      assert.throws(() => decode(Buffer.concat([Buffer.from([9]), encoded.subarray(1)])), "an unknown version");
    }),
  );
}

void test("an upload's record is read back as it was written", () => {
  const state = fc.oneof(
    fc.constant({ kind: "open" as const }),
    blob.map((partsMap) => ({ kind: "completing" as const, partsMap })),
  );
  const chosen = fc.option(kind, { nil: undefined });
  const upload = fc.record({ state, startedMs: number, metadata, checksum: chosen }, { noNullPrototype: true });
  const tags = fc.array(fc.tuple(fc.string({ minLength: 1 }), fc.string()), { minLength: 1 });
  const tagged = fc.tuple(upload, tags).map(([record, pairs]) => ({ ...record, tags: new Map(pairs) }));
  agrees(fc.oneof(upload, tagged), encodeUpload, decodeUpload);
});

void test("a part's record is read back as it was written", () => {
  const stored = fc.option(
    checksum.map(({ algorithm, value }) => ({ algorithm, value })),
    { nil: undefined },
  );
  const part = fc.record(
    { partNumber: number, blob, sizeBytes: number, md5: hex(16), checksum: stored, modifiedMs: number },
    { noNullPrototype: true },
  );
  agrees(part, encodePart, decodePart);
});

void test("a finished upload's record is read back as it was written", () => {
  const finished = fc.record(
    {
      bucket: hex<BucketId>(8),
      key: bytes(1, 40),
      sizeBytes: number,
      etag: text,
      modifiedMs: number,
      checksum: fc.option(checksum, { nil: undefined }),
      fingerprint: bytes(32),
      atMs: number,
      versionId: fc.option(text, { nil: undefined }),
    },
    { noNullPrototype: true },
  );
  agrees(finished, encodeFinished, decodeFinished);
});

void test("leftover and abandoned records are read back as they were written", () => {
  agrees(
    fc.record({ listed: bytes(0, 1_251), atMs: number }, { noNullPrototype: true }),
    encodeLeftover,
    decodeLeftover,
  );
  agrees(fc.constant(undefined), encodeAbandoned, decodeAbandoned);
});

void test("the bits of listed parts tell exactly those", () => {
  const numbers = [1, 7, 8, 9, 4_097, 10_000];
  const bits = listedBits(numbers.map((partNumber) => ({ partNumber })));
  for (let number = 1; number <= 10_001; number++) assert.equal(isListedPart(bits, number), numbers.includes(number));
});

/** Rows of lifecycle: their bytes as docs/formats/records.md has them, and due rows in the order of their times. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import type { BucketId, UploadId } from "../core/ids.ts";
import {
  decodeDue,
  decodeLifecycle,
  dueKey,
  dueMsMax,
  dueRange,
  dueUntil,
  dueValue,
  encodeLifecycle,
  lifecycleKey,
  parseDueKey,
  uploadPrefixRange,
  type LifecycleRecord,
} from "./lifecycle.ts";
import { uploadKey } from "./keys.ts";

const bucket = "b1".repeat(8) as BucketId;
const upload = "0a".repeat(16) as UploadId;

const records: readonly (readonly [hex: string, record: LifecycleRecord])[] = [
  ["0100016200", { kind: "walking", bucket: "b", from: undefined }],
  ["01000162022061", { kind: "walking", bucket: "b", from: Buffer.from(" a") }],
  ["01010162", { kind: "settled", bucket: "b" }],
  ["0102", { kind: "clearing" }],
];

test("rows are as their page says, and come back", () => {
  for (const [hex, record] of records) {
    assert.equal(encodeLifecycle(record).toString("hex"), hex);
    assert.deepEqual(decodeLifecycle(Buffer.from(hex, "hex")), record);
  }
  assert.equal(Buffer.from(dueValue).toString("hex"), "01");
  decodeDue(dueValue);
  assert.equal(lifecycleKey(bucket).toString("hex"), `b1${bucket}`);
  const key = Buffer.from("a\0b");
  const object = dueKey(bucket, { atMs: 0x010203, key, upload: undefined });
  assert.equal(object.toString("hex"), `b0${bucket}0000000102036100ff620000`);
  assert.equal(
    dueKey(bucket, { atMs: 1, key, upload }).toString("hex"),
    `b0${bucket}0000000000016100ff620000${upload}`,
  );
});

test("what is not known is refused", () => {
  for (const hex of ["0201", "0103", "010101620000", "01"])
    assert.throws(
      () => decodeLifecycle(Buffer.from(hex, "hex")),
      (error) => hasReason(error, "corrupt_record"),
    );
  assert.throws(
    () => decodeDue(Buffer.of(2)),
    (error) => hasReason(error, "corrupt_record"),
  );
});

const due = fc.record({
  atMs: fc.nat({ max: dueMsMax }),
  key: fc.uint8Array({ minLength: 1, maxLength: 6 }).map((bytes) => Buffer.from(bytes)),
  upload: fc.constantFrom(undefined, upload),
});

test("a due row's key says what it was made of, and lies before a time exactly if it is due by then", () => {
  fc.assert(
    fc.property(due, fc.nat({ max: dueMsMax - 1 }), (one, nowMs) => {
      const row = dueKey(bucket, one);
      assert.deepEqual(parseDueKey(row), { ...one });
      const within = ({ start, end }: ReturnType<typeof dueRange>): boolean =>
        Buffer.compare(start, row) <= 0 && Buffer.compare(row, end) < 0;
      assert.ok(within(dueRange(bucket)));
      assert.equal(within(dueUntil(bucket, nowMs)), one.atMs <= nowMs);
    }),
  );
});

test("uploads below a prefix are those whose keys begin with it", () => {
  const bytes = fc.uint8Array({ maxLength: 4, max: 2 }).map((array) => Buffer.from(array));
  fc.assert(
    fc.property(bytes, bytes, (prefix, key) => {
      const { start, end } = uploadPrefixRange(bucket, prefix);
      const row = uploadKey(bucket, key, upload);
      const isWithin = Buffer.compare(start, row) <= 0 && Buffer.compare(row, end) < 0;
      assert.equal(isWithin, key.subarray(0, prefix.length).equals(prefix));
    }),
  );
});

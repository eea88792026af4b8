import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { crc32 } from "node:zlib";
import * as fc from "fast-check";
import { hasReason, type ErrorReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import {
  bodyOf,
  noMetadata,
  noVerifier,
  openTestStore,
  patternBytes,
  plainPut,
  readAll,
  type TestStore,
} from "./object.fixture.ts";
import type { BodyVerifier, ListUploadsOptions, PartInfo } from "./object.ts";

let shared: TestStore;
const bucket = "photos";
before(async () => {
  shared = await openTestStore("memory");
  await shared.store.createBucket(bucket, { region: "here" });
});
after(() => shared.close());

const md5 = (bytes: Buffer) => createHash("md5").update(bytes).digest("hex");
const crcOf = (bytes: Buffer) => {
  const value = Buffer.alloc(4);
  value.writeUInt32BE(crc32(bytes));
  return value;
};
const fails = (reason: ErrorReason, call: Promise<unknown>) =>
  assert.rejects(call, (error) => hasReason(error, reason), reason);

async function begin(name: string, checksum?: { algorithm: "crc32"; type: "FULL_OBJECT" | "COMPOSITE" }) {
  const key = Buffer.from(name);
  const upload = await shared.store.createUpload({ bucket, key, metadata: noMetadata, ...(checksum && { checksum }) });
  const ref = { bucket, key, uploadId: upload.id as string };
  const part = (partNumber: number, bytes: Buffer, verifier: BodyVerifier = noVerifier) =>
    shared.store.uploadPart({ ...ref, partNumber, body: bodyOf(bytes), verifier });
  return { ref, part };
}

const named = ({ partNumber, etag }: PartInfo) => ({ partNumber, etag });
const big = patternBytes(limits.partBytesMin, 7);

void test("parts become an object; the same request again gets the same answer, any other none", async () => {
  const { store } = shared;
  const { ref, part } = await begin("whole", { algorithm: "crc32", type: "FULL_OBJECT" });
  await part(3, patternBytes(70_000, 1));
  const parts = [await part(1, big), await part(3, patternBytes(90_000, 2))].map(named);
  await part(9, Buffer.from("not listed"));
  const request = { ...ref, parts, sizeBytes: big.length + 90_000 };
  const bytes = Buffer.concat([big, patternBytes(90_000, 2)]);
  await fails(
    "checksum_mismatch",
    store.completeUpload({ ...request, checksum: { algorithm: "crc32", value: Buffer.alloc(4) } }),
  );
  await fails(
    "no_such_key",
    store.completeUpload({ ...request, key: Buffer.from("whole"), conditions: { ifMatch: "*" } }),
  );
  const done = await store.completeUpload({ ...request, checksum: { algorithm: "crc32", value: crcOf(bytes) } });
  assert.equal(done.sizeBytes, bytes.length);
  assert.ok(bytes.equals(await readAll(await store.get({ bucket, key: ref.key }))));
  assert.deepEqual(await store.completeUpload(request), done);
  await fails("no_such_upload", store.completeUpload({ ...request, parts: parts.slice(0, 1) }));
  await fails("no_such_upload", store.completeUpload({ ...request, key: Buffer.from("other") }));
  await fails("no_such_upload", store.abortUpload(ref));
  await fails("no_such_upload", part(1, big));
  await fails("no_such_upload", store.listParts({ ...ref, after: 0, limit: 10 }));
});

void test("a condition on completing is judged on what is there then, and a loser may try again", async () => {
  const { store } = shared;
  const { ref, part } = await begin("conditional");
  const parts = [await part(1, Buffer.from("only"))].map(named);
  await store.put(plainPut(bucket, "conditional", "there"));
  await fails("precondition_failed", store.completeUpload({ ...ref, parts, conditions: { ifNoneMatch: "*" } }));
  const done = await store.completeUpload({ ...ref, parts, conditions: { ifMatch: [md5(Buffer.from("there"))] } });
  assert.match(done.etag, /-1$/);
});

void test("uploads and parts that cannot be are refused", async () => {
  const { store } = shared;
  const { ref, part } = await begin("refused", { algorithm: "crc32", type: "COMPOSITE" });
  await fails("invalid_part_number", part(0, big));
  await fails("invalid_part_number", part(limits.partsMax + 1, big));
  await fails("no_such_upload", store.abortUpload({ ...ref, uploadId: "../etc" }));
  await fails("no_such_upload", store.abortUpload({ ...ref, key: Buffer.from("other") }));
  await fails("no_such_bucket", store.abortUpload({ ...ref, bucket: "other" }));
  const sha: BodyVerifier = {
    digests: ["sha1"],
    verify: ({ sha1 }) => ({ algorithm: "sha1", value: sha1! }),
  };
  await fails("invalid_request", part(1, Buffer.from("x"), sha));
  const key = Buffer.from("x");
  const checksum = { algorithm: "sha256", type: "FULL_OBJECT" } as const;
  await fails("invalid_request", store.createUpload({ bucket, key, metadata: noMetadata, checksum }));
  assert.deepEqual((await store.listParts({ ...ref, after: 0, limit: 10 })).parts, []);
});

void test("parts are copied from objects, whole and in ranges that lie within", async () => {
  const { store } = shared;
  const bytes = patternBytes(300_000, 5);
  await store.put(plainPut(bucket, "source", bytes));
  const { ref } = await begin("copied");
  const copy = { ...ref, partNumber: 1, source: { bucket, key: Buffer.from("source") } };
  assert.equal((await store.uploadPartCopy(copy)).etag, md5(bytes));
  const { etag } = await store.uploadPartCopy({ ...copy, range: { first: 1_000, last: 200_000 } });
  assert.equal(etag, md5(bytes.subarray(1_000, 200_001)));
  await fails("invalid_range", store.uploadPartCopy({ ...copy, range: { first: 0, last: bytes.length } }));
  const conditions = { ifNoneMatch: [md5(bytes)] };
  await fails("precondition_failed", store.uploadPartCopy({ ...copy, source: { ...copy.source, conditions } }));
  assert.equal(shared.session.readsUnderWay, 0);
});

void test("parts are listed in pages, the newest of each number", async () => {
  const { ref, part } = await begin("listed");
  for (const number of [5, 1, 3, 3]) await part(number, Buffer.from(`part ${number}`));
  const first = await shared.store.listParts({ ...ref, after: 0, limit: 2 });
  assert.deepEqual(
    first.parts.map((each) => each.partNumber),
    [1, 3],
  );
  assert.equal(first.isTruncated, true);
  const rest = await shared.store.listParts({ ...ref, after: 3, limit: 2 });
  assert.deepEqual(
    rest.parts.map((each) => each.partNumber),
    [5],
  );
  assert.equal(rest.isTruncated, false);
});

const letters = fc.array(fc.constantFrom("a", "b", "/", "\0", "ÿ"), { minLength: 1, maxLength: 4 });
const word = letters.map((each) => Buffer.from(each.join(""), "latin1"));

void test("a listing of uploads is what a model says, page by page", async () => {
  const { store } = shared;
  let name = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(word, { maxLength: 12 }),
      fc.option(word, { nil: undefined }),
      fc.constantFrom(undefined, Buffer.from("/"), Buffer.from("a")),
      fc.integer({ min: 1, max: 4 }),
      async (keys, prefix, delimiter, limit) => {
        const bucket = `model-${name++}`;
        await store.createBucket(bucket, { region: "here" });
        const made = [];
        for (const key of keys)
          made.push({ key, id: (await store.createUpload({ bucket, key, metadata: noMetadata })).id });
        made.sort((a, b) => a.key.compare(b.key) || (a.id < b.id ? -1 : 1));
        const expected = new Set<string>();
        for (const { key, id } of made) {
          const text = key.toString("latin1");
          const start = prefix?.toString("latin1") ?? "";
          if (!text.startsWith(start)) continue;
          const at = delimiter === undefined ? -1 : text.indexOf(delimiter.toString("latin1"), start.length);
          expected.add(at < 0 ? `upload ${text} ${id}` : `prefix ${text.slice(0, at + 1)}`);
        }
        const seen: string[] = [];
        let options: ListUploadsOptions = { bucket, limit, ...(prefix && { prefix }), ...(delimiter && { delimiter }) };
        for (let page = 0; page < 30; page++) {
          const { uploads, commonPrefixes, next } = await store.listUploads(options);
          assert.ok(uploads.length + commonPrefixes.length <= limit);
          seen.push(...uploads.map(({ key, id }) => `upload ${key.toString("latin1")} ${id}`));
          seen.push(...commonPrefixes.map((each) => `prefix ${each.toString("latin1")}`));
          if (next === undefined) break;
          options = { ...options, afterKey: next.key, ...(next.uploadId && { afterUploadId: next.uploadId }) };
          if (next.uploadId === undefined) options = { ...options, afterUploadId: "" };
        }
        assert.deepEqual(seen.toSorted(), [...expected].toSorted());
      },
    ),
    { numRuns: 150 },
  );
});

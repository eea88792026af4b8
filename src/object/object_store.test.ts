import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { HoldfastError } from "../core/errors.ts";
import type { ErrorReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { readCounters } from "../kv/kv.ts";
import { decodeBlobRoot, newPartsBlobWrites } from "../meta/blobs.ts";
import type { PartRecord } from "../meta/blobs.ts";
import { encodeBucket, decodeBucket } from "../meta/buckets.ts";
import { decodeHead, encodeHead } from "../meta/heads.ts";
import { blobRange, bucketKey, headKey, tagRange, tags, usageRange, bodyKey, blobRootKey } from "../meta/keys.ts";
import { decodeTrash } from "../meta/trash.ts";
import { bodyOf, kvKinds, noMetadata, openTestStore, patternBytes, plainPut, readAll } from "./object.fixture.ts";
import { testChunkBytes } from "./object.fixture.ts";
import type { TestStore } from "./object.fixture.ts";
import type { GetOptions } from "./object.ts";

const md5 = (bytes: Buffer): string => createHash("md5").update(bytes).digest("hex");
const reason = (expected: ErrorReason) => (error: unknown) =>
  error instanceof HoldfastError && error.reason === expected;

for (const kind of kvKinds) {
  describe(`objects on ${kind}`, () => {
    let t: TestStore;
    const bucket = "things";
    const large = patternBytes(3 * testChunkBytes + 1_000);
    const address = (key: string): { bucket: string; key: Buffer } => ({ bucket, key: Buffer.from(key) });
    const get = async (key: string, more: Partial<GetOptions> = {}): Promise<Buffer> =>
      readAll(await t.store.get({ ...address(key), ...more }));
    const headOf = async (key: string) => {
      const { id } = await t.store.bucket(bucket);
      const [row] = await t.kv.get([headKey(id, Buffer.from(key))]);
      return row && decodeHead(row.value);
    };
    const blobOf = async (key: string) => {
      const head = await headOf(key);
      assert(head?.data.kind === "blob");
      return head.data.blob;
    };
    const refcount = async (blob: Parameters<typeof blobRootKey>[0]): Promise<number> => {
      const [row] = await t.kv.get([blobRootKey(blob)]);
      return decodeBlobRoot(row!.value).refcount;
    };
    const trashed = async (): Promise<string[]> =>
      (await t.kv.scan(tagRange(tags.trash), { limit: 1_000 })).map((entry) => decodeTrash(entry.value).blob);

    before(async () => {
      t = await openTestStore(kind);
      await t.store.createBucket(bucket, { region: "us-east-1" });
    });
    after(() => t.close());

    test("a body comes back as it was put: empty, inline, the inline bound, chunked", async () => {
      for (const sizeBytes of [0, 1, 4_096, limits.inlineBytesMax, limits.inlineBytesMax + 1, large.length]) {
        const bytes = patternBytes(sizeBytes, sizeBytes + 1);
        const key = `size-${sizeBytes}`;
        const put = await t.store.put(plainPut(bucket, key, bytes));
        assert.equal(put.etag, md5(bytes));
        assert.equal(put.sizeBytes, sizeBytes);
        const found = await t.store.get(address(key));
        assert(found.outcome === "found");
        assert.deepEqual([found.info.etag, found.info.sizeBytes], [put.etag, sizeBytes]);
        assert.equal(found.inline !== undefined, sizeBytes <= limits.inlineBytesMax);
        assert.deepEqual(await readAll(found), bytes);
      }
      assert.equal(t.session.readsUnderWay, 0);
    });

    test("metadata, headers and checksum come back", async () => {
      const metadata = {
        headers: { "content-type": "text/plain", "x-amz-storage-class": "STANDARD_IA" },
        user: { ä: "ö", __proto__x: "1" },
      };
      const value = Buffer.from("01020304", "hex");
      const verifier = { digests: ["crc32" as const], verify: () => ({ algorithm: "crc32" as const, value }) };
      const put = await t.store.put({ ...plainPut(bucket, "meta", "x"), metadata, verifier });
      const head = await t.store.head(address("meta"));
      assert(head.outcome === "found");
      assert.deepEqual(head.info.metadata, metadata);
      assert.deepEqual(head.info.checksum, { algorithm: "crc32", type: "FULL_OBJECT", value });
      assert.deepEqual(put.checksum, head.info.checksum);
      const { objects } = await t.store.list({ bucket, prefix: Buffer.from("meta"), limit: 1 });
      assert.equal(objects[0]?.storageClass, "STANDARD_IA");
      assert.deepEqual(objects[0]?.checksum, { algorithm: "crc32", type: "FULL_OBJECT" });
    });

    test("ranges of inline and chunked bodies", async () => {
      await t.store.put(plainPut(bucket, "ranged-small", "0123456789"));
      await t.store.put(plainPut(bucket, "ranged-large", large));
      assert.equal((await get("ranged-small", { range: { kind: "from", first: 2, last: 4 } })).toString(), "234");
      assert.equal((await get("ranged-small", { range: { kind: "suffix", length: 3 } })).toString(), "789");
      for (const [first, last] of [
        [0, 0],
        [testChunkBytes - 1, testChunkBytes],
        [2 * testChunkBytes, undefined],
        [5, 1_000_000_000],
      ] as const) {
        const expected = large.subarray(first, last === undefined ? undefined : last + 1);
        assert.deepEqual(await get("ranged-large", { range: { kind: "from", first, last } }), expected);
      }
      await assert.rejects(
        get("ranged-small", { range: { kind: "from", first: 10, last: undefined } }),
        reason("invalid_range"),
      );
      assert.equal(t.session.readsUnderWay, 0);
    });

    test("a refused body leaves nothing: no head, no chunk", async () => {
      const shardsBefore = await t.node.list(t.node.drives[0]!, { limit: 10_000 });
      const verify = (): never => {
        throw new HoldfastError("bad_digest", "no");
      };
      for (const bytes of [Buffer.from("small"), large]) {
        const verifier = { digests: [], verify };
        await assert.rejects(t.store.put({ ...plainPut(bucket, "refused", bytes), verifier }), reason("bad_digest"));
      }
      await assert.rejects(get("refused"), reason("no_such_key"));
      assert.deepEqual(await t.node.list(t.node.drives[0]!, { limit: 10_000 }), shardsBefore);
    });

    test("an error of the metadata store of unknown outcome leaves the chunks", async () => {
      const away = { ...t.kv, name: "away", get: t.kv.get.bind(t.kv), scan: t.kv.scan.bind(t.kv) };
      const commit = async (): Promise<never> => {
        throw new HoldfastError("unavailable", "away");
      };
      const { store, session } = await t.gateway({ kv: { ...away, commit, close: async () => undefined } });
      await assert.rejects(store.put(plainPut(bucket, "unknown", large)), reason("unavailable"));
      const shards = await t.node.list(t.node.drives[0]!, { limit: 10_000 });
      assert(shards.some((shard) => shard.chunk.startsWith(session.id)));
    });

    test("names, keys, metadata and versions that are refused", async () => {
      const metadata = { headers: {}, user: { a: "x".repeat(limits.userMetadataBytesMax) } };
      await assert.rejects(t.store.put(plainPut(bucket, "", "x")), reason("invalid_key"));
      await assert.rejects(t.store.put(plainPut(bucket, "k".repeat(1_025), "x")), reason("key_too_long"));
      await assert.rejects(t.store.put(plainPut(bucket, "\0".repeat(513), "x")), reason("invalid_key"));
      await assert.rejects(t.store.put({ ...plainPut(bucket, "k", "x"), metadata }), reason("metadata_too_large"));
      await assert.rejects(t.store.put(plainPut("nowhere", "k", "x")), reason("no_such_bucket"));
      await assert.rejects(t.store.get({ bucket: "nowhere", key: Buffer.from("k") }), reason("no_such_bucket"));
      await assert.rejects(t.store.head(address("missing")), reason("no_such_key"));
      await assert.rejects(t.store.get({ ...address("size-1"), versionId: "other" }), reason("invalid_argument"));
      const unknown = Buffer.alloc(22).toString("base64url");
      await assert.rejects(t.store.get({ ...address("size-1"), versionId: unknown }), reason("no_such_version"));
      await assert.rejects(t.store.get({ ...address("size-1"), partNumber: 2 }), reason("invalid_part_number"));
      await assert.rejects(t.store.list({ bucket, limit: 1_001 }), reason("invalid_argument"));
      await t.store.put(plainPut(bucket, "k".repeat(1_024), "x"));
      await t.store.put(plainPut(bucket, "\0".repeat(512), "x"));
      assert.equal((await get("\0".repeat(512))).toString(), "x");
      await t.store.delete(address("\0".repeat(512)));
    });

    test("conditional writes", async () => {
      const put = (conditions: object, bytes = "x") => t.store.put({ ...plainPut(bucket, "cond", bytes), conditions });
      await assert.rejects(put({ ifMatch: "*" }), reason("no_such_key"));
      const { etag } = await put({ ifNoneMatch: "*" }, "first");
      await assert.rejects(put({ ifNoneMatch: "*" }), reason("precondition_failed"));
      await assert.rejects(put({ ifMatch: ["0".repeat(32)] }), reason("precondition_failed"));
      await put({ ifMatch: [etag] }, "second");
      await assert.rejects(
        t.store.delete({ ...address("cond"), conditions: { ifMatch: [etag] } }),
        reason("precondition_failed"),
      );
      assert.equal((await get("cond")).toString(), "second");
      assert.deepEqual(
        await t.store.delete({ ...address("cond"), conditions: { ifMatch: [md5(Buffer.from("second"))] } }),
        {
          existed: true,
          versionId: undefined,
          isMarker: false,
        },
      );
      assert.deepEqual(await t.store.delete(address("cond")), {
        existed: false,
        versionId: undefined,
        isMarker: false,
      });
      await assert.rejects(t.store.delete({ ...address("cond"), conditions: { ifMatch: "*" } }), reason("no_such_key"));
    });

    test("a write that is refused by its conditions does not read its body", async () => {
      await t.store.put(plainPut(bucket, "unread", "x"));
      const untouched = (): never => assert.fail("the body was read");
      const body = { sizeBytes: 5, collect: untouched, stream: untouched };
      const put = t.store.put({ ...plainPut(bucket, "unread", ""), body, conditions: { ifNoneMatch: "*" } });
      await assert.rejects(put, reason("precondition_failed"));
    });

    test("a reading keeps its version while it is overwritten, and the session has not drained", async () => {
      await t.store.put(plainPut(bucket, "kept", large));
      await t.session.heartbeat();
      const found = await t.store.get(address("kept"));
      const blob = await blobOf("kept");
      await t.store.put(plainPut(bucket, "kept", "new"));
      assert((await trashed()).includes(blob));
      assert.equal(t.session.readsUnderWay, 1);
      assert.deepEqual(await readAll(found), large);
      assert.equal(t.session.readsUnderWay, 0);
      assert.equal((await get("kept")).toString(), "new");
    });

    test("an overwritten inline body goes with its head, whatever replaces it", async () => {
      const { id } = await t.store.bucket(bucket);
      const bodyRow = async () => (await t.kv.get([bodyKey(id, Buffer.from("swap"))]))[0];
      await t.store.put(plainPut(bucket, "swap", "small"));
      assert(await bodyRow());
      await t.store.put(plainPut(bucket, "swap", large));
      assert.equal(await bodyRow(), undefined);
      assert.deepEqual(await get("swap"), large);
      await t.store.put(plainPut(bucket, "swap", "small"));
      assert(await bodyRow());
      await t.store.put(plainPut(bucket, "swap", ""));
      assert.equal(await bodyRow(), undefined);
      await t.store.put(plainPut(bucket, "swap", "small"));
      await t.store.delete(address("swap"));
      assert.equal(await bodyRow(), undefined);
    });

    test("copies share the blob; each drop of a reference is one trash row", async () => {
      await t.store.put({ ...plainPut(bucket, "from", large), metadata: { headers: {}, user: { a: "1" } } });
      const blob = await blobOf("from");
      const source = address("from");
      const copied = await t.store.copy({ ...address("to"), source, metadata: undefined });
      assert.equal(copied.etag, md5(large));
      assert.equal(await blobOf("to"), blob);
      assert.equal(await refcount(blob), 2);
      await t.store.copy({ ...address("from"), source, metadata: { headers: {}, user: { b: "2" } } });
      assert.equal(await refcount(blob), 2, "a copy onto itself keeps its reference");
      assert(!(await trashed()).includes(blob));
      await t.store.delete(address("from"));
      assert.deepEqual(await get("to"), large);
      assert.deepEqual((await t.store.head(address("to"))).info.metadata.user, { a: "1" });
      await t.store.delete(address("to"));
      assert.equal((await trashed()).filter((one) => one === blob).length, 2, "as many as the refcount");
    });

    test("a copy of a small object, conditions, refusals, and another checksum", async () => {
      await t.store.put(plainPut(bucket, "small-from", "tiny"));
      const source = address("small-from");
      const crc = await t.store.copy({
        ...address("small-to"),
        source,
        metadata: undefined,
        checksumAlgorithm: "sha256",
      });
      assert.deepEqual(crc.checksum, {
        algorithm: "sha256",
        type: "FULL_OBJECT",
        value: createHash("sha256").update("tiny").digest(),
      });
      assert.equal((await get("small-to")).toString(), "tiny");
      const copy = (more: object) => t.store.copy({ ...address("small-to"), source, metadata: undefined, ...more });
      await assert.rejects(copy({ source: address("small-to") }), reason("invalid_argument"));
      await assert.rejects(copy({ source: address("absent") }), reason("no_such_key"));
      await assert.rejects(copy({ conditions: { ifNoneMatch: "*" } }), reason("precondition_failed"));
      const unmodified = { ...source, conditions: { ifNoneMatch: [md5(Buffer.from("tiny"))] } };
      await assert.rejects(copy({ source: unmodified }), reason("precondition_failed"));
      const self = { ...address("small-to"), source: address("small-to"), metadata: noMetadata };
      await t.store.copy(self);
      assert.equal((await get("small-to")).toString(), "tiny");
    });

    test("a source of more than 5 GiB is refused", async () => {
      const { id } = await t.store.bucket(bucket);
      await t.store.put(plainPut(bucket, "huge", large));
      const head = (await headOf("huge"))!;
      const value = encodeHead({ ...head, sizeBytes: limits.copyBytesMax + 1 });
      await t.kv.commit({ checks: [], writes: [{ kind: "put", key: headKey(id, Buffer.from("huge")), value }] });
      const copy = t.store.copy({ ...address("other"), source: address("huge"), metadata: undefined });
      await assert.rejects(copy, reason("entity_too_large"));
      const writes = [{ kind: "put" as const, key: headKey(id, Buffer.from("huge")), value: encodeHead(head) }];
      await t.kv.commit({ checks: [], writes });
    });

    test("an object of parts: whole, ranges over the seams, one part, its list, its layout", async () => {
      const pieces = [patternBytes(150_000, 7), patternBytes(1, 8), patternBytes(200_000, 9)];
      const parts: PartRecord[] = [];
      for (const [index, bytes] of pieces.entries()) {
        await t.store.put(plainPut(bucket, `piece-${index}`, Buffer.concat([bytes, large]).subarray(0, bytes.length)));
        const written = await t.blobs.write(bodyOf(bytes), { digests: ["md5"], inlineBytesMax: 0, bytesMax: 1e9 });
        assert(written.kind === "chunked");
        const { newChunkedBlobWrites } = await import("../meta/blobs.ts");
        await t.kv.commit({ checks: [], writes: newChunkedBlobWrites(written.blob, () => t.session.nextStamp()) });
        parts.push({
          partNumber: index * 2 + 1,
          blob: written.blob.id,
          sizeBytes: bytes.length,
          modifiedMs: 1,
          md5: md5(bytes),
          checksum: undefined,
        });
      }
      const whole = Buffer.concat(pieces);
      const { id } = await t.store.bucket(bucket);
      await t.store.put(plainPut(bucket, "multi", large));
      const head = (await headOf("multi"))!;
      const blob = `${"f".repeat(31)}e` as (typeof parts)[0]["blob"];
      const etag = `${"a".repeat(32)}-3`;
      const value = encodeHead({ ...head, sizeBytes: whole.length, etag, data: { kind: "blob", blob } });
      const key = headKey(id, Buffer.from("multi"));
      await t.kv.commit({ checks: [], writes: [...newPartsBlobWrites(blob, parts), { kind: "put", key, value }] });

      assert.deepEqual(await get("multi"), whole);
      for (const [first, last] of [
        [149_999, 150_001],
        [150_000, 150_000],
        [10, 350_000],
      ] as const) {
        assert.deepEqual(await get("multi", { range: { kind: "from", first, last } }), whole.subarray(first, last + 1));
      }
      assert.deepEqual(await get("multi", { partNumber: 5 }), pieces[2]);
      const headPart = await t.store.head({ ...address("multi"), partNumber: 3 });
      assert(headPart.outcome === "found");
      assert.deepEqual([headPart.range, headPart.info.partsCount], [{ offset: 150_000, length: 1 }, 3]);
      await assert.rejects(get("multi", { partNumber: 2 }), reason("invalid_part_number"));
      const listed = await t.store.objectParts({ ...address("multi"), after: 1, limit: 1 });
      assert.deepEqual([listed.parts.map((part) => part.partNumber), listed.isTruncated], [[3], true]);
      const offsets: number[] = [];
      for await (const chunk of (await t.store.layout(address("multi"))).chunks) offsets.push(chunk.offset);
      assert.deepEqual(offsets, [0, 131_072, 150_000, 150_001, 281_073]);
      await t.store.copy({ ...address("multi-copy"), source: address("multi"), metadata: undefined });
      assert.deepEqual(await get("multi-copy", { partNumber: 1 }), pieces[0]);
      await t.kv.commit({
        checks: [],
        writes: [{ kind: "put", key, value: encodeHead({ ...head, stamp: head.stamp }) }],
      });
      assert.equal(t.session.readsUnderWay, 0);
    });

    test("a fenced session publishes no chunk, and its chunks are removed", async () => {
      const other = await t.gateway();
      await other.store.put(plainPut(bucket, "fence", large));
      await other.session.close();
      await assert.rejects(
        other.store.put(plainPut(bucket, "fence", patternBytes(200_000, 3))),
        reason("session_fenced"),
      );
      assert.deepEqual(await get("fence"), large);
    });

    test("buckets: made once, found, listed in order, not deleted while full", async () => {
      for (const name of ["b-2", "b-1x", "b-3z"].map((one) => `list-${one}`)) {
        assert.equal((await t.store.createBucket(name, { region: "r" })).created, true);
      }
      assert.equal((await t.store.createBucket("list-b-2", { region: "other" })).bucket.region, "r");
      const first = await t.store.listBuckets({ prefix: "list-", limit: 2 });
      assert.deepEqual(
        first.buckets.map(({ name }) => name),
        ["list-b-1x", "list-b-2"],
      );
      assert.equal(first.next, "list-b-2");
      const second = await t.store.listBuckets({ prefix: "list-", after: "list-b-2", limit: 2 });
      assert.deepEqual([second.buckets.map(({ name }) => name), second.next], [["list-b-3z"], undefined]);
      for (const name of ["ab", "A-b-c", "1.2.3.4", "a..b", "-ab", "ab-", "xn--abc", "abc-s3alias", "a".repeat(64)]) {
        await assert.rejects(t.store.createBucket(name, { region: "r" }), reason("invalid_bucket_name"), name);
      }
      await t.store.put(plainPut("list-b-2", "k", "x"));
      await assert.rejects(t.store.deleteBucket("list-b-2"), reason("bucket_not_empty"));
      await t.store.put(plainPut("list-b-2", "k2", "x"));
      await t.store.delete({ bucket: "list-b-2", key: Buffer.from("k") });
      await t.store.delete({ bucket: "list-b-2", key: Buffer.from("k2") });
      const { id } = await t.store.bucket("list-b-2");
      await t.store.deleteBucket("list-b-2");
      assert.equal((await t.kv.scan(usageRange(id), { limit: 10 })).length, 0);
      await assert.rejects(t.store.deleteBucket("list-b-2"), reason("no_such_bucket"));
      await assert.rejects(t.store.put(plainPut("list-b-2", "k", "x")), reason("no_such_bucket"));
      const again = await t.store.createBucket("list-b-2", { region: "r" });
      assert.notEqual(again.bucket.id, id);
      await t.store.put(plainPut("list-b-2", "k", "again"));
    });

    test("a deleter that crashed half-way blocks no write", async () => {
      await t.store.createBucket("crashed", { region: "r" });
      const [row] = await t.kv.get([bucketKey("crashed")]);
      const value = encodeBucket({ ...decodeBucket(row!.value), state: "deleting" });
      await t.kv.commit({ checks: [], writes: [{ kind: "put", key: bucketKey("crashed"), value }] });
      await t.store.put(plainPut("crashed", "k", "x"));
      const [later] = await t.kv.get([bucketKey("crashed")]);
      assert.equal(decodeBucket(later!.value).state, "active");
    });

    test("usage counts what is there", async () => {
      await t.store.createBucket("usage", { region: "r" });
      const other = await t.gateway();
      await t.store.put(plainPut("usage", "a", "12345"));
      await other.store.put(plainPut("usage", "b", large));
      await other.store.put(plainPut("usage", "a", "123"));
      await t.store.copy({
        bucket: "usage",
        key: Buffer.from("c"),
        source: { bucket: "usage", key: Buffer.from("b") },
        metadata: undefined,
      });
      assert.deepEqual(await t.store.usage("usage"), { objects: 3, versions: 0, bytes: 3 + 2 * large.length });
      await t.store.delete({ bucket: "usage", key: Buffer.from("b") });
      assert.deepEqual(await t.store.usage("usage"), { objects: 2, versions: 0, bytes: 3 + large.length });
      const { id } = await t.store.bucket("usage");
      const rows = await t.kv.scan(usageRange(id), { limit: 10 });
      assert.deepEqual(
        rows.map((row) => readCounters(row.value).length),
        [2, 2],
      );
    });

    test("a missing page is an error, not a short body", async () => {
      await t.store.put(plainPut(bucket, "holed", large));
      const rows = await t.kv.scan(blobRange(await blobOf("holed")), { limit: 10 });
      assert.equal(rows.length, 2);
      await t.kv.commit({ checks: [], writes: [{ kind: "delete", key: rows[1]!.key }] });
      await assert.rejects(get("holed"), reason("corrupt_record"));
      assert.equal(t.session.readsUnderWay, 0);
    });
  });
}

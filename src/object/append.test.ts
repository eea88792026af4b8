/** Appending: what a plain model says, whatever is between; one of two at one offset; nothing copied, nothing leaked. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { systemClock } from "../core/clock.ts";
import { hasReason, HoldfastError, type ErrorReason } from "../core/errors.ts";
import type { ChunkId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { encodeBlobRoot, encodePartPage, decodeBlobRoot, decodePartPage } from "../meta/blobs.ts";
import { decodeHead } from "../meta/heads.ts";
import { blobPageKey, blobRootKey, bucketKey, headKey, tags } from "../meta/keys.ts";
import { decodeBucket } from "../meta/buckets.ts";
import { rowsOf } from "../jobs/jobs.fixture.ts";
import { releaseTrash } from "../jobs/trash.ts";
import {
  bodyOf,
  interrupted,
  noMetadata,
  noVerifier,
  once,
  openTestStore,
  patternBytes,
  plainPut,
  readAll,
  testChunkBytes,
  type TestGateway,
  type TestStore,
} from "./object.fixture.ts";
import type { BodyVerifier, PutResult } from "./object.ts";
import { assertSound } from "./versions.fixture.ts";

const bucket = "logs";
const key: Buffer = Buffer.from("log");
const inlineMax = limits.inlineBytesMax;

async function openBucket(): Promise<TestStore> {
  const t = await openTestStore("memory");
  await t.store.createBucket(bucket, { region: "here" });
  return t;
}

type More = Partial<Parameters<TestGateway["store"]["append"]>[0]>;

function append({ store }: TestGateway, offset: number, bytes: Buffer, more: More = {}): Promise<PutResult> {
  return store.append({
    bucket,
    key,
    body: bodyOf(bytes),
    metadata: noMetadata,
    verifier: noVerifier,
    offset,
    ...more,
  });
}

async function bytesOf({ store }: TestGateway, name = key): Promise<Buffer> {
  return readAll(await store.get({ bucket, key: name }));
}

const fails = (promise: Promise<unknown>, reason: ErrorReason): Promise<void> =>
  assert.rejects(promise, (error) => hasReason(error, reason) || assert.fail(String(error)));

/** Rows and references are right, and the drives have the chunks of the objects that there are, and nothing else. */
async function assertClean(t: TestStore): Promise<void> {
  const { kv, node, blobs } = t;
  const parts = { kv, blobs, clock: systemClock, random: systemRandom, log: silentLog };
  for (let rows = await rowsOf(kv, tags.trash); rows.length > 0; rows = await rowsOf(kv, tags.trash))
    for (const row of rows) await releaseTrash(parts, row.key);
  await assertSound(t);
  const wanted = new Set<string>();
  for (const { key: each } of (await t.store.list({ bucket, limit: 1_000 })).objects)
    for await (const { id } of (await t.store.layout({ bucket, key: each })).chunks) wanted.add(id);
  const stored = new Set<string>();
  const limit = limits.jobBatchMax;
  for (const drive of node.drives)
    for (let listed = await node.list(drive, { limit }); listed.length > 0;) {
      for (const { chunk } of listed) stored.add(chunk);
      listed = await node.list(drive, { limit, after: listed.at(-1)! });
    }
  assert.deepEqual([...stored].toSorted(), [...wanted].toSorted());
}

const sizes = [1, 100, inlineMax - 50, inlineMax, inlineMax + 1, 40_000, testChunkBytes + 5];
const name = fc.constantFrom("a", "b");
const bytes = fc.record({ size: fc.constantFrom(...sizes), seed: fc.nat({ max: 1_000 }) });
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant("append"), name, bytes, off: fc.constantFrom(0, 0, 0, 0, 1, -1) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("put"), name, bytes }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("empty"), name }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete"), name }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("copy"), name, to: name }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("rename"), name, to: name }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("range"), name, from: fc.nat(), length: fc.nat() }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

class Run {
  readonly #t: TestStore;
  readonly #model = new Map<string, Buffer>();
  readonly #etags = new Set<string>();
  appended = 0;

  constructor(t: TestStore) {
    this.#t = t;
  }

  async step(each: Step): Promise<void> {
    const { store } = this.#t;
    const at = { bucket, key: Buffer.from(each.name) };
    const there = this.#model.get(each.name);
    if (each.kind === "append" && "off" in each) return this.#append(each, there);
    if (each.kind === "put" && "bytes" in each)
      await this.#put(each.name, patternBytes(each.bytes.size, each.bytes.seed));
    else if (each.kind === "empty") await this.#put(each.name, Buffer.alloc(0));
    else if (each.kind === "delete") {
      await store.delete(at);
      this.#model.delete(each.name);
    } else if (there !== undefined && "to" in each && each.to !== each.name) await this.#move(each.kind, each, there);
    else if (there !== undefined && "from" in each && there.length > 0) {
      const first = each.from % there.length;
      const range = { kind: "from", first, last: first + (each.length % there.length) } as const;
      const part = await readAll(await store.get({ ...at, range }));
      assert.ok(part.equals(there.subarray(first, range.last + 1)), "a range is what the model has there");
    }
  }

  async #put(to: string, content: Buffer): Promise<void> {
    await this.#t.store.put(plainPut(bucket, to, content));
    this.#model.set(to, content);
  }

  async #move(kind: string, { name: from, to }: { name: string; to: string }, content: Buffer): Promise<void> {
    const { store } = this.#t;
    const source = { bucket, key: Buffer.from(from) };
    const target = { bucket, key: Buffer.from(to) };
    if (kind === "copy") await store.copy({ source, ...target, metadata: undefined });
    else {
      await store.rename({ ...target, source: { key: source.key } });
      this.#model.delete(from);
    }
    this.#model.set(to, content);
  }

  async #append(each: Step & { kind: "append" }, there: Buffer | undefined): Promise<void> {
    assert.ok("off" in each && "bytes" in each);
    const added = patternBytes(each.bytes.size, each.bytes.seed);
    const size = there?.length ?? 0;
    const result = append(this.#t, size + each.off, added, { key: Buffer.from(each.name) });
    if (each.off !== 0) return fails(result, "invalid_write_offset");
    const { etag, sizeBytes } = await result;
    assert.equal(sizeBytes, size + added.length);
    const whole = Buffer.concat([there ?? Buffer.alloc(0), added]);
    if (!etag.includes("-")) assert.equal(etag, createHash("md5").update(whole).digest("hex"));
    else assert.ok(!this.#etags.has(etag) || there !== undefined, "an ETag is new");
    this.#etags.add(etag);
    this.#model.set(each.name, whole);
    this.appended += 1;
  }

  async assertAgrees(): Promise<void> {
    const { store } = this.#t;
    for (const each of ["a", "b"]) {
      const expected = this.#model.get(each);
      const at = { bucket, key: Buffer.from(each) };
      if (expected === undefined) await fails(store.get(at), "no_such_key");
      else assert.ok((await readAll(await store.get(at))).equals(expected), `${each} has its bytes`);
    }
    const all = [...this.#model.values()].reduce((sum, { length }) => sum + length, 0);
    assert.deepEqual(await store.usage(bucket), { objects: this.#model.size, versions: 0, bytes: all });
  }
}

void test("any sequence of appends, writes, copies, renames and deletes leaves what a plain model says", async () => {
  let appended = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30, size: "max" }), async (steps) => {
      const t = await openBucket();
      try {
        const run = new Run(t);
        for (const each of steps) await run.step(each);
        await run.assertAgrees();
        await assertClean(t);
        appended += run.appended;
      } finally {
        await t.close();
      }
    }),
    { numRuns: 60 },
  );
  assert.ok(appended > 60, `${appended} appends happened`);
});

for (const [what, before] of [
  ["nothing", 0],
  ["a small object", 100],
  ["a large one", 40_000],
] as const)
  for (const added of [100, inlineMax, 40_000])
    void test(`of two appends of ${added} bytes at once behind ${what} one wins, and the other one leaves nothing`, async () => {
      const t = await openBucket();
      if (before > 0) await t.store.put(plainPut(bucket, "log", patternBytes(before)));
      const bodies = [patternBytes(added, 2), patternBytes(added, 3)];
      const gateways = [await t.gateway(), await t.gateway()];
      const outcomes = await Promise.allSettled(
        gateways.map((gateway, index) => append(gateway, before, bodies[index]!)),
      );
      const winner = outcomes.findIndex(({ status }) => status === "fulfilled");
      const lost = outcomes[1 - winner]!;
      assert.ok(lost.status === "rejected" && hasReason(lost.reason, "invalid_write_offset"), JSON.stringify(outcomes));
      assert.ok((await bytesOf(t)).equals(Buffer.concat([patternBytes(before), bodies[winner]!])));
      await assertClean(t);
      await t.close();
    });

void test("appends that each go on from where they find the end all arrive, once", async () => {
  const t = await openBucket();
  const writers = await Promise.all([1, 2, 3].map(() => t.gateway()));
  const write = async (gateway: TestGateway, seed: number): Promise<void> => {
    for (let left = 8; left > 0;) {
      const { sizeBytes } = await t.store.head({ bucket, key }).then(
        ({ info }) => info,
        () => ({ sizeBytes: 0 }),
      );
      try {
        await append(gateway, sizeBytes, Buffer.alloc(3_000, seed));
        left -= 1;
      } catch (error) {
        if (!hasReason(error, "invalid_write_offset", "operation_aborted")) throw error;
      }
    }
  };
  await Promise.all(writers.map((gateway, index) => write(gateway, index + 1)));
  const found = await bytesOf(t);
  assert.equal(found.length, 3 * 8 * 3_000);
  for (let at = 0; at < found.length; at += 3_000)
    assert.ok(
      found.subarray(at, at + 3_000).every((byte) => byte === found[at]),
      "an append is whole",
    );
  for (const seed of [1, 2, 3]) assert.equal(found.filter((byte) => byte === seed).length, 8 * 3_000);
  await assertClean(t);
  await t.close();
});

void test("a small object that is replaced by one as long, while it is appended to, is what is appended to", async () => {
  for (const added of [100, 40_000]) {
    const t = await openBucket();
    await t.store.put(plainPut(bucket, "log", patternBytes(inlineMax, 1)));
    const replace = once(() => t.store.put(plainPut(bucket, "log", patternBytes(inlineMax, 7))));
    // The first commit of the append is the one that finds it replaced.
    await append(await interrupted(t, replace), inlineMax, patternBytes(added, 2));
    assert.ok((await bytesOf(t)).equals(Buffer.concat([patternBytes(inlineMax, 7), patternBytes(added, 2)])));
    await assertClean(t);
    await t.close();
  }
});

void test("a read that began before goes on with the object as it was", async () => {
  const t = await openBucket();
  await append(t, 0, patternBytes(testChunkBytes * 2, 1));
  await append(t, testChunkBytes * 2, patternBytes(50_000, 2));
  const before = await bytesOf(t);
  const found = await t.store.get({ bucket, key });
  const part = await t.store.get({ bucket, key, partNumber: 2 });
  await append(t, before.length, patternBytes(60_000, 3));
  assert.ok((await readAll(found)).equals(before));
  assert.ok((await readAll(part)).equals(patternBytes(50_000, 2)));
  assert.equal((await bytesOf(t)).length, before.length + 60_000);
  await t.close();
});

void test("a head that is older than its blob shows no part that came later", async () => {
  const t = await openBucket();
  await append(t, 0, patternBytes(20_000, 1));
  await append(t, 20_000, patternBytes(30_000, 2));
  const [old] = await t.kv.get([await headOf(t)]);
  await append(t, 50_000, patternBytes(40_000, 3));
  // As a reader has it that read the head before the append, and the rest after it.
  await t.kv.commit({ checks: [], writes: [{ kind: "put", key: await headOf(t), value: old!.value }] });
  assert.equal((await bytesOf(t)).length, 50_000);
  await fails(t.store.get({ bucket, key, partNumber: 3 }), "invalid_part_number");
  const { parts } = await t.store.objectParts({ bucket, key, after: 0, limit: 10 });
  assert.deepEqual(
    parts.map(({ sizeBytes }) => sizeBytes),
    [20_000, 30_000],
  );
  let laid = 0;
  for await (const chunk of (await t.store.layout({ bucket, key })).chunks) laid += chunk.sizeBytes;
  assert.equal(laid, 50_000);
  await t.close();
});

async function headOf({ kv }: TestStore): Promise<Buffer> {
  const [row] = await kv.get([bucketKey(bucket)]);
  return headKey(decodeBucket(row!.value).id, key);
}

void test("what is appended is a part, and the bytes before are the first one", async () => {
  const t = await openBucket();
  await t.store.put(plainPut(bucket, "log", patternBytes(20_000, 1)));
  await append(t, 20_000, patternBytes(10, 2));
  const { etag } = await append(t, 20_010, patternBytes(30_000, 3));
  assert.match(etag, /^[0-9a-f]{32}-3$/);
  const { info, parts } = await t.store.objectParts({ bucket, key, after: 0, limit: 10 });
  assert.deepEqual([info.partsCount, parts.map((part) => part.sizeBytes)], [3, [20_000, 10, 30_000]]);
  assert.ok((await readAll(await t.store.get({ bucket, key, partNumber: 2 }))).equals(patternBytes(10, 2)));
  let laid = 0;
  for await (const chunk of (await t.store.layout({ bucket, key })).chunks) {
    assert.equal(chunk.offset, laid);
    laid += chunk.sizeBytes;
  }
  assert.equal(laid, 50_010);
  await t.close();
});

/** Two of them are not joined. */
const ownPartBytes = limits.joinedPartBytesMax / 2 + 1;

async function sizesOfParts({ store }: TestStore): Promise<number[]> {
  const { parts } = await store.objectParts({ bucket, key, after: 0, limit: 100 });
  return parts.map(({ sizeBytes }) => sizeBytes);
}

void test("tiny appends share parts, each of which has the digests of its bytes", async () => {
  const t = await openBucket();
  await append(t, 0, patternBytes(20_000, 1));
  const etags = new Set<string>();
  const pieces: Buffer[] = [];
  for (let count = 0; count < 300; count++) {
    const piece = patternBytes(100, count);
    etags.add((await append(t, 20_000 + 100 * count, piece, { verifier: crc32 })).etag);
    pieces.push(piece);
  }
  assert.equal(etags.size, 300, "every append has a new ETag");
  const first = 100 * Math.floor(limits.joinedPartBytesMax / 100);
  assert.deepEqual(await sizesOfParts(t), [20_000, first, 30_000 - first]);
  const { parts } = await t.store.objectParts({ bucket, key, after: 1, limit: 1 });
  const joined = Buffer.concat(pieces).subarray(0, first);
  assert.equal(parts[0]!.etag, createHash("md5").update(joined).digest("hex"));
  assert.deepEqual(parts[0]!.checksum?.value, t.digests.whole(["crc32"], joined).crc32);
  assert.ok((await bytesOf(t)).equals(Buffer.concat([patternBytes(20_000, 1), ...pieces])));
  await assertClean(t);
  await t.close();
});

void test("who read the head before its last part was joined sees as many bytes of it", async () => {
  const t = await openBucket();
  await append(t, 0, patternBytes(20_000, 1));
  await append(t, 20_000, patternBytes(300, 2), { verifier: crc32 });
  const before = await bytesOf(t);
  const found = await t.store.get({ bucket, key });
  const [old] = await t.kv.get([await headOf(t)]);
  await append(t, 20_300, patternBytes(500, 3));
  assert.ok((await readAll(found)).equals(before));
  await t.kv.commit({ checks: [], writes: [{ kind: "put", key: await headOf(t), value: old!.value }] });
  assert.ok((await bytesOf(t)).equals(before));
  const part = await t.store.get({ bucket, key, partNumber: 2 });
  assert.ok(part.outcome === "found" && part.partChecksum === undefined, "the checksum is one of all that is there");
  assert.ok((await readAll(part)).equals(patternBytes(300, 2)));
  assert.deepEqual(await sizesOfParts(t), [20_000, 300]);
  let laid = 0;
  for await (const chunk of (await t.store.layout({ bucket, key })).chunks) laid += chunk.sizeBytes;
  assert.equal(laid, 20_300);
  await t.close();
});

void test("of two appends at once that would be joined with one last part one wins, and the other one leaves nothing", async () => {
  const t = await openBucket();
  await append(t, 0, patternBytes(20_000, 1));
  await append(t, 20_000, patternBytes(300, 2));
  const gateways = [await t.gateway(), await t.gateway()];
  const outcomes = await Promise.allSettled(
    gateways.map((gateway, index) => append(gateway, 20_300, patternBytes(200, index))),
  );
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  assert.deepEqual(await sizesOfParts(t), [20_000, 500]);
  await assertClean(t);
  await t.close();
});

void test("a last part that cannot be read hinders no append", async () => {
  const t = await openBucket();
  await append(t, 0, patternBytes(20_000, 1));
  await append(t, 20_000, patternBytes(300, 2));
  const chunks = [];
  for await (const chunk of (await t.store.layout({ bucket, key })).chunks) chunks.push(chunk);
  for (const drive of t.node.drives)
    await t.node.remove(drive, [{ chunk: chunks.at(-1)!.id as ChunkId, shardIndex: 0 }]);
  await append(t, 20_300, patternBytes(500, 3));
  assert.deepEqual(await sizesOfParts(t), [20_000, 300, 500]);
  assert.ok((await readAll(await t.store.get({ bucket, key, partNumber: 3 }))).equals(patternBytes(500, 3)));
  await t.close();
});

/** Computes a CRC32 and says that the client sent it. */
const crc32: BodyVerifier = {
  digests: ["crc32"],
  verify: (digests) => ({ algorithm: "crc32", value: digests.crc32! }),
};

void test("many small parts, with a large one among them, are read in their order; who leaves half-way waits for nothing", async () => {
  const t = await openBucket();
  const pieces = [
    20_000,
    ...Array.from({ length: 40 }, () => ownPartBytes),
    testChunkBytes + 9,
    ...Array.from({ length: 20 }, () => ownPartBytes + 7),
  ];
  let whole = Buffer.alloc(0);
  for (const [index, size] of pieces.entries()) {
    await append(t, whole.length, patternBytes(size, index));
    whole = Buffer.concat([whole, patternBytes(size, index)]);
  }
  assert.ok((await bytesOf(t)).equals(whole));
  const range = { kind: "from", first: 20_031, last: whole.length - 10 } as const;
  const some = await readAll(await t.store.get({ bucket, key, range }));
  assert.ok(some.equals(whole.subarray(range.first, range.last + 1)));
  const left = await t.store.get({ bucket, key });
  assert.ok(left.outcome === "found");
  for await (const piece of left.body()) if (piece.length === ownPartBytes) break;
  left.release();
  await t.store.delete({ bucket, key });
  await assertClean(t);
  await t.close();
});

void test("a CRC of the whole object is carried on, and another checksum goes", async () => {
  const t = await openBucket();
  const pieces = [patternBytes(50, 1), patternBytes(20_000, 2), patternBytes(70, 3)];
  let offset = 0;
  for (const [index, piece] of pieces.entries()) {
    const verifier = index === 2 ? noVerifier : crc32;
    const { checksum } = await append(t, offset, piece, { verifier });
    offset += piece.length;
    const { crc32: value } = t.digests.whole(["crc32"], Buffer.concat(pieces.slice(0, index + 1)));
    assert.deepEqual(checksum, { algorithm: "crc32", type: "FULL_OBJECT", value });
  }
  const sha: BodyVerifier = { digests: ["sha256"], verify: (d) => ({ algorithm: "sha256", value: d.sha256! }) };
  await t.store.put({ ...plainPut(bucket, "log", "x"), verifier: sha });
  assert.equal((await append(t, 1, pieces[0]!, { verifier: crc32 })).checksum, undefined);
  await t.close();
});

void test("an append for which a quota has no room leaves nothing, and one that fits is counted", async () => {
  const t = await openBucket();
  await append(t, 0, patternBytes(20_000));
  await t.store.setQuota(bucket, { bytesMax: 60_000, objectsMax: undefined });
  await fails(append(t, 20_000, patternBytes(40_001)), "quota_exceeded");
  await append(t, 20_000, patternBytes(40_000));
  await fails(append(t, 60_000, patternBytes(1)), "quota_exceeded");
  assert.equal((await t.store.quota(bucket)).held?.bytes, 60_000);
  await assertClean(t);
  await t.close();
});

void test("a body for which a quota has no room is not read", async () => {
  const t = await openBucket();
  await append(t, 0, patternBytes(20_000));
  await t.store.setQuota(bucket, { bytesMax: 60_000, objectsMax: 1 });
  const unread = (sizeBytes: number): Parameters<TestGateway["store"]["append"]>[0]["body"] => ({
    sizeBytes,
    collect: () => assert.fail("the body is not read"),
    stream: () => assert.fail("the body is not read"),
  });
  const none = Buffer.alloc(0);
  await fails(append(t, 20_000, none, { body: unread(40_001) }), "quota_exceeded");
  await fails(append(t, 0, none, { key: Buffer.from("second"), body: unread(20_000) }), "quota_exceeded");
  await append(t, 20_000, patternBytes(40_000));
  await t.close();
});

void test("a body that is not what its checksum says leaves nothing", async () => {
  const t = await openBucket();
  await append(t, 0, patternBytes(20_000));
  const verifier: BodyVerifier = {
    digests: [],
    verify: () => {
      throw new HoldfastError("checksum_mismatch", "It does not agree.");
    },
  };
  for (const size of [10, 50_000])
    await fails(append(t, 20_000, patternBytes(size), { verifier }), "checksum_mismatch");
  assert.equal((await bytesOf(t)).length, 20_000);
  await assertClean(t);
  await t.close();
});

void test("an object keeps what was said of it, and conditions are judged on it", async () => {
  const t = await openBucket();
  const metadata = { headers: { "content-type": "text/plain", "cache-control": "no-store" }, user: { a: "1" } };
  const given = new Map([["t", "v"]]);
  const { etag } = await append(t, 0, patternBytes(10), { metadata, tags: given });
  const typed = { headers: { "content-type": "other/type", "cache-control": "no-store" }, user: {} };
  await fails(append(t, 10, patternBytes(1), { conditions: { ifNoneMatch: "*" } }), "precondition_failed");
  await fails(append(t, 10, patternBytes(1), { conditions: { ifMatch: ["0".repeat(32)] } }), "precondition_failed");
  await append(t, 10, patternBytes(1), { metadata: typed, conditions: { ifMatch: [etag] } });
  const { info } = await t.store.head({ bucket, key });
  assert.deepEqual([info.metadata, info.tags], [metadata, given]);
  await fails(append(t, 11, patternBytes(1), { metadata: { headers: {}, user: { a: "1" } } }), "invalid_request");
  await fails(append(t, 11, patternBytes(1), { tags: given }), "invalid_request");
  const other = { headers: { "cache-control": "max-age=1" }, user: {} };
  await fails(append(t, 11, patternBytes(1), { metadata: other }), "invalid_request");
  await t.close();
});

void test("nothing, a wrong offset and buckets with versions are refused", async () => {
  const t = await openBucket();
  await fails(append(t, 0, Buffer.alloc(0)), "invalid_request");
  const unknown = { ...bodyOf(Buffer.alloc(0)), sizeBytes: undefined };
  await fails(append(t, 0, Buffer.alloc(0), { body: unknown }), "invalid_request");
  await fails(append(t, 5, patternBytes(5)), "invalid_write_offset");
  await fails(t.store.get({ bucket, key }), "no_such_key");
  for (const versioning of ["enabled", "suspended"] as const) {
    await t.store.setVersioning(bucket, versioning);
    await fails(append(t, 0, patternBytes(5)), "invalid_request");
  }
  await assertClean(t);
  await t.close();
});

void test("an object has at most 10,000 parts, over as many pages as they need; a copy begins to count anew", async () => {
  const t = await openBucket();
  const made = limits.partMapPageEntries + 2;
  const sizeOf = (part: number): number => (part === 0 ? 20_000 : ownPartBytes);
  for (let part = 0, offset = 0; part < made; offset += sizeOf(part++))
    await append(t, offset, patternBytes(sizeOf(part), part));
  assert.match((await t.store.head({ bucket, key })).info.etag, new RegExp(`-${made}$`));
  const pieces = Array.from({ length: made }, (_, part) => patternBytes(sizeOf(part), part));
  assert.ok((await bytesOf(t)).equals(Buffer.concat(pieces)));
  assert.ok((await readAll(await t.store.get({ bucket, key, partNumber: made }))).equals(pieces.at(-1)!));
  await assertClean(t);
  await setLastPartNumber(t, limits.partsMax);
  const before = Buffer.concat(pieces).length;
  await fails(append(t, before, patternBytes(ownPartBytes)), "too_many_parts");
  await append(t, before, patternBytes(2));
  const expected = Buffer.concat([...pieces, patternBytes(2)]);
  assert.ok((await bytesOf(t)).equals(expected), "the last part takes what it has room for");
  await t.store.copy({ source: { bucket, key }, bucket, key: Buffer.from("copy"), metadata: undefined });
  await append(t, expected.length, patternBytes(2, 9), { key: Buffer.from("copy") });
  assert.ok((await bytesOf(t, Buffer.from("copy"))).equals(Buffer.concat([expected, patternBytes(2, 9)])));
  assert.ok((await bytesOf(t)).equals(expected), "what was copied stays as it is");
  await t.close();
});

/** As if all the appends before had been made. */
async function setLastPartNumber({ kv }: TestStore, partNumber: number): Promise<void> {
  const [row] = await kv.get([await headOf({ kv } as TestStore)]);
  const { data } = decodeHead(row!.value);
  assert.ok(data.kind === "blob");
  const [rootRow] = await kv.get([blobRootKey(data.blob)]);
  const root = decodeBlobRoot(rootRow!.value);
  const pageKey = blobPageKey(data.blob, root.pages - 1);
  const [page] = await kv.get([pageKey]);
  const parts = decodePartPage(page!.value);
  const last = { ...parts.at(-1)!, partNumber };
  await kv.commit({
    checks: [],
    writes: [
      { kind: "put", key: blobRootKey(data.blob), value: encodeBlobRoot(root) },
      { kind: "put", key: pageKey, value: encodePartPage([...parts.slice(0, -1), last]) },
    ],
  });
}

void test("copies that are appended to again and again are refused before they lie too deep", async () => {
  const t = await openBucket();
  await append(t, 0, patternBytes(20_000));
  await append(t, 20_000, patternBytes(10));
  let length = 20_010;
  let from: Buffer = key;
  const copyAndAppend = async (to: Buffer): Promise<void> => {
    await t.store.copy({ source: { bucket, key: from }, bucket, key: to, metadata: undefined });
    await append(t, length, patternBytes(10, length), { key: to });
    length += 10;
    from = to;
  };
  for (let copy = 1; copy < limits.partsMapDepthMax; copy++) await copyAndAppend(Buffer.from(`copy-${copy}`));
  assert.equal((await bytesOf(t, from)).length, length);
  await fails(copyAndAppend(Buffer.from("too-deep")), "too_many_parts");
  assert.equal((await bytesOf(t, Buffer.from("too-deep"))).length, length);
  for (const { key: each } of (await t.store.list({ bucket, limit: 100 })).objects)
    await t.store.delete({ bucket, key: each });
  await assertClean(t);
  await t.close();
});

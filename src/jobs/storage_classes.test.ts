/** Two storage classes in one bucket: how each is stored, copied, converted and counted, and that nothing leaks on the way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { BodySource } from "../blob/blob.ts";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { seededRandom } from "../core/random.ts";
import { formatRedundancy, oneCopy, parseRedundancy } from "../core/redundancy.ts";
import { decodeHead, encodeHead } from "../meta/heads.ts";
import { headKey, tags, usageKey } from "../meta/keys.ts";
import type { ObjectMetadata } from "../object/object.ts";
import { bodyOf, noMetadata, noVerifier, patternBytes, plainPut, readAll } from "../object/object.fixture.ts";
import type { ObjectStore } from "../object/object_store.ts";
import { drain, findingsOf, rowsOf, startProcess, worldWith, type Process, type World } from "./jobs.fixture.ts";

const bucket = "photos";
const key = (name: string): Buffer => Buffer.from(name);
const reduced: ObjectMetadata = { headers: { "x-amz-storage-class": "REDUCED_REDUNDANCY" }, user: {} };
const other: ObjectMetadata = { headers: { "x-amz-storage-class": "STANDARD_IA" }, user: {} };
const large = patternBytes(limits.chunkBytesMax + 700_000);
const small = patternBytes(300_000, 2);

async function begin(text: string): Promise<{ readonly world: World; readonly process: Process; store: ObjectStore }> {
  const world = worldWith(text, 0);
  const process = await startProcess(world);
  await process.store.createBucket(bucket, { region: "here" });
  return { world, process, store: process.store };
}

function put(store: ObjectStore, name: string, bytes: Buffer, metadata = noMetadata): Promise<unknown> {
  return store.put({ ...plainPut(bucket, name, bytes), metadata });
}

function copy(store: ObjectStore, from: string, to: string, metadata: ObjectMetadata): Promise<unknown> {
  return store.copy({ source: { bucket, key: key(from) }, bucket, key: key(to), metadata });
}

async function upload(store: ObjectStore, name: string, metadata: ObjectMetadata): Promise<Buffer> {
  const address = { bucket, key: key(name) };
  const { id: uploadId } = await store.createUpload({ ...address, metadata });
  const bodies = [patternBytes(limits.partBytesMin, 3), small];
  const parts = [];
  for (const [index, bytes] of bodies.entries()) {
    const partNumber = index + 1;
    const part = { ...address, uploadId, partNumber, body: bodyOf(bytes), verifier: noVerifier };
    parts.push({ partNumber, etag: (await store.uploadPart(part)).etag });
  }
  await store.completeUpload({ ...address, uploadId, parts });
  return Buffer.concat(bodies);
}

/** What its chunks are stored with, as `holdfast explain` says it. */
async function storedAs(store: ObjectStore, name: string, within = bucket): Promise<string> {
  const { chunks } = await store.layout({ bucket: within, key: key(name) });
  const found = new Set<string>();
  for await (const { redundancy, places } of chunks) {
    const text = formatRedundancy(redundancy);
    assert.equal(places.length, redundancy.dataShards + redundancy.parityShards);
    found.add(text);
  }
  return [...found].toSorted().join(" ");
}

async function chunkIds(store: ObjectStore, name: string): Promise<string[]> {
  const { chunks } = await store.layout({ bucket, key: key(name) });
  const ids: string[] = [];
  for await (const { id } of chunks) ids.push(id);
  return ids;
}

const read = (store: ObjectStore, name: string): Promise<Buffer> => store.get({ bucket, key: key(name) }).then(readAll);

void test("what is put, or uploaded in parts, as REDUCED_REDUNDANCY has fewer shards; other classes have STANDARD's", async () => {
  const { world, process, store } = await begin("ec:4+2");
  await put(store, "standard", large);
  await put(store, "labelled", large, other);
  await put(store, "reduced", large, reduced);
  await put(store, "inline", Buffer.from("tiny"), reduced);
  const parts = await upload(store, "parts", reduced);
  const names = ["standard", "labelled", "reduced", "inline", "parts"];
  const stored = await Promise.all(names.map((name) => storedAs(store, name)));
  // Small chunks are copies that bear as many losses.
  assert.deepEqual(stored, ["ec:4+2", "ec:4+2", "ec:4+1", "", "ec:4+1"]);
  assert.ok((await read(store, "reduced")).equals(large));
  assert.ok((await read(store, "parts")).equals(parts));
  const { objects } = await store.list({ bucket, limit: 10 });
  assert.equal(objects.find((object) => object.key.equals(key("reduced")))?.storageClass, "REDUCED_REDUNDANCY");
  const { levels } = await store.storeUsage();
  assert.deepEqual(
    levels.map(({ redundancy, buckets, objects: count, bytes }) => [redundancy, buckets, count, bytes]),
    [
      ["ec:4+2", 1, 3, 2 * large.length + 4],
      ["ec:4+1", 0, 2, large.length + parts.length],
    ],
  );
  await drain(process);
  assert.deepEqual(await findingsOf(world), []);
});

void test("a copy shares bytes within its class, and has its own in another", async () => {
  const { world, process, store } = await begin("replica:3");
  await put(store, "standard", small);
  await put(store, "reduced", small, reduced);
  await upload(store, "parts", reduced);
  await copy(store, "standard", "standard to reduced", reduced);
  await copy(store, "reduced", "reduced to standard", noMetadata);
  await copy(store, "reduced", "reduced to other", other);
  await copy(store, "reduced", "reduced to reduced", { ...reduced, user: { a: "1" } });
  await copy(store, "standard", "standard to other", other);
  await copy(store, "parts", "parts to standard", noMetadata);
  const expected = {
    "standard to reduced": "replica:2",
    "reduced to standard": "replica:3",
    "reduced to other": "replica:3",
    "reduced to reduced": "replica:2",
    "standard to other": "replica:3",
    "parts to standard": "replica:3",
  };
  for (const [name, text] of Object.entries(expected)) assert.equal(await storedAs(store, name), text, name);
  assert.deepEqual(await chunkIds(store, "reduced to reduced"), await chunkIds(store, "reduced"));
  assert.deepEqual(await chunkIds(store, "standard to other"), await chunkIds(store, "standard"));
  // Onto itself it is another class from then on, there and back.
  for (const [metadata, text] of [
    [reduced, "replica:2"],
    [noMetadata, "replica:3"],
  ] as const) {
    await copy(store, "standard", "standard", metadata);
    assert.equal(await storedAs(store, "standard"), text);
  }
  for (const name of ["standard", "reduced", "parts"]) await store.delete({ bucket, key: key(name) });
  await drain(process);
  for (const name of Object.keys(expected).slice(0, 5)) assert.ok((await read(store, name)).equals(small), name);
  assert.deepEqual(await findingsOf(world), []);
});

void test("a copy to another bucket shares bytes unless its class bears more losses there", async () => {
  const { world, process, store } = await begin("replica:3");
  await store.createBucket("safe", { region: "here" });
  await store.setRedundancy(bucket, { redundancy: parseRedundancy("replica:2"), reducedRedundancy: oneCopy });
  await put(store, "standard", small);
  await put(store, "reduced", small, reduced);
  const between = (from: string, to: string, name: string, metadata: ObjectMetadata): Promise<unknown> =>
    store.copy({ source: { bucket: from, key: key(name) }, bucket: to, key: key(name), metadata });
  await between(bucket, "safe", "standard", noMetadata);
  await between(bucket, "safe", "reduced", reduced);
  assert.equal(await storedAs(store, "standard", "safe"), "replica:3");
  assert.equal(await storedAs(store, "reduced", "safe"), "replica:2");
  await between("safe", bucket, "standard", noMetadata);
  assert.equal(await storedAs(store, "standard"), "replica:3", "what bears fewer losses may share what bears more");
  await drain(process);
  assert.deepEqual(await findingsOf(world), []);
});

void test("a change of either redundancy brings each class to its own, and objects of earlier versions to STANDARD's", async () => {
  const { world, process, store } = await begin("ec:4+2");
  await put(store, "standard", large);
  await put(store, "reduced", large, reduced);
  await upload(store, "parts", reduced);
  await copy(store, "reduced", "copy", reduced);
  // As it was written before classes were stored in their own ways: with the label, and shared with another class.
  await put(store, "old", large);
  await copy(store, "old", "old copy", noMetadata);
  const { bucket: info } = await store.createBucket(bucket, { region: "here" });
  const row = headKey(info.id, key("old"));
  const head = decodeHead((await world.kv.get([row]))[0]!.value);
  const value = encodeHead({ ...head, metadata: reduced });
  await world.kv.commit({ checks: [], writes: [{ kind: "put", key: row, value }] });
  for (const [asked, standard, weaker] of [
    [{ redundancy: parseRedundancy("ec:3+2") }, "ec:3+2", "ec:3+1"],
    [{ reducedRedundancy: parseRedundancy("ec:2+1") }, "ec:3+2", "ec:2+1"],
    [{ redundancy: parseRedundancy("replica:1") }, "replica:1", "replica:1"],
    [{ redundancy: undefined, reducedRedundancy: undefined }, "ec:4+2", "ec:4+1"],
  ] as const) {
    await store.setRedundancy(bucket, asked);
    // Told of the other class meanwhile, it does not forget what it was told first.
    await store.setRedundancy(bucket, { reducedRedundancy: (await store.bucket(bucket)).reducedRedundancy });
    await drain(process);
    for (const name of ["standard", "old", "old copy"]) assert.equal(await storedAs(store, name), standard, name);
    for (const name of ["reduced", "copy", "parts"]) assert.equal(await storedAs(store, name), weaker, name);
    assert.deepEqual(await rowsOf(world.kv, tags.conversion), []);
    assert.deepEqual(await findingsOf(world), []);
  }
  assert.ok((await read(store, "copy")).equals(large));
  // A copy onto itself is how such an object gets what its label says.
  await copy(store, "old", "old", reduced);
  assert.deepEqual([await storedAs(store, "old"), await storedAs(store, "old copy")], ["ec:4+1", "ec:4+2"]);
  await drain(process);
  assert.deepEqual(await findingsOf(world), []);
});

void test("what is appended is of the class of what it is appended to", async () => {
  const { world, process, store } = await begin("replica:3");
  const append = (name: string, offset: number, metadata: ObjectMetadata, bytes = small) =>
    store.append({ bucket, key: key(name), offset, body: bodyOf(bytes), verifier: noVerifier, metadata });
  await put(store, "reduced", small, reduced);
  await append("reduced", small.length, noMetadata);
  await append("reduced", 2 * small.length, noMetadata, Buffer.from("tiny"));
  await put(store, "inline", Buffer.from("tiny"), reduced);
  await append("inline", 4, noMetadata);
  await append("new", 0, reduced);
  await put(store, "standard", small);
  await append("standard", small.length, noMetadata);
  for (const name of ["reduced", "inline", "new"]) assert.equal(await storedAs(store, name), "replica:2", name);
  assert.equal(await storedAs(store, "standard"), "replica:3");
  assert.ok((await read(store, "inline")).equals(Buffer.concat([Buffer.from("tiny"), small])));
  // Replaced by one of the other class while the body comes.
  await put(store, "replaced", small);
  const body: BodySource = {
    ...bodyOf(small),
    async *stream() {
      await put(store, "replaced", small, reduced);
      yield Buffer.from(small);
    },
  };
  const address = { bucket, key: key("replaced"), offset: small.length };
  await assert.rejects(store.append({ ...address, body, verifier: noVerifier, metadata: noMetadata }), (error) =>
    hasReason(error, "operation_aborted"),
  );
  await drain(process);
  assert.deepEqual(await findingsOf(world), []);
});

void test("a commit over several keys renames what is of either class, and copies within a class only", async () => {
  const { world, process, store } = await begin("replica:3");
  await put(store, "a", small, reduced);
  const commit = (entry: object): Promise<unknown> =>
    store.commit({ bucket, entries: [entry as Parameters<ObjectStore["commit"]>[0]["entries"][number]] });
  await assert.rejects(
    commit({ kind: "copy", key: key("b"), source: { key: key("a") }, metadata: noMetadata }),
    (error) => hasReason(error, "invalid_request") && error.message.includes("storage class"),
  );
  await commit({ kind: "copy", key: key("b"), source: { key: key("a") } });
  await commit({ kind: "rename", key: key("c"), source: { key: key("a") } });
  assert.deepEqual([await storedAs(store, "b"), await storedAs(store, "c")], ["replica:2", "replica:2"]);
  await copy(store, "c", "d", noMetadata);
  assert.equal(await storedAs(store, "d"), "replica:3");
  await drain(process);
  assert.deepEqual(await findingsOf(world), []);
});

for (const quota of ["without a quota", "with one"])
  void test(`whatever becomes of versions of both classes, the counters say what is there, in a bucket ${quota}`, async () => {
    const { world, process, store } = await begin("replica:2");
    await store.setRedundancy(bucket, { reducedRedundancy: parseRedundancy("replica:1") });
    const random = seededRandom(7);
    if (quota === "with one") await store.setQuota(bucket, { bytesMax: 2 ** 40, objectsMax: undefined });
    const pick = <T>(all: readonly T[]): T => all[random.below(all.length)]!;
    const body = patternBytes(limits.inlineBytesMax + 1);
    for (const versioning of [undefined, "enabled", "suspended", "enabled"] as const) {
      if (versioning !== undefined) await store.setVersioning(bucket, versioning);
      for (let step = 0; step < 60; step++) {
        const name = pick(["a", "b", "c"]);
        const metadata = pick([noMetadata, reduced]);
        const dice = random.below(6);
        if (dice < 3) await put(store, name, pick([body, Buffer.from("tiny")]), metadata);
        else if (dice === 3) await copy(store, pick(["a", "b", "c"]), name, metadata).catch(onlyMissing);
        else if (dice === 4) await store.delete({ bucket, key: key(name) });
        else {
          const { versions } = await store.listVersions({ bucket, limit: 100 });
          const found = versions.length === 0 ? undefined : pick(versions);
          if (found !== undefined) await store.delete({ bucket, key: found.key, versionId: found.versionId ?? "null" });
        }
      }
      assert.deepEqual(await findingsOf(world, false), [], `${versioning}`);
    }
    await drain(process);
    assert.deepEqual(await findingsOf(world), []);
    const { levels } = await store.storeUsage();
    assert.ok(levels.find(({ redundancy }) => redundancy === "replica:1")!.bytes > 0);
  });

function onlyMissing(error: unknown): void {
  if (!hasReason(error, "no_such_key", "invalid_request")) throw error;
}

void test("what one process counted of the reduced class and another one took away is no level of the store", async () => {
  const { world, store } = await begin("replica:3");
  await put(store, "a", small, reduced);
  const second = await startProcess(world);
  await second.store.delete({ bucket, key: key("a") });
  const { levels } = await store.storeUsage();
  assert.deepEqual(
    levels.map(({ redundancy }) => redundancy),
    ["replica:3"],
  );
});

void test("doctor sees a counter of the reduced class that is wrong", async () => {
  const { world, process, store } = await begin("replica:2");
  await put(store, "a", small, reduced);
  const { id } = await store.bucket(bucket);
  const add = usageKey(id, process.session.id);
  await world.kv.commit({
    checks: [],
    writes: [{ kind: "add", key: add, deltas: [0, 0, 0, 0, 0, 0, 0, 1] }],
  });
  const [finding, ...others] = await findingsOf(world);
  assert.deepEqual([finding?.kind, others], ["wrong_usage", []]);
  assert.match(finding!.message, /of the reduced class 2 objects.*of the reduced class 1 objects/);
});

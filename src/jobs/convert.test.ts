/** A bucket's redundancy is changed: what it has is stored anew, while it is read, and whatever dies on the way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { BodySource } from "../blob/blob.ts";
import { hasReason } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { CustomerKey } from "../crypto/customer_key.ts";
import { formatRedundancy, parseRedundancy, type AskedRedundancies } from "../core/redundancy.ts";
import { decodeChunkPage, type ChunkRecord } from "../meta/chunk_pages.ts";
import { decodeBlobRoot } from "../meta/blobs.ts";
import { bucketIdOf, headKey, parseBlobKey, tags } from "../meta/keys.ts";
import { bodyOf, noMetadata, noVerifier, patternBytes, plainPut, readAll } from "../object/object.fixture.ts";
import type { BucketInfo } from "../object/object.ts";
import type { ObjectStore } from "../object/object_store.ts";
import { Crash, drain, findingsOf, Fuse, nodeWithout, rowsOf, startProcess, worldWith } from "./jobs.fixture.ts";
import type { Fate, World } from "./jobs.fixture.ts";
import { fenceOthers } from "./sessions.ts";

const bucket = "photos";
const key = (name: string): Buffer => Buffer.from(name);
const large = patternBytes(limits.chunkBytesMax + 700_000);
const small = patternBytes(limits.inlineBytesMax + 1);
const part = patternBytes(limits.partBytesMin);
const objects: readonly (readonly [string, Buffer])[] = [
  ["copy", large],
  ["inline", Buffer.from("tiny")],
  ["large", large],
  ["multipart", Buffer.concat([part, small])],
  ["small", small],
];

async function fill(store: ObjectStore): Promise<void> {
  await store.createBucket(bucket, { region: "here" });
  for (const [name, bytes] of objects)
    if (name !== "copy" && name !== "multipart") await store.put(plainPut(bucket, name, bytes));
  await store.copy({ source: { bucket, key: key("large") }, bucket, key: key("copy"), metadata: undefined });
  const { id } = await store.createUpload({ bucket, key: key("multipart"), metadata: noMetadata });
  const parts = [];
  for (const [index, bytes] of [part, small].entries()) {
    const upload = { bucket, key: key("multipart"), uploadId: id, partNumber: index + 1 };
    const { etag } = await store.uploadPart({ ...upload, body: bodyOf(bytes), verifier: noVerifier });
    parts.push({ partNumber: index + 1, etag });
  }
  await store.completeUpload({ bucket, key: key("multipart"), uploadId: id, parts });
}

async function assertReadable(store: ObjectStore): Promise<void> {
  for (const [name, bytes] of objects)
    assert.ok((await store.get({ bucket, key: key(name) }).then(readAll)).equals(bytes), name);
}

async function chunksOf({ kv }: World): Promise<ChunkRecord[]> {
  const rows = await rowsOf(kv, tags.blob);
  const chunked = new Set(
    rows
      .filter((row) => parseBlobKey(row.key).page === undefined && decodeBlobRoot(row.value).kind === "chunks")
      .map((row) => parseBlobKey(row.key).blob),
  );
  return rows
    .filter((row) => parseBlobKey(row.key).page !== undefined && chunked.has(parseBlobKey(row.key).blob))
    .flatMap((row) => decodeChunkPage(row.value));
}

const storedAs = async (world: World): Promise<Set<string>> =>
  new Set((await chunksOf(world)).map(({ redundancy }) => formatRedundancy(redundancy)));

async function settle(world: World): Promise<ObjectStore> {
  const process = await startProcess(world);
  await fenceOthers(world.kv, [process.session.id]);
  await drain(process);
  return process.store;
}

void test("what is encrypted is stored anew, mended and looked through without a key", async () => {
  const world = worldWith("ec:4+2", 1);
  const process = await startProcess({ ...world, redundancy: parseRedundancy("replica:2") });
  const { store: writer } = process;
  await writer.createBucket(bucket, { region: "here" });
  const customerKey = new CustomerKey(patternBytes(32));
  const encryption = { mode: "customer", key: customerKey } as const;
  await writer.put({ ...plainPut(bucket, "sealed", large), encryption });
  const copy = { bucket, key: key("copy"), metadata: undefined, encryption };
  await writer.copy({ source: { bucket, key: key("sealed"), customerKey }, ...copy });
  const read = async (store: ObjectStore, name: string): Promise<void> => {
    const bytes = await store.get({ bucket, key: key(name), customerKey }).then(readAll);
    assert.ok(bytes.equals(large), name);
  };
  for (const text of ["ec:4+2", "replica:3", "ec:4+2"]) {
    await process.store.setRedundancy(bucket, { redundancy: parseRedundancy(text) });
    await drain(process);
    assert.deepEqual(await storedAs(world), new Set([text]));
    assert.deepEqual(await findingsOf(world), []);
    for (const name of ["sealed", "copy"]) await read(process.store, name);
  }
  assert.ok((await chunksOf(world)).every(({ isSealed }) => isSealed === true));
  const [lost] = world.node.drives;
  const left = await startProcess({ ...world, node: nodeWithout(world.node, new Set([lost!])) });
  await fenceOthers(world.kv, [left.session.id]);
  await drain(left);
  const places = (await chunksOf(world)).flatMap((chunk) => chunk.places.map(({ drive }) => drive));
  assert.ok(!places.includes(lost!), "what lay on the lost drive was made anew");
  for (const name of ["sealed", "copy"]) await read(left.store, name);
});

void test("what a bucket has is stored with its new redundancy, read meanwhile, and back again", async () => {
  const world = worldWith("ec:4+2", 0);
  const process = await startProcess({ ...world, redundancy: parseRedundancy("replica:2") });
  await fill(process.store);
  assert.deepEqual(await storedAs(world), new Set(["replica:2"]));
  for (const [text, expected] of [
    ["ec:4+2", ["ec:4+2", "replica:3"]],
    ["replica:1", ["replica:1"]],
    ["replica:3", ["replica:3"]],
  ] as const) {
    await process.store.setRedundancy(bucket, { redundancy: parseRedundancy(text) });
    // Reads that began before find their bytes where they were told they are.
    const reads = await Promise.all(objects.map(([name]) => process.store.get({ bucket, key: key(name) })));
    await drain({ ...process, jobs: process.jobs.filter(({ name }) => name === "convert") });
    assert.deepEqual(await storedAs(world), new Set(expected), text);
    for (const [index, found] of reads.entries()) assert.ok((await readAll(found)).equals(objects[index]![1]));
    await drain(process);
    await assertReadable(process.store);
    assert.deepEqual(await findingsOf(world), []);
    for (const tag of [tags.conversion, tags.stray, tags.relocation, tags.repair])
      assert.deepEqual(await rowsOf(world.kv, tag), []);
  }
});

void test("versions that are not current are stored with the new redundancy too, however many a key has", async () => {
  const world = worldWith("replica:2", 1);
  const process = await startProcess({ ...world, redundancy: parseRedundancy("replica:2") });
  const { store } = process;
  await store.createBucket(bucket, { region: "here" });
  await store.setVersioning(bucket, "enabled");
  const put = (name: string, bytes: Buffer | string) => store.put(plainPut(bucket, name, bytes));
  const { versionId } = await put("deep", small);
  // More than one step of the walk reads, so that it goes on in the middle of the key.
  for (let index = 0; index < 200; index++) await put("deep", `${index}`);
  await put("deleted", small);
  await store.delete({ bucket, key: key("deleted") });
  await put("replaced", large);
  await put("replaced", "tiny");
  await store.setRedundancy(bucket, { redundancy: parseRedundancy("replica:3") });
  await drain({ ...process, jobs: process.jobs.filter(({ name }) => name === "convert") });
  assert.deepEqual(await storedAs(world), new Set(["replica:3"]));
  assert.ok((await store.get({ bucket, key: key("deep"), versionId: versionId! }).then(readAll)).equals(small));
  await drain(process);
  assert.deepEqual(await findingsOf(world), []);
});

/** Returns whether the conversion got as far as the step. */
async function failAt(step: number, fate: Fate): Promise<boolean> {
  const world = worldWith("ec:2+1", 0);
  const writer = await startProcess({ ...world, redundancy: parseRedundancy("replica:1") });
  await fill(writer.store);
  await writer.store.setRedundancy(bucket, { redundancy: parseRedundancy("ec:2+1") });
  const fuse = new Fuse(step, fate);
  try {
    const process = await startProcess(fuse.wrap(world));
    await drain({ ...process, jobs: process.jobs.filter(({ name }) => name === "convert") });
  } catch (error) {
    if (!(error instanceof Crash) && !hasReason(error, "unavailable")) throw error;
  }
  const store = await settle(world);
  await assertReadable(store);
  assert.deepEqual(await findingsOf(world), [], `call ${step} ${fate}`);
  assert.deepEqual(await storedAs(world), new Set(["ec:2+1", "replica:2"]));
  for (const tag of [tags.conversion, tags.stray]) assert.deepEqual(await rowsOf(world.kv, tag), []);
  return fuse.burnt;
}

for (const fate of ["dies", "fails before", "fails after"] as const) {
  void test(`a process that converts ${fate} at any call, and nothing leaks and nothing is lost`, async () => {
    let step = 1;
    while (await failAt(step, fate)) step += 3;
    assert.ok(step > 30, `the conversion has ${step} calls`);
  });
}

void test("what is stored anew while a drive is away gets the shard that it lacks when the drive is back", async () => {
  const world = worldWith("replica:2", 1);
  const away = new Set<DriveId>();
  const process = await startProcess({ ...world, node: nodeWithout(world.node, away) });
  await fill(process.store);
  away.add(world.node.drives[0]!);
  await process.store.setRedundancy(bucket, { redundancy: parseRedundancy("replica:3") });
  const convert = process.jobs.find(({ name }) => name === "convert")!;
  while ((await convert.run(new AbortController().signal)).more);
  assert.ok((await chunksOf(world)).some(({ places }) => places.length === 2));
  away.clear();
  await drain(process);
  assert.ok((await chunksOf(world)).every(({ places }) => places.length === 3));
  assert.deepEqual(await findingsOf(world), []);
});

void test("a bucket of which something has to be left holds up no other one, nor does one whose rows cannot be read", async () => {
  const world = worldWith("replica:1", 2);
  const { store, jobs } = await startProcess(world);
  const names = ["one", "two", "three"];
  for (const name of names) {
    await store.createBucket(name, { region: "here" });
    await store.put(plainPut(name, "a", patternBytes(100_000)));
  }
  const infos = await Promise.all(names.map((name) => store.bucket(name)));
  const [first, second, last] = infos.toSorted((a, b) => (a.id < b.id ? -1 : 1)) as [
    BucketInfo,
    BucketInfo,
    BucketInfo,
  ];
  // There are too few drives for what the first one wants.
  await store.setRedundancy(first.name, { redundancy: parseRedundancy("ec:4+2") });
  for (const { name } of [second, last]) await store.setRedundancy(name, { redundancy: parseRedundancy("replica:3") });
  const row = headKey(second.id, key("a"));
  const [head] = await world.kv.get([row]);
  await world.kv.commit({ checks: [], writes: [{ kind: "put", key: row, value: Buffer.from("ff", "hex") }] });
  const convert = jobs.find(({ name }) => name === "convert")!;
  const run = () => convert.run(new AbortController().signal);
  await assert.rejects(
    async () => {
      while ((await run()).more);
    },
    (error) => hasReason(error, "corrupt_record"),
  );
  assert.deepEqual(await storedAs(world), new Set(["replica:1"]));
  await run();
  assert.equal((await chunksOf(world)).filter(({ places }) => places.length === 3).length, 1, "the last one's");
  await world.kv.commit({ checks: [], writes: [{ kind: "put", key: row, value: head!.value }] });
  while ((await run()).more);
  assert.equal((await chunksOf(world)).filter(({ places }) => places.length === 3).length, 2);
  const left = (await rowsOf(world.kv, tags.conversion)).map((each) => bucketIdOf(each.key));
  assert.deepEqual(left, [first.id], "it is tried again later");
});

void test("a body that was on its way when the redundancy was changed is stored with the new one in the end", async () => {
  const world = worldWith("replica:1", 2);
  const process = await startProcess(world);
  const { store } = process;
  await store.createBucket(bucket, { region: "here" });
  /** The change, and the conversion after it, come while the body does. */
  const bodyAcross = (asked: Partial<AskedRedundancies>): BodySource => ({
    ...bodyOf(small),
    async *stream() {
      yield Buffer.from(small.subarray(0, 10_000));
      await store.setRedundancy(bucket, asked);
      await drain(process);
      assert.deepEqual(await rowsOf(world.kv, tags.conversion), []);
      yield Buffer.from(small.subarray(10_000));
    },
  });
  const two = parseRedundancy("replica:2");
  const three = parseRedundancy("replica:3");
  await store.put({ ...plainPut(bucket, "put", small), body: bodyAcross({ redundancy: two }) });
  await drain(process);
  assert.deepEqual(await storedAs(world), new Set(["replica:2"]));
  const more = { bucket, key: key("put"), offset: small.length, metadata: noMetadata, verifier: noVerifier };
  await store.append({ ...more, body: bodyAcross({ redundancy: three }) });
  await drain(process);
  assert.deepEqual(await storedAs(world), new Set(["replica:3"]));
  const metadata = { headers: { "x-amz-storage-class": "REDUCED_REDUNDANCY" }, user: {} } as const;
  await store.delete({ bucket, key: key("put") });
  const reducedRedundancy = parseRedundancy("replica:1");
  await store.put({ ...plainPut(bucket, "reduced", small), metadata, body: bodyAcross({ reducedRedundancy }) });
  await drain(process);
  assert.deepEqual(await storedAs(world), new Set(["replica:1"]));
  assert.deepEqual(await findingsOf(world), []);
});

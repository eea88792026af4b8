/**
 * A process dies, or meets an error of unknown outcome, at any single call to store and drive. Afterwards its session is
 * fenced, the jobs run, and doctor finds nothing; once everything visible is deleted nothing is left at all.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { tags } from "../meta/keys.ts";
import { bodyOf, noMetadata, noVerifier, plainPut, readAll } from "../object/object.fixture.ts";
import type { ObjectStore } from "../object/object_store.ts";
import { Crash, drain, findingsOf, Fuse, newWorld, rowsOf, startProcess } from "./jobs.fixture.ts";
import type { Fate, Process, World } from "./jobs.fixture.ts";
import { fenceOthers } from "./sessions.ts";

const bucket = "photos";
const key = Buffer.from("album");
const big = Buffer.alloc(limits.partBytesMin, "holdfast");
const chunked = Buffer.alloc(limits.inlineBytesMax + 1, "x");

function start(store: ObjectStore): Promise<string> {
  return store.createUpload({ bucket, key, metadata: noMetadata }).then((upload) => upload.id);
}

async function part(store: ObjectStore, uploadId: string, partNumber: number, bytes: Buffer) {
  const body = bodyOf(bytes);
  const { etag } = await store.uploadPart({ bucket, key, uploadId, partNumber, body, verifier: noVerifier });
  return { partNumber, etag };
}

async function story(process: Process): Promise<void> {
  const { store } = process;
  await store.createBucket(bucket, { region: "here" });
  await store.put(plainPut(bucket, "album", chunked));
  const given = await start(store);
  await part(store, given, 1, chunked);
  const uploadId = await start(store);
  await part(store, uploadId, 1, chunked);
  const first = await part(store, uploadId, 1, big);
  const second = await part(store, uploadId, 2, Buffer.from("the end"));
  await part(store, uploadId, 3, chunked);
  await store.abortUpload({ bucket, key, uploadId: given });
  await store.completeUpload({ bucket, key, uploadId, parts: [first, second] });
  await store.copy({ source: { bucket, key }, bucket, key: Buffer.from("copy"), metadata: undefined });
  await drain(process);
  await store.delete({ bucket, key });
  await store.delete({ bucket, key: Buffer.from("copy") });
  await drain(process);
}

/** What the object is after each append, the first one onto nothing. */
const appended = [
  Buffer.from("a small one;"),
  Buffer.from("joined;"),
  chunked,
  Buffer.from("tail;"),
  Buffer.from("last"),
];
const grown = appended.map((_, index) => Buffer.concat(appended.slice(0, index + 1)));

/** Small, joined, made parts of, extended; and what a copy shares, which becomes a part of another. */
async function appendStory(process: Process): Promise<void> {
  const { store } = process;
  const append = (bytes: Buffer, offset: number, to = key) =>
    store.append({ bucket, key: to, offset, body: bodyOf(bytes), metadata: noMetadata, verifier: noVerifier });
  await store.createBucket(bucket, { region: "here" });
  for (const [index, bytes] of appended.slice(0, -1).entries()) await append(bytes, grown[index - 1]?.length ?? 0);
  const copy = Buffer.from("copy");
  await store.copy({ source: { bucket, key }, bucket, key: copy, metadata: undefined });
  await append(appended.at(-1)!, grown.at(-2)!.length);
  await append(chunked, grown.at(-2)!.length, copy);
  await drain(process);
  await store.delete({ bucket, key });
  await store.delete({ bucket, key: copy });
  await drain(process);
}

async function assertNothingLeft({ kv, node }: World, process: Process): Promise<void> {
  const { store } = process;
  for (const { name } of (await store.listBuckets({ limit: 10 })).buckets) {
    for (const object of (await store.list({ bucket: name, limit: 100 })).objects)
      await store.delete({ bucket: name, key: object.key });
    for (const upload of (await store.listUploads({ bucket: name, limit: 100 })).uploads)
      await store.abortUpload({ bucket: name, key: upload.key, uploadId: upload.id });
  }
  await drain(process);
  const { blob, trash, upload, part, leftover, abandoned, ended, body } = tags;
  for (const tag of [blob, trash, upload, part, leftover, abandoned, ended, body])
    assert.deepEqual(await rowsOf(kv, tag), [], `rows of family ${tag}`);
  for (const drive of node.drives) assert.deepEqual(await node.list(drive, { limit: 10 }), []);
}

type Story = { readonly run: (process: Process) => Promise<void>; readonly whole: readonly Buffer[] };
const stories: Readonly<Record<string, Story>> = {
  "that puts and uploads": { run: story, whole: [chunked, Buffer.concat([big, Buffer.from("the end")])] },
  "that appends": { run: appendStory, whole: grown },
};

/** Returns whether the story got as far as the step. */
async function failAt({ run, whole }: Story, step: number, fate: Fate): Promise<boolean> {
  const world = newWorld();
  const fuse = new Fuse(step, fate);
  try {
    const process = await startProcess(fuse.wrap(world));
    try {
      await run(process);
    } finally {
      if (fate !== "dies") await process.session.close();
    }
  } catch (error) {
    if (!(error instanceof Crash) && !hasReason(error, "unavailable")) throw error;
  }
  const process = await startProcess(world);
  await fenceOthers(world.kv, [process.session.id]);
  await drain(process);
  assert.deepEqual(await findingsOf(world), [], `call ${step} ${fate}`);
  const read = await process.store.get({ bucket, key }).then(readAll, () => undefined);
  assert.ok(read === undefined || whole.some((bytes) => bytes.equals(read)), "an object is whole or not there");
  await assertNothingLeft(world, process);
  return fuse.burnt;
}

for (const [what, each] of Object.entries(stories))
  for (const fate of ["dies", "fails before", "fails after"] as const) {
    void test(`a process ${what} ${fate} at any call, and nothing leaks and nothing breaks`, async () => {
      let step = 1;
      while (await failAt(each, step, fate)) step += fate === "dies" ? 1 : 2;
      assert.ok(step > 60, `the story has ${step} calls`);
    });
  }

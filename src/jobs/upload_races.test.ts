/** Calls on one upload at the same time, interleaved by a seed: what was answered agrees with what is there, and nothing leaks. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { seededRandom } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { tags } from "../meta/keys.ts";
import { bodyOf, noMetadata, noVerifier, plainPut, readAll } from "../object/object.fixture.ts";
import { drain, findingsOf, newWorld, rowsOf, startProcess } from "./jobs.fixture.ts";
import { fenceOthers } from "./sessions.ts";

const bucket = "photos";
const key = Buffer.from("album");
const big = Buffer.alloc(limits.partBytesMin, "holdfast");
const runs = 40;

/** Every call waits a few turns of the event loop before it is made. */
function shuffled(kv: Kv, seed: number): Kv {
  const random = seededRandom(seed);
  const later = async <T>(run: () => Promise<T>): Promise<T> => {
    for (let turns = random.below(6); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
    return run();
  };
  return {
    name: "shuffled",
    get: (keys) => later(() => kv.get(keys)),
    scan: (range, options) => later(() => kv.scan(range, options)),
    commit: (commit) => later(() => kv.commit(commit)),
    close: () => kv.close(),
  };
}

const md5 = (bytes: Buffer) => createHash("md5").update(bytes).digest();

async function race(seed: number): Promise<void> {
  const world = newWorld();
  const { store } = await startProcess({ ...world, kv: shuffled(world.kv, seed) });
  await store.createBucket(bucket, { region: "here" });
  await store.put(plainPut(bucket, "album", "before"));
  const upload = { bucket, key, uploadId: (await store.createUpload({ bucket, key, metadata: noMetadata })).id };
  const put = async (partNumber: number, bytes: Buffer) =>
    (await store.uploadPart({ ...upload, partNumber, body: bodyOf(bytes), verifier: noVerifier })).etag;
  const ends = [Buffer.from("first end"), Buffer.from("other end")];
  const etags = [await put(1, big), await put(2, ends[0]!)];
  const asked = (end: Buffer) => [
    { partNumber: 1, etag: etags[0]! },
    { partNumber: 2, etag: md5(end).toString("hex") },
  ];
  const complete = (end: Buffer) => store.completeUpload({ ...upload, parts: asked(end) });
  const calls: Promise<unknown>[] = [complete(ends[0]!), put(2, ends[1]!), complete(ends[1]!), complete(ends[0]!)];
  if (seed % 2 === 0) calls.push(store.abortUpload(upload).then(() => "aborted"));
  const outcomes = await Promise.allSettled(calls);
  for (const outcome of outcomes) {
    if (outcome.status === "fulfilled") continue;
    const expected = hasReason(outcome.reason, "no_such_upload", "operation_aborted", "invalid_part");
    assert.ok(expected, `seed ${seed}: ${String(outcome.reason)}`);
  }
  const won = [0, 2, 3].filter((index) => outcomes[index]!.status === "fulfilled");
  const aborted = outcomes[4]?.status === "fulfilled";
  assert.ok(!(aborted && won.length > 0), `seed ${seed}: an upload ends once`);
  const bytes = await readAll(await store.get({ bucket, key }));
  const winners = won.map((index) => Buffer.concat([big, ends[index === 2 ? 1 : 0]!]));
  if (winners.length === 0) assert.equal(bytes.toString(), "before", `seed ${seed}`);
  for (const winner of winners) assert.ok(winner.equals(bytes), `seed ${seed}: every winner told of the same object`);
  const process = await startProcess(world);
  const open = await process.store.listUploads({ bucket, limit: 10 });
  assert.equal(open.uploads.length, aborted || won.length > 0 ? 0 : 1, `seed ${seed}`);
  if (open.uploads.length > 0) await process.store.abortUpload(upload);
  await fenceOthers(world.kv, [process.session.id]);
  await drain(process);
  assert.deepEqual(await findingsOf(world), [], `seed ${seed}`);
  assert.equal((await rowsOf(world.kv, tags.part)).length, 0);
  const blobs = (await rowsOf(world.kv, tags.blob)).filter((row) => row.key.length === 17).length;
  assert.equal(blobs, winners.length > 0 ? 3 : 0, `seed ${seed}`);
}

void test(`${runs} races of completing, aborting and replacing parts`, async () => {
  for (let seed = 1; seed <= runs; seed++) await race(seed);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../core/clock.ts";
import { hasReason, HoldfastError } from "../core/errors.ts";
import { silentLog } from "../core/log.ts";
import { limits } from "../core/limits.ts";
import { systemRandom } from "../core/random.ts";
import { sessionOf } from "../core/ids.ts";
import type { BucketId, ChunkId, SessionId, UploadId } from "../core/ids.ts";
import type { Commit, Kv } from "../kv/kv.ts";
import { encodeBlobRoot, newChunkedBlobWrites, type PartRecord } from "../meta/blobs.ts";
import {
  blobRootKey,
  endedKey,
  finishedKey,
  headKey,
  leftoverKey,
  partKey,
  tags,
  trashKey,
  usageKey,
} from "../meta/keys.ts";
import { encodeEnded, fenceSession, readSessions } from "../meta/sessions.ts";
import { encodeFinished, encodeLeftover, encodePart } from "../meta/uploads.ts";
import { bodyOf, noMetadata, noVerifier, plainPut, readAll } from "../object/object.fixture.ts";
import { drain, findingsOf, newWorld, rowsOf, startProcess, type Process, type World } from "./jobs.fixture.ts";
import { FinishedUploadsJob } from "./ended_uploads.ts";
import { takeLease } from "./leases.ts";
import { FenceJob, fenceDead, fenceOthers, sweepAll, sweepSuspects } from "./sessions.ts";

const bucket = "photos";
const key = Buffer.from("album");
const chunked = Buffer.alloc(limits.inlineBytesMax + 1, "x");

async function worldWithBucket() {
  const world = newWorld();
  const process = await startProcess(world);
  const { bucket: info } = await process.store.createBucket(bucket, { region: "here" });
  return { world, process, info };
}

async function shards({ node }: World): Promise<number> {
  return (await node.list(node.drives[0]!, { limit: 1_000 })).length;
}

void test("bytes stay while a read that could see them goes on, in whatever session", async () => {
  const { world, process } = await worldWithBucket();
  const reader = await startProcess(world);
  await process.store.put(plainPut(bucket, "album", chunked));
  const found = await reader.store.get({ bucket, key });
  await process.store.delete({ bucket, key });
  const trash = process.jobs.find((job) => job.name === "trash")!;
  for (let round = 0; round < 10; round++) {
    await process.session.heartbeat();
    await reader.session.heartbeat();
    assert.equal((await trash.run(new AbortController().signal)).done, 0);
  }
  assert.deepEqual(await readAll(found), chunked);
  await reader.session.heartbeat();
  await reader.session.heartbeat();
  await drain(process);
  assert.equal(await shards(world), 0);
});

void test("an ended upload that cannot be taken away holds up no other", async () => {
  const { world, process } = await worldWithBucket();
  const { kv } = world;
  const broken = Array.from({ length: 40 }, (_, index) => index.toString(16).padStart(32, "0") as UploadId);
  const rows = broken.flatMap((id) => [
    { key: leftoverKey(id), value: encodeLeftover({ listed: Buffer.alloc(0), atMs: 1 }) },
    { key: partKey(id, 1), value: Buffer.from("?") },
  ]);
  await kv.commit({ checks: [], writes: rows.map((row) => ({ kind: "put", ...row })) });
  const { id: uploadId } = await process.store.createUpload({ bucket, key, metadata: noMetadata });
  const body = bodyOf(chunked);
  await process.store.uploadPart({ bucket, key, uploadId, partNumber: 1, body, verifier: noVerifier });
  await process.store.abortUpload({ bucket, key, uploadId });
  await drain(process);
  assert.equal(await shards(world), 0, "the parts of the other are gone");
  assert.equal((await rowsOf(kv, tags.leftover)).length, broken.length);
  await kv.commit({ checks: [], writes: broken.map((id) => ({ kind: "delete", key: partKey(id, 1) })) });
  await drain(process);
  assert.equal((await rowsOf(kv, tags.leftover)).length, 0);
});

void test("trash that cannot be taken away, however much, holds up no other", async () => {
  const { world, process } = await worldWithBucket();
  const { kv } = world;
  const bad = 21_000;
  for (let first = 0; first < bad; first += 500) {
    const writes = Array.from({ length: 500 }, (_, index) => {
      const random = Buffer.alloc(10);
      random.writeUInt32BE(first + index);
      return { kind: "put" as const, key: trashKey(1, random), value: Buffer.from("?") };
    });
    await kv.commit({ checks: [], writes });
  }
  await process.store.put(plainPut(bucket, "album", chunked));
  await process.store.delete({ bucket, key });
  const trash = process.jobs.find((job) => job.name === "trash")!;
  const signal = new AbortController().signal;
  for (let run = 0; run < 250 && (await shards(world)) > 0; run++) {
    await process.session.heartbeat();
    await trash.run(signal);
  }
  assert.equal(await shards(world), 0);
});

void test("a remembered answer that cannot be read keeps no other from being forgotten", async () => {
  const { world } = await worldWithBucket();
  const old = { bucket: "0".repeat(16) as BucketId, key, sizeBytes: 1, etag: "0", modifiedMs: 1 };
  const answer = encodeFinished({
    ...old,
    checksum: undefined,
    fingerprint: Buffer.alloc(32),
    atMs: 1,
    versionId: undefined,
  });
  const ids = Array.from({ length: 600 }, (_, index) => index.toString(16).padStart(32, "0") as UploadId);
  for (const id of ids) {
    const value = id === ids[0] ? Buffer.from("?") : answer;
    await world.kv.commit({ checks: [], writes: [{ kind: "put", key: finishedKey(id), value }] });
  }
  const job = new FinishedUploadsJob({ ...world, clock: systemClock, random: systemRandom, log: silentLog });
  for (let run = 0; run < 4; run++) await job.run().catch(() => undefined);
  assert.deepEqual(
    (await rowsOf(world.kv, tags.finished)).map((row) => row.key),
    [finishedKey(ids[0]!)],
  );
});

void test("a lease is held by one session until that one is gone", async () => {
  const { world, process } = await worldWithBucket();
  const other = await startProcess(world);
  assert.equal(await takeLease(world.kv, "trash", process.session.id), true);
  assert.equal(await takeLease(world.kv, "trash", other.session.id), false);
  assert.equal(await takeLease(world.kv, "trash", process.session.id), true);
  await process.session.close();
  assert.equal(await takeLease(world.kv, "trash", other.session.id), true);
  assert.equal(await takeLease(world.kv, "trash", process.session.id), false);
  await other.session.close();
  assert.equal(await takeLease(world.kv, "trash", process.session.id), false, "a session that is over takes none");
});

void test("a session is fenced when its heartbeat stands still, and only then", async () => {
  const { world, process } = await worldWithBucket();
  const other = await startProcess(world);
  let nowMs = 0;
  const clock = { ...systemClock, monotonicMs: () => nowMs };
  const job = new FenceJob({ kv: world.kv, clock, own: process.session.id, log: silentLog });
  /** Looks as often as the job does, until so much time has gone. */
  const watch = async (forMs: number): Promise<number> => {
    let fenced = 0;
    for (const untilMs = nowMs + forMs; nowMs < untilMs; nowMs += job.idleMsMax) fenced += (await job.run()).done;
    return fenced;
  };
  for (let round = 0; round < 3; round++) {
    assert.equal(await watch(limits.sessionSilentMsMax), 0);
    await other.session.heartbeat();
  }
  // The whole machine stood still, this process too: it saw no silence, for it did not look.
  assert.equal((await job.run()).done, 0);
  nowMs += 10 * limits.sessionSilentMsMax;
  assert.equal((await job.run()).done, 0);
  await other.session.heartbeat();
  assert.equal(await watch(limits.sessionSilentMsMax), 0);
  assert.equal(await watch(2 * job.idleMsMax), 1);
  assert.equal((await rowsOf(world.kv, tags.suspect)).length, 1, "silent is not dead");
  await assert.rejects(other.session.heartbeat(), (error) => hasReason(error, "session_fenced"));
  await assert.rejects(other.store.put(plainPut(bucket, "late", chunked)), (error) =>
    hasReason(error, "session_fenced"),
  );
});

/** Two shards that no chunk map mentions, of two sessions that are over. */
async function worldWithOrphans() {
  const { world, process } = await worldWithBucket();
  const sessions = ["00000000000000aa", "00000000000000bb"] as SessionId[];
  const drive = world.node.drives[0]!;
  for (const session of sessions) {
    const owner = { blob: `${session}${"0".repeat(15)}1` as PartRecord["blob"], chunkIndex: 0 };
    const chunk = `${session}${"0".repeat(15)}2` as ChunkId;
    await world.node.append(drive, { chunk, shardIndex: 0, owner, body: [chunked] });
  }
  return { world, process, sessions };
}

void test("a session whose chunks cannot be looked through now holds up no other's", async () => {
  const { world, process, sessions } = await worldWithOrphans();
  for (const session of sessions)
    await world.kv.commit({ checks: [], writes: [{ kind: "put", key: endedKey(session), value: encodeEnded() }] });
  const rootKey = blobRootKey(`${sessions[0]!}${"0".repeat(15)}1` as PartRecord["blob"]);
  await world.kv.commit({ checks: [], writes: [{ kind: "put", key: rootKey, value: Buffer.from("?") }] });
  const sweep = process.jobs.find((job) => job.name === "sweep")!;
  const signal = new AbortController().signal;
  for (let round = 0; round < 12; round++) await sweep.run(signal).catch(() => undefined);
  assert.equal(await shards(world), 1, "the other's are gone");
  assert.equal((await rowsOf(world.kv, tags.ended)).length, 1);
  await world.kv.commit({ checks: [], writes: [{ kind: "delete", key: rootKey }] });
  await drain(process);
  assert.equal(await shards(world), 0);
  assert.equal((await rowsOf(world.kv, tags.ended)).length, 0);
});

void test("a sweep that is asked for while one is under way is not forgotten", async () => {
  const { world, process, sessions } = await worldWithOrphans();
  const [session] = sessions as [SessionId];
  const ask = { kind: "put", key: endedKey(session), value: encodeEnded() } as const;
  const sweep = process.jobs.find((job) => job.name === "sweep")!;
  const signal = new AbortController().signal;
  await world.kv.commit({ checks: [], writes: [ask] });
  await sweep.run(signal);
  assert.equal(await shards(world), 1, "the drive was looked through, the row still stands");
  const drive = world.node.drives[0]!;
  const owner = { blob: `${session}${"0".repeat(15)}1` as PartRecord["blob"], chunkIndex: 0 };
  const chunk = `${session}${"0".repeat(15)}3` as ChunkId;
  await world.node.append(drive, { chunk, shardIndex: 0, owner, body: [chunked] });
  await world.kv.commit({ checks: [], writes: [ask] });
  await drain(process);
  assert.deepEqual(
    (await world.node.list(drive, { limit: 10 })).map((shard) => sessionOf(shard.chunk)),
    [sessions[1]],
  );
});

void test("what a process stores after its silence ended its session goes when it is known to be dead", async () => {
  for (const known of ["by name", "at a start", "by itself"]) {
    const { world, process } = await worldWithBucket();
    const paused = await startProcess(world);
    const [seen] = (await readSessions(world.kv)).filter((session) => session.id === paused.session.id);
    assert.ok(await fenceSession(world.kv, { ...seen!, node: "worker 7" }, { mayStillRun: true }));
    await drain(process);
    assert.equal((await rowsOf(world.kv, tags.ended)).length, 0, "its chunks were looked through");
    // It wakes, stores a chunk, and dies before it can find out that it may not publish it.
    const chunk = `${paused.session.id}${"0".repeat(15)}2` as ChunkId;
    const owner = { blob: `${paused.session.id}${"0".repeat(15)}1` as PartRecord["blob"], chunkIndex: 0 };
    await world.node.append(world.node.drives[0]!, { chunk, shardIndex: 0, owner, body: [chunked] });
    await drain(process);
    assert.equal(await shards(world), 1);
    assert.equal(await fenceDead(world.kv, (name) => name === "worker 8", { log: silentLog }), 0);
    if (known === "by name")
      assert.equal(await fenceDead(world.kv, (name) => ["worker 8", "worker 7"].includes(name), { log: silentLog }), 1);
    if (known === "at a start") await sweepSuspects(world.kv);
    if (known === "by itself") await paused.session.close();
    await drain(process);
    assert.equal(await shards(world), 0, known);
    assert.equal((await rowsOf(world.kv, tags.suspect)).length, 0);
    assert.deepEqual(await findingsOf(world), []);
  }
});

void test("what a process stored for another node after its own silence goes when it is known to be dead", async () => {
  for (const known of ["by name", "by itself"]) {
    const { world, process } = await worldWithBucket();
    const [asking, paused] = [await startProcess(world), await startProcess(world)];
    const [seen] = (await readSessions(world.kv)).filter((session) => session.id === paused.session.id);
    assert.ok(await fenceSession(world.kv, { ...seen!, node: "worker 7" }, { mayStillRun: true }));
    await asking.session.close();
    await drain(process);
    assert.equal((await rowsOf(world.kv, tags.ended)).length, 0, "what both had stored was looked through");
    // It wakes, and does what it was asked before it fell silent.
    const chunk = `${asking.session.id}${"0".repeat(15)}2` as ChunkId;
    const owner = { blob: `${asking.session.id}${"0".repeat(15)}1` as PartRecord["blob"], chunkIndex: 0 };
    const served = world.node.drives;
    await world.node.append(served[0]!, { chunk, shardIndex: 0, owner, body: [chunked] });
    if (known === "by name") await fenceDead(world.kv, (name) => name === "worker 7", { log: silentLog, served });
    else await paused.session.close(served);
    await drain(process);
    assert.equal(await shards(world), 0, known);
    assert.deepEqual(await findingsOf(world), []);
  }
});

void test("a full sweep removes shards that came back, and nothing of a live session or of an object", async () => {
  const { world, process } = await worldWithBucket();
  await process.store.put(plainPut(bucket, "album", chunked));
  await process.store.put(plainPut(bucket, "gone", chunked));
  const drive = world.node.drives[0]!;
  const [, gone] = await world.node.list(drive, { limit: 2 });
  await process.store.delete({ bucket, key: Buffer.from("gone") });
  await drain(process);
  await world.node.append(drive, { ...gone!, body: [chunked] });
  const parts = { ...world, drives: world.node.drives, log: silentLog };
  assert.equal(await sweepAll(parts), 0, "its session lives");
  const next = await startProcess(world);
  assert.equal(await fenceOthers(world.kv, [next.session.id]), 1);
  assert.equal(await sweepAll(parts), 1);
  assert.deepEqual(await readAll(await next.store.get({ bucket, key })), chunked);
});

void test("doctor names what is wrong", async () => {
  const { world, process, info } = await worldWithBucket();
  const { kv, node } = world;
  await process.store.put(plainPut(bucket, "album", chunked));
  await process.store.put(plainPut(bucket, "small", "inline"));
  assert.deepEqual(await findingsOf(world), []);
  const damage = async (commit: Commit["writes"], kinds: string[]) => {
    const before = await kv.get(commit.map((write) => write.key));
    await kv.commit({ checks: [], writes: commit });
    assert.deepEqual([...new Set((await findingsOf(world)).map((finding) => finding.kind))], kinds);
    await kv.commit({
      checks: [],
      writes: before.map((row, index) =>
        row === undefined
          ? { kind: "delete", key: commit[index]!.key }
          : { kind: "put", key: row.key, value: row.value },
      ),
    });
  };
  const [root, page] = await rowsOf(kv, tags.blob);
  const [body] = await rowsOf(kv, tags.body);
  const facts = { sizeBytes: chunked.length, pages: 1, pageEntries: 256, chunkBytes: limits.chunkBytesMax };
  const twice = encodeBlobRoot({ kind: "chunks", refcount: 2, ...facts });
  await damage([{ kind: "put", key: root!.key, value: twice }], ["wrong_refcount"]);
  await damage(
    [{ kind: "put", key: root!.key, value: Buffer.from("?") }],
    ["corrupt_record", "stray_record", "missing_record"],
  );
  await damage([{ kind: "delete", key: page!.key }], ["missing_record", "wrong_size"]);
  await damage([{ kind: "delete", key: body!.key }], ["missing_record"]);
  await damage([{ kind: "delete", key: headKey(info.id, Buffer.from("small")) }], ["stray_record", "wrong_usage"]);
  await damage([{ kind: "add", key: usageKey(info.id, process.session.id), deltas: [1] }], ["wrong_usage"]);
  await damage([{ kind: "delete", key: (await rowsOf(kv, tags.bucket))[0]!.key }], ["stray_record"]);
  const drive = node.drives[0]!;
  await node.remove(drive, await node.list(drive, { limit: 1 }));
  assert.deepEqual(
    (await findingsOf(world)).map((finding) => finding.kind),
    ["missing_chunk"],
  );
});

void test("an upload of 10,000 parts is completed in bounded commits, and taken away again", async () => {
  const world = newWorld();
  let largest = 0;
  const kv: Kv = {
    ...world.kv,
    name: "counting",
    get: (keys) => world.kv.get(keys),
    scan: (range, options) => world.kv.scan(range, options),
    close: () => world.kv.close(),
    commit(commit) {
      largest = Math.max(largest, commit.checks.length + commit.writes.length);
      return world.kv.commit(commit);
    },
  };
  const process = await startProcess({ ...world, kv });
  await process.store.createBucket(bucket, { region: "here" });
  const { id } = await process.store.createUpload({ bucket, key, metadata: noMetadata });
  const parts = await fakeParts(world.kv, id, process.session.id);
  const asked = parts.map(({ partNumber, md5 }) => ({ partNumber, etag: md5 }));
  const done = await process.store.completeUpload({ bucket, key, uploadId: id, parts: asked });
  assert.match(done.etag, /^[0-9a-f]{32}-10000$/);
  assert.equal(done.sizeBytes, limits.partsMax * limits.partBytesMin);
  const head = await process.store.head({ bucket, key, partNumber: 9_999 });
  assert.ok(head.outcome === "found" && head.range?.length === limits.partBytesMin);
  assert.ok(largest <= limits.commitOperationsMax);
  await drain(process);
  assert.equal((await rowsOf(world.kv, tags.part)).length, 0);
  await process.store.delete({ bucket, key });
  await drain(process);
  assert.equal((await rowsOf(world.kv, tags.blob)).length, 0);
});

/** Parts whose bytes are only said to be there. */
async function fakeParts(kv: Kv, id: UploadId, session: string): Promise<PartRecord[]> {
  const parts = Array.from({ length: limits.partsMax }, (_, index): PartRecord => {
    const blob = (session + (index + 1).toString(16).padStart(16, "f")) as PartRecord["blob"];
    const md5 = index.toString(16).padStart(32, "0");
    return { partNumber: index + 1, blob, sizeBytes: limits.partBytesMin, modifiedMs: 0, md5, checksum: undefined };
  });
  const chunkBytes = limits.chunkBytesMax;
  for (let first = 0; first < parts.length; first += 100) {
    const writes = parts
      .slice(first, first + 100)
      .flatMap((part) => [
        ...newChunkedBlobWrites({ id: part.blob, sizeBytes: part.sizeBytes, chunkBytes, chunks: [] }, () => ""),
        { kind: "put" as const, key: partKey(id, part.partNumber), value: encodePart(part) },
      ]);
    await kv.commit({ checks: [], writes });
  }
  assert.ok((await kv.get([blobRootKey(parts[0]!.blob)]))[0]);
  return parts;
}

void test("an attempt to complete whose process died is taken over, and its pages go", async () => {
  const { world, process } = await worldWithBucket();
  const { id } = await process.store.createUpload({ bucket, key, metadata: noMetadata });
  const parts = await fakeParts(world.kv, id, process.session.id);
  const asked = parts.map(({ partNumber, md5 }) => ({ partNumber, etag: md5 }));
  const complete = { bucket, key, uploadId: id, parts: asked };
  let commits = 0;
  const dying: Kv = {
    name: "dying",
    get: (keys) => world.kv.get(keys),
    scan: (range, options) => world.kv.scan(range, options),
    close: () => world.kv.close(),
    commit: (commit) => {
      commits += 1;
      return commits > 3 ? Promise.reject(new Error("died")) : world.kv.commit(commit);
    },
  };
  const dead = await startProcess({ ...world, kv: dying });
  await assert.rejects(dead.store.completeUpload(complete), /died/);
  const part = { ...complete, partNumber: 7, body: bodyOf(Buffer.from("x")), verifier: noVerifier };
  await assert.rejects(process.store.uploadPart(part), (error) => hasReason(error, "operation_aborted"));
  const stray = (await rowsOf(world.kv, tags.upload)).length;
  assert.equal(stray, 1);
  assert.equal((await findingsOf(world)).filter((finding) => finding.kind === "stray_record").length, 0);
  await fenceOthers(world.kv, [process.session.id]);
  const done = await process.store.completeUpload(complete);
  assert.equal((await rowsOf(world.kv, tags.abandoned)).length, 1);
  assert.deepEqual(await process.store.completeUpload(complete), done);
  await drain(process);
  assert.equal((await rowsOf(world.kv, tags.abandoned)).length, 0);
  await process.store.delete({ bucket, key });
  await drain(process);
  assert.equal((await rowsOf(world.kv, tags.blob)).length, 0);
});

void test("an attempt whose first commit was made though it failed does not keep the upload closed", async () => {
  const { world, process } = await worldWithBucket();
  const { id: uploadId } = await process.store.createUpload({ bucket, key, metadata: noMetadata });
  const put = async ({ store }: Process) =>
    store.uploadPart({ bucket, key, uploadId, partNumber: 1, body: bodyOf(chunked), verifier: noVerifier });
  const { etag } = await put(process);
  let commits = 0;
  const unsure: Kv = {
    name: "unsure",
    get: (keys) => world.kv.get(keys),
    scan: (range, options) => world.kv.scan(range, options),
    close: () => world.kv.close(),
    async commit(commit) {
      const result = await world.kv.commit(commit);
      commits += 1;
      if (commits === 2) throw new HoldfastError("unavailable", "The answer was lost.");
      return result;
    },
  };
  // Its commits: the session, the attempt.
  const other = await startProcess({ ...world, kv: unsure });
  const parts = [{ partNumber: 1, etag }];
  await assert.rejects(other.store.completeUpload({ bucket, key, uploadId, parts }), (error) =>
    hasReason(error, "unavailable"),
  );
  await put(process);
  await process.store.completeUpload({ bucket, key, uploadId, parts });
  await other.session.close();
  await drain(process);
  assert.deepEqual(await findingsOf(world), []);
});

void test("an attempt that lost the upload publishes nothing, and a failed one opens it again", async () => {
  const { world, process } = await worldWithBucket();
  const { id: uploadId } = await process.store.createUpload({ bucket, key, metadata: noMetadata });
  const put = async (text: string) => {
    const body = bodyOf(Buffer.from(text));
    return process.store.uploadPart({ bucket, key, uploadId, partNumber: 1, body, verifier: noVerifier });
  };
  const { etag } = await put("first");
  let commits = 0;
  const meanwhile: Kv = {
    name: "slow",
    get: (keys) => world.kv.get(keys),
    scan: (range, options) => world.kv.scan(range, options),
    close: () => world.kv.close(),
    async commit(commit) {
      commits += 1;
      if (commits === 3) {
        const wrong = { bucket, key, uploadId, parts: [{ partNumber: 1, etag: "0".repeat(32) }] };
        await assert.rejects(process.store.completeUpload(wrong), (error) => hasReason(error, "invalid_part"));
        await put("second");
      }
      return world.kv.commit(commit);
    },
  };
  // Its commits: the session, the attempt, the publication.
  const slow = await startProcess({ ...world, kv: meanwhile });
  const late = slow.store.completeUpload({ bucket, key, uploadId, parts: [{ partNumber: 1, etag }] });
  await assert.rejects(late, (error) => hasReason(error, "operation_aborted"));
  assert.ok(commits >= 3);
  const { etag: second } = await put("third");
  await process.store.completeUpload({ bucket, key, uploadId, parts: [{ partNumber: 1, etag: second }] });
  assert.equal((await readAll(await process.store.get({ bucket, key }))).toString(), "third");
  assert.deepEqual(await findingsOf(world), []);
});

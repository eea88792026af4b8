/** The lifecycle job: what it costs, that it comes to an end wherever it is cut off, and what it leaves behind. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason, HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { counted } from "../kv/counted.fixture.ts";
import { headKey, tags } from "../meta/keys.ts";
import { dueKey, lifecycleKey } from "../meta/lifecycle.ts";
import { dayMs, lifecycleDocument, type RuleText } from "../object/lifecycle.fixture.ts";
import { noQuota } from "../meta/quotas.ts";
import { bodyOf, noMetadata, noVerifier, patternBytes, plainPut, SettableClock } from "../object/object.fixture.ts";
import { Crash, drain, findingsOf, Fuse, newWorld, rowsOf, startProcess } from "./jobs.fixture.ts";
import type { Fate, Process, World } from "./jobs.fixture.ts";
import { fenceOthers } from "./sessions.ts";

const bucket = "expiring";
const { signal } = new AbortController();
const chunked = patternBytes(limits.inlineBytesMax + 1);

async function expire({ jobs }: Process): Promise<number> {
  const job = jobs.find(({ name }) => name === "lifecycle")!;
  let done = 0;
  for (let runs = 0; ; runs++) {
    assert.ok(runs < 500, "the job comes to an end");
    const result = await job.run(signal);
    done += result.done;
    if (!result.more) return done;
  }
}

async function setRules({ store }: Process, ...rules: RuleText[]): Promise<void> {
  await store.setConfiguration({ bucket, kind: "lifecycle", document: lifecycleDocument(rules) });
}

async function keysOf({ store }: Process): Promise<string[]> {
  const { objects } = await store.list({ bucket, limit: 1_000 });
  return objects.map(({ key }) => key.toString());
}

/** Sets rules in a bucket of so many objects of which 30 expire, lets them, and says what that cost. */
async function costWith(others: number): Promise<{ read: number; written: number }> {
  const world = newWorld();
  const clock = new SettableClock();
  const measured = counted(world.kv);
  const process = await startProcess({ ...world, kv: measured.kv }, clock);
  await process.store.createBucket(bucket, { region: "here" });
  for (let at = 0; at < others; at++) await process.store.put(plainPut(bucket, `kept/${at}`, "x"));
  for (let at = 0; at < 30; at++) await process.store.put(plainPut(bucket, `log/${at}`, "x"));
  const before = { ...measured.rows };
  await setRules(process, { prefix: "log/", days: 1 });
  await expire(process);
  clock.aheadMs += 3 * dayMs;
  await expire(process);
  const cost = { read: measured.rows.read - before.read, written: measured.rows.written - before.written };
  assert.equal((await keysOf(process)).length, others);
  return cost;
}

test("what expires is found without touching what does not", async () => {
  const few = await costWith(20);
  const many = await costWith(900);
  assert.deepEqual(many, few);
  assert.ok(many.read <= 30 * 12, `${many.read} rows read for 30 objects`);
  assert.ok(many.written <= 30 * 8, `${many.written} rows written for 30 objects`);
});

test("a PUT to a bucket with rules writes one row more where a rule is about its new key, and reads none more", async () => {
  const world = newWorld();
  const measured = counted(world.kv);
  const process = await startProcess({ ...world, kv: measured.kv });
  await process.store.createBucket(bucket, { region: "here" });
  const costOf = async (key: string): Promise<{ read: number; written: number }> => {
    const { read, written } = { ...measured.rows };
    await process.store.put(plainPut(bucket, key, "x"));
    return { read: measured.rows.read - read, written: measured.rows.written - written };
  };
  await costOf("log/a");
  const [plain, plainAgain] = [await costOf("log/b"), await costOf("log/b")];
  await setRules(process, { prefix: "log/", days: 1 });
  // The document is read once.
  await costOf("kept/a");
  assert.deepEqual(await costOf("kept/b"), plain);
  assert.deepEqual(await costOf("log/c"), { read: plain.read, written: plain.written + 1 });
  // What was there had a row that is due no later.
  assert.deepEqual(await costOf("log/c"), plainAgain);
});

test("a key that is written again before it expires has one due row, and expires when its last object does", async () => {
  const clock = new SettableClock();
  const world = newWorld();
  const process = await startProcess(world, clock);
  await process.store.createBucket(bucket, { region: "here" });
  await setRules(process, { days: 2 });
  for (let day = 0; day < 6; day++) {
    clock.aheadMs = day * dayMs;
    await process.store.put(plainPut(bucket, "a", `${day}`));
    await expire(process);
    assert.equal((await rowsOf(world.kv, tags.due)).length, 1, `on day ${day}`);
    assert.deepEqual(await keysOf(process), ["a"]);
  }
  clock.aheadMs = 9 * dayMs;
  assert.equal(await expire(process), 1);
  assert.deepEqual([await keysOf(process), await rowsOf(world.kv, tags.due)], [[], []]);
});

test("an object that expires earlier than the one it replaces has a row of its own", async () => {
  const clock = new SettableClock();
  const world = newWorld();
  const process = await startProcess(world, clock);
  await process.store.createBucket(bucket, { region: "here" });
  await setRules(process, { days: 9 }, { days: 1, below: 2 });
  await process.store.put(plainPut(bucket, "a", "long"));
  await process.store.put(plainPut(bucket, "a", "x"));
  clock.aheadMs = 3 * dayMs;
  assert.equal(await expire(process), 1);
  assert.deepEqual(await keysOf(process), []);
});

test("where objects may be locked every write has its row: a look may have put the earlier one off", async () => {
  const world = newWorld();
  const process = await startProcess(world);
  await process.store.createBucket(bucket, { region: "here", objectLock: true });
  await setRules(process, { days: 9 });
  const clock = new SettableClock();
  const later = await startProcess(world, clock);
  await process.store.put(plainPut(bucket, "a", "x"));
  clock.aheadMs = 2 * dayMs;
  await later.store.put(plainPut(bucket, "a", "y"));
  assert.equal((await rowsOf(world.kv, tags.due)).length, 2);
});

test("a key with more versions than one commit removes loses all that are due, and keeps those it shall keep", async () => {
  const clock = new SettableClock();
  const world = newWorld();
  const process = await startProcess(world, clock);
  await process.store.createBucket(bucket, { region: "here" });
  await process.store.setVersioning(bucket, "enabled");
  const versions = 8 * limits.expiredVersionsPerCommit;
  for (let at = 0; at < versions; at++) await process.store.put(plainPut(bucket, "a", String(at)));
  const newer = limits.newerNoncurrentVersionsMax;
  await setRules(process, { noncurrentDays: 1, newer });
  clock.aheadMs += 3 * dayMs;
  await expire(process);
  const left = await process.store.listVersions({ bucket, limit: 1_000 });
  assert.equal(left.versions.length, newer + 1);
  await setRules(process, { noncurrentDays: 1 });
  await expire(process);
  assert.equal((await process.store.listVersions({ bucket, limit: 1_000 })).versions.length, 1);
  assert.deepEqual(await findingsOf(world), []);
});

test("a walk goes on in another process where it was left", async () => {
  const clock = new SettableClock();
  const world = newWorld();
  const process = await startProcess(world, clock);
  await process.store.createBucket(bucket, { region: "here" });
  const objects = 10 * limits.jobBatchMax;
  for (let at = 0; at < objects; at++) await process.store.put(plainPut(bucket, `a${at}`, "x"));
  await setRules(process, { days: 1 });
  const job = process.jobs.find(({ name }) => name === "lifecycle")!;
  const first = await job.run(signal);
  assert.ok(first.done > 0 && first.done < objects && first.more);
  assert.deepEqual(job.progress?.(), { doneBytes: first.done, leftBytes: objects - first.done });
  const measured = counted(world.kv);
  const other = await startProcess({ ...world, kv: measured.kv }, clock);
  await expire(other);
  assert.ok(measured.rows.read < objects, "what was walked through already was not again");
  const over = other.jobs.find(({ name }) => name === "lifecycle")!;
  assert.equal(over.progress?.(), undefined);
  clock.aheadMs += 2 * dayMs;
  await expire(other);
  assert.deepEqual(await keysOf(other), []);
});

test("a row that cannot be dealt with holds up no other", async () => {
  const clock = new SettableClock();
  const world = newWorld();
  const process = await startProcess(world, clock);
  const { bucket: made } = await process.store.createBucket(bucket, { region: "here" });
  await setRules(process, { days: 1 });
  for (const key of ["a", "b", "c"]) await process.store.put(plainPut(bucket, key, "x"));
  const key = headKey(made.id, Buffer.from("a"));
  await world.kv.commit({ checks: [], writes: [{ kind: "put", key, value: Buffer.of(99) }] });
  clock.aheadMs += 2 * dayMs;
  await expire(process);
  assert.deepEqual(
    (await rowsOf(world.kv, tags.head)).map((row) => row.key),
    [key],
  );
  assert.equal((await rowsOf(world.kv, tags.due)).length, 1);
});

test("doctor finds rows of lifecycle that cannot be read or lead nowhere, and a document that nothing acts by", async () => {
  const world = newWorld();
  const process = await startProcess(world);
  const { bucket: made } = await process.store.createBucket(bucket, { region: "here" });
  await setRules(process, { days: 1 });
  assert.deepEqual(await findingsOf(world), []);
  const put = (key: Buffer, value: Buffer) => world.kv.commit({ checks: [], writes: [{ kind: "put", key, value }] });
  const due = dueKey("00".repeat(8) as typeof made.id, { atMs: 1, key: Buffer.from("k"), upload: undefined });
  await put(due, Buffer.of(1));
  await put(dueKey(made.id, { atMs: 1, key: Buffer.from("k"), upload: undefined }), Buffer.of(9));
  assert.deepEqual((await findingsOf(world)).map(({ kind }) => kind).toSorted(), ["corrupt_record", "stray_record"]);
  await world.kv.commit({ checks: [], writes: [{ kind: "delete", key: due }] });
  await put(lifecycleKey(made.id), Buffer.of(1, 9));
  assert.deepEqual(
    (await findingsOf(world)).map(({ kind }) => kind),
    ["corrupt_record", "corrupt_record"],
  );
  await world.kv.commit({ checks: [], writes: [{ kind: "delete", key: lifecycleKey(made.id) }] });
  assert.ok((await findingsOf(world)).some(({ kind }) => kind === "missing_record"));
});

/** A bucket with something of everything that expires, before its rules are set. */
async function filled(process: Process, clock: SettableClock): Promise<void> {
  const { store } = process;
  await store.createBucket(bucket, { region: "here" });
  await store.put(plainPut(bucket, "goes", chunked));
  await store.put(plainPut(bucket, "kept", "x"));
  await store.setVersioning(bucket, "enabled");
  await store.put(plainPut(bucket, "goes", "new"));
  await store.put(plainPut(bucket, "marked", "x"));
  await store.delete({ bucket, key: Buffer.from("marked") });
  const address = { bucket, key: Buffer.from("goes/upload") };
  const { id: uploadId } = await store.createUpload({ ...address, metadata: noMetadata });
  await store.uploadPart({ ...address, uploadId, partNumber: 1, body: bodyOf(chunked), verifier: noVerifier });
  clock.aheadMs += 2 * dayMs;
}

const rules: readonly RuleText[] = [
  { prefix: "goes", days: 1 },
  { prefix: "", noncurrentDays: 1 },
  { prefix: "marked", markers: true },
  { prefix: "goes/", abortDays: 1 },
];

test("what rules take away no longer counts for a quota", async () => {
  const world = newWorld();
  const clock = new SettableClock();
  const process = await startProcess(world, clock);
  const { store } = process;
  await filled(process, clock);
  await store.setQuota(bucket, { ...noQuota, bytesMax: 1_000_000 });
  await setRules(process, ...rules);
  for (let midnights = 0; midnights < 4; midnights++) {
    await expire(process);
    clock.aheadMs += 2 * dayMs;
  }
  assert.deepEqual((await store.quota(bucket)).held, { objects: 1, bytes: 1 }, "only what is kept");
  assert.deepEqual(await findingsOf(world), []);
});

void test("an append is told when what it was added to will expire, and begins its days anew", async () => {
  const world = newWorld();
  const clock = new SettableClock();
  const process = await startProcess(world, clock);
  const { store } = process;
  await store.createBucket(bucket, { region: "here" });
  await setRules(process, { prefix: "", days: 3 });
  const append = (offset: number, body: Buffer): ReturnType<typeof store.append> =>
    store.append({
      bucket,
      key: Buffer.from("log"),
      body: bodyOf(body),
      metadata: noMetadata,
      verifier: noVerifier,
      offset,
    });
  const begun = await append(0, Buffer.from("x"));
  clock.aheadMs += 2 * dayMs;
  const gone = await append(1, chunked);
  const { info } = await store.head({ bucket, key: Buffer.from("log") });
  assert.ok(gone.ending !== undefined && begun.ending !== undefined);
  assert.deepEqual(gone.ending, info.ending);
  assert.equal(gone.ending.atMs - begun.ending.atMs, 2 * dayMs);
  clock.aheadMs += 2 * dayMs;
  await expire(process);
  assert.deepEqual(await keysOf(process), ["log"]);
  clock.aheadMs += 2 * dayMs;
  await expire(process);
  assert.deepEqual(await keysOf(process), []);
  await drain(process);
  assert.deepEqual(await findingsOf(world), []);
});

void test("who changes something while the bucket is set up is not told of that", async () => {
  const world = newWorld();
  const other = await startProcess(world);
  await other.store.createBucket(bucket, { region: "here" });
  const address = { bucket, key: Buffer.from("k") };
  const changes = {
    put: (store: Process["store"]) => store.put(plainPut(bucket, "k", "x")),
    delete: (store: Process["store"]) => store.delete(address),
    upload: (store: Process["store"]) => store.createUpload({ ...address, metadata: noMetadata }),
  };
  for (const [what, change] of Object.entries(changes)) {
    let reads = 0;
    const { kv } = world;
    const racing: World["kv"] = {
      name: kv.name,
      // Between the bucket's row and its document, whichever read is which.
      get: async (keys) => {
        const rows = await kv.get(keys);
        if (reads++ < 4) await setRules(other, { prefix: "", days: reads });
        return rows;
      },
      scan: (range, options) => kv.scan(range, options),
      commit: (commit) => kv.commit(commit),
      close: async () => undefined,
    };
    await setRules(other, { prefix: "", days: 1 });
    const { store } = await startProcess({ ...world, kv: racing });
    reads = 0;
    await change(store).catch((error: unknown) => assert.fail(`${what}: ${String(error)}`));
  }
});

void test("where nothing can be done of what is due, it is tried again after a while, not over and over", async () => {
  const world = newWorld();
  const clock = new SettableClock();
  const filler = await startProcess(world, clock);
  await filler.store.createBucket(bucket, { region: "here" });
  await setRules(filler, { prefix: "", days: 1 });
  const count = limits.jobBatchMax + 10;
  for (let at = 0; at < count; at++) await filler.store.put(plainPut(bucket, `k/${at}`, "x"));
  await expire(filler);
  clock.aheadMs += 3 * dayMs;
  const { kv } = world;
  let isFull = true;
  const commit: World["kv"]["commit"] = async (wanted) => {
    if (isFull) throw new HoldfastError("drive_full", "There is no room.");
    return kv.commit(wanted);
  };
  const full: World["kv"] = {
    name: kv.name,
    get: (keys) => kv.get(keys),
    scan: (range, options) => kv.scan(range, options),
    commit,
    close: async () => undefined,
  };
  isFull = false;
  const process = await startProcess({ ...world, kv: full }, clock);
  isFull = true;
  const job = process.jobs.find(({ name }) => name === "lifecycle")!;
  assert.deepEqual(await job.run(signal), { done: 0, more: false });
  isFull = false;
  await expire(process);
  await expire(process);
  assert.deepEqual(await keysOf(process), []);
});

/** Returns whether the job got as far as the step. */
async function failAt(step: number, fate: Fate): Promise<boolean> {
  const world: World = newWorld();
  const clock = new SettableClock();
  const first = await startProcess(world, clock);
  await filled(first, clock);
  await setRules(first, ...rules);
  const fuse = new Fuse(Infinity, fate);
  const second = await startProcess(fuse.wrap(world), clock);
  fuse.arm(step);
  const working = async (): Promise<void> => {
    await expire(second);
    clock.aheadMs += 2 * dayMs;
    await expire(second);
  };
  await working().catch((error: unknown) => {
    if (!(error instanceof Crash) && !hasReason(error, "unavailable")) throw error;
  });
  const last = await startProcess(world, clock);
  await fenceOthers(world.kv, [last.session.id]);
  // What became noncurrent only now has its own days.
  for (let midnights = 0; midnights < 2; midnights++) {
    clock.aheadMs += 3 * dayMs;
    await expire(last);
  }
  await drain(last);
  const what = `call ${step} ${fate}`;
  const { versions } = await last.store.listVersions({ bucket, limit: 100 });
  assert.deepEqual(
    versions.map(({ key, isMarker }) => `${key.toString()} ${isMarker}`),
    ["kept false"],
    what,
  );
  assert.deepEqual((await last.store.listUploads({ bucket, limit: 10 })).uploads, [], what);
  assert.deepEqual(await findingsOf(world), [], what);
  for (const tag of [tags.blob, tags.trash, tags.leftover, tags.part, tags.past, tags.due])
    assert.deepEqual(await rowsOf(world.kv, tag), [], `rows of family ${tag} after ${what}`);
  return fuse.burnt;
}

for (const fate of ["dies", "fails before", "fails after"] as const)
  void test(`a process ${fate} at any call of the job, and all that shall expires once, and nothing else`, async () => {
    let step = 1;
    while (await failAt(step, fate)) step += fate === "dies" ? 1 : 2;
    assert.ok(step > 40, `the job has ${step} calls`);
  });

/** What is counted for quotas stays what is there: while it changes, where its setting is cut off, and the doctor sees where it does not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { systemClock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { systemRandom } from "../core/random.ts";
import { readCounters, type Write } from "../kv/kv.ts";
import { decodeBucket, encodeBucket } from "../meta/buckets.ts";
import { bucketKey, tags, usageKey } from "../meta/keys.ts";
import { accountUsageKey, countedKey, heldKey } from "../meta/quota_keys.ts";
import { noMetadata, noVerifier, bodyOf, patternBytes, plainPut } from "../object/object.fixture.ts";
import type { ObjectStore } from "../object/object_store.ts";
import { finishQuotas } from "../object/quota_settings.ts";
import { Crash, drain, findingsOf, Fuse, newWorld, rowsOf, startProcess, type World } from "./jobs.fixture.ts";

const key = (text: string): Buffer => Buffer.from(text);
const none = { bytesMax: undefined, objectsMax: undefined };
const account = "123456789012";

function part(
  bucket: string,
  uploadId: string,
  partNumber: number,
  bytes: Buffer,
): Parameters<ObjectStore["uploadPart"]>[0] {
  return { bucket, key: key("upload"), uploadId, partNumber, body: bodyOf(bytes), verifier: noVerifier };
}

async function startUpload(store: ObjectStore, bucket: string): Promise<string> {
  return (await store.createUpload({ bucket, key: key("upload"), metadata: noMetadata })).id;
}

/** Two buckets of an account, one of them with versions, and uploads under way in both. */
async function fill(store: ObjectStore): Promise<void> {
  for (const bucket of ["plain", "versions"]) {
    await store.createBucket(bucket, { region: "here", account });
    if (bucket === "versions") await store.setVersioning(bucket, "enabled");
    for (const [index, name] of ["a", "b", "a", "c"].entries())
      await store.put(plainPut(bucket, name, "x".repeat(10 ** index)));
    await store.delete({ bucket, key: key("b") });
    const upload = await startUpload(store, bucket);
    for (const number of [1, 2, 1]) await store.uploadPart(part(bucket, upload, number, patternBytes(5_000 + number)));
  }
}

async function findings(world: World): Promise<string[]> {
  return (await findingsOf(world, false)).map(({ kind, where }) => `${kind} ${where}`);
}

void test("a quota that is set at last counts what was there: objects, versions, markers and parts", async () => {
  const world = newWorld();
  const { store } = await startProcess(world);
  await fill(store);
  const parts = 5_001 + 5_002;
  const { held } = await store.setQuota("plain", { bytesMax: 100_000, objectsMax: 10 });
  assert.deepEqual(held, { objects: 2, bytes: 1_100 + parts });
  // Versions a, b, a, c and the marker of b.
  const { held: ofBoth } = await store.setAccountQuota(account, { ...none, bytesMax: 1_000_000 });
  assert.deepEqual(ofBoth, { objects: 2 + 5, bytes: 1_100 + parts + 1_111 + parts });
  assert.deepEqual((await store.quota("versions")).held, { objects: 5, bytes: 1_111 + parts });
  assert.deepEqual(await store.usage("versions"), { objects: 2, versions: 3, bytes: 1_111 });
  assert.deepEqual(await findings(world), []);
});

void test("what changes while quotas are set is counted once", async () => {
  const world = newWorld();
  const processes = [await startProcess(world), await startProcess(world), await startProcess(world)];
  const { store } = processes[0]!;
  await fill(store);
  const setting = { ended: false };
  const writer = async (index: number): Promise<void> => {
    const { store: own } = processes[index]!;
    for (let step = 0; !setting.ended || step < 20; step++) {
      for (const bucket of ["plain", "versions"]) {
        const name = `k${(step * 7 + index) % 5}`;
        await own.put(plainPut(bucket, name, "y".repeat((step * 31) % 200)));
        if (step % 3 === 0) await own.delete({ bucket, key: key(name) });
        const { uploads } = await own.listUploads({ bucket, limit: 10 });
        const upload = step % 2 === 0 ? uploads.at(-1)?.id : await startUpload(own, bucket);
        if (upload === undefined) continue;
        await own.uploadPart(part(bucket, upload, 1 + (step % 4), patternBytes(100 + step))).catch(unlessEnded);
        if (step % 4 === 3) await own.abortUpload({ bucket, key: key("upload"), uploadId: upload }).catch(unlessEnded);
      }
    }
  };
  const writers = processes.map((_, index) => writer(index));
  await store.setQuota("versions", { ...none, objectsMax: 1_000_000 });
  await store.setAccountQuota(account, { ...none, bytesMax: 1_000_000_000 });
  await store.setQuota("plain", { ...none, bytesMax: 1_000_000_000 });
  setting.ended = true;
  await Promise.all(writers);
  assert.deepEqual(await findings(world), []);
  for (const bucket of ["plain", "versions"]) assert.ok((await store.quota(bucket)).held !== undefined);
});

/** Another process ended the upload. */
function unlessEnded(error: unknown): void {
  if (!hasReason(error, "no_such_upload")) throw error;
}

void test("a setting that is cut off after any step is finished by the job, and counts right", async () => {
  for (let step = 1, crashed = true; crashed; step++) {
    const world = newWorld();
    const sound = await startProcess(world);
    await fill(sound.store);
    const starting = new Fuse(1_000_000, "dies");
    await startProcess(starting.wrap(world));
    const { store } = await startProcess(new Fuse(starting.calls + step, "dies").wrap(world));
    crashed = await store.setAccountQuota(account, { ...none, objectsMax: 100 }).then(() => false, isCrash);
    await sound.store.put(plainPut("plain", "between", "12345"));
    // What was begun is finished, and can be set again.
    await finishQuotas({ ...world, clock: systemClock, random: systemRandom }, new AbortController().signal);
    const { quota, held } = await sound.store.accountQuota(account);
    assert.equal(held !== undefined, quota.objectsMax !== undefined, `finished after call ${step}`);
    await sound.store.setAccountQuota(account, { ...none, objectsMax: 100 });
    await sound.store.put(plainPut("versions", "after", "12345"));
    assert.deepEqual(await findings(world), [], `cut off at call ${step}`);
    assert.ok(step < 500, "the setting ends");
  }
});

/** It is what was meant to happen. */
function isCrash(error: unknown): true {
  if (error instanceof Crash) return true;
  throw error;
}

void test("a bucket that is deleted leaves nothing in its account's count, though uploads were under way", async () => {
  const world = newWorld();
  const process = await startProcess(world);
  const { store } = process;
  await store.setAccountQuota(account, { bytesMax: 10_000, objectsMax: 10 });
  await store.createBucket("going", { region: "here", account });
  const upload = await startUpload(store, "going");
  await store.uploadPart(part("going", upload, 1, patternBytes(6_000)));
  assert.deepEqual((await store.accountQuota(account)).held, { objects: 0, bytes: 6_000 });
  await store.deleteBucket("going");
  assert.deepEqual((await store.accountQuota(account)).held, { objects: 0, bytes: 0 });
  await drain(process);
  assert.deepEqual(await findings(world), []);
  assert.deepEqual(await rowsOf(world.kv, tags.held), []);
});

void test("the usage job folds nothing of what is counted in one place", async () => {
  const world = newWorld();
  const process = await startProcess(world);
  await fill(process.store);
  await process.store.setQuota("plain", { ...none, objectsMax: 5 });
  await drain(process);
  const held = { objects: 2, bytes: 1_100 + 10_003 };
  assert.deepEqual((await process.store.quota("plain")).held, held);
  assert.deepEqual(await findings(world), []);
});

void test("the doctor finds counters that a quota is judged by and that are not right", async () => {
  const world = newWorld();
  const { store } = await startProcess(world);
  await fill(store);
  await store.setAccountQuota(account, { ...none, objectsMax: 100 });
  const { id } = await store.bucket("plain");
  const [held] = await rowsOf(world.kv, tags.held);
  const damage = async (...writes: Write[]): Promise<string[]> => {
    const before = await world.kv.get(writes.map(({ key: row }) => row));
    await world.kv.commit({ checks: [], writes });
    const found = await findings(world);
    const undo = before.map((row, index): Write =>
      row === undefined ? { kind: "delete", key: writes[index]!.key } : { kind: "put", key: row.key, value: row.value },
    );
    await world.kv.commit({ checks: [], writes: undo });
    return found;
  };
  const add = (row: Buffer, ...deltas: number[]): Write => ({ kind: "add", key: row, deltas });
  const wrongAccount = `wrong_usage account ${account}`;
  assert.deepEqual(await damage(add(countedKey(id), 0, 0, 0, 1)), ["wrong_usage bucket plain", wrongAccount]);
  assert.deepEqual(await damage(add(accountUsageKey(account), 0, -1)), [wrongAccount]);
  assert.equal((await damage(add(held!.key, 1))).length, 2, "the upload's, and its bucket's");
  const stray = heldKey("ab".repeat(16) as Parameters<typeof heldKey>[0]);
  assert.deepEqual(await damage(add(stray, 5)), [`stray_record held bytes of upload ${"ab".repeat(16)}`]);
  assert.deepEqual(await damage(add(usageKey(id, "0".repeat(16) as Parameters<typeof usageKey>[1]), 0, 9)), [
    "wrong_usage bucket plain",
    "wrong_usage bucket plain",
  ]);
  assert.deepEqual(await findings(world), []);
  assert.ok(readCounters(held!.value)[0]! > 0);
});

type Step =
  | { readonly do: "put" | "delete" | "marker"; readonly key: string; readonly bytes: number }
  | { readonly do: "part" | "abort" | "complete" | "start"; readonly key: string; readonly bytes: number }
  | { readonly do: "rename" | "copy"; readonly key: string; readonly bytes: number };

const step: fc.Arbitrary<Step> = fc.record({
  do: fc.constantFrom<Step["do"]>("put", "put", "delete", "part", "abort", "complete", "start", "rename", "copy"),
  key: fc.constantFrom("a", "b", "c"),
  bytes: fc.integer({ min: 0, max: 60 }),
}) as fc.Arbitrary<Step>;

const quotaMax = { bytesMax: 200, objectsMax: 5 };

async function runStep(store: ObjectStore, { do: what, key: name, bytes }: Step): Promise<void> {
  const bucket = "bucket";
  const address = { bucket, key: key(name) };
  const { uploads } = await store.listUploads({ bucket, limit: 9 });
  const upload = uploads[bytes % Math.max(1, uploads.length)];
  const ref = upload && { bucket, key: key("upload"), uploadId: upload.id };
  if (what === "put") await store.put(plainPut(bucket, name, "z".repeat(bytes)));
  else if (what === "delete") await store.delete(address);
  else if (what === "start") await startUpload(store, bucket);
  else if (what === "rename" || what === "copy") {
    const source = { bucket, key: key(name === "a" ? "b" : "a") };
    if (what === "copy") await store.copy({ ...address, source, metadata: undefined });
    else await store.rename({ ...address, source });
  } else if (ref === undefined) return;
  else if (what === "part") await store.uploadPart({ ...part(bucket, ref.uploadId, 1, patternBytes(bytes)) });
  else if (what === "abort") await store.abortUpload(ref);
  else {
    const { parts } = await store.listParts({ ...ref, after: 0, limit: 9 });
    const listed = parts.map(({ partNumber, etag }) => ({ partNumber, etag }));
    if (listed.length > 0) await store.completeUpload({ ...ref, parts: listed });
  }
}

void test("a bucket whose counting cannot be finished holds up no other", async () => {
  const world = newWorld();
  const { store } = await startProcess(world);
  await fill(store);
  const begun = { bytesMax: 1_000_000, objectsMax: undefined, isCounted: false, account: "none" } as const;
  for (const name of ["plain", "versions"]) {
    const [row] = await world.kv.get([bucketKey(name)]);
    const value = encodeBucket({ ...decodeBucket(row!.value), quota: begun });
    await world.kv.commit({ checks: [], writes: [{ kind: "put", key: row!.key, value }] });
  }
  await store.createBucket("a-broken-one", { region: "here" });
  const value = Buffer.from("not a bucket's row");
  await world.kv.commit({ checks: [], writes: [{ kind: "put", key: bucketKey("a-broken-one"), value }] });
  const { signal } = new AbortController();
  await assert.rejects(finishQuotas({ ...world, clock: systemClock, random: systemRandom }, signal), {
    reason: "corrupt_record",
  });
  for (const name of ["plain", "versions"]) assert.ok((await store.quota(name)).held !== undefined, name);
});

void test("whatever is done, nothing goes beyond the quota and the counters stay what is there", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("unversioned", "enabled", "suspended"),
      fc.array(step, { maxLength: 25 }),
      async (versioning, steps) => {
        const world = newWorld();
        const { store } = await startProcess(world);
        await store.createBucket("bucket", { region: "here" });
        if (versioning !== "unversioned") await store.setVersioning("bucket", "enabled");
        if (versioning === "suspended") await store.setVersioning("bucket", "suspended");
        await store.setQuota("bucket", quotaMax);
        for (const each of steps) {
          const before = (await store.quota("bucket")).held!;
          await runStep(store, each).catch((error: unknown) => {
            if (
              !hasReason(
                error,
                "quota_exceeded",
                "no_such_key",
                "invalid_request",
                "is_delete_marker",
                "invalid_argument",
              )
            )
              throw error;
          });
          const { objects, bytes } = (await store.quota("bucket")).held!;
          assert.ok(bytes <= quotaMax.bytesMax);
          assert.ok(
            objects <= quotaMax.objectsMax || each.do === "delete" || each.do === "rename" || objects <= before.objects,
          );
        }
        assert.deepEqual(await findings(world), []);
      },
    ),
    { numRuns: 60 },
  );
});

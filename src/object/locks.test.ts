/** What is locked stays until the server's clock says so, whichever way its removal is asked for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { hasReason } from "../core/errors.ts";
import type { ErrorReason } from "../core/errors.ts";
import { decodeBucket, encodeBucket } from "../meta/buckets.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { bucketKey } from "../meta/keys.ts";
import { bodyOf, noMetadata, noVerifier, openTestStore, patternBytes, plainPut } from "./object.fixture.ts";
import { interrupted, once, readAll, SettableClock } from "./object.fixture.ts";
import type { TestStore } from "./object.fixture.ts";
import { judgeRetentionChange, retentionFrom } from "./locks.ts";
import type { ObjectLock, Retention } from "./object.ts";
import { assertSound } from "./versions.fixture.ts";

const bucket = "locked";
const key = Buffer.from("k");
const dayMs = 86_400_000;

type Locked = { readonly t: TestStore; readonly clock: SettableClock };

async function open(context: TestContext): Promise<Locked> {
  const clock = new SettableClock();
  const t = await openTestStore("memory", { clock });
  context.after(() => t.close());
  await t.store.createBucket(bucket, { region: "here", objectLock: true });
  return { t, clock };
}

async function put({ t }: Locked, lock: ObjectLock, body: Buffer | string = "kept"): Promise<string> {
  return (await t.store.put({ ...plainPut(bucket, "k", body), lock })).versionId!;
}

const days = ({ clock }: Locked, count: number): number => clock.nowMs() + count * dayMs;
const fails = (call: Promise<unknown>, reason: ErrorReason): Promise<void> =>
  assert.rejects(call, (error) => hasReason(error, reason));
const remove = ({ t }: Locked, versionId: string, bypassesGovernance = false): Promise<unknown> =>
  t.store.delete({ bucket, key, versionId, bypassesGovernance });

void test("a retention in COMPLIANCE mode ends when the server's clock says so, and not before", async (context) => {
  const locked = await open(context);
  const versionId = await put(locked, { retention: { mode: "COMPLIANCE", untilMs: days(locked, 10) } });
  for (const bypass of [false, true]) await fails(remove(locked, versionId, bypass), "access_denied");
  locked.clock.aheadMs += 9 * dayMs;
  await fails(remove(locked, versionId, true), "access_denied");
  locked.clock.aheadMs += 2 * dayMs;
  await remove(locked, versionId);
  await assertSound(locked.t);
});

void test("a retention in GOVERNANCE mode is bypassed by who may, a legal hold by nobody", async (context) => {
  const locked = await open(context);
  const retention = { mode: "GOVERNANCE", untilMs: days(locked, 1) } as const;
  const versionId = await put(locked, { retention, legalHold: true });
  await fails(remove(locked, versionId, true), "access_denied");
  await locked.t.store.setLegalHold({ bucket, key, versionId, legalHold: false });
  await fails(remove(locked, versionId), "access_denied");
  await remove(locked, versionId, true);
});

void test("a locked version that is not current any more is as locked, and a marker over it goes freely", async (context) => {
  const locked = await open(context);
  const versionId = await put(
    locked,
    { retention: { mode: "COMPLIANCE", untilMs: days(locked, 1) } },
    patternBytes(300_000),
  );
  const marker = await locked.t.store.delete({ bucket, key });
  const newer = await put(locked, {}, "newer");
  await fails(remove(locked, versionId), "access_denied");
  await remove(locked, newer);
  await remove(locked, marker.versionId!);
  assert.ok((await readAll(await locked.t.store.get({ bucket, key }))).equals(patternBytes(300_000)));
  await fails(locked.t.store.deleteBucket(bucket), "bucket_not_empty");
  await assertSound(locked.t);
});

void test("what is locked is not renamed away, and new versions of a commit get the bucket's default", async (context) => {
  const locked = await open(context);
  const { store } = locked.t;
  await put(locked, { legalHold: true });
  const target = Buffer.from("elsewhere");
  await fails(store.rename({ bucket, key: target, source: { key } }), "access_denied");
  await fails(store.commit({ bucket, entries: [{ kind: "rename", key: target, source: { key } }] }), "access_denied");
  await fails(store.head({ bucket, key: target }), "no_such_key");
  await store.setLegalHold({ bucket, key, legalHold: false });
  await store.setObjectLock(bucket, { mode: "GOVERNANCE", unit: "Days", count: 3 });
  const bytes = Buffer.from("new");
  const other = Buffer.from("other");
  await store.commit({
    bucket,
    entries: [
      { kind: "put", key: other, bytes, metadata: noMetadata },
      { kind: "rename", key: target, source: { key } },
    ],
  });
  for (const each of [other, target]) {
    const head = await store.head({ bucket, key: each });
    assert.equal(head.info.lock.retention?.mode, "GOVERNANCE");
    await fails(store.delete({ bucket, key: each, versionId: head.info.versionId! }), "access_denied");
  }
  await assertSound(locked.t);
});

/** As no request could make it: the bucket's row says something else than it did when the version was locked. */
async function setBucket({ t }: Locked, change: Partial<BucketRecord>): Promise<void> {
  const rowKey = bucketKey(bucket);
  const [row] = await t.kv.get([rowKey]);
  const value = encodeBucket({ ...decodeBucket(row!.value), ...change });
  await t.kv.commit({ checks: [], writes: [{ kind: "put", key: rowKey, value }] });
}

void test("nothing takes the place of a locked version, whatever the bucket's row says", async (context) => {
  const locked = await open(context);
  const { store } = locked.t;
  await setBucket(locked, { versioning: "suspended" });
  await store.put({ ...plainPut(bucket, "k", "null version"), lock: { legalHold: true } });
  await fails(store.put(plainPut(bucket, "k", "other")), "access_denied");
  await fails(store.delete({ bucket, key }), "access_denied");
  await fails(store.delete({ bucket, key, versionId: "null" }), "access_denied");
  const source = { bucket, key };
  await fails(store.copy({ source, bucket, key, metadata: noMetadata }), "access_denied");
  const upload = await store.createUpload({ bucket, key, metadata: noMetadata });
  const ref = { bucket, key, uploadId: upload.id };
  const part = await store.uploadPart({ ...ref, partNumber: 1, body: bodyOf(Buffer.from("x")), verifier: noVerifier });
  const parts = [{ partNumber: 1, etag: part.etag }];
  await fails(store.completeUpload({ ...ref, parts }), "access_denied");
  assert.equal((await readAll(await store.get({ bucket, key }))).toString(), "null version");
});

void test("versioning of a bucket with object lock is not suspended, and object lock needs versioning", async (context) => {
  const locked = await open(context);
  const { store } = locked.t;
  await fails(store.setVersioning(bucket, "suspended"), "invalid_bucket_state");
  await store.createBucket("plain", { region: "here" });
  await fails(store.setObjectLock("plain", undefined), "invalid_bucket_state");
  await store.setVersioning("plain", "enabled");
  assert.equal(await store.objectLock("plain"), undefined);
  await store.setObjectLock("plain", undefined);
  assert.deepEqual(await store.objectLock("plain"), { defaultRetention: undefined });
  await fails(store.setVersioning("plain", "suspended"), "invalid_bucket_state");
});

void test("what is there without object lock cannot be locked; switched on, the null version can", async (context) => {
  const locked = await open(context);
  const { store } = locked.t;
  const retention: Retention = { mode: "COMPLIANCE", untilMs: days(locked, 1) };
  const old = { bucket: "old", key, versionId: "null" };
  await store.createBucket("old", { region: "here" });
  await fails(store.put({ ...plainPut("old", "k", "x"), lock: { retention } }), "invalid_request");
  await store.put(plainPut("old", "k", "x"));
  await fails(store.setRetention({ ...old, retention }), "invalid_request");
  await fails(store.setLegalHold({ ...old, legalHold: true }), "invalid_request");
  await store.setVersioning("old", "enabled");
  await store.setObjectLock("old", undefined);
  await store.setRetention({ ...old, retention });
  await fails(store.delete(old), "access_denied");
  assert.deepEqual((await store.head(old)).info.lock, { retention, legalHold: undefined });
});

void test("every new version gets the default of the moment, an explicit retention counts instead", async (context) => {
  const locked = await open(context);
  const { store } = locked.t;
  const lockOf = async (name: string): Promise<ObjectLock> =>
    (await store.head({ bucket, key: Buffer.from(name) })).info.lock;
  const modifiedOf = async (name: string): Promise<number> =>
    (await store.head({ bucket, key: Buffer.from(name) })).info.modifiedMs;
  const upload = await store.createUpload({ bucket, key: Buffer.from("u"), metadata: noMetadata });
  await store.setObjectLock(bucket, { mode: "COMPLIANCE", unit: "Days", count: 3 });
  await store.put(plainPut(bucket, "p", "x"));
  await store.copy({ source: { bucket, key: Buffer.from("p") }, bucket, key: Buffer.from("c"), metadata: noMetadata });
  const ref = { bucket, key: Buffer.from("u"), uploadId: upload.id };
  const part = await store.uploadPart({ ...ref, partNumber: 1, body: bodyOf(Buffer.from("x")), verifier: noVerifier });
  await store.completeUpload({ ...ref, parts: [{ partNumber: 1, etag: part.etag }] });
  for (const name of ["p", "c", "u"]) {
    const { retention } = await lockOf(name);
    assert.equal(retention?.mode, "COMPLIANCE");
    const laterMs = retention.untilMs - (await modifiedOf(name));
    assert.ok(laterMs > 2 * dayMs && laterMs < 4 * dayMs, name);
  }
  const retention: Retention = { mode: "GOVERNANCE", untilMs: days(locked, 1) };
  await store.put({ ...plainPut(bucket, "own", "x"), lock: { retention } });
  assert.deepEqual((await lockOf("own")).retention, retention);
  await store.setObjectLock(bucket, undefined);
  await store.put(plainPut(bucket, "after", "x"));
  assert.equal((await lockOf("after")).retention, undefined);
});

void test("a default that was acknowledged holds for every write of every process that begins after it", async (context) => {
  const locked = await open(context);
  const other = await locked.t.gateway();
  await other.store.setObjectLock(bucket, { mode: "GOVERNANCE", unit: "Days", count: 1 });
  await other.store.put(plainPut(bucket, "k", "x"));
  await locked.t.store.setObjectLock(bucket, { mode: "COMPLIANCE", unit: "Years", count: 1 });
  await other.store.put(plainPut(bucket, "k", "x"));
  const { retention } = (await other.store.head({ bucket, key })).info.lock;
  assert.equal(retention?.mode, "COMPLIANCE");
});

void test("a lock does not go to a copy, and changing it makes no other version", async (context) => {
  const locked = await open(context);
  const { store } = locked.t;
  const versionId = await put(locked, { legalHold: true });
  const before = (await store.head({ bucket, key })).info;
  await store.copy({ source: { bucket, key }, bucket, key: Buffer.from("copy"), metadata: noMetadata });
  assert.deepEqual((await store.head({ bucket, key: Buffer.from("copy") })).info.lock, {
    retention: undefined,
    legalHold: undefined,
  });
  const retention: Retention = { mode: "GOVERNANCE", untilMs: days(locked, 1) };
  await store.setRetention({ bucket, key, retention });
  await store.setTags({ bucket, key, tags: new Map([["a", "b"]]) });
  const after = (await store.head({ bucket, key })).info;
  assert.deepEqual(after, { ...before, tags: new Map([["a", "b"]]), lock: { retention, legalHold: true } });
  assert.equal(after.versionId, versionId);
});

void test("a retention that has ended is refused, whoever asks", async (context) => {
  const locked = await open(context);
  const ended: Retention = { mode: "GOVERNANCE", untilMs: locked.clock.nowMs() - 1 };
  await fails(put(locked, { retention: ended }), "invalid_argument");
  await put(locked, {});
  await fails(
    locked.t.store.setRetention({ bucket, key, retention: ended, bypassesGovernance: true }),
    "invalid_argument",
  );
});

void test("a retention is only ever weakened by who may, and never in COMPLIANCE mode", () => {
  const nowMs = 1_000;
  const governance = { mode: "GOVERNANCE", untilMs: 5_000 } as const;
  const compliance = { mode: "COMPLIANCE", untilMs: 5_000 } as const;
  const later = 6_000;
  const earlier = 4_000;
  const allows = (before: Retention | undefined, next: Retention | undefined, bypassesGovernance: boolean): boolean => {
    try {
      judgeRetentionChange(before, next, { nowMs, bypassesGovernance });
      return true;
    } catch (error) {
      assert.ok(hasReason(error, "access_denied"));
      return false;
    }
  };
  const table: [Retention | undefined, Retention | undefined, plain: boolean, bypass: boolean][] = [
    [undefined, governance, true, true],
    [governance, governance, true, true],
    [governance, { ...governance, untilMs: later }, true, true],
    [governance, { ...governance, untilMs: earlier }, false, true],
    [governance, { ...compliance, untilMs: later }, false, true],
    [governance, undefined, false, true],
    [compliance, compliance, true, true],
    [compliance, { ...compliance, untilMs: later }, true, true],
    [compliance, { ...compliance, untilMs: earlier }, false, false],
    [compliance, { ...governance, untilMs: later }, false, false],
    [compliance, undefined, false, false],
    [{ ...compliance, untilMs: nowMs }, undefined, true, true],
  ];
  for (const [before, next, plain, bypass] of table) {
    const what = JSON.stringify([before, next]);
    assert.equal(allows(before, next, false), plain, what);
    assert.equal(allows(before, next, true), bypass, `${what} with a bypass`);
  }
});

void test("days and years of a default are those of the calendar", () => {
  const from = Date.parse("2028-02-29T12:00:00.123Z");
  const until = (unit: "Days" | "Years", count: number): string =>
    new Date(retentionFrom({ mode: "GOVERNANCE", unit, count }, from).untilMs).toISOString();
  assert.equal(until("Days", 1), "2028-03-01T12:00:00.123Z");
  assert.equal(until("Years", 1), "2029-03-01T12:00:00.123Z");
  assert.equal(until("Years", 100), "2128-02-29T12:00:00.123Z");
});

void test("whoever comes between a removal and its commit is heard: a lock that was acknowledged holds", async (context) => {
  const locked = await open(context);
  const { t } = locked;
  const retention: Retention = { mode: "COMPLIANCE", untilMs: days(locked, 1) };
  const locks = [
    (versionId: string) => t.store.setLegalHold({ bucket, key, versionId, legalHold: true }),
    (versionId: string) => t.store.setRetention({ bucket, key, versionId, retention }),
  ];
  for (const lock of locks) {
    for (const isCurrent of [true, false]) {
      const versionId = await put(locked, {});
      if (!isCurrent) await put(locked, {}, "newer");
      const slow = await interrupted(
        t,
        once(() => lock(versionId)),
      );
      await fails(slow.store.delete({ bucket, key, versionId, bypassesGovernance: true }), "access_denied");
      await t.store.head({ bucket, key, versionId });
    }
  }
});

void test("a version that was removed before the commit of its lock is not locked, and one that moved is", async (context) => {
  const locked = await open(context);
  const { t } = locked;
  const gone = await put(locked, {});
  const late = await interrupted(
    t,
    once(() => remove(locked, gone)),
  );
  await fails(late.store.setLegalHold({ bucket, key, versionId: gone, legalHold: true }), "no_such_version");
  const moved = await put(locked, {});
  const meanwhile = await interrupted(
    t,
    once(() => put(locked, {}, "newer")),
  );
  await meanwhile.store.setLegalHold({ bucket, key, versionId: moved, legalHold: true });
  await fails(remove(locked, moved, true), "access_denied");
  await assertSound(t);
});

void test("a default that is set before the commit of a PUT counts for it", async (context) => {
  const locked = await open(context);
  const { t } = locked;
  const slow = await interrupted(
    t,
    once(() => t.store.setObjectLock(bucket, { mode: "COMPLIANCE", unit: "Days", count: 1 })),
  );
  await slow.store.put(plainPut(bucket, "k", "x"));
  assert.equal((await t.store.head({ bucket, key })).info.lock.retention?.mode, "COMPLIANCE");
});

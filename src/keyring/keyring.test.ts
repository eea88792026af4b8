import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { systemClock, type Clock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { systemRandom } from "../core/random.ts";
import { defaultKeyId, storeKeyId, type EncryptionContext } from "../crypto/crypto.ts";
import { DataKey } from "../crypto/data_key.ts";
import type { Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { tagRange, tags } from "../meta/keys.ts";
import { Keyring } from "./keyring.ts";

const noContext: EncryptionContext = new Map();
const context: EncryptionContext = new Map([["project", "blue"]]);

/** Time that only moves when it is told to. */
class HandClock implements Clock {
  ms = 0;
  nowMs = (): number => 1_000_000 + this.ms;
  monotonicMs = (): number => this.ms;
  sleep = (): Promise<void> => Promise.resolve();
}

const openWith = (kv: Kv, masters: readonly Uint8Array[], clock: Clock = systemClock): Promise<Keyring> =>
  Keyring.open({ kv, masters, clock, random: systemRandom });

async function versionOf(keyring: Keyring, id: string): Promise<number | undefined> {
  return (await keyring.list({ limit: 100 })).find((key) => key.id === id)?.version;
}

async function rowsOf(kv: Kv): Promise<string> {
  const rows = await kv.scan(tagRange(tags.keyring), { limit: 100 });
  return rows.map(({ value }) => value.toString("hex")).join(" ");
}

void test("a data key opens with the key and the context it was sealed with, and with no other", async () => {
  const keyring = await openWith(openMemoryKv(), [randomBytes(32)]);
  await keyring.create("blue");
  const dataKey = DataKey.generate(systemRandom);
  const sealed = await keyring.seal("blue", dataKey, context);
  assert.ok(!sealed.includes(dataKey.export()));
  assert.deepEqual((await keyring.open("blue", sealed, context)).export(), dataKey.export());
  const isCorrupt = (error: unknown): boolean => hasReason(error, "corrupt_record");
  await assert.rejects(keyring.open("blue", sealed, noContext), isCorrupt);
  await assert.rejects(keyring.open(defaultKeyId, sealed, context), isCorrupt);
  await assert.rejects(keyring.open("blue", sealed.subarray(0, 20), context), isCorrupt);
  const changed = Buffer.from(sealed);
  changed[30]! ^= 1;
  await assert.rejects(keyring.open("blue", changed, context), isCorrupt);
});

void test("two keys are always there; others are made once, and their ids are checked", async () => {
  const keyring = await openWith(openMemoryKv(), [randomBytes(32)]);
  const ids = async (): Promise<string[]> => (await keyring.list({ limit: 10 })).map(({ id }) => id);
  assert.deepEqual(await ids(), [defaultKeyId, storeKeyId]);
  assert.equal((await keyring.create("a")).version, 1);
  assert.deepEqual(await ids(), ["a", defaultKeyId, storeKeyId]);
  assert.deepEqual(
    (await keyring.list({ after: "a", limit: 1 })).map(({ id }) => id),
    [defaultKeyId],
  );
  await assert.rejects(keyring.create("a"), (error) => hasReason(error, "encryption_key_already_exists"));
  for (const id of ["", "-a", "a/b", "ä", "a".repeat(limits.encryptionKeyIdCharsMax + 1)])
    await assert.rejects(keyring.create(id), (error) => hasReason(error, "invalid_argument"), id);
  const dataKey = DataKey.generate(systemRandom);
  for (const id of ["none", "", "a".repeat(4_000)]) {
    await assert.rejects(keyring.seal(id, dataKey, noContext), (error) => hasReason(error, "no_such_encryption_key"));
    await assert.rejects(keyring.rotate(id), (error) => hasReason(error, "no_such_encryption_key"));
  }
});

void test("after a rotation what was sealed opens, here and in another process, and new keys are sealed by the new version", async () => {
  const kv = openMemoryKv();
  const masters = [randomBytes(32)];
  const clock = new HandClock();
  const [one, other] = [await openWith(kv, masters, clock), await openWith(kv, masters, clock)];
  const dataKey = DataKey.generate(systemRandom);
  const before = await one.seal(storeKeyId, dataKey, noContext);
  await other.open(storeKeyId, before, noContext);
  assert.equal((await one.rotate(storeKeyId)).version, 2);
  const after = await one.seal(storeKeyId, dataKey, noContext);
  assert.deepEqual([before[0], after[0]], [1, 2], "the version stands first");
  for (const keyring of [one, other])
    for (const sealed of [before, after])
      assert.deepEqual((await keyring.open(storeKeyId, sealed, noContext)).export(), dataKey.export());
  assert.deepEqual(await versionOf(one, storeKeyId), 2);
});

void test("another process seals with the new version when what it read is too old", async () => {
  const kv = openMemoryKv();
  const masters = [randomBytes(32)];
  const clock = new HandClock();
  const [one, other] = [await openWith(kv, masters, clock), await openWith(kv, masters, clock)];
  const dataKey = DataKey.generate(systemRandom);
  await other.seal(storeKeyId, dataKey, noContext);
  await one.rotate(storeKeyId);
  clock.ms += limits.encryptionKeyKeptMs;
  assert.equal((await other.seal(storeKeyId, dataKey, noContext))[0], 2);
});

void test("a master key is replaced in steps; the old one opens nothing afterwards", async () => {
  const kv = openMemoryKv();
  const [old, next] = [randomBytes(32), randomBytes(32)];
  const first = await openWith(kv, [old]);
  await first.rotate(storeKeyId);
  const dataKey = DataKey.generate(systemRandom);
  const sealed = await first.seal(storeKeyId, dataKey, noContext);
  const rows = await rowsOf(kv);
  await openWith(kv, [old, next]);
  assert.equal(await rowsOf(kv), rows, "the first one is still the old one");
  await openWith(kv, [next, old]);
  assert.notEqual(await rowsOf(kv), rows);
  const last = await openWith(kv, [next]);
  assert.deepEqual((await last.open(storeKeyId, sealed, noContext)).export(), dataKey.export());
  assert.equal(await versionOf(last, storeKeyId), 2);
  await assert.rejects(openWith(kv, [old]), /sealed by another master key/);
});

void test("no key stands in its row, and a damaged row is no key", async () => {
  const kv = openMemoryKv();
  const master = randomBytes(32);
  const keyring = await openWith(kv, [master]);
  assert.ok(!(await rowsOf(kv)).includes(master.toString("hex")));
  const [row] = await kv.scan(tagRange(tags.keyring), { limit: 1 });
  const value = Buffer.from(row!.value);
  value[value.length - 1]! ^= 1;
  await kv.commit({ checks: [], writes: [{ kind: "put", key: row!.key, value }] });
  await assert.rejects(openWith(kv, [master]), (error) => hasReason(error, "corrupt_record"));
  await assert.rejects(keyring.seal(defaultKeyId, DataKey.generate(systemRandom), noContext), /damaged/);
});

void test("several processes that begin at once make one of each key, and rotate one after another", async () => {
  const kv = openMemoryKv();
  const masters = [randomBytes(32)];
  const keyrings = await Promise.all(Array.from({ length: 5 }, () => openWith(kv, masters)));
  assert.deepEqual(await versionOf(keyrings[0]!, storeKeyId), 1);
  const versions = await Promise.all(keyrings.map(async (each) => (await each.rotate(storeKeyId)).version));
  assert.deepEqual(
    versions.toSorted((a, b) => a - b),
    [2, 3, 4, 5, 6],
  );
});

void test("a data key that was opened is kept for a bounded time, and after a rotation too", async () => {
  const clock = new HandClock();
  const keyring = await openWith(openMemoryKv(), [randomBytes(32)], clock);
  const sealed = await keyring.seal(storeKeyId, DataKey.generate(systemRandom), noContext);
  const opened = await keyring.open(storeKeyId, sealed, noContext);
  await keyring.rotate(storeKeyId);
  clock.ms += limits.dataKeysKeptMs - 1;
  assert.equal(await keyring.open(storeKeyId, Buffer.from(sealed), noContext), opened);
  await assert.rejects(keyring.open(storeKeyId, sealed, context), (error) => hasReason(error, "corrupt_record"));
  clock.ms += 1;
  const again = await keyring.open(storeKeyId, sealed, noContext);
  assert.notEqual(again, opened);
  assert.deepEqual(again.export(), opened.export());
});

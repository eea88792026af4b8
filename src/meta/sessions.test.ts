import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { systemRandom } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { drainTargets, fenceSession, hasDrained, readSessions, Session } from "./sessions.ts";

const start = (kv: Kv): Promise<Session> => Session.start({ kv, clock: systemClock, random: systemRandom, node: "n" });
const fenced = (error: unknown): boolean => error instanceof HoldfastError && error.reason === "session_fenced";

test("a read begun before the trash was seen holds it back; later ones do not", async () => {
  const kv = openMemoryKv();
  const session = await start(kv);
  const release = session.beginRead();
  const targets = drainTargets(await readSessions(kv));
  for (let beat = 0; beat < 5; beat++) await session.heartbeat();
  assert.equal(hasDrained(targets, await readSessions(kv)), false);
  const later = session.beginRead();
  release();
  assert.throws(release);
  await session.heartbeat();
  assert.equal(hasDrained(targets, await readSessions(kv)), true);
  later();
  assert.equal(session.readsUnderWay, 0);
});

test("a read begun while the next tick was on its way to the row counts as one before it", async () => {
  const inner = openMemoryKv();
  let hold: Promise<void> | undefined;
  const kv: Kv = {
    name: "held",
    get: (keys) => inner.get(keys),
    scan: (range, options) => inner.scan(range, options),
    commit: async (commit) => {
      await hold;
      return inner.commit(commit);
    },
    close: () => inner.close(),
  };
  const session = await start(kv);
  let letGo = (): void => undefined;
  hold = new Promise((resolve) => (letGo = resolve));
  const beat = session.heartbeat();
  const targets = drainTargets(await readSessions(kv));
  const release = session.beginRead();
  letGo();
  await beat;
  for (let count = 0; count < 4; count++) await session.heartbeat();
  assert.equal(hasDrained(targets, await readSessions(kv)), false);
  release();
  await session.heartbeat();
  assert.equal(hasDrained(targets, await readSessions(kv)), true);
});

test("the tick waits while the store is away", async () => {
  const inner = openMemoryKv();
  const session = await start(inner);
  const commit = inner.commit.bind(inner);
  inner.commit = () => Promise.reject(new HoldfastError("unavailable", "away"));
  for (let count = 0; count < 3; count++) await assert.rejects(session.heartbeat());
  inner.commit = commit;
  await session.heartbeat();
  assert.equal((await readSessions(inner))[0]?.tick, 2);
});

test("a beat that was given up and is carried out later takes no tick back", async () => {
  const inner = openMemoryKv();
  let late: (() => Promise<unknown>) | undefined;
  let isBroken = false;
  const kv: Kv = {
    name: "broken",
    get: (keys) => inner.get(keys),
    scan: (range, options) => inner.scan(range, options),
    commit: async (commit) => {
      if (!isBroken) return inner.commit(commit);
      late = () => inner.commit(commit);
      throw new HoldfastError("unavailable", "The connection broke.");
    },
    close: () => inner.close(),
  };
  const session = await start(kv);
  isBroken = true;
  await assert.rejects(session.heartbeat(), { reason: "unavailable" });
  isBroken = false;
  for (let beat = 0; beat < 4; beat++) await session.heartbeat();
  // It read what is about to be dropped.
  const release = session.beginRead();
  await late!();
  const targets = drainTargets(await readSessions(kv));
  for (let beat = 0; beat < 4; beat++) await session.heartbeat();
  assert.equal(hasDrained(targets, await readSessions(kv)), false);
  release();
  await session.heartbeat();
  assert.equal(hasDrained(targets, await readSessions(kv)), true);
  assert.equal(session.fenced, false);
});

test("fencing: only while the heartbeat stands still; afterwards the session knows", async () => {
  const kv = openMemoryKv();
  const session = await start(kv);
  const [seen] = await readSessions(kv);
  await session.heartbeat();
  assert.equal(await fenceSession(kv, seen!), false);
  const [again] = await readSessions(kv);
  assert.equal(await fenceSession(kv, again!), true);
  await assert.rejects(session.heartbeat(), fenced);
  assert.equal(session.fenced, true);
  assert.deepEqual(await readSessions(kv), []);
  assert.equal(hasDrained(drainTargets([again!]), await readSessions(kv)), true);
});

test("stamps are not repeated, and a closed session leaves no row", async () => {
  const kv = openMemoryKv();
  const session = await start(kv);
  assert.notEqual(session.nextStamp(), session.nextStamp());
  assert.match(session.nextStamp(), /^[0-9a-f]{28}$/);
  await session.close();
  assert.deepEqual(await readSessions(kv), []);
});

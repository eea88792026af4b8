import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock, type Clock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { systemRandom } from "../core/random.ts";
import { Crash, drain, findingsOf, Fuse, newWorld, startProcess, type World } from "../jobs/jobs.fixture.ts";
import { compareRows } from "../kv/copy.ts";
import type { Kv } from "../kv/kv.ts";
import { readCounters } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { readCopying } from "../meta/copying.ts";
import { copyingKey, tagRange, tags } from "../meta/keys.ts";
import { Session } from "../meta/sessions.ts";
import { encodeStore, readStore } from "../meta/store.ts";
import { patternBytes, plainPut, readAll } from "../object/object.fixture.ts";
import { copyMetadata, copyStretches, identifySource, reopenMetadata } from "./copy_metadata.ts";
import type { CopyReport, CopySource } from "./copy_metadata.ts";

const root = { accessKey: "root-key", secretKey: "root-secret" };
const large = patternBytes(300_000);
const random = systemRandom;

/** Time passes at once; `onSleep` is what happens meanwhile. */
function clockThat(onSleep: () => Promise<void> = async () => undefined): Clock {
  return { ...systemClock, sleep: () => onSleep() };
}

/** A stopped store with something of most families. */
async function stoppedWorld(): Promise<World> {
  const world = newWorld();
  const process = await startProcess(world);
  const { store } = process;
  await store.createBucket("things", { region: "here" });
  for (let index = 0; index < 30; index++) await store.put(plainPut("things", `small ${index}`, `body ${index}`));
  await store.put(plainPut("things", "large", large));
  await store.put(plainPut("things", "replaced", large));
  await store.put(plainPut("things", "replaced", "now it is small"));
  return world;
}

type Move = { readonly from: Kv; readonly to: Kv; readonly clock?: Clock; readonly isLocked?: boolean };

async function move({ from, to, clock = clockThat(), isLocked = true }: Move): Promise<CopyReport> {
  const embedded = isLocked ? { rootKey: async () => root } : {};
  const source: CopySource = { kv: from, name: "the source", isLocked, ...embedded };
  const target = { kv: to, name: "the target", publish: async () => to };
  return copyMetadata({ source, target, identity: await identifySource(from, random), clock, random });
}

function refusedWith(pattern: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(hasReason(error, "invalid_argument"), String(error));
    assert.match(error.message, pattern);
    return true;
  };
}

async function startsSession(kv: Kv): Promise<boolean> {
  try {
    await Session.start({ kv, clock: systemClock, random, node: "another" });
    return true;
  } catch (error) {
    assert.ok(hasReason(error, "invalid_argument"), String(error));
    return false;
  }
}

/** A store that is empty apart from what a driver puts there. */
async function countOf(kv: Kv, tag: number): Promise<number> {
  return (await kv.scan({ start: Buffer.from([tag]), end: Buffer.from([tag + 1]) }, { limit: 2_000 })).length;
}

test("a store that was moved goes on in the other engine, with its root key, and not in the old one", async () => {
  const world = await stoppedWorld();
  const to = openMemoryKv();
  const report = await move({ from: world.kv, to });
  assert.ok(report.rows > 60 && report.fenced === 1 && report.hasRootKey);
  assert.deepEqual((await readStore(to))?.root, root);
  assert.equal(await startsSession(world.kv), false);
  const moved = { ...world, kv: to };
  const process = await startProcess(moved);
  assert.deepEqual(await readAll(await process.store.get({ bucket: "things", key: Buffer.from("large") })), large);
  await process.store.put(plainPut("things", "new", large));
  await drain(process);
  assert.deepEqual(await findingsOf(moved), []);
});

test("usage is counted on from where it was", async () => {
  const world = await stoppedWorld();
  const to = openMemoryKv();
  await move({ from: world.kv, to });
  const process = await startProcess({ ...world, kv: to });
  await process.store.put(plainPut("things", "new", "12345"));
  await drain(process);
  const rows = await to.scan(tagRange(tags.usage), { limit: 100 });
  const sum = (index: number): number => rows.reduce((all, { value }) => all + readCounters(value)[index]!, 0);
  assert.equal(sum(0), 33);
});

test("rows about processes stay behind, those of families unknown here do not", async () => {
  const world = await stoppedWorld();
  const strange = Buffer.from([0xc7, 1]);
  const put = (key: Buffer) => ({ kind: "put" as const, key, value: Buffer.from("v") });
  await world.kv.commit({
    checks: [],
    writes: [put(Buffer.from([tags.job, 1])), put(Buffer.from([tags.progress, 1]))],
  });
  await world.kv.commit({ checks: [], writes: [put(strange)] });
  const to = openMemoryKv();
  await move({ from: world.kv, to });
  assert.equal((await to.get([strange]))[0]?.value.toString(), "v");
  for (const tag of [tags.job, tags.progress, tags.session, tags.heartbeat, tags.copying]) {
    assert.equal(await countOf(to, tag), 0, `${tag}`);
  }
  assert.equal(await countOf(to, tags.ended), 1);
});

/** What every cut must leave: at most one of both can be begun on, and the same command finishes it. */
async function assertFinishes(world: World, to: Kv, expected: string): Promise<void> {
  const [source, target] = [await readCopying(world.kv), await readCopying(to)];
  const isEmpty = (await countOf(to, tags.head)) === 0;
  assert.ok(source !== undefined || (target === undefined && isEmpty), "the source is closed once there is something");
  assert.ok(target !== undefined || isEmpty || source?.state === "moved", "half a copy is closed");
  if (source?.state === "moved" && target === undefined) {
    await assert.rejects(move({ from: world.kv, to }), refusedWith(/moved to the target/));
  } else await move({ from: world.kv, to });
  assert.equal((await readCopying(world.kv))?.state, "moved");
  assert.equal(await readCopying(to), undefined);
  const compared = await compareRows({ from: world.kv, to, stretches: copyStretches() });
  assert.ok(compared.outcome === "same" && compared.digest === expected);
  assert.deepEqual((await readStore(to))?.root, root);
  assert.ok(await startsSession(to));
}

for (const fate of ["dies", "fails before", "fails after"] as const) {
  test(`cut off at any call (it ${fate}), at most one of both is open, and the same command finishes it`, async () => {
    const original = await stoppedWorld();
    const whole = openMemoryKv();
    await copyAll(original.kv, whole);
    const { digest } = await move({ from: whole, to: openMemoryKv() });
    let isDone = false;
    for (let step = 1; !isDone; step++) {
      const world = { ...original, kv: openMemoryKv() };
      await copyAll(original.kv, world.kv);
      const to = openMemoryKv();
      const fuse = new Fuse(step, fate);
      const run = move({ from: fuse.wrap(world).kv, to: fuse.wrap({ ...world, kv: to }).kv });
      const failed = await run.then(
        () => undefined,
        (error: unknown) => error,
      );
      isDone = !fuse.burnt;
      assert.equal(failed === undefined, isDone);
      if (fate === "dies" && !isDone) assert.ok(failed instanceof Crash);
      await assertFinishes(world, to, digest);
    }
  });
}

async function copyAll(from: Kv, to: Kv): Promise<void> {
  const rows = await from.scan({ start: Buffer.from([0]), end: Buffer.from([0xff]) }, { limit: 2_000 });
  for (const { key, value } of rows) await to.commit({ checks: [], writes: [{ kind: "put", key, value }] });
}

test("servers that work are named, and nothing has changed for them", async () => {
  const world = await stoppedWorld();
  const { session } = await startProcess(world);
  const to = openMemoryKv();
  const clock = clockThat(() => session.heartbeat());
  await assert.rejects(
    move({ from: world.kv, to, clock, isLocked: false }),
    refusedWith(/work on the source: test\. Stop/),
  );
  await session.heartbeat();
  assert.equal(await readCopying(world.kv), undefined);
  assert.equal((await to.scan({ start: Buffer.from([0]), end: Buffer.from([0xff]) }, { limit: 1 })).length, 0);
});

test("a session that begins to beat again between the look and the fence keeps its store", async () => {
  const world = await stoppedWorld();
  const { session } = await startProcess(world);
  const from: Kv = {
    ...wrapped(world.kv),
    commit: async (commit) => {
      const isClosing = commit.writes.some(({ key }) => copyingKey().equals(key));
      if (isClosing) await session.heartbeat();
      return world.kv.commit(commit);
    },
  };
  await assert.rejects(move({ from, to: openMemoryKv(), isLocked: false }), refusedWith(/still works on the source/));
  await session.heartbeat();
  assert.equal(await readCopying(world.kv), undefined);
  assert.ok(await startsSession(world.kv));
});

function wrapped(kv: Kv): Kv {
  return {
    name: kv.name,
    get: (keys) => kv.get(keys),
    scan: (range, options) => kv.scan(range, options),
    commit: (commit) => kv.commit(commit),
    close: () => kv.close(),
  };
}

test("a silent session is fenced in the source, and the target knows that its process may wake", async () => {
  const world = await stoppedWorld();
  const { store, session } = await startProcess(world);
  const to = openMemoryKv();
  const { fenced } = await move({ from: world.kv, to, isLocked: false });
  assert.equal(fenced, 2);
  await assert.rejects(session.heartbeat(), (error) => hasReason(error, "session_fenced"));
  await assert.rejects(store.put(plainPut("things", "late", large)), (error) => hasReason(error, "session_fenced"));
  assert.equal(await countOf(to, tags.suspect), 2);
  assert.equal(await countOf(to, tags.ended), 2);
});

test("between engines the store's own row arrives as it is", async () => {
  const world = await stoppedWorld();
  const value = encodeStore({ id: "1d".repeat(16), root: undefined });
  await world.kv.commit({ checks: [], writes: [{ kind: "put", key: Buffer.from([tags.store]), value }] });
  const to = openMemoryKv();
  const { hasRootKey } = await move({ from: world.kv, to, isLocked: false });
  assert.equal(hasRootKey, false);
  assert.deepEqual((await to.get([Buffer.from([tags.store])]))[0]?.value, value);
});

test("no session begins in a store that is closed, whatever closes it", async () => {
  const world = await stoppedWorld();
  const to = openMemoryKv();
  const fuse = new Fuse(20, "dies");
  await assert.rejects(move({ from: fuse.wrap(world).kv, to: fuse.wrap({ ...world, kv: to }).kv }));
  assert.equal((await readCopying(world.kv))?.state, "leaving");
  assert.equal((await readCopying(to))?.state, "arriving");
  assert.equal(await startsSession(world.kv), false);
  assert.equal(await startsSession(to), false);
});

test("a target that has something is refused before anything is closed", async () => {
  const [world, other] = [await stoppedWorld(), await stoppedWorld()];
  await assert.rejects(move({ from: world.kv, to: other.kv }), refusedWith(/the target has a store already.*schema/));
  assert.equal(await readCopying(world.kv), undefined);
  assert.ok(await startsSession(other.kv));
});

test("what another copy left in the target is refused", async () => {
  const [world, other] = [await stoppedWorld(), await stoppedWorld()];
  const to = openMemoryKv();
  const fuse = new Fuse(20, "dies");
  await assert.rejects(move({ from: fuse.wrap(other).kv, to: fuse.wrap({ ...other, kv: to }).kv }));
  await assert.rejects(move({ from: world.kv, to }), refusedWith(/the target: .*is not finished/));
  await assert.rejects(move({ from: to, to: openMemoryKv() }), refusedWith(/is not finished/));
  // The source is being copied too, but not to there.
  const half = new Fuse(20, "dies");
  await assert.rejects(move({ from: half.wrap(world).kv, to: half.wrap({ ...world, kv: openMemoryKv() }).kv }));
  await assert.rejects(move({ from: world.kv, to }), refusedWith(/the target: .*is not finished/));
});

test("of two copies of one source that begin together one stops before it wrote anything", async () => {
  const world = await stoppedWorld();
  const [one, two] = [openMemoryKv(), openMemoryKv()];
  let isMoved = false;
  const from: Kv = {
    ...wrapped(world.kv),
    commit: async (commit) => {
      const isClosing = commit.writes.some(({ key }) => copyingKey().equals(key));
      if (isClosing && !isMoved) {
        isMoved = true;
        await move({ from: world.kv, to: two });
      }
      return world.kv.commit(commit);
    },
  };
  await assert.rejects(move({ from, to: one }), (error) => hasReason(error, "operation_aborted"));
  assert.equal((await readCopying(world.kv))?.state, "moved");
  assert.equal(await readCopying(one), undefined);
  assert.equal(await countOf(one, tags.head), 0);
});

test("a store comes back to where it was moved from, and no other does", async () => {
  const [world, other] = [await stoppedWorld(), await stoppedWorld()];
  await world.kv.commit({
    checks: [],
    writes: [{ kind: "put", key: Buffer.from([tags.job, 1]), value: Buffer.alloc(1) }],
  });
  const to = openMemoryKv();
  await move({ from: world.kv, to });
  const process = await startProcess({ ...world, kv: to });
  await process.store.put(plainPut("things", "written elsewhere", "here too"));
  await drain(process);
  await assert.rejects(move({ from: other.kv, to: world.kv }), refusedWith(/was moved to the target/));
  await move({ from: to, to: world.kv, isLocked: false });
  assert.equal((await readCopying(to))?.state, "moved");
  assert.equal(await countOf(world.kv, tags.job), 0);
  const back = await startProcess(world);
  const found = await back.store.get({ bucket: "things", key: Buffer.from("written elsewhere") });
  assert.equal((await readAll(found)).toString(), "here too");
  await drain(back);
  assert.deepEqual(await findingsOf(world), []);
});

test("of two copies to one target the later one goes on, and the other stops", async () => {
  const world = await stoppedWorld();
  const to = openMemoryKv();
  let isSecond = false;
  const first = wrapped(to);
  const slow: Kv = {
    ...first,
    commit: async (commit) => {
      const isOfRows = commit.writes.length > 1 && !isSecond;
      if (isOfRows) {
        isSecond = true;
        await move({ from: world.kv, to });
      }
      return to.commit(commit);
    },
  };
  await assert.rejects(move({ from: world.kv, to: slow }), (error) => hasReason(error, "operation_aborted"));
  assert.ok(isSecond);
  assert.equal(await readCopying(to), undefined);
  assert.equal((await readCopying(world.kv))?.state, "moved");
});

test("a row that changes in the source meanwhile is found, and copied by the next run", async () => {
  const world = await stoppedWorld();
  const to = openMemoryKv();
  const key = Buffer.from([0xc0]);
  const change = async (): Promise<void> => {
    await world.kv.commit({ checks: [], writes: [{ kind: "put", key, value: Buffer.from("late") }] });
  };
  const target: Kv = {
    ...wrapped(to),
    commit: async (commit) => {
      const result = await to.commit(commit);
      if (commit.writes.length > 1) await change();
      return result;
    },
  };
  await assert.rejects(move({ from: world.kv, to: target }), (error) => {
    assert.ok(hasReason(error, "operation_aborted"));
    return /at the row c0:/.test(error.message);
  });
  assert.equal(await startsSession(to), false);
  const { writes } = await move({ from: world.kv, to });
  assert.equal(writes, 1);
  assert.equal((await to.get([key]))[0]?.value.toString(), "late");
});

test("a copy that was begun can be given up; a store that was moved opens by force only", async () => {
  const world = await stoppedWorld();
  const to = openMemoryKv();
  await assert.rejects(reopenMetadata(world.kv), refusedWith(/is open/));
  const fuse = new Fuse(20, "dies");
  await assert.rejects(move({ from: fuse.wrap(world).kv, to: fuse.wrap({ ...world, kv: to }).kv }));
  await assert.rejects(reopenMetadata(to), refusedWith(/is not finished/));
  await reopenMetadata(world.kv);
  assert.ok(await startsSession(world.kv));
  const other = openMemoryKv();
  await move({ from: world.kv, to: other });
  await assert.rejects(reopenMetadata(world.kv), refusedWith(/--force/));
  await reopenMetadata(world.kv, { force: true });
  assert.ok(await startsSession(world.kv));
});

test("a store that is opened again is the one that it was: its drives bear the id under which it was moved", async () => {
  const world = await stoppedWorld();
  const to = openMemoryKv();
  await move({ from: world.kv, to });
  const { id } = (await readStore(to))!;
  await reopenMetadata(world.kv, { force: true });
  assert.equal((await readStore(world.kv))?.id, id);
  const again = openMemoryKv();
  await move({ from: world.kv, to: again });
  assert.equal((await readStore(again))?.id, id);
});

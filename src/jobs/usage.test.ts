import assert from "node:assert/strict";
import { test } from "node:test";
import { systemRandom } from "../core/random.ts";
import { newBucketId, type BucketId } from "../core/ids.ts";
import type { Kv } from "../kv/kv.ts";
import { foldedSession, parseUsageKey, tags, usageKey } from "../meta/keys.ts";
import { plainPut } from "../object/object.fixture.ts";
import { drain, findingsOf, Fuse, newWorld, rowsOf, startProcess } from "./jobs.fixture.ts";
import { fenceOthers } from "./sessions.ts";
import { UsageJob } from "./usage.ts";

const buckets = ["one", "two"];

async function run(kv: Kv): Promise<number> {
  const job = new UsageJob({ kv });
  let done = 0;
  for (let more = true; more;) {
    const result = await job.run();
    done += result.done;
    more = result.more;
  }
  return done;
}

/** Two sessions that are over and a live one, each of which counted in both buckets. */
async function worldWithCounts() {
  const world = newWorld();
  const processes = [];
  for (let index = 0; index < 3; index++) {
    const process = await startProcess(world);
    for (const bucket of buckets) {
      await process.store.createBucket(bucket, { region: "here" });
      await process.store.put(plainPut(bucket, `k${index}`, "x".repeat(10 ** index)));
    }
    processes.push(process);
  }
  const [, fenced, live] = processes;
  // Counts of one session that go below zero: it deleted what another one put.
  await fenced!.store.delete({ bucket: "two", key: Buffer.from("k0") });
  await processes[0]!.session.close();
  await fenceOthers(world.kv, [live!.session.id]);
  return { world, fenced: fenced!, live: live! };
}

const expected = { one: { objects: 3, versions: 0, bytes: 111 }, two: { objects: 2, versions: 0, bytes: 110 } };
const sessionsOf = async (kv: Kv) => (await rowsOf(kv, tags.usage)).map(({ key }) => parseUsageKey(key).session);

void test("counters of sessions that are over become one row a bucket, and what woken ones count is folded later", async () => {
  const { world, fenced, live } = await worldWithCounts();
  const { kv } = world;
  assert.equal((await sessionsOf(kv)).length, 6);
  assert.equal(await run(kv), 4);
  assert.deepEqual(
    (await sessionsOf(kv)).toSorted(),
    [foldedSession, foldedSession, live.session.id, live.session.id].toSorted(),
  );
  for (const bucket of ["one", "two"] as const) assert.deepEqual(await live.store.usage(bucket), expected[bucket]);
  assert.equal(await run(kv), 0, "nothing is left to fold");
  await fenced.store.put(plainPut("one", "late", "12345"));
  assert.equal((await sessionsOf(kv)).length, 5);
  assert.equal(await run(kv), 1);
  assert.deepEqual(await live.store.usage("one"), { objects: 4, versions: 0, bytes: 116 });
  assert.deepEqual(await findingsOf(world), []);
});

void test("a count that comes between the look and the commit is neither lost nor doubled", async () => {
  const { world, fenced, live } = await worldWithCounts();
  const { kv } = world;
  let between = 0;
  const racing: Kv = {
    name: "racing",
    get: (keys) => kv.get(keys),
    scan: (range, options) => kv.scan(range, options),
    close: () => kv.close(),
    async commit(commit) {
      if (between++ < 3) await fenced.store.put(plainPut("one", `between ${between}`, "1"));
      return kv.commit(commit);
    },
  };
  await run(racing);
  assert.ok(between > 3);
  assert.deepEqual(await live.store.usage("one"), { objects: 6, versions: 0, bytes: 114 });
});

void test("cut off at any call, the sums stay", async () => {
  for (const fate of ["dies", "fails before", "fails after"] as const) {
    for (let step = 1, burnt = true; burnt; step++) {
      const { world, live } = await worldWithCounts();
      const fuse = new Fuse(step, fate);
      await run(fuse.wrap(world).kv).catch(() => undefined);
      for (const bucket of ["one", "two"] as const) assert.deepEqual(await live.store.usage(bucket), expected[bucket]);
      await run(world.kv);
      for (const bucket of ["one", "two"] as const) assert.deepEqual(await live.store.usage(bucket), expected[bucket]);
      burnt = fuse.burnt;
    }
  }
});

void test("counters of a bucket that is gone are taken away, those of every other stay", async () => {
  const { world, live } = await worldWithCounts();
  const gone = Array.from({ length: 300 }, () => newBucketId(systemRandom));
  for (const [index, bucket] of gone.entries()) {
    const session = [foldedSession, live.session.id, "00000000000000ab" as typeof foldedSession][index % 3]!;
    await world.kv.commit({ checks: [], writes: [{ kind: "add", key: usageKey(bucket, session), deltas: [1, 1] }] });
  }
  assert.equal(await run(world.kv), 304);
  assert.equal((await sessionsOf(world.kv)).length, 4);
  for (const bucket of ["one", "two"] as const) assert.deepEqual(await live.store.usage(bucket), expected[bucket]);
  await drain(live);
});

void test("a bucket made in the middle of a round keeps its counters", async () => {
  const { world, live } = await worldWithCounts();
  const first = Array.from({ length: 200 }, (_, index) => index.toString(16).padStart(16, "0") as BucketId);
  for (const bucket of first)
    await world.kv.commit({
      checks: [],
      writes: [{ kind: "add", key: usageKey(bucket, live.session.id), deltas: [1, 1] }],
    });
  const job = new UsageJob({ kv: world.kv });
  assert.equal((await job.run()).more, true);
  await live.store.createBucket("new", { region: "here" });
  await live.store.put(plainPut("new", "k", "new"));
  while ((await job.run()).more);
  assert.deepEqual(await live.store.usage("new"), { objects: 1, versions: 0, bytes: 3 });
  assert.equal((await sessionsOf(world.kv)).length, 5);
});

void test("a bucket made after the look at the buckets keeps its counters", async () => {
  const { world, live } = await worldWithCounts();
  const { kv } = world;
  let scans = 0;
  const racing: Kv = {
    name: "racing",
    get: (keys) => kv.get(keys),
    commit: (commit) => kv.commit(commit),
    close: () => kv.close(),
    async scan(range, options) {
      const rows = await kv.scan(range, options);
      if (scans++ % 2 === 0) {
        const bucket = `new-${scans}`;
        await live.store.createBucket(bucket, { region: "here" });
        await live.store.put(plainPut(bucket, "k", "new"));
      }
      return rows;
    },
  };
  await run(racing);
  await run(racing);
  for (const { name } of (await live.store.listBuckets({ prefix: "new-", limit: 100 })).buckets)
    assert.deepEqual(await live.store.usage(name), { objects: 1, versions: 0, bytes: 3 });
  assert.ok(scans > 4);
});

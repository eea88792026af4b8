/** Several machines on one store: each looks after its own drives, and drives come and go while jobs are at work. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock, type Clock } from "../core/clock.ts";
import { IdSource, sessionOf, type DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { progressNameOf, scrubKey, tags } from "../meta/keys.ts";
import { fenceSession, readSessions } from "../meta/sessions.ts";
import type { ChunkNode } from "../node/node.ts";
import { patternBytes, plainPut } from "../object/object.fixture.ts";
import { drain, findingsOf, newWorld, nodeWithout, rowsOf, startProcess, worldWith } from "./jobs.fixture.ts";
import type { Process, World } from "./jobs.fixture.ts";
import { runJobs } from "./jobs.ts";
import { fenceOthers, sweepAll } from "./sessions.ts";

const bucket = "photos";
const { signal } = new AbortController();

async function fill({ store }: Process, objects: number): Promise<void> {
  await store.createBucket(bucket, { region: "here" });
  for (let index = 0; index < objects; index++)
    await store.put(plainPut(bucket, `key ${index}`, patternBytes(limits.inlineBytesMax + 1)));
}

/** One store of four drives on two machines. */
function twoMachines(): { readonly world: World; readonly machines: readonly World[] } {
  const world = worldWith("replica:2", 2);
  const machines = ["http://a", "http://b"].map((name, at) => ({
    ...world,
    local: { name, drives: world.node.drives.slice(at * 2, at * 2 + 2) },
  }));
  return { world, machines };
}

void test("each machine scrubs its own drives, at the same time as the others and with a lease of its own", async () => {
  const { world, machines } = twoMachines();
  const processes = [await startProcess(machines[0]!), await startProcess(machines[1]!)];
  await fill(processes[0]!, 100);
  const runners = processes.map(({ session, jobs }) =>
    runJobs({ kv: world.kv, session, clock: systemClock, log: silentLog, jobs }),
  );
  const isScrubbed = async (): Promise<boolean> =>
    (await world.kv.get(world.node.drives.map(scrubKey))).every((row) => row !== undefined);
  while (!(await isScrubbed())) await new Promise((resolve) => setTimeout(resolve, 5));
  const leases = (await rowsOf(world.kv, tags.job)).map(({ key }) => progressNameOf(key));
  await Promise.all(runners.map((runner) => runner.stop()));
  for (const name of ["compaction", "scrub"])
    assert.deepEqual(
      leases.filter((lease) => lease.startsWith(name)),
      [`${name}@http://a`, `${name}@http://b`],
    );
  assert.ok(leases.includes("trash"), "other work is one process's of all");
});

void test("a sweep after an index was rebuilt looks at the drives of its machine only", async () => {
  const { world, machines } = twoMachines();
  const writer = await startProcess(machines[0]!);
  await fill(writer, 20);
  const [own] = machines[0]!.local!.drives;
  const [other] = machines[1]!.local!.drives;
  for (const drive of [own!, other!]) await world.node.remove(drive, await world.node.list(drive, { limit: 1 }));
  const asked = new Set<DriveId>();
  const watched: ChunkNode = {
    ...nodeWithout(world.node, new Set()),
    list: async (drive, options) => {
      asked.add(drive);
      return world.node.list(drive, options);
    },
  };
  await sweepAll({ kv: world.kv, node: watched, drives: machines[0]!.local!.drives, log: silentLog });
  assert.deepEqual(asked, new Set(machines[0]!.local!.drives));
  assert.equal((await rowsOf(world.kv, tags.repair)).length, 1);
});

void test("what a dead session left on a drive that goes away while it is looked through is removed later", async () => {
  const world = worldWith("replica:2", 2);
  const lost = new Set<DriveId>();
  const writer = await startProcess(world);
  await fill(writer, 2);
  const [first] = world.node.drives;
  // Shards that were never published, on every drive.
  for (const drive of world.node.drives) {
    const owner = { blob: `${writer.session.id}${"f".repeat(16)}` as never, chunkIndex: 0 };
    const chunk = `${writer.session.id}${"e".repeat(16)}` as never;
    await world.node.append(drive, { chunk, shardIndex: 0, owner, body: [Buffer.from("lost")] });
  }
  const node: ChunkNode = nodeWithout(world.node, lost);
  const flaky: ChunkNode = {
    ...node,
    get drives() {
      return node.drives;
    },
    list: async (drive, options) => {
      if (drive === first && options.after !== undefined && sessionOf(options.after.chunk) === writer.session.id)
        lost.add(drive);
      const listed = await node.list(drive, options);
      // It is back by the time the sweep has ended.
      if (drive !== first) lost.clear();
      return listed;
    },
  };
  const process = await startProcess({ ...world, node: flaky });
  await fenceOthers(world.kv, [process.session.id]);
  const sweep = process.jobs.find(({ name }) => name === "sweep")!;
  while ((await rowsOf(world.kv, tags.ended)).length > 0) await sweep.run(signal);
  assert.deepEqual(
    (await findingsOf(world)).map(({ kind }) => kind),
    ["orphan_chunk"],
  );
  await process.session.close();
  await drain(await startProcess(world));
  assert.deepEqual(await findingsOf(world), []);
});

void test("a drive that was away while a dead session was swept is looked through once, whoever has stored on it since", async () => {
  const world = worldWith("replica:2", 1);
  const living = await startProcess(world);
  await fill(living, 2);
  const dead = await startProcess(world);
  const [first] = world.node.drives;
  const owner = { blob: `${dead.session.id}${"f".repeat(16)}` as never, chunkIndex: 0 };
  const chunk = `${dead.session.id}${"e".repeat(16)}` as never;
  await world.node.append(first!, { chunk, shardIndex: 0, owner, body: [Buffer.from("lost")] });
  await fenceOthers(world.kv, [living.session.id]);
  const without = await startProcess({ ...world, node: nodeWithout(world.node, new Set([first!])) });
  const sweep = without.jobs.find(({ name }) => name === "sweep")!;
  while ((await rowsOf(world.kv, tags.ended)).length > 0) await sweep.run(signal);
  assert.equal((await rowsOf(world.kv, tags.stray)).length, 1);
  await without.session.close();
  await drain(living);
  assert.deepEqual(await rowsOf(world.kv, tags.stray), []);
  assert.deepEqual(await findingsOf(world), []);
});

test("in a cluster what an ended session left is looked for when nothing of it can be under way any more", async () => {
  const world = { ...newWorld(), local: { name: "http://n:1", drives: [] } };
  let nowMs = 0;
  const clock: Clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep: async () => undefined };
  const dead = await startProcess(world, clock);
  const [drive] = world.node.drives as [DriveId];
  const ids = new IdSource(dead.session.id);
  const shard = { chunk: ids.chunk(), shardIndex: 0, owner: { blob: ids.blob(), chunkIndex: 0 } };
  const process = await startProcess(world, clock);
  await fenceOthers(world.kv, [process.session.id]);
  const sweep = process.jobs.find(({ name }) => name === "sweep")!;
  const look = async (): Promise<void> => {
    for (let round = 0; round < 5; round++) await sweep.run(new AbortController().signal);
  };
  await look();
  nowMs += limits.sweepSettleMs;
  await look();
  assert.equal(
    (await rowsOf(world.kv, tags.ended)).length,
    1,
    "a process that has not beaten since may still be asked",
  );
  // It had stood still, and carries out now what the dead process had asked of it.
  await world.node.append(drive, { ...shard, body: [Buffer.from("late")] });
  await beatFor(process, limits.sweepSettleMs);
  await look();
  assert.deepEqual(await world.node.list(drive, { limit: 1 }), []);
  assert.deepEqual(await rowsOf(world.kv, tags.ended), []);
});

test("a session that ends once more while its look is put off is waited for anew", async () => {
  const world = { ...newWorld(), local: { name: "http://n:1", drives: [] } };
  let nowMs = 0;
  const clock: Clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep: async () => undefined };
  const suspect = await startProcess(world, clock);
  const process = await startProcess(world, clock);
  const [seen] = (await readSessions(world.kv)).filter(({ id }) => id === suspect.session.id);
  await fenceSession(world.kv, seen!, { mayStillRun: true });
  const sweep = process.jobs.find(({ name }) => name === "sweep")!;
  await sweep.run(signal);
  nowMs += limits.sweepSettleMs;
  await beatFor(process, limits.sweepSettleMs);
  // Until now it may have asked for something.
  await suspect.session.close();
  await sweep.run(signal);
  await sweep.run(signal);
  assert.equal((await rowsOf(world.kv, tags.ended)).length, 1);
  nowMs += limits.sweepSettleMs;
  await beatFor(process, limits.sweepSettleMs);
  for (let round = 0; round < 5; round++) await sweep.run(signal);
  assert.deepEqual(await rowsOf(world.kv, tags.ended), []);
});

async function beatFor({ session }: Process, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= limits.heartbeatIntervalMs) await session.heartbeat();
}

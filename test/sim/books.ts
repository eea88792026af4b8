/**
 * After everything came to rest doctor finds nothing, every chunk has all its shards, each on a drive of its own, and no row
 * is left that asks for work: nothing is lost, nothing is wrong, nothing has leaked.
 */
import { limits } from "../../src/core/limits.ts";
import { shardsOf } from "../../src/core/redundancy.ts";
import { movesFor, targetOf } from "../../src/jobs/balance_plan.ts";
import { MapWalk } from "../../src/jobs/map_walk.ts";
import { balanceKey, decodeBalance } from "../../src/meta/balance.ts";
import type { Entry } from "../../src/kv/kv.ts";
import { runDoctor, sweepAll } from "../../src/jobs/jobs.ts";
import type { ChunkRecord } from "../../src/meta/chunk_pages.ts";
import { changeDriveState } from "../../src/meta/drives.ts";
import { driveIdOf, tagRange, tags, type Tag } from "../../src/meta/keys.ts";
import type { ShardRef } from "../../src/node/node.ts";
import { jobsOf } from "./jobs.ts";
import { localOf, type Running, type Started, type World } from "./world.ts";
import type { Remains } from "./drives.ts";

/** Runs the background jobs until none has work, then looks; returns what is wrong. */
export async function balanceBooks(world: World, { first: running, sweepDue }: Started): Promise<string[]> {
  await running.damage.close();
  await running.landed.close();
  if (sweepDue) await sweepAll({ ...running, drives: running.node.drives });
  await endDrains(world, running);
  // What was written while drives refused lies elsewhere, and nobody walks for that.
  await running.kv.commit({ checks: [], writes: [{ kind: "delete", key: balanceKey() }] });
  await work(world, running);
  return findWrong({ alarms: world.alarms, remains: () => world.drives.remains(running.kv) }, running);
}

/** What is looked at beside the metadata. */
export type Ground = {
  readonly alarms: readonly string[];
  /** Of every chunk that a page names. */
  remains(): Promise<readonly Remains[]>;
  /** Whether what a process left of a repair has to wait, because nobody can know that it is dead. */
  mayWake?(relocation: Entry): Promise<boolean>;
};

/** With every drive here and no work left. */
export async function findWrong(ground: Ground, running: Running): Promise<string[]> {
  const wrong: string[] = [];
  const { kv, node } = running;
  const { signal } = new AbortController();
  const run = runDoctor({ kv, node, deep: true, signal });
  for (let next = await run.next(); !next.done; next = await run.next())
    wrong.push(`doctor: ${next.value.kind} ${next.value.where}: ${next.value.message}`);
  wrong.push(...(await rowsLeft(ground, running)), ...(await shardsLeft(ground, running)));
  wrong.push(...(await notDrained(running)), ...(await notBalanced(running)), ...ground.alarms);
  return wrong;
}

/** Drives are left draining where the others are enough; those that are away for good are taken out. */
async function endDrains({ shardsMax }: World, { kv, node, knownDrives }: Running): Promise<void> {
  const all = await knownDrives();
  for (const { id } of all) if (!node.drives.includes(id)) await changeDriveState(kv, id, ["active"], "draining");
  const known = all.filter(({ id }) => node.drives.includes(id));
  const leaving = known.filter(({ state }) => state !== "active");
  for (let missing = shardsMax - known.length + leaving.length; missing > 0; missing--)
    await changeDriveState(kv, leaving[missing - 1]!.id, ["draining", "drained"], "active");
}

async function notDrained({ node, knownDrives }: Running): Promise<string[]> {
  const draining = (await knownDrives()).filter(({ id, state }) => state === "draining" && node.drives.includes(id));
  return draining.map(({ id }) => `drive ${id} is still draining`);
}

/** Every chunk lies where placement would have it among the drives that there are. */
export async function notBalanced({ kv, placement }: Pick<Running, "kv" | "placement">): Promise<string[]> {
  const drives = placement.drives().filter(({ state }) => state === "up");
  if (drives.length < 2) return [];
  const [row] = await kv.get([balanceKey()]);
  const record = row && decodeBalance(row.value);
  if (record?.isSettled !== true) return ["what the store has was not laid out for its drives"];
  const target = targetOf(record, drives);
  if (target === undefined) return ["what the store has was laid out for other drives than it has"];
  const wrong: string[] = [];
  const walk = new MapWalk(kv);
  for (let pages = await walk.next(); pages !== undefined; pages = await walk.next())
    for (const chunk of pages.flatMap((page) => page.chunks))
      if (movesFor(chunk, target).length > 0) wrong.push(`chunk ${chunk.id} lies elsewhere than it should`);
  return wrong;
}

/** Trash waits for two heartbeats after it was seen, walks for drives for a while; a few rounds more do no harm. */
const rounds = 16;

async function work(world: World, running: Running): Promise<void> {
  const { clock, random } = world;
  const jobs = jobsOf({ ...running, local: localOf(running), clock, random, awayMsMax: 0 });
  const { signal } = new AbortController();
  // Every drive is scrubbed once more.
  world.pass(limits.scrubIntervalMs);
  for (let round = 0; round < rounds; round++) {
    for (const job of jobs) while (await isBusy(job.run(signal)));
    await running.session.heartbeat();
    running.placement.drives();
    world.pass(limits.driveAwayMsMax);
  }
}

async function isBusy(run: Promise<{ readonly done: number; readonly more: boolean }>): Promise<boolean> {
  const { done, more } = await run;
  return more || done > 0;
}

async function rowsLeft({ mayWake }: Ground, { kv, node }: Running): Promise<string[]> {
  const wrong: string[] = [];
  const look = async (name: string, tag: Tag): Promise<void> => {
    const rows = await kv.scan(tagRange(tag), { limit: 10 });
    if (rows.length > 0) wrong.push(`${rows.length} or more rows of ${name} are left`);
  };
  await look("trash", tags.trash);
  await look("repair", tags.repair);
  await look("mend", tags.mend);
  await look("ended", tags.ended);
  for (const row of await kv.scan(tagRange(tags.relocation), { limit: limits.scanEntriesMax }))
    if ((await mayWake?.(row)) !== true) wrong.push("a row of relocation is left");
  // A drive that is gone for good may come back for all that anybody knows.
  for (const { key } of await kv.scan(tagRange(tags.stray), { limit: limits.scanEntriesMax }))
    if (node.drives.includes(driveIdOf(key))) wrong.push(`drive ${driveIdOf(key)} is left as stray`);
  return wrong;
}

/** Each shard that a page names is on its drive and good, and no other is on any drive. */
async function shardsLeft(ground: Ground, { node }: Running): Promise<string[]> {
  const wrong: string[] = [];
  const named = new Set<string>();
  for (const { chunk, good } of await ground.remains()) {
    const shards = shardsOf(chunk.redundancy);
    if (new Set(good.map(({ drive }) => drive)).size < shards)
      wrong.push(`chunk ${chunk.id} has ${good.length} of its ${shards} shards`);
    for (const { drive, shardIndex } of chunk.places) named.add(nameOf(drive, { chunk: chunk.id, shardIndex }));
  }
  for (const drive of node.drives)
    for await (const ref of shardsOn(node, drive))
      if (!named.has(nameOf(drive, ref))) wrong.push(`shard ${nameOf(drive, ref)} is named by no page`);
  return wrong;
}

function nameOf(
  drive: string,
  { chunk, shardIndex }: Pick<ShardRef, "shardIndex"> & { chunk: ChunkRecord["id"] },
): string {
  return `${chunk} ${shardIndex} on ${drive}`;
}

async function* shardsOn(node: Running["node"], drive: Running["node"]["drives"][number]): AsyncGenerator<ShardRef> {
  let after: ShardRef | undefined;
  for (;;) {
    const listed = await node.list(drive, { ...(after && { after }), limit: limits.jobBatchMax });
    yield* listed;
    after = listed.at(-1);
    if (listed.length < limits.jobBatchMax) return;
  }
}

/**
 * After everything came to rest doctor finds nothing, every chunk has all its shards, each on a drive of its own, and no row
 * is left that asks for work: nothing is lost, nothing is wrong, nothing has leaked.
 */
import { limits } from "../../src/core/limits.ts";
import { shardsOf } from "../../src/core/redundancy.ts";
import { createJobs, runDoctor, sweepAll } from "../../src/jobs/jobs.ts";
import type { ChunkRecord } from "../../src/meta/chunk_pages.ts";
import { changeDriveState } from "../../src/meta/drives.ts";
import { driveIdOf, tagRange, tags, type Tag } from "../../src/meta/keys.ts";
import type { ShardRef } from "../../src/node/node.ts";
import type { Running, Started, World } from "./world.ts";

/** Runs the background jobs until none has work, then looks; returns what is wrong. */
export async function balanceBooks(world: World, { first: running, sweepDue }: Started): Promise<string[]> {
  await running.damage.close();
  if (sweepDue) await sweepAll(running);
  await endDrains(world, running);
  await work(world, running);
  const wrong: string[] = [];
  const { kv, node } = running;
  const { signal } = new AbortController();
  const run = runDoctor({ kv, node, deep: true, signal });
  for (let next = await run.next(); !next.done; next = await run.next())
    wrong.push(`doctor: ${next.value.kind} ${next.value.where}: ${next.value.message}`);
  wrong.push(...(await rowsLeft(running)), ...(await shardsLeft(world, running)));
  wrong.push(...(await notDrained(running)), ...world.alarms);
  return wrong;
}

/** Drives are left draining where the others are enough. */
async function endDrains({ shardsMax }: World, { kv, node, knownDrives }: Running): Promise<void> {
  const known = (await knownDrives()).filter(({ id }) => node.drives.includes(id));
  const leaving = known.filter(({ state }) => state !== "active");
  for (let missing = shardsMax - known.length + leaving.length; missing > 0; missing--)
    await changeDriveState(kv, leaving[missing - 1]!.id, ["draining", "drained"], "active");
}

async function notDrained({ node, knownDrives }: Running): Promise<string[]> {
  const draining = (await knownDrives()).filter(({ id, state }) => state === "draining" && node.drives.includes(id));
  return draining.map(({ id }) => `drive ${id} is still draining`);
}

/** Trash waits for two heartbeats after it was seen, walks for drives for a while; a few rounds more do no harm. */
const rounds = 16;

async function work(world: World, running: Running): Promise<void> {
  const { clock, random } = world;
  const jobs = createJobs({ ...running, clock, random, awayMsMax: 0 });
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

async function rowsLeft({ kv, node }: Running): Promise<string[]> {
  const wrong: string[] = [];
  const look = async (name: string, tag: Tag): Promise<void> => {
    const rows = await kv.scan(tagRange(tag), { limit: 10 });
    if (rows.length > 0) wrong.push(`${rows.length} or more rows of ${name} are left`);
  };
  await look("trash", tags.trash);
  await look("repair", tags.repair);
  await look("relocation", tags.relocation);
  // A drive that is gone for good may come back for all that anybody knows.
  for (const { key } of await kv.scan(tagRange(tags.stray), { limit: limits.scanEntriesMax }))
    if (node.drives.includes(driveIdOf(key))) wrong.push(`drive ${driveIdOf(key)} is left as stray`);
  return wrong;
}

/** Each shard that a page names is on its drive and good, and no other is on any drive. */
async function shardsLeft({ drives }: World, { kv, node }: Running): Promise<string[]> {
  const wrong: string[] = [];
  const named = new Set<string>();
  for (const { chunk, good } of await drives.remains(kv)) {
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

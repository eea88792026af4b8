/**
 * Has the shards of one chunk's plan on their drives. One that stands on another drive already, or of which another copy does, is copied
 * by the node that has the drive (`ChunkNode.copy`): its bytes cross the network once and do not pass through this process. Any other, and
 * one of which that failed, is made here from as many as it takes.
 */
import type { ChunkPlace, ChunkRef } from "../blob/blob.ts";
import { remakeShards } from "../blob/shard_repair.ts";
import { isRefusal } from "../blob/shard_writer.ts";
import { shardBytesOf } from "../blob/shards.ts";
import { AssertionError } from "../core/assert.ts";
import { hasReason } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import type { ChunkNode, ShardOwner, ShardRef } from "../node/node.ts";
import { isOutcomeUnknown } from "../node/peer_errors.ts";
import type { ChunkPlan, ShardTask } from "./repair_plan.ts";

export type ChunkWork = { readonly chunk: ChunkRecord; readonly plan: ChunkPlan };

/** What could be made of it. */
export type Made = { readonly tasks: ShardTask[]; readonly bytes: number };

type Parts = { readonly node: ChunkNode; readonly log: Log };

/** What is read and written: a shard that only moves is read as it is, for others it takes as many as there are of data. */
export function bytesMoved({ chunk, plan: { tasks, sources } }: ChunkWork): number {
  const { dataShards } = chunk.redundancy;
  const isMove = tasks.every((task) => sources.some(({ shardIndex }) => shardIndex === task.shardIndex));
  const reads = isMove ? Math.min(tasks.length, dataShards) : dataShards;
  return (reads + tasks.length) * shardBytesOf(chunk.storedBytes, chunk.redundancy);
}

export async function makeShards(
  { node, log }: Parts,
  { chunk, plan }: ChunkWork,
  owner: ShardOwner,
  signal: AbortSignal,
): Promise<Made> {
  const tasks: ShardTask[] = [];
  const toMake: ShardTask[] = [];
  try {
    for (const task of plan.tasks) {
      const isDone = await isCopied(node, { chunk, plan }, task, owner, signal);
      (isDone ? tasks : toMake).push(task);
    }
    if (toMake.length > 0) {
      const wanted = toMake.map(({ shardIndex }) => shardIndex);
      const made = await remakeShards(node, chunk satisfies ChunkRef, plan.sources, wanted, signal);
      for (const [index, task] of toMake.entries()) {
        const shard = { chunk: chunk.id, shardIndex: task.shardIndex, owner, body: [made.bodies[index]!] };
        await putShard(node, task, shard, () => node.append(task.drive, shard, signal));
        tasks.push(task);
      }
      // Only now: an append that failed may still read its shard.
      made.release();
    }
  } catch (error) {
    // Shards go before the page that names them when the last reference to a blob went: that is no loss.
    const level = hasReason(error, "no_such_chunk") ? "info" : "error";
    if (!signal.aborted && !isRefusal(error))
      log[level]({ chunk: chunk.id, blob: owner.blob, err: error }, "Shards of a chunk could not be made anew.");
  }
  return { tasks, bytes: tasks.length * shardBytesOf(chunk.storedBytes, chunk.redundancy) };
}

/** False: it is to be made otherwise. Rejects when the shard may get there yet: then it is for whoever clears up to find out. */
async function isCopied(
  node: ChunkNode,
  { chunk, plan }: ChunkWork,
  task: ShardTask,
  owner: ShardOwner,
  signal: AbortSignal,
): Promise<boolean> {
  const from = sourceOf(task, plan, chunk);
  const { copy } = node;
  if (from === undefined || copy === undefined) return false;
  const { storedBytes, redundancy } = chunk;
  const ref = { chunk: chunk.id, shardIndex: task.shardIndex };
  const shard = { ...ref, owner, storedBytes: shardBytesOf(storedBytes, redundancy), from };
  try {
    await putShard(node, task, ref, () => copy.call(node, task.drive, shard, signal));
    return true;
  } catch (error) {
    if (signal.aborted || isOutcomeUnknown(error)) throw error;
    return false;
  }
}

/** The shard itself where it only moves; of copies any. */
function sourceOf(task: ShardTask, { sources }: ChunkPlan, { redundancy }: ChunkRecord): ChunkPlace | undefined {
  const same = sources.find(({ shardIndex, drive }) => shardIndex === task.shardIndex && drive !== task.drive);
  if (same !== undefined || redundancy.dataShards > 1) return same;
  return sources.find(({ drive }) => drive !== task.drive);
}

const putAttemptsMax = 3;

/**
 * Has the shard on the drive, whatever there is of it: a damaged one, a stray one of a drive that was away. Nothing good is ever
 * removed, for this process may have been taken for dead, and another one may have made the shard anew there since: the same
 * shard of the same chunk has the same bytes, whoever makes it. Where none is known to be there it is not asked for first.
 */
async function putShard(
  node: ChunkNode,
  { drive, inPlace }: ShardTask,
  ref: ShardRef,
  put: () => Promise<void>,
): Promise<void> {
  if (inPlace && (await node.discard(drive, ref)) === "good") return;
  for (let attempt = 1; ; attempt++) {
    try {
      return await put();
    } catch (error) {
      // One is there already.
      if (!(error instanceof AssertionError) || attempt === putAttemptsMax) throw error;
      if ((await node.discard(drive, ref)) === "good") return;
    }
  }
}

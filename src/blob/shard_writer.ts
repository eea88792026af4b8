/**
 * Puts the shards of one chunk on drives, all at once, each on a drive of its own: the chunk's best drives, and where one
 * refuses the best that keeps them spread over zones and nodes (placement.ts). It is stored when a quorum of shards is
 * durable (core/redundancy.ts: losing any one of them loses nothing); those that found no drive are missing from the
 * places, and the page that names the chunk is noted for repair by the commit that publishes it (meta/blobs.ts).
 */
import { assert } from "../core/assert.ts";
import { HoldfastError, hasReason } from "../core/errors.ts";
import type { ChunkId, DriveId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import { shardsOf, writeQuorum, type Redundancy } from "../core/redundancy.ts";
import type { ChunkNode, ShardOwner, ShardRef } from "../node/node.ts";
import type { ChunkPlace } from "./blob.ts";
import type { Placement } from "./node_placement.ts";
import { ChunkDrives, planPlacement, type PlacementDrive } from "./placement.ts";

export type NewChunk = {
  readonly id: ChunkId;
  readonly owner: ShardOwner;
  readonly redundancy: Redundancy;
  /** The bytes of each shard, in pieces; not changed until the call ends. */
  readonly shards: readonly (readonly Uint8Array[])[];
};

export type ShardWriterParts = { readonly node: ChunkNode; readonly placement: Placement; readonly log: Log };

/** What an append to a drive answers when another drive may do. */
export function isRefusal(error: unknown): boolean {
  return hasReason(error, "drive_full", "drive_failed", "drive_missing");
}

/**
 * Ends when no append is under way any more, whatever the outcome. `onBegin` is told of every append before it begins.
 * Errors: `drive_full` or `unavailable` when there are too few drives for a quorum; those of the drives that are no refusals.
 */
export async function storeShards(
  parts: ShardWriterParts,
  chunk: NewChunk,
  onBegin: (drive: DriveId, ref: ShardRef) => void,
  signal: AbortSignal,
): Promise<ChunkPlace[]> {
  const { shards, redundancy } = chunk;
  assert(shards.length === shardsOf(redundancy), "every shard is given");
  const known = parts.placement.drives();
  const plan = planPlacement(known, shards.length);
  const drives = new ChunkDrives(plan, chunk.id);
  const quorum = writeQuorum(redundancy);
  // Too few drives are known before a byte is written; the next attempt looks at their states anew.
  if (plan.shards < quorum) throw tooFewDrives(known, quorum);
  const refusals: unknown[] = [];
  /** The drive of each shard, from the best on. */
  const firsts = shards.map(() => drives.next());
  const outcomes = await Promise.allSettled(
    shards.map(async (body, shardIndex): Promise<ChunkPlace | undefined> => {
      for (let drive = firsts[shardIndex]; drive !== undefined; drive = drives.next()) {
        const ref = { chunk: chunk.id, shardIndex };
        onBegin(drive, ref);
        try {
          await parts.node.append(drive, { ...ref, owner: chunk.owner, body }, signal);
          return { drive, shardIndex };
        } catch (error) {
          if (!isRefusal(error)) throw error;
          parts.log.warn({ drive, chunk: chunk.id, error }, "A drive refused a shard; the next one gets it.");
          refusals.push(error);
          drives.refuse(drive);
        }
      }
      return undefined;
    }),
  );
  const places: ChunkPlace[] = [];
  for (const outcome of outcomes) {
    if (outcome.status === "rejected") throw outcome.reason;
    if (outcome.value !== undefined) places.push(outcome.value);
  }
  if (places.length < quorum) throw refusals.find((error) => hasReason(error, "drive_full")) ?? refusals[0];
  return places;
}

function tooFewDrives(drives: readonly PlacementDrive[], quorum: number): HoldfastError {
  const up = drives.filter(({ state }) => state === "up").length;
  const missing = quorum === 1 ? "No drive takes data" : `${up} drives take data, and a write needs ${quorum}`;
  const isFull = drives.some(({ state }) => state === "full");
  return isFull
    ? new HoldfastError("drive_full", `${missing}: the others are full.`)
    : new HoldfastError("unavailable", `${missing}.`);
}

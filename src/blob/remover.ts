/** Removing shards, each drive by itself. */
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { ChunkNode, ShardRef } from "../node/node.ts";

/** Every drive is tried; the first error leaves at the end. Idempotent, as `ChunkNode.remove` is. */
export async function removeShards(
  node: ChunkNode,
  shards: readonly { readonly drive: DriveId; readonly ref: ShardRef }[],
): Promise<void> {
  const byDrive = Map.groupBy(shards, ({ drive }) => drive);
  const outcomes = await Promise.allSettled(
    [...byDrive].map(async ([drive, ofDrive]) => {
      for (let first = 0; first < ofDrive.length; first += limits.jobBatchMax) {
        const batch = ofDrive.slice(first, first + limits.jobBatchMax);
        await node.remove(
          drive,
          batch.map(({ ref }) => ref),
        );
      }
    }),
  );
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}

/** Removing shards, each drive by itself. */
import { hasReason } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { ChunkNode, Removal } from "../node/node.ts";

/**
 * Every drive is tried; the first error leaves at the end. Resolves to the drives that are away, which keep their shards.
 * Idempotent, as `ChunkNode.remove` is.
 */
export async function removeShards(
  node: ChunkNode,
  shards: readonly { readonly drive: DriveId; readonly ref: Removal }[],
): Promise<DriveId[]> {
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
  const away: DriveId[] = [];
  [...byDrive.keys()].forEach((drive, index) => {
    const outcome = outcomes[index]!;
    if (outcome.status === "fulfilled") return;
    if (!hasReason(outcome.reason, "drive_missing")) throw outcome.reason;
    away.push(drive);
  });
  return away;
}

/**
 * Which shards of a chunk are to be made anew, from which others, and where they go. Pure.
 *
 * A shard that is damaged on a drive that takes data is made anew in its place. One whose drive is away is left alone until the
 * drive is given up, for it may come back with its bytes; then, and where a shard is nowhere, it goes to the chunk's best
 * drive that has no other shard of it. What finds no drive waits. Shards of a drive that is draining are moved likewise.
 */
import type { ChunkPlace } from "../blob/blob.ts";
import { ChunkDrives, planPlacement, type PlacementDrive } from "../blob/placement.ts";
import type { DriveId } from "../core/ids.ts";
import { shardsOf } from "../core/redundancy.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";

export type DriveView = {
  /** Drives that can be read. */
  readonly here: ReadonlySet<DriveId>;
  /** Drives that are away and are not waited for any more. */
  readonly givenUp: ReadonlySet<DriveId>;
  /** Drives that are to give up what they have, as far as others take it. */
  readonly draining: ReadonlySet<DriveId>;
  /** Drives among which everything may be laid out anew; undefined while not all is well with them (balance_plan.ts). */
  readonly balanced: readonly PlacementDrive[] | undefined;
  /** Drives that may take shards. */
  readonly taking: readonly PlacementDrive[];
};

export type ShardTask = { readonly shardIndex: number; readonly drive: DriveId; readonly inPlace: boolean };

export type ChunkPlan = {
  readonly tasks: readonly ShardTask[];
  /** Where good shards can be read. */
  readonly sources: readonly ChunkPlace[];
  /** Something is wrong that cannot be mended now. */
  readonly isWaiting: boolean;
};

/** `damaged`: indexes of shards that were found missing or corrupt on drives that are here. */
export function planChunk(chunk: ChunkRecord, damaged: ReadonlySet<number>, view: DriveView): ChunkPlan {
  const { redundancy, places } = chunk;
  const sources = places.filter(({ drive, shardIndex }) => view.here.has(drive) && !damaged.has(shardIndex));
  if (sources.length < redundancy.dataShards) return { tasks: [], sources, isWaiting: true };
  const taking = new Set(
    view.taking.filter(({ id, state }) => state === "up" && !view.draining.has(id)).map(({ id }) => id),
  );
  const tasks: ShardTask[] = [];
  const homeless: number[] = [];
  /** On drives that give up what they have: these go last, for nothing is lost while they wait. */
  const leaving: number[] = [];
  /** Drives that hold a shard of the chunk, or will. */
  const taken = new Set<DriveId>();
  let isWaiting = false;
  for (let shardIndex = 0; shardIndex < shardsOf(redundancy); shardIndex++) {
    const drive = places.find((place) => place.shardIndex === shardIndex)?.drive;
    if (drive === undefined) homeless.push(shardIndex);
    else if (!view.here.has(drive)) {
      if (view.givenUp.has(drive)) homeless.push(shardIndex);
      else {
        taken.add(drive);
        isWaiting = true;
      }
    } else if (!damaged.has(shardIndex)) {
      // It keeps its shard until another drive has it, and is none that could take one.
      if (view.draining.has(drive)) leaving.push(shardIndex);
      else taken.add(drive);
    } else if (taking.has(drive)) {
      taken.add(drive);
      tasks.push({ shardIndex, drive, inPlace: true });
    } else homeless.push(shardIndex);
  }
  const free = new ChunkDrives(planPlacement(view.taking, shardsOf(redundancy)), chunk.id, [...taken]);
  for (const shardIndex of [...homeless, ...leaving]) {
    let drive = free.next();
    // Placement may not have heard of it yet.
    while (drive !== undefined && view.draining.has(drive)) drive = free.next();
    if (drive === undefined) isWaiting = true;
    else tasks.push({ shardIndex, drive, inPlace: false });
  }
  return { tasks, sources, isWaiting };
}

/** How many more drives the chunk can lose, with those here and undamaged; below 0 it cannot be read. */
export function spareShards({ redundancy, places }: ChunkRecord, here: ReadonlySet<DriveId>): number {
  return places.filter(({ drive }) => here.has(drive)).length - redundancy.dataShards;
}

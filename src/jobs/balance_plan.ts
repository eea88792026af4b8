/** Where placement would have what the store holds, and which shards lie elsewhere. Pure. */
import { placeChunk, type PlacementDrive } from "../blob/placement.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { shardsOf } from "../core/redundancy.ts";
import { domainOf, type BalancedDrive, type BalanceRecord } from "../meta/balance.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import type { KnownDrive } from "../meta/drives.ts";
import type { ChunkPlan, DriveView } from "./repair_plan.ts";

/** A drive whose size is another by more than this part of it has another share. */
const sizeTolerance = 0.1;

/**
 * The drives among which everything is to be laid out, or undefined while one that belongs to the store is away or has failed,
 * or is being drained: then there are other worries, and all may be as it was tomorrow. One that is full keeps its share.
 */
export function drivesToBalance(
  known: readonly KnownDrive[],
  taking: readonly PlacementDrive[],
  here: ReadonlySet<DriveId>,
): readonly PlacementDrive[] | undefined {
  if (known.some(({ state }) => state === "draining")) return undefined;
  const active = new Set(known.filter(({ state }) => state === "active").map(({ id }) => id));
  const drives = taking.filter(({ id, state }) => active.has(id) && here.has(id) && ["up", "full"].includes(state));
  const isWhole = drives.length === active.size && drives.length <= limits.balancedDrivesMax;
  return isWhole ? drives : undefined;
}

export function balancedFor(drives: readonly PlacementDrive[]): readonly BalancedDrive[] {
  return drives.map(({ id, weightBytes, zone = "", node = "" }) => ({ id, weightBytes, domain: domainOf(zone, node) }));
}

/** Whether what was laid out for the one set lies well for the other. */
export function isSameSet(a: readonly BalancedDrive[], b: readonly BalancedDrive[]): boolean {
  const others = new Map(b.map((drive) => [drive.id, drive]));
  return (
    a.length === b.length &&
    a.every(({ id, weightBytes, domain }) => {
      const other = others.get(id);
      return other?.domain === domain && Math.abs(weightBytes - other.weightBytes) <= sizeTolerance * weightBytes;
    })
  );
}

/** The drives with the sizes of the record, all of them up: what places are computed from. Undefined if it is for others. */
export function targetOf(
  { drives: recorded }: BalanceRecord,
  drives: readonly PlacementDrive[],
): readonly PlacementDrive[] | undefined {
  if (!isSameSet(recorded, balancedFor(drives))) return undefined;
  const weights = new Map(recorded.map(({ id, weightBytes }) => [id, weightBytes]));
  return drives.map((drive) => ({ ...drive, state: "up", weightBytes: weights.get(drive.id)! }));
}

export type ShardMove = { readonly shardIndex: number; readonly drive: DriveId };

/** As few as put the chunk where placement would have it; none for one that lacks shards, or has more than there are drives. */
export function movesFor({ id, places, redundancy }: ChunkRecord, target: readonly PlacementDrive[]): ShardMove[] {
  const shards = shardsOf(redundancy);
  if (places.length < shards || target.length < shards) return [];
  const wanted = placeChunk(id, target, shards);
  const free = wanted.filter((drive) => places.every((place) => place.drive !== drive));
  const elsewhere = places.filter(({ drive }) => !wanted.includes(drive));
  return elsewhere.flatMap(({ shardIndex }, at) => (free[at] === undefined ? [] : [{ shardIndex, drive: free[at] }]));
}

/** All moves of a chunk or none: half of them might leave it in fewer nodes than before. Every shard has to be there. */
export function planMoves(chunk: ChunkRecord, target: readonly PlacementDrive[], view: DriveView): ChunkPlan {
  const moves = movesFor(chunk, target);
  const up = new Set(view.taking.filter(({ state }) => state === "up").map(({ id }) => id));
  const mayMove =
    chunk.places.every(({ drive }) => view.here.has(drive)) &&
    moves.every(({ drive }) => up.has(drive) && view.here.has(drive) && !view.draining.has(drive));
  if (!mayMove) return { tasks: [], sources: [], isWaiting: true };
  return { tasks: moves.map((move) => ({ ...move, inPlace: false })), sources: chunk.places, isWaiting: false };
}

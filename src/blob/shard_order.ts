/**
 * In which order the shards of a chunk are asked for. Drives that are there and answer come first, then slow ones, then those
 * that are away; then the shards that are wanted themselves, before those from which they are computed; then by distance. Equally
 * good ones are taken in the order of their indexes: which drive has which is random by the chunk's id (placement.ts), so that
 * load spreads over them. A hint: whoever reads tries the others too.
 */
import type { ChunkNode } from "../node/node.ts";
import type { ChunkPlace } from "./blob.ts";
import type { DriveTimes } from "./drive_times.ts";

export type ShardOrder = {
  readonly node: Pick<ChunkNode, "drives">;
  readonly times: DriveTimes;
  /** By their indexes. */
  readonly wanted?: readonly number[];
  /** Those that are waited for already. */
  readonly late?: ReadonlySet<number>;
};

export function bestFirst(places: readonly ChunkPlace[], { node, times, wanted = [], late }: ShardOrder): ChunkPlace[] {
  const { drives } = node;
  const rankOf = ({ drive, shardIndex }: ChunkPlace): number => {
    const state = drives.includes(drive) ? Number(late?.has(shardIndex) === true || times.isSlow(drive)) : 2;
    return 100 * state + 10 * Number(!wanted.includes(shardIndex)) + times.distance(drive);
  };
  return places
    .map((place) => ({ place, rank: rankOf(place) }))
    .toSorted((a, b) => a.rank - b.rank)
    .map(({ place }) => place);
}

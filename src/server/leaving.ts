/**
 * Whether drives may leave a store: what is left must have a drive for every shard of a chunk, and where the loss of a node (or a
 * zone) is survived now it must be survived afterwards. Pure.
 */
import { domainsOf, type PlacementDrive } from "../blob/placement_tree.ts";
import { formatRedundancy, shardsOf, type Redundancy } from "../core/redundancy.ts";

export type Wish = { readonly redundancy: Redundancy; readonly whose: string };

export type Refusal = {
  readonly why: string;
  /** Who knows better may have it all the same: everything still finds its drives. */
  readonly mayBeForced: boolean;
};

/** `now` and `left`: drives that take data, before and after. */
export function refusalToLeave(
  now: readonly PlacementDrive[],
  left: readonly PlacementDrive[],
  wishes: readonly Wish[],
): Refusal | undefined {
  for (const wish of wishes) {
    const shards = shardsOf(wish.redundancy);
    if (left.length < shards)
      return {
        why: `${wish.whose} needs ${shards} drives, and ${left.length} would be left. Add a drive first, or give it a redundancy that needs fewer.`,
        mayBeForced: false,
      };
  }
  for (const wish of wishes)
    for (const what of ["node", "zone"] as const)
      if (survives(now, wish.redundancy, what) && !survives(left, wish.redundancy, what))
        return {
          why: `${noLonger(wish, what)} Add a ${what} first, or give it another redundancy.`,
          mayBeForced: true,
        };
  return undefined;
}

function noLonger({ redundancy, whose }: Wish, what: "node" | "zone"): string {
  return `${whose} (${formatRedundancy(redundancy)}) would not survive the loss of a ${what} any more.`;
}

/** A chunk's shards lie in several of them, and no one has more than can be lost. */
function survives(drives: readonly PlacementDrive[], redundancy: Redundancy, what: "node" | "zone"): boolean {
  const shards = shardsOf(redundancy);
  if (drives.length < shards || redundancy.parityShards === 0) return false;
  const { nodeCap, zoneCap } = domainsOf(drives, drives.length, shards);
  return (what === "node" ? nodeCap : zoneCap) <= redundancy.parityShards;
}

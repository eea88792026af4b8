/**
 * Which drives of a cluster are to be without shards as far as this process knows: those that are to leave, and those that are away,
 * because it does not reach them, or they have failed, and their node, if it is up, does not say that it has them. Only a hint; it
 * says when it is worth to look, which every process then does within topologyMs.
 */
import type { DriveId } from "../core/ids.ts";
import type { Topology } from "../cluster/topology.ts";
import type { ChunkNode } from "../node/node.ts";

type Seen = Pick<Topology, "drives" | "nodeOf" | "published" | "isHeld">;

/** Its node is up, and does not say that the drive failed. */
export function isHeld(topology: Seen | undefined, drive: DriveId): boolean {
  return topology?.isHeld(drive) === true;
}

/** Tells after a look at the cluster that others are away, or are to leave, than before. */
export function onLostDrives(
  topology: Seen & Pick<Topology, "onLook">,
  node: Pick<ChunkNode, "drives">,
  tell: () => void,
): void {
  let before = lostDrives(topology, node);
  topology.onLook(() => {
    const now = lostDrives(topology, node);
    const isSame = now.length === before.length && now.every((what, at) => what === before[at]);
    before = now;
    if (!isSame) tell();
  });
}

/** Each with what is the matter with it. */
function lostDrives(topology: Seen, node: Pick<ChunkNode, "drives">): string[] {
  const here = new Set(node.drives);
  const isOfUse = (id: DriveId): boolean => here.has(id) && topology.published(id)?.state !== "failed";
  return topology.drives.flatMap(({ id, state }) => {
    const isAway = !isOfUse(id) && !isHeld(topology, id);
    return isAway || state !== "active" ? [`${id} ${state}${isAway ? " away" : ""}`] : [];
  });
}

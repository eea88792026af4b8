/**
 * Whether this server still has its place in the cluster: its address is no other server's, and none of its drives is served by
 * another node. Of a drive that two serve (it was copied with all that is on it, or moved while this one was paused) each has
 * shards that the others look for at the other one; so who came first has to end. Decided by what the newcomer wrote before it served.
 *
 * One that was removed from the list of nodes goes on: it has no drives any more that take anything.
 */
import type { ChunkNode } from "../node/node.ts";
import type { OwnNode } from "./publish.ts";
import type { Topology } from "./topology.ts";

export type OwnPlace = Pick<OwnNode, "url" | "run"> & { readonly local: Pick<ChunkNode, "drives"> };

/** Why it has not, in a sentence. */
export function whyNotOwn(
  { nodes, drives, unread }: Pick<Topology, "nodes" | "drives" | "unread">,
  own: OwnPlace,
): string | undefined {
  const row = nodes.find(({ url }) => url === own.url);
  // What this server writes it can read.
  const isNewer = unread.some(({ url }) => url === own.url);
  if (isNewer || (row !== undefined && row.run !== own.run))
    return `Another server was started at this node's address, ${own.url}: every node needs one of its own (--advertise).`;
  const here = new Set(own.local.drives);
  const taken = drives.find(({ id, node }) => here.has(id) && node !== own.url);
  return (
    taken &&
    `The drive ${taken.id} is served by the node ${taken.node} now, at ${taken.path}: where it was copied, take one of the two away.`
  );
}

/**
 * The nodes and the drives of a cluster together. Every process reads them every topologyMs, so it matters what that costs a
 * cluster that nobody uses: their rows lie side by side, and where they are few they are one scan, of one state.
 */
import { assert } from "../core/assert.ts";
import { limits } from "../core/limits.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { driveKey, driveOf, readDrives, type Drive } from "./drives.ts";
import { nodeKey, tagRange, tags } from "./keys.ts";
import { decodeNode, nodesOf, readNodeRows, type NodeRows } from "./nodes.ts";

export type Members = NodeRows & { readonly drives: readonly Drive[] };

assert(tags.node + 1 === tags.drive, "rows of nodes and of drives lie side by side");
const range = { start: tagRange(tags.node).start, end: tagRange(tags.drive).end };

export async function readMembers(kv: Kv): Promise<Members> {
  const rows = await kv.scan(range, { limit: limits.nodesAtOnce });
  if (rows.length === limits.nodesAtOnce) {
    const [nodes, drives] = await Promise.all([readNodeRows(kv), readDrives(kv)]);
    return { ...nodes, drives };
  }
  const firstDrive = rows.findIndex(({ key }) => key[0] === tags.drive);
  const nodesCount = firstDrive < 0 ? rows.length : firstDrive;
  return { ...nodesOf(rows.slice(0, nodesCount)), drives: rows.slice(nodesCount).map(driveOf) };
}

export type Forgetting = "forgotten" | "not there" | "started again" | "has drives";

/**
 * Removes the row of the run that was looked at, which changes every few seconds while the node is up. A start records its drives,
 * then writes its row: whichever of both comes first, it keeps its place. Errors: `corrupt_record` for a row that cannot be read.
 */
export async function forgetNode(kv: Kv, url: string, run: string): Promise<Forgetting> {
  const key = nodeKey(url);
  return transact(kv, async (tx): Promise<Forgetting> => {
    const ofNode = (await readDrives(kv)).filter(({ node }) => node === url);
    const [row, ...drives] = await tx.get([key, ...ofNode.map(({ id }) => driveKey(id))]);
    if (row === undefined) return "not there";
    if (decodeNode(row.value).run !== run) return "started again";
    const isOfStore = (entry: Entry): boolean => driveOf(entry).node === url && driveOf(entry).state !== "removed";
    if (drives.some((entry) => entry !== undefined && isOfStore(entry))) return "has drives";
    tx.delete(key);
    return "forgotten";
  });
}

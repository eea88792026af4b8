/**
 * The nodes of a cluster: one row for each, under the address at which the others reach it. A node writes its row when it
 * starts and every nodePublishMs from then on, with how its drives are at that moment, so that nobody has to ask every node
 * for every drive. A row that stands still says that its node is away, or cut off from the metadata store.
 *
 * `run` names one start of the node. Who starts at the same address later writes another; a node that left for good
 * stays in the list until its row is removed.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { hasReason } from "../core/errors.ts";
import { DRIVE_ID_BYTES, type DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { scanAll } from "../kv/scan_pages.ts";
import { nodeKey, nodeUrlOf, tagRange, tags } from "./keys.ts";

export const RUN_ID_BYTES = 8;

const driveConditions = ["up", "full", "failed"] as const;

/** A drive as its node saw it. */
export type PublishedDrive = {
  readonly id: DriveId;
  readonly state: (typeof driveConditions)[number];
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly liveBytes: number;
  readonly deadBytes: number;
  readonly segments: number;
};

export type NodeRecord = {
  /** Hex. */
  readonly run: string;
  readonly zone: string;
  /** Of the software. */
  readonly version: string;
  readonly startedMs: number;
  readonly workers: number;
  readonly drives: readonly PublishedDrive[];
};

export type ClusterNodeRow = NodeRecord & { readonly url: string; readonly rowVersion: number };

const newestVersion = 1;

export function encodeNode({ run, zone, version, startedMs, workers, drives }: NodeRecord): Buffer {
  const writer = new ByteWriter().u8(newestVersion).hex(run).string(zone).string(version);
  writer.varint(startedMs).varint(workers).varint(drives.length);
  for (const { id, state, totalBytes, freeBytes, liveBytes, deadBytes, segments } of drives) {
    writer.hex(id).u8(driveConditions.indexOf(state)).varint(totalBytes).varint(freeBytes);
    writer.varint(liveBytes).varint(deadBytes).varint(segments);
  }
  return writer.finish();
}

export function decodeNode(value: Uint8Array): NodeRecord {
  const reader = new ByteReader(value, "node");
  reader.version(newestVersion);
  const head = {
    run: reader.hex(RUN_ID_BYTES),
    zone: reader.string(),
    version: reader.string(),
    startedMs: reader.varint(),
    workers: reader.varint(),
  };
  const count = reader.varint();
  if (count > limits.peerDrivesMax) throw reader.corrupt("it has too many drives");
  const drives = Array.from({ length: count }, () => readDrive(reader));
  reader.end();
  return { ...head, drives };
}

function readDrive(reader: ByteReader): PublishedDrive {
  const id = reader.hex(DRIVE_ID_BYTES) as DriveId;
  const state = driveConditions[reader.u8()];
  if (state === undefined) throw reader.corrupt("the state of a drive is not known");
  const [totalBytes, freeBytes, liveBytes] = [reader.varint(), reader.varint(), reader.varint()];
  return { id, state, totalBytes, freeBytes, liveBytes, deadBytes: reader.varint(), segments: reader.varint() };
}

function nodeOf({ key, value, version }: Entry): ClusterNodeRow {
  return { url: nodeUrlOf(key), rowVersion: version, ...decodeNode(value) };
}

/** A row that this build cannot read: its node runs another one, as while the nodes are upgraded one after the other. */
export type UnreadNode = { readonly url: string; readonly rowVersion: number; readonly error: unknown };

export type NodeRows = { readonly nodes: readonly ClusterNodeRow[]; readonly unread: readonly UnreadNode[] };

/** One that cannot be read must hide no other. */
export function nodesOf(rows: readonly Entry[]): NodeRows {
  const [nodes, unread]: [ClusterNodeRow[], UnreadNode[]] = [[], []];
  for (const row of rows) {
    try {
      nodes.push(nodeOf(row));
    } catch (error) {
      if (!hasReason(error, "corrupt_record")) throw error;
      unread.push({ url: nodeUrlOf(row.key), rowVersion: row.version, error });
    }
  }
  return { nodes, unread };
}

/** Those of the store, in the order of their addresses: pages of nodesAtOnce rows. */
export async function readNodeRows(kv: Kv): Promise<NodeRows> {
  return nodesOf(await scanAll(kv, tagRange(tags.node), limits.nodesAtOnce));
}

/** As `readNodeRows`, without those that cannot be read. */
export async function readNodes(kv: Kv): Promise<readonly ClusterNodeRow[]> {
  return (await readNodeRows(kv)).nodes;
}

/** Errors: `corrupt_record` for one that cannot be read. */
export async function readNode(kv: Kv, url: string): Promise<ClusterNodeRow | undefined> {
  const [row] = await kv.get([nodeKey(url)]);
  return row && nodeOf(row);
}

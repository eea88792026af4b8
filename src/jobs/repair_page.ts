/**
 * Making shards of one page's chunks anew.
 *
 * Order of durability: a *relocation* row says where shards will be put (meta/repairs.ts) → they are appended and synced →
 * one commit puts them into the page and deletes the row. It checks the page as it was read and this session's row: of a
 * page that was deleted or changed meanwhile, or by a process that was fenced, nothing is published, and what was appended
 * is removed. A process that dies in between leaves the row, and whoever comes next removes what it names and the page
 * does not.
 *
 * The same goes for a shard that is made anew in its own place, which the page names already: the row keeps other processes
 * from the page meanwhile, and the page is written anew, unchanged, so that a trash job which has removed the page's shards
 * and is about to delete it looks again.
 */
import type { ChunkRef } from "../blob/blob.ts";
import type { Placement } from "../blob/node_placement.ts";
import { remakeShards } from "../blob/shard_repair.ts";
import { isRefusal } from "../blob/shard_writer.ts";
import type { BlobId, SessionId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import { absent, type Entry, type Kv, type Write } from "../kv/kv.ts";
import { decodeBlobRoot } from "../meta/blobs.ts";
import { decodeChunkPage, encodeChunkPage, type ChunkRecord } from "../meta/chunk_pages.ts";
import { blobPageKey, blobRootKey, parseBlobKey, relocationKey, sessionKey, suspectKey } from "../meta/keys.ts";
import { decodeRelocation, relocationWrite, strayWrites, type RelocatedShard } from "../meta/repairs.ts";
import type { ChunkNode, ShardRef } from "../node/node.ts";
import type { Session } from "../meta/sessions.ts";
import { mentionedIn } from "./orphans.ts";
import { planChunk, type ChunkPlan, type DriveView, type ShardTask } from "./repair_plan.ts";

export type RepairParts = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  readonly placement: Placement;
  readonly session: Pick<Session, "id" | "check" | "nextStamp">;
  readonly log: Log;
};

export type PageToRepair = {
  readonly blob: BlobId;
  readonly page: number;
  /** Positions of the chunks to look at. */
  readonly positions: readonly number[];
  /** Look at every shard's bytes; without it only at which drives are there. */
  readonly verify: boolean;
};

export type PageOutcome =
  /** There is no such page any more. */
  | { readonly kind: "gone" }
  | {
      readonly kind: "seen";
      /** Shards made anew, and their bytes. */
      readonly shards: number;
      readonly bytes: number;
      /** Not all is well: a drive is away, or none is free, or somebody else is at it. */
      readonly isWaiting: boolean;
    };

/** Chunks between two commits: what is done again after a crash. */
const chunksPerRelocation = 16;

export async function repairPage(
  parts: RepairParts,
  page: PageToRepair,
  view: DriveView,
  signal: AbortSignal,
): Promise<PageOutcome> {
  let [shards, bytes, isWaiting] = [0, 0, false];
  for (let at = 0; at < page.positions.length && !signal.aborted; at += chunksPerRelocation) {
    const positions = page.positions.slice(at, at + chunksPerRelocation);
    const outcome = await repairSome(parts, { ...page, positions }, view, signal);
    if (outcome.kind === "gone") return outcome;
    shards += outcome.shards;
    bytes += outcome.bytes;
    isWaiting ||= outcome.isWaiting;
  }
  return { kind: "seen", shards, bytes, isWaiting: isWaiting || signal.aborted };
}

const waiting: PageOutcome = { kind: "seen", shards: 0, bytes: 0, isWaiting: true };

type Planned = { readonly position: number; readonly chunk: ChunkRecord; readonly plan: ChunkPlan };

async function repairSome(
  parts: RepairParts,
  page: PageToRepair,
  view: DriveView,
  signal: AbortSignal,
): Promise<PageOutcome> {
  const { kv } = parts;
  const keys = [blobRootKey(page.blob), blobPageKey(page.blob, page.page), relocationKey(page.blob, page.page)];
  const [rootRow, pageRow, relocationRow] = await kv.get(keys);
  const root = rootRow && decodeBlobRoot(rootRow.value);
  if (pageRow === undefined || root?.kind !== "chunks") return { kind: "gone" };
  if (relocationRow !== undefined) {
    await cleanRelocation(parts, relocationRow);
    return waiting;
  }
  const chunks = decodeChunkPage(pageRow.value);
  const planned: Planned[] = [];
  for (const position of page.positions) {
    const chunk = chunks[position];
    if (chunk === undefined) continue;
    const damaged = page.verify ? await damagedShards(parts.node, chunk, view) : new Set<number>();
    planned.push({ position, chunk, plan: planChunk(chunk, damaged, view) });
  }
  const isWaiting = planned.some(({ plan }) => plan.isWaiting);
  const work = planned.filter(({ plan }) => plan.tasks.length > 0);
  if (work.length === 0) return { kind: "seen", shards: 0, bytes: 0, isWaiting };
  const target = { ...page, pageRow, chunks, firstIndex: page.page * root.pageEntries };
  if (!(await announce(parts, target, work))) return waiting;
  const made = new Map<number, ShardTask[]>();
  let bytes = 0;
  for (const each of work) {
    const done = await makeShards(parts, target, each, signal);
    made.set(each.position, done.tasks);
    bytes += done.bytes;
  }
  const shards = [...made.values()].reduce((sum, tasks) => sum + tasks.length, 0);
  const wanted = work.reduce((sum, { plan }) => sum + plan.tasks.length, 0);
  if (!(await publish(parts, target, made, shards === wanted))) return waiting;
  return { kind: "seen", shards, bytes, isWaiting: isWaiting || shards < wanted };
}

/** Of the shards on drives that are here, those that cannot be read there. */
async function damagedShards(node: ChunkNode, chunk: ChunkRecord, view: DriveView): Promise<Set<number>> {
  const damaged = new Set<number>();
  for (const { drive, shardIndex } of chunk.places) {
    if (!view.here.has(drive)) continue;
    const { outcome } = await node.verify(drive, { chunk: chunk.id, shardIndex });
    if (outcome !== "good") damaged.add(shardIndex);
  }
  return damaged;
}

type Target = {
  readonly blob: BlobId;
  readonly page: number;
  readonly pageRow: Entry;
  readonly chunks: readonly ChunkRecord[];
  /** Index in the blob of the page's first chunk. */
  readonly firstIndex: number;
};

function moved(tasks: readonly ShardTask[]): readonly ShardTask[] {
  return tasks.filter(({ inPlace }) => !inPlace);
}

/** Resolves to whether the work may begin. */
async function announce(parts: RepairParts, target: Target, work: readonly Planned[]): Promise<boolean> {
  const { kv, session } = parts;
  const shards = work.flatMap(({ chunk, plan }) =>
    plan.tasks.map(({ shardIndex, drive }) => ({ chunk: chunk.id, shardIndex, drive })),
  );
  const { key, version } = target.pageRow;
  const result = await kv.commit({
    checks: [session.check, { key, version }, { key: relocationKey(target.blob, target.page), version: absent }],
    writes: [relocationWrite(target.blob, target.page, { session: session.id, shards })],
  });
  return result.outcome === "committed";
}

/** What could be made of one chunk's plan. */
async function makeShards(
  { node, log }: RepairParts,
  target: Target,
  { position, chunk, plan }: Planned,
  signal: AbortSignal,
): Promise<{ readonly tasks: ShardTask[]; readonly bytes: number }> {
  const tasks: ShardTask[] = [];
  let bytes = 0;
  try {
    const wanted = plan.tasks.map(({ shardIndex }) => shardIndex);
    const bodies = await remakeShards(node, chunk satisfies ChunkRef, plan.sources, wanted, signal);
    const owner = { blob: target.blob, chunkIndex: target.firstIndex + position };
    for (const [index, task] of plan.tasks.entries()) {
      const ref: ShardRef = { chunk: chunk.id, shardIndex: task.shardIndex };
      // What is left of a damaged one, or a stray one of a drive that was away: from the announcement on it is ours.
      await node.remove(task.drive, [ref]);
      await node.append(task.drive, { ...ref, owner, body: [bodies[index]!] }, signal);
      tasks.push(task);
      bytes += bodies[index]!.length;
    }
  } catch (error) {
    if (!signal.aborted && !isRefusal(error))
      log.error({ chunk: chunk.id, blob: target.blob, err: error }, "Shards of a chunk could not be made anew.");
  }
  return { tasks, bytes };
}

/**
 * Puts new places into the page and takes back what could not be published, or may have been appended by a call that failed.
 * Resolves to whether the page has what was made.
 */
async function publish(
  parts: RepairParts,
  target: Target,
  made: ReadonlyMap<number, readonly ShardTask[]>,
  isAll: boolean,
): Promise<boolean> {
  const { kv, session } = parts;
  const { key, version } = target.pageRow;
  const replaced: RelocatedShard[] = [];
  const chunks = target.chunks.map((chunk, position) => {
    const tasks = moved(made.get(position) ?? []);
    for (const place of chunk.places)
      if (tasks.some((task) => task.shardIndex === place.shardIndex)) replaced.push({ chunk: chunk.id, ...place });
    return withPlaces(chunk, tasks);
  });
  const relocation: Write = { kind: "delete", key: relocationKey(target.blob, target.page) };
  const result = await kv.commit({
    checks: [session.check, { key, version }],
    writes: [
      { kind: "put", key, value: encodeChunkPage(chunks) },
      ...strayWrites(target.blob, target.page, replaced, () => session.nextStamp()),
      ...(isAll ? [relocation] : []),
    ],
  });
  const isPublished = result.outcome === "committed";
  if (isPublished && isAll) return true;
  const [row] = await kv.get([relocation.key]);
  if (row !== undefined) await cleanRelocation(parts, row);
  return isPublished;
}

async function mayRun(kv: Kv, session: SessionId): Promise<boolean> {
  return (await kv.get([sessionKey(session), suspectKey(session)])).some((row) => row !== undefined);
}

function withPlaces(chunk: ChunkRecord, tasks: readonly ShardTask[]): ChunkRecord {
  if (tasks.length === 0) return chunk;
  const kept = chunk.places.filter(({ shardIndex }) => !tasks.some((task) => task.shardIndex === shardIndex));
  const places = [...kept, ...tasks.map(({ drive, shardIndex }) => ({ drive, shardIndex }))];
  return { ...chunk, places: places.toSorted((a, b) => a.shardIndex - b.shardIndex) };
}

/**
 * Removes shards of a relocation that came to nothing, and its row: of this session's own, whose work has ended, and of one
 * that is gone. Another's is left alone, and so is that of a session which was fenced for its silence until its process is
 * known to be dead: it may wake in the middle of its work. Idempotent.
 */
export async function cleanRelocation(parts: RepairParts, row: Entry): Promise<void> {
  const { kv, node, session, log } = parts;
  const { session: by, shards } = decodeRelocation(row.value);
  if (by !== session.id && (await mayRun(kv, by))) return;
  const { blob, page } = parseBlobKey(row.key);
  const [pageRow, now] = await kv.get([blobPageKey(blob, page!), row.key]);
  if (now?.version !== row.version) return;
  const stray: RelocatedShard[] = [];
  for (const [drive, ofDrive] of Map.groupBy(shards, (shard) => shard.drive)) {
    const mentioned = pageRow === undefined ? new Set<string>() : mentionedIn(decodeChunkPage(pageRow.value), drive);
    const unwanted = ofDrive.filter((shard) => !mentioned.has(`${shard.chunk} ${shard.shardIndex}`));
    if (unwanted.length === 0) continue;
    if (node.drives.includes(drive)) await node.remove(drive, unwanted);
    else stray.push(...unwanted);
  }
  await kv.commit({
    checks: [{ key: row.key, version: row.version }],
    writes: [{ kind: "delete", key: row.key }, ...strayWrites(blob, page!, stray, () => session.nextStamp())],
  });
  log.info({ blob, page, shards: shards.length }, "A repair that was not finished was cleaned up.");
}

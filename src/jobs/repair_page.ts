/**
 * Making shards of one page's chunks anew.
 *
 * Order of durability: a *relocation* row says where shards will be put (meta/repairs.ts) → they are appended and synced →
 * one commit puts them into the page and deletes the row. It checks the page as it was read, that row and this session's: of a
 * page that was deleted or changed meanwhile, or by a process that was fenced, nothing is published, and what was appended
 * is removed. A process that dies in between leaves the row, and whoever comes next removes what it names and the page
 * does not.
 *
 * The same goes for a shard that is made anew in its own place, which the page names already: the row keeps other processes
 * from the page meanwhile, and the page is written anew, unchanged, so that a trash job which has removed the page's shards
 * and is about to delete it looks again.
 */
import type { Placement } from "../blob/node_placement.ts";
import type { PlacementDrive } from "../blob/placement.ts";
import { shardBytesOf } from "../blob/shards.ts";
import type { BlobId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import { absent, type Check, type Entry, type Key, type Kv, type Write } from "../kv/kv.ts";
import { decodeBlobRoot } from "../meta/blobs.ts";
import { decodeChunkPage, encodeChunkPage, type ChunkRecord } from "../meta/chunk_pages.ts";
import { blobPageKey, blobRootKey, relocationKey } from "../meta/keys.ts";
import { decodeRelocation, relocationWrite, strayWrites, type RelocatedShard } from "../meta/repairs.ts";
import type { ChunkNode } from "../node/node.ts";
import type { Session } from "../meta/sessions.ts";
import type { Budget } from "./budget.ts";
import { planMoves } from "./balance_plan.ts";
import { cleanRelocation } from "./clean_relocation.ts";
import { bytesMoved, makeShards } from "./make_shards.ts";
import { planChunk, type ChunkPlan, type DriveView, type ShardTask } from "./repair_plan.ts";

export type RepairParts = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  readonly placement: Placement;
  readonly session: Pick<Session, "id" | "check" | "nextStamp">;
  readonly budget: Budget;
  readonly log: Log;
};

export type PageToRepair = {
  readonly blob: BlobId;
  readonly page: number;
  /** Positions of the chunks to look at. */
  readonly positions: readonly number[];
  /** At every shard's bytes, or only at which drives are there. */
  readonly look: "bytes" | "drives";
  /** Nothing is made anew, but what lies elsewhere is moved to where placement has it among these drives. */
  readonly target?: readonly PlacementDrive[];
  /** The row that asked for it, where that needs no check: it goes with the commit that publishes the last of it, if all was made. */
  readonly plannedBy?: Key;
};

export type PageOutcome =
  /** There is no such page any more. */
  | { readonly kind: "gone" }
  | {
      readonly kind: "seen";
      /** Shards made anew, and their bytes. */
      readonly shards: number;
      readonly bytes: number;
      /** Positions of chunks with which not all is well: a drive is away, or none is free, or somebody else is at the page. */
      readonly waiting: readonly number[];
      /** The latter: the page is to be looked at again when they are not. */
      readonly isBusy: boolean;
      /** Something was to be made anew, whatever came of it. */
      readonly isTried: boolean;
      /** `plannedBy` went with it. */
      readonly isForgotten: boolean;
    };

/** Chunks between two commits: what is done again after a crash. */
const chunksPerRelocation = 16;

export async function repairPage(
  parts: RepairParts,
  page: PageToRepair,
  view: DriveView,
  signal: AbortSignal,
): Promise<PageOutcome> {
  const { plannedBy, ...what } = page;
  let [shards, bytes, isBusy, isTried, isForgotten] = [0, 0, false, false, false];
  const waiting: number[] = [];
  for (let at = 0; at < page.positions.length && !signal.aborted; at += chunksPerRelocation) {
    const positions = page.positions.slice(at, at + chunksPerRelocation);
    // What is left of it by a part that somebody else is at is for the row.
    const isLast = at + chunksPerRelocation >= page.positions.length && !isBusy;
    const some = { ...what, positions, ...(isLast && plannedBy !== undefined && { plannedBy }) };
    const outcome = await repairSome(parts, some, view, signal);
    if (outcome.kind === "gone") return outcome;
    shards += outcome.shards;
    bytes += outcome.bytes;
    waiting.push(...outcome.waiting);
    isBusy ||= outcome.isBusy;
    isTried ||= outcome.isTried;
    isForgotten = outcome.isForgotten;
  }
  // Of what was under way when it was told to stop nobody knows.
  if (signal.aborted) waiting.push(...page.positions);
  return { kind: "seen", shards, bytes, waiting, isBusy, isTried, isForgotten };
}

/** Of a page at which nothing was done. */
export const untouched = {
  kind: "seen",
  shards: 0,
  bytes: 0,
  waiting: [],
  isBusy: false,
  isTried: false,
  isForgotten: false,
} as const;

type Planned = { readonly position: number; readonly chunk: ChunkRecord; readonly plan: ChunkPlan };

async function repairSome(
  parts: RepairParts,
  page: PageToRepair,
  view: DriveView,
  signal: AbortSignal,
): Promise<PageOutcome> {
  const { kv } = parts;
  const busy: PageOutcome = { ...untouched, waiting: page.positions, isBusy: true };
  const keys = [blobRootKey(page.blob), blobPageKey(page.blob, page.page), relocationKey(page.blob, page.page)];
  const [rootRow, pageRow, relocationRow] = await kv.get(keys);
  const root = rootRow && decodeBlobRoot(rootRow.value);
  if (pageRow === undefined || root?.kind !== "chunks") return { kind: "gone" };
  if (relocationRow !== undefined) {
    await cleanRelocation(parts, relocationRow);
    return busy;
  }
  const chunks = decodeChunkPage(pageRow.value);
  const planned: Planned[] = [];
  for (const position of page.positions) {
    const chunk = chunks[position];
    if (chunk === undefined) continue;
    const damaged = page.look === "bytes" ? await damagedShards(parts, chunk, view, signal) : new Set<number>();
    const { target } = page;
    const plan = target === undefined ? planChunk(chunk, damaged, view) : planMoves(chunk, target, view);
    planned.push({ position, chunk, plan });
  }
  const work = planned.filter(({ plan }) => plan.tasks.length > 0);
  if (work.length === 0) return { ...untouched, waiting: waitingOf(planned, new Map()) };
  const target = { ...page, pageRow, chunks, firstIndex: page.page * root.pageEntries };
  const announced = await announce(parts, target, work);
  if (announced === undefined) return busy;
  const made = new Map<number, ShardTask[]>();
  let bytes = 0;
  for (const each of work) {
    const owner = { blob: target.blob, chunkIndex: target.firstIndex + each.position };
    const work = () => makeShards(parts, each, owner, signal);
    const done = await parts.budget.piece(bytesMoved(each), signal, work);
    made.set(each.position, done.tasks);
    bytes += done.bytes;
  }
  const shards = [...made.values()].reduce((sum, tasks) => sum + tasks.length, 0);
  const wanted = work.reduce((sum, { plan }) => sum + plan.tasks.length, 0);
  const isAll = shards === wanted;
  if (!(await publish(parts, { ...target, announced }, made, isAll))) return busy;
  const isForgotten = isAll && page.plannedBy !== undefined;
  return { kind: "seen", shards, bytes, waiting: waitingOf(planned, made), isBusy: false, isTried: true, isForgotten };
}

function waitingOf(planned: readonly Planned[], made: ReadonlyMap<number, readonly ShardTask[]>): number[] {
  return planned
    .filter(({ position, plan }) => plan.isWaiting || (made.get(position)?.length ?? 0) < plan.tasks.length)
    .map(({ position }) => position);
}

/** Of the shards on drives that are here, those that cannot be read there. */
async function damagedShards(
  { node, budget }: RepairParts,
  chunk: ChunkRecord,
  view: DriveView,
  signal: AbortSignal,
): Promise<Set<number>> {
  const damaged = new Set<number>();
  for (const { drive, shardIndex } of chunk.places) {
    if (!view.here.has(drive)) continue;
    const bytes = shardBytesOf(chunk.storedBytes, chunk.redundancy);
    const { outcome } = await budget.piece(bytes, signal, () => node.verify(drive, { chunk: chunk.id, shardIndex }));
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
  readonly plannedBy?: Key;
};

function moved(tasks: readonly ShardTask[]): readonly ShardTask[] {
  return tasks.filter(({ inPlace }) => !inPlace);
}

/** Resolves to what shows that the announcement stands, or to undefined when the work may not begin. */
async function announce(parts: RepairParts, target: Target, work: readonly Planned[]): Promise<Check | undefined> {
  const { kv, session } = parts;
  const shards = work.flatMap(({ chunk, plan }) =>
    plan.tasks.map(({ shardIndex, drive }) => ({ chunk: chunk.id, shardIndex, drive })),
  );
  const key = relocationKey(target.blob, target.page);
  const result = await kv.commit({
    checks: [session.check, { key: target.pageRow.key, version: target.pageRow.version }, { key, version: absent }],
    writes: [relocationWrite(target.blob, target.page, { session: session.id, shards })],
  });
  const [row] = result.outcome === "committed" ? await kv.get([key]) : [];
  // A process that was fenced in between may find another one's.
  return row && decodeRelocation(row.value).session === session.id ? { key, version: row.version } : undefined;
}

/**
 * Puts new places into the page and takes back what could not be published, or may have been appended by a call that failed.
 * Resolves to whether the page has what was made.
 *
 * A commit of unknown outcome may be carried out late, when what it names has been removed again: then the announcement, whose row
 * that took away, does not stand any more.
 */
async function publish(
  parts: RepairParts,
  target: Target & { readonly announced: Check },
  made: ReadonlyMap<number, readonly ShardTask[]>,
  isAll: boolean,
): Promise<boolean> {
  const { kv, session } = parts;
  const { announced } = target;
  const { key, version } = target.pageRow;
  const replaced: RelocatedShard[] = [];
  const chunks = target.chunks.map((chunk, position) => {
    const tasks = moved(made.get(position) ?? []);
    for (const place of chunk.places)
      if (tasks.some((task) => task.shardIndex === place.shardIndex)) replaced.push({ chunk: chunk.id, ...place });
    return withPlaces(chunk, tasks);
  });
  const over = [announced.key, ...(target.plannedBy === undefined ? [] : [target.plannedBy])];
  const result = await kv.commit({
    checks: [session.check, { key, version }, announced],
    writes: [
      { kind: "put", key, value: encodeChunkPage(chunks) },
      ...strayWrites(target.blob, target.page, replaced, () => session.nextStamp()),
      ...(isAll ? over.map((row): Write => ({ kind: "delete", key: row })) : []),
    ],
  });
  const isPublished = result.outcome === "committed";
  if (isPublished && isAll) return true;
  const [row] = await kv.get([announced.key]);
  if (row !== undefined) await cleanRelocation(parts, row);
  return isPublished;
}

function withPlaces(chunk: ChunkRecord, tasks: readonly ShardTask[]): ChunkRecord {
  if (tasks.length === 0) return chunk;
  const kept = chunk.places.filter(({ shardIndex }) => !tasks.some((task) => task.shardIndex === shardIndex));
  const places = [...kept, ...tasks.map(({ drive, shardIndex }) => ({ drive, shardIndex }))];
  return { ...chunk, places: places.toSorted((a, b) => a.shardIndex - b.shardIndex) };
}

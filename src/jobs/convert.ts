/**
 * Stores what a bucket has again when its redundancy was changed (`conversion` rows, meta/conversions.ts): all versions are walked in
 * order (meta/version_walk.ts), and each chunk that is not stored as the bucket wants its blob's class gets a new one beside it, with a new id of this session, which
 * takes its place in the page by a commit that checks the page and this session. The old shards become strays, removed when no
 * read can want them. The bytes stay as they were packed; a blob that several objects share is converted once, for all.
 *
 * A process that dies half-way leaves shards of its own session, which are swept with it, and a row that says how far it
 * came. A chunk that cannot be read or stored now is left as it is and said; the walk begins again after a while. Other buckets do not
 * wait for that, nor for one whose rows cannot be read.
 *
 * A body that was on its way when the bucket's redundancy was changed has the walk begin anew when it is published (convertLate).
 *
 * Known gaps: parts of uploads that are under way are not converted; nor is an object that is renamed meanwhile from a key that
 * the walk has not come to yet to one that it has passed.
 */
import type { Placement } from "../blob/node_placement.ts";
import { ChunkReader, Recoveries } from "../blob/chunk_reader.ts";
import { removeShards } from "../blob/remover.ts";
import { storeShards, type Storing } from "../blob/shard_writer.ts";
import { codedBytes, makeShards, redundancyFor } from "../blob/shards.ts";
import type { Clock } from "../core/clock.ts";
import { IdSource, type BlobId, type BucketId, type DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { formatRedundancy, shardsOf, type Redundancy } from "../core/redundancy.ts";
import { absent, type Check, type Entry, type Key, type Kv, type Write } from "../kv/kv.ts";
import { keyAfter, scanPages } from "../kv/scan_pages.ts";
import { decodeBlobRoot, decodePartPage } from "../meta/blobs.ts";
import { decodeChunkPage, encodeChunkPage, isIncomplete, type ChunkRecord } from "../meta/chunk_pages.ts";
import { decodeConversion, encodeConversion, type ConversionRecord } from "../meta/conversions.ts";
import { isReduced } from "../meta/heads.ts";
import {
  blobPageKey,
  blobRange,
  bucketIdOf,
  parseBlobKey,
  pastPrefixRange,
  tagRange,
  tags,
  repairKey,
} from "../meta/keys.ts";
import { decodeRepair, repairWrite, strayWrites } from "../meta/repairs.ts";
import type { Session } from "../meta/sessions.ts";
import { placeAfterKey, walkRange, walkVersions, type WalkPlace, type WalkStep } from "../meta/version_walk.ts";
import type { ChunkNode, ShardRef } from "../node/node.ts";
import type { Budget } from "./budget.ts";
import type { Job, JobResult } from "./runner.ts";

export type ConvertParts = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  readonly placement: Placement;
  readonly random: Random;
  readonly session: Pick<Session, "id" | "check" | "nextStamp" | "beginRead">;
  readonly budget: Budget;
  readonly clock: Clock;
  readonly log: Log;
};

const versionsAtOnce = 64;
const rowsAtOnce = 64;
const pagesAtOnce = 4;
const againMs = 60_000;
const idsOfOneSource = 2 ** 16;

export class ConvertJob implements Job {
  readonly name = "convert";
  readonly leased = true;
  readonly idleMsMin = 1_000;
  readonly idleMsMax = 30_000;
  readonly #parts: ConvertParts;
  readonly #recoveries = new Recoveries(2);
  #ids: { readonly source: IdSource; left: number } | undefined;
  /** When a walk that had to leave something may begin again, by the row that asks for it. Those whose time has come are taken out. */
  readonly #notBeforeMs = new Map<string, number>();
  /** Rows are looked at from there on: the one that is being dealt with, or what follows one that failed. */
  #from: Key | undefined;

  constructor(parts: ConvertParts) {
    this.#parts = parts;
  }

  /** Some versions of one bucket. */
  async run(signal: AbortSignal): Promise<JobResult> {
    const row = await this.#next();
    if (row === undefined) return { done: 0, more: false };
    // What is read here must not be removed while it is read.
    const release = this.#parts.session.beginRead();
    try {
      return await this.#someVersions(row, decodeConversion(row.value), signal);
    } catch (error) {
      this.#from = keyAfter(row.key);
      throw error;
    } finally {
      release();
    }
  }

  /** The row of a bucket that may be walked now. */
  async #next(): Promise<Entry | undefined> {
    const { kv, clock } = this.#parts;
    const { start, end } = tagRange(tags.conversion);
    const nowMs = clock.monotonicMs();
    for (const [name, untilMs] of this.#notBeforeMs) if (untilMs <= nowMs) this.#notBeforeMs.delete(name);
    for (const from of this.#from === undefined ? [start] : [this.#from, start])
      for await (const rows of scanPages(kv, { start: from, end }, rowsAtOnce)) {
        const row = rows.find(({ key }) => !this.#notBeforeMs.has(nameOf(key)));
        this.#from = row?.key;
        if (row !== undefined) return row;
      }
    return undefined;
  }

  async #someVersions(row: Entry, conversion: ConversionRecord, signal: AbortSignal): Promise<JobResult> {
    const { kv, clock } = this.#parts;
    const bucket = bucketIdOf(row.key);
    const { end } = walkRange(bucket, Buffer.alloc(0));
    const step = await walkVersions(kv, bucket, { start: startOf(bucket, conversion), end }, versionsAtOnce);
    let done = 0;
    let { isWaiting } = conversion;
    for (const { head } of step.versions) {
      if (signal.aborted) return { done, more: false };
      if (head.data.kind !== "blob") continue;
      const target = conversion.redundancies[isReduced(head) ? "reduced" : "standard"];
      if (target === undefined) continue;
      const converted = await this.#blob(head.data.blob, target, signal);
      done += converted.chunks;
      isWaiting ||= converted.isWaiting;
    }
    const isEnd = step.next === undefined;
    if (isEnd && isWaiting) this.#notBeforeMs.set(nameOf(row.key), clock.monotonicMs() + againMs);
    const next = { ...placeOf(bucket, step), isWaiting: !isEnd && isWaiting };
    const value = encodeConversion({ redundancies: conversion.redundancies, ...next });
    const { key, version } = row;
    // A row that changed meanwhile asks for something else: the next run looks.
    await kv.commit({
      checks: [{ key, version }],
      writes: [isEnd && !isWaiting ? { kind: "delete", key } : { kind: "put", key, value }],
    });
    // Another bucket may have something to do, where this one has not.
    return { done, more: true };
  }

  async #blob(blob: BlobId, target: Redundancy, signal: AbortSignal): Promise<{ chunks: number; isWaiting: boolean }> {
    const { kv } = this.#parts;
    const { start, end } = blobRange(blob);
    const range = { start: keyAfter(start), end };
    const result = { chunks: 0, isWaiting: false };
    const [rootRow] = await kv.get([start]);
    if (rootRow === undefined) return result;
    const { kind } = decodeBlobRoot(rootRow.value);
    for await (const pages of scanPages(kv, range, pagesAtOnce)) {
      for (const page of pages) {
        if (signal.aborted) return { ...result, isWaiting: true };
        for (const { chunks, isWaiting } of await this.#page(kind, page, target, signal)) {
          result.chunks += chunks;
          result.isWaiting ||= isWaiting;
        }
      }
    }
    return result;
  }

  async #page(
    kind: "chunks" | "parts",
    row: Entry,
    target: Redundancy,
    signal: AbortSignal,
  ): Promise<{ readonly chunks: number; readonly isWaiting: boolean }[]> {
    if (kind === "chunks") return [await this.#chunks(parseBlobKey(row.key), target, signal)];
    const results = [];
    for (const part of decodePartPage(row.value)) results.push(await this.#blob(part.blob, target, signal));
    return results;
  }

  async #chunks(
    { blob, page }: ReturnType<typeof parseBlobKey>,
    target: Redundancy,
    signal: AbortSignal,
  ): Promise<{ chunks: number; isWaiting: boolean }> {
    const { kv, log, budget } = this.#parts;
    const result = { chunks: 0, isWaiting: false };
    for (let position = 0; ; position++) {
      // Read again for each chunk: the page changes with every one, and repair may change it too.
      const key = blobPageKey(blob, page!);
      const [row] = await kv.get([key]);
      const chunk = row && decodeChunkPage(row.value)[position];
      if (row === undefined || chunk === undefined) return result;
      if (isStoredAs(chunk, target)) continue;
      try {
        const at = { blob, page: page!, position, row, chunk };
        if (await budget.piece(2 * chunk.storedBytes, signal, () => this.#chunk(at, target, signal)))
          result.chunks += 1;
        else result.isWaiting = true;
      } catch (error) {
        if (signal.aborted) return { ...result, isWaiting: true };
        log.warn({ chunk: chunk.id, blob, err: error }, "A chunk could not be stored with another redundancy.");
        result.isWaiting = true;
      }
    }
  }

  /** Resolves to whether the page has the new chunk. */
  async #chunk(at: At, target: Redundancy, signal: AbortSignal): Promise<boolean> {
    const { kv, node, session } = this.#parts;
    const { blob, page, row, chunk } = at;
    const [rootRow] = await kv.get([blobRange(blob).start]);
    const root = rootRow && decodeBlobRoot(rootRow.value);
    if (root?.kind !== "chunks") return false;
    const redundancy = redundancyFor(chunk.storedBytes, target);
    const id = this.#newId();
    const begun: { readonly drive: DriveId; readonly ref: ShardRef }[] = [];
    let storing: Storing | undefined;
    let mayBePublished = false;
    try {
      const shards = await this.#shards(chunk, redundancy, signal);
      const owner = { blob, chunkIndex: page * root.pageEntries + at.position };
      const onBegin = (drive: DriveId, ref: ShardRef): void => void begun.push({ drive, ref });
      storing = storeShards(this.#parts, { id, owner, redundancy, shards }, onBegin, signal);
      const { places, strays } = await storing.done;
      const chunks = decodeChunkPage(row.value);
      chunks[at.position] = { ...chunk, id, redundancy, places };
      const old = [
        ...chunk.places.map((place) => ({ chunk: chunk.id, ...place })),
        ...strays.map((place) => ({ chunk: id, ...place })),
      ];
      const note = isIncomplete(chunks[at.position]!) ? await noteOfIncomplete(kv, at) : undefined;
      mayBePublished = true;
      const result = await kv.commit({
        checks: [session.check, { key: row.key, version: row.version }, ...(note ? [note.check] : [])],
        writes: [
          { kind: "put", key: row.key, value: encodeChunkPage(chunks) },
          ...strayWrites(blob, page, old, () => session.nextStamp()),
          ...(note ? [note.write] : []),
        ],
      });
      mayBePublished = result.outcome === "committed";
      return mayBePublished;
    } finally {
      // After a commit of unknown outcome nothing is removed: the sweep of this session decides.
      if (!mayBePublished)
        await removeShards(
          node,
          begun.filter(({ drive }) => !isUnended(storing, drive)),
        );
    }
  }

  #newId(): ChunkRecord["id"] {
    const { session, random } = this.#parts;
    if (this.#ids === undefined || this.#ids.left === 0)
      this.#ids = { source: IdSource.behind(session.id, random), left: idsOfOneSource };
    this.#ids.left -= 1;
    return this.#ids.source.chunk();
  }

  async #shards(
    chunk: ChunkRecord,
    redundancy: Redundancy,
    signal: AbortSignal,
  ): Promise<readonly (readonly Uint8Array[])[]> {
    const { storedBytes } = chunk;
    const room = Buffer.allocUnsafeSlow(codedBytes(storedBytes, redundancy));
    const parts = { ...this.#parts, times: this.#parts.placement.times, recoveries: this.#recoveries };
    const reader = new ChunkReader(parts, chunk, { offset: 0, length: storedBytes }, () => undefined);
    try {
      for (let offset = 0; offset < storedBytes; offset += limits.readBytesPerCall) {
        const range = { offset, length: Math.min(limits.readBytesPerCall, storedBytes - offset) };
        let at = offset;
        await reader.read(range, signal, (pieces) => {
          at = offset;
          for (const piece of pieces) at += piece.copy(room, at);
        });
      }
    } finally {
      reader.end();
    }
    const stored = room.subarray(0, storedBytes);
    if (redundancy.dataShards === 1) return Array.from({ length: shardsOf(redundancy) }, () => [stored]);
    return makeShards(room, [stored], storedBytes, redundancy).map((shard) => [shard]);
  }
}

function nameOf(row: Buffer): string {
  return row.toString("hex");
}

/** The past family's part of a bucket's rows begins with so many bytes in each row's key. */
function familyBytes(bucket: BucketId): number {
  return pastPrefixRange(bucket, Buffer.alloc(0)).start.length;
}

function startOf(bucket: BucketId, { after, past }: ConversionRecord): WalkPlace {
  const { start } = walkRange(bucket, Buffer.alloc(0));
  if (after === undefined) return start;
  const place = placeAfterKey(bucket, after);
  return past === undefined ? place : { ...place, past: Buffer.concat([start.past, past]) };
}

/** How far the walk came; `past` only where it stopped in the middle of a key. */
function placeOf(bucket: BucketId, { stop, next }: WalkStep): Pick<ConversionRecord, "after" | "past"> {
  if (stop === undefined) return { after: undefined };
  const isWhole = Buffer.compare(next.past, placeAfterKey(bucket, stop).past) === 0;
  return { after: stop, ...(isWhole ? {} : { past: Buffer.from(next.past).subarray(familyBytes(bucket)) }) };
}

type At = {
  readonly blob: BlobId;
  readonly page: number;
  readonly position: number;
  readonly row: Entry;
  readonly chunk: ChunkRecord;
};

/** A drive that does not answer is not asked to remove: what it has is found when this session has ended. */
function isUnended(storing: Storing | undefined, drive: DriveId): boolean {
  return storing?.unended.some((place) => place.drive === drive) === true;
}

function isStoredAs({ storedBytes, redundancy }: ChunkRecord, target: Redundancy): boolean {
  return formatRedundancy(redundancy) === formatRedundancy(redundancyFor(storedBytes, target));
}

/** A chunk that missed a drive is noted for repair by the commit that publishes it, beside what is noted already. */
async function noteOfIncomplete(kv: Kv, { blob, page, position }: At): Promise<{ check: Check; write: Write }> {
  const key = repairKey(blob, page);
  const [row] = await kv.get([key]);
  const { damaged, incomplete } = row === undefined ? { damaged: [], incomplete: [] } : decodeRepair(row.value);
  const positions = damaged.includes(position)
    ? incomplete
    : [...new Set([...incomplete, position])].toSorted((a, b) => a - b);
  return {
    check: { key, version: row?.version ?? absent },
    write: repairWrite(blob, page, { damaged, incomplete: positions }),
  };
}

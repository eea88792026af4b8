/**
 * Stores what a bucket has again when its redundancy was changed (`conversion` rows, meta/conversions.ts): heads are walked in
 * order, and each chunk that is not stored as the bucket wants gets a new one beside it, with a new id of this session, which
 * takes its place in the page by a commit that checks the page and this session. The old shards become strays, removed when no
 * read can want them. The bytes stay as they were packed; a blob that several objects share is converted once, for all.
 *
 * A process that dies half-way leaves shards of its own session, which are swept with it, and a row that says how far it
 * came. A chunk that cannot be read or stored now is left as it is and said; the walk begins again after a while.
 *
 * Known gap: parts of uploads that are under way are not converted.
 */
import type { Placement } from "../blob/node_placement.ts";
import { ChunkReader, Recoveries } from "../blob/chunk_reader.ts";
import { removeShards } from "../blob/remover.ts";
import { storeShards } from "../blob/shard_writer.ts";
import { codedBytes, makeShards, redundancyFor } from "../blob/shards.ts";
import type { Clock } from "../core/clock.ts";
import { IdSource, type BlobId, type DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { formatRedundancy, shardsOf, type Redundancy } from "../core/redundancy.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { decodeBlobRoot, decodePartPage } from "../meta/blobs.ts";
import { decodeChunkPage, encodeChunkPage, type ChunkRecord } from "../meta/chunk_pages.ts";
import { decodeConversion, encodeConversion, type ConversionRecord } from "../meta/conversions.ts";
import { decodeHead } from "../meta/heads.ts";
import {
  blobPageKey,
  blobRange,
  bucketIdOf,
  headKey,
  headRange,
  objectKeyOf,
  parseBlobKey,
  tagRange,
  tags,
} from "../meta/keys.ts";
import { strayWrites } from "../meta/repairs.ts";
import type { Session } from "../meta/sessions.ts";
import type { ChunkNode, ShardRef } from "../node/node.ts";
import type { Job, JobResult } from "./runner.ts";

export type ConvertParts = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  readonly placement: Placement;
  readonly random: Random;
  readonly session: Pick<Session, "id" | "check" | "nextStamp" | "beginRead">;
  readonly clock: Clock;
  readonly log: Log;
};

const headsAtOnce = 64;
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
  /** When a walk that had to leave something may begin again. */
  #notBeforeMs = 0;

  constructor(parts: ConvertParts) {
    this.#parts = parts;
  }

  /** Some heads of one bucket. */
  async run(signal: AbortSignal): Promise<JobResult> {
    const { kv, clock } = this.#parts;
    const [row] = await kv.scan(tagRange(tags.conversion), { limit: 1 });
    if (row === undefined || clock.monotonicMs() < this.#notBeforeMs) return { done: 0, more: false };
    // What is read here must not be removed while it is read.
    const release = this.#parts.session.beginRead();
    try {
      return await this.#someHeads(row, decodeConversion(row.value), signal);
    } finally {
      release();
    }
  }

  async #someHeads(row: Entry, conversion: ConversionRecord, signal: AbortSignal): Promise<JobResult> {
    const { kv, clock } = this.#parts;
    const bucket = bucketIdOf(row.key);
    const { start, end } = headRange(bucket);
    const from =
      conversion.after === undefined ? start : Buffer.concat([headKey(bucket, conversion.after), Buffer.of(0)]);
    const heads = await kv.scan({ start: from, end }, { limit: headsAtOnce });
    let done = 0;
    let { isWaiting } = conversion;
    for (const head of heads) {
      if (signal.aborted) return { done, more: false };
      const { data } = decodeHead(head.value);
      if (data.kind !== "blob") continue;
      const converted = await this.#blob(data.blob, conversion.redundancy, signal);
      done += converted.chunks;
      isWaiting ||= converted.isWaiting;
    }
    const last = heads.at(-1);
    const isEnd = heads.length < headsAtOnce || last === undefined;
    if (isEnd && isWaiting) this.#notBeforeMs = clock.monotonicMs() + againMs;
    const next = isEnd ? { after: undefined, isWaiting: false } : { after: objectKeyOf(last.key), isWaiting };
    const value = encodeConversion({ ...conversion, ...next });
    const { key, version } = row;
    // A row that changed meanwhile asks for something else: the next run looks.
    await kv.commit({
      checks: [{ key, version }],
      writes: [isEnd && !isWaiting ? { kind: "delete", key } : { kind: "put", key, value }],
    });
    return { done, more: !isEnd };
  }

  async #blob(blob: BlobId, target: Redundancy, signal: AbortSignal): Promise<{ chunks: number; isWaiting: boolean }> {
    const { kv } = this.#parts;
    const { start, end } = blobRange(blob);
    const result = { chunks: 0, isWaiting: false };
    const [rootRow] = await kv.get([start]);
    if (rootRow === undefined) return result;
    const { kind } = decodeBlobRoot(rootRow.value);
    for (let from: Uint8Array | undefined = Buffer.concat([start, Buffer.of(0)]); from !== undefined;) {
      const pages: Entry[] = await kv.scan({ start: from, end }, { limit: pagesAtOnce });
      for (const page of pages) {
        if (signal.aborted) return { ...result, isWaiting: true };
        for (const { chunks, isWaiting } of await this.#page(kind, page, target, signal)) {
          result.chunks += chunks;
          result.isWaiting ||= isWaiting;
        }
      }
      const last: Entry | undefined = pages.length === pagesAtOnce ? pages.at(-1) : undefined;
      from = last && Buffer.concat([last.key, Buffer.of(0)]);
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
    const { kv, log } = this.#parts;
    const result = { chunks: 0, isWaiting: false };
    for (let position = 0; ; position++) {
      // Read again for each chunk: the page changes with every one, and repair may change it too.
      const key = blobPageKey(blob, page!);
      const [row] = await kv.get([key]);
      const chunk = row && decodeChunkPage(row.value)[position];
      if (row === undefined || chunk === undefined) return result;
      if (isStoredAs(chunk, target)) continue;
      try {
        if (await this.#chunk({ blob, page: page!, position, row, chunk }, target, signal)) result.chunks += 1;
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
    let mayBePublished = false;
    try {
      const shards = await this.#shards(chunk, redundancy, signal);
      const owner = { blob, chunkIndex: page * root.pageEntries + at.position };
      const onBegin = (drive: DriveId, ref: ShardRef): void => void begun.push({ drive, ref });
      const places = await storeShards(this.#parts, { id, owner, redundancy, shards }, onBegin, signal);
      const chunks = decodeChunkPage(row.value);
      chunks[at.position] = { ...chunk, id, redundancy, places };
      const old = chunk.places.map((place) => ({ chunk: chunk.id, ...place }));
      mayBePublished = true;
      const result = await kv.commit({
        checks: [session.check, { key: row.key, version: row.version }],
        writes: [
          { kind: "put", key: row.key, value: encodeChunkPage(chunks) },
          ...strayWrites(blob, page, old, () => session.nextStamp()),
        ],
      });
      mayBePublished = result.outcome === "committed";
      return mayBePublished;
    } finally {
      // After a commit of unknown outcome nothing is removed: the sweep of this session decides.
      if (!mayBePublished) await removeShards(node, begun);
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
    const parts = { ...this.#parts, recoveries: this.#recoveries };
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

type At = {
  readonly blob: BlobId;
  readonly page: number;
  readonly position: number;
  readonly row: Entry;
  readonly chunk: ChunkRecord;
};

function isStoredAs({ storedBytes, redundancy }: ChunkRecord, target: Redundancy): boolean {
  return formatRedundancy(redundancy) === formatRedundancy(redundancyFor(storedBytes, target));
}

/**
 * The index of one drive: which shard stands where, and what each segment holds. It is derived data: everything in it
 * can be rebuilt from the segments (recovery.ts), so its store need not sync. What the store must give is that commits
 * of all processes on the drive are ordered and survive the death of a process.
 *
 *   g                        the generation: written once the index is complete; drive.ts compares it with its marker
 *   c <chunk> <shard index>  where the shard stands, how long it is, who owns it, which record it is (node.ts)
 *   s <segment>              counters: live bytes, dead bytes, bytes indexed (an offset: the end of what is known)
 *   o <segment>              the process that may still append to the segment; no row once it is sealed
 *
 * Rows of shards and counters change in the same commit, so live + dead + header = indexed for each segment, always.
 *
 * Fencing. A process may be stopped while another server takes the drive over, and be woken later in the middle of an append
 * or a compaction. A takeover rewrites the generation, then seals every segment. Who adds a segment checks the generation
 * it joined under; who adds rows to one or moves rows there checks the owner row it wrote (its lease). So nothing of a
 * process that was taken for dead enters the index any more: its segments may be gone.
 */
import { createHash } from "node:crypto";
import { assert } from "../core/assert.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { HoldfastError } from "../core/errors.ts";
import { BLOB_ID_BYTES, CHUNK_ID_BYTES, newRecordId, RECORD_ID_BYTES } from "../core/ids.ts";
import type { BlobId, ChunkId, RecordId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import { absent, readCounters } from "../kv/kv.ts";
import type { Check, Entry, Kv, Version, Write } from "../kv/kv.ts";
import { SHARD_INDEX_MAX, type ListedShard, type Removal, type ShardOwner, type ShardRef } from "./node.ts";
import { recordBytes, SEGMENT_HEADER_BYTES, SEGMENT_ID_BYTES } from "./segment.ts";
import type { SegmentId } from "./segment.ts";

export type Place = {
  readonly segment: SegmentId;
  readonly offset: number;
  readonly bodyBytes: number;
  readonly blockBytes: number;
  readonly owner: ShardOwner;
};

export type Found = Place & { readonly record: RecordId; readonly version: Version };

export type SegmentStats = {
  readonly segment: SegmentId;
  readonly liveBytes: number;
  readonly deadBytes: number;
  readonly indexedBytes: number;
};

export type NewRow = { readonly ref: ShardRef; readonly place: Place };
export type Move = NewRow & { readonly from: Found };
/** That a segment is still its writer's own. */
export type Lease = { readonly segment: SegmentId; readonly check: Check };

/** Version 1 had no record id. */
const newestPlaceVersion = 2;
const PREFIX = { generation: 0x67, shard: 0x63, stats: 0x73, owner: 0x6f } as const;
const generationKey = Buffer.from([PREFIX.generation]);
/** Shards in one commit of a removal or a move: each takes a check, a write and up to two counters. */
export const shardsPerCommitMax = 100;
/** A removal meets a conflict only when a compaction moves the same shards at that moment. */
const removeAttemptsMax = 50;

assert(4 * shardsPerCommitMax + 8 <= limits.commitOperationsMax, "a removal fits a commit");

export function placeBytes(place: { readonly bodyBytes: number; readonly blockBytes: number }): number {
  return recordBytes(place.bodyBytes, place.blockBytes);
}

function shardKey(ref: ShardRef): Buffer {
  const key = Buffer.alloc(2 + CHUNK_ID_BYTES);
  key[0] = PREFIX.shard;
  assert(key.write(ref.chunk, 1, "hex") === CHUNK_ID_BYTES, "a chunk id has 16 bytes");
  assert(ref.shardIndex <= SHARD_INDEX_MAX, "a shard index is one byte");
  key[1 + CHUNK_ID_BYTES] = ref.shardIndex;
  return key;
}

function segmentKey(prefix: number, segment: SegmentId): Buffer {
  return Buffer.concat([Buffer.from([prefix]), Buffer.from(segment, "hex")]);
}

function segmentOfKey(key: Buffer): SegmentId {
  return key.toString("hex", 1, 1 + SEGMENT_ID_BYTES) as SegmentId;
}

function encodePlace(place: Place, record: RecordId): Buffer {
  return new ByteWriter()
    .u8(newestPlaceVersion)
    .hex(place.segment)
    .varint(place.offset)
    .varint(place.bodyBytes)
    .varint(place.blockBytes)
    .hex(place.owner.blob)
    .varint(place.owner.chunkIndex)
    .hex(record)
    .finish();
}

function decodePlace(entry: Entry): Found {
  const reader = new ByteReader(entry.value, "drive index");
  const version = reader.version(newestPlaceVersion);
  const segment = reader.hex(SEGMENT_ID_BYTES) as SegmentId;
  const offset = reader.varint();
  const bodyBytes = reader.varint();
  const blockBytes = reader.varint();
  const blob = reader.hex(BLOB_ID_BYTES) as BlobId;
  const place = { segment, offset, bodyBytes, blockBytes, owner: { blob, chunkIndex: reader.varint() } };
  const record = version === 1 ? recordAt(place) : (reader.hex(RECORD_ID_BYTES) as RecordId);
  reader.end();
  return { ...place, record, version: entry.version };
}

/** Of a row that does not say it: no two shards of a drive ever stood in the same place. */
function recordAt({ segment, offset }: Pick<Place, "segment" | "offset">): RecordId {
  const digest = createHash("sha256").update(`${segment}/${offset}`).digest();
  return digest.toString("hex", 0, RECORD_ID_BYTES) as RecordId;
}

function decodeStats(entry: Entry): SegmentStats {
  const [liveBytes = 0, deadBytes = 0, indexedBytes = 0] = readCounters(entry.value);
  return { segment: segmentOfKey(entry.key), liveBytes, deadBytes, indexedBytes };
}

/** Counter changes of several segments, gathered so that no key stands in a commit twice. */
class StatsDelta {
  readonly #bySegment = new Map<SegmentId, [number, number, number]>();

  add(segment: SegmentId, delta: { live?: number; dead?: number; indexed?: number }): void {
    const sum = this.#bySegment.get(segment) ?? [0, 0, 0];
    sum[0] += delta.live ?? 0;
    sum[1] += delta.dead ?? 0;
    sum[2] += delta.indexed ?? 0;
    this.#bySegment.set(segment, sum);
  }

  writes(): Write[] {
    return Array.from(this.#bySegment, ([segment, deltas]) => ({
      kind: "add",
      key: segmentKey(PREFIX.stats, segment),
      deltas,
    }));
  }
}

export class DriveIndex {
  readonly #kv: Kv;
  readonly #random: Random;
  /** The generation as it stood when this process joined; none for recovery, which is the one that sets it. */
  #joined: readonly Check[] = [];

  constructor(kv: Kv, random: Random) {
    this.#kv = kv;
    this.#random = random;
  }

  async find(refs: readonly ShardRef[]): Promise<(Found | undefined)[]> {
    const entries = await this.#kv.get(refs.map(shardKey));
    return entries.map((entry) => entry && decodePlace(entry));
  }

  async findOne(ref: ShardRef): Promise<Found | undefined> {
    return (await this.find([ref]))[0];
  }

  async list(after: ShardRef | undefined, limit: number): Promise<ListedShard[]> {
    // The successor of a key in byte order is the key with a zero byte after it.
    const start = after ? Buffer.concat([shardKey(after), Buffer.from([0])]) : Buffer.from([PREFIX.shard]);
    const entries = await this.#kv.scan({ start, end: Buffer.from([PREFIX.shard + 1]) }, { limit });
    return entries.map((entry) => {
      const place = decodePlace(entry);
      const chunk = entry.key.toString("hex", 1, 1 + CHUNK_ID_BYTES) as ChunkId;
      const shardIndex = entry.key[1 + CHUNK_ID_BYTES]!;
      return { chunk, shardIndex, owner: place.owner, storedBytes: place.bodyBytes, record: place.record };
    });
  }

  async #commit(writes: readonly Write[], checks: readonly Check[] = []): Promise<boolean> {
    return (await this.#kv.commit({ checks, writes })).outcome === "committed";
  }

  /** As `#commit`, by one who must not have been fenced. Errors: `unavailable` when it was. */
  async #commitFenced(writes: readonly Write[], fences: readonly Check[], checks: readonly Check[]): Promise<boolean> {
    if (await this.#commit(writes, [...fences, ...checks])) return true;
    const rows = await this.#kv.get(fences.map(({ key }) => key));
    if (fences.some(({ version }, index) => rows[index]?.version !== version)) throw fenced();
    return false;
  }

  /** To be called once by a process that will add segments. */
  async join(): Promise<void> {
    const [row] = await this.#kv.get([generationKey]);
    assert(row !== undefined, "a drive is prepared before it is opened");
    this.#joined = [{ key: generationKey, version: row.version }];
  }

  /**
   * Announces a segment before its file exists, so that every file in the folder has rows. Returns what shows later that
   * the segment is still the caller's. Errors: `unavailable` when another server has taken the drive over.
   */
  async addSegment(segment: SegmentId, owner: string): Promise<Lease> {
    const stats = new StatsDelta();
    stats.add(segment, { indexed: SEGMENT_HEADER_BYTES });
    const ownerKey = segmentKey(PREFIX.owner, segment);
    const added = await this.#commitFenced(
      [...stats.writes(), { kind: "put", key: ownerKey, value: Buffer.from(owner) }],
      this.#joined,
      [{ key: segmentKey(PREFIX.stats, segment), version: absent }],
    );
    assert(added, "segment ids are never used again");
    const [row] = await this.#kv.get([ownerKey]);
    if (!row) throw fenced();
    return { segment, check: { key: ownerKey, version: row.version } };
  }

  /**
   * Rows of records just synced. `rows` follow one another in the segment and end at its end.
   * Errors: `unavailable` when the segment is its writer's no more.
   */
  async addRows({ segment, check }: Lease, rows: readonly NewRow[]): Promise<void> {
    const stats = new StatsDelta();
    const writes: Write[] = [];
    for (const { ref, place } of rows) {
      stats.add(segment, { live: placeBytes(place), indexed: placeBytes(place) });
      writes.push({ kind: "put", key: shardKey(ref), value: encodePlace(place, newRecordId(this.#random)) });
    }
    const added = await this.#commitFenced([...writes, ...stats.writes()], [check], []);
    assert(added, "only a fence keeps rows out");
  }

  /** Moves one row to a place that recovery found better; the old place counts as dead from then on. */
  async replaceRow(row: NewRow, from: Found): Promise<boolean> {
    const stats = new StatsDelta();
    stats.add(from.segment, { live: -placeBytes(from), dead: placeBytes(from) });
    stats.add(row.place.segment, { live: placeBytes(row.place), indexed: placeBytes(row.place) });
    const put: Write = { kind: "put", key: shardKey(row.ref), value: encodePlace(row.place, from.record) };
    return this.#commit([put, ...stats.writes()], [{ key: shardKey(row.ref), version: from.version }]);
  }

  /** Bytes at the segment's end that nobody refers to. */
  async addDead(segment: SegmentId, deadBytes: number): Promise<void> {
    const stats = new StatsDelta();
    stats.add(segment, { dead: deadBytes, indexed: deadBytes });
    await this.#commit(stats.writes());
  }

  async remove(shards: readonly Removal[]): Promise<void> {
    for (let at = 0; at < shards.length; at += shardsPerCommitMax) {
      await this.#removeSome(shards.slice(at, at + shardsPerCommitMax));
    }
  }

  /** The shard stays where it is and is another record from then on; unless its row is not the one that was found any more. */
  takeOver(ref: ShardRef, found: Found): Promise<boolean> {
    const key = shardKey(ref);
    const value = encodePlace(found, newRecordId(this.#random));
    return this.#commit([{ kind: "put", key, value }], [{ key, version: found.version }]);
  }

  /** Only the row that was found. Resolves to whether it was removed. */
  removeFound(ref: ShardRef, found: Found): Promise<boolean> {
    const stats = new StatsDelta();
    stats.add(found.segment, { live: -placeBytes(found), dead: placeBytes(found) });
    const key = shardKey(ref);
    return this.#commit([{ kind: "delete", key }, ...stats.writes()], [{ key, version: found.version }]);
  }

  async #removeSome(shards: readonly Removal[]): Promise<void> {
    for (let attempt = 0; attempt < removeAttemptsMax; attempt++) {
      const found = await this.find(shards);
      const removed = new Set<string>();
      const stats = new StatsDelta();
      const writes: Write[] = [];
      const checks: Check[] = [];
      found.forEach((place, index) => {
        const { chunk, shardIndex, record = place?.record } = shards[index]!;
        const name = `${chunk}/${shardIndex}`;
        if (!place || record !== place.record || removed.has(name)) return;
        removed.add(name);
        const key = shardKey(shards[index]!);
        checks.push({ key, version: place.version });
        writes.push({ kind: "delete", key });
        stats.add(place.segment, { live: -placeBytes(place), dead: placeBytes(place) });
      });
      if (writes.length === 0 || (await this.#commit([...writes, ...stats.writes()], checks))) return;
    }
    throw new HoldfastError("operation_aborted", "The shards to remove are being moved; try again.");
  }

  /**
   * Points shards at their copies in `to`, each only if it still stands where it was copied from; the copy of another
   * one counts as dead. `moves` follow one another in `to` and end at its end. Returns how many were moved.
   * Errors: `unavailable` when the segment is its writer's no more.
   */
  async move({ segment: to, check }: Lease, moves: readonly Move[]): Promise<number> {
    assert(moves.length <= shardsPerCommitMax, "a move fits a commit");
    for (let attempt = 0; attempt < removeAttemptsMax; attempt++) {
      const now = await this.find(moves.map((move) => move.ref));
      const stats = new StatsDelta();
      const writes: Write[] = [];
      const checks: Check[] = [];
      moves.forEach((move, index) => {
        const bytes = placeBytes(move.place);
        const key = shardKey(move.ref);
        if (now[index]?.version !== move.from.version) return stats.add(to, { dead: bytes, indexed: bytes });
        checks.push({ key, version: move.from.version });
        writes.push({ kind: "put", key, value: encodePlace(move.place, move.from.record) });
        stats.add(move.from.segment, { live: -placeBytes(move.from), dead: placeBytes(move.from) });
        stats.add(to, { live: bytes, indexed: bytes });
      });
      if (await this.#commitFenced([...writes, ...stats.writes()], [check], checks)) return checks.length;
    }
    throw new HoldfastError("operation_aborted", "The shards to move are being removed; try again.");
  }

  /** Every segment, in pages. */
  async *segments(): AsyncGenerator<SegmentStats> {
    let start = Buffer.from([PREFIX.stats]);
    const end = Buffer.from([PREFIX.stats + 1]);
    for (;;) {
      const page = await this.#kv.scan({ start, end }, { limit: limits.scanEntriesMax });
      for (const entry of page) yield decodeStats(entry);
      const last = page.at(-1);
      if (!last || page.length < limits.scanEntriesMax) return;
      start = Buffer.concat([last.key, Buffer.from([0])]);
    }
  }

  async stats(segments: readonly SegmentId[]): Promise<(SegmentStats | undefined)[]> {
    const entries = await this.#kv.get(segments.map((segment) => segmentKey(PREFIX.stats, segment)));
    return entries.map((entry) => entry && decodeStats(entry));
  }

  /**
   * The counters of a segment that nobody appends to any more, or undefined. No owner's row ever comes back, so what is not
   * live in such a segment never will be.
   */
  async sealedStats(segment: SegmentId): Promise<SegmentStats | undefined> {
    const keys = [PREFIX.stats, PREFIX.owner].map((prefix) => segmentKey(prefix, segment));
    const [stats, owner] = await this.#kv.get(keys);
    return stats && !owner ? decodeStats(stats) : undefined;
  }

  /** Segments somebody may still append to. There are a few per process. */
  async owned(): Promise<Map<SegmentId, string>> {
    return new Map((await this.#owners()).map((entry) => [segmentOfKey(entry.key), entry.value.toString()]));
  }

  /** The leases of these segments, for the recovery that brings them to an end. */
  async leases(): Promise<Lease[]> {
    const owners = await this.#owners();
    return owners.map(({ key, version }) => ({ segment: segmentOfKey(key), check: { key, version } }));
  }

  #owners(): Promise<Entry[]> {
    const range = { start: Buffer.from([PREFIX.owner]), end: Buffer.from([PREFIX.owner + 1]) };
    return this.#kv.scan(range, { limit: limits.scanEntriesMax });
  }

  /**
   * Nobody appends to the segment any more: it may be compacted. What its file has beyond the indexed bytes, up to
   * `endBytes`, counts as dead. Idempotent, also when two processes seal the segment of a third one.
   */
  async seal(segment: SegmentId, endBytes: number): Promise<void> {
    const ownerKey = segmentKey(PREFIX.owner, segment);
    const [owner, stats] = await this.#kv.get([ownerKey, segmentKey(PREFIX.stats, segment)]);
    if (!owner || !stats) return;
    const deadBytes = Math.max(0, endBytes - decodeStats(stats).indexedBytes);
    const delta = new StatsDelta();
    if (deadBytes > 0) delta.add(segment, { dead: deadBytes, indexed: deadBytes });
    await this.#commit(
      [{ kind: "delete", key: ownerKey }, ...delta.writes()],
      [{ key: ownerKey, version: owner.version }],
    );
  }

  /** The segment's file is gone. */
  async forgetSegment(segment: SegmentId): Promise<void> {
    await this.#commit([
      { kind: "delete", key: segmentKey(PREFIX.stats, segment) },
      { kind: "delete", key: segmentKey(PREFIX.owner, segment) },
    ]);
  }

  async generation(): Promise<string | undefined> {
    return (await this.#kv.get([generationKey]))[0]?.value.toString();
  }

  /** Also when it stays the same: whoever joined before adds no segment any more. */
  async setGeneration(generation: string): Promise<void> {
    await this.#commit([{ kind: "put", key: generationKey, value: Buffer.from(generation) }]);
  }

  close(): Promise<void> {
    return this.#kv.close();
  }
}

function fenced(): HoldfastError {
  return new HoldfastError("unavailable", "Another server has taken the drive over.");
}

/**
 * Reads shards out of segments and lets no byte pass that its checksum does not vouch for.
 * Only the blocks a range touches are read and checked; the record's header is checked on the first read of a record.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError, systemCode } from "../core/errors.ts";
import { soleView } from "../core/give_back.ts";
import type { DiskFile } from "./disk.ts";
import { placeBytes } from "./drive_index.ts";
import type { DriveIndex, Found, Place } from "./drive_index.ts";
import type { ByteRange, RecordBytes, ShardRef, VerifyResult } from "./node.ts";
import { takeRoom } from "./record_rooms.ts";
import {
  blockCount,
  decodeRecordHeader,
  decodeTable,
  findBadBlock,
  headBytes,
  sameRef,
  type Decoded,
} from "./segment.ts";
import { tooManyFiles, type SegmentFiles } from "./segment_files.ts";
import { recordStartBytes } from "./shard_copy.ts";

/** Tables of records read lately: a table has 4 bytes per block, so 1,024 of them are 256 KiB at most. */
const tablesKeptMax = 1_024;
/** What is read is to fill its buffer from so many bytes on (decision 0004). */
const givenBackBytesMin = 128 * 1_024;

export class ShardReader {
  readonly #index: DriveIndex;
  readonly #files: SegmentFiles;
  readonly #tables = new Map<string, Buffer>();

  constructor(index: DriveIndex, files: SegmentFiles) {
    this.#index = index;
    this.#files = files;
  }

  async read(ref: ShardRef, range: ByteRange): Promise<Buffer> {
    return this.#atItsPlace(ref, (file, place) => this.#readRange(file, { ref, place, range }));
  }

  /**
   * Looks the shard up and uses its file. A compaction may move the shard and remove the file between the two; then the
   * index knows the new place already, and one more look finds it.
   */
  async #atItsPlace<T>(ref: ShardRef, use: (file: DiskFile, place: Found) => Promise<T>): Promise<T> {
    let tried: Found | undefined;
    for (;;) {
      const place = await this.#index.findOne(ref);
      if (!place)
        throw new HoldfastError("no_such_chunk", `Chunk ${ref.chunk}/${ref.shardIndex} is not on this drive.`);
      if (tried?.version === place.version) throw corrupt(ref, "its segment file is missing");
      tried = place;
      try {
        return await this.#files.with(place.segment, (file) => use(file, place));
      } catch (error) {
        if (systemCode(error) === "ENOENT") continue;
        if (systemCode(error) === undefined) throw error;
        throw tooManyFiles(error) ?? corrupt(ref, `it cannot be read (${systemCode(error)})`, error);
      }
    }
  }

  async #readRange(file: DiskFile, what: { ref: ShardRef; place: Place; range: ByteRange }): Promise<Buffer> {
    const { ref, place, range } = what;
    assert(range.offset >= 0 && range.length >= 1, "a range has at least one byte");
    assert(range.offset + range.length <= place.bodyBytes, "a range lies within its shard");
    const { blockBytes, bodyBytes } = place;
    const firstBlock = Math.floor(range.offset / blockBytes);
    const start = firstBlock * blockBytes;
    const end = Math.min(Math.ceil((range.offset + range.length) / blockBytes) * blockBytes, bodyBytes);
    const head = headBytes(bodyBytes, blockBytes);
    const knownTable = this.#tables.get(tableKey(place));
    // The head stands right before the first block, so one read serves both; but then nobody can give back what was read.
    const together = knownTable === undefined && firstBlock === 0 && end - start < givenBackBytesMin;
    const from = together ? place.offset : place.offset + head + start;
    const bytes = await readExactly(file, { ref, offset: from, length: end - start + (together ? head : 0) });
    const table = knownTable ?? (await this.#table(ref, place, together ? bytes.subarray(0, head) : file));
    const blocks = together ? bytes.subarray(head) : bytes;
    const bad = findBadBlock(blocks, { ...ref, table, blockBytes, firstBlock });
    if (bad !== undefined) throw corrupt(ref, `block ${bad} does not match its checksum`);
    const skipped = range.offset - start + (together ? head : 0);
    return soleView(bytes, skipped, skipped + range.length);
  }

  /** The record's table, from its head if it was read already. */
  async #table(ref: ShardRef, place: Place, source: Buffer | DiskFile): Promise<Buffer> {
    const length = headBytes(place.bodyBytes, place.blockBytes);
    const head = Buffer.isBuffer(source) ? source : await readExactly(source, { ref, offset: place.offset, length });
    const table = checkHead(head, ref, place);
    if (!table.ok) throw corrupt(ref, table.why);
    const copy = Buffer.from(table.value);
    this.#tables.set(tableKey(place), copy);
    if (this.#tables.size > tablesKeptMax) this.#tables.delete(this.#tables.keys().next().value!);
    return copy;
  }

  /** Its head is checked here, its blocks by whoever takes them. */
  async readRecord(ref: ShardRef, storedBytes: number): Promise<RecordBytes> {
    return this.#atItsPlace(ref, async (file, place) => {
      if (place.bodyBytes !== storedBytes) throw corrupt(ref, "it has another length");
      const { bytes, release } = takeRoom(placeBytes(place));
      try {
        if ((await file.read(bytes, place.offset)) < bytes.length) throw corrupt(ref, "its segment ends too early");
        const headEnd = headBytes(place.bodyBytes, place.blockBytes);
        const table = checkHead(bytes.subarray(0, headEnd), ref, place);
        if (!table.ok) throw corrupt(ref, table.why);
        bytes.writeUInt32BE(place.blockBytes, recordStartBytes);
        return { bytes: bytes.subarray(recordStartBytes, headEnd + place.bodyBytes), release };
      } catch (error) {
        release();
        throw error;
      }
    });
  }

  /** The whole record from the disk, never from memory; the body only if every check passes. */
  async readWhole(file: DiskFile, ref: ShardRef, place: Place): Promise<Decoded<{ body: Buffer; table: Buffer }>> {
    const bytes = Buffer.allocUnsafe(placeBytes(place));
    if ((await file.read(bytes, place.offset)) < bytes.length) return { ok: false, why: "its segment ends too early" };
    const head = headBytes(place.bodyBytes, place.blockBytes);
    const table = checkHead(bytes.subarray(0, head), ref, place);
    if (!table.ok) return table;
    const body = bytes.subarray(head, head + place.bodyBytes);
    const bad = findBadBlock(body, { ...ref, table: table.value, blockBytes: place.blockBytes, firstBlock: 0 });
    if (bad !== undefined) return { ok: false, why: `block ${bad} does not match its checksum` };
    if (bytes.subarray(head + place.bodyBytes).some((byte) => byte !== 0))
      return { ok: false, why: "its padding is damaged" };
    return { ok: true, value: { body, table: table.value } };
  }

  async verify(ref: ShardRef): Promise<VerifyResult | undefined> {
    const known = await this.#index.findOne(ref);
    if (!known) return undefined;
    const { chunk, shardIndex } = ref;
    const listed = { chunk, shardIndex, owner: known.owner, storedBytes: known.bodyBytes };
    try {
      const whole = await this.#atItsPlace(ref, (file, place) => this.readWhole(file, ref, place));
      return whole.ok ? { ...listed, outcome: "good" } : { ...listed, outcome: "corrupt", why: whole.why };
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      if (error.reason === "no_such_chunk") return undefined;
      if (error.reason !== "corrupt_chunk") throw error;
      return { ...listed, outcome: "corrupt", why: error.message };
    }
  }
}

function tableKey(place: Place): string {
  return `${place.segment}/${place.offset}`;
}

function checkHead(head: Buffer, ref: ShardRef, place: Place): Decoded<Buffer> {
  const header = decodeRecordHeader(head, place);
  if (!header.ok) return header;
  const record = header.value;
  if (!sameRef(record, ref)) return { ok: false, why: "another shard stands in its place" };
  if (record.bodyBytes !== place.bodyBytes || record.blockBytes !== place.blockBytes)
    return { ok: false, why: "its length is not the one in the index" };
  assert(head.length === headBytes(record.bodyBytes, record.blockBytes), "the head was read whole");
  assert(blockCount(record.bodyBytes, record.blockBytes) >= 1, "a record has a block");
  return decodeTable(head, record);
}

async function readExactly(file: DiskFile, what: { ref: ShardRef; offset: number; length: number }): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(what.length);
  if ((await file.read(bytes, what.offset)) < bytes.length) throw corrupt(what.ref, "its segment ends too early");
  return bytes;
}

function corrupt(ref: ShardRef, why: string, cause?: unknown): HoldfastError {
  return new HoldfastError("corrupt_chunk", `Chunk ${ref.chunk}/${ref.shardIndex} is corrupt: ${why}.`, { cause });
}

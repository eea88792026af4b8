/**
 * Brings a drive's index up to its segments, before any worker uses the drive.
 *
 *  - `rebuildIndex`: from nothing, after the machine stopped uncleanly (the index is not synced) or the index is gone.
 *    Every record with a valid header is indexed, so a shard removed before may be there again; the caller then runs an
 *    orphan sweep. Of two copies of one shard (a compaction was cut short) a good one wins.
 *  - `replayTails`: the index is to be trusted, but processes may have died between the sync of a record and its row.
 *    Such a record was never acknowledged. It is indexed all the same. A compaction's tail holds only second copies, and
 *    counts as dead.
 *  - `sessionsBehind`: whose records those are, asked before they are indexed. A session that is over, and was looked through
 *    when nobody knew of them, has to be looked through again; once they are indexed nothing tells them from others.
 *
 * Memory is bounded by one window of a file and one commit's rows.
 */
import { systemCode } from "../core/errors.ts";
import { sessionOf, type DriveId, type SessionId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import type { Disk, DiskFile } from "./disk.ts";
import { placeBytes, shardsPerCommitMax, type DriveIndex, type Lease, type NewRow } from "./drive_index.ts";
import { decodeSegmentHeader, sameRef, SEGMENT_HEADER_BYTES, type SegmentId, type SegmentKind } from "./segment.ts";
import { SegmentFiles, segmentPath, segmentSuffix } from "./segment_files.ts";
import { walkSegment } from "./segment_walk.ts";
import { ShardReader } from "./shard_reader.ts";

export type RecoveryOptions = {
  readonly disk: Disk;
  readonly drive: DriveId;
  readonly drivePath: string;
  readonly index: DriveIndex;
  readonly log: Log;
};

const segmentName = /^[0-9a-f]{24}\.seg$/;

export async function rebuildIndex(options: RecoveryOptions): Promise<void> {
  const names = await options.disk.list(`${options.drivePath}/segments`);
  for (const name of names.sort()) {
    if (!segmentName.test(name)) continue;
    const segment = name.slice(0, -segmentSuffix.length) as SegmentId;
    const lease = await options.index.addSegment(segment, "recovery");
    await new SegmentRecovery(options, lease).run({ from: SEGMENT_HEADER_BYTES, indexCompactions: true });
  }
}

export async function replayTails(options: RecoveryOptions): Promise<void> {
  for (const { lease, from } of await tails(options.index))
    await new SegmentRecovery(options, lease).run({ from, indexCompactions: false });
}

/** Changes nothing. */
export async function sessionsBehind(options: RecoveryOptions): Promise<ReadonlySet<SessionId>> {
  const sessions = new Set<SessionId>();
  for (const { lease, from } of await tails(options.index))
    await new SegmentRecovery(options, lease).addSessions(from, sessions);
  return sessions;
}

/** What may have been written and not indexed: from where on, of each segment that was not brought to an end. */
async function tails(index: DriveIndex): Promise<{ readonly lease: Lease; readonly from: number }[]> {
  const leases = await index.leases();
  const stats = await index.stats(leases.map(({ segment }) => segment));
  return leases.map((lease, at) => ({ lease, from: stats[at]?.indexedBytes ?? SEGMENT_HEADER_BYTES }));
}

class SegmentRecovery {
  readonly #options: RecoveryOptions;
  readonly #segment: SegmentId;
  readonly #lease: Lease;
  #rows: NewRow[] = [];

  constructor(options: RecoveryOptions, lease: Lease) {
    this.#options = options;
    this.#segment = lease.segment;
    this.#lease = lease;
  }

  async run(how: { from: number; indexCompactions: boolean }): Promise<void> {
    const { index } = this.#options;
    const file = await this.#open();
    // The process died between the rows of the segment and its file.
    if (file === undefined) return index.seal(this.#segment, 0);
    try {
      const endBytes = await file.sizeBytes();
      const kind = await this.#kind(file);
      if (how.indexCompactions || kind === "append") await this.#indexRecords(file, how.from, endBytes);
      await index.seal(this.#segment, endBytes);
    } finally {
      await file.close();
    }
  }

  async addSessions(from: number, sessions: Set<SessionId>): Promise<void> {
    const file = await this.#open();
    if (file === undefined) return;
    try {
      if ((await this.#kind(file)) !== "append") return;
      for await (const step of walkSegment(file, this.#segment, { from, end: await file.sizeBytes() }))
        if (step.kind === "record") sessions.add(sessionOf(step.header.chunk));
    } finally {
      await file.close();
    }
  }

  async #open(): Promise<DiskFile | undefined> {
    const { disk, drivePath } = this.#options;
    try {
      return await disk.open(segmentPath(drivePath, this.#segment), "read");
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
      return undefined;
    }
  }

  async #kind(file: DiskFile): Promise<SegmentKind> {
    const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
    const length = await file.read(bytes, 0);
    const header = decodeSegmentHeader(bytes.subarray(0, length));
    if (header.ok) return header.value.kind;
    this.#options.log.warn({ segment: this.#segment, why: header.why }, "segment header damaged");
    return "append";
  }

  async #indexRecords(file: DiskFile, from: number, end: number): Promise<void> {
    for await (const step of walkSegment(file, this.#segment, { from, end })) {
      if (step.kind === "gap") {
        const { offset, bytes } = step;
        this.#options.log.warn({ segment: this.#segment, offset, bytes }, "no valid record here");
        await this.#flush();
        await this.#options.index.addDead(this.#segment, step.bytes);
        continue;
      }
      const { chunk, shardIndex, owner, bodyBytes, blockBytes } = step.header;
      const place = { segment: this.#segment, offset: step.offset, bodyBytes, blockBytes, owner };
      const row = { ref: { chunk, shardIndex }, place };
      if (this.#rows.some((other) => sameRef(other.ref, row.ref))) await this.#flush();
      this.#rows.push(row);
      if (this.#rows.length === shardsPerCommitMax) await this.#flush();
    }
    await this.#flush();
  }

  async #flush(): Promise<void> {
    const rows = this.#rows;
    this.#rows = [];
    if (rows.length === 0) return;
    const known = await this.#options.index.find(rows.map((row) => row.ref));
    const fresh = rows.filter((_, index) => !known[index]);
    if (fresh.length > 0) await this.#options.index.addRows(this.#lease, fresh);
    for (const [index, row] of rows.entries()) {
      if (known[index]) await this.#settleDuplicate(row);
    }
  }

  async #settleDuplicate(row: NewRow): Promise<void> {
    const { disk, drivePath, index, log } = this.#options;
    const files = new SegmentFiles({ disk, drivePath, openMax: 2 });
    const reader = new ShardReader(index, files);
    try {
      const known = await index.findOne(row.ref);
      const good = (await reader.verify(row.ref))?.outcome === "good";
      if (!good && known) {
        const whole = await files.with(this.#segment, (file) => reader.readWhole(file, row.ref, row.place));
        if (whole.ok && (await index.replaceRow(row, known))) return;
      }
      log.debug({ chunk: row.ref.chunk, segment: this.#segment }, "second copy of a shard counts as dead");
      await index.addDead(this.#segment, placeBytes(row.place));
    } finally {
      await files.close();
    }
  }
}

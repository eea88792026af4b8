/**
 * One segment being written by one process. The order of durability:
 *
 *   rows of the segment in the index → file created → header written → file synced → folder synced
 *   → records written → file synced → rows of the records in the index → acknowledged
 *
 * A file is never appended to after its process ended, nor after a write or a sync of it failed.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError, systemCode } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import type { Disk, DiskFile } from "./disk.ts";
import type { DriveIndex, Lease, Place } from "./drive_index.ts";
import { encodeRecord, encodeSegmentHeader, recordBytes, SEGMENT_HEADER_BYTES, totalBytes } from "./segment.ts";
import type { RecordContent, SegmentId, SegmentKind } from "./segment.ts";
import { segmentPath, tooManyFiles } from "./segment_files.ts";

export type SegmentOwner = {
  readonly disk: Disk;
  readonly index: DriveIndex;
  readonly drive: DriveId;
  readonly drivePath: string;
  /** The process, as `Processes.self` names it. */
  readonly process: string;
};

export class SegmentWriter {
  readonly segment: SegmentId;
  /** Goes with every change of the segment's rows. */
  readonly lease: Lease;
  readonly #owner: SegmentOwner;
  readonly #file: DiskFile;
  #endBytes = SEGMENT_HEADER_BYTES;
  #usable = true;

  private constructor(lease: Lease, owner: SegmentOwner, file: DiskFile) {
    this.segment = lease.segment;
    this.lease = lease;
    this.#owner = owner;
    this.#file = file;
  }

  /** Errors: `drive_full`, `drive_failed`, `slow_down`. In any case nothing is left that counts as live. */
  static async create(segment: SegmentId, kind: SegmentKind, owner: SegmentOwner): Promise<SegmentWriter> {
    const lease = await owner.index.addSegment(segment, owner.process);
    const path = segmentPath(owner.drivePath, segment);
    let file: DiskFile | undefined;
    try {
      file = await owner.disk.open(path, "create");
      await file.writev([encodeSegmentHeader({ drive: owner.drive, segment, kind })], 0);
      await file.sync();
      await owner.disk.syncDirectory(`${owner.drivePath}/segments`);
      return new SegmentWriter(lease, owner, file);
    } catch (error) {
      const why = driveError(error, "a new segment cannot be made");
      await file?.close().catch(() => undefined);
      if (why.reason !== "drive_failed") {
        await removeIfThere(owner.disk, path);
        await owner.index.forgetSegment(segment);
      }
      throw why;
    }
  }

  get endBytes(): number {
    return this.#endBytes;
  }

  get usable(): boolean {
    return this.#usable;
  }

  /**
   * Writes and syncs whole records; resolves with their places, which the caller puts into the index.
   * Errors: `drive_full` (the torn records are cut off), `drive_failed`. After either the segment takes no more.
   */
  async append(contents: readonly RecordContent[]): Promise<Place[]> {
    assert(this.#usable, "nothing is written to a segment that failed");
    const pieces: Uint8Array[] = [];
    const places: Place[] = [];
    let offset = this.#endBytes;
    for (const content of contents) {
      pieces.push(...encodeRecord(content, { segment: this.segment, offset }));
      const bodyBytes = totalBytes(content.body);
      const { blockBytes, owner } = content;
      places.push({ segment: this.segment, offset, bodyBytes, blockBytes, owner });
      offset += recordBytes(bodyBytes, blockBytes);
    }
    await this.#write(pieces);
    await this.#sync();
    this.#endBytes = offset;
    return places;
  }

  async #write(pieces: readonly Uint8Array[]): Promise<void> {
    try {
      await this.#file.writev(pieces, this.#endBytes);
    } catch (error) {
      this.#usable = false;
      const why = driveError(error, "a write failed");
      if (why.reason === "drive_full") await this.#cutTornRecords();
      throw why;
    }
  }

  async #cutTornRecords(): Promise<void> {
    try {
      await this.#file.truncate(this.#endBytes);
    } catch (error) {
      throw new HoldfastError("drive_failed", "The drive failed: a torn record cannot be cut off.", { cause: error });
    }
  }

  async #sync(): Promise<void> {
    try {
      await this.#file.sync();
    } catch (error) {
      this.#usable = false;
      // Whatever its code, even ENOSPC: what the kernel did with the dirty pages is unknown from here on.
      throw new HoldfastError("drive_failed", "The drive failed: a sync failed.", { cause: error });
    }
  }

  /** No more appends. What stands behind the last acknowledged record counts as dead. */
  async seal(): Promise<void> {
    this.#usable = false;
    await this.#file.close().catch(() => undefined);
    await this.#owner.index.seal(this.segment, this.#endBytes);
  }
}

export function driveError(error: unknown, what: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const busy = tooManyFiles(error);
  if (busy) return busy;
  const code = systemCode(error);
  if (code === "ENOSPC" || code === "EDQUOT")
    return new HoldfastError("drive_full", "The drive is full.", { cause: error });
  return new HoldfastError("drive_failed", `The drive failed: ${what}${code ? ` (${code})` : ""}.`, { cause: error });
}

/** Only ENOENT means that it was gone already. */
export async function removeIfThere(disk: Disk, path: string): Promise<void> {
  try {
    await disk.remove(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

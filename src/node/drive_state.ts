/**
 * What one process knows of a drive's condition: whether it failed, how much space is left.
 *
 * Whether the drive is still there at all is looked at whenever its space is asked for: a folder that was removed, or a mount
 * that was taken away, takes bytes all the same as long as a file in it is open, and they are on no drive then.
 *
 * The free space is asked from the file system again after `recheckBytes` of own writes, after `recheckMs` (other
 * processes write too), and at every attempt while the drive is full, so that it takes writes again by itself.
 */
import type { Clock } from "../core/clock.ts";
import { HoldfastError, systemCode } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Disk, DiskSpace } from "./disk.ts";
import { readDriveId } from "./drive.ts";

const recheckBytes = 16 * 1024 * 1024;
const recheckMs = 1_000;
/** What the system says of a device that is gone. */
const goneCodes = ["EIO", "ENXIO", "ENODEV", "ENOTDIR", "ESTALE"];
/** A share of the drive that bounds the reserve, and one that bounds a segment, so that small drives work too. */
const reserveShare = 0.01;
const segmentShare = 1 / 64;
const segmentBytesMin = 2 * limits.chunkBytesMax;
/** What a compaction writes besides live records: a segment header, the index. */
const compactionExtraBytes = 1024 * 1024;

export class DriveState {
  readonly #disk: Disk;
  readonly #drive: DriveId;
  readonly #path: string;
  readonly #clock: Clock;
  #failure: HoldfastError | undefined;
  #space: DiskSpace | undefined;
  #askedAtMs = 0;
  #writtenSinceBytes = 0;
  #full = false;

  constructor(options: { disk: Disk; drive: DriveId; path: string; clock: Clock }) {
    this.#disk = options.disk;
    this.#drive = options.drive;
    this.#path = options.path;
    this.#clock = options.clock;
  }

  get failure(): HoldfastError | undefined {
    return this.#failure;
  }

  /** Whether the last append was refused for space. */
  get full(): boolean {
    return this.#full;
  }

  /** Notes an error of a write path. A failure is for good. */
  note(error: HoldfastError): void {
    if (error.reason === "drive_failed") this.#failure ??= error;
    if (error.reason === "drive_full") this.#full = true;
  }

  assertWritable(): void {
    if (!this.#failure) return;
    throw new HoldfastError("drive_failed", this.#failure.message, { cause: this.#failure });
  }

  /** As it was known last; undefined: never. */
  get lastSpace(): DiskSpace | undefined {
    return this.#space;
  }

  /** Errors: `drive_failed` when the drive is not there any more, for good. */
  async space(): Promise<DiskSpace> {
    await this.#assertThere();
    const space = await this.#disk.space(this.#path);
    this.#space = space;
    this.#askedAtMs = this.#clock.monotonicMs();
    this.#writtenSinceBytes = 0;
    return space;
  }

  async #assertThere(): Promise<void> {
    let found: DriveId | undefined;
    try {
      found = await readDriveId(this.#disk, this.#path);
    } catch (error) {
      const code = systemCode(error) ?? "";
      if (!goneCodes.includes(code)) throw error;
    }
    if (found === this.#drive) return;
    const message = `The drive failed: ${this.#path} does not hold it any more. When it is back, restart the server.`;
    const error = new HoldfastError("drive_failed", message);
    this.note(error);
    throw error;
  }

  async segmentBytesMax(): Promise<number> {
    const { totalBytes } = this.#space ?? (await this.space());
    return segmentBytesFor(totalBytes);
  }

  /** Refuses with `drive_full` what would eat into the reserve. `waitingBytes` are promised to others already. */
  async admit(bytes: number, waitingBytes: number): Promise<void> {
    const stale =
      this.#space === undefined ||
      this.#full ||
      this.#writtenSinceBytes >= recheckBytes ||
      this.#clock.monotonicMs() - this.#askedAtMs >= recheckMs;
    const space = stale || this.#space === undefined ? await this.space() : this.#space;
    const freeBytes = space.freeBytes - this.#writtenSinceBytes - waitingBytes;
    this.#full = freeBytes - bytes < reserveBytes(space.totalBytes);
    if (this.#full) throw new HoldfastError("drive_full", "The drive is full.");
  }

  wrote(bytes: number): void {
    this.#writtenSinceBytes += bytes;
  }
}

function segmentBytesFor(totalBytes: number): number {
  return Math.min(limits.segmentBytesMax, Math.max(segmentBytesMin, Math.floor(totalBytes * segmentShare)));
}

/** At least what compacting one segment needs while it is half live: else a full drive could never be freed. */
export function reserveBytes(totalBytes: number): number {
  const usualBytes = Math.min(limits.driveReserveBytes, Math.floor(totalBytes * reserveShare));
  return Math.max(usualBytes, Math.ceil(segmentBytesFor(totalBytes) / 2) + compactionExtraBytes);
}

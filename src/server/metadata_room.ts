/**
 * Whether the metadata store may take more rows. They lie on one drive or, in copies, on several, and on each they must leave its reserve free like chunks
 * do, for deletes and compaction need it. But the store's file never shrinks: on a full drive it takes rows again as soon
 * as enough of the file is free to be used again. Of that, what lies scattered in single pages does not do for a body of
 * several: the file grows though it is there. So when the file has grown on a full drive, what was free then does not count
 * until it has been used. (A little growth is no sign: pages that a reader may still see are not used again yet.)
 *
 * The drive's free space is asked anew after `recheckMs`, or as soon as what this process took since is a good part of
 * what was left above the reserve: other workers write too. Requests that wait for an answer share it.
 */
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { FileSpace } from "../kv/kv.ts";
import type { DiskSpace } from "../node/disk.ts";
import { reserveBytes } from "../node/drive_state.ts";

const recheckMs = 100;
/** Two looks at the file further apart tell nothing: the drive may not have been full between them. */
const seenMs = 60_000;
const grownBytesMax = 1_024 * 1_024;
const takenShareMax = 1 / 8;
/** A head row, its share of the pages above it. */
const rowBytes = 2 * 1_024;

export type MetadataRoomParts = {
  /** Of the file system the metadata store lies on. */
  space(): Promise<DiskSpace>;
  fileSpace(): FileSpace;
  readonly clock: Pick<Clock, "monotonicMs">;
};

export class MetadataRoom {
  readonly #parts: MetadataRoomParts;
  /** Bytes above the reserve when it was last asked, and what was taken since. */
  #leftBytes = 0;
  #takenBytes = 0;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;
  /** The file's size on the full drive, when that was last looked at, and what of it was free and of no use. */
  #seen: { readonly fileBytes: number; readonly atMs: number } | undefined;
  #scatteredBytes = 0;

  constructor(parts: MetadataRoomParts) {
    this.#parts = parts;
  }

  /** Takes room for an object's rows with `bytes` of body. Errors: `drive_full`. */
  async admit(bytes: number): Promise<void> {
    const wanted = bytes + rowBytes;
    if (this.#isStale(wanted)) await (this.#asking ??= this.#ask().finally(() => (this.#asking = undefined)));
    if (this.#takenBytes + wanted > this.#leftBytes && !this.#canReuse()) {
      throw new HoldfastError("drive_full", "The drive of the metadata is full.");
    }
    this.#takenBytes += wanted;
  }

  #isStale(wanted: number): boolean {
    if (this.#parts.clock.monotonicMs() - this.#askedAtMs > recheckMs) return true;
    return this.#takenBytes + wanted > this.#leftBytes * takenShareMax;
  }

  #canReuse(): boolean {
    const { fileBytes, reusableBytes } = this.#parts.fileSpace();
    const nowMs = this.#parts.clock.monotonicMs();
    const recent = this.#seen !== undefined && nowMs - this.#seen.atMs <= seenMs ? this.#seen : undefined;
    let before = recent?.fileBytes ?? fileBytes;
    if (fileBytes - before > grownBytesMax) {
      this.#scatteredBytes = reusableBytes;
      before = fileBytes;
    }
    this.#scatteredBytes = Math.min(this.#scatteredBytes, reusableBytes);
    this.#seen = { fileBytes: before, atMs: nowMs };
    return reusableBytes - this.#scatteredBytes >= limits.metaReusableBytesMin;
  }

  async #ask(): Promise<void> {
    const { totalBytes, freeBytes } = await this.#parts.space();
    this.#leftBytes = freeBytes - reserveBytes(totalBytes);
    this.#takenBytes = 0;
    if (this.#leftBytes > 0) this.#seen = undefined;
    this.#askedAtMs = this.#parts.clock.monotonicMs();
  }
}

export type MetadataRoomsParts = {
  /** Of each drive that has the metadata now. */
  spaces(): readonly { readonly drive: string; readonly space: FileSpace }[];
  space(drive: string): Promise<DiskSpace>;
  readonly clock: Pick<Clock, "monotonicMs">;
};

/** The rooms of all drives that have the metadata: a row needs a place on each. */
export class MetadataRooms {
  readonly #parts: MetadataRoomsParts;
  readonly #rooms = new Map<string, MetadataRoom>();

  constructor(parts: MetadataRoomsParts) {
    this.#parts = parts;
    for (const { drive } of parts.spaces()) this.#rooms.set(drive, this.#roomOf(drive));
  }

  /** Errors: `drive_full`. */
  async admit(bytes: number): Promise<void> {
    for (const room of this.#rooms.values()) await room.admit(bytes);
  }

  #roomOf(drive: string): MetadataRoom {
    const { space, clock } = this.#parts;
    return new MetadataRoom({
      space: () => this.#spaceOf(drive, space),
      fileSpace: () => this.#fileSpaceOf(drive),
      clock,
    });
  }

  /** A drive whose copy was given up has all the room in the world. */
  async #spaceOf(drive: string, space: MetadataRoomsParts["space"]): Promise<DiskSpace> {
    if (this.#isHeld(drive)) return space(drive);
    return { totalBytes: Number.MAX_SAFE_INTEGER, freeBytes: Number.MAX_SAFE_INTEGER };
  }

  #isHeld(drive: string): boolean {
    return this.#parts.spaces().some((each) => each.drive === drive);
  }

  #fileSpaceOf(drive: string): FileSpace {
    const found = this.#parts.spaces().find((each) => each.drive === drive);
    return found?.space ?? { fileBytes: 0, reusableBytes: 0 };
  }
}

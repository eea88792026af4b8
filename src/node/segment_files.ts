/**
 * Segment files open for reading, the least recently used closed first. A file that is being read is never closed.
 * Another process may remove a segment after compacting it: the open file stays readable, but keeps its space until it
 * is closed, so segments that the index no longer knows are dropped (segment_store.ts).
 */
import { assert } from "../core/assert.ts";
import { HoldfastError, systemCode } from "../core/errors.ts";
import type { Disk, DiskFile } from "./disk.ts";
import type { SegmentId } from "./segment.ts";

type OpenFile = { readonly file: Promise<DiskFile>; users: number; evicted: boolean };

export const segmentSuffix = ".seg";

export function segmentPath(drivePath: string, segment: SegmentId): string {
  return `${drivePath}/segments/${segment}${segmentSuffix}`;
}

/**
 * The error of a file that could not be opened because this process or machine has too many open: clients can bring that
 * about, it passes, and it says nothing about the drive.
 */
export function tooManyFiles(error: unknown): HoldfastError | undefined {
  const code = systemCode(error);
  if (code !== "EMFILE" && code !== "ENFILE") return undefined;
  return new HoldfastError("slow_down", `Too many files are open (${code}).`, { cause: error });
}

export class SegmentFiles {
  readonly #disk: Disk;
  readonly #drivePath: string;
  readonly #openMax: number;
  readonly #open = new Map<SegmentId, OpenFile>();

  constructor(options: { disk: Disk; drivePath: string; openMax: number }) {
    assert(options.openMax >= 1, "at least one segment can be open");
    this.#disk = options.disk;
    this.#drivePath = options.drivePath;
    this.#openMax = options.openMax;
  }

  /** Runs `use` with the segment's file. Errors: the system's, ENOENT when the segment is gone. */
  async with<T>(segment: SegmentId, use: (file: DiskFile) => Promise<T>): Promise<T> {
    const entry = this.#take(segment);
    entry.users += 1;
    try {
      return await use(await entry.file);
    } finally {
      entry.users -= 1;
      await closeIfUnused(entry);
    }
  }

  #take(segment: SegmentId): OpenFile {
    const known = this.#open.get(segment);
    if (known) {
      // A Map keeps the order of insertion: inserting again makes it the most recently used.
      this.#open.delete(segment);
      this.#open.set(segment, known);
      return known;
    }
    const file = this.#disk.open(segmentPath(this.#drivePath, segment), "read");
    const entry: OpenFile = { file, users: 0, evicted: false };
    this.#open.set(segment, entry);
    file.catch(() => this.#open.get(segment) === entry && this.#open.delete(segment));
    this.#evictOldest();
    return entry;
  }

  #evictOldest(): void {
    if (this.#open.size <= this.#openMax) return;
    const oldest = this.#open.keys().next();
    if (!oldest.done) void this.drop(oldest.value);
  }

  /** Closes the file as soon as nobody reads it. Never fails: the file was only read. */
  async drop(segment: SegmentId): Promise<void> {
    const entry = this.#open.get(segment);
    if (!entry) return;
    this.#open.delete(segment);
    entry.evicted = true;
    await closeIfUnused(entry);
  }

  openSegments(): SegmentId[] {
    return [...this.#open.keys()];
  }

  async close(): Promise<void> {
    await Promise.all(this.openSegments().map((segment) => this.drop(segment)));
  }
}

async function closeIfUnused(entry: OpenFile): Promise<void> {
  if (!entry.evicted || entry.users > 0) return;
  try {
    await (await entry.file).close();
  } catch {
    // It was open for reading only: nothing can be lost by a close that fails, and one never opened needs none.
  }
}

/**
 * Walks the records of a segment file by their headers, without the index. Where no valid header stands (a torn or
 * damaged record), it looks for the next valid one at every aligned offset: one bad sector costs one record, not all
 * that follow. A header names its segment and offset, so bytes inside a body cannot pass for one.
 */
import type { DiskFile } from "./disk.ts";
import {
  decodeRecordHeader,
  RECORD_ALIGNMENT_BYTES,
  RECORD_HEADER_BYTES,
  RECORD_MAGIC,
  recordBytes,
  type RecordHeader,
  type SegmentId,
} from "./segment.ts";

export type WalkStep =
  | { readonly kind: "record"; readonly offset: number; readonly bytes: number; readonly header: RecordHeader }
  /** Bytes that belong to no valid record. */
  | { readonly kind: "gap"; readonly offset: number; readonly bytes: number };

const windowBytes = 64 * 1024;

/** A piece of the file in memory, so that small records cost one read per window rather than one each. */
class Window {
  readonly #file: DiskFile;
  readonly #buffer = Buffer.alloc(windowBytes);
  #start = 0;
  #length = 0;

  constructor(file: DiskFile) {
    this.#file = file;
  }

  /** The bytes from `offset` on: a header's worth or more, fewer only at the end of the file. */
  async at(offset: number): Promise<Buffer> {
    const inside = offset >= this.#start && offset + RECORD_HEADER_BYTES <= this.#start + this.#length;
    if (!inside) {
      this.#length = await this.#file.read(this.#buffer, offset);
      this.#start = offset;
    }
    return this.#buffer.subarray(offset - this.#start, this.#length);
  }
}

/** From `from`, where a record should begin, to `end`. */
export async function* walkSegment(
  file: DiskFile,
  segment: SegmentId,
  range: { from: number; end: number },
): AsyncGenerator<WalkStep> {
  const window = new Window(file);
  let offset = range.from;
  while (offset < range.end) {
    const header = decodeRecordHeader(await window.at(offset), { segment, offset });
    const bytes = header.ok ? recordBytes(header.value.bodyBytes, header.value.blockBytes) : 0;
    if (header.ok && offset + bytes <= range.end) {
      yield { kind: "record", offset, bytes, header: header.value };
      offset += bytes;
      continue;
    }
    const next = await nextRecord(window, segment, { from: offset + RECORD_ALIGNMENT_BYTES, end: range.end });
    yield { kind: "gap", offset, bytes: next - offset };
    offset = next;
  }
}

/** The offset of the next valid record that ends within the range, or the range's end. */
async function nextRecord(window: Window, segment: SegmentId, range: { from: number; end: number }): Promise<number> {
  let offset = range.from;
  while (offset + RECORD_HEADER_BYTES <= range.end) {
    const bytes = await window.at(offset);
    const header = decodeRecordHeader(bytes, { segment, offset });
    if (header.ok && offset + recordBytes(header.value.bodyBytes, header.value.blockBytes) <= range.end) return offset;
    offset = nextCandidate(bytes, offset);
  }
  return range.end;
}

/** The next aligned offset in the window where the magic stands, or the first one that the window does not cover. */
function nextCandidate(bytes: Buffer, offset: number): number {
  const lastWhole = bytes.length - RECORD_HEADER_BYTES;
  let at = RECORD_ALIGNMENT_BYTES;
  while (at <= lastWhole) {
    const found = bytes.indexOf(RECORD_MAGIC, at);
    if (found < 0 || found > lastWhole) break;
    if (found % RECORD_ALIGNMENT_BYTES === 0) return offset + found;
    at = found + 1;
  }
  const uncovered = Math.floor(Math.max(lastWhole, 0) / RECORD_ALIGNMENT_BYTES + 1) * RECORD_ALIGNMENT_BYTES;
  return offset + uncovered;
}

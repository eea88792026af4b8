/**
 * Reading a range of a blob: a plan of steps, each some bytes of one chunk, and a queue of steps under way. Which shards give
 * those bytes is the chunk reader's business.
 *
 * Invariants: exactly the bytes asked for, in order, or an error; raw bytes under way stay within readAheadBytesMax (or
 * one step); only the blocks that the range touches are read, opened and decompressed; when the consumer leaves early or the signal
 * aborts, no new step begins and those under way are cancelled. What a step holds beside its bytes while a drive is late or
 * lost, the chunk reader bounds.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { giveBack, soleView } from "../core/give_back.ts";
import { limits } from "../core/limits.ts";
import { TAG_BYTES, type BlockCipher, type BlockPlace } from "../crypto/cipher.ts";
import type { ByteRange } from "../node/node.ts";
import type { ChunkRef, ChunkSource } from "./blob.ts";
import { ChunkReader, type ChunkReaderParts } from "./chunk_reader.ts";
import { unpackBlock } from "./compression.ts";
import { cancelled } from "./hedge.ts";
import { openBlock } from "./sealing.ts";

type Block = { readonly storedBytes: number; readonly rawBytes: number; readonly place: BlockPlace };

/** A stored range, and what becomes of it. */
type Step = {
  readonly reader: ChunkReader;
  readonly stored: ByteRange;
  /** The compression blocks in `stored`, or undefined: the bytes are wanted as they are. */
  readonly blocks: readonly Block[] | undefined;
  /** Of encrypted blocks. */
  readonly cipher: BlockCipher | undefined;
  /** Raw bytes to leave out at the start, and how many to give after them. */
  readonly skipBytes: number;
  readonly rawBytes: number;
};

export type ReaderParts = ChunkReaderParts & {
  /** Told of chunks of which a shard could not be read. */
  readonly onDamage: (source: ChunkSource, chunkIndex: number) => void;
};

/** A step's blocks, as they are stored, are read with one call. */
const blocksPerStep = Math.max(1, Math.floor(limits.readBytesPerCall / limits.compressionBlockBytes));
const sealedBlocksPerStep = Math.max(
  1,
  Math.floor(limits.readBytesPerCall / (limits.compressionBlockBytes + TAG_BYTES)),
);

/** Of one chunk; whose index in the blob is `index`. */
type PlannedStep = Omit<Step, "reader" | "cipher">;

/** `from` and `to` are raw bytes of the chunk. */
function* stepsOf(chunk: ChunkRef, index: number, from: number, to: number): Generator<PlannedStep> {
  if (chunk.blockBytes === undefined) yield* rawSteps(from, to);
  else yield* blockSteps({ ...chunk, index, blockBytes: chunk.blockBytes }, from, to);
}

function* rawSteps(from: number, to: number): Generator<PlannedStep> {
  for (let offset = from; offset < to; offset += limits.readBytesPerCall) {
    const length = Math.min(limits.readBytesPerCall, to - offset);
    yield { stored: { offset, length }, blocks: undefined, skipBytes: 0, rawBytes: length };
  }
}

type BlockedChunk = Pick<ChunkRef, "rawBytes" | "isSealed"> & {
  readonly index: number;
  readonly blockBytes: readonly number[];
};

function* blockSteps(chunk: BlockedChunk, from: number, to: number): Generator<PlannedStep> {
  const size = limits.compressionBlockBytes;
  const perStep = chunk.isSealed === true ? sealedBlocksPerStep : blocksPerStep;
  const { blockBytes } = chunk;
  const first = Math.floor(from / size);
  const end = Math.ceil(to / size);
  let storedOffset = 0;
  for (let index = 0; index < first; index++) storedOffset += blockBytes[index]!;
  for (let index = first; index < end; index += perStep) {
    const stepEnd = Math.min(index + perStep, end);
    const blocks: Block[] = [];
    let storedLength = 0;
    for (let block = index; block < stepEnd; block++) {
      const storedBytes = blockBytes[block]!;
      const rawBytes = Math.min(size, chunk.rawBytes - block * size);
      blocks.push({ storedBytes, rawBytes, place: { chunk: chunk.index, block } });
      storedLength += storedBytes;
    }
    const rawFrom = Math.max(from, index * size);
    const rawTo = Math.min(to, stepEnd * size);
    const stored = { offset: storedOffset, length: storedLength };
    yield { stored, blocks, skipBytes: rawFrom - index * size, rawBytes: rawTo - rawFrom };
    storedOffset += storedLength;
  }
}

/** The record must agree with itself and with its object, or the bytes would come from the wrong place. */
function checkChunk(chunk: ChunkRef, rawBytes: number, isSealed: boolean): void {
  const { blockBytes, storedBytes, places, redundancy } = chunk;
  const blocks = Math.ceil(rawBytes / limits.compressionBlockBytes);
  const isRight =
    chunk.rawBytes === rawBytes &&
    (chunk.isSealed === true) === isSealed &&
    !(isSealed && blockBytes === undefined) &&
    places.length >= redundancy.dataShards &&
    (blockBytes === undefined
      ? storedBytes === rawBytes
      : blockBytes.length === blocks && blockBytes.reduce((sum, length) => sum + length, 0) === storedBytes);
  if (!isRight) throw new HoldfastError("corrupt_record", `The chunk map of chunk ${chunk.id} contradicts itself.`);
}

function* readChunk(
  parts: ReaderParts,
  source: ChunkSource,
  index: number,
  chunk: ChunkRef,
  planned: { readonly cipher: BlockCipher | undefined; readonly steps: readonly PlannedStep[] },
): Generator<Step> {
  const { cipher, steps } = planned;
  const [first] = steps;
  if (first === undefined) return;
  const last = steps.at(-1)!.stored;
  const { offset } = first.stored;
  const wanted = { offset, length: last.offset + last.length - offset };
  const reader = new ChunkReader(parts, chunk, wanted, () => parts.onDamage(source, index));
  for (const step of steps) yield { reader, cipher, ...step };
}

/** Steps of a range, made as they are asked for; pages of the chunk map are fetched on the way. */
async function* planSteps(
  parts: ReaderParts,
  source: ChunkSource,
  offset: number,
  length: number,
): AsyncGenerator<Step> {
  const { chunkBytes, sizeBytes } = source;
  const end = offset + length;
  const indexEnd = Math.ceil(end / chunkBytes);
  const cipher = source.dataKey?.ofBlob(source.blob);
  let index = Math.floor(offset / chunkBytes);
  while (index < indexEnd) {
    const page = await source.chunks(index, Math.min(indexEnd - index, limits.chunkMapPageEntries));
    assert(page.length > 0, "a page of a chunk map has at least one chunk");
    for (const chunk of page) {
      if (index >= indexEnd) break;
      const start = index * chunkBytes;
      checkChunk(chunk, Math.min(chunkBytes, sizeBytes - start), cipher !== undefined);
      const from = Math.max(0, offset - start);
      const to = Math.min(chunk.rawBytes, end - start);
      yield* readChunk(parts, source, index, chunk, { cipher, steps: [...stepsOf(chunk, index, from, to)] });
      index += 1;
    }
  }
}

/** A block's raw bytes, which are `stored` or memory of their own. */
function rawBlock({ cipher }: Step, { place, rawBytes }: Block, stored: Buffer): Buffer {
  const packed = cipher === undefined ? stored : openBlock(cipher, place, stored);
  const raw = unpackBlock(packed, rawBytes);
  if (cipher !== undefined && raw !== packed) giveBack(packed);
  return raw;
}

/** The raw pieces of a step, from the pieces of its stored range. What those are not views of is given back. */
function piecesOf(step: Step, stored: readonly Buffer[]): readonly Buffer[] {
  if (step.blocks === undefined) return stored;
  const bytes = stored.length === 1 ? stored[0]! : Buffer.concat(stored);
  let offset = 0;
  let skip = step.skipBytes;
  let rest = step.rawBytes;
  let isShared = false;
  const pieces: Buffer[] = [];
  for (const block of step.blocks) {
    const raw = rawBlock(step, block, bytes.subarray(offset, offset + block.storedBytes));
    offset += block.storedBytes;
    isShared ||= raw.buffer === bytes.buffer;
    const piece = soleView(raw, skip, skip + rest);
    skip = 0;
    rest -= piece.length;
    pieces.push(piece);
  }
  assert(rest === 0, "a step's blocks hold its bytes");
  // Only now: had a block not opened, the stored bytes of a coded chunk might be asked for again.
  if (bytes !== stored[0]) for (const piece of stored) giveBack(piece);
  if (!isShared) giveBack(bytes);
  return pieces;
}

type StepUnderWay = { readonly step: Step; readonly pieces: Promise<readonly Buffer[]> };

/** Keeps steps under way ahead of the consumer. */
async function* readAhead(steps: AsyncGenerator<Step>, signal: AbortSignal): AsyncGenerator<Buffer> {
  const queue: StepUnderWay[] = [];
  let aheadBytes = 0;
  let next = await steps.next();
  let reader: ChunkReader | undefined;
  try {
    while (next.done !== true || queue.length > 0) {
      while (
        next.done !== true &&
        (queue.length === 0 || aheadBytes + next.value.rawBytes <= limits.readAheadBytesMax)
      ) {
        const step = next.value;
        const pieces = step.reader.read(step.stored, signal, (stored) => piecesOf(step, stored));
        // Its error is met when its turn comes, or never if the consumer leaves before.
        pieces.catch(() => undefined);
        queue.push({ step, pieces });
        aheadBytes += step.rawBytes;
        next = await steps.next();
      }
      const { step, pieces } = queue.shift()!;
      if (reader !== step.reader) reader?.end();
      reader = step.reader;
      for (const piece of await pieces) yield piece;
      aheadBytes -= step.rawBytes;
    }
  } finally {
    reader?.end();
    for (const { step } of queue) step.reader.end();
  }
}

/** Bytes `offset` to `offset + length`, which lie within the blob. */
export async function* readBlob(
  parts: ReaderParts,
  source: ChunkSource,
  range: ByteRange,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const { offset, length } = range;
  assert(offset >= 0 && length >= 0 && offset + length <= source.sizeBytes, "the range lies within the blob");
  if (signal?.aborted) throw cancelled(signal);
  const own = new AbortController();
  const onAbort = (): void => own.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    yield* readAhead(planSteps(parts, source, offset, length), own.signal);
  } finally {
    signal?.removeEventListener("abort", onAbort);
    own.abort();
  }
}

/**
 * Reading a range of a blob: a plan of steps, each one call to a drive, and a queue of steps under way.
 *
 * Invariants: exactly the bytes asked for, in order, or an error; raw bytes under way stay within readAheadBytesMax (or
 * one step); only the compression blocks that the range touches are read; when the consumer leaves early or the signal
 * aborts, no new step begins and those under way are cancelled.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { ByteRange, ChunkNode } from "../node/node.ts";
import type { ChunkRef, ChunkSource } from "./blob.ts";
import { unpackBlock } from "./compression.ts";

type Block = { readonly storedBytes: number; readonly rawBytes: number };

/** One call to a drive: a stored range, and what becomes of it. */
type Step = {
  readonly chunk: ChunkRef;
  readonly stored: ByteRange;
  /** The compression blocks in `stored`, or undefined: the bytes are wanted as they are. */
  readonly blocks: readonly Block[] | undefined;
  /** Raw bytes to leave out at the start, and how many to give after them. */
  readonly skipBytes: number;
  readonly rawBytes: number;
};

export type ReaderParts = { readonly node: ChunkNode; readonly log: Log };

const blocksPerStep = Math.max(1, Math.floor(limits.readBytesPerCall / limits.compressionBlockBytes));

function cancelled(signal: AbortSignal): HoldfastError {
  return new HoldfastError("cancelled", "The request was cancelled.", { cause: signal.reason });
}

function* rawSteps(chunk: ChunkRef, from: number, to: number): Generator<Step> {
  for (let offset = from; offset < to; offset += limits.readBytesPerCall) {
    const length = Math.min(limits.readBytesPerCall, to - offset);
    yield { chunk, stored: { offset, length }, blocks: undefined, skipBytes: 0, rawBytes: length };
  }
}

function* blockSteps(chunk: ChunkRef, blockBytes: readonly number[], from: number, to: number): Generator<Step> {
  const size = limits.compressionBlockBytes;
  const first = Math.floor(from / size);
  const end = Math.ceil(to / size);
  let storedOffset = 0;
  for (let index = 0; index < first; index++) storedOffset += blockBytes[index]!;
  for (let index = first; index < end; index += blocksPerStep) {
    const stepEnd = Math.min(index + blocksPerStep, end);
    const blocks: Block[] = [];
    let storedLength = 0;
    for (let block = index; block < stepEnd; block++) {
      const storedBytes = blockBytes[block]!;
      blocks.push({ storedBytes, rawBytes: Math.min(size, chunk.rawBytes - block * size) });
      storedLength += storedBytes;
    }
    const rawFrom = Math.max(from, index * size);
    const rawTo = Math.min(to, stepEnd * size);
    const stored = { offset: storedOffset, length: storedLength };
    yield { chunk, stored, blocks, skipBytes: rawFrom - index * size, rawBytes: rawTo - rawFrom };
    storedOffset += storedLength;
  }
}

/** The record must agree with itself, or the bytes would come from the wrong place. */
function checkChunk(chunk: ChunkRef, rawBytes: number): void {
  const { blockBytes, storedBytes, places } = chunk;
  const blocks = Math.ceil(rawBytes / limits.compressionBlockBytes);
  const isRight =
    chunk.rawBytes === rawBytes &&
    places.length > 0 &&
    (blockBytes === undefined
      ? storedBytes === rawBytes
      : blockBytes.length === blocks && blockBytes.reduce((sum, length) => sum + length, 0) === storedBytes);
  if (!isRight) throw new HoldfastError("corrupt_record", `The chunk map of chunk ${chunk.id} contradicts itself.`);
}

/** Steps of a range, made as they are asked for; pages of the chunk map are fetched on the way. */
async function* planSteps(source: ChunkSource, offset: number, length: number): AsyncGenerator<Step> {
  const { chunkBytes, sizeBytes } = source;
  const end = offset + length;
  const indexEnd = Math.ceil(end / chunkBytes);
  let index = Math.floor(offset / chunkBytes);
  while (index < indexEnd) {
    const page = await source.chunks(index, Math.min(indexEnd - index, limits.chunkMapPageEntries));
    assert(page.length > 0, "a page of a chunk map has at least one chunk");
    for (const chunk of page) {
      if (index >= indexEnd) break;
      const start = index * chunkBytes;
      checkChunk(chunk, Math.min(chunkBytes, sizeBytes - start));
      const from = Math.max(0, offset - start);
      const to = Math.min(chunk.rawBytes, end - start);
      if (chunk.blockBytes === undefined) yield* rawSteps(chunk, from, to);
      else yield* blockSteps(chunk, chunk.blockBytes, from, to);
      index += 1;
    }
  }
}

/** The raw pieces of a step, from the bytes of its stored range. */
function piecesOf(step: Step, stored: Buffer): Buffer[] {
  if (stored.length !== step.stored.length)
    throw new HoldfastError("corrupt_chunk", `Chunk ${step.chunk.id} was read short.`);
  if (step.blocks === undefined) return [stored];
  let offset = 0;
  let skip = step.skipBytes;
  let rest = step.rawBytes;
  const pieces: Buffer[] = [];
  for (const { storedBytes, rawBytes } of step.blocks) {
    const block = unpackBlock(stored.subarray(offset, offset + storedBytes), rawBytes);
    offset += storedBytes;
    const piece = block.subarray(skip, skip + rest);
    skip = 0;
    rest -= piece.length;
    pieces.push(piece);
  }
  assert(rest === 0, "a step's blocks hold its bytes");
  return pieces;
}

/** Tries every place of the chunk; the last error leaves when none gives the bytes. */
async function runStep({ node, log }: ReaderParts, step: Step, signal: AbortSignal | undefined): Promise<Buffer[]> {
  const { chunk, stored } = step;
  let failure: unknown;
  for (const { drive, shardIndex } of chunk.places) {
    if (signal?.aborted) throw cancelled(signal);
    try {
      return piecesOf(step, await node.read(drive, { chunk: chunk.id, shardIndex }, stored, signal));
    } catch (error) {
      if (signal?.aborted) throw cancelled(signal);
      log.warn({ drive, chunk: chunk.id, error }, "A chunk could not be read from a drive.");
      failure = error;
    }
  }
  throw failure;
}

type StepUnderWay = { readonly rawBytes: number; readonly pieces: Promise<Buffer[]> };

/** Keeps steps under way ahead of the consumer. */
async function* readAhead(
  parts: ReaderParts,
  steps: AsyncGenerator<Step>,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const queue: StepUnderWay[] = [];
  let aheadBytes = 0;
  let next = await steps.next();
  while (next.done !== true || queue.length > 0) {
    while (next.done !== true && (queue.length === 0 || aheadBytes + next.value.rawBytes <= limits.readAheadBytesMax)) {
      const pieces = runStep(parts, next.value, signal);
      // Its error is met when its turn comes, or never if the consumer leaves before.
      pieces.catch(() => undefined);
      queue.push({ rawBytes: next.value.rawBytes, pieces });
      aheadBytes += next.value.rawBytes;
      next = await steps.next();
    }
    const first = queue.shift()!;
    for (const piece of await first.pieces) yield piece;
    aheadBytes -= first.rawBytes;
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
    yield* readAhead(parts, planSteps(source, offset, length), own.signal);
  } finally {
    signal?.removeEventListener("abort", onAbort);
    own.abort();
  }
}

/**
 * Buffers for whole records, used again: memory that a process asks for anew costs more to touch first than to fill
 * (docs/decisions/0010). One process keeps some of them, in a few sizes, whatever it reads records for.
 */
import { limits } from "../core/limits.ts";
import { recordBytes } from "./segment.ts";

export type Room = {
  readonly bytes: Buffer;
  /** Called once, when nobody reads or writes the bytes any more. Without it the memory is left to the collector. */
  release(): void;
};

/** Bodies of the rooms there are. Smaller ones are not worth a room. */
const bodyBytes = [1, 2, 4, 8, 16].map((sixteenths) => (sixteenths * limits.chunkBytesMax) / 16);
const sizes = bodyBytes.map((bytes) => recordBytes(bytes, limits.segmentBlockBytes));
const leastBytes = bodyBytes[0]!;
const free = new Map<number, Buffer[]>(sizes.map((size) => [size, []]));
let keptBytes = 0;

export function takeRoom(bytes: number): Room {
  const size = bytes < leastBytes ? undefined : sizes.find((each) => each >= bytes);
  if (size === undefined) return { bytes: Buffer.allocUnsafeSlow(bytes), release: () => undefined };
  const kept = free.get(size)!.pop();
  if (kept !== undefined) keptBytes -= size;
  const whole = kept ?? Buffer.allocUnsafeSlow(size);
  let isFree = false;
  return {
    bytes: whole.subarray(0, bytes),
    release: () => {
      if (isFree) return;
      isFree = true;
      if (keptBytes + size > limits.recordRoomBytesKept) return;
      keptBytes += size;
      free.get(size)!.push(whole);
    },
  };
}

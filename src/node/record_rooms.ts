/**
 * Buffers for whole records, used again: memory that a process asks for anew costs more to touch first than to fill
 * (docs/decisions/0010). One process has a few of them, whatever it reads records for.
 */
import { limits } from "../core/limits.ts";
import { recordBytes } from "./segment.ts";

export type Room = {
  readonly bytes: Buffer;
  /** Called once, when nobody reads or writes the bytes any more. Without it the memory is left to the collector. */
  release(): void;
};

const roomBytes = recordBytes(limits.chunkBytesMax, limits.segmentBlockBytes);
/** Smaller ones are not worth a room. */
const roomBytesMin = 256 * 1024;
const free: Buffer[] = [];

export function takeRoom(bytes: number): Room {
  if (bytes < roomBytesMin || bytes > roomBytes)
    return { bytes: Buffer.allocUnsafeSlow(bytes), release: () => undefined };
  const whole = free.pop() ?? Buffer.allocUnsafeSlow(roomBytes);
  let isFree = false;
  return {
    bytes: whole.subarray(0, bytes),
    release: () => {
      if (!isFree && free.length < limits.recordRoomsKept) free.push(whole);
      isFree = true;
    },
  };
}

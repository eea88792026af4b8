import type { Socket } from "node:net";

/**
 * Bytes of the write under way that the kernel has not taken yet. A write is only reported when all of it was taken, so that a
 * client that reads a large piece slowly looks like one that reads nothing. Node's own idle timeout looks at this number; 0
 * where a node has it no more.
 */
export function unsentBytes(socket: Socket | null | undefined): number {
  const handle = (socket as { readonly _handle?: unknown } | null | undefined)?._handle;
  if (typeof handle !== "object" || handle === null || !("writeQueueSize" in handle)) return 0;
  return typeof handle.writeQueueSize === "number" ? handle.writeQueueSize : 0;
}

/**
 * Gives a buffer's memory back at once, instead of when the garbage collector finds it. Bodies pass through as buffers of 64 KiB
 * and more outside V8's heap, and V8 starts a full collection for every 64 MiB of them (docs/decisions/0004).
 *
 * Only for whoever owns the bytes and is done with them: afterwards the buffer is empty. A buffer that does not fill its
 * ArrayBuffer may share it with others and is left alone, and so is shared memory.
 */
const givenBackBytesMin = 16 * 1024;

export function giveBack(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (bytes.length < givenBackBytesMin || bytes.length !== buffer.byteLength) return;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}

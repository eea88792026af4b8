/**
 * Gives a buffer's memory back at once, instead of when the garbage collector finds it. Bodies pass through as buffers of 64 KiB
 * and more outside V8's heap, and V8 starts a full collection for every 64 MiB of them (docs/decisions/0004).
 *
 * Only for whoever owns the bytes and is done with them: afterwards the buffer is empty. A buffer that does not fill its
 * ArrayBuffer may share it with others and is left alone, unless `soleView` made it; shared memory is left alone too.
 */
const givenBackBytesMin = 16 * 1024;

/** Views that are all that anybody has of their ArrayBuffer, though they do not fill it. */
const soleViews = new WeakSet<Uint8Array>();

export function giveBack(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (buffer.byteLength < givenBackBytesMin) return;
  if (bytes.length !== buffer.byteLength && !soleViews.has(bytes)) return;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/**
 * `whole` from `start` to `end`, for whoever hands on a part of what they own and keeps nothing of it: `giveBack` of the part gives
 * back the whole. Views that are made of the part are ordinary ones.
 */
export function soleView(whole: Buffer, start: number, end: number): Buffer {
  const view = whole.subarray(start, end);
  if (view.length !== whole.length && whole.length === whole.buffer.byteLength) soleViews.add(view);
  return view;
}

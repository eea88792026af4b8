/**
 * Bodies that say themselves what they must be: a seed and a size stand at the beginning, and every other byte follows from
 * them. So one that is read can be checked whole by whoever reads it, without a table of what was written.
 */
import { createHash } from "node:crypto";

export type BodySpec = { readonly seed: number; readonly sizeBytes: number };

const magic = 0x48_46_42_31;
const headerBytes = 12;
export const bodyBytesMin = headerBytes;

export function makeBody({ seed, sizeBytes }: BodySpec): Buffer {
  const body = Buffer.alloc(Math.max(sizeBytes, headerBytes));
  if (seed % 2 === 0) fillWithNoise(body, seed);
  else body.fill(`line ${seed}\n`);
  body.writeUInt32BE(magic, 0);
  body.writeUInt32BE(seed, 4);
  body.writeUInt32BE(body.length, 8);
  return body;
}

/** Half of the bodies compress, half do not. */
function fillWithNoise(body: Buffer, seed: number): void {
  let state = (seed ^ 0x9e37_79b9) | 1;
  for (let offset = 0; offset + 4 <= body.length; offset += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    body.writeInt32LE(state, offset);
  }
}

/** What the bytes are, if every one of them is what their beginning says. */
export function whatIs(bytes: Buffer): BodySpec | undefined {
  if (bytes.length < headerBytes || bytes.readUInt32BE(0) !== magic) return undefined;
  const spec = { seed: bytes.readUInt32BE(4), sizeBytes: bytes.readUInt32BE(8) };
  return spec.sizeBytes === bytes.length && makeBody(spec).equals(bytes) ? spec : undefined;
}

const md5 = (bytes: Buffer): Buffer => createHash("md5").update(bytes).digest();

/** The ETag that S3 gives a body sent at once, or in parts. */
export function etagOf(parts: readonly Buffer[]): string {
  if (parts.length === 1) return md5(parts[0]!).toString("hex");
  return `${md5(Buffer.concat(parts.map(md5))).toString("hex")}-${parts.length}`;
}

/** `scrub/<drive id>`: how far the drive's shards have been re-read in this round, and when a round last came to its end. */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { CHUNK_ID_BYTES } from "../core/ids.ts";
import type { ChunkId } from "../core/ids.ts";

export type ScrubRecord = {
  /** When this round began; undefined between rounds. */
  readonly startedMs: number | undefined;
  /** The shard looked at last in this round. */
  readonly after: { readonly chunk: ChunkId; readonly shardIndex: number } | undefined;
  /** When a round last ended, and what it found; undefined before the first. */
  readonly ended: { readonly atMs: number; readonly shards: number; readonly damaged: number } | undefined;
};

const newestVersion = 1;

export function encodeScrub({ startedMs, after, ended }: ScrubRecord): Buffer {
  const flags = (startedMs === undefined ? 0 : 1) | (after === undefined ? 0 : 2) | (ended === undefined ? 0 : 4);
  const writer = new ByteWriter().u8(newestVersion).u8(flags);
  if (startedMs !== undefined) writer.varint(startedMs);
  if (after !== undefined) writer.hex(after.chunk).u8(after.shardIndex);
  if (ended !== undefined) writer.varint(ended.atMs).varint(ended.shards).varint(ended.damaged);
  return writer.finish();
}

export function decodeScrub(value: Uint8Array): ScrubRecord {
  const reader = new ByteReader(value, "scrub");
  reader.version(newestVersion);
  const flags = reader.u8();
  if (flags > 7) throw reader.corrupt("it has a flag that is not known");
  const startedMs = flags & 1 ? reader.varint() : undefined;
  const after = flags & 2 ? { chunk: reader.hex(CHUNK_ID_BYTES) as ChunkId, shardIndex: reader.u8() } : undefined;
  const ended = flags & 4 ? { atMs: reader.varint(), shards: reader.varint(), damaged: reader.varint() } : undefined;
  reader.end();
  return { startedMs, after, ended };
}

/**
 * `raised`, one row: the most losses that the store's default redundancy has borne, and that buckets which say nothing else were
 * told to be converted to. A store begins on one drive or one node and grows; what was stored before must not stay behind.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import type { Kv } from "../kv/kv.ts";
import { raisedKey } from "./keys.ts";

const newestVersion = 1;

export function encodeRaised(parityShards: number): Buffer {
  return new ByteWriter().u8(newestVersion).u8(parityShards).finish();
}

export function decodeRaised(value: Uint8Array): number {
  const reader = new ByteReader(value, "raised");
  reader.version(newestVersion);
  const parityShards = reader.u8();
  reader.end();
  return parityShards;
}

/** -1 where nothing was told yet. */
export async function readRaised(kv: Kv): Promise<number> {
  const [row] = await kv.get([raisedKey()]);
  return row === undefined ? -1 : decodeRaised(row.value);
}

/**
 * `raised`, one row: the most losses that the store's default redundancy of each class has borne, and that buckets which say nothing
 * else were told to be converted to. A store begins on one drive or one node and grows; what was stored before must not stay behind.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { reducedLosses } from "../core/redundancy.ts";
import type { Kv } from "../kv/kv.ts";
import { raisedKey } from "./keys.ts";

/** Parity shards of each class; -1 where nothing was told yet. */
export type RaisedRecord = { readonly standard: number; readonly reduced: number };

/** Version 1 does not tell of the reduced class, which bears by itself what follows from STANDARD. */
const newestVersion = 2;

export function encodeRaised({ standard, reduced }: RaisedRecord): Buffer {
  if (reduced === reducedLosses(standard)) return new ByteWriter().u8(1).u8(standard).finish();
  return new ByteWriter().u8(newestVersion).u8(standard).u8(reduced).finish();
}

export function decodeRaised(value: Uint8Array): RaisedRecord {
  const reader = new ByteReader(value, "raised");
  const version = reader.version(newestVersion);
  const standard = reader.u8();
  const reduced = version === 1 ? reducedLosses(standard) : reader.u8();
  reader.end();
  return { standard, reduced };
}

export async function readRaised(kv: Kv): Promise<RaisedRecord> {
  const [row] = await kv.get([raisedKey()]);
  return row === undefined ? { standard: -1, reduced: -1 } : decodeRaised(row.value);
}

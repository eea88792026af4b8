/**
 * `progress/<name of a job>`: how far long work has come, written now and then by the process that does it, for whoever
 * asks any other. A row whose session is gone says how far it had come.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { SESSION_ID_BYTES } from "../core/ids.ts";
import type { SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Kv } from "../kv/kv.ts";
import { progressNameOf, tagRange, tags } from "./keys.ts";

export type ProgressRecord = {
  readonly session: SessionId;
  readonly startedMs: number;
  readonly atMs: number;
  readonly doneBytes: number;
  readonly leftBytes: number;
};

const newestVersion = 1;

export function encodeProgress({ session, startedMs, atMs, doneBytes, leftBytes }: ProgressRecord): Buffer {
  return new ByteWriter()
    .u8(newestVersion)
    .hex(session)
    .varint(startedMs)
    .varint(atMs)
    .varint(doneBytes)
    .varint(leftBytes)
    .finish();
}

export function decodeProgress(value: Uint8Array): ProgressRecord {
  const reader = new ByteReader(value, "progress");
  reader.version(newestVersion);
  const session = reader.hex(SESSION_ID_BYTES) as SessionId;
  const times = { startedMs: reader.varint(), atMs: reader.varint() };
  const record = { session, ...times, doneBytes: reader.varint(), leftBytes: reader.varint() };
  reader.end();
  return record;
}

export async function readProgress(kv: Kv): Promise<(ProgressRecord & { readonly name: string })[]> {
  const rows = await kv.scan(tagRange(tags.progress), { limit: limits.jobBatchMax });
  return rows.map(({ key, value }) => ({ name: progressNameOf(key), ...decodeProgress(value) }));
}

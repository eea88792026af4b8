/**
 * Which session runs a job: `job/<name>` names it. Taken over when that session is gone, never renewed and never given
 * back, so that holding one costs a read. A lease saves work and protects nothing: every job is correct without it.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { SESSION_ID_BYTES, type SessionId } from "../core/ids.ts";
import type { Kv } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { jobKey, sessionKey } from "../meta/keys.ts";

const newestVersion = 1;

export function encodeLease(holder: SessionId): Buffer {
  return new ByteWriter().u8(newestVersion).hex(holder).finish();
}

export function decodeLease(value: Uint8Array): SessionId {
  const reader = new ByteReader(value, "job");
  reader.version(newestVersion);
  const holder = reader.hex(SESSION_ID_BYTES) as SessionId;
  reader.end();
  return holder;
}

/** Whether `session` holds the lease now, having taken it if it was free. */
export function takeLease(kv: Kv, name: string, session: SessionId): Promise<boolean> {
  const key = jobKey(name);
  return transact(kv, async (tx) => {
    const [row, own] = await tx.get([key, sessionKey(session)]);
    const holder = row && decodeLease(row.value);
    if (holder === session) return true;
    if (own === undefined) return false;
    // Only a hint is needed, which spares every process that holds none a commit each time it asks: a session that is gone
    // never comes back, and who takes the lease checks its row.
    if (holder !== undefined && (await tx.peek([sessionKey(holder)]))[0] !== undefined) return false;
    tx.put(key, encodeLease(session));
    return true;
  });
}

/**
 * `keyring/<key id>`: a key that seals the data keys of objects, in all its versions, each sealed by the master key that the
 * server is started with. A row says which master key that was, so that a wrong one is told from damage.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";

export type KeyVersionRecord = { readonly createdMs: number; readonly sealed: Buffer };

export type KeyringRecord = {
  /** 16 hex digits that tell master keys apart. */
  readonly master: string;
  /** Version n is at n − 1. At least one. */
  readonly versions: readonly KeyVersionRecord[];
};

export const MASTER_ID_BYTES = 8;

const newestVersion = 1;

export function encodeKeyring({ master, versions }: KeyringRecord): Buffer {
  const writer = new ByteWriter().u8(newestVersion).hex(master).varint(versions.length);
  for (const { createdMs, sealed } of versions) writer.varint(createdMs).bytes(sealed);
  return writer.finish();
}

export function decodeKeyring(value: Uint8Array): KeyringRecord {
  const reader = new ByteReader(value, "keyring");
  reader.version(newestVersion);
  const master = reader.hex(MASTER_ID_BYTES);
  const versions: KeyVersionRecord[] = [];
  for (let left = reader.varint(); left > 0; left--)
    versions.push({ createdMs: reader.varint(), sealed: Buffer.from(reader.bytes()) });
  if (versions.length === 0) throw reader.corrupt("a key has no version");
  reader.end();
  return { master, versions };
}

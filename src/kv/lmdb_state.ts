/**
 * The rows that an LMDB store keeps about itself (docs/formats/metadata-lmdb.md). Their keys are longer than any key of a
 * user and sort after all of them, so no range of rows contains them.
 *
 *   mark   the last version handed out; in one of several copies also which batch wrote it, and under which view and run
 *   view   which drives hold a copy (lmdb_views.ts); only in copies
 *   redo   which rows the last batch changed, so that a copy that lacks exactly this batch can be brought forward; only
 *          in copies
 */
import type { RootDatabase } from "lmdb";
import { assert } from "../core/assert.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Key, Version } from "./kv.ts";
import { idBytes, viewsRememberedMax } from "./lmdb_views.ts";
import type { View } from "./lmdb_views.ts";

/** 8 random bytes in hex: made anew for each batch, and for each start. */
export type BatchId = string;
export type RunId = string;

export type CopyMark = {
  /** The last batch written. Copies with the same one have the same rows. */
  readonly batch: BatchId;
  /** The start since which this copy may be written to: who began under an earlier one is refused. */
  readonly run: RunId;
  readonly view: string;
};

export type Mark = { readonly lastVersion: Version; readonly copy?: CopyMark };

/** The rows under `keys` are those in which the batch `to` differs from the one before it, `from`. */
export type Redo = { readonly from: BatchId; readonly to: BatchId; readonly keys: readonly Key[] };

type Store = RootDatabase<Buffer, Key>;

const aloneFormat = 1;
const copyFormat = 2;
const viewFormat = 1;
const redoFormat = 1;
const versionBytes = 8;

const ownKey = (place: number): Buffer => Buffer.alloc(limits.metaKeyBytesMax + place, 0xff);
const markKey = ownKey(1);
const viewKey = ownKey(2);
const redoKey = ownKey(3);

/** Undefined in a store that is new. Errors: `corrupt_record` for a format that this build does not know. */
export function readMark(store: Store): Mark | undefined {
  const stored = store.getBinary(markKey);
  if (stored === undefined) return undefined;
  const reader = new ByteReader(stored, "metadata store's own");
  const format = reader.u8();
  if (format !== aloneFormat && format !== copyFormat) {
    throw new HoldfastError(
      "corrupt_record",
      `The metadata store has format version ${format}; this build knows 1, 2.`,
    );
  }
  const lastVersion = Number(reader.raw(versionBytes).readBigUInt64BE());
  assert(Number.isSafeInteger(lastVersion), "versions stay below 2^53");
  const id = (): string => reader.hex(idBytes);
  const copy = format === copyFormat ? { batch: id(), run: id(), view: id() } : undefined;
  reader.end();
  return copy === undefined ? { lastVersion } : { lastVersion, copy };
}

/** The last version handed out, and nothing else of the mark: for every read. 0 in a store that is new. */
export function lastVersionIn(store: Pick<Store, "getBinaryFast">): Version {
  // Volatile bytes: format u8, then the version.
  const stored = store.getBinaryFast(markKey);
  return stored === undefined ? 0 : stored.readUInt32BE(1) * 2 ** 32 + stored.readUInt32BE(5);
}

export function writeMark(store: Store, { lastVersion, copy }: Mark): void {
  const version = Buffer.alloc(versionBytes);
  version.writeBigUInt64BE(BigInt(lastVersion));
  const writer = new ByteWriter().u8(copy === undefined ? aloneFormat : copyFormat).raw(version);
  if (copy !== undefined) writer.hex(copy.batch).hex(copy.run).hex(copy.view);
  store.putSync(markKey, writer.finish());
}

export function readView(store: Store): View {
  const stored = store.getBinary(viewKey);
  if (stored === undefined) throw new HoldfastError("corrupt_record", "A copy of the metadata has no view.");
  const reader = new ByteReader(stored, "view");
  reader.version(viewFormat);
  const [storeId, id, epoch] = [reader.hex(idBytes), reader.hex(idBytes), reader.varint()];
  const ids = (max: number): string[] => {
    const count = reader.varint();
    if (count > max) throw reader.corrupt("it has too many ids");
    return Array.from({ length: count }, () => reader.hex(idBytes));
  };
  const members = ids(limits.metadataCopiesMax);
  const ancestors = ids(viewsRememberedMax);
  reader.end();
  return { store: storeId, id, epoch, members, ancestors };
}

export function writeView(store: Store, { store: storeId, id, epoch, members, ancestors }: View): void {
  const writer = new ByteWriter().u8(viewFormat).hex(storeId).hex(id).varint(epoch);
  for (const ids of [members, ancestors]) {
    writer.varint(ids.length);
    for (const each of ids) writer.hex(each);
  }
  store.putSync(viewKey, writer.finish());
}

export function readRedo(store: Store): Redo | undefined {
  const stored = store.getBinary(redoKey);
  if (stored === undefined) return undefined;
  const reader = new ByteReader(stored, "redo");
  reader.version(redoFormat);
  const [from, to, count] = [reader.hex(idBytes), reader.hex(idBytes), reader.varint()];
  const keys: Key[] = [];
  while (keys.length < count) keys.push(reader.bytes());
  reader.end();
  return { from, to, keys };
}

export function writeRedo(store: Store, { from, to, keys }: Redo): void {
  const writer = new ByteWriter().u8(redoFormat).hex(from).hex(to).varint(keys.length);
  for (const key of keys) writer.bytes(key);
  store.putSync(redoKey, writer.finish());
}

/**
 * What a store on an engine of its own has once: its id, and the root key that all its nodes share. (A store that is embedded
 * in its drives keeps the root key in a file beside the metadata.) Whoever may read the metadata may read access keys and
 * their secrets anyway, so the root key is kept as they are.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import type { Random } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { storeKey } from "./keys.ts";

export const STORE_ID_BYTES = 16;

export type StoreRecord = {
  /** Hex. */
  readonly id: string;
  /** Undefined as long as the settings of all nodes give one, which is not kept. */
  readonly root: RootCredentials | undefined;
};

export type RootCredentials = { readonly accessKey: string; readonly secretKey: string };

const newestVersion = 1;

export function encodeStore({ id, root }: StoreRecord): Buffer {
  const writer = new ByteWriter()
    .u8(newestVersion)
    .hex(id)
    .u8(root === undefined ? 0 : 1);
  if (root !== undefined) writer.string(root.accessKey).string(root.secretKey);
  return writer.finish();
}

export function decodeStore(value: Uint8Array): StoreRecord {
  const reader = new ByteReader(value, "store");
  reader.version(newestVersion);
  const id = reader.hex(STORE_ID_BYTES);
  const flags = reader.u8();
  if (flags > 1) throw reader.corrupt("a flag is not known");
  const root = flags === 0 ? undefined : { accessKey: reader.string(), secretKey: reader.string() };
  reader.end();
  return { id, root };
}

export async function readStore(kv: Kv): Promise<StoreRecord | undefined> {
  const [row] = await kv.get([storeKey()]);
  return row && decodeStore(row.value);
}

/**
 * The store's record, made if there is none. `makeRoot` is asked for a root key where none is kept yet; of nodes that start at
 * once the key of one is kept, which `isRootNew` tells it.
 */
export async function foundStore(
  kv: Kv,
  random: Random,
  makeRoot: () => RootCredentials | undefined,
): Promise<{ readonly store: StoreRecord; readonly isRootNew: boolean }> {
  const made = makeRoot();
  return transact(kv, async (tx) => {
    const [row] = await tx.get([storeKey()]);
    const known = row && decodeStore(row.value);
    if (known !== undefined && (known.root !== undefined || made === undefined))
      return { store: known, isRootNew: false };
    const id = known?.id ?? Buffer.from(random.bytes(STORE_ID_BYTES)).toString("hex");
    const store = { id, root: made };
    tx.put(storeKey(), encodeStore(store));
    return { store, isRootNew: made !== undefined };
  });
}

/** Making, listing and removing access keys. A user's row names the user's keys, in the same commits; an account's own have index rows. */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { accessKeyKey, accountKey, tagRange, tags } from "../meta/keys.ts";
import { indexKey, readAccountKeys, unindexKey } from "./account_keys.ts";
import { noSuch, tooMany, type IdentityContext, type ListOptions } from "./context.ts";
import {
  accessKeyCharsMax,
  checkAccessKey,
  checkDescription,
  checkSecretKey,
  generateAccessKey,
  generateSecretKey,
} from "./credentials.ts";
import { decodeKeyRecord, encodeKeyRecord, type KeyOwner, type KeyRecord } from "./key_record.ts";
import { changeUser } from "./users.ts";

export type NewKey = {
  /** Undefined: generated. */
  readonly accessKey?: string | undefined;
  readonly secretKey?: string | undefined;
  readonly description?: string | undefined;
  /** Nobody's, which may do everything, if left out. */
  readonly owner?: KeyOwner | undefined;
};

export type KeyInfo = Omit<KeyRecord, "secretKey"> & { readonly accessKey: string };

/** Errors: `invalid_argument`, `access_key_already_exists`, `no_such_entity` and `too_many_of_identity` for the owner. */
export async function createKey(ctx: IdentityContext, key: NewKey): Promise<KeyInfo & { readonly secretKey: string }> {
  const made = {
    accessKey: checkAccessKey(key.accessKey ?? generateAccessKey(ctx.random)),
    secretKey: checkSecretKey(key.secretKey ?? generateSecretKey(ctx.random)),
    description: checkDescription(key.description ?? ""),
    createdMs: ctx.clock.nowMs(),
    owner: key.owner ?? { kind: "none" },
  } as const;
  await transact(ctx.kv, async (tx) => {
    const [row] = await tx.get([accessKeyKey(made.accessKey)]);
    if (row !== undefined) throw alreadyExists(made.accessKey);
    await giveToOwner(tx, made.owner, made.accessKey);
    tx.put(accessKeyKey(made.accessKey), encodeKeyRecord(made));
    indexKey(tx, made.owner, made.accessKey);
  });
  return made;
}

async function giveToOwner(tx: Transaction, owner: KeyOwner, accessKey: string): Promise<void> {
  if (owner.kind === "account") {
    const [row] = /^\d{12}$/.test(owner.account) ? await tx.get([accountKey(owner.account)]) : [];
    if (row === undefined) throw noSuch("account", owner.account);
  }
  if (owner.kind !== "user") return;
  await changeUser(tx, owner.account, owner.user, (user) => {
    if (user.accessKeys.length >= limits.accessKeysOfUserMax)
      throw tooMany(`A user has at most ${limits.accessKeysOfUserMax} access keys.`);
    return { ...user, accessKeys: [...user.accessKeys, accessKey] };
  });
}

/** In the order of the access keys; fewer than `limit` means the end. */
export async function listKeys(
  { kv }: IdentityContext,
  { after, limit }: { readonly after?: string | undefined; readonly limit: number },
): Promise<KeyInfo[]> {
  const range = tagRange(tags.accessKey);
  // A marker may be longer than any row's key: the same keys lie behind its beginning.
  const last = after === undefined ? undefined : accessKeyKey(after).subarray(0, 1 + accessKeyCharsMax);
  const start = last === undefined ? range.start : Buffer.concat([last, Buffer.of(0)]);
  const rows = await kv.scan({ start, end: range.end }, { limit: Math.min(limit, limits.listPageKeysMax) });
  return rows.map(({ key, value }) => infoOf(key.toString("utf8", 1), value));
}

/** Errors: `no_such_access_key`. */
export async function removeKey({ kv }: IdentityContext, accessKey: string): Promise<void> {
  await transact(kv, async (tx) => {
    const [row] = isAccessKey(accessKey) ? await tx.get([accessKeyKey(accessKey)]) : [];
    if (row === undefined) throw noSuchKey(accessKey);
    const { owner } = decodeKeyRecord(row.value);
    tx.delete(accessKeyKey(accessKey));
    unindexKey(tx, owner, accessKey);
    if (owner.kind !== "user") return;
    await changeUser(tx, owner.account, owner.user, (user) => ({
      ...user,
      accessKeys: user.accessKeys.filter((each) => each !== accessKey),
    }));
  });
}

/** One that is switched off is as if it were not there, and still counts as its user's. Errors: `no_such_access_key`. */
export async function switchKey({ kv }: IdentityContext, accessKey: string, isOn: boolean): Promise<void> {
  await transact(kv, async (tx) => {
    const [row] = isAccessKey(accessKey) ? await tx.get([accessKeyKey(accessKey)]) : [];
    if (row === undefined) throw noSuchKey(accessKey);
    const { isOff: _, ...record } = decodeKeyRecord(row.value);
    tx.put(accessKeyKey(accessKey), encodeKeyRecord({ ...record, ...(!isOn && { isOff: true }) }));
  });
}

function noSuchKey(accessKey: string): HoldfastError {
  return new HoldfastError("no_such_access_key", `There is no access key ${accessKey}.`);
}

/** Those there are of the given ones, in their order. */
export async function readKeys({ kv }: IdentityContext, accessKeys: readonly string[]): Promise<KeyInfo[]> {
  const rows = await kv.get(accessKeys.map(accessKeyKey));
  return rows.flatMap((row, index) => (row === undefined ? [] : [infoOf(accessKeys[index]!, row.value)]));
}

/** The account's own, in the order of the access keys; fewer than `limit` means the end. */
export async function listAccountKeys(ctx: IdentityContext, options: ListOptions): Promise<KeyInfo[]> {
  const { after, ...rest } = options;
  // A marker may be longer than any row's key: the same keys lie behind its beginning.
  const found = await readAccountKeys(ctx, { ...rest, after: after?.slice(0, accessKeyCharsMax) });
  return found.map(({ accessKey, record }) => shownKey(accessKey, record));
}

function infoOf(accessKey: string, value: Uint8Array): KeyInfo {
  return shownKey(accessKey, decodeKeyRecord(value));
}

function shownKey(accessKey: string, record: KeyRecord): KeyInfo {
  const { secretKey: _, ...info } = record;
  return { accessKey, ...info };
}

export function isAccessKey(accessKey: string): boolean {
  try {
    checkAccessKey(accessKey);
    return true;
  } catch {
    return false;
  }
}

export function alreadyExists(accessKey: string): HoldfastError {
  return new HoldfastError("access_key_already_exists", `The access key ${accessKey} exists already.`);
}

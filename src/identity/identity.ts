/**
 * Who may come in: accounts, users and groups, the policies that say what they may do, and access keys with their secrets. A
 * secret has to be kept as it is, for Signature V4 computes with it.
 *
 * All of it lives in the metadata store and is read from it on every use (callers.ts), so that a key removed or a policy changed
 * through one worker holds for all of them from then on. The root key is not a row: it comes from the environment or the
 * first drive's folder (root_key.ts) and cannot be removed. There are no well-known keys.
 *
 * A key is nobody's (it may do everything, as the root key may), an account's own, or a user's. A new user may do nothing.
 *
 * Roles have no keys. Who assumes one, and who asks for it, gets temporary credentials: a key, a secret and a token that says
 * whose they are and until when, sealed so that only this store can make and read it (session_token.ts). They have no rows.
 * The user or role is read on every use, so that they end with it, whatever their time.
 *
 * Known gaps: versions of managed policies.
 */
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { systemRandom, type Random } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import type { ReadAhead } from "../kv/read_ahead.ts";
import {
  alreadyExists,
  createKey,
  isAccessKey,
  listKeys,
  removeKey,
  switchKey,
  type KeyInfo,
  type NewKey,
} from "./access_keys.ts";
import { createAccountBook, type AccountBook } from "./account_book.ts";
import { Callers, type FoundKey } from "./callers.ts";
import { checkAccessKey, checkSecretKey } from "./credentials.ts";
import { SessionTokens } from "./session_token.ts";
import { beginSession, type BegunSession, type NewSession } from "./sessions.ts";
import { createDirectory, type Directory } from "./directory.ts";

export type { KeyInfo, NewKey } from "./access_keys.ts";

export type Credentials = { readonly accessKey: string; readonly secretKey: string };

export type Identity = {
  readonly rootAccessKey: string;
  /**
   * Whose the key is and what applies to it, the root's included; undefined where there is no such key. Temporary keys come with
   * their token, others without. `ahead`: rows that are read with those of the key, where any are. Errors: `invalid_token`,
   * `expired_token`.
   */
  find(accessKey: string, token?: string, ahead?: ReadAhead): Promise<FoundKey | undefined>;
  /** Errors: those of `createKey`. The only call that gives a secret back. */
  create(key: NewKey): Promise<KeyInfo & Credentials>;
  /** In the order of the access keys, without the root; fewer than `limit` means the end. */
  list(options: { readonly after?: string | undefined; readonly limit: number }): Promise<KeyInfo[]>;
  /** Errors: `no_such_access_key`; `invalid_argument` for the root key. */
  remove(accessKey: string): Promise<void>;
  /** Temporary credentials. Errors: those of `beginSession`. */
  begin(session: NewSession): Promise<BegunSession>;
  /** Errors: `no_such_access_key`. */
  switchKey(accessKey: string, isOn: boolean): Promise<void>;
  readonly directory: Directory;
  readonly accounts: AccountBook;
};

export type IdentityOptions = {
  readonly kv: Kv;
  readonly root: Credentials;
  readonly clock: Clock;
  readonly random?: Random;
};

export function createIdentity({ kv, root, clock, random = systemRandom }: IdentityOptions): Identity {
  checkAccessKey(root.accessKey);
  checkSecretKey(root.secretKey);
  const ctx = { kv, clock, random };
  const callers = new Callers(kv);
  const tokens = new SessionTokens(ctx);

  const findSession = async (accessKey: string, token: string, ahead?: ReadAhead): Promise<FoundKey | undefined> =>
    callers.find(accessKey, await tokens.open(accessKey, token), ahead);
  const foundRoot = Promise.resolve<FoundKey>({ secretKey: root.secretKey, access: "full" });
  const nobody = Promise.resolve(undefined);

  // Not async: every request passes here, and a promise around a promise is not for nothing.
  const find: Identity["find"] = (accessKey, token, ahead) => {
    if (token !== undefined) return findSession(accessKey, token, ahead);
    if (accessKey === root.accessKey) return foundRoot;
    // What could not have been created needs no look-up, and must not reach the store's key bounds.
    return isAccessKey(accessKey) ? callers.find(accessKey, undefined, ahead) : nobody;
  };

  const create = async (key: NewKey): Promise<KeyInfo & Credentials> => {
    if (key.accessKey === root.accessKey) throw alreadyExists(root.accessKey);
    return createKey(ctx, key);
  };

  const remove = async (accessKey: string): Promise<void> => {
    if (accessKey === root.accessKey) {
      throw new HoldfastError("invalid_argument", "The root key cannot be removed; it is set where the server starts.");
    }
    await removeKey(ctx, accessKey);
  };

  const list: Identity["list"] = (options) => listKeys(ctx, options);
  return {
    rootAccessKey: root.accessKey,
    find,
    create,
    list,
    remove,
    begin: (session) => beginSession(ctx, tokens, session),
    switchKey: (accessKey, isOn) => switchKey(ctx, accessKey, isOn),
    directory: createDirectory(ctx),
    accounts: createAccountBook(ctx),
  };
}

/**
 * Who an access key stands for and what policies apply to it, as one state of the store has it: key, user or role, groups and policies
 * are all read in one get. A temporary key has no row: its token says whose it is, and that one is read in the same way. Which rows
 * these are is remembered from the last time and only guessed by that: when the rows name others, those are read too, all of them
 * again, until one get had everything. So a change anywhere holds for the next request, and a key that is used again costs one read.
 *
 * What was made of the rows is remembered with their versions: where all of these are still the same, so is the answer, and nothing
 * is decoded or put together again. Nobody who changes a row has to think of it, for a row's version changes with every write.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { absent, type Entry, type Kv, type Version } from "../kv/kv.ts";
import type { ReadAhead } from "../kv/read_ahead.ts";
import { RowCache } from "../kv/row_cache.ts";
import { accessKeyKey, accountKey, namedKey, tags } from "../meta/keys.ts";
import type { Policies } from "../policy/evaluate.ts";
import { parsePolicy, type Policy } from "../policy/policy.ts";
import type { Caller } from "../policy/principals.ts";
import { builtinPolicies } from "./builtin_policies.ts";
import { decodeKeyRecord, type KeyOwner, type KeyRecord } from "./key_record.ts";
import { policyNameOf, roleArn, userArn } from "./names.ts";
import { decodeAccount, decodeGroup, decodePolicy, decodeRole, decodeUser, policyDocument } from "./records.ts";
import type { AccountRecord, GroupRecord, InlinePolicy, RoleRecord, Tag, UserRecord } from "./records.ts";
import type { OpenedSession, Session } from "./session_token.ts";

export type FoundKey = {
  readonly secretKey: string;
  /** `full`: of nobody, or the store's root key: everything is allowed, whatever a policy says. */
  readonly access:
    | "full"
    | {
        readonly caller: Caller;
        readonly policies: Policies;
        /** The store's own account, which all its buckets belong to. */
        readonly ownAccount: string;
      };
  /** Of temporary credentials. */
  readonly session?: Session | undefined;
};

/** Key, then user and account, then groups and policies, then the groups' policies; and once more where one of them changed. */
const roundsMax = 16;

type Owner = KeyOwner | Session["principal"];
type Asked = { readonly accessKey: string; readonly session: OpenedSession | undefined };
type OfAccount = Pick<AccountRecord, "account" | "canonicalId">;
/** Rows that a user's or role's row leads to, and managed policies. */
type Leads = { readonly rows: readonly Buffer[]; readonly managed: readonly string[] };
const noLeads: Leads = { rows: [], managed: [] };
type Bounded = { readonly managed: readonly string[]; readonly boundary: string | undefined };

type Whose = {
  readonly owner: Exclude<Owner, { kind: "none" }>;
  readonly of: OfAccount;
  readonly rows: Rows;
  readonly session: Session | undefined;
};

/** What was read in one get, by the rows' keys in hex; undefined: read, and not there. */
type Rows = ReadonlyMap<string, Entry | undefined>;
/** What was found, and the rows that said so. */
type Known = {
  readonly keys: readonly Buffer[];
  readonly versions: readonly Version[];
  readonly session: OpenedSession | undefined;
  readonly found: FoundKey;
};
type UserRow = { readonly user: UserRecord; readonly policies: readonly Policy[] };
type RoleRow = { readonly role: RoleRecord; readonly policies: readonly Policy[] };
type GroupRow = { readonly group: GroupRecord; readonly policies: readonly Policy[] };

export class Callers {
  readonly #kv: Kv;
  /** By access keys, the oldest first. */
  readonly #known = new Map<string, Known>();
  /** An account is made once and never changes or goes. The store's own stands here under no number, too. */
  readonly #accounts = new Map<string, AccountRecord>();
  readonly #users = new RowCache<UserRow>(userRow, limits.identityRowsKept);
  readonly #roles = new RowCache<RoleRow>(roleRow, limits.identityRowsKept);
  readonly #groups = new RowCache<GroupRow>(groupRow, limits.identityRowsKept);
  readonly #policies = new RowCache<Policy>(
    (value) => compiled(policyDocument(decodePolicy(value))),
    limits.identityRowsKept,
  );

  constructor(kv: Kv) {
    this.#kv = kv;
  }

  /**
   * `session` is what the token of a temporary key says. `ahead`: rows that the request will want, read with those of the key.
   * Errors: `slow_down` where the rows do not stand still.
   */
  async find(accessKey: string, session?: OpenedSession, ahead?: ReadAhead): Promise<FoundKey | undefined> {
    const known = this.#known.get(accessKey);
    const asked: Asked = { accessKey, session };
    let wanted: readonly Buffer[] = known?.keys ?? [accessKeyKey(accessKey)];
    for (let round = 0; round < roundsMax; round++) {
      const entries = await this.#kv.get(ahead === undefined ? wanted : [...wanted, ...ahead.keys]);
      // Behind the rows of the key; read anew in each round, so that they are of the state that the answer is of.
      ahead?.put(entries.slice(wanted.length));
      if (wanted === known?.keys && known.session === session && isAsKnown(known, entries)) return known.found;
      const rows: Rows = new Map(wanted.map((key, index) => [nameOf(key), entries[index]]));
      const needed = this.#needed(asked, rows);
      if (needed.every((key) => rows.has(nameOf(key)))) {
        const found = this.#made(asked, rows);
        this.#remember(asked, rows, found);
        return found;
      }
      wanted = needed;
    }
    throw new HoldfastError("slow_down", "The policies of this key keep changing; try again.");
  }

  #remember(asked: Asked, rows: Rows, found: FoundKey | undefined): void {
    const { accessKey, session } = asked;
    this.#known.delete(accessKey);
    if (found === undefined) return;
    // Fewer than were read, where an account was met for the first time.
    const keys = this.#needed(asked, rows);
    const versions = keys.map((key) => entryIn(rows, key)?.version ?? absent);
    this.#known.set(accessKey, { keys, versions, session, found });
    if (this.#known.size > limits.identityHintsKept) this.#known.delete(this.#known.keys().next().value!);
  }

  /** All rows that the rows read so far lead to. */
  #needed({ accessKey, session }: Asked, rows: Rows): Buffer[] {
    const needed = session === undefined ? [accessKeyKey(accessKey)] : [];
    const owner = session?.session.principal ?? keyIn(rows, accessKey)?.owner;
    if (owner === undefined || owner.kind === "none") return needed;
    const { account } = owner;
    for (const each of ["", account]) if (!this.#accounts.has(each)) needed.push(accountKey(each));
    const managed = new Set(session?.session.managed);
    const leads = owner.kind === "role" ? this.#ofRole(account, owner.role, rows) : undefined;
    const { rows: further, managed: held } = owner.kind === "user" ? this.#ofUser(owner, rows) : (leads ?? noLeads);
    needed.push(...further);
    for (const arn of held) managed.add(arn);
    for (const arn of managed) if (!builtinPolicies.has(arn)) needed.push(managedKey(account, arn));
    return needed;
  }

  #ofRole(account: string, name: string, rows: Rows): Leads {
    const key = namedKey(tags.role, account, name);
    const row = entryIn(rows, key);
    return { rows: [key], managed: row === undefined ? [] : managedOf(this.#roles.of(row).role) };
  }

  #ofUser({ account, user: name }: { readonly account: string; readonly user: string }, rows: Rows): Leads {
    const key = namedKey(tags.user, account, name);
    const row = entryIn(rows, key);
    if (row === undefined) return { rows: [key], managed: [] };
    const { user } = this.#users.of(row);
    const groupKeys = user.groups.map((group) => namedKey(tags.group, account, group));
    const managed = [...managedOf(user)];
    for (const groupKey of groupKeys) {
      const found = entryIn(rows, groupKey);
      if (found !== undefined) managed.push(...this.#groups.of(found).group.managed);
    }
    return { rows: [key, ...groupKeys], managed };
  }

  #made({ accessKey, session: opened }: Asked, rows: Rows): FoundKey | undefined {
    const session = opened?.session;
    const key = session ?? keyIn(rows, accessKey);
    if (key === undefined) return undefined;
    const owner = "principal" in key ? key.principal : key.owner;
    const { secretKey } = key;
    if (owner.kind === "none") return { secretKey, access: "full" };
    const ownAccount = this.#account("", rows).account;
    const { account, canonicalId } = this.#account(owner.account, rows);
    const whose = this.#whose({ owner, of: { account, canonicalId }, rows, session });
    if (whose === undefined) return undefined;
    const policies = { ...whose.policies, session: opened && this.#ofSession(opened, account, rows) };
    return { secretKey, access: { caller: whose.caller, policies, ownAccount }, session };
  }

  #account(number: string, rows: Rows): AccountRecord {
    const known = this.#accounts.get(number);
    if (known !== undefined) return known;
    const account = decodeAccount(rowIn(rows, accountKey(number)).value);
    this.#accounts.set(number, account);
    return account;
  }

  /** Undefined where the user or role of a session is another one by now, or none. */
  #whose({ owner, of, rows, session }: Whose): { readonly caller: Caller; readonly policies: Policies } | undefined {
    const { account } = of;
    if (owner.kind === "account") return { caller: { kind: "root", ...of }, policies: { identity: [] } };
    const key =
      owner.kind === "user" ? namedKey(tags.user, account, owner.user) : namedKey(tags.role, account, owner.role);
    if (session !== undefined && entryIn(rows, key) === undefined) return undefined;
    if (owner.kind === "role") {
      const { role, policies } = this.#roles.of(rowIn(rows, key));
      if (session === undefined || role.id !== owner.id) return undefined;
      return { caller: sessionOf(of, role, session), policies: this.#bounded({ account, ...role }, policies, rows) };
    }
    const { user, policies } = this.#users.of(rowIn(rows, key));
    if ("id" in owner && user.id !== owner.id) return undefined;
    const further: Policy[] = [...policies];
    for (const name of user.groups) {
      const { group, policies: ofGroup } = this.#groups.of(rowIn(rows, namedKey(tags.group, account, name)));
      further.push(...ofGroup, ...group.managed.map((arn) => this.#managed(account, arn, rows)));
    }
    return { caller: callerOf(of, user), policies: this.#bounded({ account, ...user }, further, rows) };
  }

  #bounded(
    { account, managed, boundary }: Bounded & { account: string },
    own: readonly Policy[],
    rows: Rows,
  ): Policies {
    const identity = [...own, ...managed.map((arn) => this.#managed(account, arn, rows))];
    return { identity, boundary: boundary === undefined ? undefined : this.#managed(account, boundary, rows) };
  }

  /** Nobody counts the sessions that name a policy: one that is no more allows nothing. */
  #ofSession({ session, policies }: OpenedSession, account: string, rows: Rows): readonly Policy[] | undefined {
    if (policies.length + session.managed.length === 0) return undefined;
    const there = session.managed.filter(
      (arn) => builtinPolicies.has(arn) || entryIn(rows, managedKey(account, arn)) !== undefined,
    );
    return [...policies, ...there.map((arn) => this.#managed(account, arn, rows))];
  }

  #managed(account: string, arn: string, rows: Rows): Policy {
    return builtinPolicies.get(arn)?.policy ?? this.#policies.of(rowIn(rows, managedKey(account, arn)));
  }
}

function callerOf({ account, canonicalId }: OfAccount, user: UserRecord): Caller {
  const { name, id } = user;
  const tagsOfUser = new Map(user.tags.map(({ key, value }) => [key, value]));
  return { kind: "user", arn: userArn(account, user), name, id, account, canonicalId, tags: tagsOfUser };
}

/** Tags that a session was begun with stand before the role's own. */
function sessionOf(of: OfAccount, role: RoleRecord, session: Session): Caller {
  const { name, issuedMs } = session;
  return {
    kind: "session",
    arn: `arn:aws:sts::${of.account}:assumed-role/${role.name}/${name}`,
    roleArn: roleArn(of.account, role),
    id: `${role.id}:${name}`,
    issuedMs,
    usedMfa: false,
    sourceIdentity: session.sourceIdentity,
    keys: session.keys,
    tags: tagsOfSession(role.tags, session.tags),
    ...of,
  };
}

/** Keys that differ by case only are one. */
function tagsOfSession(ofRole: readonly Tag[], given: readonly Tag[]): Map<string, string> {
  const keys = new Set(given.map(({ key }) => key.toLowerCase()));
  const kept = ofRole.filter(({ key }) => !keys.has(key.toLowerCase()));
  return new Map([...kept, ...given].map(({ key, value }) => [key, value]));
}

function managedOf({ managed, boundary }: Bounded): readonly string[] {
  return boundary === undefined ? managed : [...managed, boundary];
}

/** Behind the rows of the key there may be others. */
function isAsKnown({ versions }: Known, entries: readonly (Entry | undefined)[]): boolean {
  return versions.every((version, index) => version === (entries[index]?.version ?? absent));
}

function nameOf(key: Buffer): string {
  return key.toString("hex");
}

function entryIn(rows: Rows, key: Buffer): Entry | undefined {
  return rows.get(nameOf(key));
}

/** A row that others refer to and that is therefore never deleted. Without it nothing can be said of the key. */
function rowIn(rows: Rows, key: Buffer): Entry {
  const row = entryIn(rows, key);
  if (row === undefined) throw new HoldfastError("corrupt_record", "A row that an access key refers to is not there.");
  return row;
}

/** Undefined where it is switched off, too. */
function keyIn(rows: Rows, accessKey: string): KeyRecord | undefined {
  const row = entryIn(rows, accessKeyKey(accessKey));
  const key = row && decodeKeyRecord(row.value);
  return key?.isOff === true ? undefined : key;
}

function managedKey(account: string, arn: string): Buffer {
  const name = policyNameOf(account, arn);
  assert(name !== undefined, "an attached policy is built in or the account's own");
  return namedKey(tags.policy, account, name);
}

function userRow(value: Buffer): UserRow {
  const user = decodeUser(value);
  return { user, policies: compiledAll(user.inline) };
}

function roleRow(value: Buffer): RoleRow {
  const role = decodeRole(value);
  return { role, policies: compiledAll(role.inline) };
}

function groupRow(value: Buffer): GroupRow {
  const group = decodeGroup(value);
  return { group, policies: compiledAll(group.inline) };
}

function compiledAll(inline: readonly InlinePolicy[]): Policy[] {
  return inline.map(({ document }) => compiled(document));
}

/** A document that was taken once and is none any more is not a request's fault. */
function compiled(document: string): Policy {
  try {
    return parsePolicy(document, { use: "identity", bytesMax: limits.bucketPolicyBytesMax });
  } catch (cause) {
    throw new HoldfastError("corrupt_record", "A policy in the store cannot be read.", { cause });
  }
}

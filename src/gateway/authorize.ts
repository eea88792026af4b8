/**
 * Whether the caller may do what a request asks for: the request as questions to the access room.
 *
 * An operation needs the action of its row in operations.ts on its bucket or object, and what the request asks for besides:
 * reading the source of a copy, giving tags, an ACL or a retention (needs.ts). What is done to an object that is there is judged by
 * the very row that the operation goes on with (`admission`), for its owner, its ACL and its tags count, and so do the tags or the
 * lock that the request's document gives it; all else before anything is done. Whoever may not list a bucket is not told that a
 * key is not in it. DeleteObjects, CommitObjects and the rename of a prefix are judged key by key, by their handlers.
 *
 * Requests of keys that may do everything read nothing for it. All others read the row of the bucket once more than the
 * operation does, together with the rows of their key, and that of the upload which they add to (begun_upload.ts), and no document that was
 * read before.
 *
 * Known gaps: tags of buckets and the body of CreateBucket are not known here, so conditions on them have no value. Behind a
 * proxy `aws:SourceIp` is the proxy. The caller's policies and what the bucket says are of one state of the store; but what a copy's
 * source says, the bucket of a form, or one whose documents change while they are read, may be of a later one within the request.
 */
import type { IncomingHttpHeaders } from "node:http";
import { TLSSocket } from "node:tls";
import { decide, type BucketRules, type Question } from "../access/access.ts";
import { hasReason, type HoldfastError } from "../core/errors.ts";
import type { Admit, ObjectInfo, ObjectLock, Objects, ObjectTags, StartedUpload } from "../object/object.ts";
import type { Policies, Verdict } from "../policy/evaluate.ts";
import type { Caller } from "../policy/principals.ts";
import { laterKeys, type LockFacts, type RequestFacts } from "../policy/request_keys.ts";
import { headersOfUpload } from "./begun_upload.ts";
import { parseAmzDate } from "./canonical.ts";
import { copySource } from "./copy_source.ts";
import { lockAskedAnyhow } from "./documents/object_lock.ts";
import { taggingHeader } from "./documents/tagging.ts";
import { S3Error } from "./errors.ts";
import {
  actionOn,
  arnOf,
  bucketsOf,
  keepsSourceTags,
  needsOf,
  type Asked,
  type Needs,
  type Permission,
} from "./needs.ts";
import { operations } from "./operations.ts";
import { renameSource } from "./rename_source.ts";
import type { Query } from "./route.ts";
import { isOfPart } from "./said.ts";
import { knownRules, readRules, type ReadAhead, type ReadRules, type RulesSource } from "./rules.ts";

/** What applies to a key. `full`: it may do everything, whatever a policy says. */
export type Access = "full" | { readonly caller: Caller; readonly policies: Policies };

export const anonymousAccess: Access = { caller: { kind: "anonymous" }, policies: { identity: [] } };

export type AuthorityParts = {
  readonly access: Access;
  readonly peer: { readonly remoteAddress: string | undefined; readonly connection: object };
  readonly asked: Asked;
  /** That the request adds to. */
  readonly upload?: StartedUpload | undefined;
  /** How it was signed, where that does not show in the request itself. */
  readonly authType?: "POST" | undefined;
  readonly nowMs: number;
  readonly region: string;
};

/** Whose request it is, and what that one may do with the buckets that it names. */
export class Authority {
  readonly #asking: (Exclude<Access, "full"> & { readonly facts: () => ReturnType<typeof factsOf> }) | undefined;
  readonly #rules: Map<string, ReadRules>;
  #isByAcl = false;

  constructor(parts: AuthorityParts, rules: ReadonlyMap<string, ReadRules>) {
    const { access } = parts;
    this.#asking = access === "full" ? undefined : { ...access, facts: laterFacts(parts) };
    this.#rules = new Map(rules);
  }

  /** Undefined: one who may do everything. */
  get caller(): Caller | undefined {
    return this.#asking?.caller;
  }

  /** Something was allowed by an access control list and nothing else. */
  get isByAcl(): boolean {
    return this.#isByAcl;
  }

  /** What the bucket says; undefined where it was not read. */
  rules(bucket: string): ReadRules | undefined {
    return this.#rules.get(bucket);
  }

  /** Of a bucket whose rules were read for another reason than to judge the caller: it counts from now on. */
  note(bucket: string, rules: ReadRules): void {
    this.#rules.set(bucket, rules);
  }

  /**
   * For what is done from now on: it is done to the buckets that let the caller in, and not to what stands by their names later, when
   * the body of the request has come, say.
   */
  judged(objects: Objects): Objects {
    if (this.#rules.size === 0) return objects;
    return objects.judgedBy(new Map([...this.#rules].map(([name, { id }]) => [name, id])));
  }

  /** `found`: the object that is there, for what is done to that. */
  allows(permission: Permission, found?: Found): boolean {
    const verdict = this.#verdict(permission, found);
    return verdict === undefined || verdict.outcome === "allow";
  }

  /** Says no, and not only nothing. */
  denies(permission: Permission, found?: Found): boolean {
    return this.#verdict(permission, found)?.outcome === "explicit_deny";
  }

  /** Throws AccessDenied. */
  require(permission: Permission, found?: Found): void {
    const verdict = this.#verdict(permission, found);
    if (this.caller !== undefined && verdict !== undefined && verdict.outcome !== "allow")
      throw denied(this.caller, permission, verdict);
  }

  /** Undefined: nothing is asked of this caller. */
  #verdict(permission: Permission, found: Found | undefined): Verdict | undefined {
    const { action, resource, bucket: name } = permission;
    if (this.#asking === undefined) return undefined;
    const { caller, policies, facts } = this.#asking;
    const bucket = (name === undefined ? undefined : this.#rules.get(name)) ?? ownRules(caller);
    const keys = laterKeys(() => {
      const known = facts();
      const there = found && factsOfFound(found);
      const asked = { ...known, ...saidBy(permission, known), ...there };
      return { ...asked, caller, resourceAccount: bucket.account, action };
    });
    const object: Question["object"] = found?.info && (found.info.acl ?? "default");
    const verdict = decide({ caller, policies, action, resource, keys, bucket, object });
    // What no statement allows is allowed by a list, or to the root of the account that owns it.
    if (verdict.outcome === "allow" && verdict.by === undefined && !isRootOfOwner(caller, bucket, object))
      this.#isByAcl = true;
    return verdict;
  }
}

/** What a part of the request is asked for, where the permission is about one. */
function saidBy({ prefix, said }: Permission, { headers }: Pick<RequestFacts, "headers">): Partial<RequestFacts> {
  if (said === undefined) return prefix === undefined ? {} : { query: new Map([["prefix", prefix]]) };
  const { versionId } = said;
  return {
    query: new Map(versionId === undefined ? [] : [["versionId", versionId]]),
    headers: { get: (name) => (isOfPart(name) ? said.headers.get(name) : headers.get(name)) },
  };
}

function isRootOfOwner(caller: Caller, { owner }: BucketRules, object: Question["object"]): boolean {
  if (caller.kind !== "root") return false;
  return caller.canonicalId === (object === undefined || object === "default" ? owner : object.owner);
}

/** What a request gives to the object that is there, where its headers don't say so. */
export type Given = { readonly tags?: ObjectTags; readonly lock?: ObjectLock };

/** `info`: undefined for what is done whatever is there. */
export type Found = { readonly info?: Pick<ObjectInfo, "acl" | "tags"> } & Given;

function factsOfFound({ info, tags, lock }: Found): Pick<RequestFacts, "objectTags" | "requestTags" | "lock"> {
  return {
    ...(info && { objectTags: info.tags }),
    ...(tags && { requestTags: tags }),
    ...(lock && { lock: lockOf(lock) }),
  };
}

/** Of what has no bucket, or none yet: it belongs to whoever asks. */
function ownRules(caller: Caller): BucketRules {
  const whose = "account" in caller ? caller : { account: "", canonicalId: "" };
  const nothing = { policy: undefined, acl: undefined, ownership: undefined, block: undefined };
  return { account: whose.account, owner: whose.canonicalId, ...nothing };
}

/**
 * Reads what the buckets of the request say, where it is asked. `ahead`: of the bucket that the request names. Errors:
 * `no_such_bucket`.
 */
export async function authorityOf(parts: AuthorityParts, source: RulesSource, ahead?: ReadAhead): Promise<Authority> {
  const rules = new Map<string, ReadRules>();
  const { access, asked } = parts;
  if (access !== "full")
    for (const name of bucketsOf(asked)) {
      const rows = name === asked.bucket ? ahead : undefined;
      rules.set(name, knownRules(source.objects, name, rows) ?? (await readRules(source, name, rows)));
    }
  return new Authority(parts, rules);
}

const createsObject: Readonly<Record<string, boolean>> = {
  PutObject: true,
  PostObject: true,
  CopyObject: true,
  CompleteMultipartUpload: true,
  RenameObject: true,
  CommitObjects: true,
  CreateMultipartUpload: false,
  UploadPart: false,
  UploadPartCopy: false,
};

/**
 * Found out once, when a condition first asks: most policies have none. What the connection says is asked at once, for it says no
 * more when the client has left.
 */
function laterFacts(parts: AuthorityParts): () => ReturnType<typeof factsOf> {
  const { connection } = parts.peer;
  const protocol = connection instanceof TLSSocket ? (connection.getProtocol() ?? "") : undefined;
  let facts: ReturnType<typeof factsOf> | undefined;
  return () => (facts ??= factsOf(parts, protocol));
}

/** `protocol`: of TLS, where the request came by it; empty where that is not known any more. */
function factsOf({ peer, asked, upload, authType, nowMs, region }: AuthorityParts, protocol: string | undefined) {
  const { headers, query, operation } = asked;
  const begun = upload && headersOfUpload(upload);
  return {
    nowMs,
    region,
    sourceIp: peer.remoteAddress,
    isSecure: protocol !== undefined,
    tlsVersion: protocol === "" ? undefined : protocol?.replace(/^TLSv/, ""),
    headers: {
      get: (name: string) => {
        if (ofCopies.has(name) && operations[operation].copy !== true) return undefined;
        return begun?.has(name) === true ? begun.get(name) : headerText(headers, name);
      },
    },
    query,
    signature: signatureOf(headers, query, { authType, nowMs }),
    createsObject: createsObject[operation],
    requestTags: tagsGiven(asked),
    lock: lockOf(lockAskedAnyhow(headers)),
  } satisfies Omit<RequestFacts, "action" | "caller" | "resourceAccount">;
}

/** Where nothing is copied they say nothing, whoever sends them. */
const ofCopies: ReadonlySet<string> = new Set(["x-amz-copy-source", "x-amz-metadata-directive"]);

function signatureOf(
  headers: IncomingHttpHeaders,
  query: Query,
  { authType, nowMs }: Pick<AuthorityParts, "authType" | "nowMs">,
): RequestFacts["signature"] {
  const isPresigned = query.has("X-Amz-Signature");
  if (authType === undefined && !isPresigned && headers.authorization === undefined) return undefined;
  // The time that was signed for: in a request that is signed in its header a parameter of that name says nothing.
  const signedAt = parseAmzDate(String((isPresigned ? query.get("X-Amz-Date") : headers["x-amz-date"]) ?? ""));
  const ageMs = Math.max(0, nowMs - (signedAt ?? nowMs));
  return { authType: authType ?? (isPresigned ? "REST-QUERY-STRING" : "REST-HEADER"), ageMs };
}

function lockOf({ retention, legalHold }: ObjectLock): LockFacts {
  const hold = legalHold === undefined ? undefined : legalHold ? "ON" : "OFF";
  return { mode: retention?.mode, retainUntilMs: retention?.untilMs, legalHold: hold };
}

function headerText(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return typeof value === "string" ? value : value?.join(",");
}

/** As they will be stored. What is wrong with them is refused when the request is run. */
function tagsGiven({ operation, headers }: Asked): ObjectTags | undefined {
  if (operation === "CopyObject" && keepsSourceTags(headers)) return undefined;
  try {
    return taggingHeader(headers["x-amz-tagging"]);
  } catch (error) {
    if (error instanceof S3Error) return undefined;
    throw error;
  }
}

/** Throws AccessDenied where the caller lacks anything that the request needs before it is run. */
export function authorize(authority: Authority, asked: Asked): void {
  if (authority.caller === undefined) return;
  for (const permission of needsOf(asked).first) authority.require(permission);
}

/**
 * Judges the objects that a request finds. Every request that reads what is there must have it judged: `isDone` says so.
 */
export class Admission {
  readonly #authority: Authority;
  readonly #left: Set<"target" | "source">;
  readonly #afterwards: Admit | undefined;
  readonly #needs: ReturnType<typeof needsOf> | undefined;

  /** `afterwards`: called with what was found and may be. */
  constructor(authority: Authority, asked: Asked, afterwards?: Admit) {
    this.#authority = authority;
    this.#afterwards = afterwards;
    this.#needs = authority.caller === undefined ? undefined : needsOf(asked);
    this.#left = new Set();
    if ((this.#needs?.onTarget.length ?? 0) > 0) this.#left.add("target");
    if ((this.#needs?.onSource.length ?? 0) > 0) this.#left.add("source");
  }

  /** Nothing that must be judged was left out. */
  get isDone(): boolean {
    return this.#left.size === 0;
  }

  /** For the options of a call of the object layer. `given`: what the request's body gives. */
  of(which: "target" | "source", given: Given = {}): { readonly admit?: Admit } {
    const needs = which === "target" ? this.#needs?.onTarget : this.#needs?.onSource;
    if (needs === undefined || needs.length === 0) return {};
    return {
      admit: (info) => {
        this.#left.delete(which);
        for (const permission of needs) this.#authority.require(permission, { info, ...given });
        if (which === "source") requireCopiedTags(this.#authority, this.#needs?.tagsOfSource, info);
        this.#afterwards?.(info);
      },
    };
  }
}

/** Where the source of a copy has tags that the copy takes. Throws AccessDenied. */
export function requireCopiedTags(authority: Authority, needs: Needs["tagsOfSource"], info: Found["info"]): void {
  const tags = info?.tags;
  if (needs === undefined || info === undefined || tags === undefined || tags.size === 0) return;
  authority.require(needs.read, { info });
  authority.require(needs.give, { tags });
}

/** What the caller may see of an object's lock. */
export function visibleLock(authority: Authority, { bucket, key }: Asked, info: ObjectInfo): ObjectLock {
  const { retention, legalHold } = info.lock;
  const allows = (action: string): boolean =>
    authority.allows({ action, resource: arnOf(bucket, key), bucket }, { info });
  return {
    retention: retention && allows("s3:GetObjectRetention") ? retention : undefined,
    legalHold: legalHold !== undefined && allows("s3:GetObjectLegalHold") ? legalHold : undefined,
  };
}

/** Whether the caller may know how many tags an object has. */
export function maySeeTags(authority: Authority, { bucket, key, query }: Asked, info: ObjectInfo): boolean {
  const action = actionOn("s3:GetObjectTagging", query.get("versionId"));
  return authority.allows({ action, resource: arnOf(bucket, key), bucket }, { info });
}

/** The error as somebody may see it who may not list the bucket: there is nothing there for them. */
export function shownTo(authority: Authority, asked: Asked, error: unknown): unknown {
  // First of all: the names in a request that failed may be none.
  if (authority.caller === undefined || !isMissing(error) || operations[asked.operation].level !== "object")
    return error;
  const needs = needsOf(asked);
  return shownMissing(authority, error, {
    needs,
    bucket: needs.onSource[0]?.bucket ?? asked.bucket,
    keys: keysOf(asked),
  });
}

/** That may be what is missing. */
function keysOf(asked: Asked): readonly Buffer[] {
  if (asked.operation === "RenameObject") return [renameSource(asked), asked.key];
  return [operations[asked.operation].copy === true ? copySource(asked.headers).key : asked.key];
}

function isMissing(error: unknown): error is HoldfastError {
  return hasReason(error, "no_such_key", "no_such_version", "is_delete_marker");
}

/** shownTo, of one thing that was asked for. `keys`: one of them is what is missing. */
export function shownMissing(
  authority: Authority,
  error: unknown,
  { needs, bucket, keys }: { readonly needs: Needs; readonly bucket: string; readonly keys: readonly Buffer[] },
): unknown {
  if (authority.caller === undefined || !isMissing(error)) return error;
  const wanted = [...needs.onTarget, ...needs.onSource];
  const action = error.reason === "no_such_key" ? "s3:ListBucket" : "s3:ListBucketVersions";
  const isDenied = wanted.some((permission) => authority.denies(permission));
  const resource = arnOf(bucket);
  const mayList = keys.every((key) => authority.allows({ action, resource, bucket, prefix: key.toString() }));
  const mayRead = error.reason !== "no_such_key" && wanted.every((permission) => authority.allows(permission));
  if (!isDenied && (mayList || (mayRead && wanted.length > 0))) return error;
  return new S3Error("AccessDenied", "Access Denied", { cause: error });
}

/** In AWS's words, which name the kind of policy and not what stands in it. */
function denied(
  caller: Caller,
  { action, resource }: Permission,
  verdict: Exclude<Verdict, { outcome: "allow" }>,
): S3Error {
  // Who is nobody is told nothing.
  if (caller.kind === "anonymous") return new S3Error("AccessDenied", "Access Denied");
  const who = "arn" in caller ? caller.arn : "account" in caller ? `arn:aws:iam::${caller.account}:root` : caller.kind;
  const kinds = { identity: "identity-based policy", boundary: "permissions boundary", session: "session policy" };
  const names = { ...kinds, resource: "resource-based policy" } as const;
  const why =
    verdict.outcome === "explicit_deny"
      ? `with an explicit deny in a ${names[verdict.by.kind]}`
      : `because no ${names[verdict.missing]} allows the ${action} action`;
  const message = `User: ${who} is not authorized to perform: ${action} on resource: "${resource}" ${why}`;
  return new S3Error("AccessDenied", message.replace("in a identity", "in an identity"));
}

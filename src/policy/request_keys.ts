/**
 * What a request to S3 brings to conditions and variables: the condition keys that AWS documents, each found out only when a
 * policy asks for it. A key that a request does not have has no value; what that means is the operator's to say.
 *
 * Known gaps: keys about VPCs, organizations, calling services and access points never have a value.
 *
 * Sources: "AWS global condition context keys" of the IAM User Guide; "Condition keys for Amazon S3" of the Service
 * Authorization Reference.
 */
import { limits } from "../core/limits.ts";
import { actionsOfKey } from "./actions.ts";
import type { ConditionKeys, KeyValue } from "./condition_values.ts";
import type { Caller, Tags } from "./principals.ts";

export type RequestFacts = {
  readonly caller: Caller;
  /** What a service acts for: the resource's ARN and its account. */
  readonly source?: { readonly arn: string; readonly account: string } | undefined;
  /** `s3:GetObject`: keys that an action does not know have no value for it. */
  readonly action: string;
  readonly resourceAccount: string;
  readonly nowMs: number;
  readonly sourceIp: string | undefined;
  readonly isSecure: boolean;
  /** `1.2`, `1.3`; undefined without TLS. */
  readonly tlsVersion: string | undefined;
  readonly region: string;
  /** By their names in lower case, as the client sent them. */
  readonly headers: ReadonlyMap<string, string> | { get(name: string): string | undefined };
  readonly query: { get(name: string): string | undefined };
  /** How the request was signed; undefined when it was not. */
  readonly signature:
    { readonly authType: "REST-HEADER" | "REST-QUERY-STRING" | "POST"; readonly ageMs: number } | undefined;
  readonly locationConstraint?: string | undefined;
  /** Of an `s3:PutObject`: an object is there afterwards, which a part alone is not. */
  readonly createsObject?: boolean | undefined;
  /** That the request gives to an object or a bucket. */
  readonly requestTags?: Tags | undefined;
  /** That stand there already, of the object and of the bucket. Undefined: not read, since no policy asks for them. */
  readonly objectTags?: Tags | undefined;
  readonly bucketTags?: Tags | undefined;
  /** Retention and legal hold that the request asks for. */
  readonly lock?: LockFacts | undefined;
};

export type LockFacts = {
  readonly mode?: string | undefined;
  readonly retainUntilMs?: number | undefined;
  readonly legalHold?: string | undefined;
};

export function requestKeys(facts: RequestFacts): ConditionKeys {
  const action = facts.action.replace(/^s3:/i, "").toLowerCase();
  const known = new Map<string, KeyValue>();
  const ofSession = facts.caller.kind === "session" ? facts.caller.keys : undefined;
  const find = (name: string): KeyValue => {
    if (ofSession?.has(name) === true) return ofSession.get(name);
    const actions = actionsOfKey(name);
    if (actions === undefined || (actions !== "all" && !actions.has(action))) return undefined;
    const slash = name.indexOf("/");
    if (slash >= 0) return tagValue(facts, name.slice(0, slash), name.slice(slash + 1));
    const ofRequest = single[name];
    return ofRequest === undefined ? headerValue(facts, name) : ofRequest(facts);
  };
  return {
    get: (name) => {
      if (!known.has(name)) known.set(name, find(name));
      return known.get(name);
    },
  };
}

/** The same, of facts that are put together only when a condition or a variable first asks for one. */
export function laterKeys(facts: () => RequestFacts): ConditionKeys {
  let keys: ConditionKeys | undefined;
  return { get: (name) => (keys ??= requestKeys(facts())).get(name) };
}

type Find = (facts: RequestFacts) => KeyValue;

const single: Readonly<Record<string, Find>> = {
  "aws:currenttime": ({ nowMs }) => new Date(nowMs).toISOString(),
  "aws:epochtime": ({ nowMs }) => String(Math.floor(nowMs / 1_000)),
  "aws:securetransport": ({ isSecure }) => String(isSecure),
  "aws:sourceip": ({ sourceIp }) => sourceIp,
  "aws:useragent": ({ headers }) => headers.get("user-agent"),
  "aws:referer": ({ headers }) => headers.get("referer"),
  "aws:requestedregion": ({ region }) => region,
  "aws:resourceaccount": ({ resourceAccount }) => resourceAccount,
  "aws:tagkeys": ({ requestTags }) => requestTags && [...requestTags.keys()],
  "aws:principalarn": ({ caller }) => principalArn(caller),
  "aws:principalaccount": ({ caller }) => ("account" in caller ? caller.account : anonymousOnly(caller)),
  "aws:principaltype": ({ caller }) => principalTypes[caller.kind],
  "aws:principalisawsservice": ({ caller }) => String(caller.kind === "service"),
  "aws:principalservicename": ({ caller }) => (caller.kind === "service" ? caller.name : undefined),
  "aws:sourcearn": ({ source }) => source?.arn,
  "aws:sourceaccount": ({ source }) => source?.account,
  "aws:viaawsservice": () => "false",
  "aws:userid": ({ caller }) => userId(caller),
  "aws:username": ({ caller }) => (caller.kind === "user" ? caller.name : undefined),
  "aws:tokenissuetime": ({ caller }) =>
    caller.kind === "session" ? new Date(caller.issuedMs).toISOString() : undefined,
  "aws:multifactorauthpresent": ({ caller }) => (caller.kind === "session" ? String(caller.usedMfa) : undefined),
  "aws:sourceidentity": ({ caller }) => (caller.kind === "session" ? caller.sourceIdentity : undefined),
  "s3:resourceaccount": ({ resourceAccount }) => resourceAccount,
  "s3:tlsversion": ({ tlsVersion }) => tlsVersion,
  "s3:authtype": ({ signature }) => signature?.authType,
  "s3:signatureage": ({ signature }) => signature && String(signature.ageMs),
  "s3:signatureversion": ({ signature }) => signature && "AWS4-HMAC-SHA256",
  "s3:prefix": ({ query }) => query.get("prefix"),
  "s3:delimiter": ({ query }) => query.get("delimiter"),
  "s3:max-keys": ({ query }) => query.get("max-keys") ?? String(limits.listPageKeysMax),
  "s3:versionid": ({ query }) => query.get("versionId"),
  "s3:locationconstraint": ({ locationConstraint }) => locationConstraint,
  "s3:requestobjecttagkeys": ({ requestTags }) => requestTags && [...requestTags.keys()],
  "s3:objectcreationoperation": ({ createsObject }) =>
    createsObject === undefined ? undefined : String(createsObject),
  "s3:object-lock-mode": ({ lock }) => lock?.mode,
  "s3:object-lock-legal-hold": ({ lock }) => lock?.legalHold,
  "s3:object-lock-retain-until-date": ({ lock }) =>
    lock?.retainUntilMs === undefined ? undefined : new Date(lock.retainUntilMs).toISOString(),
  "s3:object-lock-remaining-retention-days": ({ lock, nowMs }) =>
    lock?.retainUntilMs === undefined ? undefined : String(Math.ceil((lock.retainUntilMs - nowMs) / 86_400_000)),
  "s3:x-amz-copy-source": ({ headers }) => copySource(headers.get("x-amz-copy-source")),
};

/** Keys that are named like the header they come from. */
function headerValue({ headers }: RequestFacts, name: string): KeyValue {
  return /^s3:(?:x-amz-|if-)/.test(name) ? headers.get(name.slice("s3:".length)) : undefined;
}

const principalTypes: Readonly<Record<Caller["kind"], string>> = {
  anonymous: "Anonymous",
  root: "Account",
  user: "User",
  session: "AssumedRole",
  federated: "FederatedUser",
  service: "Service",
};

function anonymousOnly({ kind }: Caller): string | undefined {
  return kind === "anonymous" ? "anonymous" : undefined;
}

/** A session's is its role. */
function principalArn(caller: Caller): string | undefined {
  if (caller.kind === "root") return `arn:aws:iam::${caller.account}:root`;
  if (caller.kind === "session") return caller.roleArn;
  return caller.kind === "user" ? caller.arn : undefined;
}

function userId(caller: Caller): string | undefined {
  if (caller.kind === "root") return caller.account;
  return caller.kind === "user" || caller.kind === "session" ? caller.id : undefined;
}

/** `bucket/key`, decoded, without the slash that may begin it, however that is written. Header bytes are latin1 in node. */
function copySource(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const text = Buffer.from(header.replace(/^(\/|%2F)/i, ""), "latin1").toString();
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function tagValue({ caller, requestTags, objectTags, bucketTags }: RequestFacts, name: string, key: string): KeyValue {
  switch (name) {
    case "aws:principaltag":
      return "tags" in caller ? ignoringCase(caller.tags, key) : undefined;
    case "aws:requesttag":
      return ignoringCase(requestTags, key);
    case "aws:resourcetag":
      return ignoringCase(bucketTags, key);
    case "s3:buckettag":
      return bucketTags?.get(key);
    case "s3:existingobjecttag":
      return objectTags?.get(key);
    case "s3:requestobjecttag":
      return requestTags?.get(key);
    default:
      return undefined;
  }
}

/** Keys of IAM's tags are the same however they are capitalized; of two that differ by it neither is taken. */
function ignoringCase(tags: Tags | undefined, lowerKey: string): string | undefined {
  const found = [...(tags ?? [])].filter(([key]) => key.toLowerCase() === lowerKey);
  return found.length === 1 ? found[0]![1] : undefined;
}

/**
 * What a request needs to be allowed, as actions of AWS on resources: of its operation, and of what it asks for besides.
 * Source: "Required permissions for Amazon S3 API operations" of the S3 User Guide.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { CommitEntry } from "../object/commit_types.ts";
import type { WriteConditions } from "../object/object.ts";
import { s3Actions } from "../policy/actions.ts";
import { copySource } from "./copy_source.ts";
import { bypassesGovernance } from "./documents/object_lock.ts";
import { operations, type Operation } from "./operations.ts";
import { isPrefixRename, renameSource } from "./rename_source.ts";
import type { Query } from "./route.ts";
import { said, saidConditions, saidInRename, saidOfRename, saidOfWrite, type Said, type SaidOfRename } from "./said.ts";

/** `bucket`: whose rules count; undefined for what has none. */
export type Permission = {
  readonly action: string;
  readonly resource: string;
  readonly bucket: string | undefined;
  /** Of a listing that nobody asked for by that name: the key whose absence it would show. */
  readonly prefix?: string;
  /** Of a part of the request: that counts in the place of the request's headers and query. */
  readonly said?: Said;
};

/** A request as far as it matters here. */
export type Asked = {
  readonly operation: Operation;
  readonly bucket: string;
  readonly key: Buffer;
  readonly query: Query;
  readonly headers: IncomingHttpHeaders;
};

export type Needs = {
  /** Judged before anything is done. */
  readonly first: readonly Permission[];
  /** Judged by the object that is there: the one that the request names, and the source of a copy. */
  readonly onTarget: readonly Permission[];
  readonly onSource: readonly Permission[];
  /** Of a copy that takes the tags of its source, where that has any: to read them there, and to give them to the copy. */
  readonly tagsOfSource?: { readonly read: Permission; readonly give: Permission };
};

const none: Needs = { first: [], onTarget: [], onSource: [] };

export function arnOf(bucket: string, key?: Uint8Array): string {
  if (key === undefined) return `arn:aws:s3:::${bucket}`;
  return `arn:aws:s3:::${bucket}/${Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString()}`;
}

/** The buckets whose rules the request needs. One that is to be made has none yet. */
export function bucketsOf({ operation, bucket, headers }: Asked): ReadonlySet<string> {
  const { level, copy } = operations[operation];
  if (level === "service" || operation === "CreateBucket") return new Set();
  return new Set(copy === true ? [bucket, copySource(headers).bucket] : [bucket]);
}

/** The action on a version that is named, where there is another one. */
export function actionOn(action: string, versionId: string | undefined): string {
  const versioned = action.replace("Object", "ObjectVersion");
  return versionId !== undefined && s3Actions.has(versioned.slice("s3:".length).toLowerCase()) ? versioned : action;
}

export function needsOf(asked: Asked): Needs {
  const { operation, bucket, key, query, headers } = asked;
  const { level, action, copy, judgedBy } = operations[operation];
  // Each key is another question: see needsOfDelete and needsOfEntry.
  if (operation === "DeleteObjects" || operation === "CommitObjects") return none;
  if (operation === "RenameObject") return ofRename(asked);
  // All buckets of an account have no ARN of their own.
  if (level === "service") return { ...none, first: [{ action, resource: arnOf("*"), bucket: undefined }] };
  const isOfKey = level === "object" || operation === "PostObject";
  const resource = isOfKey ? arnOf(bucket, key) : arnOf(bucket);
  const versionId = query.get("versionId");
  const actions = [actionOn(action, versionId), ...furtherActions(asked, versionId)];
  const needed = actions.map((each): Permission => ({ action: each, resource, bucket }));
  if (judgedBy === "object") return { ...none, onTarget: needed };
  if (copy !== true) return { ...none, first: needed };
  const source = copySource(headers);
  const isTagged = operation === "CopyObject" && keepsSourceTags(headers);
  return {
    ...none,
    first: needed,
    onSource: [ofSource("s3:GetObject", source)],
    ...(isTagged && { tagsOfSource: tagsOf(source, { bucket, key }) }),
  };
}

/** Whether a copy has its source's tags, or those that its request brings, if any. */
export function keepsSourceTags(headers: IncomingHttpHeaders): boolean {
  return headers["x-amz-tagging-directive"] !== "REPLACE";
}

type Place = { readonly bucket: string; readonly key: Uint8Array };
type Source = Place & { readonly versionId?: string };

function ofSource(action: string, { bucket, key, versionId }: Source): Permission {
  const resource = arnOf(bucket, key);
  return { action: actionOn(action, versionId), resource, bucket, said: said([], versionId) };
}

function tagsOf(source: Source, { bucket, key }: Place): NonNullable<Needs["tagsOfSource"]> {
  const give = { action: "s3:PutObjectTagging", resource: arnOf(bucket, key), bucket, said: said([]) };
  return { read: ofSource("s3:GetObjectTagging", source), give };
}

function ofRename(asked: Asked): Needs {
  const { bucket, key } = asked;
  const source = renameSource(asked);
  if (!isPrefixRename(asked)) return needsOfRename(bucket, { from: source, to: key }, saidInRename(asked.headers));
  // Its keys are judged as they are found, by the handler.
  const prefix = source.toString();
  return { ...none, first: [{ action: "s3:ListBucket", resource: arnOf(bucket), bucket, prefix }] };
}

/** The new key is written and the old one deleted, whatever stands there; what is renamed is read. */
export function needsOfRename(
  bucket: string,
  { from, to }: { readonly from: Uint8Array; readonly to: Uint8Array },
  { write, remove }: SaidOfRename,
): Needs {
  const first = [
    { action: "s3:PutObject", resource: arnOf(bucket, to), bucket, said: write },
    { action: "s3:DeleteObject", resource: arnOf(bucket, from), bucket, said: remove },
  ];
  return { ...none, first, onSource: [ofSource("s3:GetObject", { bucket, key: from })] };
}

/** One entry of a commit: what its parts need by themselves. */
export function needsOfEntry(asked: Asked, entry: CommitEntry): Needs {
  const { bucket } = asked;
  const { kind, key } = entry;
  const resource = arnOf(bucket, key);
  if (kind === "check") return { ...none, onTarget: [ofSource("s3:GetObject", { bucket, key })] };
  if (kind === "delete") return { ...none, first: needsOfDelete(asked, entry) };
  if (kind === "rename") return needsOfRename(bucket, { from: entry.source.key, to: key }, saidOfRename(entry));
  const actions = ["s3:PutObject", ...(entry.tags === undefined ? [] : ["s3:PutObjectTagging"])];
  const own = saidOfWrite(bucket, entry);
  const first = actions.map((action): Permission => ({ action, resource, bucket, said: own }));
  if (kind === "put") return { ...none, first };
  const source = { ...entry.source, bucket };
  const tagsOfSource = entry.tags === undefined ? tagsOf(source, { bucket, key }) : undefined;
  return { ...none, first, onSource: [ofSource("s3:GetObject", source)], ...(tagsOfSource && { tagsOfSource }) };
}

type Deletion = {
  readonly key: Uint8Array;
  readonly versionId?: string | undefined;
  readonly conditions?: WriteConditions | undefined;
};

/** One object of a DeleteObjects, or of a commit. */
export function needsOfDelete({ bucket, headers }: Asked, { key, versionId, conditions }: Deletion): Permission[] {
  const resource = arnOf(bucket, key);
  const own = said(saidConditions(conditions), versionId);
  const actions = [actionOn("s3:DeleteObject", versionId), ...bypasses(headers)];
  return actions.map((action) => ({ action, resource, bucket, said: own }));
}

function furtherActions({ operation, headers }: Asked, versionId: string | undefined): string[] {
  switch (operation) {
    case "GetObjectAttributes":
      return [actionOn("s3:GetObject", versionId)];
    case "PutObject":
    case "PostObject":
    case "CopyObject":
    case "CreateMultipartUpload":
      return givenWith(headers, objectGifts);
    case "CreateBucket":
      return givenWith(headers, bucketGifts);
    case "DeleteObject":
    case "PutObjectRetention":
      return bypasses(headers);
    default:
      return [];
  }
}

/** Headers (or beginnings of names) that ask for more than the bytes of an object. */
const objectGifts = [
  ["x-amz-tagging", "s3:PutObjectTagging"],
  ["x-amz-acl", "s3:PutObjectAcl"],
  ["x-amz-grant-", "s3:PutObjectAcl"],
  ["x-amz-object-lock-mode", "s3:PutObjectRetention"],
  ["x-amz-object-lock-retain-until-date", "s3:PutObjectRetention"],
  ["x-amz-object-lock-legal-hold", "s3:PutObjectLegalHold"],
] as const;

const bucketGifts = [
  ["x-amz-acl", "s3:PutBucketAcl"],
  ["x-amz-grant-", "s3:PutBucketAcl"],
  ["x-amz-object-ownership", "s3:PutBucketOwnershipControls"],
  ["x-amz-bucket-object-lock-enabled", "s3:PutBucketObjectLockConfiguration"],
  ["x-amz-bucket-object-lock-enabled", "s3:PutBucketVersioning"],
] as const;

function givenWith(headers: IncomingHttpHeaders, gifts: readonly (readonly [string, string])[]): string[] {
  const names = Object.keys(headers).filter((name) => name !== "x-amz-tagging-directive");
  return gifts.filter(([start]) => names.some((name) => name.startsWith(start))).map(([, action]) => action);
}

function bypasses(headers: IncomingHttpHeaders): string[] {
  return bypassesGovernance(headers) ? ["s3:BypassGovernanceRetention"] : [];
}

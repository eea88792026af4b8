/**
 * The S3 operations this gateway knows, as data. `route.ts` finds the operation of a request in this table, `gateway.ts`
 * authorizes and bounds it by it, and `handlers/handlers.ts` must have a handler for each or the program does not compile.
 */
import { limits } from "../core/limits.ts";

/** What the path names: the service itself, a bucket, or an object in it. */
export type Level = "service" | "bucket" | "object";
export type Method = "GET" | "HEAD" | "PUT" | "POST" | "DELETE";

export type OperationSpec = {
  readonly level: Level;
  readonly method: Method;
  /** The query name that makes the request this operation; "" for the plain one. */
  readonly sub: string;
  /** Only with (true) or only without (absent) an x-amz-copy-source header. */
  readonly copy?: true;
  /** One of several configurations of a kind: only with (true) or only without (absent) an `id` in the query. */
  readonly named?: true;
  /** `object`: what is there is judged by its own row, when that is read; all else before anything is done (authorize.ts). */
  readonly judgedBy?: "object";
  /** The permission of AWS that the operation needs first of all (needs.ts has the others). */
  readonly action: `s3:${string}`;
  /** `none`: a body is not read; `xml`: a document (of ours: JSON), collected whole, up to bodyBytesMax; `stream`: handed to the object layer. */
  readonly body: "none" | "xml" | "stream";
  readonly bodyBytesMax: number;
};

const none = { body: "none", bodyBytesMax: 0 } as const;
const xml = { body: "xml", bodyBytesMax: limits.xmlBodyBytesMax } as const;
const bucketGet = { level: "bucket", method: "GET", ...none } as const;
/** Setting a configuration document of a bucket, and taking it away. */
const bucketPut = { level: "bucket", method: "PUT", ...xml } as const;
const bucketDelete = { level: "bucket", method: "DELETE", ...none } as const;
const objectGet = { level: "object", method: "GET", ...none } as const;
const byObject = { judgedBy: "object" } as const;
/** Changes what is said of an object that is there. */
const objectPut = { level: "object", method: "PUT", ...byObject, ...xml } as const;

/** Kinds of which a bucket may have several configurations. */
const analytics = { sub: "analytics", action: "s3:GetAnalyticsConfiguration" } as const;
const intelligentTiering = { sub: "intelligent-tiering", action: "s3:GetIntelligentTieringConfiguration" } as const;
const inventory = { sub: "inventory", action: "s3:GetInventoryConfiguration" } as const;
const metrics = { sub: "metrics", action: "s3:GetMetricsConfiguration" } as const;

const table = {
  ListBuckets: { level: "service", method: "GET", sub: "", action: "s3:ListAllMyBuckets", ...none },

  CreateBucket: { level: "bucket", method: "PUT", sub: "", action: "s3:CreateBucket", ...xml },
  HeadBucket: { level: "bucket", method: "HEAD", sub: "", action: "s3:ListBucket", ...none },
  DeleteBucket: { level: "bucket", method: "DELETE", sub: "", action: "s3:DeleteBucket", ...none },
  ListObjects: { ...bucketGet, sub: "", action: "s3:ListBucket" },
  ListObjectsV2: { ...bucketGet, sub: "list-type", action: "s3:ListBucket" },
  ListObjectVersions: { ...bucketGet, sub: "versions", action: "s3:ListBucketVersions" },
  ListMultipartUploads: { ...bucketGet, sub: "uploads", action: "s3:ListBucketMultipartUploads" },
  DeleteObjects: { level: "bucket", method: "POST", sub: "delete", action: "s3:DeleteObject", ...xml },
  /** Several keys at once: ours. Judged entry by entry. */
  CommitObjects: { level: "bucket", method: "POST", sub: "holdfast-commit", action: "s3:PutObject", ...xml },
  GetBucketLocation: { ...bucketGet, sub: "location", action: "s3:GetBucketLocation" },
  GetBucketVersioning: { ...bucketGet, sub: "versioning", action: "s3:GetBucketVersioning" },
  PutBucketVersioning: {
    level: "bucket",
    method: "PUT",
    sub: "versioning",
    action: "s3:PutBucketVersioning",
    ...xml,
  },
  GetBucketAcl: { ...bucketGet, sub: "acl", action: "s3:GetBucketAcl" },
  PutBucketAcl: { ...bucketPut, sub: "acl", action: "s3:PutBucketAcl" },
  GetBucketPolicy: { ...bucketGet, sub: "policy", action: "s3:GetBucketPolicy" },
  PutBucketPolicy: { ...bucketPut, sub: "policy", action: "s3:PutBucketPolicy" },
  DeleteBucketPolicy: { ...bucketDelete, sub: "policy", action: "s3:DeleteBucketPolicy" },
  GetBucketPolicyStatus: { ...bucketGet, sub: "policyStatus", action: "s3:GetBucketPolicyStatus" },
  GetBucketCors: { ...bucketGet, sub: "cors", action: "s3:GetBucketCORS" },
  PutBucketCors: { ...bucketPut, sub: "cors", action: "s3:PutBucketCORS" },
  DeleteBucketCors: { ...bucketDelete, sub: "cors", action: "s3:PutBucketCORS" },
  GetBucketLifecycle: { ...bucketGet, sub: "lifecycle", action: "s3:GetLifecycleConfiguration" },
  PutBucketLifecycle: { ...bucketPut, sub: "lifecycle", action: "s3:PutLifecycleConfiguration" },
  DeleteBucketLifecycle: { ...bucketDelete, sub: "lifecycle", action: "s3:PutLifecycleConfiguration" },
  GetBucketEncryption: { ...bucketGet, sub: "encryption", action: "s3:GetEncryptionConfiguration" },
  PutBucketEncryption: { ...bucketPut, sub: "encryption", action: "s3:PutEncryptionConfiguration" },
  DeleteBucketEncryption: { ...bucketDelete, sub: "encryption", action: "s3:PutEncryptionConfiguration" },
  GetBucketTagging: { ...bucketGet, sub: "tagging", action: "s3:GetBucketTagging" },
  PutBucketTagging: { ...bucketPut, sub: "tagging", action: "s3:PutBucketTagging" },
  DeleteBucketTagging: { ...bucketDelete, sub: "tagging", action: "s3:PutBucketTagging" },
  GetBucketWebsite: { ...bucketGet, sub: "website", action: "s3:GetBucketWebsite" },
  PutBucketWebsite: { ...bucketPut, sub: "website", action: "s3:PutBucketWebsite" },
  DeleteBucketWebsite: { ...bucketDelete, sub: "website", action: "s3:DeleteBucketWebsite" },
  GetBucketLogging: { ...bucketGet, sub: "logging", action: "s3:GetBucketLogging" },
  PutBucketLogging: { ...bucketPut, sub: "logging", action: "s3:PutBucketLogging" },
  GetBucketReplication: { ...bucketGet, sub: "replication", action: "s3:GetReplicationConfiguration" },
  GetPublicAccessBlock: { ...bucketGet, sub: "publicAccessBlock", action: "s3:GetBucketPublicAccessBlock" },
  PutPublicAccessBlock: { ...bucketPut, sub: "publicAccessBlock", action: "s3:PutBucketPublicAccessBlock" },
  DeletePublicAccessBlock: { ...bucketDelete, sub: "publicAccessBlock", action: "s3:PutBucketPublicAccessBlock" },
  GetBucketOwnershipControls: { ...bucketGet, sub: "ownershipControls", action: "s3:GetBucketOwnershipControls" },
  PutBucketOwnershipControls: { ...bucketPut, sub: "ownershipControls", action: "s3:PutBucketOwnershipControls" },
  DeleteBucketOwnershipControls: { ...bucketDelete, sub: "ownershipControls", action: "s3:PutBucketOwnershipControls" },
  GetBucketRequestPayment: { ...bucketGet, sub: "requestPayment", action: "s3:GetBucketRequestPayment" },
  PutBucketRequestPayment: { ...bucketPut, sub: "requestPayment", action: "s3:PutBucketRequestPayment" },
  GetBucketAccelerate: { ...bucketGet, sub: "accelerate", action: "s3:GetAccelerateConfiguration" },
  PutBucketAccelerate: { ...bucketPut, sub: "accelerate", action: "s3:PutAccelerateConfiguration" },
  GetBucketNotification: { ...bucketGet, sub: "notification", action: "s3:GetBucketNotification" },
  PutBucketNotification: { ...bucketPut, sub: "notification", action: "s3:PutBucketNotification" },
  GetBucketAbac: { ...bucketGet, sub: "abac", action: "s3:GetBucketAbac" },
  GetBucketMetadataConfiguration: {
    ...bucketGet,
    sub: "metadataConfiguration",
    action: "s3:GetBucketMetadataTableConfiguration",
  },
  ListBucketAnalyticsConfigurations: { ...bucketGet, ...analytics },
  GetBucketAnalyticsConfiguration: { ...bucketGet, ...analytics, named: true },
  ListBucketIntelligentTieringConfigurations: { ...bucketGet, ...intelligentTiering },
  GetBucketIntelligentTieringConfiguration: { ...bucketGet, ...intelligentTiering, named: true },
  ListBucketInventoryConfigurations: { ...bucketGet, ...inventory },
  GetBucketInventoryConfiguration: { ...bucketGet, ...inventory, named: true },
  ListBucketMetricsConfigurations: { ...bucketGet, ...metrics },
  GetBucketMetricsConfiguration: { ...bucketGet, ...metrics, named: true },
  GetObjectLockConfiguration: { ...bucketGet, sub: "object-lock", action: "s3:GetBucketObjectLockConfiguration" },
  PutObjectLockConfiguration: { ...bucketPut, sub: "object-lock", action: "s3:PutBucketObjectLockConfiguration" },

  PutObject: {
    level: "object",
    method: "PUT",
    sub: "",
    action: "s3:PutObject",
    body: "stream",
    bodyBytesMax: limits.putBytesMax,
  },
  /** By a browser's form, whose fields name the key. */
  PostObject: {
    level: "bucket",
    method: "POST",
    sub: "",
    action: "s3:PutObject",
    body: "stream",
    bodyBytesMax: limits.putBytesMax,
  },
  CopyObject: { level: "object", method: "PUT", sub: "", copy: true, action: "s3:PutObject", ...none },
  RenameObject: { level: "object", method: "PUT", sub: "renameObject", action: "s3:PutObject", ...none },
  GetObject: { ...objectGet, ...byObject, sub: "", action: "s3:GetObject" },
  HeadObject: { ...objectGet, ...byObject, method: "HEAD", sub: "", action: "s3:GetObject" },
  DeleteObject: { level: "object", method: "DELETE", sub: "", action: "s3:DeleteObject", ...none },
  GetObjectAttributes: { ...objectGet, ...byObject, sub: "attributes", action: "s3:GetObjectAttributes" },
  GetObjectTorrent: { ...objectGet, ...byObject, sub: "torrent", action: "s3:GetObjectTorrent" },
  GetObjectAcl: { ...objectGet, ...byObject, sub: "acl", action: "s3:GetObjectAcl" },
  GetObjectTagging: { ...objectGet, ...byObject, sub: "tagging", action: "s3:GetObjectTagging" },
  PutObjectAcl: { ...objectPut, sub: "acl", action: "s3:PutObjectAcl" },
  PutObjectTagging: { ...objectPut, sub: "tagging", action: "s3:PutObjectTagging" },
  DeleteObjectTagging: {
    level: "object",
    method: "DELETE",
    sub: "tagging",
    action: "s3:DeleteObjectTagging",
    ...byObject,
    ...none,
  },
  GetObjectRetention: { ...objectGet, ...byObject, sub: "retention", action: "s3:GetObjectRetention" },
  PutObjectRetention: { ...objectPut, sub: "retention", action: "s3:PutObjectRetention" },
  GetObjectLegalHold: { ...objectGet, ...byObject, sub: "legal-hold", action: "s3:GetObjectLegalHold" },
  PutObjectLegalHold: { ...objectPut, sub: "legal-hold", action: "s3:PutObjectLegalHold" },
  RestoreObject: { level: "object", method: "POST", sub: "restore", action: "s3:RestoreObject", ...byObject, ...xml },
  CreateMultipartUpload: { level: "object", method: "POST", sub: "uploads", action: "s3:PutObject", ...none },
  UploadPart: {
    level: "object",
    method: "PUT",
    sub: "uploadId",
    action: "s3:PutObject",
    body: "stream",
    bodyBytesMax: limits.partBytesMax,
  },
  UploadPartCopy: { level: "object", method: "PUT", sub: "uploadId", copy: true, action: "s3:PutObject", ...none },
  CompleteMultipartUpload: { level: "object", method: "POST", sub: "uploadId", action: "s3:PutObject", ...xml },
  AbortMultipartUpload: {
    level: "object",
    method: "DELETE",
    sub: "uploadId",
    action: "s3:AbortMultipartUpload",
    ...none,
  },
  ListParts: { ...objectGet, sub: "uploadId", action: "s3:ListMultipartUploadParts" },
} as const satisfies Record<string, OperationSpec>;

export type Operation = keyof typeof table;

export const operations: Readonly<Record<Operation, OperationSpec>> = table;

/** Query names of S3 (and some of others) that ask for something else than the plain operation, and have no row above: 501. */
const unsupported = [
  "accessPoint annotation append compose events metadataAnnotationTable metadataInventoryTable metadataJournalTable",
  "metadataTable select session",
];

export const subResources: ReadonlySet<string> = new Set([
  ...Object.values(operations)
    .map((spec) => spec.sub)
    .filter((sub) => sub !== ""),
  ...unsupported.join(" ").split(" "),
]);

/** Sub-resources where an `id` in the query makes it another operation. */
export const namedSubResources: ReadonlySet<string> = new Set(
  Object.values<OperationSpec>(operations)
    .filter(({ named }) => named === true)
    .map(({ sub }) => sub),
);

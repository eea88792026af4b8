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
  /** The permission of AWS that the operation needs; policies will be judged by it. */
  readonly action: `s3:${string}`;
  /** `none`: a body is not read; `xml`: collected whole, up to bodyBytesMax; `stream`: handed to the object layer. */
  readonly body: "none" | "xml" | "stream";
  readonly bodyBytesMax: number;
};

const none = { body: "none", bodyBytesMax: 0 } as const;
const xml = { body: "xml", bodyBytesMax: limits.xmlBodyBytesMax } as const;
const bucketGet = { level: "bucket", method: "GET", ...none } as const;
const objectGet = { level: "object", method: "GET", ...none } as const;

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
  GetBucketLocation: { ...bucketGet, sub: "location", action: "s3:GetBucketLocation" },
  GetBucketVersioning: { ...bucketGet, sub: "versioning", action: "s3:GetBucketVersioning" },
  GetBucketAcl: { ...bucketGet, sub: "acl", action: "s3:GetBucketAcl" },
  GetBucketPolicy: { ...bucketGet, sub: "policy", action: "s3:GetBucketPolicy" },
  GetBucketCors: { ...bucketGet, sub: "cors", action: "s3:GetBucketCORS" },
  GetBucketLifecycle: { ...bucketGet, sub: "lifecycle", action: "s3:GetLifecycleConfiguration" },
  GetBucketEncryption: { ...bucketGet, sub: "encryption", action: "s3:GetEncryptionConfiguration" },
  GetBucketTagging: { ...bucketGet, sub: "tagging", action: "s3:GetBucketTagging" },
  GetBucketWebsite: { ...bucketGet, sub: "website", action: "s3:GetBucketWebsite" },
  GetBucketReplication: { ...bucketGet, sub: "replication", action: "s3:GetReplicationConfiguration" },
  GetPublicAccessBlock: { ...bucketGet, sub: "publicAccessBlock", action: "s3:GetBucketPublicAccessBlock" },
  GetBucketOwnershipControls: { ...bucketGet, sub: "ownershipControls", action: "s3:GetBucketOwnershipControls" },
  GetObjectLockConfiguration: { ...bucketGet, sub: "object-lock", action: "s3:GetBucketObjectLockConfiguration" },

  PutObject: {
    level: "object",
    method: "PUT",
    sub: "",
    action: "s3:PutObject",
    body: "stream",
    bodyBytesMax: limits.putBytesMax,
  },
  CopyObject: { level: "object", method: "PUT", sub: "", copy: true, action: "s3:PutObject", ...none },
  GetObject: { ...objectGet, sub: "", action: "s3:GetObject" },
  HeadObject: { level: "object", method: "HEAD", sub: "", action: "s3:GetObject", ...none },
  DeleteObject: { level: "object", method: "DELETE", sub: "", action: "s3:DeleteObject", ...none },
  GetObjectAttributes: { ...objectGet, sub: "attributes", action: "s3:GetObjectAttributes" },
  GetObjectAcl: { ...objectGet, sub: "acl", action: "s3:GetObjectAcl" },
  GetObjectTagging: { ...objectGet, sub: "tagging", action: "s3:GetObjectTagging" },
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

/** Query names of S3 that ask for something else than the plain operation; those without a row above answer 501. */
const unsupported = [
  "abac accelerate accessPoint analytics annotation append compose events intelligent-tiering inventory",
  "legal-hold logging metadataConfiguration metadataInventoryTable metadataJournalTable metadataTable metrics",
  "notification policyStatus renameObject requestPayment restore retention select session torrent",
];

export const subResources: ReadonlySet<string> = new Set([
  ...Object.values(operations)
    .map((spec) => spec.sub)
    .filter((sub) => sub !== ""),
  ...unsupported.join(" ").split(" "),
]);

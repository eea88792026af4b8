/**
 * The actions of S3 that a bucket's policy can be about, by what they are done to, and the condition keys that only some of
 * them know. Source: "Actions, resources, and condition keys for Amazon S3" of the Service Authorization Reference (2026).
 */

const objectActions = `
  AbortMultipartUpload BypassGovernanceRetention DeleteObject DeleteObjectAnnotation DeleteObjectTagging
  DeleteObjectVersion DeleteObjectVersionAnnotation DeleteObjectVersionTagging GetObject GetObjectAcl GetObjectAnnotation
  GetObjectAttributes GetObjectLegalHold GetObjectRetention GetObjectTagging GetObjectTorrent GetObjectVersion
  GetObjectVersionAcl GetObjectVersionAnnotation GetObjectVersionAnnotationForReplication GetObjectVersionAttributes
  GetObjectVersionForReplication GetObjectVersionTagging GetObjectVersionTorrent InitiateReplication
  ListMultipartUploadParts ListObjectAnnotations ListObjectVersionAnnotations ObjectOwnerOverrideToBucketOwner PutObject
  PutObjectAcl PutObjectAnnotation PutObjectLegalHold PutObjectRetention PutObjectTagging PutObjectVersionAcl
  PutObjectVersionAnnotation PutObjectVersionTagging ReplicateDelete ReplicateObject ReplicateObjectAnnotation
  ReplicateTags RestoreObject UpdateObjectEncryption`;

const bucketActions = `
  AllowVendedLogDeliveryForResource CreateBucket CreateBucketMetadataTableConfiguration DeleteBucket
  DeleteBucketMetadataTableConfiguration DeleteBucketPolicy DeleteBucketWebsite GetAccelerateConfiguration
  GetAnalyticsConfiguration GetBucketAbac GetBucketAcl GetBucketCORS GetBucketLocation GetBucketLogging
  GetBucketMetadataTableConfiguration GetBucketNotification GetBucketObjectLockConfiguration
  GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus GetBucketPublicAccessBlock GetBucketRequestPayment
  GetBucketTagging GetBucketVersioning GetBucketWebsite GetEncryptionConfiguration
  GetIntelligentTieringConfiguration GetInventoryConfiguration GetLifecycleConfiguration GetMetricsConfiguration
  GetReplicationConfiguration ListBucket ListBucketMultipartUploads ListBucketVersions ListTagsForResource
  PauseReplication PutAccelerateConfiguration PutAnalyticsConfiguration PutBucketAbac PutBucketAcl PutBucketCORS
  PutBucketLogging PutBucketNotification PutBucketObjectLockConfiguration PutBucketOwnershipControls PutBucketPolicy
  PutBucketPublicAccessBlock PutBucketRequestPayment PutBucketTagging PutBucketVersioning PutBucketWebsite
  PutEncryptionConfiguration PutIntelligentTieringConfiguration PutInventoryConfiguration PutLifecycleConfiguration
  PutMetricsConfiguration PutReplicationConfiguration TagResource UntagResource
  UpdateBucketMetadataAnnotationTableConfiguration UpdateBucketMetadataInventoryTableConfiguration
  UpdateBucketMetadataJournalTableConfiguration`;

export type ActionTarget = "object" | "bucket";

const namesIn = (list: string): string[] => list.trim().toLowerCase().split(/\s+/);

/** Without the `s3:`, in lower case. */
export const s3Actions: ReadonlyMap<string, ActionTarget> = new Map([
  ...namesIn(objectActions).map((name): [string, ActionTarget] => [name, "object"]),
  ...namesIn(bucketActions).map((name): [string, ActionTarget] => [name, "bucket"]),
]);

const lists = "ListBucket ListBucketVersions";
const tagged = `
  DeleteObjectAnnotation DeleteObjectTagging DeleteObjectVersionAnnotation DeleteObjectVersionTagging GetObject
  GetObjectAcl GetObjectAnnotation GetObjectAttributes GetObjectTagging GetObjectVersion GetObjectVersionAcl
  GetObjectVersionAnnotation GetObjectVersionAttributes GetObjectVersionTagging ListObjectAnnotations
  ListObjectVersionAnnotations PutObjectAcl PutObjectAnnotation PutObjectTagging PutObjectVersionAcl
  PutObjectVersionAnnotation PutObjectVersionTagging UpdateObjectEncryption`;
const tagging = "BypassGovernanceRetention PutObject PutObjectTagging PutObjectVersionTagging";
const grants = "BypassGovernanceRetention CreateBucket PutBucketAcl PutObject PutObjectAcl PutObjectVersionAcl";
const versioned = `
  DeleteObjectVersion DeleteObjectVersionAnnotation DeleteObjectVersionTagging GetObjectVersion GetObjectVersionAcl
  GetObjectVersionAnnotation GetObjectVersionAttributes GetObjectVersionTagging GetObjectVersionTorrent
  ListObjectVersionAnnotations PutObjectVersionAcl PutObjectVersionAnnotation PutObjectVersionTagging`;
const writes = "BypassGovernanceRetention PutObject";
const encrypts = "BypassGovernanceRetention PutObject ReplicateObject UpdateObjectEncryption";

/** A name that ends with a slash has the key of a tag behind it. */
const keysOfSome: Readonly<Record<string, string>> = {
  "s3:prefix": lists,
  "s3:delimiter": lists,
  "s3:max-keys": lists,
  "s3:versionid": versioned,
  "s3:locationconstraint": "CreateBucket",
  "s3:existingobjecttag/": tagged,
  "s3:requestobjecttag/": tagging,
  "s3:requestobjecttagkeys": tagging,
  "s3:x-amz-acl": grants,
  "s3:x-amz-grant-full-control": grants,
  "s3:x-amz-grant-read": grants,
  "s3:x-amz-grant-read-acp": grants,
  "s3:x-amz-grant-write": grants,
  "s3:x-amz-grant-write-acp": grants,
  "s3:x-amz-copy-source": writes,
  "s3:x-amz-metadata-directive": writes,
  "s3:x-amz-website-redirect-location": writes,
  "s3:x-amz-storage-class": "BypassGovernanceRetention PutObject PutObjectAcl PutObjectVersionAcl",
  "s3:x-amz-server-side-encryption": encrypts,
  "s3:x-amz-server-side-encryption-aws-kms-key-id": encrypts,
  "s3:x-amz-server-side-encryption-customer-algorithm": "BypassGovernanceRetention PutObject ReplicateObject",
  "s3:x-amz-object-ownership": "CreateBucket",
  "s3:object-lock-mode": "PutObject PutObjectRetention",
  "s3:object-lock-retain-until-date": "PutObject PutObjectRetention",
  "s3:object-lock-remaining-retention-days": "PutObject PutObjectRetention",
  "s3:object-lock-legal-hold": "PutObject PutObjectLegalHold",
  "s3:if-match": "DeleteObject PutObject",
  "s3:if-none-match": "PutObject",
  "s3:objectcreationoperation": "PutObject",
  "s3:inventoryaccessibleoptionalfields": "PutInventoryConfiguration",
};

const keysOfAll = new Set([
  "s3:authtype",
  "s3:resourceaccount",
  "s3:signatureage",
  "s3:signatureversion",
  "s3:tlsversion",
  "s3:x-amz-content-sha256",
  "s3:dataaccesspointaccount",
  "s3:dataaccesspointarn",
  "s3:accesspointnetworkorigin",
  "s3:accessgrantsinstancearn",
  "s3:buckettag/",
]);

const actionsOfKeys = new Map(Object.entries(keysOfSome).map(([key, list]) => [key, new Set(namesIn(list))]));

/** Which actions know the condition key: `all`, these, or undefined when S3 has no such key. `key` is in its normal form. */
export function actionsOfKey(key: string): "all" | ReadonlySet<string> | undefined {
  // S3 takes any global key, as AWS goes on adding them.
  if (key.startsWith("aws:")) return "all";
  const slash = key.indexOf("/");
  const name = slash < 0 ? key : key.slice(0, slash + 1);
  if (slash === key.length - 1) return undefined;
  return keysOfAll.has(name) ? "all" : actionsOfKeys.get(name);
}

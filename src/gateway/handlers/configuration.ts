/**
 * Questions about what a bucket or object is configured to be, where a true answer exists today although the thing
 * configured does not: no versioning, no policy, full control of the one owner. Changing any of it answers 501.
 */
import { S3Error } from "../errors.ts";
import type { S3ErrorCode } from "../errors.ts";
import type { Handler, Owner } from "../exchange.ts";
import { xmlReply } from "../respond.ts";
import type { Reply } from "../respond.ts";
import { xmlDocument } from "../xml.ts";
import { ownerXml } from "./list.ts";

/** An existing bucket without the configuration asked for. */
function absent(code: S3ErrorCode, message: string): Handler {
  return async ({ bucket }, { objects }) => {
    await objects.bucket(bucket);
    throw new S3Error(code, message, { details: { BucketName: bucket } });
  };
}

export const getBucketPolicy = absent("NoSuchBucketPolicy", "The bucket policy does not exist");
export const getBucketCors = absent("NoSuchCORSConfiguration", "The CORS configuration does not exist");
export const getBucketLifecycle = absent("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist");
export const getBucketEncryption = absent(
  "ServerSideEncryptionConfigurationNotFoundError",
  "The server side encryption configuration was not found",
);
export const getBucketTagging = absent("NoSuchTagSet", "The TagSet does not exist");
export const getBucketWebsite = absent(
  "NoSuchWebsiteConfiguration",
  "The specified bucket does not have a website configuration",
);
export const getBucketReplication = absent(
  "ReplicationConfigurationNotFoundError",
  "The replication configuration was not found",
);
export const getPublicAccessBlock = absent(
  "NoSuchPublicAccessBlockConfiguration",
  "The public access block configuration was not found",
);
export const getBucketOwnershipControls = absent(
  "OwnershipControlsNotFoundError",
  "The bucket ownership controls were not found",
);
export const getObjectLockConfiguration = absent(
  "ObjectLockConfigurationNotFoundError",
  "Object Lock configuration does not exist for this bucket",
);

/** Never enabled: AWS says so by an empty element. */
export const getBucketVersioning: Handler = async ({ bucket }, { objects }) => {
  await objects.bucket(bucket);
  return xmlReply(xmlDocument("VersioningConfiguration", ""));
};

export const getBucketAcl: Handler = async ({ bucket }, { objects, owner }) => {
  await objects.bucket(bucket);
  return fullControl(owner);
};

export const getObjectAcl: Handler = async ({ bucket, key }, { objects, owner }) => {
  await objects.head({ bucket, key });
  return fullControl(owner);
};

export const getObjectTagging: Handler = async ({ bucket, key }, { objects }) => {
  await objects.head({ bucket, key });
  return xmlReply(xmlDocument("Tagging", "<TagSet></TagSet>"));
};

function fullControl(owner: Owner): Reply {
  const grantee = ownerXml(owner, "Grantee").replace(
    "<Grantee>",
    '<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">',
  );
  const grants = `<Grant>${grantee}<Permission>FULL_CONTROL</Permission></Grant>`;
  return xmlReply(
    xmlDocument("AccessControlPolicy", `${ownerXml(owner)}<AccessControlList>${grants}</AccessControlList>`),
  );
}

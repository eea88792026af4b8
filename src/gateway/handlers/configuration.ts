/**
 * Questions about what a bucket is configured to be, where a true answer exists today although the thing configured does not:
 * there is none. Changing any of it answers 501.
 */
import { S3Error } from "../errors.ts";
import type { S3ErrorCode } from "../errors.ts";
import type { Handler } from "../exchange.ts";
import { invalidArgument } from "../params.ts";
import { xmlReply } from "../respond.ts";
import { xmlDocument } from "../xml.ts";

/** An existing bucket without the configuration asked for. */
function absent(code: S3ErrorCode, message: string): Handler {
  return async ({ bucket }, { objects }) => {
    await objects.bucket(bucket);
    throw new S3Error(code, message, { details: { BucketName: bucket } });
  };
}

export const getBucketReplication = absent(
  "ReplicationConfigurationNotFoundError",
  "The replication configuration was not found",
);

export const getBucketMetadataConfiguration = absent(
  "MetadataConfigurationNotFound",
  "The metadata configuration does not exist",
);

/** One of the bucket's configurations of a kind, by its id. */
export const getNamedConfiguration = absent("NoSuchConfiguration", "The specified configuration does not exist.");

/** All of the bucket's configurations of a kind. `root`: of AWS's answer, which has another name for each. */
export function listConfigurations(root: string): Handler {
  return async ({ bucket, query }, { objects }) => {
    await objects.bucket(bucket);
    const token = query.get("continuation-token") ?? "";
    if (token !== "")
      throw invalidArgument("continuation-token", token, "The continuation token provided is incorrect");
    return xmlReply(xmlDocument(root, "<IsTruncated>false</IsTruncated>"));
  };
}

/** Whether tags of the bucket count for access to it. */
export const getBucketAbac: Handler = async ({ bucket }, { objects }) => {
  await objects.bucket(bucket);
  return xmlReply(xmlDocument("AbacStatus", "<Status>Disabled</Status>"));
};

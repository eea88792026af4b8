/** Object lock: of a bucket, and the retention and legal hold of a version. */
import type { ObjectLock } from "../../object/object.ts";
import {
  bypassesGovernance,
  printLegalHold,
  printObjectLockConfiguration,
  printRetention,
  readLegalHold,
  readObjectLockConfiguration,
  readRetention,
} from "../documents/object_lock.ts";
import { S3Error } from "../errors.ts";
import type { Handler, S3Request, Services } from "../exchange.ts";
import { versionParam } from "../params.ts";
import { xmlReply } from "../respond.ts";
import { parseXml, xmlDocument } from "../xml.ts";

const done = { status: 200, headers: [] } as const;

export const getObjectLockConfiguration: Handler = async ({ bucket }, { objects }) => {
  const found = await objects.objectLock(bucket);
  if (found !== undefined)
    return xmlReply(xmlDocument("ObjectLockConfiguration", printObjectLockConfiguration(found.defaultRetention)));
  throw new S3Error(
    "ObjectLockConfigurationNotFoundError",
    "Object Lock configuration does not exist for this bucket",
    { details: { BucketName: bucket } },
  );
};

export const putObjectLockConfiguration: Handler = async (request, { objects }) => {
  const retention = readObjectLockConfiguration(await documentOf(request, "ObjectLockConfiguration"));
  await objects.setObjectLock(request.bucket, retention);
  return done;
};

export const getObjectRetention: Handler = async (request, services) => {
  const { retention } = await lockOf(request, services);
  if (retention === undefined) throw noLock(request);
  return xmlReply(xmlDocument("Retention", printRetention(retention)));
};

export const putObjectRetention: Handler = async (request, { objects }) => {
  const { bucket, key, query, headers, admission } = request;
  const retention = readRetention(await documentOf(request, "Retention"));
  const version = { bucket, key, ...versionParam(query), ...admission.of("target", { lock: { retention } }) };
  await objects.setRetention({ ...version, retention, bypassesGovernance: bypassesGovernance(headers) });
  return done;
};

export const getObjectLegalHold: Handler = async (request, services) => {
  const { legalHold } = await lockOf(request, services);
  if (legalHold === undefined) throw noLock(request);
  return xmlReply(xmlDocument("LegalHold", printLegalHold(legalHold)));
};

export const putObjectLegalHold: Handler = async (request, { objects }) => {
  const { bucket, key, query, admission } = request;
  const legalHold = readLegalHold(await documentOf(request, "LegalHold"));
  const judged = admission.of("target", { lock: { legalHold } });
  await objects.setLegalHold({ bucket, key, ...versionParam(query), ...judged, legalHold });
  return done;
};

async function documentOf(request: S3Request, root: string): Promise<ReturnType<typeof parseXml>> {
  const bytes = await request.xml();
  if (bytes.length === 0) throw new S3Error("MissingRequestBodyError", "Request Body is empty");
  return parseXml(bytes, root);
}

/** The object first, for whoever may not see its lock is not told either whether the bucket has any. */
async function lockOf({ bucket, key, query, admission }: S3Request, { objects }: Services): Promise<ObjectLock> {
  const asked = { bucket, key, ...versionParam(query), ...admission.of("target") };
  const info = await objects.describe(asked);
  if (!(await objects.bucket(bucket)).objectLock)
    throw new S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration");
  return info.lock;
}

function noLock({ key }: S3Request): S3Error {
  return new S3Error("NoSuchObjectLockConfiguration", "The specified object does not have a ObjectLock configuration", {
    details: { Key: key.toString() },
  });
}

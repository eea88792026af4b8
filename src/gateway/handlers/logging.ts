/** PutBucketLogging. GetBucketLogging is a document like any other. */
import { aclsCount, type BucketRules } from "../../access/access.ts";
import { hasReason } from "../../core/errors.ts";
import type { LoggingSetting } from "../../logging/source.ts";
import { aclNotSupported, checkGrantees, refusePublic } from "../acls.ts";
import { normalised } from "../documents/document.ts";
import { bucketLogging, sampleName } from "../documents/logging.ts";
import { S3Error } from "../errors.ts";
import type { Handler, S3Request, Services } from "../exchange.ts";
import { mayDeliver } from "../log_delivery.ts";
import { readRules } from "../rules.ts";

export const putBucketLogging: Handler = async (request, services) => {
  const { bucket } = request;
  const { value, bytes } = normalised(bucketLogging, await request.xml());
  if (value !== undefined) await checkTarget(value, request, services);
  const document = value === undefined ? undefined : bytes;
  await services.objects.setConfiguration({ bucket, kind: bucketLogging.kind, document });
  return { status: 200, headers: [] };
};

/** Logs could be written there. Errors: InvalidTargetBucketForLogging, InvalidArgument, AccessControlListNotSupported, AccessDenied. */
async function checkTarget(setting: LoggingSetting, request: S3Request, services: Services): Promise<void> {
  const { bucket } = request;
  const nowMs = services.clock.nowMs();
  const { region } = await services.objects.bucket(bucket);
  const own = await request.rules(services);
  const rules = await rulesOfTarget(setting, services);
  if (rules.account !== own.account)
    throw refused(setting, "The target bucket for logging belongs to another account than the bucket to be logged.");
  const source = { bucket, account: own.account };
  const key = sampleName(setting, { ...source, region, timeMs: nowMs });
  await checkGrants(setting, rules, services);
  if (mayDeliver(rules, { source, target: setting.bucket, key, nowMs, region: services.region })) return;
  throw refused(
    setting,
    "Access logs may not be written to the target bucket: neither does its policy allow logging.s3.amazonaws.com " +
      "to put these objects, nor does its ACL give WRITE to the log-delivery group.",
  );
}

async function rulesOfTarget(setting: LoggingSetting, services: Services): Promise<BucketRules> {
  try {
    return await readRules(services, setting.bucket);
  } catch (error) {
    if (!hasReason(error, "no_such_bucket")) throw error;
    throw refused(setting, "The target bucket for logging does not exist");
  }
}

function refused({ bucket }: LoggingSetting, message: string): S3Error {
  return new S3Error("InvalidTargetBucketForLogging", message, { details: { TargetBucket: bucket } });
}

async function checkGrants({ grants }: LoggingSetting, rules: BucketRules, { accounts }: Services): Promise<void> {
  if (grants.length === 0) return;
  if (!aclsCount(rules)) throw aclNotSupported();
  const acl = { owner: rules.owner, grants };
  refusePublic(rules, acl);
  await checkGrantees(acl, accounts);
}

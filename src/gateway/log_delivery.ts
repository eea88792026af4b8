/**
 * Whether access logs may be written into a bucket: asked when logging is switched on, and for each log object again, for a policy may
 * change. What delivers logs is a service: the target's policy must allow it to put objects (for the bucket that is logged, if it says
 * so by aws:SourceArn or aws:SourceAccount), or the target's ACL must give WRITE to the LogDelivery group.
 *
 * Source: "Permissions for log delivery" of the S3 User Guide.
 */
import { aclsCount, decide, type BucketRules } from "../access/access.ts";
import { isPublicAcl, logDeliveryService, type Acl, type Grant } from "../access/acl.ts";
import { HoldfastError } from "../core/errors.ts";
import type { AccessLogOptions, LogSource } from "../logging/logging.ts";
import { requestKeys } from "../policy/request_keys.ts";
import { arnOf } from "./needs.ts";
import { readRules, type RulesSource } from "./rules.ts";

export type Delivery = {
  /** The bucket that is logged, and its account. */
  readonly source: { readonly bucket: string; readonly account: string };
  readonly target: string;
  readonly key: string;
  readonly nowMs: number;
  readonly region: string;
};

export function mayDeliver(rules: BucketRules, { source, target, key, nowMs, region }: Delivery): boolean {
  const caller = { kind: "service", name: logDeliveryService } as const;
  const action = "s3:PutObject";
  const keys = requestKeys({
    caller,
    action,
    source: { arn: arnOf(source.bucket), account: source.account },
    resourceAccount: rules.account,
    nowMs,
    region,
    sourceIp: undefined,
    // It does not leave the store.
    isSecure: true,
    tlsVersion: undefined,
    headers: new Map(),
    query: new Map(),
    signature: undefined,
    createsObject: true,
  });
  const resource = arnOf(target, Buffer.from(key));
  return decide({ caller, policies: { identity: [] }, action, resource, keys, bucket: rules }).outcome === "allow";
}

/** Of a log object; undefined: the target's owner has it alone, for nothing is granted or nothing may be. */
function logAcl(rules: BucketRules, grants: readonly Grant[]): Acl | undefined {
  if (grants.length === 0 || !aclsCount(rules)) return undefined;
  const own: Grant = { grantee: { kind: "account", id: rules.owner }, permission: "FULL_CONTROL" };
  const acl = { owner: rules.owner, grants: [own, ...grants] };
  return rules.block?.BlockPublicAcls === true && isPublicAcl(acl) ? undefined : acl;
}

/** For AccessLogs. */
export function admitLogs(
  rulesSource: RulesSource,
  { clock, region }: { readonly clock: AccessLogOptions["clock"]; readonly region: string },
): AccessLogOptions["admit"] {
  return async (source: LogSource, key) => {
    const { bucket: target, grants } = source.setting;
    const rules = await readRules(rulesSource, target);
    const isOwn = rules.account === source.account;
    if (!isOwn || !mayDeliver(rules, { source, target, key, nowMs: clock.nowMs(), region }))
      throw new HoldfastError("access_denied", `The bucket ${target} takes no access logs of ${source.bucket}.`);
    const acl = logAcl(rules, grants);
    return acl === undefined ? {} : { acl };
  };
}

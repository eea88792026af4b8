/**
 * Whether a bucket's policy is public, for GetBucketPolicyStatus, BlockPublicPolicy and RestrictPublicBuckets.
 *
 * As AWS documents it a policy counts as public until each of its Allow statements grants to fixed values only: to principals
 * that are named, or under a condition on one of a few keys whose values have no wildcard and no variable. What a Deny
 * takes away does not count. Federated providers let anybody in who has an account there.
 *
 * Source: "The meaning of public" in "Blocking public access to your Amazon S3 storage" of the S3 User Guide.
 */
import { parseBlock, type Block } from "./addresses.ts";
import type { Clause } from "./conditions.ts";
import type { Policy } from "./policy.ts";
import type { Principals } from "./principals.ts";
import type { Statement } from "./statement.ts";

export function isPublic(policy: Policy): boolean {
  return policy.statements.some(grantsToAnybody);
}

function grantsToAnybody({ effect, principals, conditions }: Statement): boolean {
  if (effect === "Deny") return false;
  return !hasFixedPrincipals(principals) && !conditions.some(limitsToSome);
}

function hasFixedPrincipals(principals: Principals | undefined): boolean {
  return principals !== undefined && !principals.everyone && principals.providers.size === 0;
}

const limitingKeys = new Set([
  "aws:sourceip",
  "aws:sourcearn",
  "aws:sourcevpc",
  "aws:sourcevpce",
  "aws:sourceowner",
  "aws:sourceaccount",
  "aws:userid",
  "aws:principalarn",
  "aws:principalaccount",
  "aws:principalorgid",
  "s3:x-amz-server-side-encryption-aws-kms-key-id",
  "s3:dataaccesspointarn",
  "s3:dataaccesspointaccount",
]);

const comparing = new Set([
  "StringEquals",
  "StringEqualsIgnoreCase",
  "StringLike",
  "ArnEquals",
  "ArnLike",
  "IpAddress",
]);

/** Conditions that hold without the key (`IfExists`, `ForAllValues`, negated ones) limit nothing. */
function limitsToSome(clause: Clause): boolean {
  const { key, operator, qualifier, ifExists, texts } = clause;
  if (!limitingKeys.has(key) || !comparing.has(operator) || ifExists || qualifier === "ForAllValues") return false;
  if (key === "aws:sourceip") return operator === "IpAddress" && texts.every((text) => isNarrow(parseBlock(text)));
  return clause.isFixed || (key === "s3:dataaccesspointarn" && texts.every((text) => accessPointsOfOne.test(text)));
}

/** Any access point, but of one account. */
const accessPointsOfOne = /^arn:aws[a-z-]*:s3:[a-z0-9-]+:\d{12}:accesspoint\/[A-Za-z0-9*?_-]+$/;

/** Not wider than a /8, or a /32 of IPv6. (The private ranges, which AWS lets be wider, are not.) */
function isNarrow(block: Block | undefined): boolean {
  return block !== undefined && block.prefix >= (block.bits === 32 ? 8 : 32);
}

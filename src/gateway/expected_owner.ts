/** The account that a client expects a bucket to belong to: x-amz-expected-bucket-owner, and the same of a copy's source. */
import type { Authority } from "./authorize.ts";
import { copySource } from "./copy_source.ts";
import { S3Error } from "./errors.ts";
import type { Asked } from "./needs.ts";
import { operations } from "./operations.ts";
import { readRules, type RulesSource } from "./rules.ts";

/** Errors: AccessDenied where it belongs to another one; `no_such_bucket`. */
export async function checkExpectedOwner(authority: Authority, asked: Asked, source: RulesSource): Promise<void> {
  const { operation, bucket, headers } = asked;
  const { level, copy } = operations[operation];
  if (level === "service" || operation === "CreateBucket") return;
  const check = async (name: string, header: string): Promise<void> => {
    const expected = headers[header];
    if (expected === undefined) return;
    const known = authority.rules(name);
    const rules = known ?? (await readRules(source, name));
    if (known === undefined) authority.note(name, rules);
    if (rules.account !== expected)
      throw new S3Error("AccessDenied", "The bucket is not owned by the expected account.");
  };
  await check(bucket, "x-amz-expected-bucket-owner");
  if (copy === true) await check(copySource(headers).bucket, "x-amz-source-expected-bucket-owner");
}

/** Managed policies that every account has, named as AWS's own, and worded so as far as there is what they speak of. */
import { limits } from "../core/limits.ts";
import { parsePolicy, type Policy } from "../policy/policy.ts";

const documents: Readonly<Record<string, object>> = {
  AdministratorAccess: { Effect: "Allow", Action: "*", Resource: "*" },
  AmazonS3FullAccess: { Effect: "Allow", Action: ["s3:*", "s3-object-lambda:*"], Resource: "*" },
  AmazonS3ReadOnlyAccess: {
    Effect: "Allow",
    Action: ["s3:Get*", "s3:List*", "s3:Describe*", "s3-object-lambda:Get*", "s3-object-lambda:List*"],
    Resource: "*",
  },
  IAMFullAccess: { Effect: "Allow", Action: "iam:*", Resource: "*" },
  IAMReadOnlyAccess: { Effect: "Allow", Action: ["iam:Get*", "iam:List*"], Resource: "*" },
};

export type BuiltinPolicy = {
  readonly arn: string;
  readonly name: string;
  readonly document: string;
  readonly policy: Policy;
};

export const builtinPolicies: ReadonlyMap<string, BuiltinPolicy> = new Map(
  Object.entries(documents).map(([name, statement]) => {
    const arn = `arn:aws:iam::aws:policy/${name}`;
    const document = JSON.stringify({ Version: "2012-10-17", Statement: [statement] });
    const policy = parsePolicy(document, { use: "identity", bytesMax: limits.managedPolicyBytesMax });
    return [arn, { arn, name, document, policy }];
  }),
);

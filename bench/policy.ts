/**
 * Measures what a verdict costs: microseconds of one core for a request against compiled policies, for the whole decision over a
 * bucket with such a policy and an ACL (condition keys made anew, as with every request), and for compiling one. The request is
 * judged by all statements, for none of them decides early. Run: node bench/policy.ts [seconds per figure]
 */
import { decide, type BucketRules } from "../src/access/access.ts";
import { privateAcl } from "../src/access/acl.ts";
import { limits } from "../src/core/limits.ts";
import { judge, type Policies } from "../src/policy/evaluate.ts";
import { parsePolicy } from "../src/policy/policy.ts";
import type { Caller } from "../src/policy/principals.ts";
import { requestKeys, type RequestFacts } from "../src/policy/request_keys.ts";

const seconds = Number(process.argv[2] ?? 1);
const account = "111122223333";
const caller: Caller = {
  kind: "user",
  arn: `arn:aws:iam::${account}:user/a`,
  name: "a",
  id: "AIDA1",
  account,
  canonicalId: "ab".repeat(32),
  tags: new Map(),
};
const request = {
  caller,
  action: "s3:GetObject",
  resource: "arn:aws:s3:::bucket/photos/2026/11/27/a-picture-of-a-cat.jpg",
  resourceAccount: account,
};
const facts: RequestFacts = {
  ...request,
  nowMs: Date.UTC(2026, 10, 27),
  sourceIp: "192.0.2.1",
  isSecure: true,
  tlsVersion: "1.3",
  region: "us-east-1",
  headers: new Map([["user-agent", "bench"]]),
  query: new Map(),
  signature: { authType: "REST-HEADER", ageMs: 1 },
};
const keys = requestKeys(facts);

/** Each kind of statement is as near to applying as it can be. */
const kinds: Record<string, (index: number) => object> = {
  "other action": (index) => ({ Action: `s3:PutBucket${index}`, Resource: "*" }),
  "other prefix": (index) => ({ Action: "s3:Get*", Resource: `arn:aws:s3:::bucket/team-${index}/*` }),
  "wildcards inside": (index) => ({ Action: "s3:GetObject", Resource: `arn:aws:s3:::bucket/*/2026/*/*-of-${index}*` }),
  "with a variable": (index) => ({
    Action: "s3:GetObject",
    Resource: `arn:aws:s3:::bucket/\${aws:username}/${index}/*`,
  }),
  "with a condition": (index) => ({
    Action: "s3:GetObject",
    Resource: "*",
    Condition: { IpAddress: { "aws:SourceIp": `10.${index}.0.0/16` }, Bool: { "aws:SecureTransport": "true" } },
  }),
};

function documentOf(kind: (index: number) => object, statements: number): string {
  const all = Array.from({ length: statements }, (_, index) => ({ Effect: "Allow", ...kind(index) }));
  return JSON.stringify({ Version: "2012-10-17", Statement: all });
}

/** Microseconds of this thread's time, whatever else the machine does. */
function microseconds(work: () => void): number {
  for (let round = 0; round < 2_000; round++) work();
  const [startedMs, before] = [performance.now(), process.threadCpuUsage()];
  let count = 0;
  for (; performance.now() - startedMs < seconds * 1_000; count += 100) for (let each = 0; each < 100; each++) work();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / count;
}

/** As the policy of the user and, for everybody, of the bucket. */
function decision(text: string): () => void {
  const everybody = JSON.parse(text) as { Statement: object[] };
  const Statement = everybody.Statement.map((each) => ({ Principal: "*", ...each }));
  const policy = parsePolicy(JSON.stringify({ ...everybody, Statement }), {
    use: "bucket",
    bytesMax: limits.bucketPolicyBytesMax,
  });
  const owner = "cd".repeat(32);
  const bucket: BucketRules = {
    account,
    owner,
    policy: { policy, isPublic: false },
    acl: undefined,
    ownership: undefined,
    block: undefined,
  };
  const { action, resource } = request;
  const policies = { identity: [compile(text)] };
  const object = privateAcl(owner);
  return () => void decide({ caller, policies, action, resource, keys: requestKeys(facts), bucket, object });
}

const compile = (text: string) => parsePolicy(text, { use: "identity", bytesMax: limits.bucketPolicyBytesMax });
console.log("100 statements                judged       decided     compiled");
for (const [name, kind] of Object.entries(kinds)) {
  const text = documentOf(kind, 100);
  const policies: Policies = { identity: [compile(text)] };
  const judged = microseconds(() => void judge({ ...request, keys }, policies));
  const decided = microseconds(decision(text));
  const compiled = microseconds(() => void compile(text));
  console.log(
    `${name.padEnd(22)} ${judged.toFixed(1).padStart(10)} µs ${decided.toFixed(1).padStart(10)} µs ${compiled.toFixed(0).padStart(9)} µs`,
  );
}

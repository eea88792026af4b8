/** The evaluator against a second one (oracle.fixture.ts), and what must hold for any document whatever. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { parseBucketPolicy } from "./bucket_policy.ts";
import type { KeyValue } from "./condition_values.ts";
import { judge, type Policies, type PolicyRequest } from "./evaluate.ts";
import { Glob, type GlobToken } from "./glob.ts";
import { parseJson } from "./json.ts";
import { plainVerdict, type Document, type Documents } from "./oracle.fixture.ts";
import { parsePolicy, type Policy } from "./policy.ts";
import type { Caller } from "./principals.ts";
import { reaches } from "./reach.ts";
import { parseTemplate } from "./template.ts";

const [mine, other] = ["111122223333", "444455556666"];
const canonical = (account: string): string => account.slice(0, 2).repeat(32);
const ofAccount = (account: string) => ({ account, canonicalId: canonical(account), tags: new Map<string, string>() });
const userArn = (account: string): string => `arn:aws:iam::${account}:user/a`;
const roleArn = (account: string): string => `arn:aws:iam::${account}:role/r`;
const sessionArn = (account: string): string => `arn:aws:sts::${account}:assumed-role/r/s`;
const callers: Caller[] = [mine, other].flatMap((account): Caller[] => [
  { kind: "root", ...ofAccount(account) },
  { kind: "user", arn: userArn(account), name: "a", id: "AIDA1", ...ofAccount(account) },
  {
    kind: "session",
    arn: sessionArn(account),
    roleArn: roleArn(account),
    id: "AROA1:s",
    issuedMs: 0,
    usedMfa: false,
    ...ofAccount(account),
  },
]);
callers.push({ kind: "anonymous" }, { kind: "service", name: "s3.amazonaws.com" });

const texts = (pieces: readonly string[], maxLength: number): fc.Arbitrary<string> =>
  fc.array(fc.constantFrom(...pieces), { maxLength }).map((found) => found.join(""));
const oneOrMore = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | T[]> =>
  fc.oneof(arbitrary, fc.array(arbitrary, { minLength: 1, maxLength: 3 }));

const plain = ["a", "b", "/", ":", "A", "é", "😀"];
const patterned = [...plain, "*", "*", "?", "${aws:username}", "${aws:userid, 'b'}", "${*}", "${$}", "${aws:tagkeys}"];
const resource = texts(plain, 5).map((text) => `arn:aws:s3:::${text}`);
const resourcePattern = fc.oneof(
  { weight: 6, arbitrary: texts(patterned, 5).map((text) => `arn:aws:s3:::${text}`) },
  { weight: 1, arbitrary: fc.constantFrom("*", "arn:aws:s3:*", "arn:*", "arn:aws:s?:*:*:a*", "arn:aws:*:::b") },
);
const action = fc.constantFrom("s3:GetObject", "s3:PutObject", "s3:DeleteBucketPolicy");
const actionPattern = fc.constantFrom(
  "*",
  "s3:*",
  "s3:Get*",
  "s3:getobject",
  "s3:?utObject",
  "S3:*BucketPolicy",
  "iam:*",
);
const conditionText = texts(patterned, 3);
const number = fc.integer({ min: -2, max: 2 }).map(String);
const date = fc.constantFrom("2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z", "2026-06-01T02:00:00+02:00");
const block = fc.constantFrom("10.0.0.0/8", "10.1.2.3", "0.0.0.0/0", "192.0.2.0/25", "192.0.2.128/32");
const arnText = fc.constantFrom(
  "arn:aws:iam::1:user/a",
  "arn:aws:iam::1:role/a:b",
  "arn:aws:iam:*:*:user/*",
  "*",
  "arn:aws:s3:*",
);

type Wanted = { readonly name: string; readonly key: string; readonly values: string | string[] };
const relation = fc.constantFrom(
  "Equals",
  "NotEquals",
  "LessThan",
  "LessThanEquals",
  "GreaterThan",
  "GreaterThanEquals",
);
const qualifier = fc.constantFrom("", "", "", "ForAllValues:", "ForAnyValue:");
const ifExists = fc.constantFrom("", "", "IfExists");
const one = (base: fc.Arbitrary<string>, keys: string[], value: fc.Arbitrary<string>): fc.Arbitrary<Wanted> =>
  fc
    .tuple(qualifier, base, ifExists, fc.constantFrom(...keys), oneOrMore(value))
    .map(([before, name, after, key, values]) => ({ name: `${before}${name}${after}`, key, values }));
const stringOperators = fc.constantFrom(
  ..."StringEquals StringNotEquals StringEqualsIgnoreCase StringNotEqualsIgnoreCase StringLike StringNotLike".split(
    " ",
  ),
);
const wanted = fc.oneof(
  one(stringOperators, ["s3:prefix", "aws:TagKeys", "aws:username"], conditionText),
  one(
    relation.map((name) => `Numeric${name}`),
    ["s3:max-keys"],
    number,
  ),
  one(
    relation.map((name) => `Date${name}`),
    ["aws:CurrentTime"],
    date,
  ),
  one(fc.constant("Bool"), ["aws:SecureTransport"], fc.constantFrom("true", "false")),
  one(fc.constantFrom("IpAddress", "NotIpAddress"), ["aws:SourceIp"], block),
  one(fc.constantFrom("ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"), ["aws:PrincipalArn"], arnText),
  fc.record({
    name: fc.constant("Null"),
    key: fc.constantFrom("s3:prefix", "aws:TagKeys"),
    values: fc.constantFrom("true", "false"),
  }),
);
const conditions = fc.array(wanted, { maxLength: 2 }).map((all) => {
  const element: Record<string, Record<string, string | string[]>> = {};
  for (const { name, key, values } of all) element[name] = { ...element[name], [key]: values };
  return element;
});

const principal = fc.oneof(
  fc.constant("*"),
  fc
    .array(
      fc.constantFrom(
        "*",
        mine,
        other,
        `arn:aws:iam::${mine}:root`,
        ...[mine, other].flatMap((id) => [userArn(id), roleArn(id), sessionArn(id)]),
      ),
      { minLength: 1, maxLength: 4 },
    )
    .map((AWS) => ({ AWS })),
  fc.constantFrom<object>({ Service: "s3.amazonaws.com" }, { CanonicalUser: canonical(mine) }, { Federated: "idp" }),
);

const either = <T>(name: string, arbitrary: fc.Arbitrary<T>): fc.Arbitrary<Record<string, T>> =>
  fc.tuple(fc.constantFrom("", "", "", "Not"), arbitrary).map(([not, value]) => ({ [`${not}${name}`]: value }));

const statement = (isResource: boolean): fc.Arbitrary<Document["Statement"][number]> =>
  fc
    .tuple(
      fc.constantFrom<"Allow" | "Deny">("Allow", "Allow", "Deny"),
      either("Action", oneOrMore(actionPattern)),
      either("Resource", oneOrMore(resourcePattern)),
      isResource ? either("Principal", principal) : fc.constant({}),
      conditions,
    )
    .map(([Effect, ...rest]) => {
      const [actions, resources, named, Condition] = rest;
      // Whom an Allow leaves out cannot be said.
      const principals = Effect === "Deny" || !("NotPrincipal" in named) ? named : { Principal: named.NotPrincipal };
      return { Effect, ...actions, ...resources, ...principals, Condition };
    });
const document = (isResource: boolean): fc.Arbitrary<Document> =>
  fc.record({
    Version: fc.constantFrom("2012-10-17", "2012-10-17", "2008-10-17"),
    Statement: fc.array(statement(isResource), { minLength: 1, maxLength: 3 }),
  });
const documents: fc.Arbitrary<Documents> = fc
  .record({
    identity: fc.array(document(false), { maxLength: 2 }),
    boundary: fc.option(document(false), { nil: undefined, freq: 3 }),
    session: fc.option(fc.array(document(false), { maxLength: 2 }), { nil: undefined, freq: 3 }),
    resource: fc.option(document(true), { nil: undefined, freq: 5 }),
  })
  .map(({ identity, boundary, session, resource }) => ({
    identity,
    ...(boundary && { boundary }),
    ...(session && { session }),
    ...(resource && { resource }),
  }));

const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined });
const values: fc.Arbitrary<Map<string, KeyValue>> = fc
  .record({
    "s3:prefix": maybe(texts(plain, 3)),
    "aws:username": maybe(fc.constantFrom("a", "b", "*")),
    "aws:tagkeys": maybe(fc.array(texts(plain, 2), { maxLength: 3 })),
    "s3:max-keys": maybe(fc.oneof(number, fc.constant("many"))),
    "aws:currenttime": maybe(date),
    "aws:securetransport": maybe(fc.constantFrom("true", "false")),
    "aws:sourceip": maybe(fc.constantFrom("10.1.2.3", "192.0.2.1", "192.0.2.128", "255.255.255.255")),
    "aws:principalarn": maybe(fc.constantFrom("arn:aws:iam::1:user/a", "arn:aws:iam::1:role/a:b", "nobody")),
  })
  .map((found) => new Map(Object.entries(found)));
const request: fc.Arbitrary<PolicyRequest> = fc.record({
  caller: fc.constantFrom(...callers),
  action,
  resource,
  resourceAccount: fc.constant(mine),
  keys: values,
});

const compile = (found: Document, use: "identity" | "bucket"): Policy =>
  parsePolicy(JSON.stringify(found), { use, bytesMax: limits.bucketPolicyBytesMax });
function compileAll({ identity, boundary, session, resource }: Documents): Policies {
  return {
    identity: identity.map((each) => compile(each, "identity")),
    boundary: boundary && compile(boundary, "identity"),
    session: session?.map((each) => compile(each, "identity")),
    resource: resource && compile(resource, "bucket"),
  };
}

test("verdicts are those of a second evaluator that was written from AWS's text", () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(request, documents, (asked, all) => {
      const verdict = judge(asked, compileAll(all));
      const why = verdict.outcome === "implicit_deny" ? verdict.missing : (verdict.by?.kind ?? "root");
      seen.add(`${verdict.outcome} ${why}`);
      assert.equal(verdict.outcome, plainVerdict(asked, all));
    }),
    { numRuns: 4_000 },
  );
  // A generator that only makes requests nobody is asked about would prove nothing.
  const kinds = ["identity", "boundary", "session", "resource"];
  const expected = ["explicit_deny", "implicit_deny"].flatMap((outcome) => kinds.map((kind) => `${outcome} ${kind}`));
  for (const outcome of [...expected, "allow root", "allow identity", "allow resource"])
    assert.ok(seen.has(outcome), outcome);
});

test("one more Deny, one Allow less, a boundary, a session policy: none of them ever allows more", () => {
  fc.assert(
    fc.property(request, documents, statement(true), fc.nat(), document(false), (asked, all, more, index, bound) => {
      const before = judge(asked, compileAll(all)).outcome;
      const narrower: Documents[] = [{ ...all, session: all.session ?? [bound] }];
      if (all.boundary === undefined) narrower.push({ ...all, boundary: bound });
      if (all.resource !== undefined) {
        const statements = all.resource.Statement;
        narrower.push({
          ...all,
          resource: { ...all.resource, Statement: [...statements, { ...more, Effect: "Deny" }] },
        });
        const left = statements.filter((each, at) => each.Effect === "Deny" || at !== index % statements.length);
        if (left.length > 0) narrower.push({ ...all, resource: { ...all.resource, Statement: left } });
      }
      for (const each of narrower) {
        const after = judge(asked, compileAll(each)).outcome;
        if (before !== "allow") assert.notEqual(after, "allow");
        if (before === "explicit_deny") assert.equal(after, "explicit_deny");
      }
    }),
    { numRuns: 1_000 },
  );
});

test("a document that was damaged anywhere is refused, or is JSON still and is judged", () => {
  const damage = fc.record({ at: fc.nat(), cut: fc.nat({ max: 4 }), put: fc.string({ maxLength: 4, unit: "binary" }) });
  fc.assert(
    fc.property(document(true), fc.array(damage, { minLength: 1, maxLength: 3 }), request, (found, damages, asked) => {
      let text = JSON.stringify(found);
      for (const { at, cut, put } of damages) {
        const from = at % (text.length + 1);
        text = text.slice(0, from) + put + text.slice(from + cut);
      }
      let policy: Policy;
      try {
        policy = parsePolicy(text, { use: "bucket", bytesMax: limits.bucketPolicyBytesMax });
      } catch (error) {
        assert.ok(hasReason(error, "malformed_policy"), String(error));
        return;
      }
      assert.doesNotThrow(() => JSON.parse(text));
      judge(asked, { identity: [], resource: policy });
    }),
    { numRuns: 4_000 },
  );
});

test("any text and any bytes are a policy or malformed_policy", () => {
  const refuses = (source: string | Uint8Array): void => {
    try {
      parseBucketPolicy(source, "bucket");
    } catch (error) {
      assert.ok(hasReason(error, "malformed_policy"), String(error));
    }
  };
  fc.assert(fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.uint8Array(), fc.json()), refuses), {
    numRuns: 2_000,
  });
});

test("strict JSON agrees with JSON.parse on what both take, and takes nothing that it does not", () => {
  const plainOf = (value: unknown): unknown => {
    if (value instanceof Map) return Object.fromEntries([...value].map(([name, each]) => [name, plainOf(each)]));
    if (Array.isArray(value)) return value.map(plainOf);
    return typeof value === "object" && value !== null && "text" in value ? Number(value.text) : value;
  };
  fc.assert(
    fc.property(fc.oneof(fc.json({ maxDepth: 3 }), fc.string()), (text) => {
      const result = parseJson(text);
      if (result.ok) assert.deepEqual(plainOf(result.value), JSON.parse(text));
    }),
    { numRuns: 2_000 },
  );
});

const tokens = (pattern: string): readonly GlobToken[] =>
  parseTemplate(pattern, { wildcards: true, variables: false }) as readonly GlobToken[];
const asRegExp = (pattern: string): RegExp =>
  new RegExp(
    `^${Array.from(pattern)
      .map((char) => (char === "*" ? "[^]*" : char === "?" ? "[^]" : char.replace(/[\\^$.|+()[\]{}/]/g, "\\$&")))
      .join("")}$`,
    "u",
  );

test("wildcards match what the same regular expression matches", () => {
  const pattern = texts(["a", "b", "ab", "*", "?", "😀"], 8);
  const text = texts(["a", "b", "ab", "😀", "c"], 8);
  fc.assert(
    fc.property(pattern, text, (wild, given) => {
      const expected = asRegExp(wild).test(given);
      assert.equal(new Glob(tokens(wild)).matches(given), expected);
      assert.equal(reaches(tokens(wild), given, "whole"), expected);
      if (!wild.includes("*")) return;
      // What a pattern matches, it reaches from each beginning of it.
      if (expected)
        for (const char of ["", "a"])
          if (given.startsWith(char) && given !== char) assert.ok(reaches(tokens(wild), char, "start"));
    }),
    { numRuns: 5_000 },
  );
});

test("the worst of patterns are matched at once", () => {
  const text = "a".repeat(32 * 1024);
  for (const pattern of [
    `${"*a".repeat(5_000)}*b`,
    `*${"a?".repeat(limits.policyQuestionMarksMax)}b`,
    `*${"a".repeat(20_000)}b*`,
  ])
    assert.equal(new Glob(tokens(pattern)).matches(text), false);
});

/** The index of a policy's statements leaves out none that may apply, and of the others those that it can tell apart. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "../core/limits.ts";
import { judge, type PolicyRequest } from "./evaluate.ts";
import { parsePolicy, type Policy } from "./policy.ts";
import type { Caller } from "./principals.ts";

const bounds = { use: "identity", bytesMax: limits.bucketPolicyBytesMax } as const;
const arn = (key: string): string => `arn:aws:s3:::bucket/${key}`;

function indexOf(statements: readonly object[]) {
  const Statement = statements.map((each, at) => ({ Sid: `s${at}`, Effect: "Allow", ...each }));
  const { index } = parsePolicy(JSON.stringify({ Version: "2012-10-17", Statement }), bounds);
  return (action: string, resource: string) => index.candidates(action, resource).map(({ sid }) => sid);
}

test("beginnings that lie within one another are all found, in the order of the policy, and no others", () => {
  const starts = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "é"), maxLength: 4 }), {
    minLength: 1,
    maxLength: 12,
  });
  const key = fc.string({ unit: fc.constantFrom("a", "b", "c", "é"), maxLength: 6 });
  fc.assert(
    fc.property(starts, key, (all, asked) => {
      const candidates = indexOf(all.map((start) => ({ Action: "s3:GetObject", Resource: arn(`${start}*`) })));
      const wanted = all.flatMap((start, at) => (asked.startsWith(start) ? [`s${at}`] : []));
      assert.deepEqual(candidates("s3:getobject", arn(asked)), wanted);
    }),
  );
});

test("what begins with no text of its own, or names what it is not about, may be about everything", () => {
  const candidates = indexOf([
    { Action: "s3:Get*", Resource: "*" },
    { NotAction: "s3:GetObject", Resource: arn("*") },
    { Action: "s3:GetObject", NotResource: arn("x") },
    { Action: ["s3:GetObject", "s3:PutObject"], Resource: [arn("x/*"), arn("x/${aws:username}"), arn("y")] },
  ]);
  assert.deepEqual(candidates("s3:getobject", arn("x/1")), ["s0", "s2", "s3"]);
  assert.deepEqual(candidates("s3:getobject", arn("w")), ["s0", "s2"]);
  assert.deepEqual(candidates("s3:putobject", arn("y")), ["s1", "s3"]);
  assert.deepEqual(candidates("s3:putobject", "no resource"), []);
});

/** The same policy, of which every statement is looked at for every request. */
function withoutIndex(policy: Policy): Policy {
  const candidates = (action: string) =>
    policy.statements.filter(
      ({ actions: { isNot, patterns } }) => patterns.some((pattern) => pattern.matches(action)) !== isNot,
    );
  return { ...policy, index: { candidates } };
}

const account = "111122223333";
const arnOfUser = `arn:aws:iam::${account}:user/a`;
const ofAccount = { account, canonicalId: "a".repeat(64), tags: new Map<string, string>() };
const user: Caller = { kind: "user", arn: arnOfUser, name: "a", id: "AIDA1", ...ofAccount };

const pieces = ["a", "b", "ab", "/", "A", "é", "😀"];
const wild = [...pieces, "*", "?", "${aws:username}", "${aws:userid, 'b'}", "${*}", "${$}"];
const written = (from: readonly string[], maxLength: number) =>
  fc.array(fc.constantFrom(...from), { maxLength }).map((found) => found.join(""));
const listOf = <T>(one: fc.Arbitrary<T>) => fc.oneof(one, fc.array(one, { minLength: 1, maxLength: 4 }));
const maybeNot = <T>(name: string, value: fc.Arbitrary<T>) =>
  fc.tuple(fc.constantFrom("", "", "", "Not"), value).map(([not, found]) => ({ [`${not}${name}`]: found }));
const actionNames = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:GetObjectTagging"];
const patternOfAction = fc.constantFrom("*", "s3:*", "S3:getobject", "s3:?etObject", "s3:*Object", ...actionNames);
const patternOfResource = fc.oneof(
  { weight: 12, arbitrary: written(wild, 6).map((text) => `arn:aws:s3:::b/${text}`) },
  { weight: 1, arbitrary: fc.constantFrom("*", "arn:aws:s3:*", "arn:*", "arn:aws:*:::b/a*", "arn:aws:s3:::?/a") },
);
const whom = fc.constantFrom<unknown>("*", { AWS: account }, { AWS: arnOfUser }, { AWS: [account, arnOfUser] });
const statementOf = fc
  .tuple(
    fc.constantFrom("Allow", "Allow", "Allow", "Deny"),
    maybeNot("Action", listOf(patternOfAction)),
    maybeNot("Resource", listOf(patternOfResource)),
    maybeNot("Principal", whom),
  )
  .map(([Effect, actions, resources, principals]) => {
    const [named] = Object.values(principals);
    return { Effect, ...actions, ...resources, ...(Effect === "Allow" ? { Principal: named } : principals) };
  });
const question = fc.record({
  action: fc.constantFrom(...actionNames),
  resource: written(pieces, 6).map((text) => `arn:aws:s3:::b/${text}`),
  username: fc.constantFrom("a", "b", undefined),
});

test("a policy that is asked again and again says what it says when every statement is looked at", () => {
  const seen = new Set<string>();
  const many = fc.array(statementOf, { minLength: 1, maxLength: 80, size: "max" });
  fc.assert(
    fc.property(many, fc.array(question, { minLength: 30, maxLength: 30 }), (Statement, questions) => {
      const text = JSON.stringify({ Version: "2012-10-17", Statement });
      const policy = parsePolicy(text, { use: "bucket", bytesMax: 2 ** 20 });
      const plain = withoutIndex(policy);
      for (const { action, resource, username } of questions) {
        const request: PolicyRequest = {
          caller: user,
          action,
          resource,
          resourceAccount: account,
          keys: new Map([["aws:username", username]]),
        };
        const verdict = judge(request, { identity: [], resource: policy });
        const wanted = judge(request, { identity: [], resource: plain });
        seen.add(verdict.outcome);
        assert.equal(verdict.outcome, wanted.outcome);
        // The very statement: the order of the policy decides among several.
        if (verdict.outcome !== "implicit_deny" && wanted.outcome !== "implicit_deny")
          assert.equal(verdict.by?.statement, wanted.by?.statement);
      }
    }),
    { numRuns: 200 },
  );
  assert.equal(seen.size, 3);
});

test("more beginnings than are kept change nothing", () => {
  const actions = ["s3:A", "s3:B", "s3:C", "s3:D"];
  const starts = Array.from({ length: limits.policyBeginningsKept / 2 }, (_, at) => arn(`${at}/*`));
  const all = { NotAction: "s3:Z", Resource: starts };
  const candidates = indexOf([all, ...actions.map((Action) => ({ Action, Resource: arn("7/*") }))]);
  for (let round = 0; round < 2; round++)
    for (const [at, action] of actions.entries()) {
      assert.deepEqual(candidates(action.toLowerCase(), arn("7/x")), ["s0", `s${at + 1}`]);
      assert.deepEqual(candidates(action.toLowerCase(), arn("8/x")), ["s0"]);
      assert.deepEqual(candidates(action.toLowerCase(), arn("x")), []);
    }
});

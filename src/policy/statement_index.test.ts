/** The index of a policy's statements leaves out none that may apply, and of the others those that it can tell apart. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parsePolicy } from "./policy.ts";

const bounds = { use: "identity", bytesMax: 20_480 } as const;
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

/** Policies of forms: nothing malformed allows anything, and what is allowed was allowed field by field. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { limits } from "../core/limits.ts";
import { S3Error } from "./errors.ts";
import { judgePost, parsePostPolicy } from "./post_policy.ts";
import type { LengthRange } from "./post_policy.ts";

const nowMs = Date.UTC(2026, 0, 1);
const inTime = "2026-01-01T00:00:01.000Z";
const encoded = (document: unknown): string => Buffer.from(JSON.stringify(document)).toString("base64");

function outcome(text: string, fields: ReadonlyMap<string, string>): LengthRange | S3Error {
  try {
    return judgePost(parsePostPolicy(text), { fields, nowMs });
  } catch (error) {
    assert.ok(error instanceof S3Error, String(error));
    return error;
  }
}

test("any JSON, and any text, is a policy or is refused", () => {
  const fields = new Map([["key", "k"]]);
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue().map(encoded), fc.string({ unit: "binary" })), (text) => {
      const result = outcome(text, fields);
      assert.ok(result instanceof S3Error && ["InvalidPolicyDocument", "AccessDenied"].includes(result.code));
    }),
    { numRuns: 1_000 },
  );
});

test("conditions of any shape are read or refused, and never let a field through that none names", () => {
  const word = fc.constantFrom(
    "key",
    "bucket",
    "$key",
    "$bucket",
    "eq",
    "starts-with",
    "content-length-range",
    "",
    "a",
  );
  const value = fc.oneof(
    word,
    fc.integer(),
    fc.constantFrom(null, true, "-1", "5", 1e300),
    fc.string({ maxLength: 3 }),
  );
  const condition = fc.oneof(fc.array(value, { maxLength: 4 }), fc.dictionary(word, value, { maxKeys: 2 }), value);
  fc.assert(
    fc.property(fc.array(condition, { maxLength: 4 }), (conditions) => {
      const fields = new Map([["x-amz-meta-unnamed", "v"]]);
      assert.ok(outcome(encoded({ expiration: inTime, conditions }), fields) instanceof S3Error);
    }),
    { numRuns: 2_000 },
  );
});

/** A few names and values, so that they meet. */
const name = fc.constantFrom("key", "bucket", "content-type", "x-amz-meta-a");
const text = fc.string({ unit: fc.constantFrom("a", "b", ",", " "), maxLength: 3 });
const rule = fc.record({ isPrefix: fc.boolean(), name, text });

test("a form is allowed exactly if each rule holds and each field has one", () => {
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 6 }), fc.dictionary(name, text), (rules, form) => {
      const fields = new Map(Object.entries(form));
      const conditions = rules.map((each) =>
        each.isPrefix ? ["starts-with", `$${each.name}`, each.text] : { [each.name]: each.text },
      );
      const holds = (each: (typeof rules)[number]): boolean => {
        const given = fields.get(each.name);
        // What may begin with anything may be missing.
        if (given === undefined) return each.isPrefix && each.text === "";
        if (!each.isPrefix) return given === each.text;
        if (each.name !== "content-type") return given.startsWith(each.text);
        return given.split(",").every((type) => type.trim().startsWith(each.text));
      };
      const named = new Set<string>(rules.map((each) => each.name));
      const isAllowed = rules.every(holds) && [...fields.keys()].every((field) => named.has(field));
      const result = outcome(encoded({ expiration: inTime, conditions }), fields);
      assert.equal(!(result instanceof S3Error), isAllowed);
    }),
    { numRuns: 3_000 },
  );
});

test("of several lengths the narrowest counts, and none goes beyond the largest PUT", () => {
  const lengths = (...ranges: readonly (readonly [number, number])[]): LengthRange | S3Error =>
    outcome(
      encoded({ expiration: inTime, conditions: ranges.map((range) => ["content-length-range", ...range]) }),
      new Map(),
    );
  assert.deepEqual(lengths(), { minBytes: 0, maxBytes: limits.putBytesMax });
  assert.deepEqual(lengths([1, 10], [5, 20]), { minBytes: 5, maxBytes: 10 });
  assert.deepEqual(lengths([0, Number.MAX_SAFE_INTEGER]), { minBytes: 0, maxBytes: limits.putBytesMax });
});

test("a policy ends with the millisecond that it names", () => {
  const at = (expiration: string): boolean =>
    outcome(encoded({ expiration, conditions: [] }), new Map()) instanceof S3Error;
  assert.deepEqual(
    [at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:00.000Z"), at("2025-12-31T23:59:59.999Z")],
    [false, false, true],
  );
  for (const none of ["2026-01-02", "2026-13-01T00:00:00Z", "2026-01-02T00:00:00+01:00", "", " 2026-01-02T00:00:00Z"])
    assert.ok(at(none), none);
});

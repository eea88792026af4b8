/**
 * The policy of a browser's form: what the owner of a key has signed that others may upload. Pure. Promises: every field of the
 * form is covered by a condition that holds (but for those AWS exempts), the bucket too; what is malformed allows nothing.
 *
 * Source: "POST Policy" of the S3 API reference (Signature V4); errors and their words are AWS's.
 */
import { limits } from "../core/limits.ts";
import { S3Error } from "./errors.ts";
import type { FormFields } from "./form.ts";

type Condition =
  | { readonly kind: "eq" | "starts-with"; readonly field: string; readonly value: string; readonly text: string }
  | { readonly kind: "length"; readonly minBytes: number; readonly maxBytes: number };

export type PostPolicy = { readonly expiresMs: number; readonly conditions: readonly Condition[] };

/** How long the file may be. */
export type LengthRange = { readonly minBytes: number; readonly maxBytes: number };

function invalid(why: string): S3Error {
  return new S3Error("InvalidPolicyDocument", `Invalid Policy: ${why}`);
}

/** `text`: the field as it was signed, JSON in base64. Errors: InvalidPolicyDocument. */
export function parsePostPolicy(text: string): PostPolicy {
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(text, "base64").toString());
  } catch {
    throw invalid("Invalid JSON.");
  }
  if (typeof document !== "object" || document === null) throw invalid("Invalid JSON.");
  const { expiration, conditions } = document as Readonly<Record<string, unknown>>;
  if (expiration === undefined) throw invalid("Policy missing expiration.");
  if (conditions === undefined) throw invalid("Policy missing conditions.");
  if (!Array.isArray(conditions)) throw invalid("Invalid 'conditions' value: must be a List.");
  return { expiresMs: parseExpiration(expiration), conditions: conditions.map(parseCondition) };
}

const isoDate = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;

function parseExpiration(value: unknown): number {
  const ms = typeof value === "string" && isoDate.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(ms)) throw invalid(`Invalid 'expiration' value: '${String(value)}'`);
  return ms;
}

function parseCondition(condition: unknown): Condition {
  if (Array.isArray(condition)) return parseList(condition);
  if (typeof condition !== "object" || condition === null) throw invalid("Invalid Condition.");
  const [entry, second] = Object.entries(condition) as [string, unknown][];
  if (entry === undefined || second !== undefined)
    throw invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.");
  const [field, value] = entry;
  if (typeof value !== "string") throw invalid("Invalid Simple-Condition: value must be a string.");
  return { kind: "eq", field: field.toLowerCase(), value, text: JSON.stringify(["eq", `$${field}`, value]) };
}

function parseList(list: readonly unknown[]): Condition {
  const [operation, first, second] = list;
  const kind = typeof operation === "string" ? operation.toLowerCase() : undefined;
  if (list.length !== 3) throw invalid("Invalid Condition: wrong number of arguments.");
  if (kind === "content-length-range") {
    const [minBytes, maxBytes] = [bytesOf(first), bytesOf(second)];
    if (minBytes > maxBytes) throw invalid("Invalid content-length-range: the minimum is above the maximum.");
    return { kind: "length", minBytes, maxBytes };
  }
  if (kind !== "eq" && kind !== "starts-with") throw invalid("Invalid Condition: unknown operation.");
  if (typeof first !== "string" || !first.startsWith("$") || typeof second !== "string")
    throw invalid(`Invalid Condition: ${kind} takes the name of a field, after $, and a string.`);
  return { kind, field: first.slice(1).toLowerCase(), value: second, text: JSON.stringify([kind, first, second]) };
}

function bytesOf(value: unknown): number {
  const bytes = typeof value === "string" && /^\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof bytes === "number" && Number.isSafeInteger(bytes) && bytes >= 0) return bytes;
  throw invalid("Invalid content-length-range: the bounds must be whole numbers of bytes.");
}

/**
 * No condition is needed for what makes the signature, for what the form says is not meant for S3, and for what the file is
 * compared with: none of it can change what is stored.
 */
function needsNoCondition(field: string): boolean {
  return unconditional.has(field) || field.startsWith("x-ignore-") || field.startsWith("x-amz-checksum-");
}
const unconditional: ReadonlySet<string> = new Set([
  "policy",
  "x-amz-signature",
  "signature",
  "awsaccesskeyid",
  "file",
]);

export type Posted = {
  /** With `bucket`, whatever the form said of it, and the key as it will be. */
  readonly fields: FormFields;
  readonly nowMs: number;
};

/** Errors: AccessDenied. */
export function judgePost({ expiresMs, conditions }: PostPolicy, { fields, nowMs }: Posted): LengthRange {
  if (nowMs > expiresMs) throw denied("Policy expired.");
  let minBytes = 0;
  let maxBytes: number = limits.putBytesMax;
  const covered = new Set<string>();
  for (const condition of conditions) {
    if (condition.kind === "length") {
      minBytes = Math.max(minBytes, condition.minBytes);
      maxBytes = Math.min(maxBytes, condition.maxBytes);
      continue;
    }
    covered.add(condition.field);
    if (!holds(condition, fields.get(condition.field))) throw denied(`Policy Condition failed: ${condition.text}`);
  }
  const extra = [...fields.keys()].filter((field) => !covered.has(field) && !needsNoCondition(field));
  if (extra.length > 0) throw denied(`Extra input fields: ${extra.join(", ")}`);
  return { minBytes, maxBytes };
}

function holds({ kind, field, value }: Extract<Condition, { field: string }>, given: string | undefined): boolean {
  // `starts-with` nothing permits anything, a form without the field too.
  if (given === undefined) return kind === "starts-with" && value === "";
  if (kind === "eq") return given === value;
  // AWS reads a list of types as several values, each of which must meet the condition.
  const values = field === "content-type" ? given.split(",").map((each) => each.trim()) : [given];
  return values.every((each) => each.startsWith(value));
}

function denied(why: string): S3Error {
  return new S3Error("AccessDenied", `Invalid according to Policy: ${why}`);
}

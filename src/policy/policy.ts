/**
 * AWS's policy language: documents → compiled policies → verdicts. Pure: no clock, no store, no network.
 *
 * Promises:
 *  - What is not a policy is refused (`malformed_policy`, in AWS's words where they are known) and never half understood.
 *  - A verdict depends on the request and the policies alone; an explicit deny wins over everything (evaluate.ts).
 *  - No document and no request makes matching take long: wildcards are matched without trying again (glob.ts).
 *
 * parsePolicy (here) reads a document; parseBucketPolicy (bucket_policy.ts) also holds it to its bucket; judge (evaluate.ts)
 * gives the verdict; requestKeys (request_keys.ts) says what a request brings to conditions; isPublic (public.ts).
 *
 * Known gaps: organizations' policies (SCP, RCP), access points, VPC endpoints' policies. Keys that only exist inside AWS (VPCs,
 * organizations, calling services) are understood and never have a value.
 *
 * Source: "IAM JSON policy elements reference" of the IAM User Guide.
 */
import { limits } from "../core/limits.ts";
import { malformed, type PolicyUse } from "./faults.ts";
import { isList, isObject } from "./fields.ts";
import { parseJson, type Json, type JsonObject } from "./json.ts";
import { parseStatement, type Statement } from "./statement.ts";
import { StatementIndex } from "./statement_index.ts";
import { variablesOf } from "./template.ts";

export type Policy = {
  readonly version: "2008-10-17" | "2012-10-17";
  readonly id: string | undefined;
  readonly statements: readonly Statement[];
  readonly index: Pick<StatementIndex, "candidates">;
  /** Condition keys that conditions and variables ask for, in their normal form: what need not be found out. */
  readonly keys: ReadonlySet<string>;
};

export type PolicyOptions = {
  readonly use: PolicyUse;
  /** Of the document: without white space, except for a bucket policy. */
  readonly bytesMax: number;
};

const versions = ["2008-10-17", "2012-10-17"] as const;
const fields = new Set(["Version", "Id", "Statement"]);

/** Errors: `malformed_policy`. */
export function parsePolicy(source: string | Uint8Array, { use, bytesMax }: PolicyOptions): Policy {
  const document = readDocument(textOf(source, use), use, bytesMax);
  const version = versionOf(document.get("Version"), use);
  const options = { use, variables: version === "2012-10-17" };
  const statements = statementsOf(document.get("Statement"), use).map((each) => parseStatement(each, options));
  const sids = statements.flatMap(({ sid }) => (sid === undefined || sid === "" ? [] : [sid]));
  if (new Set(sids).size < sids.length) throw malformed("sid", "", use);
  if (questionMarks(statements) > limits.policyQuestionMarksMax) throw malformed("too_many", "?", use);
  const index = new StatementIndex(statements);
  return { version, id: idOf(document.get("Id"), use), statements, index, keys: keysOf(statements) };
}

/** Bytes that are not UTF-8 are not read as something else. */
function textOf(source: string | Uint8Array, use: PolicyUse): string {
  if (typeof source === "string") return source;
  if (source.length > limits.bucketPolicyBytesMax) throw malformed("too_large", "", use);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(source);
  } catch {
    throw malformed("json", "", use);
  }
}

function readDocument(text: string, use: PolicyUse, bytesMax: number): JsonObject {
  if (Buffer.byteLength(text) > limits.bucketPolicyBytesMax) throw malformed("too_large", "", use);
  const counted = use === "bucket" ? text : text.replace(/\s/g, "");
  if (Buffer.byteLength(counted) > bytesMax) throw malformed("too_large", "", use);
  if (use === "bucket" && !text.startsWith("{")) throw malformed("first_byte", "", use);
  const result = parseJson(text);
  if (!result.ok || !isObject(result.value)) throw malformed("json", "", use);
  for (const name of result.value.keys()) if (!fields.has(name)) throw malformed("unknown_field", name, use);
  return result.value;
}

/** Without a version a document is one of 2008, which knows no variables. */
function versionOf(value: Json | undefined, use: PolicyUse): Policy["version"] {
  const version = versions.find((each) => each === (value ?? "2008-10-17"));
  if (version === undefined) throw malformed("version", "", use);
  return version;
}

function idOf(value: Json | undefined, use: PolicyUse): string | undefined {
  if (value !== undefined && typeof value !== "string") throw malformed("value", "Id", use);
  return value;
}

function statementsOf(value: Json | undefined, use: PolicyUse): readonly Json[] {
  if (value === undefined) throw malformed("missing_field", "Statement", use);
  const statements = isList(value) ? value : [value];
  if (statements.length === 0) throw malformed("no_statement", "", use);
  if (statements.length > limits.policyStatementsMax) throw malformed("too_many", "Statement", use);
  return statements;
}

/** In all values, where they stand for a character and where they do not. */
function questionMarks(statements: readonly Statement[]): number {
  const texts = statements.flatMap(({ actions, resources, conditions }) => [
    ...actions.patterns.map(({ text }) => text),
    ...(resources?.patterns ?? []).map(({ text }) => text),
    ...conditions.flatMap((clause) => clause.texts),
  ]);
  return texts.reduce((sum, text) => sum + text.split("?").length - 1, 0);
}

function keysOf(statements: readonly Statement[]): Set<string> {
  const keys = new Set<string>();
  for (const { conditions, resources } of statements) {
    for (const clause of conditions) for (const key of [clause.key, ...clause.variables]) keys.add(key);
    for (const { tokens } of resources?.patterns ?? []) for (const key of variablesOf(tokens)) keys.add(key);
  }
  return keys;
}

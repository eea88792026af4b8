/**
 * What a commit over several keys is asked for, as JSON (docs/atomic-commit.md). Read strictly: a field that is not known is
 * refused, for it might be a condition.
 */
import { limits } from "../core/limits.ts";
import type { CommitEntry, EntryOf } from "../object/commit_types.ts";
import type { ObjectMetadata, ObjectTags, WriteConditions } from "../object/object.ts";
import { taggingHeader } from "./documents/tagging.ts";
import { S3Error } from "./errors.ts";
import { asHeader } from "./exchange.ts";
import { contentHeaderNames, objectMetadata, parseEtagList } from "./headers.ts";

type Fields = ReadonlyMap<string, unknown>;

/** Errors: InvalidRequest and others, with the place of the entry (`Entry`, from 0). */
export function parseCommitDocument(bytes: Buffer): CommitEntry[] {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch {
    throw new S3Error("InvalidRequest", "The body is not JSON.");
  }
  return readCommitDocument(value);
}

export function readCommitDocument(value: unknown): CommitEntry[] {
  const fields = fieldsOf(value, "The document", ["entries"]);
  const entries = fields.get("entries");
  if (!Array.isArray(entries)) throw wrong("The document has a list of `entries`.");
  if (entries.length > limits.commitEntriesMax) throw wrong(`A commit has at most ${limits.commitEntriesMax} entries.`);
  return entries.map((entry: unknown, index) => {
    try {
      return readEntry(entry);
    } catch (error) {
      if (!(error instanceof S3Error)) throw error;
      throw new S3Error(error.code, error.message, { details: { ...error.details, Entry: index }, cause: error });
    }
  });
}

const conditionNames = ["ifMatch", "ifNoneMatch"];
/** Kind of entry → its field of that name holds a key; what other fields it may have. */
const fieldNames = {
  put: ["text", "base64", "from", "headers", ...conditionNames],
  delete: ["versionId", "ifMatch"],
  rename: ["to", "ifMatch", "toIfMatch", "toIfNoneMatch"],
  check: conditionNames,
} as const;

type Kind = keyof typeof fieldNames;
const kinds: readonly Kind[] = ["put", "delete", "rename", "check"];

function readEntry(value: unknown): CommitEntry {
  if (typeof value !== "object" || value === null) throw wrong("An entry is an object.");
  const kind = kinds.find((each) => Object.hasOwn(value, each));
  if (kind === undefined) throw wrong(`An entry has one of the fields ${kinds.join(", ")}.`);
  const fields = fieldsOf(value, `A ${kind}`, [kind, ...fieldNames[kind]]);
  const key = keyOf(fields, kind);
  switch (kind) {
    case "put":
      return readPut(key, fields);
    case "delete": {
      const versionId = textOf(fields, "versionId");
      return { kind, key, ...(versionId !== undefined && { versionId }), ...conditionsOf(fields) };
    }
    case "rename":
      return readRename(key, fields);
    case "check": {
      const { conditions } = conditionsOf(fields);
      if (conditions === undefined) throw wrong("A check has ifMatch or ifNoneMatch.");
      return { kind, key, conditions };
    }
  }
}

function readRename(source: Buffer, fields: Fields): EntryOf<"rename"> {
  const of = conditionsOf(fields);
  return { kind: "rename", key: keyOf(fields, "to"), source: { key: source, ...of }, ...conditionsOf(fields, "to") };
}

function readPut(key: Buffer, fields: Fields): EntryOf<"put" | "copy"> {
  const given = ["text", "base64", "from"].filter((name) => fields.has(name));
  if (given.length !== 1) throw wrong("A put has exactly one of text, base64 and from.");
  const { metadata, tags } = describedBy(fields);
  const common = { key, ...(tags && { tags }), ...conditionsOf(fields) };
  if (given[0] === "from")
    return { kind: "copy", source: readFrom(fields.get("from")), ...(metadata && { metadata }), ...common };
  return { kind: "put", bytes: bytesOf(fields), metadata: metadata ?? { headers: {}, user: {} }, ...common };
}

function readFrom(value: unknown): EntryOf<"copy">["source"] {
  const fields = fieldsOf(value, "`from`", ["key", "versionId", ...conditionNames]);
  const versionId = textOf(fields, "versionId");
  return { key: keyOf(fields, "key"), ...(versionId !== undefined && { versionId }), ...conditionsOf(fields) };
}

function bytesOf(fields: Fields): Buffer {
  const text = textOf(fields, "text");
  if (text !== undefined) return Buffer.from(text);
  const base64 = textOf(fields, "base64") ?? "";
  const bytes = Buffer.from(base64, "base64");
  if (bytes.toString("base64") !== base64) throw wrong("`base64` is not base64.");
  return bytes;
}

type Described = { readonly metadata: ObjectMetadata | undefined; readonly tags: ObjectTags | undefined };

/** `headers`: as a PutObject would bring them. */
function describedBy(fields: Fields): Described {
  const given = fields.get("headers");
  if (given === undefined) return { metadata: undefined, tags: undefined };
  if (typeof given !== "object" || given === null) throw wrong("`headers` is an object.");
  const headers: [string, string][] = Object.entries(given).map(([name, value]: [string, unknown]) => {
    const lower = name.toLowerCase();
    if (typeof value !== "string") throw wrong(`The header ${name} is a text.`);
    if (!isDescribing(lower)) throw wrong(`The header ${name} says nothing here.`);
    return [lower, asHeader(lower, value)];
  });
  const own = Object.fromEntries(headers);
  const describes = headers.some(([name]) => name !== tagging);
  return { metadata: describes ? objectMetadata(own) : undefined, tags: taggingHeader(own[tagging]) };
}

const tagging = "x-amz-tagging";

function isDescribing(name: string): boolean {
  return name === tagging || name.startsWith("x-amz-meta-") || contentHeaderNames.some((each) => each === name);
}

/** `ifMatch` and `ifNoneMatch`, or with `to` those of the new key. */
function conditionsOf(fields: Fields, of: "" | "to" = ""): { readonly conditions?: WriteConditions } {
  const ifMatch = textOf(fields, of === "" ? "ifMatch" : "toIfMatch");
  const ifNoneMatch = textOf(fields, of === "" ? "ifNoneMatch" : "toIfNoneMatch");
  if (ifMatch === undefined && ifNoneMatch === undefined) return {};
  const conditions = {
    ...(ifMatch !== undefined && { ifMatch: parseEtagList(ifMatch) }),
    ...(ifNoneMatch !== undefined && { ifNoneMatch: parseEtagList(ifNoneMatch, true) }),
  };
  return { conditions };
}

function fieldsOf(value: unknown, what: string, names: readonly string[]): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(`${what} is an object.`);
  const fields = new Map<string, unknown>(Object.entries(value));
  for (const name of fields.keys()) if (!names.includes(name)) throw wrong(`${what} has no field "${name}".`);
  return fields;
}

/** Undefined where it is not there. */
function textOf(fields: Fields, name: string): string | undefined {
  const value = fields.get(name);
  if (value === undefined || (typeof value === "string" && value.isWellFormed())) return value;
  throw wrong(`"${name}" is a text.`);
}

function keyOf(fields: Fields, name: string): Buffer {
  const text = textOf(fields, name);
  if (text === undefined || text === "") throw wrong(`"${name}" names a key.`);
  return Buffer.from(text);
}

function wrong(why: string): S3Error {
  return new S3Error("InvalidRequest", why);
}

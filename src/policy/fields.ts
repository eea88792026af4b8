/** Elements of a policy document as what they must be. Errors: `malformed_policy`. */
import { malformed } from "./faults.ts";
import { JsonNumber, type Json, type JsonObject } from "./json.ts";

export function isObject(value: Json | undefined): value is JsonObject {
  return value instanceof Map;
}

export function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

export function entriesOf(value: Json, name: string): [string, Json][] {
  if (!isObject(value)) throw malformed("value", name);
  return [...value];
}

/** One value or a list of at least one. Numbers and truth values count as the text they are written with. */
export function textsOf(value: Json, name: string): string[] {
  const values = isList(value) ? value : [value];
  if (values.length === 0) throw malformed("value", name);
  return values.map((each) => {
    if (typeof each === "string") return each;
    if (typeof each === "boolean") return String(each);
    if (each instanceof JsonNumber) return each.text;
    throw malformed("value", name);
  });
}

export function stringsOf(value: Json, name: string): readonly string[] {
  const values = isList(value) ? value : [value];
  if (values.length === 0 || !values.every((each) => typeof each === "string")) throw malformed("value", name);
  return values;
}

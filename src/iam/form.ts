/**
 * The form that a request to IAM or STS is: `Action=…&Version=…&UserName=…&Tags.member.1.Key=…`. Strict and bounded: text
 * that is not UTF-8, a name given twice, and more than queryFormFieldsMax of them are refused. Members of a list are taken in
 * the order of their numbers, which begin at 1 and leave nothing out.
 */
import { isUtf8 } from "node:buffer";
import { limits } from "../core/limits.ts";
import type { Tag } from "../identity/records.ts";
import { malformedInput, QueryError } from "./faults.ts";

export class Form {
  readonly #fields: ReadonlyMap<string, string>;

  constructor(fields: ReadonlyMap<string, string>) {
    this.#fields = fields;
  }

  text(name: string): string | undefined {
    return this.#fields.get(name);
  }

  required(name: string): string {
    const value = this.#fields.get(name);
    if (value === undefined || value === "")
      throw new QueryError("MissingParameter", `The request must contain the parameter ${name}.`);
    return value;
  }

  whole(name: string): number | undefined {
    const value = this.#fields.get(name);
    if (value === undefined) return undefined;
    if (!/^\d{1,9}$/.test(value)) throw new QueryError("ValidationError", `${name} must be a whole number.`);
    return Number(value);
  }

  flag(name: string): boolean | undefined {
    const value = this.#fields.get(name)?.toLowerCase();
    if (value === undefined) return undefined;
    if (value !== "true" && value !== "false")
      throw new QueryError("ValidationError", `${name} must be true or false.`);
    return value === "true";
  }

  has(prefix: string): boolean {
    for (const name of this.#fields.keys()) if (name === prefix || name.startsWith(`${prefix}.`)) return true;
    return false;
  }

  /** `NAME.member.1`, `NAME.member.2`, …; with a field: `NAME.member.1.FIELD`. */
  members(name: string, field?: string): string[] {
    const found: string[] = [];
    for (let number = 1; ; number++) {
      const value = this.#fields.get(`${name}.member.${number}${field === undefined ? "" : `.${field}`}`);
      if (value === undefined) return found;
      found.push(value);
    }
  }

  /** Of the parameter `Tags`; undefined where there are none. */
  tags(): Tag[] | undefined {
    const keys = this.members("Tags", "Key");
    const values = this.members("Tags", "Value");
    if (keys.length !== values.length) throw malformedInput("Every tag has a Key and a Value.");
    return keys.length === 0 ? undefined : keys.map((key, index) => ({ key, value: values[index]! }));
  }
}

export function parseForm(body: Buffer): Form {
  const fields = new Map<string, string>();
  const pairs = body.toString("latin1").split("&");
  if (pairs.length > limits.queryFormFieldsMax) throw malformedInput("The request has too many parameters.");
  for (const pair of pairs) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const name = decode(equals < 0 ? pair : pair.slice(0, equals));
    if (fields.has(name)) throw malformedInput("A parameter stands twice in the request.");
    fields.set(name, equals < 0 ? "" : decode(pair.slice(equals + 1)));
  }
  return new Form(fields);
}

/** `+` is a space; everything else that is not plain is %XX. One character of `text` is one byte. */
function decode(text: string): string {
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) throw malformedInput("A parameter is not encoded as it should be.");
  const plain = text
    .replaceAll("+", " ")
    .replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  const bytes = Buffer.from(plain, "latin1");
  if (!isUtf8(bytes)) throw malformedInput("A parameter is not UTF-8.");
  return bytes.toString("utf8");
}

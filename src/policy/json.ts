/**
 * Strict JSON (RFC 8259) for policy documents. What `JSON.parse` lets pass in silence is refused here, for two readers of one
 * policy must not see two policies: a name that stands twice in an object, and text that is not UTF-8. Objects are maps, so
 * that no name means anything to JavaScript; numbers keep the digits they were written with.
 */
import { limits } from "../core/limits.ts";

export type Json = string | boolean | null | JsonNumber | readonly Json[] | JsonObject;
export type JsonObject = ReadonlyMap<string, Json>;

/** A number as it was written. */
export class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type JsonResult = { readonly ok: true; readonly value: Json } | { readonly ok: false; readonly why: string };

/** Depth and lists are bounded; how long the text may be is the caller's to say. */
export function parseJson(text: string): JsonResult {
  const reader = new Reader(text);
  try {
    return { ok: true, value: reader.document() };
  } catch (error) {
    if (error instanceof Fault) return { ok: false, why: error.message };
    throw error;
  }
}

/** Leaves the recursion; never leaves this file. */
class Fault extends Error {}

const space = /[ \t\n\r]*/y;
const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
/** Everything up to the quotation mark that is not escaped. Control characters stand in no string. */
const string = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const word = /true|false|null/y;

class Reader {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): Json {
    const value = this.#value();
    this.#take(space);
    if (this.#at !== this.#text.length) throw this.#fault();
    return value;
  }

  #fault(): Fault {
    return new Fault(`at character ${this.#at + 1}`);
  }

  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  /** Skips white space; whether this character came next, and was taken. */
  #sees(char: string): boolean {
    this.#take(space);
    if (this.#text[this.#at] !== char) return false;
    this.#at += 1;
    return true;
  }

  #value(): Json {
    if (this.#sees("{")) return this.#inside(() => this.#object());
    if (this.#sees("[")) return this.#inside(() => this.#list());
    if (this.#text[this.#at] === '"') return this.#string();
    const found = this.#take(word);
    if (found !== undefined) return found === "null" ? null : found === "true";
    const digits = this.#take(number);
    if (digits === undefined) throw this.#fault();
    return new JsonNumber(digits);
  }

  #inside<T>(read: () => T): T {
    this.#depth += 1;
    if (this.#depth > limits.policyDepthMax) throw this.#fault();
    const value = read();
    this.#depth -= 1;
    return value;
  }

  #string(): string {
    const found = this.#take(string);
    if (found === undefined) throw this.#fault();
    // Its form is checked; what the escapes mean is JavaScript's to say.
    const text = JSON.parse(found) as string;
    if (!text.isWellFormed()) throw this.#fault();
    return text;
  }

  #object(): JsonObject {
    const object = new Map<string, Json>();
    if (this.#sees("}")) return object;
    do {
      this.#take(space);
      const name = this.#string();
      if (object.has(name) || object.size === limits.policyListMax || !this.#sees(":")) throw this.#fault();
      object.set(name, this.#value());
    } while (this.#sees(","));
    if (!this.#sees("}")) throw this.#fault();
    return object;
  }

  #list(): Json[] {
    const list: Json[] = [];
    if (this.#sees("]")) return list;
    do {
      if (list.length === limits.policyListMax) throw this.#fault();
      list.push(this.#value());
    } while (this.#sees(","));
    if (!this.#sees("]")) throw this.#fault();
    return list;
  }
}

/**
 * Amazon Resource Names and patterns of them: `arn:partition:service:region:account:resource`. The six parts are compared
 * one by one, so that a wildcard never reaches over a colon; only the resource may have colons of its own. A pattern that
 * ends early must end with an asterisk, which then takes the parts that are missing too (`arn:aws:s3:*`, `*`).
 */
import type { GlobToken } from "./glob.ts";
import { Glob } from "./glob.ts";

const partsMax = 6;

export type Arn = {
  readonly text: string;
  /** Six; fewer when the text is no ARN, which then only matches `*`. */
  readonly parts: readonly string[];
};

export function readArn(text: string): Arn {
  return { text, parts: splitText(text) };
}

function splitText(text: string): string[] {
  const parts: string[] = [];
  let from = 0;
  while (parts.length < partsMax - 1) {
    const colon = text.indexOf(":", from);
    if (colon < 0) break;
    parts.push(text.slice(from, colon));
    from = colon + 1;
  }
  parts.push(text.slice(from));
  return parts;
}

export class ArnPattern {
  /** What stands before the last part: as text where it has no wildcards, by which most patterns are told apart. */
  readonly #before: string | readonly Glob[];
  readonly #last: Glob;
  /** How many parts stand before the last. */
  readonly #count: number;
  /** A lone asterisk, which matches what is no ARN too. */
  readonly #isEverything: boolean;

  constructor(tokens: readonly GlobToken[]) {
    const parts = splitTokens(tokens).map((part) => new Glob(part));
    const before = parts.slice(0, -1);
    const literals = before.flatMap(({ literal }) => (literal === undefined ? [] : [`${literal}:`]));
    this.#before = literals.length === before.length ? literals.join("") : before;
    this.#last = parts.at(-1)!;
    this.#count = before.length;
    this.#isEverything = parts.length === 1 && this.#last.isEverything;
  }

  matches(arn: Arn): boolean {
    if (this.#isEverything) return true;
    const { text, parts } = arn;
    if (parts.length < partsMax) return false;
    if (typeof this.#before === "string") {
      if (!text.startsWith(this.#before)) return false;
    } else if (!this.#before.every((part, index) => part.matches(parts[index]!))) return false;
    // A pattern that ends early is about all the parts that it lacks.
    const rest = this.#count === partsMax - 1 ? parts[partsMax - 1]! : parts.slice(this.#count).join(":");
    return this.#last.matches(rest);
  }
}

/** Whether a pattern with these parts can be compared part by part. */
export function isArnPattern(tokens: readonly GlobToken[]): boolean {
  const parts = splitTokens(tokens);
  return parts.length === partsMax || parts.at(-1)!.at(-1)?.kind === "any";
}

/** Cuts at the first five colons. */
export function splitTokens(tokens: readonly GlobToken[]): GlobToken[][] {
  const parts: GlobToken[][] = [[]];
  for (const token of tokens) {
    if (token.kind !== "text") {
      parts.at(-1)!.push(token);
      continue;
    }
    let rest = token.text;
    while (parts.length < partsMax) {
      const colon = rest.indexOf(":");
      if (colon < 0) break;
      if (colon > 0) parts.at(-1)!.push({ kind: "text", text: rest.slice(0, colon) });
      parts.push([]);
      rest = rest.slice(colon + 1);
    }
    if (rest !== "") parts.at(-1)!.push({ kind: "text", text: rest });
  }
  return parts;
}

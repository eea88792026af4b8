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
  readonly #parts: readonly Glob[];
  /** Text before the last part, where it has no wildcards: most patterns are told apart by it. */
  readonly #start: string | undefined;
  readonly #isOpen: boolean;
  /** A lone asterisk, which matches what is no ARN too. */
  readonly #isEverything: boolean;

  constructor(tokens: readonly GlobToken[]) {
    const parts = splitTokens(tokens);
    this.#parts = parts.map((part) => new Glob(part));
    this.#isOpen = parts.length < partsMax;
    const before = this.#parts.slice(0, -1).map(({ literal }) => literal);
    this.#start = before.every((part) => part !== undefined) ? before.map((part) => `${part}:`).join("") : undefined;
    this.#isEverything = this.#parts.length === 1 && this.#parts[0]!.isEverything;
  }

  matches(arn: Arn): boolean {
    if (this.#isEverything) return true;
    const { text, parts } = arn;
    if (parts.length < partsMax) return false;
    const last = this.#parts.length - 1;
    if (this.#start !== undefined) {
      if (!text.startsWith(this.#start)) return false;
    } else if (!this.#parts.slice(0, -1).every((part, index) => part.matches(parts[index]!))) return false;
    const rest = this.#isOpen ? parts.slice(last).join(":") : parts[partsMax - 1]!;
    return this.#parts[last]!.matches(rest);
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

/**
 * Values of a policy with wildcards and policy variables, compiled once.
 *
 * Source: "IAM policy elements: Variables and tags" of the IAM User Guide. Variables exist since version 2012-10-17; in older
 * documents `${…}` is text. `${*}`, `${?}` and `${$}` are these characters. A variable whose key has no value, or may have several,
 * takes its default (`${aws:userid, 'anonymous'}`); without one the whole value matches nothing. What a variable brings is
 * text: an asterisk in it is an asterisk.
 */
import { normalKey, type ConditionKeys } from "./condition_values.ts";
import { Glob, type GlobToken } from "./glob.ts";

export type Token = GlobToken | VariableToken;
type VariableToken = { readonly kind: "variable"; readonly name: string; readonly fallback: string | undefined };

export type TemplateOptions = {
  readonly wildcards: boolean;
  readonly variables: boolean;
};

const variable = /\$\{(?:([*?$])|([^{}'",*?$]+:[^{}'",*?$]+)(?:, *'([^'{}]*)')? *)\}/y;

/** Undefined when a `${` begins no variable. */
export function parseTemplate(text: string, { wildcards, variables }: TemplateOptions): readonly Token[] | undefined {
  const tokens: Token[] = [];
  let plain = "";
  const end = (): void => {
    if (plain !== "") tokens.push({ kind: "text", text: plain });
    plain = "";
  };
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (wildcards && (char === "*" || char === "?")) {
      end();
      tokens.push({ kind: char === "*" ? "any" : "one" });
    } else if (variables && char === "$" && text[at + 1] === "{") {
      variable.lastIndex = at;
      const found = variable.exec(text);
      if (found === null) return undefined;
      const [whole, special, name, fallback] = found;
      at += whole.length - 1;
      if (special !== undefined) plain += special;
      else {
        end();
        tokens.push({ kind: "variable", name: normalKey(name!.trim()), fallback });
      }
    } else plain += char;
  }
  end();
  return tokens;
}

/** The names of the variables in it. */
export function variablesOf(tokens: readonly Token[]): string[] {
  return tokens.flatMap((token) => (token.kind === "variable" ? [token.name] : []));
}

export function isFixed(tokens: readonly Token[]): boolean {
  return tokens.every(({ kind }) => kind === "text");
}

function isResolved(tokens: readonly Token[]): tokens is readonly GlobToken[] {
  return tokens.every(({ kind }) => kind !== "variable");
}

/** What stands for each variable in this request; undefined when one has no value. */
function valuesOf(variables: readonly VariableToken[], keys: ConditionKeys): string[] | undefined {
  const values: string[] = [];
  for (const { name, fallback } of variables) {
    const found = keys.get(name);
    const value = typeof found === "string" ? found : fallback;
    if (value === undefined) return undefined;
    values.push(value);
  }
  return values;
}

function withValues(tokens: readonly Token[], values: readonly string[]): GlobToken[] {
  let next = 0;
  return tokens.map((token) => (token.kind === "variable" ? { kind: "text", text: values[next++]! } : token));
}

/**
 * What is made of a value's parts: once where it has no variable, else for each request that brings other values than the one
 * before. Undefined: it matches nothing.
 */
export function compiled<T>(
  tokens: readonly Token[],
  make: (tokens: readonly GlobToken[]) => T,
): (keys: ConditionKeys) => T | undefined {
  if (isResolved(tokens)) {
    const made = make(tokens);
    return () => made;
  }
  const variables = tokens.filter((token) => token.kind === "variable");
  let last: { readonly values: readonly string[]; readonly made: T } | undefined;
  return (keys) => {
    const values = valuesOf(variables, keys);
    if (values === undefined) return undefined;
    if (last === undefined || !values.every((value, index) => value === last!.values[index]))
      last = { values, made: make(withValues(tokens, values)) };
    return last.made;
  };
}

/** The same characters in lower case, for comparisons that ignore it. */
export function lowerTokens(tokens: readonly GlobToken[]): GlobToken[] {
  return tokens.map((token) => (token.kind === "text" ? { kind: "text", text: token.text.toLowerCase() } : token));
}

export function compileGlob(tokens: readonly Token[]): (keys: ConditionKeys) => Glob | undefined {
  return compiled(tokens, (resolved) => new Glob(resolved));
}

/**
 * The condition operators: what makes one value of a policy match one value of a request. How several values, keys and
 * operators go together, and what a missing key means, is in conditions.ts.
 *
 * Source: "IAM JSON policy elements: Condition operators" of the IAM User Guide.
 */
import { ArnPattern, isArnPattern, readArn } from "./arns.ts";
import { isInBlock, parseAddress, parseBlock } from "./addresses.ts";
import type { ConditionKeys } from "./condition_values.ts";
import { parseDate } from "./dates.ts";
import { compiled, compileGlob, isFixed, lowerTokens, parseTemplate, variablesOf } from "./template.ts";
import { Glob, type GlobToken } from "./glob.ts";

/** Whether a value of the request is the one the policy names. Undefined: a variable in the policy's has no value. */
export type Match = (value: string, keys: ConditionKeys) => boolean | undefined;

export type CompiledValue = {
  readonly match: Match;
  /** Neither wildcard nor variable. */
  readonly isFixed: boolean;
  readonly variables: readonly string[];
};

export type Operator = {
  /** The condition holds where no value matches. */
  readonly isNegated: boolean;
  /** Undefined when the policy's value is none for this operator. */
  compile(value: string, variables: boolean): CompiledValue | undefined;
};

const positive = (compile: Operator["compile"]): Operator => ({ isNegated: false, compile });
const negated = (compile: Operator["compile"]): Operator => ({ isNegated: true, compile });

function templated(
  text: string,
  options: Parameters<typeof parseTemplate>[1],
  makeMatch: (tokens: NonNullable<ReturnType<typeof parseTemplate>>) => Match | undefined,
): CompiledValue | undefined {
  const tokens = parseTemplate(text, options);
  const match = tokens && makeMatch(tokens);
  return tokens && match && { match, isFixed: isFixed(tokens), variables: variablesOf(tokens) };
}

const equals: Operator["compile"] = (text, variables) =>
  templated(text, { wildcards: false, variables }, (tokens) => {
    const glob = compileGlob(tokens);
    return (value, keys) => glob(keys)?.matches(value);
  });

const equalsIgnoreCase: Operator["compile"] = (text, variables) =>
  templated(text, { wildcards: false, variables }, (tokens) => {
    const glob = compiled(tokens, (resolved) => new Glob(lowerTokens(resolved)));
    return (value, keys) => glob(keys)?.matches(value.toLowerCase());
  });

const like: Operator["compile"] = (text, variables) =>
  templated(text, { wildcards: true, variables }, (tokens) => {
    const glob = compileGlob(tokens);
    return (value, keys) => glob(keys)?.matches(value);
  });

const arn: Operator["compile"] = (text, variables) =>
  templated(text, { wildcards: true, variables }, (tokens) => {
    const isComplete = tokens.every(({ kind }) => kind !== "variable");
    if (isComplete && !isArnPattern(tokens as readonly GlobToken[])) return undefined;
    const pattern = compiled(tokens, (resolved) => new ArnPattern(resolved));
    return (value, keys) => pattern(keys)?.matches(readArn(value));
  });

/** Operators that know no variables and no wildcards. */
function compared<T>(
  parse: (text: string) => T | undefined,
  holds: (ofRequest: T, ofPolicy: T) => boolean,
): Operator["compile"] {
  return (text) => {
    const ofPolicy = parse(text);
    if (ofPolicy === undefined) return undefined;
    const match: Match = (value) => {
      const ofRequest = parse(value);
      return ofRequest !== undefined && holds(ofRequest, ofPolicy);
    };
    return { match, isFixed: true, variables: [] };
  };
}

function parseNumber(text: string): number | undefined {
  return /^[+-]?(?:\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})(?:[eE][+-]?\d{1,2})?$/.test(text) ? Number(text) : undefined;
}

function parseBool(text: string): boolean | undefined {
  const lower = text.toLowerCase();
  return lower === "true" || lower === "false" ? lower === "true" : undefined;
}

function parseBinary(text: string): string | undefined {
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64") === text ? bytes.toString("latin1") : undefined;
}

const address: Operator["compile"] = (text) => {
  const block = parseBlock(text);
  if (block === undefined) return undefined;
  const match: Match = (value) => {
    const address = parseAddress(value);
    return address !== undefined && isInBlock(address, block);
  };
  return { match, isFixed: true, variables: [] };
};

type Relation = (ofRequest: number, ofPolicy: number) => boolean;
const relations: Readonly<Record<string, Relation>> = {
  Equals: (a, b) => a === b,
  LessThan: (a, b) => a < b,
  LessThanEquals: (a, b) => a <= b,
  GreaterThan: (a, b) => a > b,
  GreaterThanEquals: (a, b) => a >= b,
};

function ordered(family: string, parse: (text: string) => number | undefined): [string, Operator][] {
  const some = Object.entries(relations).map(([name, holds]): [string, Operator] => [
    `${family}${name}`,
    positive(compared(parse, holds)),
  ]);
  return [...some, [`${family}NotEquals`, negated(compared(parse, relations["Equals"]!))]];
}

const same = <T>(a: T, b: T): boolean => a === b;

/** By their names, which are spelled just so. `Null` asks for the key itself and is in conditions.ts. */
export const operators: ReadonlyMap<string, Operator> = new Map([
  ["StringEquals", positive(equals)],
  ["StringNotEquals", negated(equals)],
  ["StringEqualsIgnoreCase", positive(equalsIgnoreCase)],
  ["StringNotEqualsIgnoreCase", negated(equalsIgnoreCase)],
  ["StringLike", positive(like)],
  ["StringNotLike", negated(like)],
  ...ordered("Numeric", parseNumber),
  ...ordered("Date", parseDate),
  ["Bool", positive(compared(parseBool, same))],
  ["BinaryEquals", positive(compared(parseBinary, same))],
  ["IpAddress", positive(address)],
  ["NotIpAddress", negated(address)],
  ["ArnEquals", positive(arn)],
  ["ArnLike", positive(arn)],
  ["ArnNotEquals", negated(arn)],
  ["ArnNotLike", negated(arn)],
]);

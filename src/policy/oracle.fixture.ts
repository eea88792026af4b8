/**
 * A second evaluator, written down plainly from AWS's text and sharing nothing with the first but the requests: it reads the
 * document's JSON itself, tries all ways to match a wildcard, and asks AWS's questions in AWS's order.
 */
import type { KeyValue } from "./condition_values.ts";
import type { PolicyRequest } from "./evaluate.ts";
import type { Caller } from "./principals.ts";

type Statement = Record<string, unknown> & {
  Effect: "Allow" | "Deny";
  Condition?: Record<string, Record<string, unknown>>;
};
export type Document = { Version?: string; Statement: Statement[] };
export type Documents = { identity: Document[]; boundary?: Document; session?: Document[]; resource?: Document };
export type Outcome = "allow" | "explicit_deny" | "implicit_deny";

const list = (value: unknown): string[] => (Array.isArray(value) ? value : [value]).map(String);

/** A wildcard pattern as characters; `[text]` is literal. */
type Sign = "*" | "?" | readonly [string];

function like(signs: readonly Sign[], text: readonly string[]): boolean {
  const [sign, ...rest] = signs;
  if (sign === undefined) return text.length === 0;
  if (sign === "*") return text.some((_, skip) => like(rest, text.slice(skip))) || like(rest, []);
  if (text.length === 0) return false;
  return (sign === "?" || sign[0] === text[0]) && like(rest, text.slice(1));
}

const chars = (text: string): string[] => Array.from(text);
const literal = (text: string): Sign[] => chars(text).map((char) => [char]);

/** The text with its variables replaced; "unresolved" where one has no value. */
function signsOf(text: string, wildcards: boolean, document: Document, request: PolicyRequest): Sign[] | "unresolved" {
  const signs: Sign[] = [];
  for (let rest = text; rest !== "";) {
    const variable = document.Version === "2012-10-17" ? /^\$\{([^}]*)\}/.exec(rest) : null;
    if (variable === null) {
      const [char] = chars(rest) as [string];
      signs.push(wildcards && (char === "*" || char === "?") ? char : [char]);
      rest = rest.slice(char.length);
      continue;
    }
    rest = rest.slice(variable[0].length);
    const inside = variable[1]!;
    if (["*", "?", "$"].includes(inside)) signs.push([inside]);
    else {
      const [name = "", fallback] = inside.split(", ");
      const value = request.keys.get(name.toLowerCase());
      if (typeof value === "string") signs.push(...literal(value));
      else if (fallback !== undefined) signs.push(...literal(fallback.slice(1, -1)));
      else return "unresolved";
    }
  }
  return signs;
}

/** Six parts between colons, each on its own; a last asterisk takes what is missing. */
function arnLike(signs: readonly Sign[], text: string): boolean {
  if (signs.length === 1 && signs[0] === "*") return true;
  const parts: Sign[][] = [[]];
  for (const sign of signs) {
    if (parts.length < 6 && sign[0] === ":") parts.push([]);
    else parts.at(-1)!.push(sign);
  }
  const all = text.split(":");
  if (all.length < 6) return false;
  const values = [...all.slice(0, parts.length - 1), all.slice(parts.length - 1).join(":")];
  return parts.every((part, index) => like(part, chars(values[index]!)));
}

function lists(statement: Statement, name: string): { values: string[]; isNot: boolean } {
  const isNot = `Not${name}` in statement;
  return { values: list(statement[isNot ? `Not${name}` : name]), isNot };
}

function actionMatches(statement: Statement, request: PolicyRequest): boolean {
  const { values, isNot } = lists(statement, "Action");
  const action = chars(request.action.toLowerCase());
  const signs = (text: string): Sign[] =>
    chars(text.toLowerCase()).map((c): Sign => (c === "*" || c === "?" ? c : [c]));
  return values.some((text) => like(signs(text), action)) !== isNot;
}

function resourceMatches(statement: Statement, document: Document, request: PolicyRequest): boolean {
  const { values, isNot } = lists(statement, "Resource");
  const all = values.map((text) => signsOf(text, true, document, request));
  if (isNot && statement.Effect === "Allow" && all.includes("unresolved")) return false;
  return all.some((signs) => signs !== "unresolved" && arnLike(signs, request.resource)) !== isNot;
}

function principalNames(caller: Caller): { account: string[]; role: string[]; self: string[] } {
  if (caller.kind === "anonymous") return { account: [], role: [], self: [] };
  if (caller.kind === "federated") return { account: [], role: [], self: [caller.provider] };
  if (caller.kind === "service") return { account: [], role: [], self: [caller.name] };
  const account = [caller.account, `arn:aws:iam::${caller.account}:root`, caller.canonicalId];
  if (caller.kind === "root") return { account: [], role: [], self: account };
  if (caller.kind === "user") return { account, role: [], self: [caller.arn] };
  return { account, role: [caller.roleArn], self: [caller.arn] };
}

/** How the statement is about the caller: "" when it is not. */
function principalMatch(statement: Statement, caller: Caller): "" | "account" | "role" | "everyone" | "self" {
  const isNot = "NotPrincipal" in statement;
  const element = statement[isNot ? "NotPrincipal" : "Principal"];
  if (element === undefined) return "self";
  const named = element === "*" ? ["*"] : Object.values(element as Record<string, unknown>).flatMap(list);
  const names = principalNames(caller);
  const has = (some: string[]): boolean => some.some((name) => named.includes(name));
  if (isNot) {
    const levels = [names.account, names.role, names.self].filter((level) => level.length > 0);
    if (named.includes("*")) return "";
    const hits = levels.filter(has).length;
    const spared = levels.length > 0 && hits === levels.length;
    return spared ? "" : "everyone";
  }
  if (has(names.self)) return "self";
  if (has(names.role)) return "role";
  if (named.includes("*")) return "everyone";
  return has(names.account) ? "account" : "";
}

function ip(text: string): number | undefined {
  const parts = text.split(".").map(Number);
  return parts.length === 4 ? parts.reduce((value, part) => value * 256 + part, 0) : undefined;
}

function valueMatches(
  base: string,
  wanted: string,
  value: string,
  document: Document,
  request: PolicyRequest,
): boolean | "unresolved" {
  const numbers: Record<string, (a: number, b: number) => boolean> = {
    Equals: (a, b) => a === b,
    NotEquals: (a, b) => a === b,
    LessThan: (a, b) => a < b,
    LessThanEquals: (a, b) => a <= b,
    GreaterThan: (a, b) => a > b,
    GreaterThanEquals: (a, b) => a >= b,
  };
  const family = /^(String|Arn|Numeric|Date|Bool|IpAddress|NotIpAddress)/.exec(base)![1]!;
  const relation = base.slice(family.length);
  if (family === "Numeric") return /^-?\d+$/.test(value) && numbers[relation]!(Number(value), Number(wanted));
  if (family === "Date") return numbers[relation]!(Date.parse(value), Date.parse(wanted));
  if (family === "Bool") return value.toLowerCase() === wanted.toLowerCase();
  if (family.endsWith("IpAddress")) {
    const [network = "", prefix = "32"] = wanted.split("/");
    const size = 2 ** (32 - Number(prefix));
    const [a, b] = [ip(value), ip(network)];
    return a !== undefined && b !== undefined && Math.floor(a / size) === Math.floor(b / size);
  }
  const ignoresCase = relation.endsWith("IgnoreCase");
  const signs = signsOf(wanted, family === "Arn" || relation.endsWith("Like"), document, request);
  if (signs === "unresolved") return signs;
  if (family === "Arn") return arnLike(signs, value);
  const lower = (sign: Sign): Sign => (typeof sign === "string" ? sign : [sign[0].toLowerCase()]);
  return ignoresCase ? like(signs.map(lower), chars(value.toLowerCase())) : like(signs, chars(value));
}

function conditionHolds(
  name: string,
  wanted: string[],
  found: KeyValue,
  statement: Statement,
  document: Document,
  request: PolicyRequest,
): boolean {
  const [, qualifier, base, ifExists] = /^(?:(\w+):)?(\w+?)(IfExists)?$/.exec(name) as unknown as string[];
  const values = found === undefined ? [] : typeof found === "string" ? [found] : [...found];
  if (base === "Null") return wanted.some((each) => (each === "true") === (values.length === 0));
  const negated = /Not/.test(base!);
  if (values.length === 0) {
    if (ifExists !== undefined) return true;
    if (qualifier === "ForAllValues") return true;
    if (qualifier === "ForAnyValue") return false;
    return negated;
  }
  const matchesOne = (value: string): boolean =>
    wanted.some((each) => {
      const matched = valueMatches(base!, each, value, document, request);
      return matched === "unresolved" ? negated && statement.Effect === "Allow" : matched;
    });
  if (qualifier === "ForAllValues") return values.every((value) => matchesOne(value) !== negated);
  if (qualifier === "ForAnyValue") return values.some((value) => matchesOne(value) !== negated);
  return values.some(matchesOne) !== negated;
}

function matchOf(statement: Statement, document: Document, request: PolicyRequest): ReturnType<typeof principalMatch> {
  if (!actionMatches(statement, request) || !resourceMatches(statement, document, request)) return "";
  for (const [name, keys] of Object.entries(statement.Condition ?? {})) {
    for (const [key, wanted] of Object.entries(keys)) {
      const found = request.keys.get(key.toLowerCase());
      if (!conditionHolds(name, list(wanted), found, statement, document, request)) return "";
    }
  }
  return principalMatch(statement, request.caller);
}

function matches(documents: readonly Document[], effect: string, request: PolicyRequest): string[] {
  return documents.flatMap((document) =>
    document.Statement.filter((statement) => statement.Effect === effect)
      .map((statement) => matchOf(statement, document, request))
      .filter((match) => match !== ""),
  );
}

export function plainVerdict(request: PolicyRequest, documents: Documents): Outcome {
  const { caller } = request;
  const { identity, boundary, session, resource } = documents;
  const sameAccount = "account" in caller && caller.account === request.resourceAccount;
  const isRoot = caller.kind === "root";
  const onPolicyItself = /^s3:(get|put|delete)bucketpolicy$/i.test(request.action);
  const ofResource = resource === undefined || (isRoot && sameAccount && onPolicyItself) ? [] : [resource];
  const all = [...identity, ...(boundary ? [boundary] : []), ...(session ?? []), ...ofResource];
  if (matches(all, "Deny", request).length > 0) return "explicit_deny";
  const granted = matches(ofResource, "Allow", request);
  const identityAllows = isRoot || matches(identity, "Allow", request).length > 0;
  const boundaryAllows = isRoot || boundary === undefined || matches([boundary], "Allow", request).length > 0;
  const sessionAllows = isRoot || session === undefined || matches(session, "Allow", request).length > 0;
  const ownAllow = identityAllows && boundaryAllows && sessionAllows;
  if (!("account" in caller)) return granted.length > 0 ? "allow" : "implicit_deny";
  if (!sameAccount) return ownAllow && granted.length > 0 ? "allow" : "implicit_deny";
  if (ownAllow || granted.includes("self")) return "allow";
  if (granted.includes("everyone") && caller.kind === "user") return "allow";
  const limited = granted.includes("everyone") || granted.includes("role");
  return limited && boundaryAllows && sessionAllows ? "allow" : "implicit_deny";
}

/** One statement of a policy, read and compiled. The elements, and which of them a use of policies must have, are checked here. */
import { ArnPattern, isArnPattern, splitTokens, type Arn } from "./arns.ts";
import type { ConditionKeys } from "./condition_values.ts";
import { parseConditions, type Clause } from "./conditions.ts";
import { malformed, type PolicyUse } from "./faults.ts";
import { isObject, stringsOf } from "./fields.ts";
import { Glob, type GlobToken } from "./glob.ts";
import type { Json, JsonObject } from "./json.ts";
import { parsePrincipals, type Principals } from "./principals.ts";
import { compiled, lowerTokens, parseTemplate, variablesOf, type Token } from "./template.ts";

export type Effect = "Allow" | "Deny";

export type ActionPattern = {
  readonly text: string;
  /** `action` in lower case. */
  matches(action: string): boolean;
};

export type ResourcePattern = {
  readonly text: string;
  readonly tokens: readonly Token[];
  /** Undefined: a variable in it has no value. */
  matches(arn: Arn, keys: ConditionKeys): boolean | undefined;
};

/** `isNot`: NotAction, NotResource: everything that matches none of the patterns. */
type AllOf<Pattern> = { readonly isNot: boolean; readonly patterns: readonly Pattern[] };

export type Statement = {
  readonly sid: string | undefined;
  readonly effect: Effect;
  /** Undefined in policies of identities, which are about whom they belong to. */
  readonly principals: Principals | undefined;
  readonly actions: AllOf<ActionPattern>;
  /** Undefined in a role's trust policy, which is about that role. */
  readonly resources: AllOf<ResourcePattern> | undefined;
  readonly conditions: readonly Clause[];
};

const fields = new Set("Sid Effect Principal NotPrincipal Action NotAction Resource NotResource Condition".split(" "));

export type StatementOptions = {
  readonly use: PolicyUse;
  /** The version of the language knows variables. */
  readonly variables: boolean;
};

/** Errors: `malformed_policy`. */
export function parseStatement(value: Json, options: StatementOptions): Statement {
  const { use, variables } = options;
  if (!isObject(value)) throw malformed("value", "Statement", use);
  for (const name of value.keys()) if (!fields.has(name)) throw malformed("unknown_field", name, use);
  const effect = parseEffect(value.get("Effect"), use);
  return {
    sid: parseSid(value.get("Sid"), use),
    effect,
    principals: principalsOf(value, effect, use),
    actions: actionsOf(value, use),
    resources: resourcesOf(value, options),
    conditions: parseConditions(value.get("Condition"), { effect, variables }),
  };
}

function parseSid(sid: Json | undefined, use: PolicyUse): string | undefined {
  if (sid === undefined) return undefined;
  // IAM takes letters and digits only; S3 takes any text.
  if (typeof sid !== "string" || (use !== "bucket" && !/^[A-Za-z0-9]*$/.test(sid)))
    throw malformed("value", "Sid", use);
  return sid;
}

function parseEffect(effect: Json | undefined, use: PolicyUse): Effect {
  if (effect === undefined) throw malformed("missing_field", "Effect", use);
  if (effect === "Allow" || effect === "Deny") return effect;
  throw malformed("effect", typeof effect === "string" ? effect : "", use);
}

/** `name` or `Not` + name, and not both. */
function oneOf(value: JsonObject, name: string, use: PolicyUse): { readonly isNot: boolean; readonly value: Json } {
  const [plain, not] = [value.get(name), value.get(`Not${name}`)];
  if (plain !== undefined && not !== undefined) throw malformed("both_fields", name, use);
  const found = plain ?? not;
  if (found === undefined) throw malformed("missing_field", name, use);
  return { isNot: plain === undefined, value: found };
}

function principalsOf(value: JsonObject, effect: Effect, use: PolicyUse): Principals | undefined {
  if (use === "identity") {
    if (value.has("Principal") || value.has("NotPrincipal")) throw malformed("unwanted_principal", "", use);
    return undefined;
  }
  const element = oneOf(value, "Principal", use);
  // It would allow everybody in the world but a few.
  if (element.isNot && effect === "Allow") throw malformed("not_principal", "", use);
  return parsePrincipals(element.value, element.isNot);
}

function actionsOf(value: JsonObject, use: PolicyUse): AllOf<ActionPattern> {
  const element = oneOf(value, "Action", use);
  const texts = stringsOf(element.value, "Action");
  return { isNot: element.isNot, patterns: texts.map((text) => parseAction(text, use)) };
}

function parseAction(text: string, use: PolicyUse): ActionPattern {
  if (text !== "*" && !/^[A-Za-z0-9-]+:[A-Za-z0-9*?_-]+$/.test(text)) throw malformed("action", text, use);
  const tokens = parseTemplate(text, { wildcards: true, variables: false }) as readonly GlobToken[];
  const glob = new Glob(lowerTokens(tokens));
  return { text, matches: (action) => glob.matches(action) };
}

function resourcesOf(value: JsonObject, options: StatementOptions): AllOf<ResourcePattern> | undefined {
  if (options.use === "trust") {
    if (value.has("Resource") || value.has("NotResource")) throw malformed("unwanted_resource", "", options.use);
    return undefined;
  }
  const element = oneOf(value, "Resource", options.use);
  const texts = stringsOf(element.value, "Resource");
  return { isNot: element.isNot, patterns: texts.map((text) => parseResource(text, options)) };
}

function parseResource(text: string, { use, variables }: StatementOptions): ResourcePattern {
  const tokens = parseTemplate(text, { wildcards: true, variables });
  if (tokens === undefined || !isResource(text, tokens)) throw malformed("resource", text, use);
  const pattern = compiled(tokens, (resolved) => new ArnPattern(resolved));
  return { text, tokens, matches: (arn, keys) => pattern(keys)?.matches(arn) };
}

/** Variables stand in the last part only, as AWS has it. */
function isResource(text: string, tokens: readonly Token[]): boolean {
  if (text === "*") return true;
  if (!text.startsWith("arn:")) return false;
  const marked = tokens.map((token): GlobToken => (token.kind === "variable" ? { kind: "one" } : token));
  if (!isArnPattern(marked)) return false;
  if (variablesOf(tokens).length === 0) return true;
  const before = tokens.slice(
    0,
    tokens.findIndex(({ kind }) => kind === "variable"),
  ) as readonly GlobToken[];
  return splitTokens(before).length === 6;
}

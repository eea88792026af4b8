/**
 * The Condition element: `{operator: {key: [values]}}`. All operators and keys must hold; of a key's values one must match,
 * or none where the operator is negated.
 *
 *   the key is missing      not negated: does not hold. Negated: holds. `…IfExists`: holds. `Null` asks for just this.
 *   the key has several     without a qualifier: one of them must match (negated: none may). `ForAnyValue:` one must satisfy
 *                           the operator, and a missing key does not. `ForAllValues:` each must, and a missing key does.
 *
 * Sources: "Condition operators" and "Set operators for multivalued context keys" of the IAM User Guide.
 */
import { normalKey, type ConditionKeys, type KeyValue } from "./condition_values.ts";
import { malformed } from "./faults.ts";
import { entriesOf, textsOf } from "./fields.ts";
import type { Json } from "./json.ts";
import { operators, type CompiledValue, type Operator } from "./operators.ts";

export type Qualifier = "one" | "ForAllValues" | "ForAnyValue";

/** One key under one operator. */
export type Clause = {
  /** In its normal form. */
  readonly key: string;
  /** Without qualifier and `IfExists`. */
  readonly operator: string;
  readonly qualifier: Qualifier;
  readonly isNegated: boolean;
  readonly ifExists: boolean;
  /** As the policy has them. */
  readonly texts: readonly string[];
  /** No value has a wildcard or a variable. */
  readonly isFixed: boolean;
  /** Keys whose values stand in variables. */
  readonly variables: readonly string[];
  holds(keys: ConditionKeys): boolean;
};

export type ConditionOptions = { readonly effect: "Allow" | "Deny"; readonly variables: boolean };

/** Errors: `malformed_policy`. */
export function parseConditions(element: Json | undefined, options: ConditionOptions): Clause[] {
  if (element === undefined) return [];
  return entriesOf(element, "Condition").flatMap(([name, keys]) =>
    entriesOf(keys, name).map(([key, values]) => parseClause(name, key, textsOf(values, key), options)),
  );
}

const operatorForm = /^(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?$/;

function parseClause(name: string, key: string, texts: readonly string[], options: ConditionOptions): Clause {
  const [, qualifier = "one", operator = "", ifExists] = operatorForm.exec(name) ?? [];
  // What stands before the colon may be an issuer of tokens: a host and a path.
  if (!/^[A-Za-z0-9][A-Za-z0-9._~/-]*:./.test(key)) throw malformed("condition_key", key);
  const common = {
    key: normalKey(key),
    operator,
    qualifier: qualifier as Qualifier,
    ifExists: ifExists !== undefined,
    texts,
  };
  if (operator === "Null" && qualifier === "one" && !common.ifExists) return nullClause(common);
  const known = operators.get(operator);
  if (known === undefined) throw malformed("condition_type", name);
  const values = texts.map((text) => {
    const value = known.compile(text, options.variables);
    if (value === undefined) throw malformed(operator.endsWith("IpAddress") ? "ip_address" : "condition_value", name);
    return value;
  });
  return {
    ...common,
    isNegated: known.isNegated,
    isFixed: values.every((value) => value.isFixed),
    variables: values.flatMap((value) => value.variables),
    holds: holdsFor({ ...common, ...options }, known, values),
  };
}

function nullClause(common: Omit<Clause, "isNegated" | "isFixed" | "variables" | "holds">): Clause {
  const wanted = common.texts.map((text) => {
    const lower = text.toLowerCase();
    if (lower !== "true" && lower !== "false") throw malformed("condition_value", "Null");
    return lower === "true";
  });
  const { key } = common;
  const holds = (keys: ConditionKeys): boolean => wanted.includes(isMissing(keys.get(key)));
  return { ...common, isNegated: false, isFixed: true, variables: [], holds };
}

function isMissing(value: KeyValue): value is undefined {
  return value === undefined || (typeof value !== "string" && value.length === 0);
}

function holdsFor(
  { key, qualifier, ifExists, effect }: Pick<Clause, "key" | "qualifier" | "ifExists"> & ConditionOptions,
  { isNegated }: Operator,
  values: readonly CompiledValue[],
): (keys: ConditionKeys) => boolean {
  const whenMissing = ifExists || (qualifier === "one" ? isNegated : qualifier === "ForAllValues");
  // A variable without a value matches nothing, but nothing is allowed because of that.
  const whenUnresolved = isNegated && effect === "Allow";
  return (keys) => {
    const found = keys.get(key);
    if (isMissing(found)) return whenMissing;
    const matches = (value: string): boolean => values.some(({ match }) => match(value, keys) ?? whenUnresolved);
    if (typeof found === "string") return matches(found) !== isNegated;
    if (qualifier === "one") return found.some(matches) !== isNegated;
    const satisfies = (value: string): boolean => matches(value) !== isNegated;
    return qualifier === "ForAllValues" ? found.every(satisfies) : found.some(satisfies);
  };
}

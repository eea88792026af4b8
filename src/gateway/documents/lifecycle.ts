/**
 * What expires in a bucket: the LifecycleConfiguration document, in both of AWS's spellings (a rule with a Filter, and the older one with
 * a Prefix of its own). What the rules mean is judged by object/lifecycle_rules.ts.
 *
 * There is one class of storage here, so a rule that moves objects between classes is refused and not silently left undone.
 *
 * Source: PutBucketLifecycleConfiguration of the S3 API reference and "Lifecycle configuration elements" of the user guide; where
 * they are silent, what AWS answers.
 */
import { createHash } from "node:crypto";
import { limits } from "../../core/limits.ts";
import type { Expiration, LifecycleRule, NoncurrentExpiration } from "../../object/lifecycle_rules.ts";
import { S3Error } from "../errors.ts";
import { invalidArgument } from "../params.ts";
import { child, childrenOf, childText, malformed, onlyChild, onlyChildren, requiredText, xmlElement } from "../xml.ts";
import type { XmlElement } from "../xml.ts";
import type { ConfigurationDocument } from "../../object/object.ts";
import { contentOf, type DocumentKind } from "./document.ts";
import { readFilter, type LifecycleFilter } from "./lifecycle_filter.ts";

export type WrittenRule = LifecycleRule & { readonly filter: LifecycleFilter };

/** Which objects transitions leave alone by default: kept and told again, as AWS does, though there are none. */
export const transitionSizes = ["all_storage_classes_128K", "varies_by_storage_class"] as const;
export type TransitionSize = (typeof transitionSizes)[number];

export type LifecycleConfiguration = {
  readonly rules: readonly WrittenRule[];
  /** Stands in the stored document only, and only where it is not the first of them. */
  readonly transitionSize: TransitionSize;
};

const sizeElement = "TransitionDefaultMinimumObjectSize";
const daysMax = 0x7fff_ffff;
const dayMs = 24 * 3_600_000;

function invalid(message: string): S3Error {
  return new S3Error("InvalidArgument", message);
}

function invalidRequest(message: string): S3Error {
  return new S3Error("InvalidRequest", message);
}

const actions = [
  "Expiration",
  "NoncurrentVersionExpiration",
  "AbortIncompleteMultipartUpload",
  "Transition",
  "NoncurrentVersionTransition",
];

function readRule(element: XmlElement, place: number): WrittenRule {
  onlyChildren(element, ["ID", "Prefix", "Filter", "Status", ...actions]);
  const status = requiredText(element, "Status");
  if (status !== "Enabled" && status !== "Disabled") throw malformed();
  const given = childText(element, "ID");
  if (given !== undefined && given.length > limits.lifecycleIdCharsMax)
    throw invalidArgument("ID", given, `ID length should not exceed allowed limit of ${limits.lifecycleIdCharsMax}`);
  const filter = readFilter(element);
  const expiration = ofAction(element, "Expiration", readExpiration);
  const noncurrent = ofAction(element, "NoncurrentVersionExpiration", readNoncurrent);
  const abortDays = ofAction(element, "AbortIncompleteMultipartUpload", readAbort);
  refuseTransitions(element);
  if (!element.children.some(({ name }) => actions.includes(name)))
    throw invalidRequest("At least one action needs to be specified in a rule.");
  const rule = { filter, isEnabled: status === "Enabled", ...filter.wants, expiration, noncurrent, abortDays };
  checkTogether(rule);
  return { id: given || idOf(element, place), ...rule };
}

function ofAction<T>(rule: XmlElement, name: string, read: (action: XmlElement) => T): T | undefined {
  return child(rule, name) === undefined ? undefined : read(onlyChild(rule, name));
}

/** Of a rule that came without: the same whenever the same rule is set at the same place. */
function idOf(element: XmlElement, place: number): string {
  return createHash("sha256")
    .update(JSON.stringify([place, element]))
    .digest("base64url");
}

/** A whole number as AWS's schema has it. */
function wholeOf(text: string): number {
  if (!/^[+-]?\d{1,10}$/.test(text) || Math.abs(Number(text)) > daysMax) throw malformed();
  return Number(text);
}

function positiveOf(text: string, what: string): number {
  const number = wholeOf(text);
  if (number < 1) throw invalid(`${what} must be a positive integer`);
  return number;
}

/** ISO 8601, as SDKs print it or as a day alone; Date.parse alone takes far more. */
const dateForm = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?$/;

/** A time without a zone is in UTC, as a date is. */
function midnightOf(text: string): number {
  const hasZone = !text.includes("T") || /(?:Z|[+-]\d\d:?\d\d)$/.test(text);
  const ms = dateForm.test(text) ? Date.parse(hasZone ? text : `${text}Z`) : Number.NaN;
  if (Number.isNaN(ms)) throw malformed();
  if (ms % dayMs !== 0) throw invalid("'Date' must be at midnight GMT");
  return ms;
}

function readExpiration(element: XmlElement): Expiration {
  onlyChildren(element, ["Days", "Date", "ExpiredObjectDeleteMarker"]);
  if (element.children.length !== 1) throw malformed();
  const days = childText(element, "Days");
  if (days !== undefined) return { kind: "days", days: positiveOf(days, "'Days' for Expiration action") };
  const date = childText(element, "Date");
  if (date !== undefined) return { kind: "date", atMs: midnightOf(date) };
  const removes = requiredText(element, "ExpiredObjectDeleteMarker");
  if (removes !== "true" && removes !== "false") throw malformed();
  return { kind: "markers", removes: removes === "true" };
}

function readNoncurrent(element: XmlElement): NoncurrentExpiration {
  onlyChildren(element, ["NoncurrentDays", "NewerNoncurrentVersions"]);
  const what = "for NoncurrentVersionExpiration action";
  const days = positiveOf(requiredText(element, "NoncurrentDays"), `'NoncurrentDays' ${what}`);
  const newer = childText(element, "NewerNoncurrentVersions");
  if (newer === undefined) return { days, newerVersions: 0 };
  const newerVersions = positiveOf(newer, `'NewerNoncurrentVersions' ${what}`);
  const most = limits.newerNoncurrentVersionsMax;
  if (newerVersions > most) throw invalid(`'NewerNoncurrentVersions' ${what} must be at most ${most}`);
  return { days, newerVersions };
}

function readAbort(element: XmlElement): number {
  onlyChildren(element, ["DaysAfterInitiation"]);
  const text = requiredText(element, "DaysAfterInitiation");
  return positiveOf(text, "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action");
}

/** What is wrong with one is said first. */
function refuseTransitions(rule: XmlElement): void {
  const transitions = childrenOf(rule, "Transition");
  for (const transition of transitions) {
    onlyChildren(transition, ["Date", "Days", "StorageClass"]);
    requiredText(transition, "StorageClass");
    const date = childText(transition, "Date");
    const days = childText(transition, "Days");
    if ((date === undefined) === (days === undefined)) throw malformed();
    if (date !== undefined) midnightOf(date);
    if (days !== undefined && wholeOf(days) < 0)
      throw invalid("'Days' for Transition action must be a nonnegative integer");
  }
  if (transitions.length === 0 && child(rule, "NoncurrentVersionTransition") === undefined) return;
  throw new S3Error(
    "NotImplemented",
    "There is one class of storage here, so nothing can be moved to another: a rule with a transition is not taken.",
  );
}

type Unnamed = Omit<WrittenRule, "id">;

function checkTogether({ filter, tags, expiration, noncurrent, abortDays, ...sizes }: Unnamed): void {
  const hasTags = tags.size > 0;
  const hasSize = sizes.sizeGreaterThan !== undefined || sizes.sizeLessThan !== undefined;
  if (hasTags && abortDays !== undefined)
    throw invalidRequest("AbortIncompleteMultipartUpload cannot be specified with Tags.");
  if (hasSize && abortDays !== undefined)
    throw invalidRequest("AbortIncompleteMultipartUpload cannot be specified with Object Size.");
  if (hasTags && expiration?.kind === "markers")
    throw invalidRequest("ExpiredObjectDeleteMarker cannot be specified with Tags.");
  if (hasSize && expiration?.kind === "markers")
    throw invalidRequest("ExpiredObjectDeleteMarker cannot be specified with Object Size.");
  if (filter.form === "prefix" && (noncurrent?.newerVersions ?? 0) > 0)
    throw invalidRequest("NewerNoncurrentVersions needs a Filter element in its rule.");
}

function readConfiguration(root: XmlElement): LifecycleConfiguration {
  onlyChildren(root, ["Rule", sizeElement]);
  const elements = childrenOf(root, "Rule");
  if (elements.length === 0) throw malformed();
  if (elements.length > limits.lifecycleRulesMax)
    throw invalidRequest(
      `The number of lifecycle rules must not exceed the allowed limit of ${limits.lifecycleRulesMax} rules.`,
    );
  const rules = elements.map(readRule);
  if (new Set(rules.map(({ filter }) => filter.form === "prefix")).size > 1)
    throw invalidRequest(
      "Base level prefix cannot be used in Lifecycle V2, prefixes are only supported in the Filter.",
    );
  if (new Set(rules.map(({ id }) => id)).size < rules.length)
    throw invalid("Rule ID must be unique. Found same ID for more than one rule");
  const size = childText(root, sizeElement);
  if (size !== undefined && size !== transitionSizes[1]) throw malformed();
  return { rules, transitionSize: size ?? transitionSizes[0] };
}

function printExpiration(expiration: Expiration): string {
  if (expiration.kind === "days") return xmlElement("Days", expiration.days);
  if (expiration.kind === "date") return xmlElement("Date", new Date(expiration.atMs).toISOString());
  return xmlElement("ExpiredObjectDeleteMarker", expiration.removes);
}

function printNoncurrent({ days, newerVersions }: NoncurrentExpiration): string {
  const newer = newerVersions === 0 ? "" : xmlElement("NewerNoncurrentVersions", newerVersions);
  return xmlElement("NoncurrentDays", days) + newer;
}

function printRule({ id, filter, isEnabled, expiration, noncurrent, abortDays }: WrittenRule): string {
  const action = <T>(name: string, value: T | undefined, print: (value: T) => string): string =>
    value === undefined ? "" : `<${name}>${print(value)}</${name}>`;
  return (
    `<Rule>${xmlElement("ID", id)}${filter.printed}` +
    xmlElement("Status", isEnabled ? "Enabled" : "Disabled") +
    action("Expiration", expiration, printExpiration) +
    action("NoncurrentVersionExpiration", noncurrent, printNoncurrent) +
    action("AbortIncompleteMultipartUpload", abortDays, (days) => xmlElement("DaysAfterInitiation", days)) +
    "</Rule>"
  );
}

export const lifecycle: DocumentKind<LifecycleConfiguration> = {
  kind: "lifecycle",
  root: "LifecycleConfiguration",
  parse: readConfiguration,
  print: ({ rules, transitionSize }) =>
    rules.map(printRule).join("") +
    (transitionSize === transitionSizes[0] ? "" : xmlElement(sizeElement, transitionSize)),
  absent: { code: "NoSuchLifecycleConfiguration", message: "The lifecycle configuration does not exist" },
};

/** What the object layer acts by. */
export function lifecycleRules(document: ConfigurationDocument): readonly LifecycleRule[] {
  return contentOf(lifecycle, document).rules;
}

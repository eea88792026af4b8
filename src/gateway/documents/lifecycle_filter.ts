/** The Filter of a lifecycle rule, or the Prefix that stands in its place in the older spelling: read, judged and written. */
import { limits } from "../../core/limits.ts";
import type { LifecycleRule } from "../../object/lifecycle_rules.ts";
import { S3Error } from "../errors.ts";
import { child, childrenOf, childText, malformed, onlyChild, onlyChildren, requiredText, xmlElement } from "../xml.ts";
import type { XmlElement } from "../xml.ts";
import { checkTag } from "./tagging.ts";

type Wants = Pick<LifecycleRule, "prefix" | "tags" | "sizeGreaterThan" | "sizeLessThan">;

export type LifecycleFilter = {
  readonly form: "prefix" | "filter";
  readonly wants: Wants;
  /** As it is shown again. */
  readonly printed: string;
};

const noWants: Wants = {
  prefix: Buffer.alloc(0),
  tags: new Map(),
  sizeGreaterThan: undefined,
  sizeLessThan: undefined,
};
const sizeBytesMax = limits.objectBytesMax;

/** Errors: MalformedXML, InvalidRequest, InvalidArgument, InvalidTag. */
export function readFilter(rule: XmlElement): LifecycleFilter {
  const prefix = childText(rule, "Prefix");
  if ((prefix === undefined) === (child(rule, "Filter") === undefined)) throw malformed();
  if (prefix !== undefined)
    return { form: "prefix", wants: { ...noWants, prefix: prefixOf(prefix) }, printed: xmlElement("Prefix", prefix) };
  const filter = onlyChild(rule, "Filter");
  const conditions = conditionsOf(filter);
  const isSeveral = conditions.children.length > 1 || child(filter, "And") !== undefined;
  const wants = readWants(conditions);
  const printed = printWants(conditions, wants);
  return { form: "filter", wants, printed: `<Filter>${isSeveral ? `<And>${printed}</And>` : printed}</Filter>` };
}

/**
 * All that an object must meet. AWS's schema is a choice of one, of which And holds several; Ceph takes them beside each other too,
 * and beside an And, and means the same by it: all of them.
 */
function conditionsOf(filter: XmlElement): XmlElement {
  const single = ["Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan"];
  onlyChildren(filter, [...single, "And"]);
  if (child(filter, "And") === undefined) return filter;
  const and = onlyChild(filter, "And");
  onlyChildren(and, single);
  if (and.children.length === 0) throw malformed();
  const beside = filter.children.filter(({ name }) => name !== "And");
  return { ...and, children: withOnePrefix([...beside, ...and.children]) };
}

/** Of two prefixes the longer one counts, which begins with the other; what begins with neither would be no object at all. */
function withOnePrefix(conditions: readonly XmlElement[]): readonly XmlElement[] {
  const [first, second, third] = conditions.filter(({ name }) => name === "Prefix");
  if (first === undefined || second === undefined) return conditions;
  const [short, long] = first.text.length <= second.text.length ? [first, second] : [second, first];
  if (third !== undefined || !long.text.startsWith(short.text)) throw malformed();
  return conditions.filter((condition) => condition !== short);
}

function prefixOf(text: string): Buffer {
  const prefix = Buffer.from(text);
  if (prefix.length > limits.objectKeyBytesMax)
    throw new S3Error("InvalidRequest", `The maximum size of a prefix is ${limits.objectKeyBytesMax}.`);
  return prefix;
}

function readWants(element: XmlElement): Wants {
  const sizeGreaterThan = sizeOf(element, "ObjectSizeGreaterThan", 0);
  const sizeLessThan = sizeOf(element, "ObjectSizeLessThan", 1);
  if (sizeGreaterThan !== undefined && sizeLessThan !== undefined && sizeLessThan <= sizeGreaterThan)
    throw new S3Error("InvalidRequest", "ObjectSizeLessThan has to be a value greater than ObjectSizeGreaterThan.");
  return { prefix: prefixOf(childText(element, "Prefix") ?? ""), tags: tagsOf(element), sizeGreaterThan, sizeLessThan };
}

function tagsOf(element: XmlElement): ReadonlyMap<string, string> {
  const tags = new Map<string, string>();
  for (const tag of childrenOf(element, "Tag")) {
    onlyChildren(tag, ["Key", "Value"]);
    const name = requiredText(tag, "Key");
    const value = requiredText(tag, "Value");
    checkTag(name, value);
    if (tags.has(name)) throw new S3Error("InvalidRequest", "Duplicate Tag Keys are not allowed.");
    tags.set(name, value);
  }
  return tags;
}

function sizeOf(element: XmlElement, name: string, min: number): number | undefined {
  const text = childText(element, name);
  if (text === undefined) return undefined;
  if (!/^-?\d{1,15}$/.test(text)) throw malformed();
  const size = Number(text);
  if (size < min || size > sizeBytesMax)
    throw new S3Error("InvalidRequest", `'${name}' must be a number of bytes from ${min} to ${sizeBytesMax}.`);
  return size;
}

function printWants(element: XmlElement, { prefix, tags, sizeGreaterThan, sizeLessThan }: Wants): string {
  const size = (name: string, bytes: number | undefined): string =>
    bytes === undefined ? "" : xmlElement(name, bytes);
  return (
    (child(element, "Prefix") === undefined ? "" : xmlElement("Prefix", prefix.toString())) +
    [...tags].map(([name, value]) => `<Tag>${xmlElement("Key", name)}${xmlElement("Value", value)}</Tag>`).join("") +
    size("ObjectSizeGreaterThan", sizeGreaterThan) +
    size("ObjectSizeLessThan", sizeLessThan)
  );
}

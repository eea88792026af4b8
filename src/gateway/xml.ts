/**
 * XML in and out. Reading is strict and bounded: no DOCTYPE, no entities beyond the five of XML, a bound on bytes, depth
 * and elements; whatever is wrong is MalformedXML. Character references are read by the rules of XML 1.1, because keys
 * with control characters arrive as `&#x1;` from the SDKs. Writing is string building: a page of a listing is one string.
 *
 * Namespaces, attributes, comments and processing instructions are read over: no S3 request needs them.
 */
import { SaxesParser } from "saxes";
import { limits } from "../core/limits.ts";
import { S3Error } from "./errors.ts";

export type XmlElement = {
  /** Without a namespace prefix. */
  readonly name: string;
  /** All character data directly inside, in order; not trimmed, except that it is empty between child elements. */
  readonly text: string;
  readonly children: readonly XmlElement[];
};

type OpenElement = { name: string; text: string; children: XmlElement[] };

export const s3Namespace = "http://s3.amazonaws.com/doc/2006-03-01/";

/** What is not well-formed, or not what the schema says. */
export function malformed(cause?: unknown): S3Error {
  return new S3Error(
    "MalformedXML",
    "The XML you provided was not well-formed or did not validate against our published schema",
    { cause },
  );
}

/** A document of at most `bytesMax` UTF-8 bytes as a tree; throws S3Error MalformedXML. */
export function readXml(bytes: Uint8Array, bytesMax: number = limits.xmlBodyBytesMax): XmlElement {
  if (bytes.length > bytesMax) throw malformed();
  let source: string;
  try {
    source = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw malformed(error);
  }
  return parseTree(source);
}

function parseTree(source: string): XmlElement {
  const parser = new SaxesParser({ forceXMLVersion: true, defaultXMLVersion: "1.1", position: false });
  const open: OpenElement[] = [];
  let root: XmlElement | undefined;
  let elements = 0;
  parser.on("error", (error) => {
    throw malformed(error);
  });
  parser.on("doctype", () => {
    throw malformed();
  });
  parser.on("opentag", (tag) => {
    elements += 1;
    if (open.length >= limits.xmlDepthMax || elements > limits.xmlElementsMax) throw malformed();
    open.push({ name: tag.name.slice(tag.name.indexOf(":") + 1), text: "", children: [] });
  });
  const onText = (text: string): void => {
    const top = open.at(-1);
    if (top !== undefined) top.text += text;
  };
  parser.on("text", onText);
  parser.on("cdata", onText);
  parser.on("closetag", () => {
    const element = open.pop()!;
    if (element.children.length > 0 && element.text.trim() === "") element.text = "";
    const parent = open.at(-1);
    if (parent === undefined) root = element;
    else parent.children.push(element);
  });
  parser.write(source).close();
  if (root === undefined) throw malformed();
  return root;
}

/** Reads a request body whose root element must be `root`. */
export function parseXml(bytes: Uint8Array, root: string): XmlElement {
  const element = readXml(bytes);
  if (element.name !== root) throw malformed();
  return element;
}

export function child(element: XmlElement, name: string): XmlElement | undefined {
  return element.children.find((each) => each.name === name);
}

export function childrenOf(element: XmlElement, name: string): readonly XmlElement[] {
  return element.children.filter((each) => each.name === name);
}

/**
 * The text of the one child of that name. A second one (whoever wrote it may mean either) and one that holds elements
 * instead of text are MalformedXML.
 */
export function childText(element: XmlElement, name: string): string | undefined {
  const [found, second] = childrenOf(element, name);
  if (found === undefined) return undefined;
  if (second !== undefined || found.children.length > 0) throw malformed();
  return found.text;
}

/** The element holds children of these names and nothing else; anything beyond is MalformedXML. */
export function onlyChildren(element: XmlElement, names: readonly string[]): void {
  if (element.text.trim() !== "") throw malformed();
  for (const { name } of element.children) if (!names.includes(name)) throw malformed();
}

/** The one child of that name. None, or a second one, is MalformedXML. */
export function onlyChild(element: XmlElement, name: string): XmlElement {
  const [found, second] = childrenOf(element, name);
  if (found === undefined || second !== undefined) throw malformed();
  return found;
}

/** The texts of all children of that name. */
export function childTexts(element: XmlElement, name: string): string[] {
  return childrenOf(element, name).map(({ children, text }) => {
    if (children.length > 0) throw malformed();
    return text;
  });
}

/** childText of a child that must be there. */
export function requiredText(element: XmlElement, name: string): string {
  const text = childText(element, name);
  if (text === undefined) throw malformed();
  return text;
}

// What XML 1.0 cannot hold even as a reference is still written as one, as AWS does: clients that use XML 1.1 rules
// (or a lenient parser) read it back; for the others there is encoding-type=url. A lone surrogate becomes U+FFFD.
const special = /[&<>"\u0000-\u001f\u007f-\u009f\u2028\ufffe\uffff]/;
const specials = /[&<>"\u0000-\u001f\u007f-\u009f\u2028\ufffe\uffff]/g;

function reference(char: string): string {
  if (char === "&") return "&amp;";
  if (char === "<") return "&lt;";
  if (char === ">") return "&gt;";
  if (char === '"') return "&quot;";
  return `&#x${char.charCodeAt(0).toString(16).toUpperCase()};`;
}

/** Text for the inside of an element or of a quoted attribute. */
export function escapeXml(text: string): string {
  return special.test(text) ? text.replace(specials, reference) : text;
}

export function xmlElement(name: string, text: string | number | boolean): string {
  return `<${name}>${typeof text === "string" ? escapeXml(text) : text}</${name}>`;
}

/** A whole document: `inner` is XML already. */
export function xmlDocument(root: string, inner: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${root} xmlns="${s3Namespace}">${inner}</${root}>`;
}

/** The inverse of readXml, without a declaration or namespace. */
export function writeXml(element: XmlElement): string {
  return `<${element.name}>${escapeXml(element.text)}${element.children.map(writeXml).join("")}</${element.name}>`;
}

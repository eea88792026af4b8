/**
 * Which pages of other origins a browser lets read this bucket: the CORSConfiguration document, the rule that a request
 * falls under, and what that rule puts into its answer. Nothing here keeps anybody out: the browser does.
 *
 * Source: "Using cross-origin resource sharing" of the S3 user guide; where it is silent, what AWS answers.
 */
import { limits } from "../../core/limits.ts";
import { S3Error } from "../errors.ts";
import { childrenOf, childText, childTexts, malformed, onlyChildren, xmlElement } from "../xml.ts";
import type { XmlElement } from "../xml.ts";
import type { DocumentKind } from "./document.ts";

/** Every text has at most one `*`, which stands for any characters. */
export type CorsRule = {
  readonly id: string | undefined;
  readonly origins: readonly string[];
  readonly methods: readonly string[];
  readonly headers: readonly string[];
  readonly exposed: readonly string[];
  readonly maxAgeSeconds: number | undefined;
};

/** What a browser asks, or says of a request that it sends. */
export type CorsRequest = {
  readonly origin: string;
  readonly method: string;
  /** Header names that it means to send, lower-case; of a preflight only. */
  readonly headers: readonly string[];
};

export const corsMethods: ReadonlySet<string> = new Set(["GET", "PUT", "HEAD", "POST", "DELETE"]);

const idCharsMax = 255;
const secondsMax = 0x7fff_ffff;
/** RFC 9110, section 5.6.2. */
const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

const ruleElements = ["ID", "AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader", "MaxAgeSeconds"];

function invalid(message: string): S3Error {
  return new S3Error("InvalidRequest", message);
}

function readRule(element: XmlElement): CorsRule {
  onlyChildren(element, ruleElements);
  const rule = {
    id: childText(element, "ID"),
    origins: childTexts(element, "AllowedOrigin"),
    methods: childTexts(element, "AllowedMethod"),
    headers: childTexts(element, "AllowedHeader"),
    exposed: childTexts(element, "ExposeHeader"),
    maxAgeSeconds: secondsOf(childText(element, "MaxAgeSeconds")),
  };
  checkRule(rule);
  return rule;
}

function secondsOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,10}$/.test(text) || Number(text) > secondsMax) throw malformed();
  return Number(text);
}

/** Errors: MalformedXML, InvalidRequest in AWS's words. */
function checkRule({ id, origins, methods, headers, exposed }: CorsRule): void {
  if (origins.length === 0 || methods.length === 0 || origins.includes("")) throw malformed();
  if (id !== undefined && id.length > idCharsMax)
    throw invalid(`The ID of a rule has at most ${idCharsMax} characters.`);
  for (const method of methods)
    if (!corsMethods.has(method))
      throw invalid(`Found unsupported HTTP method in CORS config. Unsupported method is ${method}`);
  for (const origin of origins) refuseSecondWildcard("AllowedOrigin", origin);
  for (const header of headers) {
    refuseSecondWildcard("AllowedHeader", header);
    if (!token.test(header)) throw invalid(`AllowedHeader "${header}" is no name of a header.`);
  }
  for (const header of exposed) {
    if (header.includes("*"))
      throw invalid(
        `ExposeHeader "${header}" contains wildcard. We currently do not support wildcard for ExposeHeader.`,
      );
    // It is sent as a part of a header.
    if (!token.test(header)) throw invalid(`ExposeHeader "${header}" is no name of a header.`);
  }
}

function refuseSecondWildcard(what: string, text: string): void {
  if (text.indexOf("*") === text.lastIndexOf("*")) return;
  throw invalid(`${what} "${text}" can not have more than one wildcard.`);
}

function readRules(root: XmlElement): readonly CorsRule[] {
  onlyChildren(root, ["CORSRule"]);
  const elements = childrenOf(root, "CORSRule");
  if (elements.length === 0) throw malformed();
  if (elements.length > limits.corsRulesMax)
    throw invalid(`The number of CORS rules should not exceed allowed limit of ${limits.corsRulesMax} rules.`);
  return elements.map(readRule);
}

function printRule(rule: CorsRule): string {
  const { id, origins, methods, headers, exposed, maxAgeSeconds } = rule;
  const each = (name: string, texts: readonly string[]): string => texts.map((text) => xmlElement(name, text)).join("");
  return (
    "<CORSRule>" +
    (id === undefined ? "" : xmlElement("ID", id)) +
    each("AllowedMethod", methods) +
    each("AllowedOrigin", origins) +
    each("AllowedHeader", headers) +
    (maxAgeSeconds === undefined ? "" : xmlElement("MaxAgeSeconds", maxAgeSeconds)) +
    each("ExposeHeader", exposed) +
    "</CORSRule>"
  );
}

export const cors: DocumentKind<readonly CorsRule[]> = {
  kind: "cors",
  root: "CORSConfiguration",
  parse: readRules,
  print: (rules) => rules.map(printRule).join(""),
  absent: { code: "NoSuchCORSConfiguration", message: "The CORS configuration does not exist" },
};

// ---- Requests ----

function fits(pattern: string, text: string): boolean {
  const star = pattern.indexOf("*");
  if (star < 0) return pattern === text;
  const [head, tail] = [pattern.slice(0, star), pattern.slice(star + 1)];
  return text.length >= head.length + tail.length && text.startsWith(head) && text.endsWith(tail);
}

export type CorsMatch = { readonly rule: CorsRule; readonly isAnyOrigin: boolean };

/** The first rule that allows the origin, the method and every header. */
export function matchCors(rules: readonly CorsRule[], request: CorsRequest): CorsMatch | undefined {
  for (const rule of rules) {
    if (!rule.methods.includes(request.method)) continue;
    const origin = rule.origins.find((allowed) => fits(allowed, request.origin));
    if (origin === undefined || !allowsHeaders(rule, request.headers)) continue;
    return { rule, isAnyOrigin: origin === "*" };
  }
  return undefined;
}

function allowsHeaders(rule: CorsRule, names: readonly string[]): boolean {
  if (names.length === 0 || rule.headers.includes("*")) return true;
  const allowed = rule.headers.map((header) => header.toLowerCase());
  return names.every((name) => allowed.some((pattern) => fits(pattern, name)));
}

/** Answers depend on what was asked by these: no cache may hand one out for another. */
export const corsVary = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";

/** Flat: name, value. Credentials are never allowed to everybody. */
export function corsHeaders({ rule, isAnyOrigin }: CorsMatch, request: CorsRequest): string[] {
  const headers = ["access-control-allow-origin", isAnyOrigin ? "*" : request.origin];
  headers.push("access-control-allow-methods", rule.methods.join(", "));
  if (request.headers.length > 0) headers.push("access-control-allow-headers", request.headers.join(", "));
  if (rule.exposed.length > 0) headers.push("access-control-expose-headers", rule.exposed.join(", "));
  if (rule.maxAgeSeconds !== undefined) headers.push("access-control-max-age", String(rule.maxAgeSeconds));
  if (!isAnyOrigin) headers.push("access-control-allow-credentials", "true");
  return headers;
}

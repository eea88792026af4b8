/**
 * What a bucket answers as a website: the WebsiteConfiguration document. How requests are answered by it is the website room's.
 *
 * What stands in it becomes parts of Location headers, so texts that no header can hold are refused, or escaped there.
 * Source: PutBucketWebsite of the S3 API reference, "Hosting a static website" of the S3 user guide.
 */
import { limits } from "../../core/limits.ts";
import { S3Error } from "../errors.ts";
import { invalidArgument } from "../params.ts";
import { child, childrenOf, childText, malformed, onlyChild, onlyChildren, requiredText, xmlElement } from "../xml.ts";
import type { XmlElement } from "../xml.ts";
import type { DocumentKind } from "./document.ts";

export type WebProtocol = "http" | "https";

/** What a rule puts in the place of the key: a whole other one, or another beginning instead of the one that was asked for. */
export type KeyReplacement = { readonly of: "key" | "prefix"; readonly with: string };

export type WebsiteRedirect = {
  /** Undefined: that of the request. */
  readonly protocol: WebProtocol | undefined;
  /** Undefined: that of the request. */
  readonly hostName: string | undefined;
  /** Undefined: 301. */
  readonly status: number | undefined;
  readonly replacement: KeyReplacement | undefined;
};

/** Undefined parts of a condition ask nothing. Without an `errorStatus` a rule is asked before anything is read. */
export type RoutingRule = {
  readonly condition: { readonly keyPrefix: string | undefined; readonly errorStatus: number | undefined } | undefined;
  readonly redirect: WebsiteRedirect;
};

export type Website =
  | { readonly kind: "elsewhere"; readonly hostName: string; readonly protocol: WebProtocol | undefined }
  | {
      readonly kind: "pages";
      /** Of the page that is shown for `folder/`. */
      readonly indexSuffix: string;
      readonly errorKey: string | undefined;
      readonly rules: readonly RoutingRule[];
    };

/** Those that AWS takes. */
const redirectStatuses: ReadonlySet<string> = new Set(["301", "302", "303", "304", "305", "307", "308"]);
/** Visible ASCII, without what stands in no address. */
const hostForm = /^[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]{1,255}$/;

function invalid(message: string): S3Error {
  return new S3Error("InvalidRequest", message);
}

function read(root: XmlElement): Website {
  onlyChildren(root, ["RedirectAllRequestsTo", "IndexDocument", "ErrorDocument", "RoutingRules"]);
  const elsewhere = optionalChild(root, "RedirectAllRequestsTo");
  if (elsewhere === undefined) return readPages(root);
  if (root.children.length > 1)
    throw invalidArgument(
      "RedirectAllRequestsTo",
      "not null",
      "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.",
    );
  onlyChildren(elsewhere, ["HostName", "Protocol"]);
  const hostName = requiredText(elsewhere, "HostName");
  if (hostName === "") throw invalid('A host name must be provided to redirect all requests (e.g. "example.com").');
  return { kind: "elsewhere", hostName: checkedHost(hostName), protocol: readProtocol(elsewhere) };
}

function optionalChild(parent: XmlElement, name: string): XmlElement | undefined {
  return child(parent, name) === undefined ? undefined : onlyChild(parent, name);
}

function readPages(root: XmlElement): Website {
  const error = optionalChild(root, "ErrorDocument");
  const rules = optionalChild(root, "RoutingRules");
  return {
    kind: "pages",
    indexSuffix: readSuffix(optionalChild(root, "IndexDocument")),
    errorKey: error && readErrorKey(error),
    rules: rules === undefined ? [] : readRules(rules),
  };
}

function readSuffix(element: XmlElement | undefined): string {
  if (element === undefined)
    throw invalidArgument(
      "IndexDocument",
      "null",
      "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
    );
  onlyChildren(element, ["Suffix"]);
  const suffix = childText(element, "Suffix") ?? "";
  if (suffix === "" || suffix.includes("/"))
    throw invalidArgument("IndexDocument", suffix, "The IndexDocument Suffix is not well formed");
  return checkedKey(suffix);
}

function readErrorKey(element: XmlElement): string {
  onlyChildren(element, ["Key"]);
  const key = requiredText(element, "Key");
  if (key === "") throw malformed();
  return checkedKey(key);
}

/** What no key can be as long as. */
function checkedKey(key: string): string {
  if (Buffer.byteLength(key) > limits.objectKeyBytesMax) throw new S3Error("KeyTooLongError", "Your key is too long");
  return key;
}

function checkedHost(host: string): string {
  if (!hostForm.test(host)) throw invalid(`The host name ${JSON.stringify(host)} is not valid.`);
  return host;
}

function readProtocol(element: XmlElement): WebProtocol | undefined {
  const protocol = childText(element, "Protocol");
  if (protocol === undefined || protocol === "http" || protocol === "https") return protocol;
  throw invalid(
    "Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically.",
  );
}

function readRules(element: XmlElement): readonly RoutingRule[] {
  onlyChildren(element, ["RoutingRule"]);
  const rules = childrenOf(element, "RoutingRule");
  const most = limits.routingRulesMax;
  if (rules.length === 0) throw malformed();
  if (rules.length > most)
    throw invalid(
      `${rules.length} routing rules provided, the number of routing rules in a website configuration is limited to ${most}.`,
    );
  return rules.map((rule) => {
    onlyChildren(rule, ["Condition", "Redirect"]);
    const condition = optionalChild(rule, "Condition");
    return { condition: condition && readCondition(condition), redirect: readRedirect(onlyChild(rule, "Redirect")) };
  });
}

function readCondition(element: XmlElement): RoutingRule["condition"] {
  onlyChildren(element, ["KeyPrefixEquals", "HttpErrorCodeReturnedEquals"]);
  if (element.children.length === 0)
    throw invalid(
      "Condition cannot be empty. To redirect all requests without a condition, the condition element shouldn't be present.",
    );
  const keyPrefix = childText(element, "KeyPrefixEquals");
  const status = childText(element, "HttpErrorCodeReturnedEquals");
  if (status !== undefined && !/^[45]\d\d$/.test(status))
    throw invalid(`The provided HTTP error code (${status}) is not valid. Valid codes are 4XX or 5XX.`);
  return {
    keyPrefix: keyPrefix === undefined ? undefined : checkedKey(keyPrefix),
    errorStatus: status === undefined ? undefined : Number(status),
  };
}

function readRedirect(element: XmlElement): WebsiteRedirect {
  onlyChildren(element, ["Protocol", "HostName", "HttpRedirectCode", "ReplaceKeyWith", "ReplaceKeyPrefixWith"]);
  // One that says nothing would send everybody where they are.
  if (element.children.length === 0) throw malformed();
  const status = childText(element, "HttpRedirectCode");
  if (status !== undefined && !redirectStatuses.has(status))
    throw invalid(`The provided HTTP redirect code (${status}) is not valid. Valid codes are 3XX except 300.`);
  const hostName = childText(element, "HostName");
  return {
    protocol: readProtocol(element),
    hostName: hostName === undefined ? undefined : checkedHost(hostName),
    status: status === undefined ? undefined : Number(status),
    replacement: readReplacement(element),
  };
}

function readReplacement(element: XmlElement): KeyReplacement | undefined {
  const key = childText(element, "ReplaceKeyWith");
  const prefix = childText(element, "ReplaceKeyPrefixWith");
  if (key !== undefined && prefix !== undefined)
    throw invalid("You can only define ReplaceKeyPrefix or ReplaceKey but not both.");
  if (key !== undefined) return { of: "key", with: checkedKey(key) };
  return prefix === undefined ? undefined : { of: "prefix", with: checkedKey(prefix) };
}

// ---- Writing ----

function optional(name: string, value: string | number | undefined): string {
  return value === undefined ? "" : xmlElement(name, value);
}

function print(site: Website): string {
  if (site.kind === "elsewhere") {
    const { hostName, protocol } = site;
    return `<RedirectAllRequestsTo>${xmlElement("HostName", hostName)}${optional("Protocol", protocol)}</RedirectAllRequestsTo>`;
  }
  const { indexSuffix, errorKey, rules } = site;
  return (
    `<IndexDocument>${xmlElement("Suffix", indexSuffix)}</IndexDocument>` +
    (errorKey === undefined ? "" : `<ErrorDocument>${xmlElement("Key", errorKey)}</ErrorDocument>`) +
    (rules.length === 0 ? "" : `<RoutingRules>${rules.map(printRule).join("")}</RoutingRules>`)
  );
}

function printRule({ condition, redirect }: RoutingRule): string {
  const { protocol, hostName, status, replacement } = redirect;
  const asked =
    condition === undefined
      ? ""
      : `<Condition>${optional("KeyPrefixEquals", condition.keyPrefix)}${optional("HttpErrorCodeReturnedEquals", condition.errorStatus)}</Condition>`;
  const name = replacement?.of === "key" ? "ReplaceKeyWith" : "ReplaceKeyPrefixWith";
  return (
    `<RoutingRule>${asked}<Redirect>` +
    optional("Protocol", protocol) +
    optional("HostName", hostName) +
    optional(name, replacement?.with) +
    optional("HttpRedirectCode", status) +
    "</Redirect></RoutingRule>"
  );
}

export const noSuchWebsite = {
  code: "NoSuchWebsiteConfiguration",
  message: "The specified bucket does not have a website configuration",
} as const;

export const website: DocumentKind<Website> = {
  kind: "website",
  root: "WebsiteConfiguration",
  parse: read,
  print,
  absent: noSuchWebsite,
};

/**
 * Where a website sends a request on to: pure. A location is made of the address that was asked for and of texts of the bucket's owner,
 * so it is escaped to what an address can hold; a `?`, `#` or `%` of the owner's stays what it is.
 */
import type { RoutingRule, Website, WebProtocol } from "../gateway/documents/website.ts";
import { encodeUrl } from "../gateway/params.ts";

/** A request as it came. */
export type Visited = {
  readonly protocol: WebProtocol;
  /** With its port. */
  readonly host: string;
  readonly key: string;
  /** Still encoded. */
  readonly rawPath: string;
  readonly rawQuery: string;
};

export type Redirected = { readonly status: number; readonly location: string };

const unfit = /[^\x21-\x7e]|["<>\\^`{|}]/gu;

function escaped(text: string): string {
  return text.replace(unfit, encodeURIComponent);
}

/** Of what came in a request, where a character is a byte. */
function escapedBytes(text: string): string {
  return text.replace(unfit, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`);
}

function withQuery(address: string, rawQuery: string): string {
  if (rawQuery === "") return address;
  return `${address}${address.includes("?") ? "&" : "?"}${escapedBytes(rawQuery)}`;
}

/** All requests go there, to the same path. */
export function locationElsewhere(site: Extract<Website, { kind: "elsewhere" }>, visited: Visited): string {
  const { protocol, rawPath, rawQuery } = visited;
  return withQuery(`${site.protocol ?? protocol}://${site.hostName}${escapedBytes(rawPath)}`, rawQuery);
}

/** `errorStatus`: undefined before anything was read. The first rule that fits counts. */
export function ruleFor(
  rules: readonly RoutingRule[],
  key: string,
  errorStatus: number | undefined,
): RoutingRule | undefined {
  return rules.find(({ condition }) => {
    if (condition?.errorStatus !== errorStatus) return false;
    return key.startsWith(condition?.keyPrefix ?? "");
  });
}

export function redirectedBy({ condition, redirect }: RoutingRule, visited: Visited): Redirected {
  const { protocol, hostName, status = 301, replacement } = redirect;
  const { key, rawQuery } = visited;
  const path =
    replacement === undefined
      ? encodeUrl(key)
      : replacement.of === "key"
        ? escaped(replacement.with)
        : escaped(replacement.with) + encodeUrl(key.slice((condition?.keyPrefix ?? "").length));
  const address = `${protocol ?? visited.protocol}://${hostName ?? visited.host}/${path}`;
  return { status, location: withQuery(address, rawQuery) };
}

/** A key that begins with a slash must not become the name of a host. */
export function folderLocation(key: string): string {
  return `/${encodeUrl(key).replace(/^\//, "%2F")}/`;
}

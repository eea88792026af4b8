/** The XML of IAM's and STS's answers, and pages of lists. */
import { limits } from "../core/limits.ts";
import { escapeXml, xmlElement } from "../gateway/xml.ts";
import type { Tag } from "../identity/records.ts";
import type { Call } from "./call.ts";
import { QueryError } from "./faults.ts";

export type Service = "iam" | "sts";

const namespaces: Readonly<Record<Service, string>> = {
  iam: "https://iam.amazonaws.com/doc/2010-05-08/",
  sts: "https://sts.amazonaws.com/doc/2011-06-15/",
};

const declaration = '<?xml version="1.0" encoding="UTF-8"?>\n';

/** `result` is XML already; where it is empty the action has no result. */
export function answerDocument(service: Service, action: string, result: string, requestId: string): string {
  const inner = result === "" ? "" : `<${action}Result>${result}</${action}Result>`;
  const metadata = `<ResponseMetadata>${xmlElement("RequestId", requestId)}</ResponseMetadata>`;
  return `${declaration}<${action}Response xmlns="${namespaces[service]}">${inner}${metadata}</${action}Response>`;
}

export function errorDocument(service: Service, error: QueryError, requestId: string): string {
  const type = error.status >= 500 ? "Receiver" : "Sender";
  const inner = `<Type>${type}</Type><Code>${error.code}</Code><Message>${escapeXml(error.message)}</Message>`;
  return `${declaration}<ErrorResponse xmlns="${namespaces[service]}"><Error>${inner}</Error>${xmlElement("RequestId", requestId)}</ErrorResponse>`;
}

export function dateElement(name: string, ms: number): string {
  return xmlElement(name, `${new Date(ms).toISOString().slice(0, 19)}Z`);
}

/** Policies travel encoded as in a URL. */
export function documentElement(name: string, document: string): string {
  return xmlElement(name, encodeURIComponent(document));
}

/** Nothing where there is no value. */
export function optional(name: string, text: string | undefined): string {
  return text === undefined || text === "" ? "" : xmlElement(name, text);
}

export function list(name: string, members: readonly string[]): string {
  return `<${name}>${members.map((member) => `<member>${member}</member>`).join("")}</${name}>`;
}

export function tagList(tags: readonly Tag[]): string {
  return list(
    "Tags",
    tags.map(({ key, value }) => xmlElement("Key", key) + xmlElement("Value", value)),
  );
}

export function boundaryElement(arn: string | undefined): string {
  if (arn === undefined) return "";
  const inner = xmlElement("PermissionsBoundaryType", "Policy") + xmlElement("PermissionsBoundaryArn", arn);
  return `<PermissionsBoundary>${inner}</PermissionsBoundary>`;
}

type Asked = { readonly after: string | undefined; readonly itemsMax: number };

function asked({ form }: Call): Asked {
  const itemsMax = form.whole("MaxItems") ?? limits.iamPageItemsDefault;
  if (itemsMax < 1 || itemsMax > limits.iamPageItemsMax)
    throw new QueryError("ValidationError", `MaxItems must be from 1 to ${limits.iamPageItemsMax}.`);
  const marker = form.text("Marker");
  return { after: marker === undefined ? undefined : Buffer.from(marker, "base64url").toString("utf8"), itemsMax };
}

function pageEnd(next: string | undefined): string {
  const marker = next === undefined ? "" : xmlElement("Marker", Buffer.from(next).toString("base64url"));
  return xmlElement("IsTruncated", next !== undefined) + marker;
}

type Paged = { readonly name: string; readonly path: string };

export type RowsPage<T> = {
  readonly element: string;
  rows(options: { account: string; after: string | undefined; limit: number }): Promise<T[]>;
  isWanted(row: T): boolean;
  xml(row: T): string;
};

/**
 * A page of the account's rows that are wanted. It may be shorter than was asked for although more follows, for it looks at
 * iamRowsPerPageMax rows at most.
 */
export async function rowsPage<T extends Paged>(call: Call, { element, rows, isWanted, xml }: RowsPage<T>) {
  const { itemsMax, after: from } = asked(call);
  const { account } = call.actor.caller;
  const prefix = call.form.text("PathPrefix") ?? "/";
  const found: T[] = [];
  let after = from;
  for (let seen = 0; seen < limits.iamRowsPerPageMax;) {
    const limit = Math.min(limits.iamPageItemsDefault, itemsMax + 1);
    const read = await rows({ account, after, limit });
    for (const row of read) {
      if (row.path.startsWith(prefix) && isWanted(row)) found.push(row);
      if (found.length > itemsMax)
        return list(element, found.slice(0, itemsMax).map(xml)) + pageEnd(found.at(-2)!.name);
      after = row.name;
    }
    if (read.length < limit) return list(element, found.map(xml)) + pageEnd(undefined);
    seen += read.length;
  }
  return list(element, found.map(xml)) + pageEnd(after);
}

/** A page of a list that is there as a whole, by names that are all different. */
export function itemsPage(
  call: Call,
  element: string,
  items: readonly { readonly name: string; readonly xml: string }[],
) {
  const { after, itemsMax } = asked(call);
  const sorted = [...items].sort((a, b) => (a.name < b.name ? -1 : 1));
  const rest = after === undefined ? sorted : sorted.filter(({ name }) => name > after);
  const shown = rest.slice(0, itemsMax);
  const members = shown.map(({ xml }) => xml);
  return list(element, members) + pageEnd(rest.length > itemsMax ? shown.at(-1)!.name : undefined);
}

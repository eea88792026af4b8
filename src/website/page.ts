/** What a website shows of an error where its bucket has no page for it: HTML with the elements that AWS's has. */
import { STATUS_CODES } from "node:http";
import { headersOf, type S3Error } from "../gateway/errors.ts";
import type { Reply } from "../gateway/respond.ts";
import { escapeXml } from "../gateway/xml.ts";

export type Ids = { readonly requestId: string; readonly hostId: string };

/** `key`: what was looked for. */
export type Failure = { readonly error: S3Error; readonly key?: string | undefined };

type Item = readonly [name: string, value: string | number];

function itemsOf({ error, key }: Failure): Item[] {
  const details = { ...(error.code === "NoSuchKey" && key !== undefined && { Key: key }), ...error.details };
  return [["Code", error.code], ["Message", error.message], ...Object.entries(details)];
}

function listOf(items: readonly Item[]): string {
  const lines = items.map(([name, value]) => `<li>${name}: ${escapeXml(String(value))}</li>\n`);
  return `<ul>\n${lines.join("")}</ul>\n`;
}

/** `document`: why the bucket's own page for errors could not be shown either. */
export function errorPage(failure: Failure, document: Failure | undefined, { requestId, hostId }: Ids): Reply {
  const { status, code } = failure.error;
  const title = `${status} ${STATUS_CODES[status] ?? ""}`;
  const ids = [
    ["RequestId", requestId],
    ["HostId", hostId],
  ] as const;
  const second =
    document === undefined
      ? ""
      : `<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>\n${listOf(itemsOf(document))}`;
  const body =
    `<html>\n<head><title>${title}</title></head>\n<body>\n<h1>${title}</h1>\n` +
    `${listOf([...itemsOf(failure), ...ids])}${second}<hr/>\n</body>\n</html>\n`;
  const headers = ["content-type", "text/html; charset=utf-8", ...errorHeaders(failure.error)];
  return { status, headers, body, code };
}

/** What an answer says of its error in headers, whatever page it shows. */
export function errorHeaders(error: S3Error): string[] {
  // A message may repeat what a client sent, and a header bears visible ASCII alone.
  const message = error.message.replace(/[^\x20-\x7e]/g, "?");
  return ["x-amz-error-code", error.code, "x-amz-error-message", message, ...headersOf(error)];
}

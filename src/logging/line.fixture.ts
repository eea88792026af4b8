/** Takes a line of an access log apart, as those who read such logs do: by spaces outside of brackets and quotation marks. */
import assert from "node:assert/strict";

export const fieldNames = [
  "owner",
  "bucket",
  "time",
  "remoteAddress",
  "requester",
  "requestId",
  "operation",
  "key",
  "request",
  "status",
  "code",
  "bytesSent",
  "objectBytes",
  "totalMs",
  "turnAroundMs",
  "referer",
  "userAgent",
  "versionId",
  "hostId",
  "signatureVersion",
  "cipher",
  "authType",
  "host",
  "tlsVersion",
  "accessPoint",
  "aclRequired",
  "sourceRegion",
] as const;

export type ParsedLine = Readonly<Record<(typeof fieldNames)[number], string>>;

export function parseLine(line: string): ParsedLine {
  const fields = [...line.matchAll(/\[([^\]]*)\](?= |$)|"([^"]*)"(?= |$)|(\S+)/g)].map(
    ([, bracketed, quoted, word]) => bracketed ?? quoted ?? word ?? "",
  );
  assert.equal(fields.length, fieldNames.length, line);
  return Object.fromEntries(fieldNames.map((name, at) => [name, fields[at]])) as ParsedLine;
}

export function parseLog(text: string): ParsedLine[] {
  assert.ok(text.endsWith("\n"), "a log ends with a line");
  return text.slice(0, -1).split("\n").map(parseLine);
}

/** GET and HEAD of a file: range, conditions and If-Range (RFC 9110), and a name to save it under. */
import { assert } from "../core/assert.ts";
import type { DoorRequest } from "../core/door.ts";
import { hasReason } from "../core/errors.ts";
import { httpDate, readConditions, requestedRange } from "../gateway/headers.ts";
import type { Reply } from "../gateway/respond.ts";
import type { GetOptions, GetOutcome, HeadOutcome, ObjectInfo, ReadConditions } from "../object/object.ts";
import { contentDisposition, fileOfKey } from "./names.ts";

type Asked = Pick<GetOptions, "conditions" | "range">;
type Outcome = GetOutcome | HeadOutcome;

/** Reads with what the headers ask for and spells the outcome. `read` is objects.get or objects.head. */
export async function downloadReply(request: DoorRequest, read: (asked: Asked) => Promise<Outcome>): Promise<Reply> {
  const outcome = await readAsked(request, read);
  const { info } = outcome;
  const validators = ["etag", `"${info.etag}"`, "last-modified", httpDate(info.modifiedMs)];
  if (outcome.outcome === "not_modified") return { status: 304, headers: validators };
  const { range } = outcome;
  const lengthBytes = range?.length ?? info.sizeBytes;
  const headers = [...validators, ...fileHeaders(info)];
  if (range !== undefined) {
    headers.push("content-range", `bytes ${range.offset}-${range.offset + range.length - 1}/${info.sizeBytes}`);
  }
  const status = range === undefined ? 200 : 206;
  if (!("body" in outcome)) return { status, headers: [...headers, "content-length", String(lengthBytes)] };
  if (outcome.inline === undefined) {
    const body = { lengthBytes, pieces: () => outcome.body(), release: () => outcome.release() };
    return { status, headers, body };
  }
  outcome.release();
  assert(outcome.inline.length === lengthBytes, "an inline body has the announced length");
  return { status, headers, body: outcome.inline };
}

/** What was uploaded is never a page of this server: an attachment, its type not guessed, no script of it allowed. */
function fileHeaders({ key, metadata }: ObjectInfo): string[] {
  const { name } = fileOfKey(key);
  const headers = [
    "content-type",
    metadata.headers["content-type"] ?? "application/octet-stream",
    "content-disposition",
    contentDisposition(name),
    "accept-ranges",
    "bytes",
    "x-content-type-options",
    "nosniff",
    "content-security-policy",
    "sandbox",
    "cache-control",
    metadata.headers["cache-control"] ?? "private, no-cache",
  ];
  const encoding = metadata.headers["content-encoding"];
  if (encoding !== undefined) headers.push("content-encoding", encoding);
  return headers;
}

/** With If-Range, first on the condition that it is still that version; if not, again for the whole file. */
async function readAsked({ headers }: DoorRequest, read: (asked: Asked) => Promise<Outcome>): Promise<Outcome> {
  const conditions = readConditions(headers);
  const range = requestedRange(headers);
  const ifRange = headers["if-range"];
  if (range === undefined) return read(conditions === undefined ? {} : { conditions });
  if (typeof ifRange !== "string" || conditions !== undefined) {
    return read({ range, ...(conditions !== undefined && { conditions }) });
  }
  const sameVersion = ifRangeCondition(ifRange);
  if (sameVersion === undefined) return read({});
  try {
    return await read({ range, conditions: sameVersion });
  } catch (error) {
    if (!hasReason(error, "precondition_failed")) throw error;
    return read({});
  }
}

function ifRangeCondition(ifRange: string): ReadConditions | undefined {
  const etag = /^"([^"]*)"$/.exec(ifRange.trim());
  if (etag !== null) return { ifMatch: [etag[1]!] };
  const dateMs = Date.parse(ifRange);
  return Number.isNaN(dateMs) ? undefined : { ifUnmodifiedSinceMs: dateMs };
}

/** x-amz-rename-source, as AWS documents it: `/bucket/key`, URL-encoded; the key alone will do, for it is of the same bucket. */
import type { IncomingHttpHeaders } from "node:http";
import { invalidArgument } from "./params.ts";
import { decodeKey } from "./route.ts";

const header = "x-amz-rename-source";

type Asked = { readonly bucket: string; readonly headers: IncomingHttpHeaders };

/** What begins with the bucket's name and a slash is taken for `bucket/key`. Errors: InvalidArgument. */
export function renameSource({ bucket, headers }: Asked): Buffer {
  const text = String(headers[header] ?? "");
  const path = decodeKey(text);
  const named = [`/${bucket}/`, `${bucket}/`].find((start) => path.subarray(0, start.length).toString() === start);
  const key = path.subarray(named?.length ?? 0);
  if (key.length === 0) throw invalidArgument(header, text, "The rename source must name a key of the same bucket.");
  return key;
}

/** All keys that begin with the source's are renamed: ours, AWS has no such thing. Errors: InvalidArgument. */
export function isPrefixRename({ headers }: Pick<Asked, "headers">): boolean {
  const value = String(headers["x-holdfast-rename-prefix"] ?? "false").toLowerCase();
  if (value !== "true" && value !== "false")
    throw invalidArgument("x-holdfast-rename-prefix", value, "It is either true or false.");
  return value === "true";
}

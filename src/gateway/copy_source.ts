/** The object that CopyObject and UploadPartCopy read. */
import type { IncomingHttpHeaders } from "node:http";
import type { CopyOptions } from "../object/object.ts";
import { S3Error } from "./errors.ts";
import { copySourceConditions } from "./headers.ts";
import { invalidArgument } from "./params.ts";
import { decodeKey } from "./route.ts";

/** x-amz-copy-source: `bucket/key`, with or without a leading slash, URL-encoded, `?versionId=` behind it. */
export function copySource(headers: IncomingHttpHeaders): CopyOptions["source"] {
  const text = String(headers["x-amz-copy-source"] ?? "");
  const mark = text.indexOf("?versionId=");
  const path = (mark < 0 ? text : text.slice(0, mark)).replace(/^(\/|%2F)/i, "");
  const slash = /\/|%2F/i.exec(path);
  if (slash === null || slash.index === 0) throw badSource(text);
  const key = decodeKey(path.slice(slash.index + slash[0].length));
  if (key.length === 0) throw badSource(text);
  const bucket = decodeKey(path.slice(0, slash.index)).toString();
  if (bucket.startsWith("arn:")) throw new S3Error("NotImplemented", "Access points are not implemented.");
  const conditions = copySourceConditions(headers);
  const versionId = mark < 0 ? undefined : decodeKey(text.slice(mark + "?versionId=".length)).toString();
  if (versionId === "") throw invalidArgument("versionId", "", "Version id cannot be the empty string");
  return {
    bucket,
    key,
    ...(versionId !== undefined && { versionId }),
    ...(conditions !== undefined && { conditions }),
  };
}

function badSource(text: string): S3Error {
  return invalidArgument(
    "x-amz-copy-source",
    text,
    "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
  );
}

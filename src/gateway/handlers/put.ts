/** PutObject, with a write offset an append. */
import type { IncomingHttpHeaders } from "node:http";
import { newObjectAcl } from "../acls.ts";
import { checksumHeaders, provesBody } from "../checksums.ts";
import { lockAsked } from "../documents/object_lock.ts";
import { taggingHeader } from "../documents/tagging.ts";
import { encryptionHeaders, wantedEncryption } from "../encryption.ts";
import { S3Error } from "../errors.ts";
import type { Handler } from "../exchange.ts";
import { endingHeader, newVersionHeader, objectMetadata, writeConditions } from "../headers.ts";
import { countParam } from "../params.ts";

export const putObject: Handler = async (request, services) => {
  const { bucket, key, headers, signal, origin } = request;
  const metadata = objectMetadata(headers);
  const tags = taggingHeader(headers["x-amz-tagging"]);
  const lock = lockAsked(headers);
  if (lock !== undefined) requireProof(headers);
  const conditions = writeConditions(headers);
  const encryption = wantedEncryption(request);
  const offset = writeOffset(headers);
  if (offset !== undefined) refuseWithOffset(headers);
  const acl = await newObjectAcl(request, services);
  const { source, verifier } = request.body();
  const common = {
    bucket,
    key,
    body: source,
    metadata,
    verifier,
    signal,
    origin,
    ...acl,
    ...(tags !== undefined && { tags }),
    ...(conditions !== undefined && { conditions }),
  };
  const { objects } = services;
  const result =
    offset === undefined
      ? await objects.put({ ...common, ...(lock !== undefined && { lock }), ...encryption })
      : await objects.append({ ...common, offset });
  const reply = ["etag", `"${result.etag}"`, ...newVersionHeader(result), ...encryptionHeaders(request, result)];
  reply.push(...endingHeader(result));
  if (result.checksum !== undefined) reply.push(...checksumHeaders(result.checksum, undefined));
  if (offset !== undefined) reply.push("x-amz-object-size", String(result.sizeBytes));
  return { status: 200, headers: reply };
};

/** What is locked stays as it came, so S3 wants its body proven. */
function requireProof(headers: IncomingHttpHeaders): void {
  if (provesBody(headers)) return;
  throw new S3Error(
    "InvalidRequest",
    "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters",
  );
}

const offsetHeader = "x-amz-write-offset-bytes";

function writeOffset(headers: IncomingHttpHeaders): number | undefined {
  const value = headers[offsetHeader];
  return countParam(offsetHeader, typeof value === "string" ? value : undefined);
}

/** What would change what is there, or could not hold for all of it. */
function refuseWithOffset(headers: IncomingHttpHeaders): void {
  const name = Object.keys(headers).find((each) => notWithOffset.some((start) => each.startsWith(start)));
  if (name !== undefined) throw new S3Error("InvalidRequest", `${name} cannot be given together with a write offset.`);
}

const notWithOffset = ["x-amz-acl", "x-amz-grant-", "x-amz-object-lock-", "x-amz-server-side-encryption"];

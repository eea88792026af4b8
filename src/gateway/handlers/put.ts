/** PutObject. */
import { checksumHeaders } from "../checksums.ts";
import type { Handler } from "../exchange.ts";
import { objectMetadata, writeConditions } from "../headers.ts";

export const putObject: Handler = async (request, { objects }) => {
  const { bucket, key, headers, signal } = request;
  const metadata = objectMetadata(headers);
  const conditions = writeConditions(headers);
  const { source, verifier } = request.body();
  const result = await objects.put({
    bucket,
    key,
    body: source,
    metadata,
    verifier,
    signal,
    ...(conditions !== undefined && { conditions }),
  });
  const reply = ["etag", `"${result.etag}"`];
  if (result.checksum !== undefined) reply.push(...checksumHeaders(result.checksum, undefined));
  return { status: 200, headers: reply };
};

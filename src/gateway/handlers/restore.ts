/** RestoreObject: of an archive, and there is none here. */
import { S3Error } from "../errors.ts";
import type { Handler } from "../exchange.ts";
import { versionParam } from "../params.ts";
import { parseXml } from "../xml.ts";

/** Every object can be read at once, which AWS says of a storage class that is no archive by this error. */
export const restoreObject: Handler = async (request, { objects }) => {
  const { bucket, key, query, admission } = request;
  const bytes = await request.xml();
  if (bytes.length === 0) throw new S3Error("MissingRequestBodyError", "Request Body is empty");
  parseXml(bytes, "RestoreRequest");
  await objects.describe({ bucket, key, ...versionParam(query), ...admission.of("target") });
  throw new S3Error("InvalidObjectState", "Restore is not allowed for the object's current storage class");
};

/** What there is nothing of here: archives (RestoreObject), and torrents, which AWS has ended. */
import { S3Error } from "../errors.ts";
import type { Handler, S3Request, Services } from "../exchange.ts";
import { versionParam } from "../params.ts";
import { parseXml } from "../xml.ts";

/** Every object can be read at once, which AWS says of a storage class that is no archive by this error. */
export const restoreObject: Handler = async (request, services) => {
  const bytes = await request.xml();
  if (bytes.length === 0) throw new S3Error("MissingRequestBodyError", "Request Body is empty");
  parseXml(bytes, "RestoreRequest");
  await lookUp(request, services);
  throw new S3Error("InvalidObjectState", "Restore is not allowed for the object's current storage class");
};

export const getObjectTorrent: Handler = async (request, services) => {
  await lookUp(request, services);
  throw new S3Error("NoSuchKey", "There are no torrents of objects.");
};

async function lookUp({ bucket, key, query, admission }: S3Request, { objects }: Services): Promise<void> {
  await objects.describe({ bucket, key, ...versionParam(query), ...admission.of("target") });
}

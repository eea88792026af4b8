/** Get, put and delete of configuration documents: the same three handlers for every kind (documents/document.ts). */
import type { ObjectOwnership } from "../../access/access.ts";
import { normalised, printDocument } from "../documents/document.ts";
import type { DocumentKind } from "../documents/document.ts";
import { S3Error } from "../errors.ts";
import type { Handler, S3Request, Services } from "../exchange.ts";
import { noContent, xmlReply } from "../respond.ts";

export function getDocument<T>(document: DocumentKind<T>): Handler {
  return async ({ bucket }, { objects }) => {
    const found = await objects.configuration(bucket, document.kind);
    if (found !== undefined) return xmlReply(found.bytes.toString());
    const { absent } = document;
    if ("value" in absent) return xmlReply(printDocument(document, absent.value));
    throw new S3Error(absent.code, absent.message, { details: { BucketName: bucket } });
  };
}

/** Judges what a document says of this very bucket. */
type Refuse<T> = (value: T, request: S3Request, services: Services) => void | Promise<void>;

export function putDocument<T>(document: DocumentKind<T>, refuse?: Refuse<T>): Handler {
  return async (request, services) => {
    const { bucket } = request;
    const { value, bytes } = normalised(document, await request.xml());
    await refuse?.(value, request, services);
    await services.objects.setConfiguration({ bucket, kind: document.kind, document: bytes });
    return { status: document.putStatus ?? 200, headers: [] };
  };
}

export function deleteDocument({ kind }: Pick<DocumentKind<unknown>, "kind">): Handler {
  return async ({ bucket }, { objects }) => {
    await objects.setConfiguration({ bucket, kind, document: undefined });
    return noContent;
  };
}

/** Accelerated endpoints are host names with one certificate, which no name with dots fits: AWS's rule. */
export function refuseDottedBucket(_value: unknown, { bucket }: S3Request): void {
  if (!bucket.includes(".")) return;
  throw new S3Error(
    "InvalidRequest",
    "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names",
  );
}

/** Where ACLs are to count for nothing, nothing may be granted to others by the bucket's. */
export async function refuseSharedBucket(
  value: ObjectOwnership,
  request: S3Request,
  services: Services,
): Promise<void> {
  if (value !== "BucketOwnerEnforced" || (await request.rules(services)).acl === undefined) return;
  throw new S3Error(
    "InvalidBucketAclWithObjectOwnership",
    "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
  );
}

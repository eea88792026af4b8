/**
 * The headers of server-side encryption: what a request wants of a new object, which keys it brings for what is there, and what an
 * answer says. All of it is judged before a byte is read, in AWS's words where they are known.
 *
 * A client's key (SSE-C) is refused on a connection that others may listen to. Sources: "Protecting data with server-side
 * encryption" of the S3 user guide, and the headers of PutObject, GetObject, CopyObject and UploadPart in its API reference.
 */
import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { limits } from "../core/limits.ts";
import { KEY_BYTES, type EncryptionContext } from "../crypto/crypto.ts";
import { CustomerKey } from "../crypto/customer_key.ts";
import type { CompleteOptions, EncryptionInfo, WantedEncryption } from "../object/object.ts";
import { S3Error } from "./errors.ts";
import type { S3Request } from "./exchange.ts";
import type { Operation } from "./operations.ts";
import { invalidArgument } from "./params.ts";

const methodHeader = "x-amz-server-side-encryption";
const keyIdHeader = `${methodHeader}-aws-kms-key-id`;
const contextHeader = `${methodHeader}-context`;
const bucketKeyHeader = `${methodHeader}-bucket-key-enabled`;
const ownPrefix = `${methodHeader}-customer-`;
const sourcePrefix = `x-amz-copy-source-server-side-encryption-customer-`;

const wanting: readonly Operation[] = ["PutObject", "PostObject", "CopyObject", "CreateMultipartUpload"];
/** They say again what the upload was started with. */
const repeating: readonly Operation[] = ["UploadPart", "CompleteMultipartUpload"];
const copying: readonly Operation[] = ["CopyObject", "UploadPartCopy"];
const keyed: readonly Operation[] = [
  ...wanting,
  "GetObject",
  "HeadObject",
  "GetObjectAttributes",
  "UploadPart",
  "UploadPartCopy",
  "CompleteMultipartUpload",
  "ListParts",
];

const known: ReadonlyMap<string, readonly Operation[]> = new Map([
  ...[methodHeader, keyIdHeader].map((name) => [name, [...wanting, ...repeating]] as const),
  ...[contextHeader, bucketKeyHeader].map((name) => [name, wanting] as const),
  ...["algorithm", "key", "key-md5"].flatMap((name) => [
    [ownPrefix + name, keyed] as const,
    [sourcePrefix + name, copying] as const,
  ]),
]);

/** Whether the header is one of encryption's; then the operation knows it. Errors: InvalidArgument, NotImplemented. */
export function isEncryptionHeader(name: string, value: string, operation: Operation): boolean {
  if (!name.startsWith(methodHeader) && !name.startsWith("x-amz-copy-source-server-side-encryption")) return false;
  const operations = known.get(name);
  if (operations === undefined)
    throw new S3Error("NotImplemented", `Server-side encryption (${name}) is not implemented.`);
  if (!operations.includes(operation))
    throw invalidArgument(name, shownValue(name, value), `${name} header is not supported for this operation.`);
  return true;
}

/** A key is never repeated in an answer. */
function shownValue(name: string, value: string): string {
  return name.startsWith(ownPrefix) || name.startsWith(sourcePrefix) ? "" : value;
}

function textOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

/** A request, or a form: what bears the headers, and whether it came where nobody listens. */
type Asking = Pick<S3Request, "headers" | "isPrivate">;

// ---- What a new object shall be ----

/** Undefined: the request says nothing of it. Errors: InvalidArgument and those of a client's key. */
export function wantedEncryption(request: Asking): { readonly encryption?: WantedEncryption } {
  const { headers } = request;
  const method = textOf(headers, methodHeader);
  const key = customerKeyOf(request, ownPrefix);
  if (method !== undefined && key !== undefined)
    throw invalidArgument(
      methodHeader,
      method,
      "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
    );
  if (method !== "aws:kms") refuseKmsHeaders(headers);
  if (key !== undefined) return { encryption: { mode: "customer", key } };
  if (method === undefined) return {};
  if (method === "AES256") return { encryption: { mode: "s3" } };
  if (method === "aws:kms:dsse")
    throw new S3Error("NotImplemented", "Dual-layer encryption (aws:kms:dsse) is not implemented.");
  if (method !== "aws:kms")
    throw invalidArgument(methodHeader, method, "The encryption method specified is not supported");
  return { encryption: namedKey(headers) };
}

function refuseKmsHeaders(headers: IncomingHttpHeaders): void {
  for (const name of [keyIdHeader, contextHeader]) {
    const value = textOf(headers, name);
    if (value === undefined) continue;
    const why = `Server Side Encryption with AWS KMS managed key requires HTTP header ${methodHeader} : aws:kms`;
    throw invalidArgument(name, value, why);
  }
}

function namedKey(headers: IncomingHttpHeaders): WantedEncryption {
  const keyId = textOf(headers, keyIdHeader);
  const bucketKey = textOf(headers, bucketKeyHeader);
  if (bucketKey !== undefined && !/^(true|false)$/i.test(bucketKey))
    throw invalidArgument(bucketKeyHeader, bucketKey, `${bucketKeyHeader} must be true or false.`);
  if (keyId !== undefined && (keyId === "" || keyId.length > limits.encryptionKeyIdCharsMax))
    throw invalidArgument(keyIdHeader, keyId, "The ID of the AWS KMS key is not valid.");
  const hasBucketKey = bucketKey?.toLowerCase() === "true";
  return { mode: "kms", keyId, context: contextOf(textOf(headers, contextHeader)), hasBucketKey };
}

function contextOf(text: string | undefined): EncryptionContext {
  if (text === undefined) return new Map();
  const pairs = pairsOf(text);
  const isValid =
    pairs !== undefined &&
    pairs.length <= limits.encryptionContextPairsMax &&
    pairs.every(([, value]) => typeof value === "string");
  if (!isValid)
    throw invalidArgument(
      contextHeader,
      text,
      `The header '${contextHeader}' shall be Base64-encoded UTF-8 string holding JSON with the encryption context key-value pairs`,
    );
  return new Map(pairs as [string, string][]);
}

function pairsOf(text: string): [string, unknown][] | undefined {
  if (text.length > (limits.encryptionContextBytesMax * 4) / 3 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text))
    return undefined;
  try {
    const parsed: unknown = JSON.parse(Buffer.from(text, "base64").toString("utf8"));
    const isObject = typeof parsed === "object" && parsed !== null && !Array.isArray(parsed);
    return isObject ? Object.entries(parsed) : undefined;
  } catch {
    return undefined;
  }
}

// ---- Clients' keys ----

/** Of the object, or of the upload, that the request is about. */
export function customerKey(request: Asking): { readonly customerKey?: CustomerKey } {
  const key = customerKeyOf(request, ownPrefix);
  return key === undefined ? {} : { customerKey: key };
}

/**
 * Of the upload that the request is about, and what the request says of how that is encrypted. AWS knows no such headers of a part;
 * Ceph takes them. Here the method is compared, and the key is the upload's, by which the request was judged (begun_upload.ts).
 */
export function uploadEncryption(request: Asking): Pick<CompleteOptions, "customerKey" | "statedEncryption"> {
  const { encryption } = wantedEncryption(request);
  if (encryption === undefined) return {};
  return encryption.mode === "customer" ? { customerKey: encryption.key } : { statedEncryption: encryption };
}

/** Of the source of a copy. */
export function sourceCustomerKey(request: Asking): { readonly customerKey?: CustomerKey } {
  const key = customerKeyOf(request, sourcePrefix);
  return key === undefined ? {} : { customerKey: key };
}

function customerKeyOf(request: Asking, prefix: string): CustomerKey | undefined {
  const { headers } = request;
  const algorithm = textOf(headers, `${prefix}algorithm`);
  const key = textOf(headers, `${prefix}key`);
  const md5 = textOf(headers, `${prefix}key-md5`);
  if (algorithm === undefined && key === undefined && md5 === undefined) return undefined;
  if (!request.isPrivate)
    throw new S3Error(
      "InvalidRequest",
      "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.",
    );
  const must = "Requests specifying Server Side Encryption with Customer provided keys must provide";
  if (algorithm === undefined) throw invalidArgument(`${prefix}algorithm`, "", `${must} a valid encryption algorithm.`);
  if (algorithm !== "AES256")
    throw new S3Error(
      "InvalidEncryptionAlgorithmError",
      "The Encryption request you specified is not valid. Supported value: AES256.",
      {
        details: { ArgumentName: `${prefix}algorithm`, ArgumentValue: algorithm },
      },
    );
  if (key === undefined) throw invalidArgument(`${prefix}key`, "", `${must} an appropriate secret key.`);
  if (md5 === undefined)
    throw invalidArgument(`${prefix}key-MD5`, "", `${must} the client calculated MD5 of the secret key.`);
  // In what is refused from here on stands nothing of the key.
  const bytes = keyBytes(key);
  if (bytes === undefined)
    throw invalidArgument(`${prefix}key`, "", "The secret key was invalid for the specified algorithm.");
  if (createHash("md5").update(bytes).digest("base64") !== md5)
    throw invalidArgument(
      `${prefix}key-MD5`,
      md5,
      "The calculated MD5 hash of the key did not match the hash that was provided.",
    );
  return new CustomerKey(bytes);
}

function keyBytes(text: string): Buffer | undefined {
  const bytes = /^[A-Za-z0-9+/]{43}=$/.test(text) ? Buffer.from(text, "base64") : undefined;
  return bytes?.length === KEY_BYTES ? bytes : undefined;
}

// ---- Answers ----

const none: readonly string[] = [];

/** What an answer says of how its object, upload or part is encrypted. */
export function encryptionHeaders(
  { headers }: Pick<S3Request, "headers">,
  { encryption }: { readonly encryption: EncryptionInfo | undefined },
): readonly string[] {
  switch (encryption?.mode) {
    case undefined:
      return none;
    case "s3":
      return [methodHeader, "AES256"];
    case "customer": {
      // Complete need not bring the key.
      const md5 = textOf(headers, `${ownPrefix}key-md5`);
      return md5 === undefined ? none : [`${ownPrefix}algorithm`, "AES256", `${ownPrefix}key-MD5`, md5];
    }
    case "kms":
      return kmsHeaders(encryption);
  }
}

function kmsHeaders({ keyId, hasBucketKey }: EncryptionInfo & { readonly mode: "kms" }): readonly string[] {
  const headers = [methodHeader, "aws:kms", keyIdHeader, keyId];
  return hasBucketKey ? [...headers, bucketKeyHeader, "true"] : headers;
}

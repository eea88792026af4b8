/**
 * Signing of requests and URLs for Holdfast's own S3 client and for its tests. The server's side is sigv4.ts; both use
 * canonical.ts.
 */
import {
  algorithm,
  amzDate,
  canonicalHeaders,
  canonicalPath,
  canonicalQuery,
  canonicalRequest,
  scopeText,
  signatureOf,
  signingKey,
  stringToSign,
  unsignedPayload,
} from "./canonical.ts";

export type SignerCredentials = {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region: string;
  /** S3 if left out. */
  readonly service?: string;
};

export type SignRequestOptions = SignerCredentials & {
  readonly method: string;
  /** As it will be sent: encoded, no query. */
  readonly rawPath: string;
  readonly rawQuery?: string;
  /** Must hold `host`. Names in lower case. All are signed, except those that a proxy may change. */
  readonly headers: Readonly<Record<string, string>>;
  /** SHA-256 of the body in hex, or one of S3's words; UNSIGNED-PAYLOAD when left out. */
  readonly payloadHash?: string;
  readonly nowMs: number;
};

export type SignedRequest = {
  /** `headers` and what the signature adds: x-amz-date, x-amz-content-sha256, authorization. */
  readonly headers: Record<string, string>;
  readonly signature: string;
};

const unsigned: ReadonlySet<string> = new Set([
  "authorization",
  "connection",
  "content-length",
  "expect",
  "transfer-encoding",
  "user-agent",
]);

function signedNames(headers: Readonly<Record<string, string>>): string[] {
  return Object.keys(headers)
    .filter((name) => !unsigned.has(name))
    .sort();
}

export function signRequest(options: SignRequestOptions): SignedRequest {
  const { method, rawPath, rawQuery = "", region, service = "s3", accessKey, nowMs } = options;
  const { payloadHash = unsignedPayload } = options;
  const timestamp = amzDate(nowMs);
  const headers: Record<string, string> = {
    ...options.headers,
    "x-amz-date": timestamp,
    "x-amz-content-sha256": payloadHash,
  };
  const names = signedNames(headers);
  const signedHeaders = names.join(";");
  const scope = { date: timestamp.slice(0, 8), region, service };
  const canonical = canonicalRequest({
    method,
    path: canonicalPath(rawPath),
    query: canonicalQuery(rawQuery),
    headerLines: canonicalHeaders(names, headers),
    signedHeaders,
    payloadHash,
  });
  const key = signingKey(accessKey, options.secretKey, scope);
  const signature = signatureOf(key, stringToSign(timestamp, scopeText(scope), canonical));
  headers["authorization"] =
    `${algorithm} Credential=${accessKey}/${scopeText(scope)}, SignedHeaders=${signedHeaders}, Signature=${signature}`;
  return { headers, signature };
}

export type PresignOptions = SignerCredentials & {
  readonly method: string;
  /** `http://host:port`, without a path. */
  readonly origin: string;
  readonly rawPath: string;
  readonly rawQuery?: string;
  /** Headers the holder of the URL must send, besides host. */
  readonly headers?: Readonly<Record<string, string>>;
  /** 1 to 604,800. */
  readonly expiresSeconds: number;
  readonly nowMs: number;
};

/** A URL that carries its own signature. */
export function presignUrl(options: PresignOptions): string {
  const { method, origin, rawPath, region, accessKey, expiresSeconds, nowMs } = options;
  const timestamp = amzDate(nowMs);
  const scope = { date: timestamp.slice(0, 8), region, service: "s3" };
  const headers = { ...options.headers, host: new URL(origin).host };
  const names = signedNames(headers);
  const signedHeaders = names.join(";");
  const parameters =
    `X-Amz-Algorithm=${algorithm}&X-Amz-Credential=${encodeURIComponent(`${accessKey}/${scopeText(scope)}`)}` +
    `&X-Amz-Date=${timestamp}&X-Amz-Expires=${expiresSeconds}&X-Amz-SignedHeaders=${encodeURIComponent(signedHeaders)}`;
  const rawQuery = options.rawQuery ? `${options.rawQuery}&${parameters}` : parameters;
  const canonical = canonicalRequest({
    method,
    path: canonicalPath(rawPath),
    query: canonicalQuery(rawQuery),
    headerLines: canonicalHeaders(names, headers),
    signedHeaders,
    payloadHash: unsignedPayload,
  });
  const key = signingKey(accessKey, options.secretKey, scope);
  const signature = signatureOf(key, stringToSign(timestamp, scopeText(scope), canonical));
  return `${origin}${rawPath}?${rawQuery}&X-Amz-Signature=${signature}`;
}

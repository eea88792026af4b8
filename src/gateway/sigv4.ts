/**
 * Verification of AWS Signature Version 4, in the header and in the query, with S3's rules and error codes.
 * Promises: a request is `authenticated` only when its method, path, query, host, every x-amz-* header, time and the word
 * for its body are what the owner of the secret signed; a body's own hash or chunk signatures are judged later, by what
 * `payload` says. Nothing is answered about a signature before its time and scope are right.
 *
 * Regions: S3 accepts the server's own and us-east-1 (what clients take when nobody told them), no other; IAM and STS have none, and
 * accept what clients sign with where they know none.
 * Whose token it is that comes with temporary credentials, and whether it is still good, is the identity's to say.
 * Not accepted: Signature Version 2, SigV4A. Forms are sigv4_form.ts's.
 */
import { timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { ErrorDetails } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import {
  algorithm,
  amzDate,
  canonicalHeaders,
  canonicalPart,
  canonicalPath,
  canonicalQuery,
  canonicalRequest,
  parseAmzDate,
  scopeText,
  signatureOf,
  signingKey,
  stringToSign,
  unsignedPayload,
} from "./canonical.ts";
import type { CanonicalParts, Scope, SigningKey } from "./canonical.ts";
import { S3Error } from "./errors.ts";
import type { S3ErrorCode } from "./errors.ts";

export { presignUrl, signRequest } from "./signer.ts";
export type { PresignOptions, SignedRequest, SignRequestOptions } from "./signer.ts";

type Awaitable<T> = T | Promise<T>;

export type VerifyOptions = {
  readonly method: string;
  /** As received: still encoded, without the query. */
  readonly rawPath: string;
  readonly rawQuery: string;
  readonly headers: IncomingHttpHeaders;
  /** Needed only for signed headers that are sent more than once. */
  readonly rawHeaders?: readonly string[];
  readonly nowMs: number;
  readonly region: string;
  /** Of the door that the request came to; S3 if left out. */
  readonly service?: "s3" | "iam" | "sts";
  /** SHA-256 of the body in hex, which is signed where no x-amz-content-sha256 says so: outside of S3. */
  readonly bodyHash?: string;
  /** `token` comes with temporary credentials. */
  secretFor(accessKey: string, token?: string): Awaitable<string | undefined>;
};

/** How the body is signed, by x-amz-content-sha256; `sha256` in lower-case hex. */
export type Payload =
  | "unsigned"
  | { readonly sha256: string }
  | "streaming-signed"
  | "streaming-signed-trailer"
  | "streaming-unsigned-trailer";

/** What chunk signatures go on from. */
export type ChunkSigning = {
  readonly signingKey: SigningKey;
  /** YYYYMMDDTHHMMSSZ of the request. */
  readonly timestamp: string;
  /** `20260101/us-east-1/s3/aws4_request`. */
  readonly scope: string;
  readonly seedSignature: string;
};

export type AuthResult =
  | { readonly kind: "anonymous"; readonly payload: Payload }
  | ({ readonly kind: "authenticated"; readonly accessKey: string; readonly payload: Payload } & ChunkSigning);

/** Who asks, as far as that is proven. */
export type Caller = { readonly kind: "anonymous" } | { readonly kind: "authenticated"; readonly accessKey: string };

/** Who signed, and what: the same in every request of a client on one day. */
type Signer = {
  readonly accessKey: string;
  readonly scope: Scope;
  readonly scopeText: string;
  readonly signedHeaders: string;
  readonly names: readonly string[];
};

/** The signature and what it claims, wherever it stood in the request. */
type Claim = {
  readonly signer: Signer;
  readonly timestamp: string;
  readonly signature: string;
  readonly payloadHash: string;
  readonly token: string | undefined;
};

export async function verifyRequest(options: VerifyOptions): Promise<AuthResult> {
  const claim = claimOf(options);
  if (claim === undefined) return { kind: "anonymous", payload: anonymousPayload(options.headers) };
  const { signer, timestamp, signature, token } = claim;
  const { accessKey, scopeText: scope } = signer;
  requireSigned(signer.names, options.headers);
  const payload = payloadOf(claim.payloadHash);
  const secret = await options.secretFor(accessKey, token);
  if (secret === undefined)
    throw new S3Error("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", {
      details: { AWSAccessKeyId: accessKey },
    });
  const key = signingKey(accessKey, secret, signer.scope);
  checkSignature({ claim, options, key });
  remember(options.headers.authorization, signer);
  return { kind: "authenticated", accessKey, payload, signingKey: key, timestamp, scope, seedSignature: signature };
}

function claimOf(options: VerifyOptions): Claim | undefined {
  const { authorization } = options.headers;
  const query = options.rawQuery === "" ? undefined : authQuery(options.rawQuery);
  if (authorization !== undefined && query !== undefined)
    throw new S3Error(
      "InvalidArgument",
      "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or " +
        "the Authorization header should be specified",
      { details: { ArgumentName: "Authorization", ArgumentValue: authorization } },
    );
  if (authorization !== undefined) return headerClaim(authorization, options);
  return query === undefined ? undefined : queryClaim(query, options);
}

const unsupported = (): S3Error =>
  new S3Error(
    "InvalidRequest",
    `The authorization mechanism you have provided is not supported. Please use ${algorithm}.`,
  );

// ---- The Authorization header ----

const authField = /^\s*(Credential|SignedHeaders|Signature)=(\S*)\s*$/;

function headerFields(authorization: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const part of authorization.slice(algorithm.length).split(",")) {
    const found = authField.exec(part);
    if (found === null || fields.has(found[1]!)) throw malformedHeader("The authorization header is malformed");
    fields.set(found[1]!, found[2]!);
  }
  return fields;
}

function malformedHeader(message: string, details: ErrorDetails = {}): S3Error {
  return new S3Error("AuthorizationHeaderMalformed", message, { details });
}

function headerField(fields: ReadonlyMap<string, string>, name: string): string {
  const value = fields.get(name);
  if (value === undefined || value === "")
    throw malformedHeader(`The authorization header is malformed; missing ${name}.`);
  return value;
}

const headerWhere: Where = {
  code: "AuthorizationHeaderMalformed",
  prefix: "The authorization header is malformed",
};

function headerClaim(authorization: string, options: VerifyOptions): Claim {
  const { signer, signature } = known(authorization) ?? parseAuthorization(authorization);
  const { timestamp, ms } = requestTime(options.headers);
  checkScope(signer.scope, timestamp, options, headerWhere);
  checkSkew(timestamp, ms, options.nowMs);
  const token = tokenIn(options.headers["x-amz-security-token"]);
  const payloadHash = textOf(options.headers["x-amz-content-sha256"]) ?? options.bodyHash;
  if (payloadHash === undefined)
    throw new S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256");
  return { signer, timestamp, signature: checkHex(signature, headerWhere), payloadHash, token };
}

type Authorization = { readonly signer: Signer; readonly signature: string };

function parseAuthorization(authorization: string): Authorization {
  if (!authorization.startsWith(`${algorithm} `)) throw wrongScheme(authorization);
  const fields = headerFields(authorization);
  const credential = parseCredential(headerField(fields, "Credential"), headerWhere);
  const signer = signerOf(credential, checkNames(headerField(fields, "SignedHeaders"), headerWhere));
  return { signer, signature: headerField(fields, "Signature") };
}

function signerOf({ accessKey, scope }: Credential, signedHeaders: string): Signer {
  return { accessKey, scope, scopeText: scopeText(scope), signedHeaders, names: signedHeaders.split(";") };
}

/**
 * Signers of requests that were verified lately, by all of the Authorization header but its last 64 characters, where
 * clients write the signature: it need not be taken apart again. Only what was verified is kept, so that nobody without a
 * key can fill it.
 */
const signers = new Map<string, Signer>();
const signatureChars = 64;
const signaturePrefix = "Signature=";

function known(authorization: string): Authorization | undefined {
  const signer = signers.get(authorization.slice(0, -signatureChars));
  return signer === undefined ? undefined : { signer, signature: authorization.slice(-signatureChars) };
}

function remember(authorization: string | undefined, signer: Signer): void {
  if (authorization === undefined) return;
  const prefix = authorization.slice(0, -signatureChars);
  if (signers.has(prefix) || !prefix.endsWith(signaturePrefix)) return;
  signers.set(prefix, signer);
  if (signers.size > limits.signingKeysMax) signers.delete(signers.keys().next().value!);
}

function wrongScheme(authorization: string): S3Error {
  if (/^AWS( |4-)/.test(authorization)) return unsupported();
  return new S3Error("InvalidArgument", "Unsupported Authorization Type", {
    details: { ArgumentName: "Authorization", ArgumentValue: authorization.split(" ", 1)[0]! },
  });
}

/** x-amz-date, or Date where that is not sent. */
function requestTime(headers: IncomingHttpHeaders): { readonly timestamp: string; readonly ms: number } {
  const text = textOf(headers["x-amz-date"]) ?? headers.date;
  const basic = text === undefined ? undefined : parseAmzDate(text);
  if (text !== undefined && basic !== undefined) return { timestamp: text, ms: basic };
  const spelled = text !== undefined && headers["x-amz-date"] === undefined ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(spelled) || spelled < 0 || spelled > year9999)
    throw new S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header");
  return { timestamp: amzDate(spelled), ms: spelled };
}

const year9999 = Date.UTC(9999, 11, 31);

function checkSkew(timestamp: string, ms: number, nowMs: number): void {
  if (Math.abs(nowMs - ms) <= limits.clockSkewMsMax) return;
  throw new S3Error(
    "RequestTimeTooSkewed",
    "The difference between the request time and the current time is too large.",
    {
      details: {
        RequestTime: timestamp,
        ServerTime: new Date(nowMs).toISOString(),
        MaxAllowedSkewMilliseconds: limits.clockSkewMsMax,
      },
    },
  );
}

// ---- The query ----

const authNames: ReadonlySet<string> = new Set([
  "X-Amz-Algorithm",
  "X-Amz-Credential",
  "X-Amz-Date",
  "X-Amz-Expires",
  "X-Amz-SignedHeaders",
  "X-Amz-Signature",
  "X-Amz-Security-Token",
  "X-Amz-Content-Sha256",
]);

/** The parameters of a presigned URL, decoded; undefined when the query holds no signature. */
function authQuery(rawQuery: string): ReadonlyMap<string, string> | undefined {
  const found = new Map<string, string>();
  let version2 = 0;
  for (const pair of rawQuery.split("&")) {
    const [written] = pair.split("=", 1) as [string];
    // However it is encoded: what reads the query later reads it so, and must not find another value than was judged here.
    const name = canonicalPart(written);
    if (name === "AWSAccessKeyId" || name === "Signature") version2 += 1;
    if (!authNames.has(name)) continue;
    if (found.has(name)) throw badQuery(`The parameter ${name} must be given once.`);
    found.set(name, decodeParameter(pair.slice(written.length + 1)));
  }
  if (found.has("X-Amz-Signature") || found.has("X-Amz-Algorithm") || found.has("X-Amz-Credential")) return found;
  if (version2 === 2) throw unsupported();
  return undefined;
}

function decodeParameter(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    throw new S3Error("AuthorizationQueryParametersError", "A query parameter is not encoded as it should be.", {
      cause: error,
    });
  }
}

const badQuery = (message: string): S3Error => new S3Error("AuthorizationQueryParametersError", message);

function queryField(query: ReadonlyMap<string, string>, name: string): string {
  const value = query.get(name);
  if (value === undefined || value === "")
    throw badQuery(
      "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, " +
        "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
    );
  return value;
}

function queryClaim(query: ReadonlyMap<string, string>, options: VerifyOptions): Claim {
  if (queryField(query, "X-Amz-Algorithm") !== algorithm)
    throw badQuery(`X-Amz-Algorithm only supports "${algorithm}"`);
  const where: Where = {
    code: "AuthorizationQueryParametersError",
    prefix: "Error parsing the X-Amz-Credential parameter",
  };
  const credential = parseCredential(queryField(query, "X-Amz-Credential"), where);
  const signature = checkHex(queryField(query, "X-Amz-Signature"), where);
  const signer = signerOf(credential, checkNames(queryField(query, "X-Amz-SignedHeaders"), where));
  const timestamp = queryField(query, "X-Amz-Date");
  const ms = parseAmzDate(timestamp);
  if (ms === undefined) throw badQuery(`X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`);
  checkScope(signer.scope, timestamp, options, where);
  checkExpiry(queryField(query, "X-Amz-Expires"), ms, options.nowMs);
  const token = tokenIn(query.get("X-Amz-Security-Token"));
  const payloadHash =
    textOf(options.headers["x-amz-content-sha256"]) ?? query.get("X-Amz-Content-Sha256") ?? unsignedPayload;
  return { signer, timestamp, signature, payloadHash, token };
}

function checkExpiry(text: string, signedMs: number, nowMs: number): void {
  if (!/^-?\d{1,15}$/.test(text)) throw badQuery("X-Amz-Expires should be a number");
  const seconds = Number(text);
  // A number that no URL can have lets nobody in, like one that has run out; AWS documents no code for it.
  if (seconds < 0) throw new S3Error("AccessDenied", "X-Amz-Expires must be non-negative");
  if (seconds > limits.presignedSecondsMax)
    throw new S3Error(
      "AccessDenied",
      "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than " +
        `${limits.presignedSecondsMax} seconds`,
    );
  const serverTime = new Date(nowMs).toISOString();
  if (nowMs < signedMs - limits.clockSkewMsMax)
    throw new S3Error("AccessDenied", "Request is not yet valid", {
      details: { "X-Amz-Date": amzDate(signedMs), ServerTime: serverTime },
    });
  const endsMs = signedMs + seconds * 1000;
  // One for no time at all is over at once, also in the millisecond that it was made in, and by a clock that is behind.
  if (seconds === 0 || nowMs > endsMs)
    throw new S3Error("AccessDenied", "Request has expired", {
      details: { "X-Amz-Expires": seconds, Expires: new Date(endsMs).toISOString(), ServerTime: serverTime },
    });
}

// ---- Both ----

type Where = { readonly code: S3ErrorCode; readonly prefix: string };

type Credential = { readonly accessKey: string; readonly scope: Scope };

export function parseCredential(text: string, where: Where): Credential {
  const parts = text.split("/");
  const [date, region, service, end] = parts.splice(-4);
  const accessKey = parts.join("/");
  if (accessKey === "" || date === undefined || region === undefined || service === undefined)
    throw new S3Error(
      where.code,
      `${where.prefix}; the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".`,
    );
  if (end !== "aws4_request")
    throw new S3Error(where.code, `${where.prefix}; incorrect terminal "${end}". This endpoint uses "aws4_request".`);
  if (!/^\d{8}$/.test(date))
    throw new S3Error(
      where.code,
      `${where.prefix}; incorrect date format "${date}". This date in the credential must be in the format "yyyyMMdd".`,
    );
  return { accessKey, scope: { date, region, service } };
}

type Place = { readonly region: string; readonly service?: string };

export function checkScope(scope: Scope, timestamp: string, { region, service = "s3" }: Place, where: Where): void {
  if (scope.service !== service)
    throw new S3Error(
      where.code,
      `${where.prefix}; incorrect service "${scope.service}". This endpoint belongs to "${service}".`,
    );
  if (service === "s3" && scope.region !== region && scope.region !== "us-east-1")
    throw new S3Error(where.code, `${where.prefix}; the region '${scope.region}' is wrong; expecting '${region}'`, {
      details: { Region: region },
    });
  if (scope.date !== timestamp.slice(0, 8))
    throw new S3Error(
      where.code,
      `${where.prefix}; invalid credential date "${scope.date}". This date is not the same as X-Amz-Date: ` +
        `"${timestamp.slice(0, 8)}".`,
    );
}

const headerNames = /^[a-z0-9!#$%&'*+.^_`|~-]+(;[a-z0-9!#$%&'*+.^_`|~-]+)*$/;

function checkNames(signedHeaders: string, where: Where): string {
  // More names than a request can have headers would only cost the time of looking for each.
  if (headerNames.test(signedHeaders) && signedHeaders.split(";").length <= limits.headersMax) return signedHeaders;
  throw new S3Error(where.code, "SignedHeaders must be lower-case header names with semicolons between them.");
}

export function checkHex(signature: string, where: Where): string {
  if (/^[0-9a-f]{64}$/.test(signature)) return signature;
  throw new S3Error(where.code, "The signature must be 64 lower-case hexadecimal digits.");
}

/** An empty one is none, as AWS has it. */
export function tokenIn(value: string | string[] | undefined): string | undefined {
  const token = textOf(value);
  return token === "" ? undefined : token;
}

function textOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(",") : value;
}

/** `host` and everything that begins with x-amz-, or with x-holdfast-, changes what a request means, so it must be signed. */
function requireSigned(names: readonly string[], headers: IncomingHttpHeaders): void {
  const missing: string[] = names.includes("host") ? [] : ["host"];
  for (const name in headers) if (/^x-(amz|holdfast)-/.test(name) && !names.includes(name)) missing.push(name);
  if (missing.length > 0)
    throw new S3Error("AccessDenied", "There were headers present in the request which were not signed", {
      details: { HeadersNotSigned: missing.join(", ") },
    });
}

function payloadOf(word: string): Payload {
  if (word === unsignedPayload) return "unsigned";
  if (/^[0-9a-f]{64}$/i.test(word)) return { sha256: word.toLowerCase() };
  if (word === "STREAMING-AWS4-HMAC-SHA256-PAYLOAD") return "streaming-signed";
  if (word === "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER") return "streaming-signed-trailer";
  if (word === "STREAMING-UNSIGNED-PAYLOAD-TRAILER") return "streaming-unsigned-trailer";
  if (word.startsWith("STREAMING-AWS4-ECDSA-")) throw new S3Error("NotImplemented", "SigV4A is not implemented.");
  throw new S3Error(
    "InvalidArgument",
    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, " +
      "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
    { details: { ArgumentName: "x-amz-content-sha256", ArgumentValue: word } },
  );
}

function anonymousPayload(headers: IncomingHttpHeaders): Payload {
  const payload = payloadOf(textOf(headers["x-amz-content-sha256"]) ?? unsignedPayload);
  if (payload === "streaming-signed" || payload === "streaming-signed-trailer")
    throw new S3Error("InvalidRequest", "A body of signed chunks needs a signed request.");
  return payload;
}

type Check = {
  readonly claim: Claim;
  readonly options: VerifyOptions;
  readonly key: SigningKey;
};

/**
 * Compares in constant time. Two things are tried again, only after a mismatch, because clients differ and the meaning is
 * the same: the path exactly as it was sent, and text beyond ASCII signed as its characters instead of its bytes.
 */
function checkSignature({ claim, options, key }: Check): void {
  const { names, signedHeaders, scopeText: scope } = claim.signer;
  const parts: CanonicalParts = {
    method: options.method,
    path: canonicalPath(options.rawPath),
    query: canonicalQuery(options.rawQuery),
    headerLines: canonicalHeaders(names, options.headers, options.rawHeaders),
    signedHeaders,
    payloadHash: claim.payloadHash,
  };
  const canonical = canonicalRequest(parts);
  const matches = (text: string | Buffer): boolean =>
    sameSignature(signatureOf(key, stringToSign(claim.timestamp, scope, text)), claim.signature);
  if (beyondAscii.test(canonical)) {
    if (matches(Buffer.from(canonical, "latin1")) || matches(canonical)) return;
  } else if (matches(canonical)) return;
  if (parts.path !== options.rawPath && matches(canonicalRequest({ ...parts, path: options.rawPath }))) return;
  throw mismatch(claim, canonical, stringToSign(claim.timestamp, scope, canonical));
}

const beyondAscii = /[^\0-\x7f]/;

/** Both are 64 hex digits. */
export function sameSignature(a: string, b: string): boolean {
  const left = Buffer.from(a, "latin1");
  const right = Buffer.from(b, "latin1");
  return left.length === right.length && timingSafeEqual(left, right);
}

const bytesOf = (text: string): string =>
  Buffer.from(text, "latin1")
    .toString("hex")
    .replace(/..(?=.)/g, "$& ");

/** Of a header line, or of a parameter: a client's key (SSE-C) stands in what it signs, and is never repeated in an answer. */
const customerKeys = /((?:^|&)x-amz-(?:copy-source-)?server-side-encryption-customer-key[:=])[^&\n]+/gim;

function mismatch({ signer, signature }: Claim, signed: string, toSign: string): S3Error {
  const canonical = signed.replace(customerKeys, "$1REDACTED");
  return new S3Error(
    "SignatureDoesNotMatch",
    "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    {
      details: {
        AWSAccessKeyId: signer.accessKey,
        StringToSign: toSign,
        SignatureProvided: signature,
        StringToSignBytes: bytesOf(toSign),
        CanonicalRequest: canonical,
        CanonicalRequestBytes: bytesOf(canonical),
      },
    },
  );
}

/**
 * The one place where errors get their S3 names. Promises: every ErrorReason has a code (this file does not compile
 * otherwise), every code has one HTTP status, and whatever is thrown becomes an answer (`toS3Error`): what we did not
 * expect is InternalError with a neutral message, so that nothing from inside leaks.
 *
 * Source: "Error responses" of the S3 API reference. InsufficientStorage (507) is ours: S3 has no word for a full store.
 */
import { HoldfastError } from "../core/errors.ts";
import type { ErrorDetails, ErrorReason } from "../core/errors.ts";
import { escapeXml } from "./xml.ts";

const STATUS = {
  AccessControlListNotSupported: 400,
  AccessDenied: 403,
  AccessForbidden: 403,
  AuthorizationHeaderMalformed: 400,
  AuthorizationQueryParametersError: 400,
  BadDigest: 400,
  BadRequest: 400,
  BucketAlreadyExists: 409,
  BucketAlreadyOwnedByYou: 409,
  BucketNotEmpty: 409,
  ConditionalRequestConflict: 409,
  EntityTooLarge: 400,
  EntityTooSmall: 400,
  ExpiredToken: 400,
  IdempotencyParameterMismatch: 400,
  IllegalLocationConstraintException: 400,
  IllegalVersioningConfigurationException: 400,
  IncompleteBody: 400,
  InsufficientStorage: 507,
  InternalError: 500,
  InvalidAccessKeyId: 403,
  InvalidArgument: 400,
  InvalidBucketAclWithObjectOwnership: 400,
  InvalidBucketName: 400,
  InvalidBucketState: 409,
  InvalidDigest: 400,
  InvalidEncryptionAlgorithmError: 400,
  InvalidLocationConstraint: 400,
  InvalidObjectState: 403,
  InvalidPart: 400,
  InvalidPartOrder: 400,
  InvalidPolicyDocument: 400,
  InvalidRange: 416,
  InvalidRedirectLocation: 400,
  InvalidRequest: 400,
  InvalidSecurity: 403,
  InvalidRetentionPeriod: 400,
  InvalidStorageClass: 400,
  InvalidTag: 400,
  InvalidTargetBucketForLogging: 400,
  InvalidToken: 400,
  InvalidWriteOffset: 400,
  InvalidURI: 400,
  "KMS.DisabledException": 400,
  "KMS.InvalidKeyUsageException": 400,
  "KMS.NotFoundException": 400,
  KeyTooLongError: 400,
  MalformedACLError: 400,
  MalformedPOSTRequest: 400,
  MalformedPolicy: 400,
  MalformedTrailerError: 400,
  MalformedXML: 400,
  MaxMessageLengthExceeded: 400,
  MaxPostPreDataLengthExceededError: 400,
  MetadataConfigurationNotFound: 404,
  MetadataTooLarge: 400,
  MethodNotAllowed: 405,
  MissingContentLength: 411,
  MissingRequestBodyError: 400,
  MissingSecurityHeader: 400,
  NoSuchBucket: 404,
  NoSuchBucketPolicy: 404,
  NoSuchCORSConfiguration: 404,
  NoSuchConfiguration: 404,
  NoSuchKey: 404,
  NoSuchLifecycleConfiguration: 404,
  NoSuchObjectLockConfiguration: 404,
  NoSuchPublicAccessBlockConfiguration: 404,
  NoSuchTagSet: 404,
  NoSuchUpload: 404,
  NoSuchVersion: 404,
  NoSuchWebsiteConfiguration: 404,
  NotImplemented: 501,
  NotModified: 304,
  ObjectLockConfigurationNotFoundError: 404,
  OperationAborted: 409,
  OwnershipControlsNotFoundError: 404,
  PreconditionFailed: 412,
  ReplicationConfigurationNotFoundError: 404,
  QuotaExceeded: 403,
  RequestHeaderSectionTooLarge: 400,
  RequestTimeTooSkewed: 403,
  RequestTimeout: 400,
  ServerSideEncryptionConfigurationNotFoundError: 404,
  ServiceUnavailable: 503,
  SignatureDoesNotMatch: 403,
  SlowDown: 503,
  TooManyBuckets: 400,
  TooManyParts: 400,
  UnexpectedContent: 400,
  UnresolvableGrantByEmailAddress: 400,
  UserKeyMustBeSpecified: 400,
  XAmzContentChecksumMismatch: 400,
  XAmzContentSHA256Mismatch: 400,
} as const satisfies Record<string, number>;

export type S3ErrorCode = keyof typeof STATUS;

/** S3's code for each reason. Bad values of ours (corrupt, internal) are InternalError: the client can only report them. */
const CODE_OF_REASON: Readonly<Record<ErrorReason, S3ErrorCode>> = {
  no_such_bucket: "NoSuchBucket",
  no_such_key: "NoSuchKey",
  no_such_version: "NoSuchVersion",
  is_delete_marker: "MethodNotAllowed",
  no_such_upload: "NoSuchUpload",
  no_such_access_key: "InvalidAccessKeyId",
  no_such_chunk: "InternalError",
  no_such_entity: "InvalidRequest",
  no_such_encryption_key: "KMS.NotFoundException",
  encryption_key_disabled: "KMS.DisabledException",
  encryption_key_unusable: "KMS.InvalidKeyUsageException",
  // Only the operator's door says this one, and the next.
  no_such_destination: "InvalidArgument",
  destination_in_use: "InvalidArgument",
  bucket_already_exists: "BucketAlreadyOwnedByYou",
  bucket_not_empty: "BucketNotEmpty",
  invalid_bucket_state: "InvalidBucketState",
  operation_aborted: "OperationAborted",
  conditional_conflict: "ConditionalRequestConflict",
  access_key_already_exists: "InvalidRequest",
  entity_already_exists: "InvalidRequest",
  entity_in_use: "InvalidRequest",
  encryption_key_already_exists: "InvalidRequest",
  precondition_failed: "PreconditionFailed",
  invalid_argument: "InvalidArgument",
  invalid_request: "InvalidRequest",
  idempotency_mismatch: "IdempotencyParameterMismatch",
  invalid_bucket_name: "InvalidBucketName",
  key_too_long: "KeyTooLongError",
  invalid_key: "InvalidURI",
  metadata_too_large: "MetadataTooLarge",
  entity_too_large: "EntityTooLarge",
  entity_too_small: "EntityTooSmall",
  invalid_write_offset: "InvalidWriteOffset",
  too_many_parts: "TooManyParts",
  incomplete_body: "IncompleteBody",
  invalid_range: "InvalidRange",
  invalid_part: "InvalidPart",
  invalid_part_number: "InvalidPart",
  invalid_part_order: "InvalidPartOrder",
  bad_digest: "BadDigest",
  checksum_mismatch: "BadDigest",
  content_sha256_mismatch: "XAmzContentSHA256Mismatch",
  too_many_buckets: "TooManyBuckets",
  too_many_of_identity: "InvalidRequest",
  quota_exceeded: "QuotaExceeded",
  malformed_policy: "MalformedPolicy",
  access_denied: "AccessDenied",
  encryption_not_set_up: "NotImplemented",
  invalid_token: "InvalidToken",
  expired_token: "ExpiredToken",
  slow_down: "SlowDown",
  unavailable: "ServiceUnavailable",
  request_timeout: "RequestTimeout",
  session_fenced: "ServiceUnavailable",
  // Only a client that leaves cancels its request: nobody reads this, but metrics and log count it as the client's doing.
  cancelled: "RequestTimeout",
  drive_full: "InsufficientStorage",
  drive_failed: "ServiceUnavailable",
  drive_missing: "ServiceUnavailable",
  corrupt_chunk: "InternalError",
  corrupt_record: "InternalError",
  internal: "InternalError",
};

/** An error that only exists in S3's protocol. `details` become elements of the error document. */
export class S3Error extends Error {
  override name = "S3Error";
  readonly code: S3ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: S3ErrorCode, message: string, options: { details?: ErrorDetails; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }

  get status(): number {
    return STATUS[this.code];
  }
}

/** Names of details in S3's documents; a detail that is not listed is written with a capital first letter. */
const DETAIL_NAMES: Readonly<Record<string, string>> = {
  bucket: "BucketName",
  key: "Key",
  uploadId: "UploadId",
  versionId: "VersionId",
  condition: "Condition",
  sizeBytes: "ActualObjectSize",
  partNumber: "PartNumber",
};

/** Details that are told in headers: see headersOf. */
const inHeaders = new Set(["markerId", "modifiedMs"]);

function detailsOf(details: ErrorDetails): ErrorDetails {
  const named: Record<string, string | number> = {};
  for (const [name, value] of Object.entries(details)) {
    if (inHeaders.has(name)) continue;
    named[DETAIL_NAMES[name] ?? name.slice(0, 1).toUpperCase() + name.slice(1)] = value;
  }
  return named;
}

/** Any thrown value as S3 would say it. The original is kept as the cause, for the log. */
export function toS3Error(error: unknown): S3Error {
  if (error instanceof S3Error) return error;
  if (error instanceof HoldfastError) {
    const code = CODE_OF_REASON[error.reason];
    if (code === "InternalError") return internalError(error);
    return new S3Error(code, error.message, { details: detailsOf(error.details), cause: error });
  }
  return internalError(error);
}

function internalError(cause: unknown): S3Error {
  return new S3Error("InternalError", "We encountered an internal error. Please try again.", { cause });
}

/**
 * Headers that belong to an error: how large the object is, or which delete marker stands where an object was looked for. HEAD, whose
 * answer has no document, is told that there is none, too.
 */
export function headersOf({ code, status, details, cause }: S3Error, method?: string): string[] {
  const headers: string[] = [];
  if (code === "InvalidRange" && details["ActualObjectSize"] !== undefined)
    headers.push("content-range", `bytes */${details["ActualObjectSize"]}`);
  if (status === 503) headers.push("retry-after", "1");
  // Not of another error that hides this one: see shownTo in authorize.ts.
  const isTold = code === "NoSuchKey" || code === "MethodNotAllowed";
  if (!isTold || !(cause instanceof HoldfastError)) return headers;
  const { markerId, modifiedMs } = cause.details;
  if (markerId === undefined)
    return method === "HEAD" && code === "NoSuchKey" ? [...headers, "x-amz-delete-marker", "false"] : headers;
  headers.push("x-amz-delete-marker", "true", "x-amz-version-id", String(markerId));
  if (modifiedMs !== undefined)
    headers.push("allow", "DELETE", "last-modified", new Date(Number(modifiedMs)).toUTCString());
  return headers;
}

export type ErrorDocument = {
  readonly code: string;
  readonly message: string;
  readonly resource: string;
  readonly requestId: string;
  readonly details?: ErrorDetails | undefined;
};

export function errorDocument({ code, message, resource, requestId, details }: ErrorDocument): string {
  let xml = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${escapeXml(message)}</Message>`;
  for (const [name, value] of Object.entries(details ?? {})) xml += `<${name}>${escapeXml(String(value))}</${name}>`;
  return `${xml}<Resource>${escapeXml(resource)}</Resource><RequestId>${escapeXml(requestId)}</RequestId></Error>`;
}

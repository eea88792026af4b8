/**
 * The one error class. A `reason` says exactly what went wrong; its `kind` says what a caller can do about it.
 * New kinds only where a caller would act differently; new reasons wherever a client must be told something different.
 * The gateway maps reasons to S3 codes in one table (gateway/errors.ts), which does not compile when a reason is missing.
 */
import { getSystemErrorMap } from "node:util";

export type ErrorKind =
  | "not_found"
  | "conflict"
  | "precondition_failed"
  | "invalid"
  | "denied"
  | "unavailable"
  | "full"
  | "corrupt"
  | "internal";

const REASONS = {
  no_such_bucket: "not_found",
  no_such_key: "not_found",
  no_such_version: "not_found",
  /** The version that is named is a delete marker, which cannot be read. */
  is_delete_marker: "not_found",
  no_such_upload: "not_found",
  no_such_access_key: "not_found",
  no_such_chunk: "not_found",
  /** A user, group, policy or account. */
  no_such_entity: "not_found",
  /** Of server-side encryption; not one of a client that signs. */
  no_such_encryption_key: "not_found",
  /** Its service opens with it no more, or not what this version of it sealed. */
  encryption_key_disabled: "invalid",
  /** It is no key that seals data keys. */
  encryption_key_unusable: "invalid",
  no_such_destination: "not_found",
  bucket_already_exists: "conflict",
  /** A configuration of a bucket names it. */
  destination_in_use: "conflict",
  bucket_not_empty: "conflict",
  /** What the bucket is set to be does not allow it. */
  invalid_bucket_state: "conflict",
  /** Another request is changing the same thing right now; trying again is right. */
  operation_aborted: "conflict",
  /** A conditional write lost against a concurrent one. */
  conditional_conflict: "conflict",
  access_key_already_exists: "conflict",
  entity_already_exists: "conflict",
  /** A user, group or policy that others still refer to. */
  entity_in_use: "conflict",
  encryption_key_already_exists: "conflict",
  precondition_failed: "precondition_failed",
  invalid_argument: "invalid",
  /** The request as a whole makes no sense, though each of its values may. */
  invalid_request: "invalid",
  /** A token that was sent with another request before. */
  idempotency_mismatch: "invalid",
  invalid_bucket_name: "invalid",
  key_too_long: "invalid",
  invalid_key: "invalid",
  metadata_too_large: "invalid",
  entity_too_large: "invalid",
  entity_too_small: "invalid",
  /** The object does not end where the client would go on. */
  invalid_write_offset: "invalid",
  too_many_parts: "invalid",
  incomplete_body: "invalid",
  invalid_range: "invalid",
  invalid_part: "invalid",
  invalid_part_number: "invalid",
  invalid_part_order: "invalid",
  /** A Content-MD5 that does not match the body. */
  bad_digest: "invalid",
  /** An x-amz-checksum-* value, header or trailer, that does not match the body. */
  checksum_mismatch: "invalid",
  /** The body's SHA-256 is not the one the request was signed with. */
  content_sha256_mismatch: "invalid",
  too_many_buckets: "invalid",
  /** What the bucket or its account may hold; deleting makes room. */
  quota_exceeded: "denied",
  /** As many of something as AWS allows one identity to have. */
  too_many_of_identity: "invalid",
  /** A policy document that is none, or that does not fit what it is for. */
  malformed_policy: "invalid",
  access_denied: "denied",
  /** Asked for encryption with a key of the store or of a key service, and the server was started without. */
  encryption_not_set_up: "invalid",
  /** Of temporary credentials: a token that is none, not of this key, or whose user or role is no more. */
  invalid_token: "denied",
  expired_token: "denied",
  /** A bound was reached; the same request may succeed in a moment. */
  slow_down: "unavailable",
  /** A part the request needs (metadata store, every replica) is away. */
  unavailable: "unavailable",
  request_timeout: "unavailable",
  /** This process's session was fenced: none of its writes can be published any more. */
  session_fenced: "unavailable",
  cancelled: "unavailable",
  drive_full: "full",
  /** A drive that failed a sync or a write; nothing more is written to it. */
  drive_failed: "unavailable",
  /** A drive that no node has at this moment. */
  drive_missing: "unavailable",
  corrupt_chunk: "corrupt",
  corrupt_record: "corrupt",
  internal: "internal",
} as const satisfies Record<string, ErrorKind>;

export type ErrorReason = keyof typeof REASONS;

export type ErrorDetails = Readonly<Record<string, string | number>>;

export class HoldfastError extends Error {
  override name = "HoldfastError";
  readonly reason: ErrorReason;
  /** Facts for the client's error document (bucket, key, part number …). Never a secret. */
  readonly details: ErrorDetails;

  constructor(reason: ErrorReason, message: string, options: { details?: ErrorDetails; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.details = options.details ?? {};
  }

  get kind(): ErrorKind {
    return REASONS[this.reason];
  }
}

export function hasReason(error: unknown, ...reasons: ErrorReason[]): error is HoldfastError {
  return error instanceof HoldfastError && reasons.includes(error.reason);
}

/** Node's system error code (`ENOENT`, `ENOSPC`, …) if the error bears one. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/**
 * The system's errors that this one comes from, by their names. npm `lmdb` gives them as numbers, and what fails because of it
 * has it as its cause.
 */
export function systemCauses(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  const code = "code" in error ? error.code : undefined;
  const name = typeof code === "number" && code > 0 ? getSystemErrorMap().get(-code)?.[0] : systemCode(error);
  return [...(name === undefined ? [] : [name]), ...systemCauses(error.cause)];
}

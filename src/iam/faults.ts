/**
 * What goes wrong, in the words of IAM and STS: every reason of ours and every refusal of a signature has a code here, and
 * what nobody expected is InternalFailure with a neutral message.
 *
 * Sources: "Common errors" of the IAM and STS API references.
 */
import { HoldfastError, type ErrorKind, type ErrorReason } from "../core/errors.ts";
import { S3Error, type S3ErrorCode } from "../gateway/errors.ts";

const STATUS = {
  AccessDenied: 403,
  DeleteConflict: 409,
  EntityAlreadyExists: 409,
  ExpiredToken: 403,
  ExpiredTokenException: 400,
  IDPCommunicationError: 400,
  IDPRejectedClaim: 403,
  IncompleteSignature: 400,
  InternalFailure: 500,
  InvalidAction: 400,
  InvalidClientTokenId: 403,
  InvalidIdentityToken: 400,
  InvalidParameterCombination: 400,
  LimitExceeded: 409,
  MalformedInput: 400,
  MalformedPolicyDocument: 400,
  MissingAuthenticationToken: 403,
  MissingParameter: 400,
  NoSuchEntity: 404,
  PackedPolicyTooLarge: 400,
  RequestEntityTooLarge: 413,
  RequestExpired: 400,
  ServiceUnavailable: 503,
  SignatureDoesNotMatch: 403,
  Throttling: 400,
  UnmodifiableEntity: 400,
  ValidationError: 400,
} as const satisfies Record<string, number>;

export type QueryErrorCode = keyof typeof STATUS;

export class QueryError extends Error {
  override name = "QueryError";
  readonly code: QueryErrorCode;

  constructor(code: QueryErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }

  get status(): number {
    return STATUS[this.code];
  }
}

export function malformedInput(message: string): QueryError {
  return new QueryError("MalformedInput", message);
}

const codeOfReason: { readonly [R in ErrorReason]?: QueryErrorCode } = {
  no_such_access_key: "NoSuchEntity",
  no_such_entity: "NoSuchEntity",
  access_key_already_exists: "EntityAlreadyExists",
  entity_already_exists: "EntityAlreadyExists",
  entity_in_use: "DeleteConflict",
  too_many_of_identity: "LimitExceeded",
  entity_too_large: "PackedPolicyTooLarge",
  malformed_policy: "MalformedPolicyDocument",
  invalid_token: "InvalidClientTokenId",
  expired_token: "ExpiredToken",
  slow_down: "Throttling",
};

const codeOfKind: Readonly<Record<ErrorKind, QueryErrorCode>> = {
  not_found: "NoSuchEntity",
  conflict: "DeleteConflict",
  precondition_failed: "ValidationError",
  invalid: "ValidationError",
  denied: "AccessDenied",
  unavailable: "ServiceUnavailable",
  full: "ServiceUnavailable",
  corrupt: "InternalFailure",
  internal: "InternalFailure",
};

/** Of what the signature's check refuses. */
const codeOfS3: { readonly [C in S3ErrorCode]?: QueryErrorCode } = {
  AccessDenied: "IncompleteSignature",
  AuthorizationHeaderMalformed: "IncompleteSignature",
  InvalidAccessKeyId: "InvalidClientTokenId",
  InvalidArgument: "IncompleteSignature",
  InvalidRequest: "IncompleteSignature",
  RequestTimeTooSkewed: "RequestExpired",
  SignatureDoesNotMatch: "SignatureDoesNotMatch",
};

export function toQueryError(error: unknown): QueryError {
  if (error instanceof QueryError) return error;
  if (error instanceof HoldfastError) return ofReason(error);
  const code = error instanceof S3Error ? codeOfS3[error.code] : undefined;
  if (code === undefined) return internal(error);
  const message =
    code === "InvalidClientTokenId"
      ? "The security token included in the request is invalid."
      : (error as S3Error).message;
  return new QueryError(code, message, { cause: error });
}

function ofReason(error: HoldfastError): QueryError {
  const code = codeOfReason[error.reason] ?? codeOfKind[error.kind];
  return code === "InternalFailure" ? internal(error) : new QueryError(code, error.message, { cause: error });
}

function internal(cause: unknown): QueryError {
  return new QueryError("InternalFailure", "The request failed because of something inside; try again.", { cause });
}

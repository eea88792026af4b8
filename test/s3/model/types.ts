/** What the model of S3 speaks of. */
import type { Checksum, Choice, Sum } from "./checksums.ts";

/** How something is encrypted: not, by the store (SSE-S3), by one of its named keys (SSE-KMS), or with one of two that clients bring (SSE-C). */
export type Mode = "plain" | "s3" | "default" | "blue" | "one" | "two";
export type ClientKey = "one" | "two";
export type Retention = { readonly mode: "GOVERNANCE" | "COMPLIANCE"; readonly untilMs: number };
export type Lock = { readonly retention?: Retention | undefined; readonly held?: boolean | undefined };
/** `there` and `other`: If-Match with the current ETag, or another. `absent`: If-None-Match of anything. */
export type Condition = "none" | "there" | "other" | "absent";
/** `isPublic`: by its access control list, which a request may bring. */
export type Kept = {
  readonly note?: string | undefined;
  readonly tag?: string | undefined;
  readonly isPublic?: boolean | undefined;
};

/** What a client calls an object that it wrote: in a bucket without versions there is one. */
export type Version = {
  /** Undefined as long as no answer told it. */
  id: string | undefined;
  etag: string | undefined;
  readonly isMarker: boolean;
  readonly bytes: Buffer;
  readonly mode: Mode;
  readonly note: string | undefined;
  readonly checksum: Checksum | undefined;
  /** What partNumber reads: of an object made in one piece none. After an append only the store knows. */
  readonly parts: readonly Part[] | "unknown" | undefined;
  readonly madeMs: number;
  tag: string | undefined;
  isPublic: boolean;
  retention: Retention | undefined;
  held: boolean | undefined;
};
export type NewVersion = Omit<Version, "id" | "isMarker" | "madeMs">;

export type Part = {
  readonly number: number;
  readonly bytes: Buffer;
  readonly sum: Sum | undefined;
  etag: string | undefined;
};
export type Upload = Kept & {
  readonly key: string;
  readonly mode: Mode;
  readonly lock: Lock;
  readonly choice: Choice | undefined;
  readonly startedMs: number;
  id: string | undefined;
  parts: readonly Part[];
  state: "open" | "ended" | { readonly named: string; readonly version: Version; readonly idShown: boolean };
};

export type Rules = {
  readonly prefix: string;
  readonly expires?: boolean;
  readonly noncurrent?: boolean;
  readonly markers?: boolean;
  readonly aborts?: boolean;
};

export type Headers = Readonly<Record<string, string | undefined>>;
export type Refused = { readonly refused: readonly string[] };
export type Outcome =
  | Refused
  | {
      readonly status: number;
      /** Undefined: must not be there. */
      readonly headers: Headers;
      readonly body?: Buffer;
      readonly made?: Version | Part | Upload;
    };

export const isClients = (mode: Mode | undefined): mode is ClientKey => mode === "one" || mode === "two";
const isNamed = (mode: Mode): boolean => mode === "default" || mode === "blue";
/** Of what is encrypted under keys of its own the ETag is not the MD5. */
export const hasMd5 = (mode: Mode): boolean => mode === "plain" || mode === "s3";
/** Whether a copy has its source's bytes as they are stored. */
export const isShared = (from: Mode, to: Mode): boolean =>
  (from === to && !isClients(from)) || (isNamed(from) && isNamed(to));

export const customerHeader = "x-amz-server-side-encryption-customer-algorithm";
export const methodHeader = "x-amz-server-side-encryption";

export function encryptionHeaders(mode: Mode): Headers {
  return {
    [methodHeader]: isNamed(mode) ? "aws:kms" : mode === "s3" ? "AES256" : undefined,
    [`${methodHeader}-aws-kms-key-id`]: isNamed(mode) ? mode : undefined,
    [customerHeader]: isClients(mode) ? "AES256" : undefined,
  };
}

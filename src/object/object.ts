/**
 * What buckets, objects, versions and uploads mean. No HTTP, no XML: the gateway spells these calls in S3, the file API in JSON. Every call
 * is linearizable per key; every change is one metadata commit (transact), published only after the bytes it points to are durable.
 *
 * Object keys travel as `Buffer`s of raw bytes. Times are Unix milliseconds. ETags here have no quotes.
 */
import type { BodySource } from "../blob/blob.ts";
import type { EncryptionContext } from "../crypto/crypto.ts";
import type { CustomerKey } from "../crypto/customer_key.ts";
import type { DigestAlgorithm, Digests } from "../digest/digest.ts";
import type { EventOrigin } from "../meta/events.ts";
import type { AppendCalls } from "./append_types.ts";
import type { BucketCalls } from "./bucket_types.ts";
import type { CommitOptions, CommittedEntry, RenameOptions, RenamePrefixOptions } from "./commit_types.ts";
import type { AclRecord } from "../meta/extras.ts";
import type { LaidChunk } from "./layout.ts";
import type { Ending } from "./lifecycle_rules.ts";
import type { JudgedCalls } from "./judged_types.ts";
import type { QuotaCalls } from "./quota_types.ts";
import type { PartInfo, UploadCalls } from "./upload_types.ts";

export type { ConfigurationKind } from "../meta/configurations.ts";
export type {
  BucketInfo,
  BucketUsage,
  ConfigurationDocument,
  DefaultRetention,
  NewDocuments,
  StoreUsage,
  UsageLevel,
  Versioning,
} from "./bucket_types.ts";
export type {
  CompletedPart,
  CompleteOptions,
  CopiedPart,
  ListUploadsOptions,
  ListUploadsResult,
  PartInfo,
  StartedUpload,
  StoredPart,
  UploadInfo,
  UploadRef,
} from "./upload_types.ts";
export type { Ending, LaidChunk };
/** Who owns an object, and what is granted to whom. To this layer it means nothing. */
export type ObjectAcl = AclRecord;

/** Algorithms a client may choose as an object's checksum (MD5 is always computed for the ETag). */
export type ChecksumAlgorithm = Exclude<DigestAlgorithm, "md5">;
export type ChecksumType = "FULL_OBJECT" | "COMPOSITE";

/** `value` is raw bytes; for COMPOSITE it is the checksum of the parts' checksums and S3 prints `-<parts>` behind it. */
export type StoredChecksum = {
  readonly algorithm: ChecksumAlgorithm;
  readonly type: ChecksumType;
  readonly value: Buffer;
};

/** Headers that S3 keeps and gives back, by their lower-case header name; absent ones are left out. */
export type ContentHeaderName =
  | "content-type"
  | "content-encoding"
  | "content-language"
  | "content-disposition"
  | "cache-control"
  | "expires"
  | "x-amz-website-redirect-location"
  | "x-amz-storage-class";

export type ObjectMetadata = {
  readonly headers: { readonly [N in ContentHeaderName]?: string };
  /** x-amz-meta-*, names without the prefix, lower-case. */
  readonly user: Readonly<Record<string, string>>;
};

/** Who shall hold the key of a new object: the store (SSE-S3), the store by a key that is named (SSE-KMS), the client (SSE-C). */
export type WantedEncryption =
  | { readonly mode: "s3" }
  | {
      readonly mode: "kms";
      /** Undefined: the store's default one. */
      readonly keyId: string | undefined;
      readonly context: EncryptionContext;
      /** Kept and told again; keys are not asked for less often with it. */
      readonly hasBucketKey: boolean;
    }
  | { readonly mode: "customer"; readonly key: CustomerKey };

export type EncryptionInfo =
  | { readonly mode: "s3" | "customer" }
  | {
      readonly mode: "kms";
      readonly keyId: string;
      readonly context: EncryptionContext;
      readonly hasBucketKey: boolean;
    };

export type ObjectInfo = {
  readonly key: Buffer;
  readonly sizeBytes: number;
  /** 32 hex digits, or `<hex>-<parts>` of a multipart object. The bytes' MD5 unless they are encrypted by another key than the store's. */
  readonly etag: string;
  readonly modifiedMs: number;
  readonly metadata: ObjectMetadata;
  readonly encryption: EncryptionInfo | undefined;
  readonly checksum: StoredChecksum | undefined;
  /** Parts of a multipart object, undefined for any other. */
  readonly partsCount: number | undefined;
  /** `null` is one too; undefined: the bucket has no versions. */
  readonly versionId: string | undefined;
  readonly tags: ObjectTags | undefined;
  /** Undefined: the bucket's account owns it, and nothing is granted to anybody else. */
  readonly acl: ObjectAcl | undefined;
  readonly lock: ObjectLock;
  /** When lifecycle rules expire it; only told of what is current. */
  readonly ending?: Ending;
};

/**
 * Called with the version that a call has found, from the very row it goes on with, before anything is done with it or told of
 * it. What it throws is the call's answer. It may be called again, for another version, where the key was changed meanwhile.
 */
export type Admit = (found: ObjectInfo) => void;

/** Never empty where there are none: then it is undefined. */
export type ObjectTags = ReadonlyMap<string, string>;

/** Until then the version cannot be removed: in GOVERNANCE mode but by those who may bypass it, in COMPLIANCE mode by nobody. */
export type Retention = { readonly mode: "GOVERNANCE" | "COMPLIANCE"; readonly untilMs: number };

/** What keeps a version from being removed. `legalHold` false: it was there and was taken away. */
export type ObjectLock = { readonly retention?: Retention | undefined; readonly legalHold?: boolean | undefined };

/** If-Match and If-None-Match of a write: `*` or ETags without quotes. */
export type WriteConditions = {
  readonly ifMatch?: readonly string[] | "*";
  readonly ifNoneMatch?: readonly string[] | "*";
};

/** The four classic conditions of a read (RFC 9110, section 13), in whole seconds where they are dates. */
export type ReadConditions = WriteConditions & {
  readonly ifModifiedSinceMs?: number;
  readonly ifUnmodifiedSinceMs?: number;
};

/** How a body is judged once all its bytes (and trailers) are in, before anything is published. */
export type BodyVerifier = {
  /** What to compute; MD5 is added by the object layer. */
  readonly digests: readonly DigestAlgorithm[];
  /** Throws `bad_digest`, `checksum_mismatch` or `content_sha256_mismatch`; else says which checksum to store. */
  verify(digests: Digests): Omit<StoredChecksum, "type"> | undefined;
};

/** RFC 9110 byte range as the client asked for it. */
export type RequestedRange =
  | { readonly kind: "from"; readonly first: number; readonly last: number | undefined }
  | { readonly kind: "suffix"; readonly length: number };

/** Byte positions that are really sent: `offset` to `offset + length` of `sizeBytes`. */
export type ResolvedRange = { readonly offset: number; readonly length: number };

export type GetOptions = {
  readonly bucket: string;
  readonly key: Buffer;
  /** Undefined: the current version. */
  readonly versionId?: string;
  readonly conditions?: ReadConditions;
  readonly range?: RequestedRange;
  /** 1-based; excludes `range`. */
  readonly partNumber?: number;
  /** Of an object that was encrypted with it: `invalid_request` without it, where it was not, and for another. */
  readonly customerKey?: CustomerKey | undefined;
  readonly admit?: Admit;
  readonly signal?: AbortSignal;
};

/** For what is asked of a version itself, and not of its bytes. */
export type OfVersion = Pick<GetOptions, "bucket" | "key" | "versionId" | "admit">;

export type GetOutcome =
  | { readonly outcome: "not_modified"; readonly info: ObjectInfo }
  | {
      readonly outcome: "found";
      readonly info: ObjectInfo;
      /** Undefined: the whole object. */
      readonly range: ResolvedRange | undefined;
      /** The checksum of the one part asked for with partNumber. */
      readonly partChecksum: StoredChecksum | undefined;
      /** Verified bytes of the range; consumed once. A small body may be had whole at once from `inline`. */
      readonly inline: Buffer | undefined;
      body(): AsyncIterable<Buffer>;
      /**
       * Ends the read. Must be called exactly once, however the read ended: until then the bytes of this version are
       * kept even if it is deleted. Not needed after `not_modified`.
       */
      release(): void;
    };

export type HeadOutcome =
  | { readonly outcome: "not_modified"; readonly info: ObjectInfo }
  | {
      readonly outcome: "found";
      readonly info: ObjectInfo;
      readonly range: ResolvedRange | undefined;
      readonly partChecksum: StoredChecksum | undefined;
    };

export type PutOptions = {
  readonly bucket: string;
  readonly key: Buffer;
  readonly body: BodySource;
  readonly metadata: ObjectMetadata;
  readonly verifier: BodyVerifier;
  readonly tags?: ObjectTags;
  readonly encryption?: WantedEncryption | undefined;
  /** Without a retention: the bucket's default. `invalid_request` for a bucket without object lock. */
  readonly lock?: ObjectLock;
  readonly acl?: ObjectAcl;
  readonly conditions?: WriteConditions;
  readonly signal?: AbortSignal;
  readonly origin?: RequestOrigin;
  /** How the object came, for those who are told; with a PUT if left out. */
  readonly event?: "ObjectCreated:Put" | "ObjectCreated:Post" | "ObjectCreated:Copy";
};

export type PutResult = {
  readonly etag: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly checksum: StoredChecksum | undefined;
  readonly encryption: EncryptionInfo | undefined;
  /** As in ObjectInfo. */
  readonly versionId: string | undefined;
  readonly ending?: Ending;
};

/** Who asked for a change, as those hear of it who are told (events/events.ts). */
export type RequestOrigin = EventOrigin;

export type DeleteOptions = {
  readonly bucket: string;
  readonly key: Buffer;
  /** That version is removed for good. Undefined: the object is deleted; where there are versions a delete marker says so. */
  readonly versionId?: string;
  /** The caller may remove what a retention in GOVERNANCE mode keeps. */
  readonly bypassesGovernance?: boolean;
  /** Of the current object, or of the version that is named; a delete marker counts as absent. */
  readonly conditions?: WriteConditions & { readonly sizeBytes?: number; readonly modifiedMs?: number };
  readonly origin?: RequestOrigin;
};

export type DeleteResult = {
  /** Whether there was what was asked to be deleted. */
  readonly existed: boolean;
  /** Of the version that was named, or of the delete marker that was made. */
  readonly versionId: string | undefined;
  /** That is a delete marker. */
  readonly isMarker: boolean;
};

export type CopyResult = PutResult & { readonly sourceVersionId: string | undefined };

export type CopyOptions = {
  readonly source: {
    readonly bucket: string;
    readonly key: Buffer;
    readonly versionId?: string;
    readonly conditions?: ReadConditions;
    readonly customerKey?: CustomerKey | undefined;
    readonly admit?: Admit;
  };
  readonly bucket: string;
  readonly key: Buffer;
  /**
   * Of the copy: as given, or made from the source's (a pure function; it may run again), or the source's own where undefined.
   * Onto itself in a bucket without versions it must be given (`invalid_argument`).
   */
  readonly metadata: ObjectMetadata | ((source: ObjectMetadata) => ObjectMetadata) | undefined;
  /** Left out: the source's. */
  readonly tags?: ObjectTags;
  /**
   * Of the copy; it is not the source's. Bytes are shared where both are encrypted in the same way by keys of the store, or
   * neither is.
   */
  readonly encryption?: WantedEncryption | undefined;
  /** As in PutOptions; a source's is never taken over. */
  readonly lock?: ObjectLock;
  /** Never the source's. */
  readonly acl?: ObjectAcl;
  /** Undefined: keep the source's checksum. If it differs from the stored one the bytes are read to compute it. */
  readonly checksumAlgorithm?: ChecksumAlgorithm;
  readonly conditions?: WriteConditions;
  readonly signal?: AbortSignal;
  readonly origin?: RequestOrigin;
};

export type ListOptions = {
  readonly bucket: string;
  readonly prefix?: Buffer;
  readonly delimiter?: Buffer;
  /** Keys (and common prefixes) strictly after this one, in byte order. */
  readonly after?: Buffer;
  /** 0..listPageKeysMax keys and common prefixes together. */
  readonly limit: number;
};

export type ListedObject = Pick<ObjectInfo, "key" | "sizeBytes" | "etag" | "modifiedMs"> & {
  readonly storageClass: string | undefined;
  readonly checksum: Pick<StoredChecksum, "algorithm" | "type"> | undefined;
  /** The canonical id of its owner; undefined: the bucket's account. */
  readonly owner: string | undefined;
};

export type ListResult = {
  /** As in BucketInfo. */
  readonly account: string | undefined;
  readonly objects: readonly ListedObject[];
  readonly commonPrefixes: readonly Buffer[];
  /** Undefined: the end. Else the last key or common prefix of this page: `after` of the next one. */
  readonly next: Buffer | undefined;
};

export type ListVersionsOptions = {
  readonly bucket: string;
  readonly prefix?: Buffer;
  readonly delimiter?: Buffer;
  /** Keys after this one; with afterVersionId also the versions of this key that are older than that one. */
  readonly afterKey?: Buffer;
  readonly afterVersionId?: string;
  /** 0..listPageKeysMax versions, delete markers and common prefixes together. */
  readonly limit: number;
};

/** A delete marker has no size, no ETag worth showing and no storage class. */
export type ListedVersion = ListedObject & {
  readonly versionId: string;
  readonly isLatest: boolean;
  readonly isMarker: boolean;
};

export type ListVersionsResult = {
  readonly account: string | undefined;
  /** By key, the newest version first. */
  readonly versions: readonly ListedVersion[];
  readonly commonPrefixes: readonly Buffer[];
  /** Undefined: the end. `versionId` is undefined after a common prefix; that of a null version may be spelled another way. */
  readonly next: { readonly key: Buffer; readonly versionId: string | undefined } | undefined;
};

/** Undefined: the current version. */
export type LockedVersion = {
  readonly bucket: string;
  readonly key: Buffer;
  readonly versionId?: string;
  readonly admit?: Admit;
};

/** Everything the doors (S3, file API, command line's server side, jobs) can ask. Implemented by ObjectStore. */
export type Objects = AppendCalls &
  BucketCalls &
  JudgedCalls &
  QuotaCalls &
  UploadCalls & {
    /** Whether objects can be encrypted so. `encryption_not_set_up`, `no_such_encryption_key`, `unavailable`. */
    checkEncryption(wanted: WantedEncryption): Promise<void>;

    put(options: PutOptions): Promise<PutResult>;
    /**
     * `no_such_key` and `is_delete_marker` (details: markerId), `no_such_version`, `precondition_failed`, `invalid_range`
     * (details: sizeBytes), `invalid_part_number`, `invalid_argument` for what is no version's id.
     */
    get(options: GetOptions): Promise<GetOutcome>;
    head(options: GetOptions): Promise<HeadOutcome>;
    /** For what is said of an object and shows nothing of its bytes: a client's key is not asked for. Errors: as `get`. */
    describe(options: OfVersion): Promise<ObjectInfo>;
    /** Deleting what is not there succeeds, unless a condition asks for it. `access_denied` for a version that is locked. */
    delete(options: DeleteOptions): Promise<DeleteResult>;
    copy(options: CopyOptions): Promise<CopyResult>;
    /** Another key for an object, at once. `idempotency_mismatch` for a token that came with another request. */
    rename(options: RenameOptions): Promise<CommittedEntry>;
    /** For all objects below a prefix, at once; `invalid_request` where they are too many. */
    renamePrefix(options: RenamePrefixOptions): Promise<readonly CommittedEntry[]>;
    /** Several keys changed at once, or none: docs/atomic-commit.md. Errors bear `entry`, the place of what failed. */
    commit(options: CommitOptions): Promise<readonly CommittedEntry[]>;
    /** All of them anew; an empty map takes them away. It stays the same version. Errors: those of a HEAD. */
    setTags(options: {
      readonly bucket: string;
      readonly key: Buffer;
      readonly versionId?: string;
      readonly tags: ObjectTags;
      readonly origin?: RequestOrigin;
      readonly admit?: Admit;
    }): Promise<{ readonly versionId: string | undefined }>;
    /** `change` says what it shall be, from what is there; it may run again. It stays the same version. Errors: those of a HEAD. */
    setAcl(options: {
      readonly bucket: string;
      readonly key: Buffer;
      readonly versionId?: string;
      readonly change: (found: ObjectInfo) => ObjectAcl | undefined;
    }): Promise<{ readonly versionId: string | undefined }>;
    /**
     * Of the version that is there, which stays the same one. Undefined takes it away. `access_denied` for what would end a
     * retention earlier, `invalid_argument` for one that has ended, `invalid_request` for a bucket without object lock.
     */
    setRetention(
      options: LockedVersion & { readonly retention: Retention | undefined; readonly bypassesGovernance?: boolean },
    ): Promise<void>;
    /** `invalid_request` for a bucket without object lock. */
    setLegalHold(options: LockedVersion & { readonly legalHold: boolean }): Promise<void>;
    list(options: ListOptions): Promise<ListResult>;
    listVersions(options: ListVersionsOptions): Promise<ListVersionsResult>;
    /** Parts of a finished multipart object (GetObjectAttributes); empty for any other. */
    objectParts(
      options: OfVersion & Pick<GetOptions, "customerKey"> & { readonly after: number; readonly limit: number },
    ): Promise<{ readonly info: ObjectInfo; readonly parts: readonly PartInfo[]; readonly isTruncated: boolean }>;
    /** Where the bytes lie: for the file API's /chunks and for doctor. Small objects are `inline` in the metadata store. */
    layout(
      options: OfVersion,
    ): Promise<{ readonly info: ObjectInfo; readonly inline: boolean; readonly chunks: AsyncIterable<LaidChunk> }>;
  };

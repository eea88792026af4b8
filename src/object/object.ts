/**
 * What buckets, objects, versions and uploads mean. No HTTP, no XML: the gateway spells these calls in S3, the file API in
 * JSON. Every call is linearizable per key; every change is one metadata commit (transact), published only after the
 * bytes it points to are durable.
 *
 * Object keys travel as `Buffer`s of raw bytes. Times are Unix milliseconds. ETags here have no quotes.
 */
import type { BodySource } from "../blob/blob.ts";
import type { BucketId, UploadId } from "../core/ids.ts";
import type { Redundancy } from "../core/redundancy.ts";
import type { DigestAlgorithm, Digests } from "../digest/digest.ts";

export type BucketInfo = {
  readonly name: string;
  readonly id: BucketId;
  readonly createdMs: number;
  readonly region: string;
  /** What new objects are stored with; undefined: the store's default. */
  readonly redundancy: Redundancy | undefined;
};

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

export type ObjectInfo = {
  readonly key: Buffer;
  readonly sizeBytes: number;
  /** 32 hex digits, or `<hex>-<parts>` of a multipart object. */
  readonly etag: string;
  readonly modifiedMs: number;
  readonly metadata: ObjectMetadata;
  readonly checksum: StoredChecksum | undefined;
  /** Parts of a multipart object, undefined for any other. */
  readonly partsCount: number | undefined;
};

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
  readonly versionId?: string;
  readonly conditions?: ReadConditions;
  readonly range?: RequestedRange;
  /** 1-based; excludes `range`. */
  readonly partNumber?: number;
  readonly signal?: AbortSignal;
};

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
  readonly conditions?: WriteConditions;
  readonly signal?: AbortSignal;
};

export type PutResult = {
  readonly etag: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly checksum: StoredChecksum | undefined;
};

export type CopyOptions = {
  readonly source: {
    readonly bucket: string;
    readonly key: Buffer;
    readonly versionId?: string;
    readonly conditions?: ReadConditions;
  };
  readonly bucket: string;
  readonly key: Buffer;
  /**
   * Of the copy: as given, or made from the source's (a pure function; it may run again), or the source's own where undefined.
   * Onto itself it must be given (`invalid_argument`).
   */
  readonly metadata: ObjectMetadata | ((source: ObjectMetadata) => ObjectMetadata) | undefined;
  /** Undefined: keep the source's checksum. If it differs from the stored one the bytes are read to compute it. */
  readonly checksumAlgorithm?: ChecksumAlgorithm;
  readonly conditions?: WriteConditions;
  readonly signal?: AbortSignal;
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
};

export type ListResult = {
  readonly objects: readonly ListedObject[];
  readonly commonPrefixes: readonly Buffer[];
  /** Undefined: the end. Else the last key or common prefix of this page: `after` of the next one. */
  readonly next: Buffer | undefined;
};

export type UploadInfo = {
  readonly id: UploadId;
  readonly key: Buffer;
  readonly startedMs: number;
  readonly metadata: ObjectMetadata;
  readonly checksum: { readonly algorithm: ChecksumAlgorithm; readonly type: ChecksumType } | undefined;
};

export type PartInfo = {
  readonly partNumber: number;
  readonly sizeBytes: number;
  readonly etag: string;
  readonly modifiedMs: number;
  readonly checksum: Omit<StoredChecksum, "type"> | undefined;
};

export type UploadRef = { readonly bucket: string; readonly key: Buffer; readonly uploadId: string };

export type CompletedPart = {
  readonly partNumber: number;
  readonly etag: string;
  readonly checksum?: Omit<StoredChecksum, "type">;
};

export type CompleteOptions = UploadRef & {
  readonly parts: readonly CompletedPart[];
  readonly conditions?: WriteConditions;
  /** The whole object's checksum as the client knows it; compared (`checksum_mismatch` otherwise). */
  readonly checksum?: Omit<StoredChecksum, "type">;
  readonly checksumType?: ChecksumType;
  /** x-amz-mp-object-size; compared (`invalid_request` otherwise). */
  readonly sizeBytes?: number;
};

export type ListUploadsOptions = {
  readonly bucket: string;
  readonly prefix?: Buffer;
  readonly delimiter?: Buffer;
  readonly afterKey?: Buffer;
  /** Only with afterKey: uploads of that key after this id are listed too. */
  readonly afterUploadId?: string;
  readonly limit: number;
};

export type ListUploadsResult = {
  readonly uploads: readonly UploadInfo[];
  readonly commonPrefixes: readonly Buffer[];
  readonly next: { readonly key: Buffer; readonly uploadId: string | undefined } | undefined;
};

/** Everything the doors (S3, file API, command line's server side, jobs) can ask. Implemented by ObjectStore. */
export type Objects = {
  createBucket(
    name: string,
    options: { readonly region: string },
  ): Promise<{ readonly created: boolean; readonly bucket: BucketInfo }>;
  /** `no_such_bucket`. */
  bucket(name: string): Promise<BucketInfo>;
  /** For all objects, those that are there in the background; undefined: the store's default. `no_such_bucket`. */
  setRedundancy(name: string, redundancy: Redundancy | undefined): Promise<BucketInfo>;
  listBuckets(options: {
    readonly prefix?: string;
    readonly after?: string;
    readonly limit: number;
  }): Promise<{ readonly buckets: readonly BucketInfo[]; readonly next: string | undefined }>;
  /** `bucket_not_empty` while it holds objects or uploads. */
  deleteBucket(name: string): Promise<void>;
  usage(bucket: string): Promise<{ readonly objects: number; readonly bytes: number }>;

  put(options: PutOptions): Promise<PutResult>;
  /** `no_such_key`, `precondition_failed`, `invalid_range` (details: sizeBytes), `invalid_part_number`. */
  get(options: GetOptions): Promise<GetOutcome>;
  head(options: GetOptions): Promise<HeadOutcome>;
  /** Deleting what is not there succeeds, unless a condition asks for it. */
  delete(options: {
    readonly bucket: string;
    readonly key: Buffer;
    readonly versionId?: string;
    readonly conditions?: WriteConditions & { readonly sizeBytes?: number; readonly modifiedMs?: number };
  }): Promise<{ readonly existed: boolean }>;
  copy(options: CopyOptions): Promise<PutResult>;
  list(options: ListOptions): Promise<ListResult>;
  /** Parts of a finished multipart object (GetObjectAttributes); empty for any other. */
  objectParts(options: {
    readonly bucket: string;
    readonly key: Buffer;
    readonly after: number;
    readonly limit: number;
  }): Promise<{ readonly info: ObjectInfo; readonly parts: readonly PartInfo[]; readonly isTruncated: boolean }>;
  /** Where the bytes lie: for the file API's /chunks and for doctor. Small objects are `inline` in the metadata store. */
  layout(options: {
    readonly bucket: string;
    readonly key: Buffer;
  }): Promise<{ readonly info: ObjectInfo; readonly inline: boolean; readonly chunks: AsyncIterable<LaidChunk> }>;

  createUpload(options: {
    readonly bucket: string;
    readonly key: Buffer;
    readonly metadata: ObjectMetadata;
    readonly checksum?: { readonly algorithm: ChecksumAlgorithm; readonly type: ChecksumType };
  }): Promise<UploadInfo>;
  uploadPart(
    options: UploadRef & {
      readonly partNumber: number;
      readonly body: BodySource;
      readonly verifier: BodyVerifier;
      readonly signal?: AbortSignal;
    },
  ): Promise<PartInfo>;
  uploadPartCopy(
    options: UploadRef & {
      readonly partNumber: number;
      readonly source: CopyOptions["source"];
      readonly range?: { readonly first: number; readonly last: number };
      readonly signal?: AbortSignal;
    },
  ): Promise<PartInfo>;
  completeUpload(options: CompleteOptions): Promise<PutResult>;
  abortUpload(ref: UploadRef): Promise<void>;
  listParts(
    options: UploadRef & { readonly after: number; readonly limit: number },
  ): Promise<{ readonly upload: UploadInfo; readonly parts: readonly PartInfo[]; readonly isTruncated: boolean }>;
  listUploads(options: ListUploadsOptions): Promise<ListUploadsResult>;
};

export type LaidChunk = {
  readonly id: string;
  readonly offset: number;
  readonly sizeBytes: number;
  readonly storedBytes: number;
  readonly redundancy: Redundancy;
  readonly places: readonly { readonly drive: string; readonly shardIndex: number }[];
};

/** What the doors can ask about multipart uploads (uploads.ts): a part of `Objects`. */
import type { BodySource } from "../blob/blob.ts";
import type { UploadId } from "../core/ids.ts";
import type { CustomerKey } from "../crypto/customer_key.ts";
import type { Ending } from "./lifecycle_rules.ts";
import type {
  BodyVerifier,
  ChecksumAlgorithm,
  ChecksumType,
  CopyOptions,
  EncryptionInfo,
  ObjectAcl,
  ObjectLock,
  ObjectMetadata,
  ObjectTags,
  PutResult,
  RequestOrigin,
  StoredChecksum,
  WantedEncryption,
  WriteConditions,
} from "./object.ts";

export type UploadRef = { readonly bucket: string; readonly key: Buffer; readonly uploadId: string };

export type CreateUploadOptions = {
  readonly bucket: string;
  readonly key: Buffer;
  readonly metadata: ObjectMetadata;
  readonly tags?: ObjectTags;
  /** As in PutOptions; the default is the one of when the upload is completed. */
  readonly lock?: ObjectLock;
  readonly acl?: ObjectAcl;
  readonly checksum?: { readonly algorithm: ChecksumAlgorithm; readonly type: ChecksumType };
  /** Of all its parts, and of the object. */
  readonly encryption?: WantedEncryption | undefined;
};

export type UploadInfo = {
  readonly id: UploadId;
  readonly key: Buffer;
  readonly startedMs: number;
  readonly metadata: ObjectMetadata;
  readonly checksum: { readonly algorithm: ChecksumAlgorithm; readonly type: ChecksumType } | undefined;
  /** Of the object it becomes. */
  readonly acl: ObjectAcl | undefined;
  /** When lifecycle rules end it; not told in a list of uploads. */
  readonly ending?: Ending;
};

export type StartedUpload = UploadInfo & { readonly encryption: EncryptionInfo | undefined };

export type UploadPartOptions = UploadRef & {
  readonly partNumber: number;
  readonly body: BodySource;
  readonly verifier: BodyVerifier;
  /** The one that the upload was started with: `invalid_request` for another, or none. */
  readonly customerKey?: CustomerKey | undefined;
  /** Compared with the upload's (`invalid_argument` otherwise). */
  readonly statedEncryption?: WantedEncryption | undefined;
  readonly signal?: AbortSignal;
};

export type UploadPartCopyOptions = UploadRef & {
  readonly partNumber: number;
  readonly source: CopyOptions["source"];
  readonly range?: { readonly first: number; readonly last: number };
  readonly customerKey?: CustomerKey | undefined;
  readonly signal?: AbortSignal;
};

export type PartInfo = {
  readonly partNumber: number;
  readonly sizeBytes: number;
  readonly etag: string;
  readonly modifiedMs: number;
  readonly checksum: Omit<StoredChecksum, "type"> | undefined;
};

/** `encryption`: of its upload. */
export type StoredPart = PartInfo & { readonly encryption: EncryptionInfo | undefined };

export type CopiedPart = StoredPart & { readonly sourceVersionId: string | undefined };

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
  /** Needed where the upload, or a part of it, has a checksum; one that is given must be the upload's. */
  readonly customerKey?: CustomerKey | undefined;
  /** Compared with the upload's (`invalid_argument` otherwise). */
  readonly statedEncryption?: WantedEncryption | undefined;
  /** What becomes of the list that the upload was begun with; an error leaves the upload as it is. It stays if left out. */
  readonly judgeAcl?: (acl: ObjectAcl) => Promise<ObjectAcl | undefined>;
  readonly origin?: RequestOrigin;
};

export type ListPartsOptions = UploadRef & {
  /** Parts behind this number. */
  readonly after: number;
  /** 0..listPageKeysMax. */
  readonly limit: number;
};

export type ListPartsResult = {
  readonly account: string | undefined;
  readonly upload: StartedUpload;
  readonly parts: readonly PartInfo[];
  readonly isTruncated: boolean;
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
  readonly account: string | undefined;
  readonly uploads: readonly UploadInfo[];
  readonly commonPrefixes: readonly Buffer[];
  readonly next: { readonly key: Buffer; readonly uploadId: string | undefined } | undefined;
};

export type UploadCalls = {
  /** `no_such_bucket`, `invalid_request` for a checksum that S3 does not know, and what is wrong with key or metadata. */
  createUpload(options: CreateUploadOptions): Promise<StartedUpload>;
  /** `no_such_upload`, `operation_aborted` while it is being completed, `invalid_part_number`, and those of a PUT. */
  uploadPart(options: UploadPartOptions): Promise<StoredPart>;
  /** The source is read and written like any other part. Errors: those of a GET and of uploadPart. */
  uploadPartCopy(options: UploadPartCopyOptions): Promise<CopiedPart>;
  completeUpload(options: CompleteOptions): Promise<PutResult>;
  /** `no_such_upload`. */
  abortUpload(ref: UploadRef): Promise<void>;
  /** `no_such_upload`. */
  listParts(options: ListPartsOptions): Promise<ListPartsResult>;
  /** `no_such_bucket`. */
  listUploads(options: ListUploadsOptions): Promise<ListUploadsResult>;
};

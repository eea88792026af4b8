/** What a commit over several keys is asked for, and what it answers. See docs/atomic-commit.md. */
import type {
  Admit,
  CopyOptions,
  DeleteOptions,
  ObjectAcl,
  ObjectInfo,
  ObjectMetadata,
  ObjectTags,
  ReadConditions,
  RequestOrigin,
  WriteConditions,
} from "./object.ts";

type Put = {
  readonly kind: "put";
  readonly key: Buffer;
  /** At most inlineBytesMax. */
  readonly bytes: Buffer;
  readonly metadata: ObjectMetadata;
  readonly tags?: ObjectTags;
  readonly acl?: ObjectAcl;
  readonly conditions?: WriteConditions;
};

/** An object that is there already, of the same bucket, under one more key. No byte is copied. */
type Copy = {
  readonly kind: "copy";
  readonly key: Buffer;
  readonly source: Omit<CopyOptions["source"], "bucket">;
  /** Left out: the source's. */
  readonly metadata?: ObjectMetadata;
  readonly tags?: ObjectTags;
  /** Never the source's. */
  readonly acl?: ObjectAcl;
  readonly conditions?: WriteConditions;
};

type Delete = Omit<DeleteOptions, "bucket" | "origin"> & { readonly kind: "delete" };

/** The object keeps its owner, its list and its tags. */
type Rename = {
  readonly kind: "rename";
  readonly key: Buffer;
  /** `admit`: of a rename that was done before it judges the object that stands at `key` since. */
  readonly source: { readonly key: Buffer; readonly conditions?: ReadConditions; readonly admit?: Admit };
  /** Of what stands at `key`. */
  readonly conditions?: ReadConditions;
  /** Sent again with the same one, what was done already is answered once more. */
  readonly token?: string;
};

/** Changes nothing: the commit happens only while this is so. */
type Check = {
  readonly kind: "check";
  readonly key: Buffer;
  readonly conditions: WriteConditions;
  /** As Admit, for that there is none too. */
  readonly admit?: (found: ObjectInfo | undefined) => void;
};

export type CommitEntry = Put | Copy | Delete | Rename | Check;
export type EntryOf<Kind extends CommitEntry["kind"]> = Extract<CommitEntry, { readonly kind: Kind }>;

export type CommitOptions = {
  readonly bucket: string;
  /** 1 to commitEntriesMax; no key is changed by two of them. */
  readonly entries: readonly CommitEntry[];
  readonly origin?: RequestOrigin;
  readonly signal?: AbortSignal;
};

/** Of one entry, in their order. */
export type CommittedEntry = {
  readonly key: Buffer;
  /** Of the object that stands there now; undefined for a delete. */
  readonly etag: string | undefined;
  /** Of the version or the delete marker that was made, or that was removed; undefined in a bucket without versions. */
  readonly versionId: string | undefined;
  readonly isMarker: boolean;
};

export type RenameOptions = Omit<EntryOf<"rename">, "kind"> & {
  readonly bucket: string;
  readonly origin?: RequestOrigin;
  readonly signal?: AbortSignal;
};

export type RenamePrefixOptions = {
  readonly bucket: string;
  readonly from: Buffer;
  readonly to: Buffer;
  /** Of what stands at each of the new keys. */
  readonly conditions?: ReadConditions;
  /** Throws where the caller may not rename this key to that one, whatever they are; what it returns judges the object. */
  readonly admit: (from: Buffer, to: Buffer) => Admit | undefined;
  readonly origin?: RequestOrigin;
  readonly signal?: AbortSignal;
};

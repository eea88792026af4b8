/** What the doors can ask about buckets themselves (buckets.ts): a part of `Objects`. */
import type { BucketId } from "../core/ids.ts";
import type { AskedRedundancies } from "../core/redundancy.ts";
import type { ReadAhead } from "../kv/read_ahead.ts";
import type { ConfigurationKind } from "../meta/configurations.ts";
import type { Retention } from "./object.ts";

export type BucketInfo = {
  readonly name: string;
  readonly id: BucketId;
  readonly createdMs: number;
  readonly region: string;
  readonly versioning: Versioning;
  /** 12 digits: whose it is; undefined: the store's own account. */
  readonly account: string | undefined;
  /** It can keep versions from being removed; once switched on this never goes off. */
  readonly objectLock: boolean;
} & AskedRedundancies;

/** Switched on once, it can be suspended but never be as if it had not been. */
export type Versioning = "unversioned" | "enabled" | "suspended";

/** A configuration document of a bucket, as it was set. The same object as long as nothing about the bucket was changed. */
export type ConfigurationDocument = { readonly bytes: Buffer; readonly modifiedMs: number };

export type BucketDocuments = {
  readonly bucket: BucketInfo;
  readonly documents: ReadonlyMap<ConfigurationKind, ConfigurationDocument>;
};

/** What a new bucket is configured with from the first. */
export type NewDocuments = ReadonlyMap<ConfigurationKind, Buffer>;

/** What a new version gets where its request names no retention. */
export type DefaultRetention = {
  readonly mode: Retention["mode"];
  readonly unit: "Days" | "Years";
  readonly count: number;
};

/** `objects`: current ones; `versions`: noncurrent ones and delete markers; `bytes`: of both. */
export type BucketUsage = { readonly objects: number; readonly versions: number; readonly bytes: number };

/** What is to be stored with one redundancy. */
export type UsageLevel = {
  readonly redundancy: string;
  /** Those that have it for the class STANDARD. */
  readonly buckets: number;
} & BucketUsage;

/** `isWhole` false: there are too many buckets to look at all of them. */
export type StoreUsage = { readonly levels: readonly UsageLevel[]; readonly isWhole: boolean };

export type BucketCalls = {
  createBucket(
    name: string,
    options: {
      readonly region: string;
      readonly account?: string | undefined;
      readonly documents?: NewDocuments;
      readonly objectLock?: boolean;
    },
  ): Promise<{ readonly created: boolean; readonly bucket: BucketInfo }>;
  /** `no_such_bucket`. */
  bucket(name: string): Promise<BucketInfo>;
  /** `no_such_bucket`, `invalid_bucket_state` for a bucket with object lock that would be suspended. */
  setVersioning(name: string, versioning: "enabled" | "suspended"): Promise<BucketInfo>;
  /** For all objects of the classes named, those that are there in the background; undefined: by default. `no_such_bucket`. */
  setRedundancy(name: string, asked: Partial<AskedRedundancies>): Promise<BucketInfo>;
  listBuckets(options: {
    readonly prefix?: string;
    readonly after?: string;
    /** Only buckets of this account; `own`: of the store's own. */
    readonly account?: string;
    readonly limit: number;
  }): Promise<{ readonly buckets: readonly BucketInfo[]; readonly next: string | undefined }>;
  /** `bucket_not_empty` while it holds objects, versions or delete markers. */
  deleteBucket(name: string): Promise<void>;
  /** Undefined: there is none of that kind. `no_such_bucket`. */
  configuration(bucket: string, kind: ConfigurationKind): Promise<ConfigurationDocument | undefined>;
  /**
   * The bucket and those of these documents that it has, as one state of the store has them: the same object as long as the bucket's row is
   * the same, so that what was made of it may be kept by it. `ahead`: of that bucket. `no_such_bucket`.
   */
  configurations(bucket: string, kinds: readonly ConfigurationKind[], ahead?: ReadAhead): Promise<BucketDocuments>;
  /** The same where it is known by what was read ahead, so that nobody waits. `no_such_bucket`. */
  knownConfigurations(
    bucket: string,
    kinds: readonly ConfigurationKind[],
    ahead: ReadAhead,
  ): BucketDocuments | undefined;
  /** What is read of a bucket to answer `configurations`, to be read with something else. Undefined: no bucket has that name. */
  readAhead(bucket: string): ReadAhead | undefined;
  /** One of at most configurationBytesMax bytes, in the place of any before; undefined: none. `no_such_bucket`. */
  setConfiguration(change: {
    readonly bucket: string;
    readonly kind: ConfigurationKind;
    readonly document: Buffer | undefined;
    /** Destinations of events that it names; `invalid_argument` where one is not there. */
    readonly destinations?: readonly string[];
  }): Promise<void>;
  /** Undefined: the bucket has no object lock. `no_such_bucket`. */
  objectLock(bucket: string): Promise<{ readonly defaultRetention: DefaultRetention | undefined } | undefined>;
  /** Switches it on, for good, and says what new versions get. `invalid_bucket_state` unless versioning is enabled. */
  setObjectLock(bucket: string, defaultRetention: DefaultRetention | undefined): Promise<void>;
  usage(bucket: string): Promise<BucketUsage>;
  /** Of all buckets. */
  storeUsage(): Promise<StoreUsage>;
};

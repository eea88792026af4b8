/** What every concern of the object layer works with. Made once per process by whoever puts the parts together. */
import type { BlobStore } from "../blob/blob.ts";
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Redundancy } from "../core/redundancy.ts";
import type { KeyService } from "../crypto/crypto.ts";
import type { DigestPool } from "../digest/digest.ts";
import type { EventRule } from "../events/events.ts";
import type { Kv } from "../kv/kv.ts";
import type { RowCache } from "../kv/row_cache.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import type { Session } from "../meta/sessions.ts";
import type { BucketIds } from "./bucket_ids.ts";
import type { KeptConfigurations } from "./configurations.ts";
import type { JudgedBuckets } from "./judged_types.ts";
import type { LifecycleRule } from "./lifecycle_rules.ts";
import type { LoggedBuckets } from "./logged_buckets.ts";
import type { ConfigurationDocument, WantedEncryption } from "./object.ts";

/** What ObjectStore is given. */
export type ObjectParts = {
  readonly kv: Kv;
  readonly blobs: BlobStore;
  readonly digests: DigestPool;
  /** This process's session; its id is also the one that `blobs` makes chunk ids from. */
  readonly session: Session;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Of buckets that say nothing else; one copy if left out. */
  readonly redundancy?: () => Redundancy;
  /** Of the reduced class, of buckets that say nothing else; left out: what follows from the other (reducedFrom). */
  readonly reducedRedundancy?: Redundancy | undefined;
  /** What seals the data keys of encrypted objects; without it only clients' own keys do. */
  readonly keys?: KeyService | undefined;
  /** What a bucket's encryption document says of its new objects; without it no object is stored in such a bucket. */
  readonly defaultEncryption?: (document: ConfigurationDocument) => WantedEncryption;
  /**
   * Asked before rows that only add to the metadata are committed, with the bytes of an inline body; deletes never ask.
   * Errors: `drive_full`. By default there is always room.
   */
  readonly admitRows?: (bytes: number) => Promise<void>;
  /** What a notification document says; without it no such document can be set. */
  readonly eventRules?: (document: ConfigurationDocument) => readonly EventRule[];
  /** What a lifecycle document says; without it no such document can be set. */
  readonly lifecycleRules?: (document: ConfigurationDocument) => readonly LifecycleRule[];
  /** For tests: how long a day is for those rules. */
  readonly lifecycleDayMs?: number | undefined;
  /** Told of every bucket whose row is read, for those who log what is asked of it. */
  readonly loggedBuckets?: LoggedBuckets;
  /** Told after a commit that left events to be delivered. */
  readonly onQueued?: () => void;
};

export type ObjectContext = ObjectParts & {
  readonly bucketIds: BucketIds;
  /** Buckets' rows that were decoded before. */
  readonly buckets: RowCache<BucketRecord>;
  readonly configurations: KeptConfigurations;
  /** Buckets that must still be those which the caller was judged by. Asked wherever a bucket's row is read (target.ts). */
  readonly judged?: JudgedBuckets;
};

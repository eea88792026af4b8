/** What every concern of the object layer works with. Made once per process by whoever puts the parts together. */
import type { BlobStore } from "../blob/blob.ts";
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Redundancy } from "../core/redundancy.ts";
import type { DigestPool } from "../digest/digest.ts";
import type { Kv } from "../kv/kv.ts";
import type { Session } from "../meta/sessions.ts";
import type { BucketIds } from "./bucket_ids.ts";

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
  readonly redundancy?: Redundancy;
  /**
   * Asked before rows that only add to the metadata are committed, with the bytes of an inline body; deletes never ask.
   * Errors: `drive_full`. By default there is always room.
   */
  readonly admitRows?: (bytes: number) => Promise<void>;
};

export type ObjectContext = ObjectParts & { readonly bucketIds: BucketIds };

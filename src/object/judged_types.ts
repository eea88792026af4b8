/** What the doors can ask about callers who were judged (object_store.ts): a part of `Objects`. */
import type { BucketId } from "../core/ids.ts";
import type { Objects } from "./object.ts";

/** By the buckets' names: which bucket it was whose rules let the caller in. */
export type JudgedBuckets = ReadonlyMap<string, BucketId>;

export type JudgedCalls = {
  /**
   * The same for one request. What it was judged by holds for these very buckets: where one of the names stands for another by now, which
   * may be somebody else's, every call fails with `no_such_bucket`. Buckets that are not among them are as ever.
   */
  judgedBy(buckets: JudgedBuckets): Objects;
};

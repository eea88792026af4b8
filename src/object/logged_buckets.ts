/**
 * The buckets that have a logging document, as this process met their rows last. Every request that gets so far reads the row of
 * its bucket, so what is known here is as new as the request; nothing is read for it. Of buckets without the document nothing is kept.
 */
import type { BucketId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { hasConfiguration } from "../meta/configurations.ts";

export type LoggedBucket = { readonly id: BucketId; readonly revision: number };

export class LoggedBuckets {
  readonly #seen = new Map<string, LoggedBucket>();

  /** Undefined: it has none, as far as is known. */
  get(name: string): LoggedBucket | undefined {
    return this.#seen.get(name);
  }

  note(name: string, bucket: BucketRecord): void {
    if (!hasConfiguration(bucket.configured, "logging")) return this.forget(name);
    // A bucket that is met again puts itself back.
    if (this.#seen.size >= limits.loggedBucketsMax && !this.#seen.has(name)) this.clear();
    this.#seen.set(name, bucket);
  }

  clear(): void {
    this.#seen.clear();
  }

  forget(name: string): void {
    if (this.#seen.size > 0) this.#seen.delete(name);
  }
}

/**
 * Storage classes as far as they say how bytes are stored (docs/decisions/0022-storage-classes.md): REDUCED_REDUNDANCY has a redundancy of
 * its own in every bucket, all others have that of STANDARD.
 *
 * The class is chosen by the label when a blob is made, and is said beside the blob's id from then on (HeadData). A blob is shared within a
 * class only, and with another bucket only where the copy bears no more losses there, for what bears more must not come to share what
 * bears fewer. Bytes in the metadata have no class: the label is
 * all that there is of it.
 */
import {
  formatRedundancy,
  oneCopy,
  redundanciesOf,
  type AskedRedundancies,
  type Redundancies,
  type Redundancy,
} from "../core/redundancy.ts";
import type { Transaction } from "../kv/transact.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { newConversion } from "../meta/conversions.ts";
import { isReduced, type HeadRecord } from "../meta/heads.ts";
import { conversionKey } from "../meta/keys.ts";
import { noUsage, sumOf, type UsageCounts } from "../meta/usage.ts";
import type { ObjectContext } from "./context.ts";
import type { ObjectMetadata } from "./object.ts";

const header = "x-amz-storage-class";

/** Whether a blob that is made for an object with this label is of the reduced class. */
export function asksForReduced({ headers }: ObjectMetadata): boolean {
  return headers[header] === "REDUCED_REDUNDANCY";
}

/** Whether a version with this label may share the source's bytes where they are a blob. */
export function mayShare(source: Pick<HeadRecord, "data">, metadata: ObjectMetadata): boolean {
  return source.data.kind !== "blob" || isReduced(source) === asksForReduced(metadata);
}

/** Whether a copy of the source that is to lie in another bucket has to bear more losses there, so that its bytes are stored anew. */
export function bearsMoreIn(
  ctx: ObjectContext,
  to: BucketRecord,
  { head, bucket: from }: { readonly head: HeadRecord; readonly bucket: BucketRecord },
): boolean {
  if (head.data.kind !== "blob" || to.id === from.id) return false;
  const name = isReduced(head) ? "reduced" : "standard";
  return redundanciesIn(ctx, to)[name].parityShards > redundanciesIn(ctx, from)[name].parityShards;
}

/** What both classes get in a bucket now. */
export function redundanciesIn(ctx: ObjectContext, bucket: AskedRedundancies): Redundancies {
  const { redundancy = () => oneCopy, reducedRedundancy } = ctx;
  return redundanciesOf(bucket, { redundancy: redundancy(), reducedRedundancy });
}

/** What a new blob in a bucket is stored with; undefined: with the store's default. */
export function redundancyIn(ctx: ObjectContext, bucket: AskedRedundancies, reduced: boolean): Redundancy | undefined {
  return reduced ? redundanciesIn(ctx, bucket).reduced : bucket.redundancy;
}

/**
 * In the commit that publishes blobs of a class. `storedFor`: what the bucket asked for when they were stored. Where it asks for something
 * else by now, the conversion that was begun with that change may have passed the key already: it begins anew.
 */
export async function convertLate(
  ctx: ObjectContext,
  tx: Transaction,
  bucket: BucketRecord,
  { storedFor, reduced }: { readonly storedFor: readonly AskedRedundancies[]; readonly reduced: boolean },
): Promise<void> {
  const name = reduced ? "reduced" : "standard";
  const wantedBy = (asked: AskedRedundancies): Redundancy => redundanciesIn(ctx, asked)[name];
  const isWanted = (asked: AskedRedundancies): boolean =>
    asked === bucket || formatRedundancy(wantedBy(asked)) === formatRedundancy(wantedBy(bucket));
  if (storedFor.every(isWanted)) return;
  const key = conversionKey(bucket.id);
  const [earlier] = await tx.get([key]);
  const wanted = reduced ? { reduced: wantedBy(bucket) } : { standard: wantedBy(bucket) };
  tx.put(key, newConversion(wanted, earlier?.value));
}

/** A version where it stands. */
export type Placed = { readonly place: "head" | "marker" | "past"; readonly head: HeadRecord | undefined };

/** What a change counts of the reduced class: versions that come to their places, and versions that are there no more. */
export function reducedIn(come: readonly Placed[], gone: readonly Placed[]): UsageCounts {
  const all = (placed: readonly Placed[]): UsageCounts =>
    placed.map(reducedOf).reduce((one, other) => sumOf(one, other), noUsage);
  return sumOf(all(come), all(gone), -1);
}

function reducedOf({ place, head }: Placed): UsageCounts {
  if (head === undefined || !isReduced(head)) return noUsage;
  const isCurrent = place === "head";
  return { objects: isCurrent ? 1 : 0, bytes: head.sizeBytes, versions: isCurrent ? 0 : 1 };
}

/**
 * `usage/<bucket id><session id>`: what a session counted of a bucket; with FF for a session, or zeros, what all of them did.
 *
 *   0 objects, 1 bytes, 2 versions    of everything; see UsageCounts
 *   3 to 6                            of a bucket that is counted in one place (countedPlaces in quotas.ts); else nothing
 *   7 objects, 8 bytes, 9 versions    of that what is a blob of the reduced class
 *
 * A row ends with the last counter that anything was added to.
 */
import { readCounters } from "../kv/kv.ts";

export type UsageCounts = {
  /** Current ones: heads. */
  readonly objects: number;
  /** Of heads and past rows. */
  readonly bytes: number;
  /** Past rows: noncurrent versions and delete markers. */
  readonly versions: number;
};

/** `reduced`: the part of it that is of the reduced class. */
export type Usage = UsageCounts & { readonly reduced: UsageCounts };

export const noUsage: UsageCounts = { objects: 0, bytes: 0, versions: 0 };

const reducedPlaces = { objects: 7, bytes: 8, versions: 9 } as const;

export function readUsage(value: Uint8Array): Usage {
  const counters = readCounters(value);
  const [objects = 0, bytes = 0, versions = 0] = counters;
  const at = (place: number): number => counters[place] ?? 0;
  const reduced = {
    objects: at(reducedPlaces.objects),
    bytes: at(reducedPlaces.bytes),
    versions: at(reducedPlaces.versions),
  };
  return { objects, bytes, versions, reduced };
}

/** What is added to a row; `counted`: to the counters from the third on, of a bucket that is counted in one place. */
export function usageDeltas({ objects, bytes, versions, reduced }: Usage, counted: readonly number[] = []): number[] {
  const deltas = [objects, bytes, ...(versions === 0 && counted.length === 0 ? [] : [versions]), ...counted];
  if (isNothing(reduced)) return deltas;
  const between = Array.from({ length: reducedPlaces.objects - deltas.length }, () => 0);
  return [...deltas, ...between, reduced.objects, reduced.bytes, reduced.versions];
}

export function isNothing({ objects, bytes, versions }: UsageCounts): boolean {
  return objects === 0 && bytes === 0 && versions === 0;
}

export function sumOf(one: UsageCounts, other: UsageCounts, sign: 1 | -1 = 1): UsageCounts {
  return {
    objects: one.objects + sign * other.objects,
    bytes: one.bytes + sign * other.bytes,
    versions: one.versions + sign * other.versions,
  };
}

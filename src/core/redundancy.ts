/**
 * How many losses stored bytes survive, and at what price. One shape for both ways: `dataShards` pieces hold the bytes,
 * `parityShards` more are made from them, each shard lies on a drive of its own, and any `dataShards` of them give the bytes
 * back. With one data shard every shard is a whole copy.
 *
 * Written `replica:n` (n copies) or `ec:k+m`. A chunk bears what it was stored with, a bucket what new chunks get: one redundancy
 * for the class STANDARD, and one that bears no more losses for REDUCED_REDUNDANCY (docs/decisions/0022-storage-classes.md).
 */
import { assert } from "./assert.ts";
import { HoldfastError } from "./errors.ts";
import { limits } from "./limits.ts";

export type Redundancy = { readonly dataShards: number; readonly parityShards: number };

/** Of each storage class that has one of its own. */
export type Redundancies = { readonly standard: Redundancy; readonly reduced: Redundancy };

/** What a bucket, or the store's operator, asks for of each; undefined: nothing. */
export type AskedRedundancies = {
  readonly redundancy: Redundancy | undefined;
  readonly reducedRedundancy: Redundancy | undefined;
};

/** Of buckets that say nothing else. */
export type DefaultRedundancies = AskedRedundancies & { readonly redundancy: Redundancy };

/** One copy: what a single drive can give. */
export const oneCopy: Redundancy = { dataShards: 1, parityShards: 0 };

export function shardsOf({ dataShards, parityShards }: Redundancy): number {
  return dataShards + parityShards;
}

/** Whether Holdfast can store with it: replica:1 to replica:9, ec:2+1 to ec:16+8. */
export function isRedundancy({ dataShards, parityShards }: Redundancy): boolean {
  return (
    Number.isInteger(dataShards) &&
    Number.isInteger(parityShards) &&
    dataShards >= 1 &&
    dataShards <= limits.dataShardsMax &&
    parityShards >= (dataShards === 1 ? 0 : 1) &&
    parityShards <= limits.parityShardsMax
  );
}

/** Errors: `invalid_argument` with a sentence that says what can be said. */
export function parseRedundancy(text: string): Redundancy {
  const found = /^(?:replica:(\d{1,3})|ec:(\d{1,3})\+(\d{1,3}))$/.exec(text);
  const copies = found?.[1];
  const redundancy =
    copies === undefined
      ? { dataShards: Number(found?.[2]), parityShards: Number(found?.[3]) }
      : { dataShards: 1, parityShards: Number(copies) - 1 };
  // `ec:1+m` would be copies by another name.
  if (found !== null && isRedundancy(redundancy) && (copies !== undefined || redundancy.dataShards > 1))
    return redundancy;
  const { dataShardsMax: k, parityShardsMax: m } = limits;
  throw new HoldfastError(
    "invalid_argument",
    `The redundancy must be replica:N with N from 1 to ${m + 1}, or ec:K+M with K from 2 to ${k} and M from 1 to ${m}, ` +
      `not ${JSON.stringify(text)}.`,
  );
}

export function formatRedundancy(redundancy: Redundancy): string {
  assert(isRedundancy(redundancy), "the redundancy lies within its bounds");
  const { dataShards, parityShards } = redundancy;
  return dataShards === 1 ? `replica:${parityShards + 1}` : `ec:${dataShards}+${parityShards}`;
}

/**
 * How many losses REDUCED_REDUNDANCY bears by itself beside a STANDARD that bears so many: one less, but one loss always where STANDARD
 * bears it. What lies on one drive alone has to be asked for: there are clients that send the class without knowing what it means here.
 */
export function reducedLosses(standard: number): number {
  return Math.max(Math.min(1, standard), standard - 1);
}

/**
 * What REDUCED_REDUNDANCY gets beside a `standard`: as many data shards for the losses that it bears by itself, or what was `asked` for.
 * It never bears more losses than `standard`, which takes the place of what would.
 */
export function reducedFrom(standard: Redundancy, asked: Redundancy | undefined): Redundancy {
  if (asked !== undefined) return asked.parityShards > standard.parityShards ? standard : asked;
  return { ...standard, parityShards: reducedLosses(standard.parityShards) };
}

/** What holds for a bucket. */
export function redundanciesOf(own: AskedRedundancies, byDefault: DefaultRedundancies): Redundancies {
  const standard = own.redundancy ?? byDefault.redundancy;
  return { standard, reduced: reducedFrom(standard, own.reducedRedundancy ?? byDefault.reducedRedundancy) };
}

/**
 * Shards that must be durable before a write is acknowledged: so many that losing any one of them loses nothing; all of
 * them where there is only one.
 */
export function writeQuorum({ dataShards, parityShards }: Redundancy): number {
  return dataShards + Math.min(1, parityShards);
}

/**
 * What a store on so many drives gives by itself: nothing is lost with any one drive, or with any two from six on, and from
 * three on a drive that is away leaves enough for the quorum of writes.
 */
export function defaultRedundancy(drives: number): Redundancy {
  assert(drives >= 1, "a store has a drive");
  if (drives === 1) return oneCopy;
  if (drives <= 3) return { dataShards: 1, parityShards: 1 };
  if (drives <= 5) return { dataShards: drives - 2, parityShards: 1 };
  return { dataShards: 4, parityShards: 2 };
}

/**
 * What a cluster gives by itself: as many losses of whole nodes as a store on that many drives bears of drives. Where there are
 * several zones and one could take more of a chunk than it can lose, two copies, which never lie in one zone.
 */
export function clusterRedundancy(nodes: number, zones: number): Redundancy {
  const byNodes = defaultRedundancy(nodes);
  const inOneZone = Math.ceil(shardsOf(byNodes) / zones);
  return zones === 1 || inOneZone <= byNodes.parityShards ? byNodes : { dataShards: 1, parityShards: 1 };
}

/**
 * When the store has come to bear more losses by default than ever before (drives or nodes were added, or the operator said so), in
 * either class, what buckets that say nothing else have of that class is converted to it (convert.ts). It is never converted to less
 * by itself, and never because of the other class.
 *
 * The default has to be the same in two looks: a cluster that starts has a node more every few seconds.
 */
import type { Log } from "../core/log.ts";
import {
  formatRedundancy,
  redundanciesOf,
  type AskedRedundancies,
  type DefaultRedundancies,
  type Redundancies,
  type Redundancy,
} from "../core/redundancy.ts";
import type { Kv } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { transact } from "../kv/transact.ts";
import { decodeBucket } from "../meta/buckets.ts";
import { newConversion } from "../meta/conversions.ts";
import { conversionKey, raisedKey, tagRange, tags } from "../meta/keys.ts";
import { encodeRaised, readRaised } from "../meta/raised.ts";
import type { Job, JobResult } from "./runner.ts";

export type RaiseParts = {
  readonly kv: Kv;
  /** Of buckets that say nothing else. */
  readonly redundancy: () => Redundancy;
  /** Of the reduced class; undefined: what follows from the other. */
  readonly reducedRedundancy?: Redundancy | undefined;
  readonly log: Log;
};

const bucketsAtOnce = 256;
const nothing: JobResult = { done: 0, more: false };

export class RaiseJob implements Job {
  readonly name = "raise";
  readonly leased = true;
  readonly idleMsMin = 10_000;
  readonly idleMsMax = 10_000;
  readonly #parts: RaiseParts;
  #seen: string | undefined;

  constructor(parts: RaiseParts) {
    this.#parts = parts;
  }

  async run(signal: AbortSignal): Promise<JobResult> {
    const { kv, redundancy, reducedRedundancy, log } = this.#parts;
    const byDefault = { redundancy: redundancy(), reducedRedundancy };
    const wanted = redundanciesOf(nothingAsked, byDefault);
    const seen = nameOf(wanted);
    const isSettled = this.#seen === seen;
    this.#seen = seen;
    if (!isSettled) return nothing;
    const raised = await readRaised(kv);
    const standard = Math.max(raised.standard, wanted.standard.parityShards);
    const reduced = Math.max(raised.reduced, wanted.reduced.parityShards);
    if (standard === raised.standard && reduced === raised.reduced) return nothing;
    const rises = { byDefault, standard: standard > raised.standard, reduced: reduced > raised.reduced };
    const count = await this.#convertAll(rises, signal);
    if (count === undefined) return nothing;
    await kv.commit({
      checks: [],
      writes: [{ kind: "put", key: raisedKey(), value: encodeRaised({ standard, reduced }) }],
    });
    if (count > 0)
      log.info({ buckets: count, redundancy: seen }, "Buckets get the redundancy that the store can give now.");
    return { done: count, more: false };
  }

  /** Resolves to the buckets that were told, or to undefined when it was cut short: they are told again. */
  async #convertAll(rises: Rises, signal: AbortSignal): Promise<number | undefined> {
    const { kv } = this.#parts;
    let count = 0;
    for await (const rows of scanPages(kv, tagRange(tags.bucket), bucketsAtOnce)) {
      for (const { key } of rows) {
        if (signal.aborted) return undefined;
        if (await this.#convert(key, rises)) count += 1;
      }
    }
    return count;
  }

  #convert(key: Buffer, rises: Rises): Promise<boolean> {
    return transact(this.#parts.kv, async (tx) => {
      const [row] = await tx.get([key]);
      const bucket = row && decodeBucket(row.value);
      const wanted = bucket && wantedOf(bucket, rises);
      if (bucket === undefined || wanted === undefined) return false;
      const [earlier] = await tx.get([conversionKey(bucket.id)]);
      tx.put(conversionKey(bucket.id), newConversion(wanted, earlier?.value));
      return true;
    });
  }
}

/** The classes that come to bear more losses than ever before. */
type Rises = { readonly byDefault: DefaultRedundancies; readonly standard: boolean; readonly reduced: boolean };

/** Undefined: the bucket says itself how it is stored. */
function wantedOf(bucket: AskedRedundancies, { byDefault, ...rises }: Rises): Partial<Redundancies> | undefined {
  const { standard, reduced } = redundanciesOf(bucket, byDefault);
  const isOwn = bucket.redundancy !== undefined;
  // Beside a redundancy of its own it follows the store's reduced one only where one was asked for.
  const isOwnReduced = bucket.reducedRedundancy !== undefined || (isOwn && byDefault.reducedRedundancy === undefined);
  const wanted = {
    ...(rises.standard && !isOwn && { standard }),
    ...(rises.reduced && !isOwnReduced && { reduced }),
  };
  return Object.keys(wanted).length === 0 ? undefined : wanted;
}

const nothingAsked: AskedRedundancies = { redundancy: undefined, reducedRedundancy: undefined };

function nameOf({ standard, reduced }: Redundancies): string {
  return `${formatRedundancy(standard)}, reduced ${formatRedundancy(reduced)}`;
}

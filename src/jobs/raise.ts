/**
 * When the store has come to bear more losses by default than ever before (drives or nodes were added, or the operator said so),
 * what buckets have that say nothing else is converted to that (convert.ts). It is never converted to less by itself.
 *
 * The default has to be the same in two looks: a cluster that starts has a node more every few seconds.
 */
import type { Log } from "../core/log.ts";
import { formatRedundancy, type Redundancy } from "../core/redundancy.ts";
import type { Kv } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { transact } from "../kv/transact.ts";
import { decodeBucket } from "../meta/buckets.ts";
import { encodeConversion } from "../meta/conversions.ts";
import { conversionKey, raisedKey, tagRange, tags } from "../meta/keys.ts";
import { encodeRaised, readRaised } from "../meta/raised.ts";
import type { Job, JobResult } from "./runner.ts";

export type RaiseParts = {
  readonly kv: Kv;
  /** Of buckets that say nothing else. */
  readonly redundancy: () => Redundancy;
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
    const { kv, redundancy, log } = this.#parts;
    const wanted = redundancy();
    const isSettled = this.#seen === formatRedundancy(wanted);
    this.#seen = formatRedundancy(wanted);
    if (!isSettled || wanted.parityShards <= (await readRaised(kv))) return nothing;
    const count = await this.#convertAll(wanted, signal);
    if (count === undefined) return nothing;
    const value = encodeRaised(wanted.parityShards);
    await kv.commit({ checks: [], writes: [{ kind: "put", key: raisedKey(), value }] });
    if (count > 0)
      log.info({ buckets: count, redundancy: this.#seen }, "Buckets get the redundancy that the store can give now.");
    return { done: count, more: false };
  }

  /** Resolves to the buckets that were told, or to undefined when it was cut short: they are told again. */
  async #convertAll(wanted: Redundancy, signal: AbortSignal): Promise<number | undefined> {
    const { kv } = this.#parts;
    let count = 0;
    for await (const rows of scanPages(kv, tagRange(tags.bucket), bucketsAtOnce)) {
      for (const { key } of rows) {
        if (signal.aborted) return undefined;
        if (await this.#convert(key, wanted)) count += 1;
      }
    }
    return count;
  }

  #convert(key: Buffer, redundancy: Redundancy): Promise<boolean> {
    return transact(this.#parts.kv, async (tx) => {
      const [row] = await tx.get([key]);
      const bucket = row && decodeBucket(row.value);
      if (bucket === undefined || bucket.redundancy !== undefined) return false;
      tx.put(conversionKey(bucket.id), encodeConversion({ redundancy, after: undefined, isWaiting: false }));
      return true;
    });
  }
}

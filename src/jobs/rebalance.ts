/**
 * Moves shards to where placement would have them now, after drives or nodes were added or their sizes changed for good: a
 * walk over the chunk maps (plan_walk.ts) says which pages have shards elsewhere, as the least urgent work of all (mend.ts).
 *
 * It begins when every drive that belongs to the store takes shards, none is being drained and nothing is left to be repaired.
 * The `balance` row says for which drives it was done: a store whose drives stay the same is never walked through again.
 *
 * So it is when drives come back after what they had was made anew elsewhere.
 *
 * Known gaps: chunks that were written while a drive refused them, or by who had not heard of a new one, stay where they are. A
 * drive that is lost and was not taken out of the store holds it up.
 */
import { shardBytesOf } from "../blob/shards.ts";
import type { PlacementDrive } from "../blob/placement.ts";
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { Kv } from "../kv/kv.ts";
import { balanceKey, encodeBalance, type BalanceRecord } from "../meta/balance.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import { tagRange, tags } from "../meta/keys.ts";
import { balanceUrgency, mendRange } from "../meta/mends.ts";
import { balancedFor, movesFor } from "./balance_plan.ts";
import { BalanceTarget, type Balance } from "./balance_target.ts";
import type { DriveWatch } from "./drive_watch.ts";
import { PlanWalk, type Wish } from "./plan_walk.ts";
import { planPauseMs } from "./repair.ts";
import type { Job, JobProgress, JobResult } from "./runner.ts";

export type RebalanceParts = {
  readonly kv: Kv;
  readonly watch: DriveWatch;
  readonly clock: Clock;
  readonly log: Log;
};

const nothing: JobResult = { done: 0, more: false };
/** A walk after which as much was to be moved as before it (a drive is full) is followed by another after this. */
const againMs = 30 * 60_000;

type Walk = { readonly target: readonly PlacementDrive[]; readonly plan: PlanWalk };

export class RebalanceJob implements Job {
  readonly name = "rebalance";
  readonly leased = true;
  readonly idleMsMin = 5_000;
  readonly idleMsMax = 60_000;
  readonly #parts: RebalanceParts;
  readonly #target: BalanceTarget;
  #walk: Walk | undefined;
  #walked: { readonly metBytes: number; readonly isStuck: boolean; readonly atMs: number } | undefined;

  constructor(parts: RebalanceParts) {
    this.#parts = parts;
    this.#target = new BalanceTarget(parts.kv);
  }

  progress(): JobProgress | undefined {
    return this.#walk?.plan.progress();
  }

  async run(signal: AbortSignal): Promise<JobResult> {
    const { balanced } = await this.#parts.watch.look();
    if (balanced === undefined || balanced.length < 2) return this.#rest();
    const balance = await this.#target.look(balanced);
    if (balance.record?.isSettled === true && balance.target !== undefined) return this.#rest();
    if (balance.target === undefined) return this.#aim(balanced, balance);
    if (this.#walk?.target !== balance.target) {
      if (!(await this.#isDue())) return nothing;
      this.#walk = this.#begin(balance.target);
    }
    const walk = this.#walk;
    const state = await walk.plan.step(signal);
    if (state === "over") await this.#end(walk, balance);
    if (state === "full") return { done: 0, more: false, againMs: planPauseMs };
    return { done: 0, more: state === "more" && !signal.aborted };
  }

  #rest(): JobResult {
    this.#walk = undefined;
    this.#walked = undefined;
    return nothing;
  }

  /** These drives are new to the store: what it has is to be laid out for them, if it has anything. */
  async #aim(drives: readonly PlacementDrive[], { version }: Balance): Promise<JobResult> {
    this.#rest();
    const { kv, log } = this.#parts;
    const isEmpty = (await kv.scan(tagRange(tags.blob), { limit: 1 })).length === 0;
    if (!isEmpty) log.info({ drives: drives.map(({ id }) => id) }, "What the store has is laid out for these drives.");
    await this.#save({ isSettled: isEmpty, drives: balancedFor(drives) }, version);
    return { done: 1, more: false };
  }

  /** Repair comes first. */
  async #isDue(): Promise<boolean> {
    const { kv, clock } = this.#parts;
    if (this.#walked?.isStuck === true && clock.monotonicMs() - this.#walked.atMs < againMs) return false;
    return (await kv.scan(mendRange("repair"), { limit: 1 })).length === 0;
  }

  #begin(target: readonly PlacementDrive[]): Walk {
    const { kv, clock } = this.#parts;
    const wish = (chunk: ChunkRecord): Wish | undefined => wishFor(chunk, target);
    return { target, plan: new PlanWalk({ kv, clock, rows: "balance", wish }) };
  }

  /** Only a walk that met nothing shows that nothing is left. */
  async #end({ plan }: Walk, { record, version }: Balance): Promise<void> {
    this.#walk = undefined;
    const { clock, log } = this.#parts;
    if (plan.metNothing) {
      await this.#save({ isSettled: true, drives: record!.drives }, version);
      log.info({}, "Everything lies as placement would have it.");
      this.#rest();
      return;
    }
    const isStuck = this.#walked !== undefined && plan.metBytes >= this.#walked.metBytes;
    this.#walked = { metBytes: plan.metBytes, isStuck, atMs: clock.monotonicMs() };
  }

  async #save(record: BalanceRecord, version: Balance["version"]): Promise<void> {
    const key = balanceKey();
    const value = encodeBalance(record);
    await this.#parts.kv.commit({ checks: [{ key, version }], writes: [{ kind: "put", key, value }] });
  }
}

function wishFor(chunk: ChunkRecord, target: readonly PlacementDrive[]): Wish | undefined {
  const moves = movesFor(chunk, target);
  if (moves.length === 0) return undefined;
  const bytes = moves.length * shardBytesOf(chunk.storedBytes, chunk.redundancy);
  return { kind: "mend", urgency: balanceUrgency, bytes, leaving: [] };
}

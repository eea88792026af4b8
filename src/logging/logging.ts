/**
 * Server access logs: a line for each request to a bucket that has a logging document, gathered in memory and written as objects
 * into the bucket that the document names.
 *
 * Promises:
 *  - A request never waits for its line, and fails for none: lines are made when the answer has been sent.
 *  - Buckets without such a document cost one look into a map that is empty where no bucket has one.
 *  - What waits in one process is bounded (accessLogBytesMax). What goes beyond, and what cannot be delivered, is counted and logged.
 *  - Log objects go the way of every PUT of the object layer: quota, versions, lock, default encryption, notifications.
 *  - A graceful stop writes what waits, within accessLogStopMsMax.
 *
 * As AWS's, these logs are best effort: lines of a process that dies are lost, and they may come late, and in any order.
 *
 * Deliveries are requests to the bucket that they go to, and make lines where that one is logged; but one that tells of nothing but
 * deliveries makes none. So a bucket that logs to itself, or two that log to each other, do not write for ever about their own logs.
 */
import type { Clock } from "../core/clock.ts";
import { hasReason, HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { AccessLogCounts } from "../core/metrics.ts";
import type { Random } from "../core/random.ts";
import type { LoggedBucket, LoggedBuckets } from "../object/logged_buckets.ts";
import type { ConfigurationDocument, ObjectAcl, Objects } from "../object/object.ts";
import { Batches, type Batch } from "./batches.ts";
import { deliveryFacts, deliver } from "./deliver.ts";
import { formatLine, type AccessFacts } from "./line.ts";
import type { LoggingSetting, LogSource } from "./source.ts";

export type { LoggingSetting, LogSource } from "./source.ts";
export { ownAccount, type AccessFacts } from "./line.ts";

type AccountNames = { readonly account: string; readonly canonicalId: string };

export type AccessLogOptions = {
  readonly objects: Pick<Objects, "put" | "configurations">;
  readonly logged: Pick<LoggedBuckets, "get">;
  readonly accounts: { own(): Promise<AccountNames>; ofNumber(account: string | undefined): Promise<AccountNames> };
  readonly settingOf: (document: ConfigurationDocument) => LoggingSetting;
  /**
   * Whether the log may be written there, and the list it gets. Errors: `access_denied`, `no_such_bucket`; nothing is written then.
   */
  readonly admit: (source: LogSource, key: string) => Promise<{ readonly acl?: ObjectAcl }>;
  readonly counts: AccessLogCounts;
  /** Lines wait so long at most; accessLogIntervalMs if left out. */
  readonly intervalMs?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

/** What a door is given. */
export type RequestLog = {
  isLogged(bucket: string): boolean;
  /** `facts` is asked at once, and only where there is something to be logged. */
  take(bucket: string, facts: () => AccessFacts): void;
  /** The same for a request that ended before the bucket's row was read: it is read for that. */
  takeUnseen(bucket: string, facts: () => AccessFacts): void;
};

type Known = LoggedBucket & { readonly source: LogSource };

export class AccessLogs implements RequestLog {
  readonly #options: AccessLogOptions;
  readonly #batches: Batches;
  readonly #known = new Map<string, Known>();
  readonly #stop = new AbortController();
  /** Reads of documents under way, each for a line. */
  readonly #looking = new Set<Promise<void>>();
  #isTicking = false;
  #isClosed = false;
  #delivering: Promise<void> | undefined;

  constructor(options: AccessLogOptions) {
    this.#options = options;
    this.#batches = new Batches();
  }

  isLogged(bucket: string): boolean {
    return this.#options.logged.get(bucket) !== undefined;
  }

  take(bucket: string, facts: () => AccessFacts): void {
    const seen = this.#options.logged.get(bucket);
    if (seen === undefined) return;
    const known = this.#known.get(bucket);
    if (known?.id === seen.id && known.revision === seen.revision) this.#add(known.source, facts());
    else this.#look(bucket, facts());
  }

  takeUnseen(bucket: string, facts: () => AccessFacts): void {
    if (this.isLogged(bucket)) this.take(bucket, facts);
    else this.#look(bucket, facts());
  }

  /** Every line of a request that was answered is where it waits to be written. */
  async settled(): Promise<void> {
    while (this.#looking.size > 0) await Promise.all(this.#looking);
  }

  /** Writes what waits, once, within accessLogStopMsMax; what comes after that is dropped. */
  async close(): Promise<void> {
    this.#stop.abort();
    const late = new AbortController();
    const { clock, counts, log } = this.#options;
    const written = this.settled().then(() => this.flush());
    await Promise.race([written, clock.sleep(limits.accessLogStopMsMax, late.signal)]);
    late.abort();
    this.#isClosed = true;
    const lines = this.#batches.clear();
    if (lines === 0) return;
    counts.accessLogLines("dropped", lines);
    log.warn({ lines }, "Lines of access logs were not written before the end.");
  }

  /** Writes all that waits now; what cannot be written waits for the next time. */
  async flush(): Promise<void> {
    // What is being delivered may have begun before the newest lines came.
    await this.#delivering;
    this.#batches.endAll();
    do await this.#deliver();
    while (this.#batches.hasEnded);
  }

  #look(bucket: string, facts: AccessFacts, isDelivery = false): void {
    if (this.#looking.size >= limits.accessLogLooksMax) return this.#drop(1);
    const look = this.#addFound(bucket, facts, isDelivery).finally(() => this.#looking.delete(look));
    this.#looking.add(look);
  }

  async #addFound(bucket: string, facts: AccessFacts, isDelivery: boolean): Promise<void> {
    try {
      const source = await this.#sourceOf(bucket);
      if (source !== undefined) this.#add(source, facts, isDelivery);
    } catch (error) {
      this.#drop(1);
      this.#options.log.warn({ err: error, bucket }, "It could not be found out where a request is to be logged.");
    }
  }

  /** Undefined: it is not logged, or not there any more. */
  async #sourceOf(name: string): Promise<LogSource | undefined> {
    const { objects, accounts, settingOf, logged } = this.#options;
    const before = logged.get(name);
    const found = await objects.configurations(name, ["logging"]).catch((error: unknown) => {
      if (hasReason(error, "no_such_bucket")) return undefined;
      throw error;
    });
    const document = found?.documents.get("logging");
    if (found === undefined || document === undefined) return undefined;
    const seen = logged.get(name);
    const { account, canonicalId: owner } = await accounts.ofNumber(found.bucket.account);
    const { canonicalId } = await accounts.own();
    const { region } = found.bucket;
    const source = { bucket: name, region, account, owner, ownAccount: canonicalId, setting: settingOf(document) };
    // Otherwise the document may be of another revision than the one that was seen last.
    if (seen === undefined || before?.id !== seen.id || before.revision !== seen.revision) return source;
    const known = this.#known.get(name);
    // Somebody else looked at the same time: the lines of both go into one object.
    if (known?.id === seen.id && known.revision === seen.revision) return known.source;
    this.#keep(name, { id: seen.id, revision: seen.revision, source });
    return source;
  }

  #keep(name: string, known: Known): void {
    if (this.#known.size >= limits.loggedBucketsMax) this.#known.clear();
    this.#known.set(name, known);
  }

  #add(source: LogSource, facts: AccessFacts, isDelivery = false): void {
    if (this.#isClosed) return this.#drop(1);
    const line = formatLine(source, facts);
    const added = this.#batches.add({ source, line, timeMs: facts.timeMs, isDelivery });
    if (added === "dropped") return this.#drop(1);
    if (added === "full") void this.#deliver();
    void this.#tick();
  }

  #drop(lines: number): void {
    this.#options.counts.accessLogLines("dropped", lines);
  }

  /** Writes what waits from time to time, as long as anything does. */
  async #tick(): Promise<void> {
    if (this.#isTicking || this.#stop.signal.aborted) return;
    this.#isTicking = true;
    const { clock, log, intervalMs = limits.accessLogIntervalMs } = this.#options;
    while (!this.#batches.isEmpty) {
      await clock.sleep(intervalMs, this.#stop.signal);
      if (this.#stop.signal.aborted) break;
      const dropped = this.#batches.takeDropped();
      if (dropped > 0) log.warn({ dropped }, "Lines of access logs came faster than they were written.");
      await this.flush();
    }
    this.#isTicking = false;
  }

  /** One at a time; whoever comes while it runs waits for it, and it takes what has been added until it ends. */
  #deliver(): Promise<void> {
    this.#delivering ??= this.#deliverWaiting().finally(() => (this.#delivering = undefined));
    return this.#delivering;
  }

  async #deliverWaiting(): Promise<void> {
    const next = async (): Promise<void> => {
      for (let batch = this.#batches.next(); batch !== undefined; batch = this.#batches.next()) {
        const isDone = await this.#deliverOne(batch);
        if (isDone) this.#batches.done(batch);
        else this.#batches.later(batch);
      }
    };
    await Promise.all(Array.from({ length: limits.accessLogWritesAtOnceMax }, next));
  }

  /** False: it is worth another try. */
  async #deliverOne(batch: Batch): Promise<boolean> {
    const { objects, admit, counts, clock, random, log } = this.#options;
    const { source, lines } = batch;
    try {
      const written = await deliver(batch, { objects, admit, clock, random });
      counts.accessLogLines("written", lines.length);
      if (!batch.tellsOfDeliveriesOnly) this.#logDelivery(source.setting.bucket, deliveryFacts(written));
      return true;
    } catch (error) {
      batch.failures += 1;
      const isFinal = !isPassing(error) || batch.failures >= limits.accessLogAttemptsMax;
      const what = { err: error, bucket: source.bucket, target: source.setting.bucket, lines: lines.length };
      log.warn(what, isFinal ? "An access log was dropped." : "An access log could not be written; it is tried again.");
      if (isFinal) this.#drop(lines.length);
      return isFinal;
    }
  }

  /** When it stops there is nobody left to write that. */
  #logDelivery(bucket: string, facts: AccessFacts): void {
    if (!this.#stop.signal.aborted && this.isLogged(bucket)) this.#look(bucket, facts, true);
  }
}

/** What may be different in a while. */
function isPassing(error: unknown): boolean {
  return !(error instanceof HoldfastError) || ["unavailable", "full", "conflict", "internal"].includes(error.kind);
}

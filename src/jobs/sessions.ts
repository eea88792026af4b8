/**
 * Dead sessions: fencing those whose heartbeat stands still, and removing the chunks they stored and never published.
 *
 * Fencing. Every process watches every session, by its own monotonic clock: a heartbeat row whose version has not changed
 * for sessionSilentMsMax is fenced by a transaction that checks it still stands there (meta/sessions.ts). Only time in
 * which this process looked counts, so that two that were stopped together don't fence each other when they go on. No time
 * is trusted: a live session that is fenced by mistake fails its next commit cleanly. Where somebody knows that a process
 * is dead (the supervisor that was its parent), fenceDead does the same at once.
 *
 * Sweeping. The commit that ends a session leaves an `ended` row. The session can publish nothing more, so a shard with
 * its id in front that no chunk map mentions never will be mentioned. A chunk's owner (kept with the shard) says in which
 * page of which blob it would stand. When all drives are looked through, the row goes; those that were away, if only for
 * a moment, are marked as stray (strays.ts looks them through when they are here). A drive that failed takes no new
 * chunks but still gives up old ones, so it is looked through like any other; one that does not answer keeps the row. A
 * session that was fenced for its silence is looked through once more when its process is known to be dead, and so are its node's
 * drives as a whole: when it woke it may have done what a session that is over now had asked of it.
 */
import type { Clock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import type { ChunkId, DriveId, SessionId } from "../core/ids.ts";
import { SESSION_ID_BYTES, sessionOf } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import { absent, type Entry, type Kv, type Version, type Write } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { endedKey, sessionIdOf, sessionKey, tagRange, tags } from "../meta/keys.ts";
import { decodeSuspect, encodeEnded, fenceSession, readSessions } from "../meta/sessions.ts";
import { noteWholeStrays, wholeStrayWrite } from "../meta/repairs.ts";
import { SHARD_INDEX_MAX, type ChunkNode, type ShardRef } from "../node/node.ts";
import { noteMissing } from "./missing.ts";
import type { KnownDrive } from "../meta/drives.ts";
import { removeOrphans } from "./orphans.ts";
import type { Job, JobResult } from "./runner.ts";

/** Each costs two writes. */
const suspectsPerCommit = 100;

export class FenceJob implements Job {
  readonly name = "fence";
  readonly leased = false;
  readonly idleMsMin = 5_000;
  readonly idleMsMax = 5_000;
  readonly #parts: { readonly kv: Kv; readonly clock: Clock; readonly own: SessionId; readonly log: Log };
  readonly #seen = new Map<SessionId, { readonly version: Version; silentMs: number }>();
  #lookedAtMs: number | undefined;

  constructor(parts: { readonly kv: Kv; readonly clock: Clock; readonly own: SessionId; readonly log: Log }) {
    this.#parts = parts;
  }

  async run(): Promise<JobResult> {
    const { kv, clock, own, log } = this.#parts;
    const sessions = await readSessions(kv);
    const sinceMs = this.#sinceLastLook(clock.monotonicMs());
    const ids = new Set(sessions.map((session) => session.id));
    for (const id of this.#seen.keys()) if (!ids.has(id)) this.#seen.delete(id);
    let done = 0;
    for (const session of sessions) {
      if (session.id === own) continue;
      const seen = this.#seen.get(session.id);
      if (seen === undefined || seen.version !== session.heartbeatVersion) {
        this.#seen.set(session.id, { version: session.heartbeatVersion, silentMs: 0 });
        continue;
      }
      seen.silentMs += sinceMs;
      if (seen.silentMs < limits.sessionSilentMsMax) continue;
      if (!(await fenceSession(kv, session, { mayStillRun: true }))) continue;
      log.warn({ session: session.id, node: session.node }, "A session fell silent and was fenced.");
      done += 1;
    }
    return { done, more: false };
  }

  /** At most as long as a pause between two looks lasts, or little more. */
  #sinceLastLook(nowMs: number): number {
    const sinceMs = nowMs - (this.#lookedAtMs ?? nowMs);
    this.#lookedAtMs = nowMs;
    return Math.min(sinceMs, this.idleMsMax * 1.2);
  }
}

/**
 * Fences every session but those given, at once: for a start that knows (it holds the lock on the drives) that nobody else
 * can be alive. Returns how many. A session that still beats wins against this and stays.
 */
export async function fenceOthers(kv: Kv, keep: readonly SessionId[]): Promise<number> {
  let fenced = 0;
  for (const session of await readSessions(kv)) {
    if (!keep.includes(session.id) && (await fenceSession(kv, session))) fenced += 1;
  }
  return fenced;
}

/**
 * Fences the sessions of processes that are known to have ended, told by the names their sessions bear. May be repeated and be
 * done by several processes at once. `served`: as for sweepSuspects. Returns how many this call fenced.
 */
export async function fenceDead(
  kv: Kv,
  isDead: (name: string) => boolean,
  { log, served = [] }: { readonly log: Log; readonly served?: readonly DriveId[] },
): Promise<number> {
  let fenced = 0;
  for (const session of await readSessions(kv)) {
    if (!isDead(session.node) || !(await fenceSession(kv, session))) continue;
    log.warn({ session: session.id, node: session.node }, "The session of a worker that died was fenced.");
    fenced += 1;
  }
  return fenced + (await sweepSuspects(kv, isDead, served));
}

/**
 * Has sessions that were fenced for their silence looked through again, now that their processes are known to be dead: at a
 * start that holds the lock on the drives all of them, else those with these names. Returns how many.
 *
 * One that stood still may also have done, when it woke, what other nodes had asked of it before: for sessions that had ended and been
 * looked through by then. So the drives that it `served` other nodes with are looked through as a whole.
 */
export async function sweepSuspects(
  kv: Kv,
  isDead: (node: string) => boolean = () => true,
  served: readonly DriveId[] = [],
): Promise<number> {
  let count = 0;
  for await (const rows of scanPages(kv, tagRange(tags.suspect), suspectsPerCommit)) {
    const dead = rows.filter((row) => isDead(decodeSuspect(row.value).node));
    if (dead.length === 0) continue;
    const writes = dead.flatMap(({ key }): Write[] => [
      { kind: "delete", key },
      { kind: "put", key: endedKey(sessionIdOf(key)), value: encodeEnded() },
    ]);
    // Before the rows that say so are gone: who is cut off in between begins again.
    await noteWholeStrays(kv, served);
    await kv.commit({ checks: [], writes });
    count += dead.length;
  }
  return count;
}

/**
 * Has these sessions looked through again where they are over: shards of theirs came to light after they had been. (A worker that dies
 * is fenced and swept while the server goes on, and what it had stored without telling its drive's index is found at the next
 * start.) The drive remembers them until this has been done; a session that still stands is looked through at its end.
 */
export async function sweepAgain(kv: Kv, sessions: Iterable<SessionId>): Promise<void> {
  for (const session of new Set(sessions))
    await kv.commit({
      checks: [{ key: sessionKey(session), version: absent }],
      writes: [{ kind: "put", key: endedKey(session), value: encodeEnded() }],
    });
}

export type SweepParts = { readonly kv: Kv; readonly node: ChunkNode; readonly log: Log };

export type SweepJobParts = SweepParts & {
  readonly knownDrives: () => Promise<readonly KnownDrive[]>;
  /** Empty where there are no other nodes. */
  readonly local: { readonly name: string };
  readonly clock: Clock;
};

/** Ended sessions that are known at one time; others come when these have been looked through. */
const endedAtOnce = 256;

/** Before the first chunk of a session: counters start at 1. */
function beforeSession(session: SessionId): ShardRef {
  return { chunk: session.padEnd(SESSION_ID_BYTES * 4, "0") as ChunkId, shardIndex: SHARD_INDEX_MAX };
}

/** `version` is the ended row's: one written anew meanwhile asks for another look. */
type Sweep = {
  readonly session: SessionId;
  readonly version: Version;
  /** Still to be looked through. */
  readonly drives: DriveId[];
  /** Those that were, to their end. */
  readonly seen: Set<DriveId>;
  after: ShardRef;
};

/** An ended row as it was met first, in this process's time, and how far the sessions that live were. */
type Met = { readonly version: Version; readonly atMs: number; readonly ticks: ReadonlyMap<SessionId, number> };

/** So often a process beats while it does what it was asked before. */
const settleTicks = Math.ceil((limits.peerCallMsMax + limits.recordReadMsMax) / limits.heartbeatIntervalMs);

/** Those that still live. */
function haveGoneOn(before: ReadonlyMap<SessionId, number>, now: ReadonlyMap<SessionId, number>): boolean {
  return [...before].every(([id, tick]) => (now.get(id) ?? Infinity) - tick >= settleTicks);
}

export class SweepJob implements Job {
  readonly name = "sweep";
  readonly leased = true;
  readonly idleMsMin = 2_000;
  readonly idleMsMax = 30_000;
  readonly #parts: SweepJobParts;
  #sweep: Sweep | undefined;
  readonly #met = new Map<SessionId, Met>();
  /** The session looked through last: the next one comes after it, so that one that fails holds up no other. */
  #last: SessionId | undefined;

  constructor(parts: SweepJobParts) {
    this.#parts = parts;
  }

  /** One batch of one drive. */
  async run(): Promise<JobResult> {
    this.#sweep ??= await this.#next();
    if (this.#sweep === undefined) return { done: 0, more: false };
    this.#last = this.#sweep.session;
    try {
      return await this.#batch(this.#sweep);
    } catch (error) {
      this.#sweep = undefined;
      throw error;
    }
  }

  async #batch(sweep: Sweep): Promise<JobResult> {
    const [drive] = sweep.drives;
    if (drive === undefined) {
      await this.#end(sweep);
      return { done: 1, more: true };
    }
    const done = await this.#look(sweep, drive);
    return { done, more: true };
  }

  /** One batch of shards; of a drive that went away in the middle the rest is for later, and the others come now. */
  async #look(sweep: Sweep, drive: DriveId): Promise<number> {
    let removed = 0;
    try {
      const listed = await this.#parts.node.list(drive, { after: sweep.after, limit: limits.jobBatchMax });
      const own = listed.filter((shard) => sessionOf(shard.chunk) === sweep.session);
      removed = await removeOrphans(this.#parts, drive, own);
      const last = own.at(-1);
      if (own.length === limits.jobBatchMax && last !== undefined) {
        sweep.after = last;
        return removed;
      }
      sweep.seen.add(drive);
    } catch (error) {
      if (!hasReason(error, "drive_missing")) throw error;
    }
    sweep.drives.shift();
    sweep.after = beforeSession(sweep.session);
    return removed;
  }

  /** Drives that were not looked through, whether they are here by now or not, are later. */
  async #end({ session, version, seen }: Sweep): Promise<void> {
    const { kv, knownDrives } = this.#parts;
    const key = endedKey(session);
    const stray = (await knownDrives())
      .filter(({ id, state }) => state !== "removed" && !seen.has(id))
      .map(({ id }) => wholeStrayWrite(id));
    await kv.commit({ checks: [{ key, version }], writes: [{ kind: "delete", key }, ...stray] });
    this.#sweep = undefined;
  }

  /**
   * What an ended session's process asked of another node may be carried out as late as a call may last, in time in which that node's
   * process goes on: one that stands still does it later by as long. How long each has gone on its ticks tell. One that is fenced for
   * its silence does not hold this up: what it does when it wakes is looked for at its end (sweepSuspects).
   */
  async #due(rows: readonly Entry[]): Promise<readonly Entry[]> {
    const { kv, clock, local } = this.#parts;
    if (local.name === "" || rows.length === 0) return rows;
    const nowMs = clock.monotonicMs();
    const ticks = new Map((await readSessions(kv)).map(({ id, tick }) => [id, tick]));
    const ids = new Set(rows.map(({ key }) => sessionIdOf(key)));
    for (const id of this.#met.keys()) if (!ids.has(id)) this.#met.delete(id);
    return rows.filter(({ key, version }) => {
      const id = sessionIdOf(key);
      const met = this.#met.get(id);
      if (met?.version === version) return nowMs - met.atMs >= limits.sweepSettleMs && haveGoneOn(met.ticks, ticks);
      this.#met.set(id, { version, atMs: nowMs, ticks });
      return false;
    });
  }

  async #next(): Promise<Sweep | undefined> {
    const { kv, node } = this.#parts;
    const rows = await kv.scan(tagRange(tags.ended), { limit: endedAtOnce });
    const due = await this.#due(rows);
    const row = due.find(({ key }) => this.#last === undefined || sessionIdOf(key) > this.#last) ?? due[0];
    if (row === undefined) return undefined;
    const session = sessionIdOf(row.key);
    return { session, version: row.version, drives: [...node.drives], seen: new Set(), after: beforeSession(session) };
  }
}

/**
 * Compares drives of this machine with the chunk maps, for after an index was rebuilt from the segments: shards may be missing then,
 * which are noted for repair, and removed ones may have come back. Chunks of live sessions are left alone. Returns the
 * shards removed. Costs two reads of every chunk map. `onSwept` is called after each drive that was looked through to its end.
 */
export async function sweepAll(
  parts: SweepParts & { readonly drives: readonly DriveId[] },
  signal?: AbortSignal,
  onSwept: (drive: DriveId) => Promise<void> = async () => undefined,
): Promise<number> {
  let removed = 0;
  if ((await noteMissing(parts, signal)) === undefined) return removed;
  for (const drive of parts.drives) {
    const swept = await sweepDrive(parts, drive, signal);
    removed += swept.removed;
    if (!swept.isWhole) break;
    await onSwept(drive);
  }
  return removed;
}

export type Swept = {
  readonly removed: number;
  /** False when it was cut short. */
  readonly isWhole: boolean;
};

/** Shards of live sessions are left alone. */
export async function sweepDrive(parts: SweepParts, drive: DriveId, signal?: AbortSignal): Promise<Swept> {
  let removed = 0;
  let after: ShardRef | undefined;
  for (;;) {
    if (signal?.aborted === true) return { removed, isWhole: false };
    const listed = await parts.node.list(drive, { ...(after && { after }), limit: limits.jobBatchMax });
    // Sessions are read after the shards: one that is not live now has ended, for its row was there before its chunks.
    const live = new Set((await readSessions(parts.kv)).map((session) => session.id));
    const ended = listed.filter((shard) => !live.has(sessionOf(shard.chunk)));
    const orphans = await removeOrphans(parts, drive, ended);
    removed += orphans;
    after = listed.at(-1);
    if (listed.length < limits.jobBatchMax) return { removed, isWhole: true };
  }
}

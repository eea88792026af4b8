/**
 * Sessions: who may still publish chunks, and who may still be reading what was deleted. Time is trusted for neither.
 *
 * Rows: `session/<id>` is written once and never changed, so its version is known to the writer for good;
 * `heartbeat/<id>` is rewritten every heartbeatIntervalMs; `ended/<id>` remembers, from the commit that deletes these two,
 * that a job still has to look for chunks of the session that were never published. `suspect/<id>` remembers that the
 * session was fenced for its silence: its process may only have been paused, may store a chunk when it wakes, after the
 * job's look, and be killed before it removes it again. When the process is known to be dead the job looks once more, and at all
 * that is on the drives of its node: it may also have stored what other sessions had asked of it.
 *
 * *Publishing.* Every commit that publishes chunks checks the session row. Fencing a session is a transaction that deletes
 * both rows, after the heartbeat stood still for sessionSilentMsMax, and that checks that it still does. From then on no
 * commit of that session succeeds (`session_fenced`), and its unpublished chunks can be removed.
 *
 * *Reading.* A GET reads the metadata once and then, perhaps for minutes, chunks. A trash row says that a reference was
 * dropped by the commit that wrote the row. Reads that began after that commit cannot have seen the reference; those that
 * began before may have, and must end before the bytes go. So each session counts its reads by the tick at which they began:
 *
 *  - `tick` rises by one at each heartbeat, in the process first, then in the row. It does not rise again before the row
 *    is known to hold it, so the process is at most one tick ahead of the row. A commit that was given up may be carried out
 *    later: each one checks that the row is as the process has just read it, so that none takes the row back.
 *  - `drained = n` in the row: every read that began at a tick below n has ended.
 *  - The reclaimer first sees trash rows, then reads all heartbeats. A session whose row says tick k was at k + 1 at
 *    most, so any read that could have seen those references began at a tick of k + 1 or below. The target is drained ≥ k + 2.
 *  - The bytes may go once every session of that moment has reached its target or is gone. Sessions that started
 *    later read newer metadata. A fenced session's reads may fail with `no_such_chunk`; they never get other bytes,
 *    because ids are not used twice.
 */
import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { HoldfastError } from "../core/errors.ts";
import { newSessionId } from "../core/ids.ts";
import type { DriveId, SessionId } from "../core/ids.ts";
import type { Random } from "../core/random.ts";
import { absent } from "../kv/kv.ts";
import { scanAll } from "../kv/scan_pages.ts";
import type { Check, Kv, Version } from "../kv/kv.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { notCopying, refuseCopying } from "./copying.ts";
import { endedKey, heartbeatKey, sessionIdOf, sessionKey, suspectKey, tagRange, tags } from "./keys.ts";
import { noteWholeStrays } from "./repairs.ts";

export type SessionRecord = { readonly startedMs: number; readonly node: string };
export type HeartbeatRecord = { readonly atMs: number; readonly tick: number; readonly drained: number };

/** A session as its two rows tell it. */
export type LiveSession = SessionRecord &
  HeartbeatRecord & { readonly id: SessionId; readonly sessionVersion: Version; readonly heartbeatVersion: Version };

const newestVersion = 1;

export function encodeSession(session: SessionRecord): Buffer {
  return new ByteWriter().u8(newestVersion).varint(session.startedMs).string(session.node).finish();
}

export function decodeSession(value: Uint8Array): SessionRecord {
  const reader = new ByteReader(value, "session");
  reader.version(newestVersion);
  const session = { startedMs: reader.varint(), node: reader.string() };
  reader.end();
  return session;
}

export function encodeHeartbeat(beat: HeartbeatRecord): Buffer {
  return new ByteWriter().u8(newestVersion).varint(beat.atMs).varint(beat.tick).varint(beat.drained).finish();
}

export function decodeHeartbeat(value: Uint8Array): HeartbeatRecord {
  const reader = new ByteReader(value, "heartbeat");
  reader.version(newestVersion);
  const beat = { atMs: reader.varint(), tick: reader.varint(), drained: reader.varint() };
  reader.end();
  return beat;
}

/** `ended/<id>` stands from the commit that ends a session until its chunks have been looked through; a version is all it holds. */
export function encodeEnded(): Buffer {
  return new ByteWriter().u8(newestVersion).finish();
}

export function decodeEnded(value: Uint8Array): void {
  const reader = new ByteReader(value, "ended session");
  reader.version(newestVersion);
  reader.end();
}

/** `suspect/<id>`: what the session was called, so that whoever learns of its process's death finds it. */
export function encodeSuspect(node: string): Buffer {
  return new ByteWriter().u8(newestVersion).string(node).finish();
}

export function decodeSuspect(value: Uint8Array): { readonly node: string } {
  const reader = new ByteReader(value, "suspect session");
  reader.version(newestVersion);
  const node = reader.string();
  reader.end();
  return { node };
}

export type SessionParts = { readonly kv: Kv; readonly clock: Clock; readonly random: Random; readonly node: string };

const startAttemptsMax = 8;

export class Session {
  readonly id: SessionId;
  readonly #kv: Kv;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #check: Check;
  /** The tick at which reads begin now. */
  #tick = 1;
  /** The newest tick the row is known to hold. */
  #publishedTick = 1;
  /** Reads that have not ended, by the tick they began at, oldest first; ticks without reads are left out. */
  readonly #reads = new Map<number, number>();
  #stamps = 0;
  #fenced = false;
  #beating: Promise<void> | undefined;

  private constructor(parts: SessionParts, id: SessionId, version: Version) {
    this.id = id;
    this.#kv = parts.kv;
    this.#clock = parts.clock;
    this.#random = parts.random;
    this.#check = { key: sessionKey(id), version };
  }

  /** Takes a session row of its own. Errors: `invalid_argument` in a store that is being copied; those of the store. */
  static async start(parts: SessionParts): Promise<Session> {
    const startedMs = parts.clock.nowMs();
    for (let attempt = 0; attempt < startAttemptsMax; attempt++) {
      const id = newSessionId(parts.clock, parts.random);
      const key = sessionKey(id);
      const beat = encodeHeartbeat({ atMs: startedMs, tick: 1, drained: 1 });
      const result = await parts.kv.commit({
        checks: [{ key, version: absent }, notCopying],
        writes: [
          { kind: "put", key, value: encodeSession({ startedMs, node: parts.node }) },
          { kind: "put", key: heartbeatKey(id), value: beat },
        ],
      });
      if (result.outcome === "conflict") {
        await refuseCopying(parts.kv);
        continue;
      }
      const [row] = await parts.kv.get([key]);
      if (row === undefined) throw fencedError(id);
      return new Session(parts, id, row.version);
    }
    throw new HoldfastError("unavailable", "No free session id was found.");
  }

  /** For the commit that publishes chunks. */
  get check(): Check {
    return this.#check;
  }

  /** Whether this session is known to be fenced: the process should end, or start a new session. */
  get fenced(): boolean {
    return this.#fenced;
  }

  /** A stamp that no other write has: this session's id, then a counter; 28 hex digits. */
  nextStamp(): string {
    this.#stamps += 1;
    return this.id + this.#stamps.toString(16).padStart(12, "0");
  }

  /**
   * Call before the metadata of a read is read; call the result once when the last chunk has been read. Until then no byte
   * that the read could have found is given back to the drive.
   */
  beginRead(): () => void {
    const tick = this.#tick;
    this.#reads.set(tick, (this.#reads.get(tick) ?? 0) + 1);
    let ended = false;
    return () => {
      assert(!ended, "a read ends once");
      ended = true;
      const left = this.#reads.get(tick)! - 1;
      if (left === 0) this.#reads.delete(tick);
      else this.#reads.set(tick, left);
    };
  }

  /** Reads that have not ended. */
  get readsUnderWay(): number {
    let count = 0;
    for (const reads of this.#reads.values()) count += reads;
    return count;
  }

  /**
   * Raises the tick and writes the row. One at a time: a call during another waits for that one and returns.
   * Errors: `session_fenced` once the session row is gone; those of the store (call again: the tick waits).
   */
  heartbeat(): Promise<void> {
    this.#beating ??= this.#beat().finally(() => {
      this.#beating = undefined;
    });
    return this.#beating;
  }

  async #beat(): Promise<void> {
    // After a beat of unknown outcome the same tick is written again: the process is never two ahead of the row.
    if (this.#tick === this.#publishedTick) this.#tick += 1;
    const key = heartbeatKey(this.id);
    // A beat that was given up may be carried out later: not any more when another one has been written.
    const [before] = await this.#kv.get([key]);
    if (before === undefined) throw this.#isFenced();
    const beat = { atMs: this.#clock.nowMs(), tick: this.#tick, drained: this.#drained() };
    const result = await this.#kv.commit({
      checks: [this.#check, { key, version: before.version }],
      writes: [{ kind: "put", key, value: encodeHeartbeat(beat) }],
    });
    if (result.outcome === "conflict") {
      const [session] = await this.#kv.get([this.#check.key]);
      if (session?.version !== this.#check.version) throw this.#isFenced();
      throw new HoldfastError("unavailable", "An earlier heartbeat came late; the next one will do.");
    }
    this.#publishedTick = beat.tick;
  }

  #isFenced(): HoldfastError {
    this.#fenced = true;
    return fencedError(this.id);
  }

  #drained(): number {
    let oldest = this.#tick;
    for (const tick of this.#reads.keys()) oldest = Math.min(oldest, tick);
    return oldest;
  }

  /**
   * Gives the session up. Call when its last write and read have ended. `served`: drives on which other nodes may have had this
   * process store something. If it stood still it may have done that late, for sessions that had been looked through: they are
   * looked through as a whole.
   */
  async close(served: readonly DriveId[] = []): Promise<void> {
    await this.#beating?.catch(() => undefined);
    this.#fenced = true;
    const end = async (tx: Transaction): Promise<void> => {
      const [suspect] = await tx.get([suspectKey(this.id)]);
      if (suspect !== undefined) await noteWholeStrays(this.#kv, served);
      for (const key of [this.#check.key, heartbeatKey(this.id), suspectKey(this.id)]) tx.delete(key);
      tx.put(endedKey(this.id), encodeEnded());
    };
    await transact(this.#kv, end, { clock: this.#clock, random: this.#random });
  }
}

export function fencedError(id: SessionId): HoldfastError {
  return new HoldfastError("session_fenced", `Session ${id} was fenced; none of its writes can be published any more.`);
}

/**
 * Every session that is not fenced: one for each worker process. Pages are read at different moments: one that lives through all
 * of it is in the list, one that starts or ends meanwhile may be.
 */
export async function readSessions(kv: Kv): Promise<LiveSession[]> {
  const [sessions, beats] = await Promise.all([
    scanAll(kv, tagRange(tags.session)),
    scanAll(kv, tagRange(tags.heartbeat)),
  ]);
  const beatOf = new Map(beats.map((entry) => [sessionIdOf(entry.key), entry]));
  const live: LiveSession[] = [];
  for (const entry of sessions) {
    const id = sessionIdOf(entry.key);
    const beat = beatOf.get(id);
    // The scans are two moments and more. A session without a heartbeat started or ended between them: its tick is unknown, and
    // 1 is the least it can be; one that ended is gone by the next look.
    live.push({
      id,
      ...decodeSession(entry.value),
      ...(beat === undefined ? { atMs: 0, tick: 1, drained: 0 } : decodeHeartbeat(beat.value)),
      sessionVersion: entry.version,
      heartbeatVersion: beat?.version ?? absent,
    });
  }
  return live;
}

/** What each session must have drained before bytes whose trash rows were seen *before* `sessions` was read may go. */
export function drainTargets(sessions: readonly LiveSession[]): Map<SessionId, number> {
  return new Map(sessions.map((session) => [session.id, session.tick + 2]));
}

/** Whether every session of `targets` has drained as far or is gone. `now` is a later readSessions. */
export function hasDrained(targets: ReadonlyMap<SessionId, number>, now: readonly LiveSession[]): boolean {
  return now.every((session) => session.drained >= (targets.get(session.id) ?? 0));
}

/** Fences a session if its heartbeat is still the one that was seen. Resolves to whether it is gone now. */
export async function fenceSession(
  kv: Kv,
  seen: LiveSession,
  { mayStillRun = false }: { readonly mayStillRun?: boolean } = {},
): Promise<boolean> {
  const key = sessionKey(seen.id);
  const beatKey = heartbeatKey(seen.id);
  const result = await kv.commit({
    checks: [
      { key, version: seen.sessionVersion },
      { key: beatKey, version: seen.heartbeatVersion },
    ],
    writes: [
      { kind: "delete", key },
      { kind: "delete", key: beatKey },
      { kind: "put", key: endedKey(seen.id), value: encodeEnded() },
      ...(mayStillRun ? [{ kind: "put" as const, key: suspectKey(seen.id), value: encodeSuspect(seen.node) }] : []),
    ],
  });
  return result.outcome === "committed";
}

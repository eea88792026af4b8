/**
 * Moves a store's metadata from one engine to another: what is known about families, sessions and the two closing rows
 * (meta/copying.ts); the walk itself is kv/copy.ts.
 *
 * Order, so that a process that is cut off anywhere leaves either store whole and at most one of them open:
 *
 *  1. The source is closed (`leaving`): no session begins in it any more.
 *  2. Its sessions are fenced, so that a process that wakes later publishes nothing into the old store. Where the locks of
 *     the drives are held, their processes are dead; elsewhere heartbeats are watched, and one that still beats is a refusal.
 *  3. The target is closed (`arriving`); every commit of the copy depends on that row.
 *  4. Rows are copied, then all of them compared.
 *  5. The source becomes `moved`.
 *  6. The target's last commit deletes its row and writes the store's own: from here on it is a store.
 *
 * The same command run again goes on wherever it was: both rows bear the copy's id. Any other target has to be empty, or be
 * what this very store was moved away from earlier.
 *
 * Left behind are leases, progress, sessions and heartbeats: they are about processes, which are gone. No record bears a
 * row's version, so nothing in one depends on those of the engine it was in.
 */
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { Credentials } from "../identity/identity.ts";
import { sweepSuspects } from "../jobs/jobs.ts";
import { compareRows, copyRows, firstKey, type CopyStretch, type CopyTally } from "../kv/copy.ts";
import { absent, type Check, type Kv, type Version, type Write } from "../kv/kv.ts";
import { COPY_ID_BYTES, encodeCopying, readCopying, whyClosed } from "../meta/copying.ts";
import type { Copying, CopyingRecord } from "../meta/copying.ts";
import { copyingKey, storeKey, tagRange, tags, type Tag } from "../meta/keys.ts";
import { fenceSession, readSessions, type LiveSession } from "../meta/sessions.ts";
import { decodeStore, encodeStore, readStore, STORE_ID_BYTES } from "../meta/store.ts";
import { isQuiet, refuseLiveSessions } from "./live_sessions.ts";

export type CopySource = {
  readonly kv: Kv;
  /** For people. */
  readonly name: string;
  /** The locks of all drives are held, so nobody else is alive who could write to it. */
  readonly isLocked: boolean;
  /** The root key where it is kept beside the metadata and not in it. */
  rootKey?(): Promise<Credentials | undefined>;
};

export type CopyTarget = {
  readonly kv: Kv;
  readonly name: string;
  /** Brings what was compared to where a server looks for it, still closed, and returns it from there. */
  publish(root: Credentials | undefined): Promise<Kv>;
};

export type CopyPhase = "copying" | "comparing";

export type CopyMetadataOptions = {
  readonly source: CopySource;
  readonly target: CopyTarget;
  readonly identity: CopyIdentity;
  readonly clock: Clock;
  readonly random: Random;
  readonly onProgress?: (phase: CopyPhase, tally: CopyTally) => void;
};

export type CopyReport = CopyTally & {
  /** SHA-256 of all rows, the same in both stores. */
  readonly digest: string;
  /** Rows that had to be written or deleted; fewer than `rows` where a copy went on. */
  readonly writes: number;
  readonly fenced: number;
  /** Otherwise the settings of the servers give it. */
  readonly hasRootKey: boolean;
};

/** Which store is moved, and by which copy as far as the source knows. */
export type CopyIdentity = { readonly store: string; readonly copying: Copying | undefined };

/** Rows about processes: not copied, and taken away where they stand in the target. */
const leftBehind: readonly Tag[] = [tags.session, tags.heartbeat, tags.job, tags.progress];
/** Written by the steps of the copy. */
const ownRows: readonly Tag[] = [tags.store, tags.copying];

const everything = { start: Buffer.from([0]), end: Buffer.from([0xff]) };

/** Every key of a store, in order: what is copied and what is left behind. */
export function copyStretches(): CopyStretch[] {
  const stretches: CopyStretch[] = [];
  let from = 0;
  for (const tag of [...ownRows, ...leftBehind].toSorted((left, right) => left - right)) {
    if (from < tag) stretches.push({ range: { start: Buffer.from([from]), end: Buffer.from([tag]) }, isCopied: true });
    if (leftBehind.includes(tag)) stretches.push({ range: tagRange(tag), isCopied: false });
    from = tag + 1;
  }
  return [...stretches, { range: { start: Buffer.from([from]), end: everything.end }, isCopied: true }];
}

/** Errors: `invalid_argument` when the source is itself a copy that is not finished. */
export async function identifySource(kv: Kv, random: Random): Promise<CopyIdentity> {
  const copying = await readCopying(kv);
  if (copying?.state === "arriving") throw refusal(whyClosed(copying));
  const store = await readStore(kv);
  return { copying, store: store?.id ?? copying?.store ?? newId(random, STORE_ID_BYTES) };
}

/**
 * Errors: `invalid_argument` for a target that is not empty, or a source that somebody still works on;
 * `operation_aborted` when another copy took this one over, or the comparison found a difference; those of the stores. After
 * any of them the same call goes on, with a new identity.
 */
export async function copyMetadata(options: CopyMetadataOptions): Promise<CopyReport> {
  const { source, target, onProgress } = options;
  const { record, seen } = await plan(options);
  const quiet = source.isLocked ? [] : await refuseLiveSessions(source.kv, source.name, options.clock);
  const leaving = { ...record, state: seen.source?.state ?? "leaving", other: target.name } as const;
  const sourceMark = await mark(source.kv, leaving, seen.source?.version ?? absent);
  const fenced = await fenceAll(source, quiet);
  if (fenced === "somebody works") {
    if (seen.source === undefined) await unmark(source.kv, sourceMark, record.store);
    throw refusal(`A process still works on ${source.name}. Stop every server of the store first.`);
  }
  const arriving = { ...record, state: "arriving", other: source.name } as const;
  const targetMark = await mark(target.kv, arriving, seen.target?.version ?? absent);
  const walk = { from: source.kv, to: target.kv, stretches: copyStretches() };
  const { writes } = await copyRows({
    ...walk,
    guard: targetMark,
    onProgress: (tally) => onProgress?.("copying", tally),
  });
  const compared = await compareRows({ ...walk, onProgress: (tally) => onProgress?.("comparing", tally) });
  if (compared.outcome === "different") throw differs(compared.key);
  const row = await storeRow(source, record.store);
  const root = row && decodeStore(row).root;
  const published = await target.publish(root);
  await mark(source.kv, { ...leaving, state: "moved" }, sourceMark.version);
  await open(published, targetMark, row);
  const { rows, bytes, digest } = compared;
  return { rows, bytes, digest, writes, fenced, hasRootKey: root !== undefined };
}

/** Lets servers use a store again that was closed for a copy. Errors: `invalid_argument` where that is not to be done. */
export async function reopenMetadata(kv: Kv, { force = false }: { readonly force?: boolean } = {}): Promise<void> {
  const copying = await readCopying(kv);
  if (copying === undefined) throw refusal("This store is open: nothing closes it.");
  if (copying.state === "arriving") throw refusal(whyClosed(copying));
  if (copying.state === "moved" && !force) {
    throw refusal(
      `${whyClosed(copying)} Where that is lost for good, --force opens this one as it was then. Never do so while the other ` +
        "may still be used: each of the two would remove what only the other one knows.",
    );
  }
  await unmark(kv, { key: copyingKey(), version: copying.version }, copying.store);
}

type Plan = {
  /** Without the state and the other's name. */
  readonly record: Omit<CopyingRecord, "state" | "other">;
  readonly seen: { readonly source: Copying | undefined; readonly target: Copying | undefined };
};

/** Whether the target may be written to, and by which copy. */
async function plan({ target, identity, clock, random }: CopyMetadataOptions): Promise<Plan> {
  const { copying, store } = identity;
  const found = await readCopying(target.kv);
  const seen = { source: copying, target: found };
  if (copying !== undefined && found?.state === "arriving" && found.copy === copying.copy) {
    return { record: { copy: copying.copy, store, startedMs: copying.startedMs }, seen };
  }
  if (copying?.state === "moved") throw refusal(whyClosed(copying));
  if (found === undefined) await assertEmpty(target);
  else if (found.state !== "moved" || found.store !== store) throw refusal(`${target.name}: ${whyClosed(found)}`);
  return { record: { copy: newId(random, COPY_ID_BYTES), store, startedMs: clock.nowMs() }, seen };
}

async function assertEmpty({ kv, name }: CopyTarget): Promise<void> {
  if ((await firstKey(kv, everything)) === undefined) return;
  throw refusal(
    `${name} has a store already. Name another schema (…?schema=NAME) in PostgreSQL or another name (etcd://…/NAME) in etcd, ` +
      "or empty it first.",
  );
}

const fenceAttemptsMax = 5;

/** Since the store is closed no session begins any more. Resolves to how many were fenced. */
async function fenceAll(
  { kv, isLocked }: CopySource,
  quiet: readonly LiveSession[],
): Promise<number | "somebody works"> {
  let fenced = 0;
  for (let attempt = 1; ; attempt++) {
    const sessions = await readSessions(kv);
    if (sessions.length === 0) break;
    if (attempt > fenceAttemptsMax) return "somebody works";
    for (const session of sessions) {
      if (!isLocked && !isQuiet(session, quiet)) return "somebody works";
      if (await fenceSession(kv, session, { mayStillRun: !isLocked })) fenced += 1;
    }
  }
  if (isLocked) await sweepSuspects(kv);
  return fenced;
}

/** Writes the closing row over the one that was seen, and returns a check that it still stands. */
async function mark(kv: Kv, record: CopyingRecord, seen: Version): Promise<Check> {
  const key = copyingKey();
  const isNewStore = record.state === "arriving" && seen === absent;
  const result = await kv.commit({
    checks: [{ key, version: seen }, ...(isNewStore ? [{ key: storeKey(), version: absent }] : [])],
    writes: [{ kind: "put", key, value: encodeCopying(record) }],
  });
  const [row] = result.outcome === "committed" ? await kv.get([key]) : [];
  if (row === undefined) throw overtaken();
  return { key, version: row.version };
}

/** The store keeps the id under which it was moved, for its drives may bear it. */
async function unmark(kv: Kv, check: Check, id: string): Promise<void> {
  const key = storeKey();
  const [row] = await kv.get([key]);
  const kept: Write[] = row === undefined ? [{ kind: "put", key, value: encodeStore({ id, root: undefined }) }] : [];
  const result = await kv.commit({
    checks: [check, { key, version: row?.version ?? absent }],
    writes: [{ kind: "delete", key: check.key }, ...kept],
  });
  if (result.outcome === "conflict") throw overtaken();
}

/** The last commit: the copy becomes a store. */
async function open(kv: Kv, targetMark: Check, row: Buffer | undefined): Promise<void> {
  const result = await kv.commit({
    checks: [targetMark],
    writes: [
      { kind: "delete", key: targetMark.key },
      row === undefined ? { kind: "delete", key: storeKey() } : { kind: "put", key: storeKey(), value: row },
    ],
  });
  if (result.outcome === "conflict") throw overtaken();
}

/** The row of the store's id and root key, as it is; where the root key is kept beside the metadata, with that one. */
async function storeRow({ kv, rootKey }: CopySource, id: string): Promise<Buffer | undefined> {
  const [row] = await kv.get([storeKey()]);
  if (rootKey === undefined) return row?.value;
  return encodeStore({ id, root: (await rootKey()) ?? (row && decodeStore(row.value).root) });
}

function newId(random: Random, bytes: number): string {
  return Buffer.from(random.bytes(bytes)).toString("hex");
}

function refusal(message: string): HoldfastError {
  return new HoldfastError("invalid_argument", message);
}

function overtaken(): HoldfastError {
  return new HoldfastError("operation_aborted", "Another copy, or a server, has changed the store meanwhile.");
}

function differs(key: Buffer): HoldfastError {
  return new HoldfastError(
    "operation_aborted",
    `The copy differs from its original at the row ${key.toString("hex")}: somebody wrote to one of them meanwhile. ` +
      "See to it that no server works on either, and run the same command again.",
  );
}

/**
 * Which of the waiting commits go into one etcd transaction, what that looks like, and what its answer says of each:
 * pure, so that it can be thought about (and tested) without a cluster.
 *
 * A batch is one transaction whose operations are transactions of their own, one per *group* of commits. etcd decides
 * each group by itself, and every group on the state before the whole batch. So the commits of a batch must have an
 * order in which that is right, and it is the order in which they wait: none may check or write what an earlier one
 * of the batch writes. One that would is *passed over*.
 *
 * A commit without counters is a group alone. Commits that add to counters are one group together, for etcd cannot add:
 * the sums are computed here, on the counters' last known values, and the group checks that those still stand. Should
 * any check of a group fail nothing of it is written, and it reads instead what it checked. That tells which of its
 * commits really conflict; the others are tried again at once, on the values just read. A counter nobody knows yet is
 * taken for absent.
 */
import { assert } from "../core/assert.ts";
import { limits } from "../core/limits.ts";
import { keyName } from "./bounds.ts";
import type { Compare, Operation, OperationResult, TxnResult } from "./etcd_wire.ts";
import { absent } from "./kv.ts";
import type { Commit, Key, Version } from "./kv.ts";
import { addCounters, exceeds } from "./plan.ts";

/** A commit with what is asked of it again and again. `costBytes`: what it takes in a request, at most. */
export type Pending = {
  readonly commit: Commit;
  readonly checkNames: readonly string[];
  readonly writeNames: readonly string[];
  readonly operations: number;
  readonly costBytes: number;
};

/** A counter row as it was last seen. */
export type Counter = { readonly version: Version; readonly value: Buffer | undefined };

export type KnownCounters = { get(name: string): Counter | undefined };

/** `impossible`: why it cannot be done on the counters as they are known, `exceeded`: which of them forbids it; it writes nothing then. */
type Member<P> = { readonly pending: P; readonly impossible: unknown; readonly exceeded: Key | undefined };

type GroupCounter = { readonly key: Key; readonly before: Counter; after: Buffer | undefined };

type Group<P> = {
  readonly members: Member<P>[];
  /** By name and version: a counter may be known otherwise than a commit expects it. */
  readonly compares: Map<string, Compare>;
  /** Without the counters. */
  readonly writes: Operation[];
  readonly counters: Map<string, GroupCounter>;
};

export type Batch<P> = {
  readonly groups: readonly Group<P>[];
  /** Commits that wait because an earlier one of the batch writes what they check or write. */
  readonly passedOver: readonly P[];
};

/** How an operation of a request is framed, beside its keys and values. */
const operationOverheadBytes = 48;
/** A group's own operations and those of the batch around it, its mark included, count together. */
const groupsMax = limits.etcdTxnOperations - limits.commitOperationsMax - 1;
const groupOperationsMax = limits.commitOperationsMax;

export function pendingOf(commit: Commit, prefixBytes: number): Pending {
  let costBytes = 0;
  for (const { key } of commit.checks) costBytes += 2 * (prefixBytes + key.length + operationOverheadBytes);
  for (const write of commit.writes) {
    const times = write.kind === "add" ? 3 : 1;
    costBytes += times * (prefixBytes + write.key.length + operationOverheadBytes);
    if (write.kind === "put") costBytes += write.value.length;
    if (write.kind === "add") costBytes += write.deltas.length * 8;
  }
  return {
    commit,
    checkNames: commit.checks.map(({ key }) => keyName(key)),
    writeNames: commit.writes.map(({ key }) => keyName(key)),
    operations: commit.checks.length + commit.writes.length,
    costBytes,
  };
}

/** Takes from the front of `waiting` what fits one request, and at least its first. */
export function planBatch<P extends Pending>(waiting: readonly P[], known: KnownCounters): Batch<P> {
  const groups: Group<P>[] = [];
  const passedOver: P[] = [];
  const written = new Map<string, "row" | "counter">();
  let adding: Group<P> | undefined;
  let bytes = 0;
  for (const pending of waiting) {
    if (!isFree(pending, written)) {
      passedOver.push(pending);
      continue;
    }
    const adds = pending.commit.writes.some(({ kind }) => kind === "add");
    const group = adds && adding !== undefined ? adding : newGroup<P>();
    const isFirst = groups.length === 0;
    bytes += pending.costBytes;
    if (!isFirst && bytes > limits.etcdBatchBytesMax) break;
    if (!isFirst && operationsIn(group) + pending.operations > groupOperationsMax) break;
    if (group.members.length === 0) {
      if (groups.length === groupsMax) break;
      groups.push(group);
      if (adds) adding = group;
    }
    join(group, pending, known);
    pending.commit.writes.forEach(({ kind }, index) => {
      written.set(pending.writeNames[index]!, kind === "add" ? "counter" : "row");
    });
  }
  return { groups, passedOver };
}

/** Whether no earlier commit writes what this one checks or writes. Adding to the same counter is no harm. */
function isFree({ commit, checkNames, writeNames }: Pending, written: ReadonlyMap<string, "row" | "counter">): boolean {
  if (checkNames.some((name) => written.has(name))) return false;
  return commit.writes.every(({ kind }, index) => {
    const earlier = written.get(writeNames[index]!);
    return earlier === undefined || (earlier === "counter" && kind === "add");
  });
}

function newGroup<P>(): Group<P> {
  return { members: [], compares: new Map(), writes: [], counters: new Map() };
}

/** etcd counts each list of a transaction by itself; what a failed group reads is never more than it compares. */
function operationsIn<P>({ compares, writes, counters }: Group<P>): number {
  return Math.max(compares.size, writes.length + counters.size);
}

function join<P extends Pending>(group: Group<P>, pending: P, known: KnownCounters): void {
  const { commit, checkNames, writeNames } = pending;
  commit.checks.forEach((check, index) => compare(group, checkNames[index]!, check));
  const sums: [GroupCounter, Buffer][] = [];
  let impossible: unknown;
  let exceeded: Key | undefined;
  commit.writes.forEach((write, index) => {
    if (write.kind !== "add") return;
    const counter = counterOf(group, writeNames[index]!, write.key, known);
    try {
      const after = addCounters(counter.after ?? counter.before.value, write.deltas);
      if (exceeds(after, write)) exceeded ??= write.key;
      sums.push([counter, after]);
    } catch (error) {
      impossible ??= error;
    }
  });
  group.members.push({ pending, impossible, exceeded });
  if (impossible !== undefined || exceeded !== undefined) return;
  for (const [counter, after] of sums) counter.after = after;
  for (const write of commit.writes) if (write.kind !== "add") group.writes.push(write);
}

function compare<P>(group: Group<P>, name: string, { key, version }: Compare): void {
  group.compares.set(`${version} ${name}`, { key, version });
}

function counterOf<P>(group: Group<P>, name: string, key: Key, known: KnownCounters): GroupCounter {
  const there = group.counters.get(name);
  if (there !== undefined) return there;
  const before = known.get(name) ?? { version: absent, value: undefined };
  const counter: GroupCounter = { key, before, after: undefined };
  group.counters.set(name, counter);
  compare(group, name, { key, version: before.version });
  return counter;
}

/** Whether the batch makes the database larger. */
export function hasPuts<P>({ groups }: Batch<P>): boolean {
  return groups.some(({ writes, counters }) => counters.size > 0 || writes.some(({ kind }) => kind === "put"));
}

export function operationsOf<P>({ groups }: Batch<P>): Operation[] {
  return groups.map((group) => ({
    kind: "txn",
    txn: {
      compares: [...group.compares.values()],
      success: [...group.writes, ...counterPuts(group)],
      failure: lookedUp(group).map(({ key, keysOnly }) => ({ kind: "range", range: { key, keysOnly } })),
    },
  }));
}

function counterPuts<P>(group: Group<P>): Operation[] {
  return [...group.counters.values()].flatMap(({ key, after }) =>
    after === undefined ? [] : [{ kind: "put", key, value: after }],
  );
}

/** What a group reads when it fails: every row it checks, once; the counters with their values. */
function lookedUp<P>(group: Group<P>): { readonly name: string; readonly key: Key; readonly keysOnly: boolean }[] {
  const keys = new Map<string, Key>();
  for (const { key } of group.compares.values()) keys.set(keyName(key), key);
  return [...keys].map(([name, key]) => ({ name, key, keysOnly: !group.counters.has(name) }));
}

export type Decision<P> =
  | { readonly outcome: "committed"; readonly pending: P }
  | { readonly outcome: "conflict"; readonly pending: P; readonly key: Key }
  | { readonly outcome: "exceeded"; readonly pending: P; readonly key: Key }
  /** It cannot be done: an add to what is no counter. */
  | { readonly outcome: "impossible"; readonly pending: P; readonly error: unknown }
  /** Nothing speaks against it, but others of its group, or what was known of a counter. */
  | { readonly outcome: "again"; readonly pending: P };

export type Decided<P> = {
  /** Of every commit of the batch, and of those passed over that the batch has shown to conflict. */
  readonly decisions: readonly Decision<P>[];
  /** Counters as the batch left or found them. */
  readonly counters: ReadonlyMap<string, Counter>;
};

/** `results` are those of operationsOf, `revision` what the whole transaction made of the store. */
export function decideBatch<P extends Pending>(
  batch: Batch<P>,
  { revision, results }: Pick<TxnResult, "revision" | "results">,
): Decided<P> {
  assert(results.length === batch.groups.length, "etcd answers every operation of a transaction");
  const decisions: Decision<P>[] = [];
  const counters = new Map<string, Counter>();
  /** Rows whose version after the batch is known. */
  const versions = new Map<string, Version>();
  batch.groups.forEach((group, index) => {
    const result = results[index]!;
    assert(result.kind === "txn", "a nested transaction answers as one");
    if (result.txn.succeeded) decisions.push(...succeeded(group, { revision, versions, counters }));
    else decisions.push(...failed(group, { results: result.txn.results, versions, counters }));
  });
  for (const pending of batch.passedOver) {
    // It was waiting while the batch happened, and could not have been committed right after it.
    const key = conflictOf(pending, versions);
    if (key !== undefined) decisions.push({ outcome: "conflict", pending, key });
  }
  return { decisions, counters };
}

type Seen = { readonly versions: Map<string, Version>; readonly counters: Map<string, Counter> };

function succeeded<P extends Pending>(
  group: Group<P>,
  { revision, versions, counters }: Seen & { readonly revision: number },
): Decision<P>[] {
  for (const write of group.writes) {
    if (write.kind === "put") versions.set(keyName(write.key), revision);
    else if (write.kind === "delete") versions.set(keyName(write.key), absent);
  }
  for (const [name, { before, after }] of group.counters) {
    const counter = after === undefined ? before : { version: revision, value: after };
    counters.set(name, counter);
    versions.set(name, counter.version);
  }
  return group.members.map(({ pending, impossible, exceeded }) => {
    if (impossible !== undefined) return { outcome: "impossible", pending, error: impossible };
    return exceeded === undefined ? { outcome: "committed", pending } : { outcome: "exceeded", pending, key: exceeded };
  });
}

function failed<P extends Pending>(
  group: Group<P>,
  { results, versions, counters }: Seen & { readonly results: readonly OperationResult[] },
): Decision<P>[] {
  const asked = lookedUp(group);
  assert(results.length === asked.length, "a group that failed says what it found");
  asked.forEach(({ name, keysOnly }, index) => {
    const result = results[index]!;
    assert(result.kind === "rows" && result.rows.length <= 1, "a range of one key has one row at most");
    const row = result.rows[0];
    versions.set(name, row?.version ?? absent);
    // Copied: the answer's bytes are not kept for a counter's sake.
    if (!keysOnly) {
      counters.set(name, row === undefined ? absentCounter : { version: row.version, value: Buffer.from(row.value) });
    }
  });
  return group.members.map(({ pending }) => {
    const key = conflictOf(pending, versions);
    return key === undefined ? { outcome: "again", pending } : { outcome: "conflict", pending, key };
  });
}

const absentCounter: Counter = { version: absent, value: undefined };

/** The key of a check that does not hold. */
function conflictOf({ commit, checkNames }: Pending, versions: ReadonlyMap<string, Version>): Key | undefined {
  return commit.checks.find(({ version }, index) => {
    const found = versions.get(checkNames[index]!);
    return found !== undefined && found !== version;
  })?.key;
}

/**
 * Whatever happens to keys, in whatever order, and between the steps of the job and of each other: for all that the rules will want
 * there is a due row in time, or the walk has yet to come by. (What the rules want, and do, is tested in lifecycle.model.test.ts.)
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import type { Kv } from "../kv/kv.ts";
import { decodeHead, decodePast, type HeadRecord } from "../meta/heads.ts";
import { objectKeyOf, parsePastKey, tags } from "../meta/keys.ts";
import { decodeLifecycle, parseDueKey } from "../meta/lifecycle.ts";
import { currentDue } from "../object/due.ts";
import { anyRule, dayMs, lifecycleDocument, type RuleText } from "../object/lifecycle.fixture.ts";
import { noncurrentExpiriesOf, realDays, rulesForKey, type LifecycleRule } from "../object/lifecycle_rules.ts";
import { noMetadata, noVerifier, plainPut, SettableClock } from "../object/object.fixture.ts";
import { findingsOf, newWorld, rowsOf, startProcess, type Process, type World } from "./jobs.fixture.ts";

const bucket = "rows";
const today = Math.floor(new SettableClock().nowMs() / dayMs);
const anyRules = fc.array(
  anyRule(
    ["", "a"],
    ["x", "y"],
    [-3, 2, 5].map((days) => (today + days) * dayMs),
  ),
  { minLength: 1, maxLength: 3 },
);
/** By which an object often expires earlier than the one that it replaces. */
const apart: readonly RuleText[] = [
  { days: 4 },
  { days: 2, tag: ["t", "x"] },
  { days: 1, below: 5 },
  { noncurrentDays: 2, newer: 1 },
];
const rules: fc.Arbitrary<readonly RuleText[]> = fc.oneof(anyRules, fc.constant(apart));
/** One shape of change for each kind. */
type Of<Kind, Rest> = Kind extends string ? { readonly kind: Kind; readonly key: string } & Rest : never;
type Change =
  | Of<"put" | "append" | "complete", { readonly sizeBytes: number; readonly tag: string | undefined }>
  | Of<"delete", unknown>
  | Of<"remove" | "tag", { readonly which: number; readonly tag: string | undefined }>
  | Of<"copy" | "rename" | "commit", { readonly to: string }>
  | { readonly kind: "switch"; readonly isOn: boolean }
  | { readonly kind: "rules"; readonly rules: readonly RuleText[] | null };
type Step =
  Change | { readonly kind: "time"; readonly hours: number } | { readonly kind: "job"; readonly runs: number };

const key = fc.constantFrom("a", "a", "b");
const tag = fc.constantFrom(undefined, "x", "y");
const kinds = <const Kind extends string>(...some: Kind[]): fc.Arbitrary<Kind> => fc.constantFrom(...some);
const change: fc.Arbitrary<Change> = fc.oneof(
  {
    weight: 9,
    arbitrary: fc.record({
      kind: kinds("put", "put", "put", "append", "complete"),
      key,
      sizeBytes: fc.constantFrom(0, 4, 20),
      tag,
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: kinds("delete"), key }) },
  { weight: 6, arbitrary: fc.record({ kind: kinds("remove", "tag"), key, which: fc.nat(3), tag }) },
  { weight: 3, arbitrary: fc.record({ kind: kinds("copy", "rename", "commit"), key, to: key }) },
  { weight: 1, arbitrary: fc.record({ kind: kinds("switch"), isOn: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: kinds("rules"), rules: fc.option(rules, { freq: 4 }) }) },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: change },
  { weight: 2, arbitrary: fc.record({ kind: kinds("time"), hours: fc.constantFrom(1, 7, 20, 26, 60) }) },
  { weight: 3, arbitrary: fc.record({ kind: kinds("job"), runs: fc.integer({ min: 1, max: 3 }) }) },
);
/** `meanwhile` happens before the call of that number that the step makes to the metadata store. */
const steps = fc.array(
  fc.record({ step, at: fc.integer({ min: 1, max: 8 }), meanwhile: fc.option(change, { freq: 2 }) }),
  {
    minLength: 5,
    maxLength: 25,
    size: "max",
  },
);

/** What others may do in the middle of a change. */
const mayFail = [
  "no_such_key",
  "no_such_version",
  "invalid_request",
  "invalid_write_offset",
  "operation_aborted",
  "slow_down",
  "is_delete_marker",
] as const;

class Run {
  readonly #world: World;
  readonly #clock: SettableClock;
  /** The calls of the first one can be met in the middle. */
  readonly #processes: readonly [Process, Process];
  readonly #watch: Watch;

  constructor(world: World, clock: SettableClock, watch: Watch, processes: readonly [Process, Process]) {
    this.#world = world;
    this.#clock = clock;
    this.#watch = watch;
    this.#processes = processes;
  }

  async step(each: Step, at: number, meanwhile: Change | null): Promise<void> {
    const [first, second] = this.#processes;
    this.#watch.callsLeft = at;
    this.#watch.run = async () => void (meanwhile !== null && (await changed(second, meanwhile)));
    if (each.kind === "time") this.#clock.aheadMs += each.hours * 3_600_000;
    else if (each.kind === "job") await this.work(each.runs);
    else await changed(first, each);
    this.#watch.callsLeft = 0;
    await this.#assertCovered();
  }

  async work(runs: number): Promise<void> {
    const job = this.#processes[0].jobs.find(({ name }) => name === "lifecycle")!;
    for (let left = runs; left > 0; left--) await job.run(new AbortController().signal);
  }

  /** For each key that the rules will want something of there is a row by then, or by the next midnight. */
  async #assertCovered(): Promise<void> {
    const { kv } = this.#world;
    const [, { store }] = this.#processes;
    const { id } = await store.bucket(bucket);
    const all = await store.lifecycle.rules({ name: bucket, id });
    if (all === undefined) return;
    const [record] = (await rowsOf(kv, tags.lifecycle)).map(({ value }) => decodeLifecycle(value));
    assert.ok(record !== undefined && record.kind !== "clearing", "the job is led to the bucket");
    const due = (await rowsOf(kv, tags.due)).map(({ key: row }) => parseDueKey(row));
    const isToCome = (row: Buffer): boolean =>
      record.kind === "walking" && (record.from === undefined || record.from.compare(row) <= 0);
    const midnightMs = Math.ceil((this.#clock.nowMs() + 1) / dayMs) * dayMs;
    for (const { name, row, atMs } of wantedOf(await keysIn(kv), all)) {
      const isThere = due.some((each) => each.key.toString() === name && each.atMs <= Math.max(atMs, midnightMs));
      assert.ok(isThere || isToCome(row), `${name} has a row by ${new Date(atMs).toISOString()}`);
    }
  }
}

type Watch = { callsLeft: number; run: () => Promise<void> };

function watched(kv: Kv, watch: Watch): Kv {
  const before = async (): Promise<void> => {
    watch.callsLeft -= 1;
    if (watch.callsLeft === 0) await watch.run();
  };
  return {
    name: "watched",
    get: async (keys) => (await before(), kv.get(keys)),
    scan: async (range, options) => (await before(), kv.scan(range, options)),
    commit: async (commit) => (await before(), kv.commit(commit)),
    close: async () => undefined,
  };
}

type Row = { readonly row: Buffer; readonly head: HeadRecord };

/** By key, the newest first: what is current, then what is not. */
async function keysIn(kv: Kv): Promise<Map<string, Row[]>> {
  const found = new Map<string, Row[]>();
  const add = (name: string, row: Row): void => void found.set(name, [...(found.get(name) ?? []), row]);
  for (const { key: row, value } of await rowsOf(kv, tags.head))
    add(objectKeyOf(row).toString(), { row, head: decodeHead(value) });
  for (const { key: row, value } of await rowsOf(kv, tags.past))
    add(parsePastKey(row).key.toString(), { row, head: decodePast(value).head });
  return found;
}

function* wantedOf(
  keys: ReadonlyMap<string, Row[]>,
  all: readonly LifecycleRule[],
): Generator<{ readonly name: string; readonly row: Buffer; readonly atMs: number }> {
  for (const [name, rows] of keys) {
    const ofKey = rulesForKey(all, Buffer.from(name));
    for (const [place, { row, head }] of rows.entries()) {
      if (place === 0) {
        const atMs = currentDue(ofKey, head, realDays);
        if (atMs !== undefined && (head.data.kind !== "marker" || rows.length === 1)) yield { name, row, atMs };
        continue;
      }
      for (const { atMs, newerVersions } of noncurrentExpiriesOf(
        ofKey,
        head,
        rows[place - 1]!.head.modifiedMs,
        realDays,
      ))
        if (place > newerVersions) yield { name, row, atMs };
    }
  }
}

/** What another did meanwhile may have it refused. */
async function changed(process: Process, each: Change): Promise<void> {
  await apply(process, each).catch((error: unknown) => {
    if (!hasReason(error, ...mayFail)) throw error;
  });
}

async function apply({ store }: Process, each: Change): Promise<unknown> {
  if (each.kind === "switch") return store.setVersioning(bucket, each.isOn ? "enabled" : "suspended");
  if (each.kind === "rules") {
    const document = each.rules === null ? undefined : lifecycleDocument(each.rules);
    return store.setConfiguration({ bucket, kind: "lifecycle", document });
  }
  const address = { bucket, key: Buffer.from(each.key) };
  if (each.kind === "delete") return store.delete(address);
  if (each.kind === "remove" || each.kind === "tag") return changeVersion(store, each);
  if (each.kind === "put" || each.kind === "append" || each.kind === "complete") return write(store, each);
  const to = { bucket, key: Buffer.from(each.to) };
  if (each.kind === "copy") return store.copy({ source: address, ...to, metadata: noMetadata });
  if (each.kind === "rename") return store.rename({ ...to, source: { key: address.key } });
  const put = { kind: "put", key: to.key, bytes: Buffer.from("new"), metadata: noMetadata } as const;
  return store.commit({
    bucket,
    entries: [put, ...(each.to === each.key ? [] : [{ kind: "delete", key: address.key } as const])],
  });
}

async function write(store: Process["store"], each: Extract<Change, { readonly sizeBytes: number }>): Promise<unknown> {
  const bytes = Buffer.alloc(each.sizeBytes, "x");
  const tagged = each.tag === undefined ? {} : { tags: new Map([["t", each.tag]]) };
  const put = { ...plainPut(bucket, each.key, bytes), ...tagged };
  if (each.kind === "put") return store.put(put);
  const ref = { bucket, key: put.key };
  if (each.kind === "append") {
    const offset = await store.head(ref).then(
      ({ info }) => info.sizeBytes,
      () => 0,
    );
    return store.append({ ...plainPut(bucket, each.key, bytes), offset });
  }
  const { id: uploadId } = await store.createUpload({ ...ref, metadata: noMetadata, ...tagged });
  const { etag } = await store.uploadPart({ ...ref, uploadId, partNumber: 1, body: put.body, verifier: noVerifier });
  return store.completeUpload({ ...ref, uploadId, parts: [{ partNumber: 1, etag }] });
}

async function changeVersion(
  store: Process["store"],
  each: Extract<Change, { readonly which: number }>,
): Promise<unknown> {
  const { versions } = await store.listVersions({ bucket, prefix: Buffer.from(each.key), limit: 100 });
  const chosen = versions[each.which % Math.max(1, versions.length)];
  if (chosen === undefined) return undefined;
  const named = { bucket, key: chosen.key, versionId: chosen.versionId };
  if (each.kind === "remove") return store.delete(named);
  return store.setTags({ ...named, tags: new Map(each.tag === undefined ? [] : [["t", each.tag] as const]) });
}

for (const isVersioned of [false, true])
  void test(`nothing that rules want is without a row in time, ${isVersioned ? "with versions" : "without"}`, async () => {
    await fc.assert(
      fc.asyncProperty(rules, steps, async (first, all) => {
        const [world, clock] = [newWorld(), new SettableClock()];
        const watch: Watch = { callsLeft: 0, run: async () => undefined };
        const meeting = await startProcess({ ...world, kv: watched(world.kv, watch) }, clock);
        const run = new Run(world, clock, watch, [meeting, await startProcess(world, clock)]);
        await meeting.store.createBucket(bucket, { region: "here" });
        if (isVersioned) await meeting.store.setVersioning(bucket, "enabled");
        for (const { step: each, at, meanwhile } of all.slice(0, 3)) await run.step(each, at, meanwhile);
        await run.step({ kind: "rules", rules: first }, 0, null);
        for (const { step: each, at, meanwhile } of all.slice(3)) await run.step(each, at, meanwhile);
        assert.deepEqual(await findingsOf(world), []);
      }),
      { numRuns: Number(process.env["ROWS_RUNS"] ?? 150) },
    );
  });

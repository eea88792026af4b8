/** The property behind kv.conformance.ts: a driver and a plain map answer any sequence of calls alike. */
import assert from "node:assert/strict";
import * as fc from "fast-check";
import { absent, readCounters } from "./kv.ts";
import type { Entry, Kv, Write } from "./kv.ts";

type Step =
  | { readonly call: "get"; readonly keys: readonly string[] }
  | {
      readonly call: "scan";
      readonly from: string;
      readonly to: string;
      readonly limit: number;
      readonly reverse: boolean;
    }
  | { readonly call: "commit"; readonly checks: readonly StepCheck[]; readonly writes: readonly StepWrite[] };

type StepCheck = { readonly key: string; readonly guess: "right" | "stale" | "absent" };
/** `max`: of an add. */
type StepWrite = {
  readonly key: string;
  readonly kind: Write["kind"];
  readonly number: number;
  readonly max: number | undefined;
};

/** Few and treacherous: prefixes of each other, and the bytes that signed or text order would misplace. */
const keys = fc
  .array(fc.constantFrom("\x00", "a", "\x7f", "\x80", "\xff"), { minLength: 1, maxLength: 3 })
  .map((all) => all.join(""));

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ call: fc.constant("get" as const), keys: fc.array(keys, { maxLength: 4 }) }),
  fc.record({
    call: fc.constant("scan" as const),
    from: keys,
    to: keys,
    limit: fc.integer({ min: 1, max: 6 }),
    reverse: fc.boolean(),
  }),
  fc.record({
    call: fc.constant("commit" as const),
    checks: fc.array(
      fc.record({ key: keys, guess: fc.constantFrom("right", "right", "right", "stale", "absent" as const) }),
      { maxLength: 3 },
    ) as fc.Arbitrary<StepCheck[]>,
    writes: fc.uniqueArray(
      fc.record({
        key: keys,
        kind: fc.constantFrom<Write["kind"]>("put", "delete", "add"),
        number: fc.integer({ min: -1_000, max: 1_000 }),
        max: fc.option(fc.integer({ min: 0, max: 1_500 }), { nil: undefined }),
      }),
      { maxLength: 5, selector: ({ key }) => key },
    ),
  }),
);

type ModelRow = { readonly counters: readonly number[]; readonly version: number };

export function modelProperty(kv: Kv): fc.IAsyncProperty<[Step[]]> {
  return fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
    const model = new Model(kv);
    await model.clear();
    for (const each of steps) await model.run(each);
  });
}

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

class Model {
  readonly #kv: Kv;
  readonly #rows = new Map<string, ModelRow>();
  readonly #versionsUsed = new Map<string, Set<number>>();

  constructor(kv: Kv) {
    this.#kv = kv;
  }

  async clear(): Promise<void> {
    const range = { start: Buffer.from([0]), end: Buffer.alloc(5, 0xff) };
    const left = await this.#kv.scan(range, { limit: 500 });
    await this.#kv.commit({ checks: [], writes: left.map(({ key }) => ({ kind: "delete", key })) });
  }

  async run(each: Step): Promise<void> {
    if (each.call === "get") {
      const rows = await this.#kv.get(each.keys.map(bytes));
      assert.equal(rows.length, each.keys.length);
      rows.forEach((entry, index) => this.#agree(each.keys[index]!, entry));
    } else if (each.call === "scan") await this.#scan(each);
    else await this.#commit(each);
  }

  #agree(key: string, entry: Entry | undefined): void {
    const row = this.#rows.get(key);
    assert.equal(entry?.version, row?.version);
    assert.deepEqual(entry === undefined ? undefined : readCounters(entry.value), row?.counters);
    if (entry !== undefined) assert.equal(entry.key.toString("latin1"), key);
  }

  async #scan({ from, to, limit, reverse }: Extract<Step, { call: "scan" }>): Promise<void> {
    const entries = await this.#kv.scan({ start: bytes(from), end: bytes(to) }, { limit, reverse });
    const within = [...this.#rows.keys()].filter((key) => key >= from && key < to).toSorted();
    const expected = (reverse ? within.toReversed() : within).slice(0, limit);
    assert.deepEqual(
      entries.map(({ key }) => key.toString("latin1")),
      expected,
    );
    for (const entry of entries) this.#agree(entry.key.toString("latin1"), entry);
  }

  async #commit({ checks, writes }: Extract<Step, { call: "commit" }>): Promise<void> {
    const guesses = checks.map(({ key, guess }) => {
      const version = this.#rows.get(key)?.version ?? absent;
      return { key, version: guess === "absent" ? absent : guess === "stale" ? Math.max(0, version - 1) : version };
    });
    const holds = guesses.every(({ key, version }) => version === (this.#rows.get(key)?.version ?? absent));
    const fits = writes.every((write) => this.#fits(write));
    const result = await this.#kv.commit({
      checks: guesses.map(({ key, version }) => ({ key: bytes(key), version })),
      writes: writes.map(writeOf),
    });
    assert.equal(result.outcome, !holds ? "conflict" : fits ? "committed" : "exceeded");
    const rows = await this.#kv.get(writes.map(({ key }) => bytes(key)));
    if (holds && fits) writes.forEach((write, index) => this.#apply(write, rows[index]));
    writes.forEach(({ key }, index) => this.#agree(key, rows[index]));
  }

  #fits({ key, kind, number, max }: StepWrite): boolean {
    if (kind !== "add" || max === undefined || number <= 0) return true;
    return (this.#rows.get(key)?.counters[0] ?? 0) + number <= max;
  }

  #apply({ key, kind, number }: StepWrite, entry: Entry | undefined): void {
    if (kind === "delete") {
      this.#rows.delete(key);
      return;
    }
    const used = this.#versionsUsed.get(key) ?? new Set();
    this.#versionsUsed.set(key, used);
    assert.ok(entry !== undefined && !used.has(entry.version), "a version is never used again for its key");
    used.add(entry.version);
    const before = this.#rows.get(key)?.counters ?? [];
    const counters = kind === "put" ? [number, number] : [(before[0] ?? 0) + number, ...before.slice(1)];
    this.#rows.set(key, { counters, version: entry.version });
  }
}

function writeOf({ key, kind, number, max }: StepWrite): Write {
  if (kind === "delete") return { kind, key: bytes(key) };
  if (kind === "add") return { kind, key: bytes(key), deltas: [number], max: max === undefined ? undefined : [max] };
  const value = Buffer.alloc(16);
  value.writeBigInt64BE(BigInt(number), 0);
  value.writeBigInt64BE(BigInt(number), 8);
  return { kind, key: bytes(key), value };
}

/** Any sequence of commits over several keys leaves what a plain model says: each happens whole, or not at all. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HoldfastError } from "../core/errors.ts";
import type { CommitEntry, CommittedEntry } from "./commit_types.ts";
import { noMetadata, openTestStore, patternBytes, plainPut, type TestStore } from "./object.fixture.ts";
import { assertAgrees, assertSound, modelBody, VersionsModel, type ModelBody } from "./versions.fixture.ts";

const bucket = "committed";
const keys = ["a", "a/b", "b", "c"];
const small = [Buffer.alloc(0), Buffer.from("one"), Buffer.from("two")].map(modelBody);
/** Put before, to be copied and renamed. */
const large = [patternBytes(20_000, 1), patternBytes(30_000, 2)].map(modelBody);

const key = fc.constantFrom(...keys);
const condition = fc.constantFrom("none", "none", "none", "there", "absent", "other");
const entry = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("put"), key, body: fc.constantFrom(...small), condition }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("copy"), key, from: key, condition }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("delete"), key, condition }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("rename"), key, from: key, condition }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("check"), key, condition }) },
);
type Entry = typeof entry extends fc.Arbitrary<infer T> ? T : never;

const step = fc.oneof(
  { weight: 1, arbitrary: fc.record({ to: fc.constantFrom("enabled", "suspended") }) },
  { weight: 2, arbitrary: fc.record({ put: key, body: fc.constantFrom(...large) }) },
  { weight: 6, arbitrary: fc.record({ entries: fc.array(entry, { minLength: 1, maxLength: 4 }) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

class Run {
  readonly #t: TestStore;
  readonly #model = new VersionsModel();
  done = 0;

  constructor(t: TestStore) {
    this.#t = t;
  }

  async step(each: Step): Promise<void> {
    if ("to" in each) {
      this.#model.versioning = each.to;
      await this.#t.store.setVersioning(bucket, this.#model.versioning);
    } else if ("put" in each) {
      const { versionId } = await this.#t.store.put(plainPut(bucket, each.put, each.body.bytes));
      this.#model.write(each.put, versionId, each.body);
    } else await this.#commit(each.entries);
    await assertAgrees(this.#t, bucket, this.#model, 1_000);
  }

  async #commit(entries: readonly Entry[]): Promise<void> {
    const committed = this.#t.store.commit({ bucket, entries: entries.map((each) => this.#asked(each)) });
    const refused = this.#refused(entries);
    if (refused !== undefined)
      return assert.rejects(committed, (error) => {
        assert.ok(error instanceof HoldfastError, String(error));
        assert.equal(error.details["entry"], refused, error.message);
        return true;
      });
    const results = await committed;
    // All that is copied or renamed is what was there before.
    const bodies = entries.map((each) => ("from" in each ? this.#model.current(each.from) : undefined));
    for (const [index, each] of entries.entries()) await this.#apply(each, bodies[index], results[index]!);
    this.done += 1;
  }

  #conditions(name: string, asked: string): { ifMatch?: string[]; ifNoneMatch?: "*" } {
    if (asked === "there") return { ifMatch: [this.#model.current(name)?.etag ?? "0".repeat(32)] };
    if (asked === "absent") return { ifNoneMatch: "*" };
    return asked === "other" ? { ifMatch: ["f".repeat(32)] } : {};
  }

  #asked(each: Entry): CommitEntry {
    const common = { key: Buffer.from(each.key), conditions: this.#conditions(each.key, each.condition) };
    if ("body" in each) return { kind: "put", ...common, bytes: each.body.bytes, metadata: noMetadata };
    if (!("from" in each)) return { kind: each.kind, ...common };
    const source = { key: Buffer.from(each.from) };
    return each.kind === "copy" ? { kind: "copy", ...common, source } : { kind: "rename", ...common, source };
  }

  /** The place of the entry for which the whole is refused; what is wrong with the request comes before what is there. */
  #refused(entries: readonly Entry[]): number | undefined {
    const changed = new Set<string>();
    for (const [index, each] of entries.entries()) {
      if (each.kind === "rename" && "from" in each && each.from === each.key) return index;
      const names =
        each.kind === "check" ? [] : each.kind === "rename" && "from" in each ? [each.key, each.from] : [each.key];
      for (const name of names) {
        if (changed.has(name)) return index;
        changed.add(name);
      }
    }
    const missing = entries.findIndex((each) => "from" in each && this.#model.current(each.from) === undefined);
    if (missing >= 0) return missing;
    const failed = entries.findIndex((each) => !this.#holds(each));
    return failed < 0 ? undefined : failed;
  }

  #holds({ key: name, condition: asked }: Entry): boolean {
    const current = this.#model.current(name);
    if (asked === "none") return true;
    return asked === "there" ? current !== undefined : asked === "absent" && current === undefined;
  }

  async #apply(each: Entry, copied: ModelBody | undefined, result: CommittedEntry): Promise<void> {
    const { key: name } = each;
    const { versionId } = result;
    if (each.kind === "check") return;
    if (each.kind === "delete") return this.#delete(name, versionId);
    this.#model.write(name, versionId, "body" in each ? each.body : copied!);
    if (each.kind !== "rename" || !("from" in each)) return;
    const prefix = Buffer.from(each.from);
    const { versions } = await this.#t.store.listVersions({ bucket, prefix, limit: 1 });
    this.#delete(each.from, versions[0]?.versionId);
  }

  #delete(name: string, markerId: string | undefined): void {
    if (this.#model.versioning === "unversioned") this.#model.remove(name);
    else this.#model.write(name, markerId, "marker");
  }
}

void test("any sequence of commits leaves what a plain model says", async () => {
  let done = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25, size: "max" }), async (steps) => {
      const t = await openTestStore("memory");
      try {
        await t.store.createBucket(bucket, { region: "here" });
        const run = new Run(t);
        for (const each of steps) await run.step(each);
        await assertSound(t);
        done += run.done;
      } finally {
        await t.close();
      }
    }),
    { numRuns: 150 },
  );
  assert.ok(done > 100, `${done} commits happened`);
});

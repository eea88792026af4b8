/**
 * Random rules, objects, versions, locks, uploads and midnights: after each midnight the store has what AWS's words say that it
 * has, as a plain model says them. The model looks at everything; the job at what is due.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import { tags as tagsOfRows } from "../meta/keys.ts";
import { anyRule, dayMs, lifecycleDocument, type RuleText } from "../object/lifecycle.fixture.ts";
import { noMetadata, plainPut, SettableClock } from "../object/object.fixture.ts";
import type { Retention } from "../object/object.ts";
import { findingsOf, newWorld, rowsOf, startProcess, type Process, type World } from "./jobs.fixture.ts";

const bucket = "model";
const keys = ["a", "a", "a/b", "b"];

type ModelVersion = {
  readonly id: string;
  readonly isMarker: boolean;
  readonly madeMs: number;
  readonly sizeBytes: number;
  tag: string | undefined;
  untilMs?: number;
  held?: boolean;
};

const key = fc.constantFrom(...keys);
const which = fc.nat(4);
const tag = fc.constantFrom(undefined, "x", "y");
const sizeBytes = fc.constantFrom(0, 4, 20);
const startMs = new SettableClock().nowMs();
const today = Math.floor(startMs / dayMs);
const dates = [-3, 2, 5, 9].map((days) => (today + days) * dayMs);
const rules = fc.array(anyRule(["", "a", "a/"], ["x", "y"], dates), { minLength: 1, maxLength: 3 });

const step = fc.oneof(
  { weight: 7, arbitrary: fc.record({ kind: fc.constant("put"), key, tag, sizeBytes }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("delete"), key }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("remove"), key, which }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("tag"), key, which, tag }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("hold"), key, which, on: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("retain"), key, which, days: fc.integer({ min: 1, max: 4 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("upload"), key }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("switch"), to: fc.constantFrom("enabled", "suspended") }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("rules"), rules: fc.option(rules, { freq: 8 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("hours"), hours: fc.integer({ min: 1, max: 11 }) }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("midnight"), more: fc.nat(2) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type StepOf<Kind extends string> = Step & { readonly kind: Kind };
const isStep = <Kind extends string>(each: Step, kind: Kind): each is StepOf<Kind> => each.kind === kind;

const midnightFrom = (ms: number): number => Math.ceil(ms / dayMs) * dayMs;

class Model {
  versioning: "unversioned" | "enabled" | "suspended" = "unversioned";
  rules: readonly RuleText[] = [];
  readonly keys = new Map<string, ModelVersion[]>();
  uploads: { readonly key: string; readonly id: string; readonly startedMs: number }[] = [];
  #markers = 0;

  of(name: string): ModelVersion[] {
    return this.keys.get(name) ?? [];
  }

  write(name: string, version: ModelVersion): void {
    const kept = this.versioning === "enabled" ? this.of(name) : this.of(name).filter(({ id }) => id !== "null");
    this.keys.set(name, [version, ...kept]);
  }

  drop(name: string, gone: readonly ModelVersion[]): void {
    this.keys.set(
      name,
      this.of(name).filter((version) => !gone.includes(version)),
    );
  }

  #wanting(name: string, version: ModelVersion): RuleText[] {
    return this.rules.filter((rule) => {
      if (rule.isEnabled === false || !name.startsWith(rule.prefix ?? "")) return false;
      if (version.isMarker) return rule.tag === undefined && rule.above === undefined && rule.below === undefined;
      const isTagged = rule.tag === undefined || version.tag === rule.tag[1];
      return isTagged && version.sizeBytes > (rule.above ?? -1) && version.sizeBytes < (rule.below ?? Infinity);
    });
  }

  #hasEnded(rule: RuleText, version: ModelVersion, nowMs: number): boolean {
    if (rule.dateMs !== undefined) return rule.dateMs <= nowMs;
    return rule.days !== undefined && midnightFrom(version.madeMs + rule.days * dayMs) <= nowMs;
  }

  expire(nowMs: number): void {
    for (const name of this.keys.keys()) while (this.#expireOnce(name, nowMs));
    this.uploads = this.uploads.filter(
      ({ key: name, startedMs: begunMs }) =>
        !this.rules.some(
          ({ prefix = "", isEnabled, abortDays }) =>
            isEnabled !== false &&
            name.startsWith(prefix) &&
            abortDays !== undefined &&
            midnightFrom(begunMs + abortDays * dayMs) <= nowMs,
        ),
    );
  }

  /** Whether anything was done. */
  #expireOnce(name: string, nowMs: number): boolean {
    const [current, ...older] = this.of(name);
    if (current === undefined) return false;
    const wanting = this.#wanting(name, current);
    if (!current.isMarker && wanting.some((rule) => this.#hasEnded(rule, current, nowMs))) {
      if (this.versioning === "unversioned") this.drop(name, [current]);
      else this.mark(name, nowMs, undefined);
      return true;
    }
    const gone = older.filter((version, place) => {
      const sinceMs = [current, ...older][place]!.madeMs;
      const isDue = this.#wanting(name, version).some(
        ({ noncurrentDays, newer = 0 }) =>
          noncurrentDays !== undefined && midnightFrom(sinceMs + noncurrentDays * dayMs) <= nowMs && place >= newer,
      );
      return isDue && version.held !== true && midnightFrom(version.untilMs ?? 0) <= nowMs;
    });
    if (gone.length > 0) {
      this.drop(name, gone);
      return true;
    }
    if (!current.isMarker || older.length > 0) return false;
    const isOver = wanting.some(
      (rule) =>
        this.#hasEnded(rule, current, nowMs) || (rule.markers === true && midnightFrom(current.madeMs) <= nowMs),
    );
    if (isOver) this.drop(name, [current]);
    return isOver;
  }

  /** Without an id: one that the job made, whose id the model cannot know. */
  mark(name: string, madeMs: number, id: string | undefined): void {
    const named = this.versioning === "suspended" ? "null" : (id ?? `made ${(this.#markers += 1)}`);
    this.write(name, { id: named, isMarker: true, madeMs, sizeBytes: 0, tag: undefined });
  }

  /** Ids of markers that the job made are left out. */
  listed(): string[] {
    return [...this.keys.keys()]
      .toSorted()
      .flatMap((name) => this.of(name).map(({ id, isMarker }) => `${name} ${isMarker ? "marker" : id}`));
  }
}

class Run {
  readonly #world: World;
  readonly #process: Process;
  readonly #clock: SettableClock;
  readonly #hasLock: boolean;
  readonly #model = new Model();

  constructor(world: World, process: Process, clock: SettableClock, hasLock: boolean) {
    this.#world = world;
    this.#process = process;
    this.#clock = clock;
    this.#hasLock = hasLock;
    if (hasLock) this.#model.versioning = "enabled";
  }

  async step(each: Step): Promise<void> {
    if (isStep(each, "put")) await this.#put(each);
    else if (isStep(each, "delete")) await this.#delete(each);
    else if (isStep(each, "remove")) await this.#remove(each);
    else if (isStep(each, "tag")) await this.#tag(each);
    else if (isStep(each, "hold")) await this.#hold(each);
    else if (isStep(each, "retain")) await this.#retain(each);
    else if (isStep(each, "upload")) await this.#upload(each);
    else if (isStep(each, "switch")) await this.#switch(each);
    else if (isStep(each, "rules")) await this.setRules(each.rules ?? []);
    else if (isStep(each, "hours")) this.#clock.aheadMs += each.hours * 3_600_000;
    else if (isStep(each, "midnight")) await this.midnight(each.more);
  }

  async setRules(texts: readonly RuleText[]): Promise<void> {
    const document = texts.length === 0 ? undefined : lifecycleDocument(texts);
    await this.#process.store.setConfiguration({ bucket, kind: "lifecycle", document });
    this.#model.rules = texts;
  }

  /** The next one, and others after it that nobody looked at. */
  async midnight(more: number): Promise<void> {
    const nowMs = this.#clock.nowMs();
    this.#clock.aheadMs += (Math.floor(nowMs / dayMs) + 1 + more) * dayMs - nowMs;
    const job = this.#process.jobs.find(({ name }) => name === "lifecycle")!;
    const { signal } = new AbortController();
    for (let runs = 0; (await job.run(signal)).more; runs++) assert.ok(runs < 100, "the job comes to an end");
    this.#model.expire(this.#clock.nowMs());
    await this.#assertAgrees();
  }

  async #assertAgrees(): Promise<void> {
    const { store } = this.#process;
    const { versions } = await store.listVersions({ bucket, limit: 1_000 });
    const lines = versions.map(
      ({ key: name, versionId, isMarker }) => `${name.toString()} ${isMarker ? "marker" : versionId}`,
    );
    assert.deepEqual(lines, this.#model.listed());
    const { uploads } = await store.listUploads({ bucket, limit: 1_000 });
    assert.deepEqual(uploads.map(({ id }) => id).toSorted(), this.#model.uploads.map(({ id }) => id).toSorted());
  }

  /** A version that both know by its id, counted round. */
  #version({ key: name, which: at }: { key: string; which: number }): ModelVersion | undefined {
    const known = this.#model.of(name).filter(({ id }) => !id.startsWith("made"));
    return known[at % Math.max(1, known.length)];
  }

  async #put({ key: name, tag: value, sizeBytes: length }: StepOf<"put">): Promise<void> {
    const tags = value === undefined ? {} : { tags: new Map([["t", value]]) };
    const { versionId = "null" } = await this.#process.store.put({
      ...plainPut(bucket, name, Buffer.alloc(length, "x")),
      ...tags,
    });
    const madeMs = this.#clock.nowMs();
    this.#model.write(name, { id: versionId, isMarker: false, madeMs, sizeBytes: length, tag: value });
  }

  async #delete({ key: name }: StepOf<"delete">): Promise<void> {
    const { versionId } = await this.#process.store.delete({ bucket, key: Buffer.from(name) });
    if (this.#model.versioning === "unversioned") this.#model.drop(name, this.#model.of(name));
    else this.#model.mark(name, this.#clock.nowMs(), versionId);
  }

  async #remove(each: StepOf<"remove">): Promise<void> {
    const version = this.#version(each);
    if (version === undefined) return;
    const removed = this.#process.store.delete({ bucket, key: Buffer.from(each.key), versionId: version.id });
    const isLocked = version.held === true || (version.untilMs ?? 0) > this.#clock.nowMs();
    if (isLocked) await assert.rejects(removed, (error) => hasReason(error, "access_denied"));
    else {
      await removed;
      this.#model.drop(each.key, [version]);
    }
  }

  async #tag(each: StepOf<"tag">): Promise<void> {
    const version = this.#version(each);
    if (version === undefined || version.isMarker) return;
    const tags = new Map(each.tag === undefined ? [] : [["t", each.tag] as const]);
    await this.#process.store.setTags({ bucket, key: Buffer.from(each.key), versionId: version.id, tags });
    version.tag = each.tag;
  }

  async #hold(each: StepOf<"hold">): Promise<void> {
    const version = this.#version(each);
    if (!this.#hasLock || version === undefined || version.isMarker) return;
    const named = { bucket, key: Buffer.from(each.key), versionId: version.id };
    await this.#process.store.setLegalHold({ ...named, legalHold: each.on });
    version.held = each.on;
  }

  /** Not at a midnight. It may be shortened. */
  async #retain(each: StepOf<"retain">): Promise<void> {
    const version = this.#version(each);
    if (!this.#hasLock || version === undefined || version.isMarker) return;
    const named = { bucket, key: Buffer.from(each.key), versionId: version.id };
    const untilMs = this.#clock.nowMs() + (each.days - 0.3) * dayMs;
    const retention: Retention = { mode: "GOVERNANCE", untilMs };
    await this.#process.store.setRetention({ ...named, retention, bypassesGovernance: true });
    version.untilMs = untilMs;
  }

  async #upload({ key: name }: StepOf<"upload">): Promise<void> {
    const { id } = await this.#process.store.createUpload({ bucket, key: Buffer.from(name), metadata: noMetadata });
    this.#model.uploads.push({ key: name, id, startedMs: this.#clock.nowMs() });
  }

  async #switch({ to }: StepOf<"switch">): Promise<void> {
    if (this.#hasLock) return;
    const versioning = to === "enabled" ? "enabled" : "suspended";
    await this.#process.store.setVersioning(bucket, versioning);
    this.#model.versioning = versioning;
  }

  async end(): Promise<void> {
    assert.deepEqual(await findingsOf(this.#world), []);
    await this.setRules([]);
    await this.midnight(0);
    for (const family of [tagsOfRows.due, tagsOfRows.lifecycle])
      assert.deepEqual(await rowsOf(this.#world.kv, family), []);
  }
}

for (const hasLock of [false, true])
  void test(`any rules expire what AWS's words say, ${hasLock ? "but what is locked" : "with versions and without"}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        rules,
        fc.array(step, { minLength: 10, maxLength: 40, size: "max" }),
        fc.boolean(),
        async (first, steps, hasRulesFirst) => {
          const world = newWorld();
          const clock = new SettableClock();
          const process = await startProcess(world, clock);
          await process.store.createBucket(bucket, { region: "here", objectLock: hasLock });
          const run = new Run(world, process, clock, hasLock);
          const half = hasRulesFirst ? 0 : Math.floor(steps.length / 2);
          for (const each of steps.slice(0, half)) await run.step(each);
          await run.setRules(first);
          for (const each of steps.slice(half)) await run.step(each);
          await run.midnight(0);
          await run.midnight(5);
          await run.end();
        },
      ),
      { numRuns: 150 },
    );
  });

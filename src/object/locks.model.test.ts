/** Whatever is asked for in whatever order and however late: nothing locked ever disappears, and what is not locked can go. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import type { ErrorReason } from "../core/errors.ts";
import { openTestStore, patternBytes, plainPut, SettableClock } from "./object.fixture.ts";
import type { TestStore } from "./object.fixture.ts";
import type { Retention } from "./object.ts";
import { assertAgrees, assertSound, modelBody, VersionsModel } from "./versions.fixture.ts";

const bucket = "locked";
const keys = ["a", "a", "a/b"];
const bodies = [Buffer.from("small"), patternBytes(20_000, 1), patternBytes(30_000, 2)].map(modelBody);
const hourMs = 3_600_000;

const key = fc.constantFrom(...keys);
/** Which of a key's versions, counted round. */
const which = fc.nat(3);
const bypass = fc.boolean();
const retention = fc.option(
  fc.record({ mode: fc.constantFrom("GOVERNANCE", "COMPLIANCE"), hours: fc.integer({ min: 0, max: 6 }) }),
  { freq: 4 },
);

const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("put"), key, body: fc.constantFrom(...bodies), retention }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("mark"), key }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("remove"), key, which, bypass }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("retain"), key, which, bypass, retention }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("hold"), key, which, on: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("wait"), hours: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("suspend") }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type StepOf<Kind extends string> = Step & { readonly kind: Kind };
const isStep = <Kind extends string>(each: Step, kind: Kind): each is StepOf<Kind> => each.kind === kind;

type Promised = { retention?: Retention | undefined; held?: boolean };

class Run {
  readonly #t: TestStore;
  readonly #clock: SettableClock;
  readonly #model = new VersionsModel();
  readonly #promised = new Map<string, Promised>();
  /** What was promised in COMPLIANCE mode, which nothing may ever take back. */
  readonly #untilMs = new Map<string, { readonly key: string; readonly untilMs: number }>();

  constructor(t: TestStore, clock: SettableClock) {
    this.#t = t;
    this.#clock = clock;
    this.#model.versioning = "enabled";
  }

  async step(each: Step): Promise<void> {
    if (isStep(each, "put")) await this.#put(each);
    else if (isStep(each, "mark")) await this.#mark(each);
    else if (isStep(each, "remove")) await this.#remove(each);
    else if (isStep(each, "retain")) await this.#retain(each);
    else if (isStep(each, "hold")) await this.#hold(each);
    else if (isStep(each, "wait")) this.#clock.aheadMs += each.hours * hourMs;
    else await refused(this.#t.store.setVersioning(bucket, "suspended"), "invalid_bucket_state");
    await assertAgrees(this.#t, bucket, this.#model, 3);
    await this.#assertKept();
  }

  /** Half an hour off the steps of the clock; of no hours, it has ended. */
  #retention(asked: { mode: string; hours: number } | null): Retention | undefined {
    if (asked === null) return undefined;
    const mode = asked.mode === "COMPLIANCE" ? "COMPLIANCE" : "GOVERNANCE";
    return { mode, untilMs: this.#clock.nowMs() + (asked.hours - 0.5) * hourMs };
  }

  #remember(name: string, id: string, wanted: Retention | undefined): void {
    this.#promised.set(id, { ...this.#promised.get(id), retention: wanted });
    if (wanted?.mode === "COMPLIANCE") this.#untilMs.set(id, { key: name, untilMs: wanted.untilMs });
  }

  #activeOf(id: string): Retention | undefined {
    const found = this.#promised.get(id)?.retention;
    return found !== undefined && found.untilMs > this.#clock.nowMs() ? found : undefined;
  }

  async #put({ key: name, body, retention: asked }: StepOf<"put">): Promise<void> {
    const wanted = this.#retention(asked);
    const put = this.#t.store.put({ ...plainPut(bucket, name, body.bytes), lock: { retention: wanted } });
    if (wanted !== undefined && wanted.untilMs <= this.#clock.nowMs()) return refused(put, "invalid_argument");
    const { versionId } = await put;
    this.#model.write(name, versionId, body);
    this.#remember(name, versionId!, wanted);
  }

  async #mark({ key: name }: StepOf<"mark">): Promise<void> {
    const { versionId } = await this.#t.store.delete({ bucket, key: Buffer.from(name) });
    this.#model.write(name, versionId, "marker");
  }

  #pick(name: string, index: number): { readonly id: string; readonly isMarker: boolean } | undefined {
    const versions = this.#model.of(name);
    const version = versions[index % Math.max(1, versions.length)];
    return version && { id: version.id, isMarker: version.body === "marker" };
  }

  async #remove({ key: name, which: index, bypass: bypassesGovernance }: StepOf<"remove">): Promise<void> {
    const version = this.#pick(name, index);
    if (version === undefined) return;
    const { id: versionId } = version;
    const active = this.#activeOf(versionId);
    const isKept = active !== undefined && (active.mode === "COMPLIANCE" || !bypassesGovernance);
    const removed = this.#t.store.delete({ bucket, key: Buffer.from(name), versionId, bypassesGovernance });
    if (isKept || this.#promised.get(versionId)?.held === true) return refused(removed, "access_denied");
    await removed;
    this.#model.remove(name, versionId);
  }

  async #retain({ key: name, which: index, bypass: bypassesGovernance, ...each }: StepOf<"retain">): Promise<void> {
    const version = this.#pick(name, index);
    if (version === undefined) return;
    const { id: versionId, isMarker } = version;
    const wanted = this.#retention(each.retention);
    const address = { bucket, key: Buffer.from(name), versionId };
    const done = this.#t.store.setRetention({ ...address, retention: wanted, bypassesGovernance });
    if (isMarker) return refused(done, "is_delete_marker");
    if (wanted !== undefined && wanted.untilMs <= this.#clock.nowMs()) return refused(done, "invalid_argument");
    const active = this.#activeOf(versionId);
    const isWeaker = active !== undefined && (wanted?.mode !== active.mode || wanted.untilMs < active.untilMs);
    if (isWeaker && (active.mode === "COMPLIANCE" || !bypassesGovernance)) return refused(done, "access_denied");
    await done;
    this.#remember(name, versionId, wanted);
  }

  async #hold({ key: name, which: index, on }: StepOf<"hold">): Promise<void> {
    const version = this.#pick(name, index);
    if (version === undefined) return;
    const { id: versionId, isMarker } = version;
    const held = this.#t.store.setLegalHold({ bucket, key: Buffer.from(name), versionId, legalHold: on });
    if (isMarker) return refused(held, "is_delete_marker");
    await held;
    this.#promised.set(versionId, { ...this.#promised.get(versionId), held: on });
  }

  /** Asked of the store alone, whatever the model thinks that it let go. */
  async #assertKept(): Promise<void> {
    for (const [versionId, { key: name, untilMs }] of this.#untilMs) {
      if (untilMs <= this.#clock.nowMs()) continue;
      await this.#t.store.head({ bucket, key: Buffer.from(name), versionId });
    }
  }
}

function refused(call: Promise<unknown>, reason: ErrorReason): Promise<void> {
  return assert.rejects(call, (error) => hasReason(error, reason));
}

void test("no sequence of calls removes what is locked", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30, size: "max" }), async (steps) => {
      const clock = new SettableClock();
      const t = await openTestStore("memory", { clock });
      try {
        await t.store.createBucket(bucket, { region: "here", objectLock: true });
        const run = new Run(t, clock);
        for (const each of steps) await run.step(each);
        await assertSound(t);
      } finally {
        await t.close();
      }
    }),
    { numRuns: 100 },
  );
});

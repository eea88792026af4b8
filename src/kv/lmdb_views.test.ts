/** Views: whatever happens to drives and starts, the copy that is chosen has everything that was acknowledged. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { seededRandom } from "../core/random.ts";
import { chooseCopy, comesFrom, firstView, isEnough, nextView, viewsRememberedMax } from "./lmdb_views.ts";
import type { MemberId, View } from "./lmdb_views.ts";

/** A drive of the model: a copy holds a prefix of the one order of batches, as far as it is known which. */
type Disk = { view: View; batches: readonly number[] };

/**
 * A store as lmdb_copies.ts and lmdb_copies_prepare.ts run it, without files: steps of starts, batches, drops and crashes in
 * between. `acknowledged` are the batches that all members had.
 */
class Model {
  readonly random = seededRandom(1);
  readonly disks = new Map<MemberId, Disk>();
  readonly names: readonly MemberId[];
  acknowledged: readonly number[] = [];
  /** Members that are running, the primary last; undefined while the store is stopped. */
  running: { view: View; members: MemberId[] } | undefined;
  #batches = 0;

  constructor(count: number) {
    this.names = Array.from({ length: count }, (_, index) => `drive${index}`);
    const [first, ...others] = this.names as [MemberId];
    const founded = firstView(first, this.random);
    const view = nextView(founded, this.names, this.random);
    for (const name of [first, ...others]) this.disks.set(name, { view, batches: [] });
  }

  /** With these drives there; `cut` of the copies get the new view before the start is cut off (all: it is not). */
  start(there: readonly MemberId[], cut: number): "started" | "refused" | "split" | "cut off" {
    this.running = undefined;
    const found = there.flatMap((member) => {
      const disk = this.disks.get(member);
      return disk === undefined ? [] : [{ member, view: disk.view, lastVersion: disk.batches.length, disk }];
    });
    if (found.length === 0) return "refused";
    const choice = chooseCopy(found);
    if (choice.kind !== "chosen") return choice.kind === "too few" ? "refused" : "split";
    const { leader, view } = choice;
    assert.deepEqual(this.acknowledged.slice(0, this.acknowledged.length), this.acknowledged);
    const members = [...there];
    for (const name of members) {
      const before = this.disks.get(name);
      const own = before !== undefined && comesFrom(view, before.view) ? before.view : view;
      this.disks.set(name, { view: own, batches: leader.disk.batches });
    }
    const isSame = members.length === view.members.length && members.every((name) => view.members.includes(name));
    const next = isSame ? view : nextView(view, members, this.random);
    for (const name of members.slice(0, cut)) this.disks.set(name, { view: next, batches: leader.disk.batches });
    if (cut < members.length) return "cut off";
    this.running = { view: next, members: members.toReversed() };
    return "started";
  }

  /** Reaches the first `cut` members before everything dies; all: it is acknowledged. */
  write(cut: number): void {
    if (this.running === undefined) return;
    const { members } = this.running;
    const batch = ++this.#batches;
    for (const name of members.slice(0, cut)) {
      const disk = this.disks.get(name)!;
      this.disks.set(name, { ...disk, batches: [...disk.batches, batch] });
    }
    if (cut < members.length) this.running = undefined;
    else this.acknowledged = this.disks.get(members[0]!)!.batches;
  }

  /** A secondary fails; `cut` of those that are left hear of it before everything dies. */
  drop(index: number, cut: number): void {
    if (this.running === undefined || this.running.members.length < 2) return;
    const { members, view } = this.running;
    const left = members.filter((_, at) => at !== index % (members.length - 1));
    if (!isEnough(left.length, view)) return;
    const next = nextView(view, left, this.random);
    for (const name of left.slice(0, cut)) this.disks.set(name, { ...this.disks.get(name)!, view: next });
    this.running = cut < left.length ? undefined : { view: next, members: left };
  }
}

type Step =
  | { readonly kind: "start"; readonly mask: number; readonly cut: number }
  | { readonly kind: "write"; readonly cut: number }
  | { readonly kind: "drop"; readonly index: number; readonly cut: number };

const cut = fc.oneof({ weight: 3, arbitrary: fc.constant(9) }, { weight: 1, arbitrary: fc.nat(4) });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("start" as const), mask: fc.integer({ min: 1, max: 31 }), cut }),
  fc.record({ kind: fc.constant("write" as const), cut }),
  fc.record({ kind: fc.constant("drop" as const), index: fc.nat(4), cut }),
);

/** Never down to two members, with which one may go on alone: then nothing at all may be lost. */
const safeMin = 3;

test("of three to five copies, a majority of each view there or not: nothing acknowledged is lost, no start is split", () => {
  fc.assert(
    fc.property(fc.integer({ min: safeMin, max: 5 }), fc.array(step, { maxLength: 40 }), (count, steps) => {
      const model = new Model(count);
      for (const each of steps) {
        if (each.kind === "write") model.write(each.cut);
        else if (each.kind === "drop" && (model.running?.members.length ?? 0) > safeMin)
          model.drop(each.index, each.cut);
        else if (each.kind === "start") {
          const there = model.names.filter((_, index) => ((each.mask >>> index) & 1) === 1);
          const before = model.acknowledged;
          if (there.length < safeMin) continue;
          const outcome = model.start(there, each.cut);
          assert.notEqual(outcome, "split");
          if (outcome !== "started" && outcome !== "cut off") continue;
          const [any] = there as [MemberId];
          assert.deepEqual(model.disks.get(any)!.batches.slice(0, before.length), before);
        }
      }
    }),
    { numRuns: 3_000 },
  );
});

test("of two and three copies, any one is lost and comes back stale: nothing acknowledged is lost", () => {
  const round = fc.record({ lost: fc.nat(2), isEmptied: fc.boolean(), writes: fc.array(cut, { maxLength: 4 }) });
  fc.assert(
    fc.property(fc.constantFrom(2, 3), fc.array(round, { maxLength: 12 }), (count, rounds) => {
      const model = new Model(count);
      for (const { lost, isEmptied, writes } of rounds) {
        for (const there of [model.names, model.names.filter((_, index) => index !== lost % count), model.names]) {
          const before = model.acknowledged;
          assert.equal(model.start(there, 9), "started");
          assert.deepEqual(model.disks.get(there[0]!)!.batches.slice(0, before.length), before);
          for (const each of writes) model.write(each);
          if (there.length < count && isEmptied) model.disks.delete(model.names[lost % count]!);
        }
      }
    }),
    { numRuns: 500 },
  );
});

const random = seededRandom(7);
const copy = (member: MemberId, view: View, lastVersion = 1) => ({ member, view, lastVersion });

test("two halves of a pair that each went on alone are split; one that did not is stale", () => {
  const both = nextView(firstView("a", random), ["a", "b"], random);
  const [onlyA, onlyB] = [nextView(both, ["a"], random), nextView(both, ["b"], random)];
  assert.equal(chooseCopy([copy("a", onlyA), copy("b", onlyB, 9)]).kind, "split");
  const choice = chooseCopy([copy("a", onlyA, 3), copy("b", both, 9)]);
  assert.ok(choice.kind === "chosen" && choice.leader.member === "a");
  const again = nextView(nextView(onlyA, ["a", "b"], random), ["a"], random);
  assert.equal(chooseCopy([copy("a", again), copy("b", onlyB)]).kind, "split");
});

test("copies of two stores, and too few of one", () => {
  assert.equal(chooseCopy([copy("a", firstView("a", random)), copy("b", firstView("b", random))]).kind, "two stores");
  const three = nextView(firstView("a", random), ["a", "b", "c"], random);
  assert.equal(chooseCopy([copy("c", three)]).kind, "too few");
  assert.equal(chooseCopy([copy("b", three), copy("c", three)]).kind, "chosen");
  // One that is in no view yet, or no more, counts for nothing.
  assert.equal(chooseCopy([copy("c", three), copy("d", three)]).kind, "too few");
});

test("a view that is older than what is remembered counts as one that came before", () => {
  const first = firstView("a", random);
  let view = first;
  for (let count = 0; count < viewsRememberedMax + 5; count++) view = nextView(view, ["a"], random);
  assert.equal(view.ancestors.length, viewsRememberedMax);
  assert.ok(comesFrom(view, first) && !comesFrom(first, view));
});

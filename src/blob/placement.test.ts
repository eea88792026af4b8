import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { IdSource, newDriveId, type ChunkId, type DriveId, type SessionId } from "../core/ids.ts";
import { seededRandom } from "../core/random.ts";
import { ChunkDrives, placeChunk, planPlacement, type PlacementDrive, type PlacementPlan } from "./placement.ts";
import { fairShares } from "./placement_rates.ts";
import { domainsOf } from "./placement_tree.ts";

const source = new IdSource("0123456789abcdef" as SessionId);
const chunks: readonly ChunkId[] = Array.from({ length: 4_000 }, () => source.chunk());

/** Weights of drives by node by zone. */
type Shape = readonly (readonly (readonly number[])[])[];

const shapes: fc.Arbitrary<Shape> = fc.array(
  fc.array(fc.array(fc.integer({ min: 1, max: 16 }), { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 5 }),
  { minLength: 1, maxLength: 5 },
);
const shardCounts = fc.integer({ min: 1, max: 11 });
const runs = { numRuns: 60 };

function drivesOf(shape: Shape, seed = 1): PlacementDrive[] {
  const random = seededRandom(seed);
  return shape.flatMap((nodes, zone) =>
    nodes.flatMap((weights, node) =>
      weights.map((weightBytes): PlacementDrive => ({
        id: newDriveId(random),
        weightBytes,
        state: "up",
        node: `n${node}`,
        zone: `z${zone}`,
      })),
    ),
  );
}

const zoneName = ({ zone }: PlacementDrive): string => zone ?? "";
const nodeName = ({ zone, node }: PlacementDrive): string => `${zone}/${node}`;

/** How many of the drives lie in each domain. */
function counted(drives: readonly PlacementDrive[], nameOf: (drive: PlacementDrive) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const drive of drives) counts.set(nameOf(drive), (counts.get(nameOf(drive)) ?? 0) + 1);
  return counts;
}

const fullest = (drives: readonly PlacementDrive[], nameOf: (drive: PlacementDrive) => string): number =>
  Math.max(0, ...counted(drives, nameOf).values());

/** The least possible in the fullest domain, by handing out shards one by one to the emptiest that has a drive left. */
function leastFullest(drives: readonly PlacementDrive[], shards: number): { zone: number; node: number } {
  const handedOut = (nameOf: (drive: PlacementDrive) => string, zoneMax: number): PlacementDrive[] => {
    const left = new Set(drives);
    const given: PlacementDrive[] = [];
    while (given.length < shards && left.size > 0) {
      const counts = counted(given, nameOf);
      const zones = counted(given, zoneName);
      const open = [...left].filter((drive) => (zones.get(zoneName(drive)) ?? 0) < zoneMax);
      const [emptiest] = open.sort((a, b) => (counts.get(nameOf(a)) ?? 0) - (counts.get(nameOf(b)) ?? 0));
      given.push(emptiest!);
      left.delete(emptiest!);
    }
    return given;
  };
  const zone = fullest(handedOut(zoneName, Infinity), zoneName);
  return { zone, node: fullest(handedOut(nodeName, zone), nodeName) };
}

function chosenOf(drives: readonly PlacementDrive[], ids: Iterable<DriveId>): PlacementDrive[] {
  const wanted = new Set(ids);
  return drives.filter(({ id }) => wanted.has(id));
}

/** The plan as it would be without one of its drives, were the rates of the others the same. */
function without(plan: PlacementPlan, drives: readonly PlacementDrive[], id: DriveId): PlacementPlan {
  const kept = plan.drives.map((_, index) => index).filter((index) => plan.drives[index] !== id);
  const left = kept.map((index) => drives.find((drive) => drive.id === plan.drives[index])!);
  const shards = Math.min(plan.shards, kept.length);
  return {
    shards,
    drives: left.map((drive) => drive.id),
    domains: domainsOf(left, left.length, shards),
    rates: Float64Array.from(kept, (index) => plan.rates[index]!),
    words: Uint32Array.from(kept.flatMap((index) => [plan.words[index * 2]!, plan.words[index * 2 + 1]!])),
    uniformsMin: Float64Array.from(kept, (index) => plan.uniformsMin[index]!),
  };
}

function placed(plan: PlacementPlan, chunk: ChunkId): DriveId[] {
  const drives = new ChunkDrives(plan, chunk);
  return Array.from({ length: plan.shards }, () => drives.next()!);
}

void test("every shard has a drive of its own, and no choice has fewer in its fullest zone, then node", () => {
  fc.assert(
    fc.property(shapes, shardCounts, fc.nat(), (shape, shards, seed) => {
      const drives = drivesOf(shape, seed);
      const least = leastFullest(drives, shards);
      for (const chunk of chunks.slice(0, 40)) {
        const ids = placeChunk(chunk, drives, shards);
        const chosen = chosenOf(drives, ids);
        assert.equal(chosen.length, Math.min(shards, drives.length));
        assert.equal(ids.length, chosen.length);
        assert.deepEqual({ zone: fullest(chosen, zoneName), node: fullest(chosen, nodeName) }, least);
      }
    }),
    runs,
  );
});

void test("the loss of any one zone or node leaves enough shards wherever some choice of drives does", () => {
  const parity = fc.integer({ min: 1, max: 4 });
  const property = fc.property(shapes, fc.integer({ min: 1, max: 8 }), parity, (shape, dataShards, parityShards) => {
    const drives = drivesOf(shape);
    const shards = dataShards + parityShards;
    fc.pre(drives.length >= shards);
    const least = leastFullest(drives, shards);
    for (const chunk of chunks.slice(0, 40)) {
      const chosen = chosenOf(drives, placeChunk(chunk, drives, shards));
      for (const [nameOf, possible] of [
        [zoneName, least.zone],
        [nodeName, least.node],
      ] as const) {
        if (possible > parityShards) continue;
        for (const name of new Set(drives.map(nameOf)))
          assert.ok(chosen.filter((drive) => nameOf(drive) !== name).length >= dataShards);
      }
    }
  });
  fc.assert(property, runs);
});

void test("the order of the drives does not matter, and only drives that are up are used", () => {
  fc.assert(
    fc.property(shapes, shardCounts, fc.nat(20), (shape, shards, down) => {
      const drives = drivesOf(shape).map((drive, index): PlacementDrive => {
        if (index === down) return { ...drive, state: "full" };
        return index === down + 1 ? { ...drive, state: "failed" } : drive;
      });
      const up = drives.filter(({ state }) => state === "up");
      const shuffled = drives.toReversed();
      for (const chunk of chunks.slice(0, 20)) {
        const ids = placeChunk(chunk, drives, shards);
        assert.equal(chosenOf(up, ids).length, ids.length);
        assert.deepEqual(placeChunk(chunk, shuffled, shards), ids);
        assert.deepEqual(placeChunk(chunk, up, shards), ids);
      }
    }),
    runs,
  );
});

void test("a drive more or less changes each chunk by that drive and one other at most, where rates and caps stand", () => {
  fc.assert(
    fc.property(shapes, shardCounts, fc.nat(), fc.nat(), (shape, shards, seed, pick) => {
      const drives = drivesOf(shape, seed);
      const more = planPlacement(drives, shards);
      const id = drives[pick % drives.length]!.id;
      const fewer = without(more, drives, id);
      const isSame = (key: "zoneCap" | "nodeCap"): boolean => more.domains[key] === fewer.domains[key];
      fc.pre(fewer.shards === more.shards && isSame("zoneCap") && isSame("nodeCap"));
      for (const chunk of chunks.slice(0, 40)) {
        const before = placed(fewer, chunk);
        const after = placed(more, chunk);
        const joined = after.filter((drive) => !before.includes(drive));
        assert.deepEqual(joined, after.includes(id) ? [id] : []);
        // And a refusal leads to the same drives as if the one that refuses had not been there.
        const choice = new ChunkDrives(more, chunk);
        const given = after.map(() => choice.next()!);
        if (!given.includes(id)) continue;
        choice.refuse(id);
        const replaced = [...given.filter((drive) => drive !== id), choice.next()!];
        assert.deepEqual(replaced.sort(), before.sort());
      }
    }),
    { numRuns: 200 },
  );
});

void test("in a node of equal drives one that joins takes chunks only to itself, and one that leaves moves only its own", () => {
  for (const [count, shards] of [
    [4, 1],
    [5, 3],
    [12, 6],
    [40, 11],
  ] as const) {
    const more = drivesOf([[Array.from({ length: count }, () => 7)]], count);
    const fewer = more.slice(0, -1);
    for (const chunk of chunks.slice(0, 500)) {
      const after = placeChunk(chunk, more, shards);
      const joined = after.filter((id) => !placeChunk(chunk, fewer, shards).includes(id));
      assert.deepEqual(joined, after.includes(more.at(-1)!.id) ? [more.at(-1)!.id] : []);
    }
  }
});

/** Shards that lie elsewhere, as a part of all, and the least that could: what the drives that joined hold. */
function moves(fewer: readonly PlacementDrive[], more: readonly PlacementDrive[], shards: number) {
  const old = new Set(fewer.map(({ id }) => id));
  let moved = 0;
  let least = 0;
  for (const chunk of chunks) {
    const before = new Set(placeChunk(chunk, fewer, shards));
    const after = placeChunk(chunk, more, shards);
    moved += after.filter((id) => !before.has(id)).length;
    least += after.filter((id) => !old.has(id)).length;
  }
  return { moved: moved / chunks.length / shards, least: least / chunks.length / shards };
}

void test("in stores of mixed sizes a drive or a node that joins moves little more than it takes", () => {
  const nodes = Array.from({ length: 30 }, (_, node) => Array.from({ length: 4 }, () => [1, 2, 4][node % 3]!));
  const zones = [0, 1, 2].map((zone) => nodes.slice(zone * 10, zone * 10 + 10));
  for (const shape of [[nodes], zones]) {
    const more = drivesOf(shape, 5);
    for (const fewer of [more.slice(0, -1), more.filter((drive) => nodeName(drive) !== nodeName(more.at(-1)!))]) {
      const { moved, least } = moves(fewer, more, 6);
      assert.ok(least > 0 && moved < 2 * least + 0.002, `${moved} of the shards moved, ${least} are the least`);
    }
  }
});

void test("drives get shards in proportion to their fair shares", () => {
  const property = fc.property(shapes, shardCounts, fc.nat(), (shape, shards, seed) => {
    const drives = drivesOf(shape, seed).sort((a, b) => (a.id < b.id ? -1 : 1));
    fc.pre(drives.length > shards);
    const { root } = domainsOf(drives, drives.length, shards);
    const shares = fairShares(
      root,
      drives.map(({ weightBytes }) => weightBytes),
    );
    const counts = new Map<string, number>();
    for (const chunk of chunks)
      for (const id of placeChunk(chunk, drives, shards)) counts.set(id, (counts.get(id) ?? 0) + 1);
    drives.forEach(({ id }, index) => {
      const share = shares[index]!;
      // Six standard deviations of a binomial distribution, and what the rates may be off.
      const variance = chunks.length * share * (1 - share);
      const allowed = 6 * Math.sqrt(variance) + 1 + 0.05 * share * chunks.length;
      assert.ok(Math.abs((counts.get(id) ?? 0) - chunks.length * share) <= allowed, `${counts.get(id)} for ${share}`);
    });
  });
  fc.assert(property, { numRuns: 40 });
});

void test("drives that refuse are replaced as long as there are others, spread as well as those that are left allow", () => {
  const refusing = fc.array(fc.nat(), { maxLength: 12 });
  const property = fc.property(shapes, shardCounts, refusing, fc.nat(), (shape, shards, picks, seed) => {
    const drives = drivesOf(shape, seed);
    const plan = planPlacement(drives, shards);
    for (const chunk of chunks.slice(0, 20)) {
      const choice = new ChunkDrives(plan, chunk);
      const held = new Set(Array.from({ length: plan.shards }, () => choice.next()!));
      const refused = new Set<DriveId>();
      // When zones have to hold more, nodes might get away with fewer, but shards that lie already do not move.
      let nodeMax = plan.domains.nodeCap;
      for (const pick of picks) {
        if (held.size === 0) break;
        const id = [...held][pick % held.size]!;
        choice.refuse(id);
        held.delete(id);
        refused.add(id);
        const next = choice.next();
        if (next !== undefined) held.add(next);
        assert.ok(next === undefined || !refused.has(next));
        const left = drives.filter((drive) => !refused.has(drive.id));
        assert.equal(held.size, Math.min(plan.shards, left.length));
        const chosen = chosenOf(drives, held);
        const least = leastFullest(left, plan.shards);
        assert.equal(fullest(chosen, zoneName), least.zone);
        nodeMax = least.zone > plan.domains.zoneCap ? Infinity : Math.max(nodeMax, least.node);
        assert.ok(fullest(chosen, nodeName) <= nodeMax);
      }
    }
  });
  fc.assert(property, runs);
});

void test("shards that are stored already keep their drives, and the others keep the spread, full drives counted too", () => {
  const property = fc.property(shapes, shardCounts, fc.nat(), fc.nat(), (shape, shards, lost, full) => {
    const drives = drivesOf(shape);
    fc.pre(drives.length > shards);
    for (const chunk of chunks.slice(0, 4)) {
      const before = placeChunk(chunk, drives, shards);
      // One shard is lost with its drive, and another's drive has run full since.
      const gone = before[lost % shards]!;
      const kept = before.filter((id) => id !== gone);
      const now = drives
        .filter(({ id }) => id !== gone)
        .map((drive): PlacementDrive => (drive.id === kept[full % shards] ? { ...drive, state: "full" } : drive));
      const plan = planPlacement(now, shards);
      const next = new ChunkDrives(plan, chunk, kept).next();
      const free = now.filter(({ id, state }) => state === "up" && !kept.includes(id));
      assert.equal(next === undefined, free.length === 0);
      if (next === undefined) continue;
      assert.ok(free.some(({ id }) => id === next));
      // No other free drive would have left fewer in the fullest zone.
      const zoneMax = (id: DriveId): number => fullest(chosenOf(now, [...kept, id]), zoneName);
      const best = Math.min(...free.map(({ id }) => zoneMax(id)));
      assert.ok(zoneMax(next) <= Math.max(best, plan.domains.zoneCap));
    }
  });
  fc.assert(property, runs);
});

void test("no drive up: no place", () => {
  assert.deepEqual(placeChunk(chunks[0]!, [], 1), []);
  assert.equal(new ChunkDrives(planPlacement([], 3), chunks[0]!).next(), undefined);
});

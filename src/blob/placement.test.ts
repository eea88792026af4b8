import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { IdSource, newDriveId, type ChunkId, type SessionId } from "../core/ids.ts";
import { seededRandom } from "../core/random.ts";
import { placeChunk, type PlacementDrive } from "./placement.ts";

const source = new IdSource("0123456789abcdef" as SessionId);
const chunks: readonly ChunkId[] = Array.from({ length: 4_000 }, () => source.chunk());

function drivesOf(weights: readonly number[], seed = 1): PlacementDrive[] {
  const random = seededRandom(seed);
  return weights.map((weightBytes) => ({ id: newDriveId(random), weightBytes, state: "up" }));
}

const weights = fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 2, maxLength: 12 });
const runs = { numRuns: 20 };

void test("each drive's share is in proportion to its weight", () => {
  fc.assert(
    fc.property(weights, fc.nat(), (weights, seed) => {
      const drives = drivesOf(weights, seed);
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const counts = new Map<string, number>();
      for (const chunk of chunks) {
        const [best] = placeChunk(chunk, drives, 1);
        counts.set(best!, (counts.get(best!) ?? 0) + 1);
      }
      for (const { id, weightBytes } of drives) {
        const share = weightBytes / total;
        // Six standard deviations of a binomial distribution.
        const allowed = 6 * Math.sqrt(chunks.length * share * (1 - share)) + 1;
        assert.ok(Math.abs((counts.get(id) ?? 0) - chunks.length * share) <= allowed);
      }
    }),
    runs,
  );
});

void test("a drive that joins takes chunks only to itself; one that leaves moves only its own", () => {
  fc.assert(
    fc.property(weights, fc.nat(), (weights, seed) => {
      const more = drivesOf(weights, seed);
      const fewer = more.slice(0, -1);
      const joined = more.at(-1)!.id;
      for (const chunk of chunks.slice(0, 500)) {
        const after = placeChunk(chunk, more, more.length);
        assert.deepEqual(
          after.filter((id) => id !== joined),
          placeChunk(chunk, fewer, more.length),
        );
      }
    }),
    runs,
  );
});

void test("the order of the drives does not matter, copies are a prefix, and only drives that are up are used", () => {
  fc.assert(
    fc.property(weights, fc.nat(), fc.nat(11), (weights, seed, down) => {
      const drives = drivesOf(weights, seed).map((drive, index): PlacementDrive =>
        index === down ? { ...drive, state: "full" } : drive,
      );
      const up = drives.filter(({ state }) => state === "up").map(({ id }) => id);
      for (const chunk of chunks.slice(0, 50)) {
        const order = placeChunk(chunk, drives, drives.length);
        assert.deepEqual([...order].sort(), [...up].sort());
        assert.deepEqual(placeChunk(chunk, drives.toReversed(), drives.length), order);
        assert.deepEqual(placeChunk(chunk, drives, 2), order.slice(0, 2));
      }
    }),
    runs,
  );
});

void test("no drive up: no place", () => {
  assert.deepEqual(placeChunk(chunks[0]!, [], 1), []);
});

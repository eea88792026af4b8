import assert from "node:assert/strict";
import { test } from "node:test";
import { fairShares } from "../blob/placement_rates.ts";
import { placeChunk, planPlacement, type PlacementDrive } from "../blob/placement.ts";
import type { ChunkId, DriveId } from "../core/ids.ts";
import { seededRandom } from "../core/random.ts";
import { parseRedundancy, shardsOf } from "../core/redundancy.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import { balancedFor, drivesToBalance, isSameSet, movesFor, planMoves, targetOf } from "./balance_plan.ts";
import type { DriveView } from "./repair_plan.ts";

const random = seededRandom(8);
const hex = (bytes: number): string => Buffer.from(random.bytes(bytes)).toString("hex");

function driveOn(node: string, weightBytes = 1_000_000): PlacementDrive {
  return { id: hex(8) as DriveId, weightBytes, state: "up", node };
}

function chunksOn(drives: readonly PlacementDrive[], text: string, count: number): ChunkRecord[] {
  const redundancy = parseRedundancy(text);
  const facts = { rawBytes: 1_000, storedBytes: 1_000, blockBytes: undefined, redundancy };
  return Array.from({ length: count }, () => {
    const id = hex(16) as ChunkId;
    const places = placeChunk(id, drives, shardsOf(redundancy)).map((drive, shardIndex) => ({ drive, shardIndex }));
    return { ...facts, id, places };
  });
}

function viewOf(taking: readonly PlacementDrive[]): DriveView {
  const here = new Set(taking.map(({ id }) => id));
  return { here, givenUp: new Set(), draining: new Set(), balanced: taking, taking };
}

/** What each drive has of the chunks, by its fair share of all. */
function fillOf(chunks: readonly ChunkRecord[], drives: readonly PlacementDrive[], text: string): number[] {
  const { domains, drives: order } = planPlacement(drives, shardsOf(parseRedundancy(text)));
  const weights = order.map((id) => drives.find((drive) => drive.id === id)!.weightBytes);
  const shares = fairShares(domains.root, weights);
  return order.map((id, at) => {
    const shards = chunks.filter(({ places }) => places.some(({ drive }) => drive === id)).length;
    return shards / (shares[at]! * chunks.length);
  });
}

const nodes = ["a", "b", "c", "d", "e", "f"];

for (const [text, before, added] of [
  ["replica:2", nodes.map((node) => driveOn(node)), [driveOn("g")]],
  ["replica:3", nodes.flatMap((node) => [driveOn(node), driveOn(node)]), [driveOn("g"), driveOn("g")]],
  ["ec:4+2", [...nodes, "g", "h"].map((node) => driveOn(node)), [driveOn("i"), driveOn("j")]],
  ["ec:2+1", nodes.map((node) => driveOn(node)), [driveOn("g", 4_000_000)]],
] as const)
  void test(`with ${text} what moves onto added drives is hardly more than what they are to have`, () => {
    const chunks = chunksOn(before, text, 4_000);
    const drives = [...before, ...added];
    let [moved, gained] = [0, 0];
    const after = chunks.map((chunk) => {
      const { tasks } = planMoves(chunk, drives, viewOf(drives));
      moved += tasks.length;
      gained += tasks.filter(({ drive }) => added.some(({ id }) => id === drive)).length;
      const places = chunk.places.map(
        ({ drive, shardIndex }) => tasks.find((task) => task.shardIndex === shardIndex) ?? { drive, shardIndex },
      );
      return { ...chunk, places };
    });
    assert.ok(moved <= 1.15 * gained, `${moved} moved, ${gained} of them onto the new drives`);
    assert.ok(gained > 0);
    for (const fill of fillOf(after, drives, text)) assert.ok(Math.abs(fill - 1) < 0.12, `filled to ${fill}`);
    for (const chunk of after) {
      assert.deepEqual(movesFor(chunk, drives), [], "it lies where placement has it");
      assert.equal(new Set(chunk.places.map(({ drive }) => drive)).size, chunk.places.length);
    }
  });

void test("a chunk moves as a whole or not at all, and only while all its shards are there", () => {
  const before = nodes.map((node) => driveOn(node));
  const added = [driveOn("g"), driveOn("h")];
  const drives = [...before, ...added];
  const chunk = chunksOn(before, "replica:3", 400).find((each) => movesFor(each, drives).length === 2)!;
  assert.equal(planMoves(chunk, drives, viewOf(drives)).tasks.length, 2);
  const oneFull = drives.map((drive) => (drive === added[1] ? { ...drive, state: "full" as const } : drive));
  const waiting = { tasks: [], sources: [], isWaiting: true };
  assert.deepEqual(planMoves(chunk, drives, viewOf(oneFull)), waiting);
  const oneAway = drives.filter(({ id }) => id !== chunk.places[0]!.drive);
  assert.deepEqual(planMoves(chunk, drives, viewOf(oneAway)), waiting);
  const incomplete = { ...chunk, places: chunk.places.slice(1) };
  assert.deepEqual(planMoves(incomplete, drives, viewOf(drives)).tasks, []);
});

void test("it is for all drives that belong to the store, or not now", () => {
  const drives = [driveOn("a"), { ...driveOn("b"), state: "full" as const }, driveOn("c")];
  const here = new Set(drives.map(({ id }) => id));
  const known = drives.map(({ id }) => ({ id, state: "active" as const }));
  const gone = hex(8) as DriveId;
  assert.deepEqual(drivesToBalance(known, drives, here), drives);
  assert.deepEqual(drivesToBalance([...known, { id: gone, state: "removed" }], drives, here), drives);
  assert.equal(drivesToBalance([...known, { id: gone, state: "active" }], drives, here), undefined);
  assert.equal(drivesToBalance([...known, { id: gone, state: "draining" }], drives, here), undefined);
  assert.equal(drivesToBalance(known, drives, new Set([...here].slice(1))), undefined);
  const failed = drives.map((drive, at) => (at === 0 ? { ...drive, state: "failed" as const } : drive));
  assert.equal(drivesToBalance(known, failed, here), undefined);
});

void test("a set is another one when a drive, its place or its size is, and not when a size is off by little", () => {
  const drives = [driveOn("a"), driveOn("b")];
  const [first, second] = drives;
  const recorded = balancedFor(drives);
  const isSame = (others: readonly PlacementDrive[]): boolean => isSameSet(recorded, balancedFor(others));
  assert.ok(isSame([second!, { ...first!, weightBytes: 1_050_000 }]));
  assert.ok(!isSame([first!]));
  assert.ok(!isSame([first!, driveOn("b")]));
  assert.ok(!isSame([first!, { ...second!, node: "c" }]));
  assert.ok(!isSame([first!, { ...second!, zone: "z" }]));
  assert.ok(!isSame([first!, { ...second!, weightBytes: 2_000_000 }]));
  const record = { isSettled: false, drives: recorded };
  const target = targetOf(record, [
    { ...first!, weightBytes: 1_050_000 },
    { ...second!, state: "full" },
  ]);
  assert.deepEqual(target, drives, "places are reckoned with the sizes of the record, and full drives keep theirs");
  assert.equal(targetOf(record, [first!]), undefined);
});

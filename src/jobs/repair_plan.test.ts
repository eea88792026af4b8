/** Which shard gets the drive when there are more shards than drives. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ChunkId, DriveId } from "../core/ids.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import { planChunk, type DriveView } from "./repair_plan.ts";

const driveOf = (number: number): DriveId => number.toString(16).padStart(16, "0") as DriveId;

test("a shard that is lost gets the only free drive before one that has to move", () => {
  const chunk: ChunkRecord = {
    id: "1".repeat(32) as ChunkId,
    rawBytes: 300_000,
    storedBytes: 300_000,
    blockBytes: undefined,
    redundancy: { dataShards: 2, parityShards: 1 },
    places: [0, 1, 2].map((shardIndex) => ({ drive: driveOf(shardIndex + 1), shardIndex })),
  };
  for (const [draining, lost] of [
    [1, 3],
    [3, 1],
    [1, 2],
  ] as const) {
    const here = [1, 2, 3, 4].filter((number) => number !== lost).map(driveOf);
    const view: DriveView = {
      here: new Set(here),
      givenUp: new Set([driveOf(lost)]),
      draining: new Set([driveOf(draining)]),
      balanced: undefined,
      taking: here.map((id) => ({ id, state: id === driveOf(draining) ? "draining" : "up", weightBytes: 1_000 })),
    };
    const { tasks, isWaiting } = planChunk(chunk, new Set(), view);
    assert.deepEqual(tasks, [{ shardIndex: lost - 1, drive: driveOf(4), inPlace: false }]);
    assert.ok(isWaiting, "the other one waits");
  }
});

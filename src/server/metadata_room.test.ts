import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { reserveBytes } from "../node/drive_state.ts";
import { MetadataRoom } from "./metadata_room.ts";

const MiB = 1024 * 1024;
const totalBytes = 1_000 * MiB;
const body = limits.inlineBytesMax;

/** A file system that shrinks by what is admitted, and is asked how often. */
function setUp(leftBytes: number) {
  const world = {
    freeBytes: reserveBytes(totalBytes) + leftBytes,
    fileBytes: MiB,
    reusableBytes: 0,
    nowMs: 0,
    asked: 0,
  };
  const room = new MetadataRoom({
    space: async () => {
      world.asked += 1;
      return { totalBytes, freeBytes: world.freeBytes };
    },
    fileSpace: () => world,
    clock: { monotonicMs: () => world.nowMs },
  });
  return { world, room };
}

const isFull = (error: unknown): boolean => hasReason(error, "drive_full");

void test("rows are admitted down to the reserve, and the drive is asked seldom while it is far", async () => {
  const { world, room } = setUp(100 * MiB);
  let admitted = 0;
  for (; admitted < 10_000; admitted++) {
    try {
      await room.admit(body);
    } catch (error) {
      assert.ok(isFull(error), String(error));
      break;
    }
    world.freeBytes -= body;
    if (admitted === 100) assert.equal(world.asked, 1);
  }
  assert.ok(world.freeBytes >= reserveBytes(totalBytes), "the reserve is left");
  assert.ok(admitted > 6_000, "what lies above it is not");
});

void test("on a full drive what can be used again is room, and free space is seen at once", async () => {
  const { world, room } = setUp(-1);
  await assert.rejects(room.admit(0), isFull);
  world.reusableBytes = limits.metaReusableBytesMin - 1;
  await assert.rejects(room.admit(body), isFull);
  world.reusableBytes += 1;
  await room.admit(body);
  world.reusableBytes = 0;
  await assert.rejects(room.admit(body), isFull);
  world.freeBytes += 10 * MiB;
  await room.admit(body);
});

void test("what is free but scattered, so that the file grows all the same, is no room until it was used", async () => {
  const { world, room } = setUp(-1);
  world.reusableBytes = 3 * limits.metaReusableBytesMin;
  await room.admit(body);
  world.fileBytes += MiB;
  await room.admit(body);
  world.fileBytes += body;
  await assert.rejects(room.admit(body), isFull);
  world.reusableBytes += limits.metaReusableBytesMin;
  await room.admit(body);
  world.reusableBytes = limits.metaReusableBytesMin;
  await assert.rejects(room.admit(body), isFull);
  world.reusableBytes = 2 * limits.metaReusableBytesMin;
  await room.admit(body);
});

void test("a file that grew while the drive was not full tells nothing", async () => {
  const { world, room } = setUp(-1);
  await assert.rejects(room.admit(body), isFull);
  world.freeBytes += 10 * MiB;
  await room.admit(body);
  world.fileBytes += 10 * MiB;
  world.freeBytes -= 10 * MiB;
  world.reusableBytes = limits.metaReusableBytesMin;
  world.nowMs += 1_000;
  await room.admit(body);
});

void test("what others write is seen after a moment, and requests that wait share one question", async () => {
  const { world, room } = setUp(100 * MiB);
  await Promise.all(Array.from({ length: 50 }, () => room.admit(body)));
  assert.equal(world.asked, 1);
  world.freeBytes = 0;
  world.nowMs = 1_000;
  const results = await Promise.allSettled(Array.from({ length: 50 }, () => room.admit(body)));
  assert.ok(results.every((result) => result.status === "rejected" && isFull(result.reason)));
});

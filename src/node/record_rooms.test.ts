/** Buffers that are used again: never by two at once, and never more of them kept than was said. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "../core/limits.ts";
import { takeRoom } from "./record_rooms.ts";

const MiB = 2 ** 20;

void test("a room that was given back is used again for what fits it, by one at a time", () => {
  const first = takeRoom(MiB);
  assert.equal(first.bytes.length, MiB);
  first.release();
  first.release();
  const [second, third, larger] = [takeRoom(MiB - 5), takeRoom(MiB), takeRoom(4 * MiB)];
  assert.equal(second.bytes.buffer, first.bytes.buffer);
  assert.equal(second.bytes.length, MiB - 5);
  assert.equal(new Set([second, third, larger].map(({ bytes }) => bytes.buffer)).size, 3);
  for (const room of [second, third, larger]) room.release();
});

void test("so many bytes of rooms are kept, in whatever sizes, and small ones are none", () => {
  const sizes = [MiB / 4, MiB, 4 * MiB];
  const taken = sizes.flatMap((bytes) => Array.from({ length: 40 }, () => takeRoom(bytes)));
  for (const room of taken) room.release();
  const known = new Set(taken.map(({ bytes }) => bytes.buffer));
  const again = sizes.flatMap((bytes) => Array.from({ length: 40 }, () => takeRoom(bytes)));
  const kept = new Set(again.map(({ bytes }) => bytes.buffer).filter((buffer) => known.has(buffer)));
  const keptBytes = [...kept].reduce((sum, { byteLength }) => sum + byteLength, 0);
  assert.ok(keptBytes > limits.recordRoomBytesKept / 2 && keptBytes <= limits.recordRoomBytesKept, `${keptBytes}`);
  const small = takeRoom(1_000);
  small.release();
  assert.notEqual(takeRoom(1_000).bytes.buffer, small.bytes.buffer);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { BlobId, SessionId } from "../core/ids.ts";
import { seededRandom } from "../core/random.ts";
import { mendPlaces, placeOf } from "../meta/mends.ts";
import { Shares } from "./shares.ts";

const random = seededRandom(5);
const hexOf = (bytes: number): string => Buffer.from(random.bytes(bytes)).toString("hex");
const sessions = Array.from({ length: 6 }, () => hexOf(8) as SessionId);
const places = Array.from({ length: 3_000 }, () => random.below(mendPlaces));

function ownerOf(place: number, among: readonly SessionId[], nowMs = 0): SessionId {
  const owners = among.filter((id) => new Shares(id, among, nowMs).isOwn(place));
  assert.equal(owners.length, 1, "each piece is one session's");
  return owners[0]!;
}

void test("each place is one session's, whatever the order and however many there are, and each has as many", () => {
  const property = fc.property(fc.integer({ min: 1, max: 300 }), fc.nat(1e9), (count, nowMs) => {
    const all = Array.from({ length: count }, (_, index) => index.toString(16).padStart(16, "0") as SessionId);
    const ranges = all.map((id) => new Shares(id, all.toReversed(), nowMs).own).toSorted((a, b) => a.start - b.start);
    let at = 0;
    for (const { start, end } of ranges) {
      assert.equal(start, at);
      assert.ok(Math.abs(end - start - mendPlaces / count) <= 1);
      at = end;
    }
    assert.equal(at, mendPlaces);
  });
  fc.assert(property, { numRuns: 50 });
  for (const place of places.slice(0, 100))
    assert.equal(ownerOf(place, sessions), ownerOf(place, sessions.toReversed()));
});

void test("a session that ends leaves its share to the others", () => {
  const [, ...rest] = sessions;
  for (const place of places.slice(0, 300)) assert.ok(rest.includes(ownerOf(place, rest)));
});

void test("shares change with time, and one that is not among the sessions has none", () => {
  const owners = new Set(Array.from({ length: 40 }, (_, turn) => ownerOf(places[0]!, sessions, turn * 5 * 60_000)));
  assert.ok(owners.size > 3);
  const stranger = new Shares("00".repeat(8) as SessionId, sessions, 0);
  assert.ok(places.every((each) => !stranger.isOwn(each)));
});

void test("pages lie evenly over the places, those of one blob and those of blobs whose ids are like each other", () => {
  const like = (index: number): BlobId => `${"ab".repeat(8)}${index.toString(16).padStart(16, "0")}` as BlobId;
  const families = [
    Array.from({ length: 3_200 }, (_, index) => placeOf(like(index), 0)),
    Array.from({ length: 3_200 }, (_, index) => placeOf(like(16 * index), 0)),
    Array.from({ length: 3_200 }, (_, index) => placeOf(like(7), index)),
    Array.from({ length: 3_200 }, () => placeOf(hexOf(16) as BlobId, 0)),
  ];
  for (const family of families) {
    const counts = new Map<number, number>();
    for (const place of family) {
      assert.ok(place >= 0 && place < mendPlaces);
      const part = Math.floor((16 * place) / mendPlaces);
      counts.set(part, (counts.get(part) ?? 0) + 1);
    }
    for (let part = 0; part < 16; part++) assert.ok(Math.abs(counts.get(part)! - 200) < 60, String(counts.get(part)));
  }
});

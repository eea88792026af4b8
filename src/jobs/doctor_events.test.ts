/** What can be wrong with the rows of notifications is planted, one at a time, and must be named; sound ones have no findings. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { DestinationId, SessionId } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import { systemClock } from "../core/clock.ts";
import { systemRandom } from "../core/random.ts";
import { Destinations } from "../events/events.ts";
import { noteEvent } from "../events/note.ts";
import type { Entry, Write } from "../kv/kv.ts";
import { scanAll } from "../kv/scan_pages.ts";
import { transact } from "../kv/transact.ts";
import { encodeDeparted } from "../meta/destinations.ts";
import {
  departedKey,
  destinationIdOf,
  destinationKey,
  eventKey,
  eventPlaceOf,
  troubleKey,
} from "../meta/event_keys.ts";
import { tagRange, tags, type Tag } from "../meta/keys.ts";
import { findingsOf, newWorld, startProcess, type Process, type World } from "./jobs.fixture.ts";
import type { Finding } from "./doctor.ts";

let world: World;
let process: Process;
let id: DestinationId;
const nobody = "00".repeat(8) as DestinationId;

before(async () => {
  world = newWorld();
  process = await startProcess(world);
  const session = process.session.id;
  const parts = { kv: world.kv, session, clock: systemClock, random: systemRandom, log: silentLog };
  await new Destinations({ ...parts, rulesOf: () => [] }).set("hook", {
    url: "http://127.0.0.1:1/",
    headers: [],
    secret: undefined,
  });
  const { bucket } = await process.store.createBucket("told", { region: "r" });
  for (const key of ["a", "b"]) await note(session, bucket.id, key);
  id = destinationIdOf((await one(tags.event)).key);
});
after(() => world.kv.close());

async function note(session: SessionId, bucketId: Parameters<typeof noteEvent>[3]["bucketId"], key: string) {
  const rule = { id: "r", destination: "hook", events: ["s3:ObjectCreated:*"], prefix: undefined, suffix: undefined };
  await transact(world.kv, (tx) =>
    noteEvent(tx, session, [rule], {
      name: "ObjectCreated:Put",
      atMs: 1,
      bucket: "told",
      bucketId,
      region: "r",
      key: Buffer.from(key),
      object: { sizeBytes: 1, etag: "e" },
      versionId: undefined,
      origin: undefined,
    }),
  );
}

async function one(tag: Tag): Promise<Entry> {
  const [row] = await scanAll(world.kv, tagRange(tag));
  assert.ok(row);
  return row;
}

const put = (key: Buffer, value: Buffer): Write => ({ kind: "put", key, value });
const remove = (key: Buffer): Write => ({ kind: "delete", key });
const unreadable = Buffer.from("ff", "hex");

const cases: readonly [what: string, kinds: readonly Finding["kind"][], plant: () => Promise<readonly Write[]>][] = [
  ["an event that cannot be read", ["corrupt_record"], async () => [put((await one(tags.event)).key, unreadable)]],
  ["an event missing", ["wrong_usage"], async () => [remove((await one(tags.event)).key)]],
  [
    "an event of no destination",
    ["stray_record"],
    async () => [put(eventKey(nobody, { slot: 1, place: 1 }), (await one(tags.event)).value)],
  ],
  [
    "an event of a destination that is being cleared away",
    [],
    async () => [
      put(eventKey(nobody, { slot: 1, place: 1 }), (await one(tags.event)).value),
      put(departedKey(nobody), encodeDeparted()),
    ],
  ],
  [
    "an event beyond the last place",
    ["wrong_version"],
    async () => {
      const { key, value } = await one(tags.event);
      const { slot, place } = eventPlaceOf(key);
      return [remove(key), put(eventKey(id, { slot, place: place + 100 }), value)];
    },
  ],
  ["counters missing", ["wrong_usage"], async () => [remove((await one(tags.queued)).key)]],
  [
    "a destination gone without a trace",
    ["stray_record", "stray_record"],
    async () => [remove(destinationKey("hook"))],
  ],
  ["trouble that cannot be read", ["corrupt_record"], async () => [put(troubleKey(id), unreadable)]],
  [
    "a sequence that cannot be read",
    ["corrupt_record", "wrong_version"],
    async () => [put((await one(tags.sequence)).key, unreadable)],
  ],
];

test("sound notifications have no findings", async () => assert.deepEqual(await findingsOf(world), []));

for (const [what, kinds, plant] of cases)
  test(`${what} is ${kinds.join(", ") || "no finding"}`, async () => {
    const { kv } = world;
    const writes = await plant();
    const before = await kv.get(writes.map(({ key }) => key));
    await kv.commit({ checks: [], writes });
    try {
      assert.deepEqual((await findingsOf(world)).map(({ kind }) => kind).toSorted(), kinds);
    } finally {
      const back = before.map((row, at) => (row ? put(row.key, row.value) : remove(writes[at]!.key as Buffer)));
      await kv.commit({ checks: [], writes: back });
    }
  });

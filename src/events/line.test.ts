/** Delivery, by a courier that does as it is told and a clock that is moved by hand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { Clock } from "../core/clock.ts";
import type { BucketId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { seededRandom, systemRandom } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { scanAll } from "../kv/scan_pages.ts";
import { transact } from "../kv/transact.ts";
import { decodeDestination, readEventCounters } from "../meta/destinations.ts";
import { destinationKey, departedKey, eventRange, queuedKey, undeliveredRange } from "../meta/event_keys.ts";
import { tagRange, tags } from "../meta/keys.ts";
import { Session } from "../meta/sessions.ts";
import type { Courier, Delivery, Message } from "./courier.ts";
import { DeliverJob } from "./deliver.ts";
import { Destinations } from "./destinations.ts";
import { noteEvent, slotOf } from "./note.ts";
import { pauseMs } from "./line.ts";
import type { EventRule } from "./rules.ts";

const bucketId = "b1".repeat(8) as BucketId;
const day = 24 * 3_600_000;

/** Time passes when it is told to; whoever sleeps is woken at once, so that nothing here takes time. */
class HandClock implements Clock {
  ms = 1_700_000_000_000;
  nowMs = (): number => this.ms;
  monotonicMs = (): number => this.ms;
  sleep = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
}

type Told = { readonly key: string; readonly sequencer: string };

function toldIn({ body }: Message): Told {
  const { Records } = JSON.parse(body) as { Records: { s3: { object: Told } }[] };
  return Records[0]!.s3.object;
}

type World = {
  readonly kv: Kv;
  readonly clock: HandClock;
  readonly destinations: Destinations;
  /** What each destination took, by its name. */
  readonly taken: Map<string, Message[]>;
  /** What a destination does with a message; it takes it where nothing else is said. */
  readonly does: Map<string, (message: Message) => Delivery | Promise<Delivery>>;
  readonly session: Session;
  job(): DeliverJob;
  note(names: readonly string[], ...keys: readonly string[]): Promise<void>;
  keys(name: string): string[];
};

async function newWorld(): Promise<World> {
  const kv = openMemoryKv();
  const clock = new HandClock();
  const random = seededRandom(7);
  const session = await Session.start({ kv, clock, random: systemRandom, node: "test" });
  const parts = { kv, session: session.id, clock, random, log: silentLog };
  const taken = new Map<string, Message[]>();
  const does: World["does"] = new Map();
  const courierFor = ({ url }: { readonly url: string }): Courier => {
    const name = new URL(url).hostname;
    return {
      deliver: async (message) => {
        const delivery = (await does.get(name)?.(message)) ?? { outcome: "taken" };
        if (delivery.outcome === "taken") taken.set(name, [...(taken.get(name) ?? []), message]);
        return delivery;
      },
      close: () => undefined,
    };
  };
  return {
    kv,
    clock,
    taken,
    does,
    session,
    destinations: new Destinations({ ...parts, rulesOf: () => [] }),
    job: () => new DeliverJob({ ...parts, courierFor, mayGoOn: async () => true }),
    note: async (names, ...keys) => {
      for (const key of keys)
        await transact(kv, (tx) => noteEvent(tx, session.id, rulesOf(names), happening(clock, key)));
    },
    keys: (name) => (taken.get(name) ?? []).map((message) => toldIn(message).key),
  };
}

function rulesOf(names: readonly string[]): EventRule[] {
  return names.map((destination) => ({
    id: "r",
    destination,
    events: ["s3:ObjectCreated:*"],
    prefix: undefined,
    suffix: undefined,
  }));
}

function happening(clock: Clock, key: string): Parameters<typeof noteEvent>[3] {
  return {
    name: "ObjectCreated:Put",
    atMs: clock.nowMs(),
    bucket: "b",
    bucketId,
    region: "r",
    key: Buffer.from(key),
    object: { sizeBytes: 1, etag: "e" },
    versionId: undefined,
    origin: undefined,
  };
}

const add = ({ destinations }: World, name: string) =>
  destinations.set(name, { url: `http://${name}/`, headers: [], secret: undefined });

const run = (job: DeliverJob, signal = new AbortController().signal) => job.run(signal);

const away = (): Delivery => ({ outcome: "unreachable", why: "nobody is there" });
const no = (): Delivery => ({ outcome: "refused", why: "It answered 400." });

async function rows({ kv }: World): Promise<number> {
  return (await scanAll(kv, tagRange(tags.event))).length;
}

test("events of a key are delivered in the order in which they happened, with rising sequencers", async () => {
  const world = await newWorld();
  await add(world, "one");
  await Promise.all(Array.from({ length: 20 }, () => world.note(["one"], "k", "other")));
  // Time went back meanwhile.
  world.clock.ms -= day;
  await world.note(["one"], ...Array.from({ length: 300 }, () => "k"));
  await run(world.job());
  const told = world.taken.get("one")!.map(toldIn);
  assert.equal(told.length, 340);
  const sequencers = told.filter(({ key }) => key === "k").map(({ sequencer }) => sequencer);
  assert.equal(sequencers.length, 320);
  assert.deepEqual(sequencers, sequencers.toSorted());
  assert.equal(new Set(sequencers).size, 320);
  assert.equal(await rows(world), 0);
  const { id } = decodeDestination((await world.kv.get([destinationKey("one")]))[0]!.value);
  assert.deepEqual(await readEventCounters(world.kv, id), { waiting: 0, undelivered: 0, lost: 0 });
});

test("a destination that is away holds up no other, is asked seldom, and gets everything when it is back", async () => {
  const world = await newWorld();
  await add(world, "dead");
  await add(world, "live");
  let asked = 0;
  world.does.set("dead", () => {
    asked += 1;
    return away();
  });
  const keys = Array.from({ length: 500 }, (_, at) => `k${at}`);
  await world.note(["dead", "live"], ...keys);
  // One key of which much is to be told.
  await world.note(["dead"], ...Array.from({ length: 60 }, () => "k0"));
  const job = world.job();
  await run(job);
  assert.deepEqual(world.keys("live").toSorted(), keys.toSorted());
  // All that were on their way when the first one failed, and not one more while it is put off.
  assert.ok(asked <= limits.deliveriesAtOnceMax, `${asked}`);
  const before = asked;
  await run(job);
  assert.equal(asked, before);
  world.clock.ms += limits.deliveryPauseMsMax;
  await run(job);
  assert.equal(asked, before + 1);
  const [view] = await world.destinations.list();
  assert.equal(view?.trouble?.message, "nobody is there");
  assert.equal(view.waiting, 560);
  world.does.delete("dead");
  world.clock.ms += limits.deliveryPauseMsMax;
  await run(job);
  assert.equal(world.keys("dead").length, 560);
  assert.deepEqual(new Set(world.keys("dead")), new Set(keys));
  assert.equal((await world.destinations.show("dead")).trouble, undefined);
});

test("an answer that never comes holds up no other destination", async () => {
  const world = await newWorld();
  await add(world, "mute");
  await add(world, "quick");
  const stop = new AbortController();
  let answer = (_delivery: Delivery): void => undefined;
  world.does.set("mute", () => new Promise((resolve) => (answer = resolve)));
  await world.note(["mute"], "m");
  const running = run(world.job(), stop.signal);
  await new Promise((resolve) => setImmediate(resolve));
  await world.note(["quick"], "a", "b");
  while (world.keys("quick").length < 2) await new Promise((resolve) => setImmediate(resolve));
  stop.abort();
  answer({ outcome: "unreachable", why: "aborted" });
  await running;
  assert.equal(await rows(world), 1);
});

test("a message that is refused holds up the later ones of its key and nobody else's", async () => {
  const world = await newWorld();
  await add(world, "picky");
  let refused = 0;
  const isFirst = (message: Message): boolean => toldIn(message).key === "bad" && refused++ === 0;
  world.does.set("picky", (message) => (isFirst(message) ? no() : { outcome: "taken" }));
  await world.note(["picky"], "bad", "good", "bad", "fine");
  const job = world.job();
  await run(job);
  assert.deepEqual(world.keys("picky").toSorted(), ["fine", "good"]);
  await world.note(["picky"], "later");
  await run(job);
  assert.ok(world.keys("picky").includes("later"), "others go on while it is put off");
  assert.equal(refused, 1);
  world.clock.ms += limits.deliveryPauseMsMax;
  await run(job);
  const late = world.taken.get("picky")!.slice(3).map(toldIn);
  assert.deepEqual(
    late.map(({ key }) => key),
    ["bad", "bad"],
  );
  assert.ok(late[0]!.sequencer < late[1]!.sequencer);
});

test("what is refused, or cannot be sent, for too long is put aside, and sent again when that is asked for", async () => {
  const world = await newWorld();
  await add(world, "picky");
  await add(world, "gone");
  world.does.set("picky", (message) => (toldIn(message).key === "bad" ? no() : { outcome: "taken" }));
  world.does.set("gone", away);
  await world.note(["picky", "gone"], "bad", "good");
  const job = world.job();
  await run(job);
  world.clock.ms += limits.deliveryTriedMsMax + 1;
  await world.note(["gone"], "young");
  await run(job);
  const counters = async (name: string): Promise<number[]> => {
    const { waiting, undelivered, lost } = await world.destinations.show(name);
    return [waiting, undelivered, lost];
  };
  assert.deepEqual(await counters("picky"), [0, 1, 0]);
  assert.deepEqual(await counters("gone"), [1, 2, 0]);
  const { events } = await world.destinations.undelivered("gone", { limit: 10 });
  assert.deepEqual(events.map(({ key }) => key).toSorted(), ["bad", "good"]);
  assert.equal(await world.destinations.sendAgain("gone"), 2);
  assert.equal(await world.destinations.sendAgain("gone"), 0);
  world.does.clear();
  world.clock.ms += limits.deliveryPauseMsMax;
  await run(job);
  assert.deepEqual(world.keys("gone").toSorted(), ["bad", "good", "young"]);
  assert.deepEqual(await counters("gone"), [0, 0, 0]);
  // What nobody asked for goes in the end.
  world.clock.ms += limits.undeliveredKeptMs + 1;
  await run(job);
  assert.deepEqual(await counters("picky"), [0, 0, 0]);
  assert.equal((await scanAll(world.kv, tagRange(tags.undelivered))).length, 0);
});

test("what was sent and not yet taken away when a process dies is sent again, under the same id", async () => {
  const world = await newWorld();
  await add(world, "one");
  await world.note(["one"], "k");
  const job = new DeliverJob({
    kv: failing(world.kv),
    session: world.session.id,
    clock: world.clock,
    random: systemRandom,
    log: silentLog,
    courierFor: () => ({
      deliver: async (message) => {
        world.taken.set("one", [...(world.taken.get("one") ?? []), message]);
        return { outcome: "taken" };
      },
      close: () => undefined,
    }),
    mayGoOn: async () => true,
  });
  await run(job);
  assert.equal(await rows(world), 1);
  await run(world.job());
  const ids = world.taken.get("one")!.map(({ id }) => id);
  assert.equal(ids.length, 2);
  assert.equal(ids[0], ids[1]);
  assert.equal(await rows(world), 0);
});

/** A store in which nothing can be written any more. */
function failing(kv: Kv): Kv {
  return {
    name: kv.name,
    get: (keys) => kv.get(keys),
    scan: (range, options) => kv.scan(range, options),
    commit: () => Promise.reject(new Error("killed")),
    close: () => kv.close(),
  };
}

test("what one destination took counts, though another ends after it and took nothing", async () => {
  const world = await newWorld();
  for (const name of ["quick", "late"]) await add(world, name);
  world.does.set("late", async () => {
    while ((await rows(world)) > 1) await turn();
    for (let turns = 0; turns < 10; turns++) await turn();
    return away();
  });
  await world.note(["quick", "late"], "k");
  assert.equal((await run(world.job())).done, 1);
  assert.deepEqual(world.keys("quick"), ["k"]);
});

test("two processes that deliver at the same time tell some things twice and count nothing twice", async () => {
  const world = await newWorld();
  await add(world, "one");
  const keys = Array.from({ length: 200 }, (_, at) => `k${at}`);
  await world.note(["one"], ...keys);
  await Promise.all([run(world.job()), run(world.job())]);
  assert.deepEqual([...new Set(world.keys("one"))].toSorted(), keys.toSorted());
  assert.equal((await world.destinations.show("one")).waiting, 0);
});

test("for a destination that is full events are counted and not kept, until there is room again", async () => {
  const world = await newWorld();
  await add(world, "one");
  await world.note(["one"], "before");
  const { id } = decodeDestination((await world.kv.get([destinationKey("one")]))[0]!.value);
  const pretend = async (waiting: number): Promise<unknown> => {
    world.clock.ms += 60_000;
    const key = queuedKey(id, world.session.id);
    return world.kv.commit({ checks: [], writes: [{ kind: "add", key, deltas: [waiting] }] });
  };
  world.does.set("one", away);
  await pretend(limits.eventsKeptMax - 2);
  await run(world.job());
  assert.equal((await world.destinations.show("one")).isFull, false);
  await pretend(1);
  await run(world.job());
  await world.note(["one"], "a", "b");
  const full = await world.destinations.show("one");
  assert.deepEqual([full.isFull, full.waiting, full.lost], [true, limits.eventsKeptMax, 2]);
  assert.equal((await world.destinations.facts()).full, 1);
  await pretend(1 - limits.eventsKeptMax);
  world.does.delete("one");
  await run(world.job());
  await world.note(["one"], "after");
  await run(world.job());
  assert.deepEqual(world.keys("one"), ["before", "after"]);
  const { isFull, lost } = await world.destinations.show("one");
  assert.deepEqual([isFull, lost], [false, 2]);
});

test("a destination that is removed is told nothing more, and nothing of it stays", async () => {
  const world = await newWorld();
  await add(world, "one");
  const { id } = decodeDestination((await world.kv.get([destinationKey("one")]))[0]!.value);
  world.does.set("one", away);
  await world.note(["one"], "a", "b");
  const job = world.job();
  await run(job);
  await world.destinations.remove("one", { force: false });
  await world.note(["one"], "c");
  await add(world, "one");
  world.clock.ms += day;
  await run(job);
  for (const range of [eventRange(id), undeliveredRange(id), tagRange(tags.departed), tagRange(tags.trouble)])
    assert.deepEqual(await scanAll(world.kv, range), []);
  assert.equal((await world.kv.get([departedKey(id)]))[0], undefined);
  assert.deepEqual(world.keys("one"), []);
});

test("a row that cannot be read is put aside and holds up nobody", async () => {
  const world = await newWorld();
  await add(world, "one");
  await world.note(["one"], "k", "l");
  const [first] = await scanAll(world.kv, tagRange(tags.event));
  await world.kv.commit({ checks: [], writes: [{ kind: "put", key: first!.key, value: Buffer.from("ff", "hex") }] });
  await run(world.job());
  const { waiting, undelivered } = await world.destinations.show("one");
  assert.deepEqual([waiting, undelivered, world.keys("one").length], [0, 1, 1]);
  assert.equal(await world.destinations.sendAgain("one"), 0);
});

test("a destination whose row cannot be read holds up no other", async () => {
  const world = await newWorld();
  await add(world, "one");
  await world.note(["one"], "k");
  const value = Buffer.from("ff", "hex");
  await world.kv.commit({ checks: [], writes: [{ kind: "put", key: destinationKey("broken"), value }] });
  await run(world.job());
  assert.deepEqual(world.keys("one"), ["k"]);
});

test("pauses grow, never beyond their bound, and differ", () => {
  const random = seededRandom(3);
  for (let failures = 1; failures < 100; failures++) {
    const pause = pauseMs(failures, random);
    const most = Math.min(limits.deliveryPauseMsMax, limits.deliveryPauseMsMin * 2 ** (failures - 1));
    assert.ok(pause >= most / 2 && pause <= most, `${failures}: ${pause}`);
  }
  assert.ok(new Set(Array.from({ length: 20 }, () => pauseMs(10, random))).size > 15);
});

test("keys are spread over the slots", () => {
  const slots = Array.from({ length: 20_000 }, (_, at) => slotOf(bucketId, Buffer.from(`dir/file-${at}`)));
  const counts = new Map<number, number>();
  for (const slot of slots) counts.set(slot, (counts.get(slot) ?? 0) + 1);
  assert.ok(slots.every((slot) => slot >= 0 && slot < limits.eventSlots));
  assert.ok(counts.size > 0.95 * limits.eventSlots, `${counts.size}`);
  assert.ok(Math.max(...counts.values()) < 25, `${Math.max(...counts.values())}`);
});

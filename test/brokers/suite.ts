/**
 * What every kind of broker promises as a destination, tried on a broker that is really there: taken when it was acknowledged and
 * not before, and nothing lost or out of order through a broker that is away, ends, or whose connections break.
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import type { BucketId, DestinationId } from "../../src/core/ids.ts";
import { silentLog } from "../../src/core/log.ts";
import { seededRandom, systemRandom } from "../../src/core/random.ts";
import { openCourier, type Courier, type Delivery, type Message } from "../../src/events/courier.ts";
import { DeliverJob, Destinations, noteEvent } from "../../src/events/events.ts";
import { checkedTarget } from "../../src/events/target.ts";
import { openMemoryKv } from "../../src/kv/memory.ts";
import { transact } from "../../src/kv/transact.ts";
import type { Credentials } from "../../src/meta/destinations.ts";
import { Session } from "../../src/meta/sessions.ts";
import { Link } from "../cluster/link.ts";
import type { Broker } from "./broker.ts";

const never = new AbortController().signal;
const bucketId = "b1".repeat(8) as BucketId;

export function message(at: number | string): Message {
  return { id: `m-${at}`, event: "s3:ObjectCreated:Put", orderedBy: "b/k", body: `{"Records":[],"at":"${at}"}` };
}

/** As a store opens it when an operator has added the target. */
export function courierTo(t: TestContext, url: string, credentials: Credentials = {}): Courier {
  const target = checkedTarget("one", { url, headers: [], secret: undefined, credentials });
  const id = "01".repeat(8) as DestinationId;
  const courier = openCourier({ ...target, id, createdMs: 1, isLeaving: false, isFull: false }, systemClock);
  t.after(() => courier.close());
  return courier;
}

export async function deliver(courier: Courier, at: number | string = 1): Promise<Delivery> {
  return courier.deliver(message(at), never);
}

export function assertUnreachable(delivery: Delivery, why: RegExp): void {
  assert.ok(delivery.outcome === "unreachable", JSON.stringify(delivery));
  assert.match(delivery.why, why);
}

export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 20));
}

async function linkTo(t: TestContext, broker: Broker): Promise<{ readonly link: Link; readonly port: number }> {
  const link = await Link.open(() => ({ host: "127.0.0.1", port: broker.port }));
  t.after(() => link.close());
  return { link, port: Number(link.address.split(":").at(-1)) };
}

type Suite = { readonly name: string; readonly skip: string | false; start(): Promise<Broker> };

export function brokerSuite({ name, skip, start }: Suite): void {
  const run = (what: string, work: (t: TestContext, broker: Broker) => Promise<void>): void => {
    test(`${name}: ${what}`, { skip }, async (t) => {
      const broker = await start();
      try {
        await work(t, broker);
      } finally {
        await broker.dispose();
      }
    });
  };

  run("what is taken is there, also of many at once", async (t, broker) => {
    const courier = courierTo(t, broker.url(broker.port));
    assert.deepEqual(await deliver(courier, 0), { outcome: "taken" });
    const more = Array.from({ length: 15 }, (_, at) => at + 1);
    for (const delivery of await Promise.all(more.map((at) => deliver(courier, at))))
      assert.deepEqual(delivery, { outcome: "taken" });
    const wanted = [0, ...more].map((at) => message(at).body);
    await until(async () => (await broker.taken()).length >= wanted.length);
    assert.deepEqual((await broker.taken()).toSorted(), wanted.toSorted());
  });

  run("a stranger is unreachable, and the reason names no password", async (t, broker) => {
    const url = broker.urlOfStranger(broker.port);
    if (url === undefined) return t.skip("anybody may come");
    const delivery = await deliver(courierTo(t, url));
    assertUnreachable(delivery, /./);
    assert.doesNotMatch(JSON.stringify(delivery), /not-the-password/);
  });

  run("what has no answer yet is not taken, and a connection that breaks is opened anew", async (t, broker) => {
    const { link, port } = await linkTo(t, broker);
    const courier = courierTo(t, broker.url(port));
    assert.deepEqual(await deliver(courier, 0), { outcome: "taken" });
    link.cut(["back"]);
    const waiting = deliver(courier, 1);
    await until(async () => (await broker.taken()).length === 2);
    link.refuse();
    assertUnreachable(await waiting, /./);
    assertUnreachable(await deliver(courier, 2), /./);
    link.heal();
    assert.deepEqual(await deliver(courier, 3), { outcome: "taken" });
  });

  run("a message that is given up by who asked does not stop the others", async (t, broker) => {
    const { link, port } = await linkTo(t, broker);
    const courier = courierTo(t, broker.url(port));
    assert.deepEqual(await deliver(courier, 0), { outcome: "taken" });
    link.cut(["back"]);
    const stop = new AbortController();
    const [stopped, other] = [courier.deliver(message(1), stop.signal), deliver(courier, 2)];
    stop.abort();
    assert.equal((await stopped).outcome, "unreachable");
    link.heal();
    assert.deepEqual(await other, { outcome: "taken" });
  });

  run("none is lost, and each key's are in order, while it is away, ends, and is cut off", outages);
}

async function outages(t: TestContext, broker: Broker): Promise<void> {
  const { link, port } = await linkTo(t, broker);
  const world = await newWorld(broker.url(port));
  await broker.stop();
  await world.note(60);
  const stop = new AbortController();
  const running = world.deliverUntil(stop.signal);
  t.after(() => stop.abort());
  await until(async () => (await world.view()).trouble !== undefined);
  assert.equal((await world.view()).waiting, 60);
  await broker.start();
  await until(async () => (await world.view()).waiting < 60);
  link.refuse();
  await world.note(60);
  link.heal();
  await until(async () => (await world.view()).waiting < 60);
  await broker.stop();
  await world.note(60);
  await broker.start();
  await until(async () => (await world.view()).waiting === 0);
  stop.abort();
  await running;
  const wanted = world.noted;
  await until(async () => firstOf(await broker.taken()).length >= wanted.length);
  const byKey = Map.groupBy(firstOf(await broker.taken()), ({ key }) => key);
  for (const [key, sequence] of Map.groupBy(wanted, (noted) => noted.key))
    assert.deepEqual(
      byKey.get(key)?.map(({ etag }) => etag),
      sequence.map(({ etag }) => etag),
    );
}

type Noted = { readonly key: string; readonly etag: string };

/** The same message may come several times; the first time counts. */
function firstOf(bodies: readonly string[]): Noted[] {
  const seen = new Map<string, Noted>();
  for (const body of bodies) {
    type Told = { Records?: { s3: { object: { key: string; eTag: string } } }[] };
    const object = (JSON.parse(body) as Told).Records?.[0]?.s3.object;
    if (object !== undefined && !seen.has(object.eTag)) seen.set(object.eTag, { key: object.key, etag: object.eTag });
  }
  return [...seen.values()];
}

type World = {
  readonly noted: Noted[];
  note(count: number): Promise<void>;
  view(): ReturnType<Destinations["show"]>;
  deliverUntil(signal: AbortSignal): Promise<void>;
};

/** A store of nothing but events. */
async function newWorld(url: string): Promise<World> {
  const kv = openMemoryKv();
  const random = seededRandom(3);
  const session = await Session.start({ kv, clock: systemClock, random: systemRandom, node: "test" });
  const parts = { kv, session: session.id, clock: systemClock, random, log: silentLog };
  const destinations = new Destinations({ ...parts, rulesOf: () => [] });
  await destinations.set("one", { url, headers: [], secret: undefined });
  const rule = { id: "r", destination: "one", events: ["s3:ObjectCreated:*"], prefix: undefined, suffix: undefined };
  const noted: Noted[] = [];
  const note = async (): Promise<void> => {
    const key = `k${random.below(7)}`;
    const etag = `e${noted.length}`;
    noted.push({ key, etag });
    const happening = {
      name: "ObjectCreated:Put",
      atMs: systemClock.nowMs(),
      bucket: "b",
      bucketId,
      region: "r",
      key: Buffer.from(key),
      object: { sizeBytes: 1, etag },
      versionId: undefined,
      origin: undefined,
    } as const;
    await transact(kv, (tx) => noteEvent(tx, session.id, [rule], happening));
  };
  const job = new DeliverJob({ ...parts, mayGoOn: async () => true });
  return {
    noted,
    note: async (count) => {
      for (let left = count; left > 0; left--) await note();
    },
    view: () => destinations.show("one"),
    deliverUntil: async (signal) => {
      while (!signal.aborted) {
        const { againMs = 50 } = await job.run(signal);
        await systemClock.sleep(Math.min(againMs, 100), signal);
      }
      await job.run(signal);
    },
  };
}

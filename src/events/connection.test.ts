/** What couriers to brokers have in common, over connections that do as they are told. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { Clock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { libraryOf, requireLibrary, SharedConnection, type Connection } from "./connection.ts";
import type { Delivery, Message } from "./courier.ts";

const message: Message = { id: "m", event: "s3:ObjectCreated:Put", orderedBy: "b/k", body: "{}" };
const never = new AbortController().signal;
const taken: Delivery = { outcome: "taken" };

/** Sleeps end when the test says so. */
class HandClock implements Clock {
  readonly sleeps: { readonly ms: number; readonly wake: () => void; readonly signal: AbortSignal | undefined }[] = [];
  nowMs = (): number => 0;
  monotonicMs = (): number => 0;
  sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
    new Promise((wake) => this.sleeps.push({ ms, wake, signal }));
}

type Opened = { closed: number; readonly lost: (why: Error) => void };

function shared(deliver: Connection["deliver"], { refuse = (): boolean => false } = {}) {
  const clock = new HandClock();
  const opened: Opened[] = [];
  const courier = new SharedConnection(async (lost) => {
    if (refuse()) throw new Error("nobody is there");
    const one: Opened = { closed: 0, lost };
    opened.push(one);
    return { deliver, close: () => void (one.closed += 1) };
  }, clock);
  return { clock, opened, courier, send: () => courier.deliver(message, never) };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("messages share one connection, which is opened with the first", async () => {
  const { opened, courier, send } = shared(async () => taken);
  assert.equal(opened.length, 0);
  await Promise.all([send(), send(), send()]);
  await send();
  assert.deepEqual(
    opened.map(({ closed }) => closed),
    [0],
  );
  courier.close();
  await settled();
  assert.equal(opened[0]!.closed, 1);
});

test("a connection that cannot be opened is tried anew by the next message", async () => {
  let isAway = true;
  const { opened, send } = shared(async () => taken, { refuse: () => isAway });
  assert.deepEqual(await send(), { outcome: "unreachable", why: "nobody is there" });
  isAway = false;
  assert.deepEqual(await send(), taken);
  assert.equal(opened.length, 1);
});

test("after a message of which nothing is known the connection is given up, once", async () => {
  let fails = true;
  const { opened, send } = shared(async () => {
    if (fails) throw new Error("odd");
    return taken;
  });
  assert.deepEqual(await Promise.all([send(), send()]), [
    { outcome: "unreachable", why: "odd" },
    { outcome: "unreachable", why: "odd" },
  ]);
  fails = false;
  assert.deepEqual(await send(), taken);
  assert.equal(opened.length, 2);
  assert.ok(opened[0]!.closed > 0);
  assert.equal(opened[1]!.closed, 0);
});

test("a refusal and an answer that nobody gets it keep the connection", async () => {
  const answers: Delivery[] = [
    { outcome: "refused", why: "no" },
    { outcome: "unreachable", why: "nobody listens" },
    taken,
  ];
  const { opened, send } = shared(async () => answers.shift()!);
  assert.deepEqual(
    [await send(), await send(), await send()].map(({ outcome }) => outcome),
    ["refused", "unreachable", "taken"],
  );
  assert.deepEqual(
    opened.map(({ closed }) => closed),
    [0],
  );
});

test("when the connection ends by itself what is on its way ends too", async () => {
  const { opened, send } = shared(() => new Promise(() => undefined));
  const waiting = [send(), send()];
  await settled();
  opened[0]!.lost(new Error("cut"));
  assert.deepEqual(await Promise.all(waiting), [
    { outcome: "unreachable", why: "cut" },
    { outcome: "unreachable", why: "cut" },
  ]);
});

test("who asked may give up, and the connection stays", async () => {
  const { opened, courier } = shared(() => new Promise(() => undefined));
  const stop = new AbortController();
  const waiting = courier.deliver(message, stop.signal);
  await settled();
  stop.abort();
  assert.equal((await waiting).outcome, "unreachable");
  assert.equal(opened[0]!.closed, 0);
});

test("a connection over which nothing is sent is closed, and not while something is", async () => {
  const { clock, opened, send } = shared(async () => taken);
  await send();
  const [first] = clock.sleeps;
  assert.ok(first !== undefined && first.ms > 0);
  // Another message came in time: that sleep says nothing any more.
  await send();
  assert.equal(first.signal?.aborted, true);
  first.wake();
  await settled();
  assert.equal(opened[0]!.closed, 0);
  clock.sleeps.at(-1)!.wake();
  await settled();
  assert.equal(opened[0]!.closed, 1);
  await send();
  assert.equal(opened.length, 2);
});

test("a library that is not installed is named", async () => {
  const isClear = (error: unknown): boolean =>
    hasReason(error, "unavailable") && /npm package "no-such-package".*is not installed/.test(error.message);
  const name = "no-such-package";
  await assert.rejects(
    libraryOf(name, () => import(name) as Promise<unknown>),
    isClear,
  );
  assert.throws(() => requireLibrary(name), isClear);
  requireLibrary("mqtt");
});

test("libraries of brokers are loaded when they are needed, and not before", () => {
  const wrong = readdirSync(import.meta.dirname)
    .filter((name) => name.endsWith(".ts"))
    .filter((name) => {
      const text = readFileSync(path.join(import.meta.dirname, name), "utf8");
      return /^import (?!type )[^;]*from "(@nats-io|@platformatic|amqplib|ioredis|mqtt)/m.test(text);
    });
  assert.deepEqual(wrong, []);
});

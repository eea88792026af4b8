/** Gathering and delivering on a real object layer, with a clock that stands still until it is moved. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { seededRandom } from "../core/random.ts";
import { LoggedBuckets } from "../object/logged_buckets.ts";
import { openTestStore } from "../object/object.fixture.ts";
import type { Objects, PutOptions } from "../object/object.ts";
import { parseLog, type ParsedLine } from "./line.fixture.ts";
import { AccessLogs, type LoggingSetting, type AccessFacts } from "./logging.ts";

/** Sleeps end when it is told that so much time went by. */
class StandingClock implements Clock {
  #now = Date.UTC(2026, 0, 31, 12);
  #sleepers: { atMs: number; wake: () => void }[] = [];
  nowMs = (): number => this.#now;
  monotonicMs = (): number => this.#now;

  get sleeping(): number {
    return this.#sleepers.length;
  }

  sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      if (signal?.aborted === true) return resolve();
      const sleeper = { atMs: this.#now + ms, wake: resolve };
      this.#sleepers.push(sleeper);
      const onAbort = (): void => {
        this.#sleepers = this.#sleepers.filter((each) => each !== sleeper);
        resolve();
      };
      signal?.addEventListener("abort", onAbort, { once: true });
    });

  advance(ms: number): void {
    this.#now += ms;
    const due = this.#sleepers.filter(({ atMs }) => atMs <= this.#now);
    this.#sleepers = this.#sleepers.filter(({ atMs }) => atMs > this.#now);
    for (const { wake } of due) wake();
  }
}

/** A large log is compressed in other threads, which on a busy machine get their turn late: there is no number of turns that is enough. */
async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 1));
}

type World = {
  readonly logs: AccessLogs;
  readonly clock: StandingClock;
  readonly objects: Objects;
  readonly counts: { written: number; dropped: number };
  /** Stands before each PUT of a log. */
  beforePut: (options: PutOptions) => Promise<void>;
  take(facts?: Partial<AccessFacts>): void;
  /** Of each log object, by its name. */
  logged(): Promise<Map<string, ParsedLine[]>>;
};

async function newWorld(t: TestContext, keyFormat?: LoggingSetting["keyFormat"]): Promise<World> {
  const store = await openTestStore("memory");
  const loggedBuckets = new LoggedBuckets();
  const { store: objects } = await store.gateway({ loggedBuckets });
  t.after(() => store.close());
  for (const name of ["source", "target"]) await objects.createBucket(name, { region: "r" });
  await objects.setConfiguration({ bucket: "source", kind: "logging", document: Buffer.from("said") });
  await objects.bucket("source");
  const clock = new StandingClock();
  const counts = { written: 0, dropped: 0 };
  const account = { account: "123456789012", canonicalId: "c" };
  const put: Objects["put"] = async (options) => {
    await world.beforePut(options);
    return objects.put(options);
  };
  const logs = new AccessLogs({
    objects: { put, configurations: (...asked) => objects.configurations(...asked) },
    logged: loggedBuckets,
    accounts: { own: async () => account, ofNumber: async () => account },
    settingOf: () => ({ bucket: "target", prefix: "", grants: [], keyFormat }),
    admit: async () => ({}),
    counts: { accessLogLines: (outcome, lines) => void (counts[outcome] += lines) },
    clock,
    random: seededRandom(1),
    log: silentLog,
  });
  const world: World = {
    logs,
    clock,
    objects,
    counts,
    beforePut: async () => undefined,
    take: (facts = {}) => logs.take("source", () => ({ ...someFacts(clock.nowMs()), ...facts })),
    logged: async () => {
      const found = new Map<string, ParsedLine[]>();
      for (const { key } of (await objects.list({ bucket: "target", limit: 1_000 })).objects) {
        const got = await objects.get({ bucket: "target", key });
        assert.ok(got.outcome === "found");
        const pieces: Buffer[] = [];
        for await (const piece of got.body()) pieces.push(piece);
        got.release();
        found.set(key.toString(), parseLog(Buffer.concat(pieces).toString()));
      }
      return found;
    },
  };
  return world;
}

function someFacts(timeMs: number): AccessFacts {
  const nothing = { remoteAddress: undefined, code: undefined, referer: undefined, versionId: undefined };
  const unsigned = { signatureVersion: undefined, authType: undefined, cipher: undefined, tlsVersion: undefined };
  const sizes = { bytesSent: 1, objectBytes: 1, totalMs: 1, turnAroundMs: 1 };
  const request = { method: "GET", target: "/source/k", httpVersion: "1.1" };
  const key = Buffer.from("k");
  const names = { requester: undefined, requestId: "R", operation: "REST.GET.OBJECT", userAgent: "u", host: "h" };
  return {
    timeMs,
    ...nothing,
    ...unsigned,
    ...sizes,
    ...names,
    key,
    request,
    status: 200,
    hostId: "i",
    isByAcl: false,
  };
}

const linesOf = (logged: Map<string, ParsedLine[]>): ParsedLine[] => [...logged.values()].flat();

/** So long that a hundred or so fill an object. */
const long = "x".repeat(8_192);

void test("lines wait together until their time has come, and nothing ticks when none waits", async (t) => {
  const { logs, clock, take, logged, counts } = await newWorld(t);
  assert.equal(clock.sleeping, 0);
  take();
  take();
  await logs.settled();
  assert.equal(clock.sleeping, 1);
  clock.advance(limits.accessLogIntervalMs - 1);
  assert.equal((await logged()).size, 0);
  clock.advance(1);
  await until(() => counts.written === 2);
  assert.deepEqual(
    [...(await logged()).values()].map(({ length }) => length),
    [2],
  );
  await until(() => clock.sleeping === 0);
  take();
  await logs.settled();
  assert.equal(clock.sleeping, 1);
});

void test("what fills an object is written at once", async (t) => {
  const { logs, clock, take, logged, counts } = await newWorld(t);
  take({ userAgent: long });
  await logs.settled();
  let taken = 1;
  for (; taken * long.length <= limits.accessLogObjectBytesMax; taken++) take({ userAgent: long });
  await until(() => counts.written > 0);
  const [first] = (await logged()).values();
  assert.ok(first!.length < taken);
  assert.ok((first!.length + 1) * (long.length + 512) > limits.accessLogObjectBytesMax);
  clock.advance(limits.accessLogIntervalMs);
  await until(() => counts.written === taken);
  assert.equal(linesOf(await logged()).length, taken);
});

void test("a store that does not take them lets only so many lines wait; the rest is dropped and counted", async (t) => {
  const world = await newWorld(t);
  const { logs, clock, take, logged, counts } = world;
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  world.beforePut = () => opened;
  take({ userAgent: long });
  await logs.settled();
  const taken = Math.ceil((1.5 * limits.accessLogBytesMax) / long.length);
  for (let count = 1; count < taken; count++) take({ userAgent: long });
  assert.ok(counts.dropped > 0);
  const kept = taken - counts.dropped;
  assert.ok(kept * long.length <= limits.accessLogBytesMax);
  assert.ok((kept + 1) * (long.length + 1_024) > limits.accessLogBytesMax);
  assert.equal(counts.written, 0);
  open();
  clock.advance(limits.accessLogIntervalMs);
  await until(() => counts.written === kept);
  assert.equal(linesOf(await logged()).length, kept);
  const dropped = counts.dropped;
  take();
  assert.equal(counts.dropped, dropped);
});

void test("a log that cannot be written now is tried again, and given up after some tries", async (t) => {
  const world = await newWorld(t);
  const { logs, clock, take, logged, counts } = world;
  let failures = 2;
  let tries = 0;
  world.beforePut = async () => {
    tries += 1;
    if (failures-- > 0) throw new HoldfastError("unavailable", "away");
  };
  take();
  await logs.settled();
  for (let expected = 1; expected <= 3; expected++) {
    clock.advance(limits.accessLogIntervalMs);
    await until(() => tries === expected && (clock.sleeping === 1 || counts.written === 1));
  }
  assert.deepEqual([counts.written, counts.dropped, linesOf(await logged()).length], [1, 0, 1]);
  await until(() => clock.sleeping === 0);
  failures = Infinity;
  tries = 0;
  take();
  await logs.settled();
  for (let expected = 1; expected <= limits.accessLogAttemptsMax; expected++) {
    clock.advance(limits.accessLogIntervalMs);
    await until(() => tries === expected && (clock.sleeping === 1 || counts.dropped === 1));
  }
  assert.deepEqual([counts.written, counts.dropped], [1, 1]);
});

void test("a stop writes what waits; what comes later is dropped", async (t) => {
  const { logs, take, logged, counts } = await newWorld(t);
  take();
  await logs.close();
  assert.deepEqual([counts.written, counts.dropped, linesOf(await logged()).length], [1, 0, 1]);
  take();
  await logs.settled();
  assert.deepEqual([counts.written, counts.dropped], [1, 1]);
});

void test("a stop does not wait for ever for a store that does not answer", async (t) => {
  const world = await newWorld(t);
  const { logs, clock, take, counts } = world;
  let isAsked = false;
  world.beforePut = () => {
    isAsked = true;
    return new Promise(() => undefined);
  };
  take();
  await logs.settled();
  const closed = logs.close();
  await until(() => isAsked);
  clock.advance(limits.accessLogStopMsMax);
  await closed;
  assert.deepEqual([counts.written, counts.dropped], [0, 1]);
});

void test("where names say the day of the requests, the lines of two days are not in one object", async (t) => {
  const { logs, take, logged } = await newWorld(t, "EventTime");
  const midnight = Date.UTC(2026, 1, 1);
  for (const timeMs of [midnight - 2_000, midnight - 1, midnight, midnight + 5_000]) {
    take({ timeMs });
    await logs.settled();
  }
  await logs.flush();
  const all = [...(await logged())].map(([name, lines]) => [name.slice(0, -17), lines.map(({ time }) => time)]);
  assert.deepEqual(all, [
    [
      "123456789012/r/source/2026/01/31/2026-01-31-00-00-00",
      ["31/Jan/2026:23:59:58 +0000", "31/Jan/2026:23:59:59 +0000"],
    ],
    [
      "123456789012/r/source/2026/02/01/2026-02-01-00-00-00",
      ["01/Feb/2026:00:00:00 +0000", "01/Feb/2026:00:00:05 +0000"],
    ],
  ]);
});

void test("a document whose row cannot be read costs the line and nothing else", async (t) => {
  const { logs, take, counts, objects } = await newWorld(t);
  await objects.deleteBucket("source");
  take();
  await logs.settled();
  assert.deepEqual(counts, { written: 0, dropped: 0 });
});

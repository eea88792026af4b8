/** Keys in Vault's transit engine: what is asked of it, how often, and what its refusals become. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import * as fc from "fast-check";
import { systemClock, type Clock } from "../core/clock.ts";
import { hasReason, type ErrorReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import type { EncryptionContext } from "../crypto/crypto.ts";
import { DataKey } from "../crypto/data_key.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { KeyServices } from "./key_services.ts";
import { Keyring } from "./keyring.ts";
import { TransitServer, type TransitOptions } from "./transit.fixture.ts";
import { Turns } from "./turns.ts";
import { parseVaultAddress } from "./vault_address.ts";
import { VaultClient } from "./vault_client.ts";
import { VaultKeys } from "./vault_keys.ts";

const noContext: EncryptionContext = new Map();
const context: EncryptionContext = new Map([["project", "blue"]]);
const id = "vault:blue";

const pausesMsMax = 2 ** limits.keyServiceAttemptsMax * limits.keyServicePauseMs;

/** Pauses end, and nothing is ever late: what is not slow on purpose must not depend on how fast the machine is. */
const patient: Clock = {
  ...systemClock,
  sleep: (ms, signal) =>
    ms < pausesMsMax
      ? systemClock.sleep(ms, signal)
      : new Promise((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true })),
};

/** Everything is late at once. */
const hasty: Clock = { ...systemClock, sleep: () => new Promise((resolve) => void setImmediate(resolve)) };

type Opened = {
  readonly keys: VaultKeys;
  readonly lines: string[];
  readonly calls: string[];
};

type OpenOptions = {
  readonly token?: { current(): string; renewed(): string };
  readonly keptMs?: number;
  readonly countMax?: number;
  readonly clock?: Clock;
  readonly namespace?: string;
};

function open(t: TestContext, server: TransitServer, options: OpenOptions = {}): Opened {
  const { clock = patient, keptMs = 60_000, countMax = 100, namespace } = options;
  const token = options.token ?? { current: () => "root-token", renewed: () => "root-token" };
  const lines: string[] = [];
  const calls: string[] = [];
  const note = (fields: object, message: string): void => void lines.push(`${message} ${JSON.stringify(fields)}`);
  const log: Log = { debug: note, info: note, warn: note, error: note };
  const address = { origin: server.origin, mount: server.mount, namespace };
  const onCall = (facts: { call: string; outcome: string }): void => void calls.push(`${facts.call} ${facts.outcome}`);
  const client = new VaultClient({ address, token, clock, random: systemRandom, log, onCall });
  t.after(() => client.close());
  return { keys: new VaultKeys({ client, clock, dataKeys: { countMax, keptMs } }), lines, calls };
}

async function start(t: TestContext, options: TransitOptions = {}): Promise<TransitServer> {
  const server = await TransitServer.start(options);
  t.after(() => server.stop());
  server.make("blue");
  return server;
}

const fails = (promise: Promise<unknown>, reason: ErrorReason, what?: string): Promise<void> =>
  assert.rejects(promise, (error) => hasReason(error, reason), what);

const same = (a: DataKey, b: DataKey): void => assert.deepEqual(a.export(), b.export());
const fresh = (): DataKey => DataKey.generate(systemRandom);

void test("a data key opens with the key and the context it was sealed with, and with no other", async (t) => {
  const server = await start(t, { mount: "team/transit", namespace: "admin/a" });
  server.make("other");
  const { keys } = open(t, server, { keptMs: 0, namespace: "admin/a" });
  const dataKey = fresh();
  const sealed = await keys.seal(id, dataKey, context);
  assert.ok(!sealed.includes(dataKey.export()) && sealed.includes("vault:v1:"));
  same(await keys.open(id, sealed, context), dataKey);
  await fails(keys.open(id, sealed, noContext), "corrupt_record");
  await fails(keys.open("vault:other", sealed, context), "corrupt_record");
  await fails(keys.open(id, sealed.subarray(0, 30), context), "corrupt_record");
  const changed = Buffer.from(sealed);
  changed[changed.length - 10]! ^= 1;
  await fails(keys.open(id, changed, context), "corrupt_record");
});

void test("after a rotation what was sealed opens, and what is sealed has the new version", async (t) => {
  const server = await start(t);
  const { keys } = open(t, server, { keptMs: 0 });
  const dataKey = fresh();
  const before = await keys.seal(id, dataKey, noContext);
  assert.equal((await keys.rotate(id)).version, 2);
  const after = await keys.seal(id, dataKey, noContext);
  assert.ok(after.includes("vault:v2:"));
  for (const sealed of [before, after]) same(await keys.open(id, sealed, noContext), dataKey);
});

void test("a version that Vault opens with no more is disabled, and opens again when it is allowed", async (t) => {
  const server = await start(t);
  const { keys } = open(t, server, { keptMs: 0 });
  const dataKey = fresh();
  const sealed = await keys.seal(id, dataKey, noContext);
  await keys.rotate(id);
  server.keys.get("blue")!.minDecryptionVersion = 2;
  await fails(keys.open(id, sealed, noContext), "encryption_key_disabled");
  server.keys.get("blue")!.minDecryptionVersion = 1;
  same(await keys.open(id, sealed, noContext), dataKey);
});

void test("a key that is not there is not made by sealing with it, whatever its name", async (t) => {
  const server = await start(t);
  const { keys } = open(t, server);
  for (const none of ["vault:none", "vault:", "vault:a/b", "vault:../sys", "vault:a?b", `vault:${"a".repeat(300)}`]) {
    await fails(keys.seal(none, fresh(), noContext), "no_such_encryption_key", none);
    await fails(keys.rotate(none), "no_such_encryption_key", none);
  }
  assert.deepEqual([...server.keys.keys()], ["blue"]);
  const sealed = await keys.seal(id, fresh(), noContext);
  server.keys.clear();
  const { keys: others } = open(t, server);
  await fails(others.open(id, sealed, noContext), "no_such_encryption_key");
});

void test("keys of other types, and derived ones, seal nothing and are not listed", async (t) => {
  const server = await start(t);
  server.make("signing", { type: "ed25519" });
  server.make("rsa", { type: "rsa-2048" });
  server.make("derived", { derived: true });
  const { keys } = open(t, server);
  for (const name of ["signing", "rsa", "derived"])
    await fails(keys.seal(`vault:${name}`, fresh(), noContext), "encryption_key_unusable", name);
  assert.deepEqual(
    (await keys.list({ limit: 10 })).map((key) => key.id),
    [id],
  );
});

void test("keys are made once, listed in pages in their order, and rotated", async (t) => {
  const server = await TransitServer.start();
  t.after(() => server.stop());
  const { keys } = open(t, server);
  assert.deepEqual(await keys.list({ limit: 10 }), []);
  const names = Array.from({ length: 20 }, (_, index) => `vault:key-${String(index).padStart(2, "0")}`);
  for (const name of names) assert.equal((await keys.create(name)).version, 1);
  await fails(keys.create(names[0]!), "encryption_key_already_exists");
  for (const bad of ["key", "vault:", "vault:a b"]) await fails(keys.create(bad), "invalid_argument", bad);
  const found: string[] = [];
  for (let after: string | undefined; ; after = found.at(-1)) {
    const page = await keys.list({ after, limit: 7 });
    found.push(...page.map((key) => key.id));
    if (page.length < 7) break;
  }
  assert.deepEqual(found, names);
  const rotated = await keys.rotate(names[3]!);
  assert.deepEqual(rotated, { id: names[3], createdMs: 1_700_000_000_000, version: 2, rotatedMs: 1_700_000_001_000 });
});

void test("what is kept is not asked for again, for a bounded time however often it is read, and the oldest goes first", async (t) => {
  const server = await start(t);
  let nowMs = 0;
  const clock: Clock = { ...patient, monotonicMs: () => nowMs };
  const { keys } = open(t, server, { clock, keptMs: 1_000, countMax: 3 });
  const decrypts = (): number => server.asked.filter((each) => each === "POST decrypt/blue").length;
  const dataKey = fresh();
  const sealed = await keys.seal(id, dataKey, context);
  for (nowMs = 0; nowMs < 1_000; nowMs += 100) same(await keys.open(id, sealed, context), dataKey);
  assert.equal(decrypts(), 0, "who sealed it has it");
  await fails(keys.open(id, sealed, noContext), "corrupt_record", "what is kept is kept for its context alone");
  nowMs = 1_000;
  same(await keys.open(id, sealed, context), dataKey);
  assert.equal(decrypts(), 2);
  for (let index = 0; index < 3; index++) await keys.seal(id, fresh(), context);
  same(await keys.open(id, sealed, context), dataKey);
  assert.equal(decrypts(), 3, "it went when there were too many");
});

void test("what many requests want at once is asked for once", async (t) => {
  const server = await start(t);
  const sealed = await open(t, server).keys.seal(id, fresh(), context);
  const { keys, calls } = open(t, server);
  let release = (): void => undefined;
  server.gate = new Promise((resolve) => (release = resolve));
  const reads = Array.from({ length: 50 }, () => keys.open(id, sealed, context));
  release();
  await Promise.all(reads);
  assert.deepEqual(calls, ["decrypt ok"]);
});

void test("connections are kept, and no more are opened than calls may run at once", async (t) => {
  const server = await start(t);
  const { keys } = open(t, server, { keptMs: 0 });
  for (let index = 0; index < 20; index++) await keys.seal(id, fresh(), noContext);
  assert.equal(server.connections, 1);
  const many = limits.keyServiceCallsMax + 40;
  await Promise.all(Array.from({ length: many }, () => keys.seal(id, fresh(), noContext)));
  assert.ok(server.connections <= limits.keyServiceCallsMax, `${server.connections} connections`);
});

void test("more calls than may wait are told to come again, and the others are answered", async (t) => {
  const server = await start(t);
  const { keys } = open(t, server, { keptMs: 0 });
  await keys.seal(id, fresh(), noContext);
  let release = (): void => undefined;
  server.gate = new Promise((resolve) => (release = resolve));
  const room = limits.keyServiceCallsMax + limits.keyServiceCallsWaitingMax;
  const calls = Array.from({ length: room + 5 }, () => keys.seal(id, fresh(), noContext));
  const settled = Promise.allSettled(calls);
  await Promise.all(calls.slice(room).map((call) => fails(call, "slow_down")));
  release();
  const outcomes = await settled;
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, room);
});

void test("a passing failure is tried again here, a few times; a refusal is not", async (t) => {
  const server = await start(t);
  const { keys } = open(t, server, { keptMs: 0 });
  const sealed = await keys.seal(id, fresh(), noContext);
  server.asked.length = 0;
  server.failures.push(500, 429);
  await keys.open(id, sealed, noContext);
  assert.equal(server.asked.length, 3);
  server.asked.length = 0;
  // Another protocol, which nobody asked for, is no answer.
  server.failures.push(101);
  await keys.open(id, sealed, noContext);
  assert.equal(server.asked.length, 2);
  server.asked.length = 0;
  server.failures.push(...Array.from({ length: limits.keyServiceAttemptsMax }, () => 502));
  await fails(keys.open(id, sealed, noContext), "unavailable");
  assert.equal(server.asked.length, limits.keyServiceAttemptsMax);
  server.asked.length = 0;
  await fails(keys.open("vault:none", sealed, noContext), "no_such_encryption_key");
  assert.equal(server.asked.length, 1);
});

void test("sealed, away and back again: unavailable meanwhile, one line of the log for each, and then all is as before", async (t) => {
  const server = await start(t);
  const { keys, lines } = open(t, server, { keptMs: 0 });
  const dataKey = fresh();
  const sealed = await keys.seal(id, dataKey, noContext);
  server.isSealed = true;
  for (let times = 0; times < 2; times++) await fails(keys.open(id, sealed, noContext), "unavailable");
  server.isSealed = false;
  same(await keys.open(id, sealed, noContext), dataKey);
  assert.equal(lines.length, 2, lines.join("\n"));
  const { port } = server;
  await server.stop();
  await fails(keys.open(id, sealed, noContext), "unavailable");
  await fails(keys.seal(id, dataKey, noContext), "unavailable");
  await server.listen(port);
  same(await keys.open(id, sealed, noContext), dataKey);
  assert.equal(lines.length, 4, lines.join("\n"));
});

void test("one that does not answer is unavailable, for what seals and what opens", async (t) => {
  const server = await start(t);
  const sealed = await open(t, server).keys.seal(id, fresh(), noContext);
  server.gate = new Promise(() => undefined);
  const { keys, calls } = open(t, server, { clock: hasty });
  await fails(keys.open(id, sealed, noContext), "unavailable");
  await fails(keys.seal(id, fresh(), noContext), "unavailable");
  assert.deepEqual(calls, ["decrypt failed", "look failed"]);
});

void test("a token that is none is ours to mend; one that may not is told so; a new one is taken at once", async (t) => {
  const server = await start(t);
  server.tokens.set("weak", "nothing").set("user", "use");
  let current = "wrong";
  let next = "wrong";
  const token = { current: () => current, renewed: () => (current = next) };
  const { keys, lines } = open(t, server, { token, keptMs: 0 });
  await fails(keys.seal(id, fresh(), noContext), "unavailable");
  next = "weak";
  await fails(keys.seal(id, fresh(), noContext), "access_denied");
  next = "user";
  const dataKey = fresh();
  const sealed = await keys.seal(id, dataKey, noContext);
  same(await keys.open(id, sealed, noContext), dataKey);
  await fails(keys.create("vault:green"), "access_denied");
  await fails(keys.rotate(id), "access_denied");
  assert.ok(!/wrong|weak|user/.test(lines.join("\n").replaceAll("kms-token-file", "")), "no line has a token");
});

void test("neither a line of the log nor an error has a token or a data key", async (t) => {
  const server = await start(t);
  const { keys, lines } = open(t, server, { keptMs: 0 });
  const dataKey = fresh();
  const sealed = await keys.seal(id, dataKey, noContext);
  const errors: unknown[] = [];
  server.failures.push(500, 500, 500);
  for (const call of [
    () => keys.open(id, sealed, noContext),
    () => keys.open(id, sealed, context),
    () => keys.seal("vault:none", dataKey, noContext),
  ])
    await call().catch((error: unknown) => errors.push(error));
  await server.stop();
  await keys.open(id, sealed, noContext).catch((error: unknown) => errors.push(error));
  await server.listen(0);
  assert.equal(errors.length, 4);
  const inspected = errors.map((error) => {
    const { message, stack, cause } = error as Error;
    return [message, stack, cause instanceof Error ? [cause.message, JSON.stringify(cause)] : ""].join("\n");
  });
  const all = [...lines, ...inspected].join("\n");
  assert.ok(!all.includes("root-token") && !all.includes(dataKey.export().toString("base64").slice(0, 40)));
});

void test("keys of the keyring and of Vault stand beside each other, and a list goes over both", async (t) => {
  const server = await start(t);
  server.make("green");
  const { keys: vault } = open(t, server);
  const masters = [systemRandom.bytes(32)];
  const keyring = await Keyring.open({ kv: openMemoryKv(), masters, clock: systemClock, random: systemRandom });
  await keyring.create("blue");
  const services = new KeyServices({ keyring, vault, defaults: { kms: id } });
  assert.deepEqual(services.defaults, { s3: "sse-s3", kms: id });
  const dataKey = fresh();
  for (const each of ["blue", id])
    same(await services.open(each, await services.seal(each, dataKey, context), context), dataKey);
  const found: string[] = [];
  for (let after: string | undefined; ; after = found.at(-1)) {
    const page = await services.list({ after, limit: 2 });
    found.push(...page.map((key) => key.id));
    if (page.length < 2) break;
  }
  assert.deepEqual(found, ["blue", "default", "sse-s3", id, "vault:green"]);
  const without = new KeyServices({ keyring, vault: undefined });
  await fails(without.seal(id, dataKey, noContext), "encryption_not_set_up");
  await fails(new KeyServices({ keyring: undefined, vault }).seal("blue", dataKey, noContext), "encryption_not_set_up");
});

void test("addresses: what is taken, and what is not", () => {
  const of = (text: string): unknown => parseVaultAddress(text);
  assert.deepEqual(of("vault+https://vault.example:8200/transit"), {
    origin: "https://vault.example:8200",
    mount: "transit",
    namespace: undefined,
  });
  assert.deepEqual(of("vault+http://127.0.0.1:8200/team/keys/?namespace=admin/a"), {
    origin: "http://127.0.0.1:8200",
    mount: "team/keys",
    namespace: "admin/a",
  });
  for (const bad of [
    "",
    "https://vault.example/transit",
    "vault+http://vault.example:8200/transit",
    "vault+https://vault.example:8200",
    "vault+https://vault.example:8200/",
    "vault+https://user:word@vault.example/transit",
    "vault+https://vault.example/tran%20sit",
    "vault+https://vault.example/transit?token=x",
    "vault+https://vault.example/transit?namespace=a&namespace=b",
    "vault+https://vault.example/transit?namespace=%0d%0a",
    "vault+https://vault.example/transit#x",
    "vault+https:///transit",
  ])
    assert.equal(of(bad), undefined, bad);
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const prefix of ["", "vault+https://", "vault+https://h/", "vault+https://h/m?namespace="]) {
        const found = parseVaultAddress(prefix + text);
        if (found !== undefined) assert.match(`${found.mount} ${found.namespace ?? ""}`, /^[\w./-]+ [\w./-]*$/);
      }
    }),
  );
});

void test("turns: at most so many at once, in the order in which they came, whatever ends early", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.constantFrom("ok", "fails", "leaves"), { maxLength: 30 }),
      async (atOnceMax, kinds) => {
        const turns = new Turns({ atOnceMax, waitingMax: 100 });
        let running = 0;
        let most = 0;
        const order: number[] = [];
        const outcomes = kinds.map((kind, index) => {
          const leave = new AbortController();
          const run = turns.run(leave.signal, async () => {
            most = Math.max(most, ++running);
            order.push(index);
            await Promise.resolve();
            running -= 1;
            if (kind === "fails") throw new Error("it failed");
          });
          if (kind === "leaves") leave.abort();
          return run.catch((error: unknown) => error);
        });
        await Promise.all(outcomes);
        assert.ok(most <= atOnceMax);
        assert.deepEqual(
          order,
          order.toSorted((a, b) => a - b),
        );
        assert.deepEqual(
          order.filter((index) => kinds[index] !== "leaves"),
          kinds.flatMap((kind, index) => (kind === "leaves" ? [] : [index])),
        );
        // All places were given back.
        let done = 0;
        const all = Array.from({ length: atOnceMax }, () =>
          turns.run(new AbortController().signal, async () => void done++),
        );
        await Promise.all(all);
        assert.equal(done, atOnceMax);
      },
    ),
  );
});

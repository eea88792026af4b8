/** What the driver does while PostgreSQL crashes, stands still, fails over or is no use. These engines sync for real. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { Client } from "pg";
import { systemClock, type Clock } from "../core/clock.ts";
import { hasReason, HoldfastError } from "../core/errors.ts";
import type { Log, LogFields } from "../core/log.ts";
import { readCounters } from "./kv.ts";
import type { Kv } from "./kv.ts";
import { scanAll } from "./scan_pages.ts";
import { postgresMissing, postgresPassword, startPostgres } from "./postgres.fixture.ts";
import type { PostgresServer, PostgresServerOptions } from "./postgres.fixture.ts";
import { openPostgresKv } from "./postgres.ts";
import type { PostgresKvOptions } from "./postgres.ts";

const counterKey = Buffer.from("counter");
/** Of writers that go on until they meet its bound. */
const boundedKey = Buffer.from("bounded");
const bound = 500;

async function newServer(t: TestContext, options: PostgresServerOptions = {}): Promise<PostgresServer> {
  const server = await startPostgres({ fsync: true, ...options });
  t.after(() => server.dispose());
  return server;
}

async function opened(t: TestContext, url: string, options: Partial<PostgresKvOptions> = {}): Promise<Kv> {
  const kv = await openPostgresKv({ url, ...options });
  t.after(() => kv.close());
  return kv;
}

function recordingLog(): { readonly log: Log; readonly lines: string[] } {
  const lines: string[] = [];
  const note = (fields: LogFields, message: string): void => {
    const error = fields["err"] instanceof Error ? `${fields["err"].stack} ${JSON.stringify(fields["err"])}` : "";
    lines.push(`${message} ${JSON.stringify(fields)} ${error}`);
  };
  return { log: { debug: note, info: note, warn: note, error: note }, lines };
}

/** Whoever is heard for some time has as much of it as the answer takes. */
const unhurried: Clock = { ...systemClock, sleep: () => new Promise(() => undefined) };

type Wire = { readonly host: string; cut(): void; close(): void };

/** A way to the engine whose connections can be made silent: nothing goes through any more, and neither end is told. */
async function cuttableWire(server: PostgresServer): Promise<Wire> {
  const sockets: Socket[] = [];
  const proxy = createServer((near) => {
    const far = connect(Number(server.host.split(":")[1]), "127.0.0.1");
    for (const socket of [near, far]) socket.on("error", () => undefined);
    near.pipe(far).pipe(near);
    sockets.push(near, far);
  }).listen(0, "127.0.0.1");
  await once(proxy, "listening");
  return {
    host: `127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    cut: () => {
      for (const socket of sockets) socket.unpipe().pause();
    },
    close: () => {
      for (const socket of sockets) socket.destroy();
      proxy.close();
    },
  };
}

/** Several writers that put rows and count them, until told to stop. */
class Load {
  readonly acknowledged: string[] = [];
  readonly refusals = new Set<string>();
  /** Commits whose outcome nobody knows. */
  unknown = 0;
  #ended = false;
  readonly #writers: Promise<unknown>;

  constructor(kv: Kv, writers = 12) {
    this.#writers = Promise.all(Array.from({ length: writers }, (_, id) => this.#write(kv, id)));
  }

  async reaches(count: number): Promise<void> {
    for (let waits = 0; this.acknowledged.length < count; waits++) {
      assert.ok(waits < 6_000, `${this.acknowledged.length} of ${count} were acknowledged`);
      await sleep(10);
    }
  }

  async end(): Promise<void> {
    this.#ended = true;
    await this.#writers;
  }

  async #write(kv: Kv, id: number): Promise<void> {
    for (let step = 0; !this.#ended; step++) {
      const name = `w${id}-${step}`;
      const key = Buffer.from(name);
      try {
        const { outcome } = await kv.commit({
          checks: [{ key, version: 0 }],
          writes: [
            { kind: "put", key, value: Buffer.from(`<${name}>`) },
            { kind: "add", key: counterKey, deltas: [1] },
            ...(id % 3 === 0 ? [{ kind: "add", key: boundedKey, deltas: [1], max: [bound] } as const] : []),
          ],
        });
        if (outcome === "exceeded") return;
        assert.equal(outcome, "committed");
        this.acknowledged.push(name);
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        this.refusals.add(error.reason);
        this.unknown += 1;
        await sleep(20);
      }
    }
  }

  /** Every acknowledged row is there, and the counter counts each once. */
  async check(kv: Kv): Promise<void> {
    for (let at = 0; at < this.acknowledged.length; at += 1_000) {
      const names = this.acknowledged.slice(at, at + 1_000);
      const rows = await kv.get(names.map((name) => Buffer.from(name)));
      rows.forEach((row, index) => assert.equal(row?.value.toString(), `<${names[index]!}>`));
    }
    const [row, bounded] = await kv.get([counterKey, boundedKey]);
    const counted = readCounters(row!.value)[0]!;
    const held = await scanAll(kv, { start: Buffer.from("w"), end: Buffer.from("x") });
    assert.equal(counted, held.length, "what is there is counted once, whatever was told of it");
    const ofBounded = held.filter(({ key }) => Number(/^w(\d+)-/.exec(key.toString())![1]) % 3 === 0).length;
    assert.equal(readCounters(bounded!.value)[0], ofBounded);
    assert.ok(ofBounded <= bound);
    const least = this.acknowledged.length;
    assert.ok(counted >= least && counted <= least + this.unknown, `${counted} of ${least} + ${this.unknown}`);
    assert.deepEqual(
      [...this.refusals].filter((reason) => reason !== "unavailable"),
      [],
    );
  }
}

void describe("the PostgreSQL driver and failures", { skip: postgresMissing() }, () => {
  for (const how of ["immediate", "kill", "fast"] as const) {
    void test(`nothing acknowledged is lost when the engine ends (${how}) under load; the driver goes on by itself`, async (t) => {
      const server = await newServer(t);
      const kv = await opened(t, server.url);
      const load = new Load(kv);
      for (let round = 1; round <= 3; round++) {
        await load.reaches(round * 300);
        await server.stop(how);
        await server.start();
      }
      await load.reaches(load.acknowledged.length + 300);
      await load.end();
      await load.check(kv);
    });
  }

  void test("reads wait for an engine that comes back, and only those who wait too long are refused", async (t) => {
    const server = await newServer(t);
    const kv = await opened(t, server.url);
    await kv.commit({ checks: [], writes: [{ kind: "put", key: counterKey, value: Buffer.from("x") }] });
    await server.stop("immediate");
    const reads = Array.from({ length: 20 }, () => kv.get([counterKey]));
    const scan = kv.scan({ start: Buffer.from("a"), end: Buffer.from("z") }, { limit: 5 });
    const commit = kv.commit({ checks: [], writes: [{ kind: "put", key: Buffer.from("later"), value: counterKey }] });
    await server.start();
    for (const [row] of await Promise.all(reads)) assert.equal(row?.value.toString(), "x");
    assert.equal((await scan)[0]?.value.toString(), "x");
    assert.deepEqual(await commit, { outcome: "committed" });
  });

  void test("an engine that is away is said to be, with host and advice, without the password, and soon", async (t) => {
    const server = await newServer(t);
    const { log, lines } = recordingLog();
    const kv = await opened(t, server.url, { log, awayMsMax: 1_000 });
    await server.stop("fast");
    const said = await Promise.allSettled([
      kv.commit({ checks: [], writes: [{ kind: "put", key: counterKey, value: counterKey }] }),
      kv.get([counterKey]),
    ]);
    // From here on nobody waits.
    const later = Array.from({ length: 50 }, () => kv.get([counterKey]));
    for (const result of [...said, ...(await Promise.allSettled(later))]) {
      assert.ok(result.status === "rejected" && hasReason(result.reason, "unavailable"));
      const { message } = result.reason;
      assert.ok(message.includes(server.host) && message.includes("nothing listens there"), message);
      lines.push(`${message} ${String(result.reason.stack)} ${JSON.stringify(result.reason.cause)}`);
    }
    const wrong = { url: server.url.replace(postgresPassword, `${postgresPassword}x`), log, awayMsMax: 0 };
    await assert.rejects(openPostgresKv(wrong), (error) => hasReason(error, "unavailable"));
    await server.start();
    assert.deepEqual(await kv.get([counterKey]), [undefined]);
    await assert.rejects(openPostgresKv(wrong), (error) => {
      lines.push(String(error));
      return hasReason(error, "invalid_argument") && error.message.includes("password authentication failed");
    });
    assert.ok(lines.length > 50);
    assert.deepEqual(
      lines.filter((line) => line.includes(postgresPassword)),
      [],
    );
  });

  void test("what is under way when the engine falls silent is given up in time: reads are asked again, commits are unknown", async (t) => {
    const server = await newServer(t);
    const wire = await cuttableWire(server);
    t.after(() => wire.close());
    // What is not silent answers well within this.
    const kv = await opened(t, server.url.replace(server.host, wire.host), { answerMsMax: 5_000 });
    const put = (name: string): Promise<unknown> =>
      kv.commit({ checks: [], writes: [{ kind: "put", key: Buffer.from(name), value: counterKey }] });
    await put("first");
    await kv.get([counterKey]);
    wire.cut();
    const [lost, read] = [put("lost"), kv.get([Buffer.from("first")])];
    await assert.rejects(lost, (error) => hasReason(error, "unavailable") && /is not known/.test(error.message));
    // New connections go through.
    assert.equal((await read)[0]?.value.toString(), "counter");
    await put("later");
  });

  void test("after a failover the other host is found, and every acknowledged commit is there", async (t) => {
    const server = await newServer(t, { settings: { synchronous_standby_names: "*", synchronous_commit: "local" } });
    const standby = await server.standby({ synchronous_standby_names: "" });
    t.after(() => standby.dispose());
    // A host that takes connections and never answers, as one that was cut off.
    const silent = createServer().listen(0, "127.0.0.1");
    await once(silent, "listening");
    t.after(() => silent.close());
    const hosts = [`127.0.0.1:${(silent.address() as AddressInfo).port}`, standby.host, server.host];
    const kv = await opened(t, server.url.replace(server.host, hosts.join(",")));
    const load = new Load(kv);
    await load.reaches(300);
    await server.stop("kill");
    await standby.promote();
    await load.reaches(load.acknowledged.length + 300);
    await load.end();
    await load.check(kv);
  });

  void test("a host that follows another one is no store, and two that take writes are none", async (t) => {
    const server = await newServer(t);
    const standby = await server.standby();
    t.after(() => standby.dispose());
    const says = (what: string) => (error: unknown) => hasReason(error, "unavailable") && error.message.includes(what);
    await assert.rejects(openPostgresKv({ url: standby.url, awayMsMax: 0 }), says("it is a standby"));
    await standby.promote();
    const url = server.url.replace(server.host, `${standby.host},${server.host}`);
    await assert.rejects(
      openPostgresKv({ url, awayMsMax: 0, clock: unhurried }),
      says("it takes writes, and so does another one"),
    );
    const readOnly = `${server.url}?schema=other`;
    await server.stop("fast");
    await server.configure({ default_transaction_read_only: "on" });
    await server.start();
    await assert.rejects(openPostgresKv({ url: readOnly, awayMsMax: 0 }), says("it takes no writes"));
  });

  void test("a commit whose wait for its standby was broken off is not acknowledged", async (t) => {
    const server = await newServer(t);
    const kv = await opened(t, server.url);
    const client = new Client({ connectionString: `${server.url}?options=-csynchronous_commit%3Dlocal` });
    await client.connect();
    await client.query("ALTER SYSTEM SET synchronous_standby_names = 'missing'");
    await client.query("SELECT pg_reload_conf()");
    const waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let [broken, ended]: [number, unknown] = [0, "never"];
    // The server comes to its new settings when it likes: what it commits before that is acknowledged.
    for (let commits = 0; broken === 0; commits++) {
      assert.ok(commits < 5_000, "no commit waits for a standby");
      const commit = kv.commit({ checks: [], writes: [{ kind: "put", key: counterKey, value: counterKey }] });
      let isEnded = false;
      const ending = commit.then(
        () => "acknowledged",
        (error: unknown) => error,
      );
      void ending.then(() => (isEnded = true));
      while (!isEnded && broken === 0) {
        broken = (await client.query(waiting)).rows.length;
        await sleep(1);
      }
      ended = await ending;
    }
    assert.ok(hasReason(ended, "unavailable") && /is not known/.test(ended.message), String(ended));
    await client.query("ALTER SYSTEM RESET synchronous_standby_names");
    await client.query("SELECT pg_reload_conf()");
    await client.end();
  });
});

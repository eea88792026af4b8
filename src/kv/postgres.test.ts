import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Client } from "pg";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { kvConformance } from "./kv.conformance.ts";
import { readCounters } from "./kv.ts";
import type { Kv, Write } from "./kv.ts";
import { postgresMissing, postgresPassword, startPostgres } from "./postgres.fixture.ts";
import type { PostgresServer } from "./postgres.fixture.ts";
import { openPostgresKv } from "./postgres.ts";
import type { PostgresKvOptions } from "./postgres.ts";

const child = join(import.meta.dirname, "postgres_child.conformance.ts");
const counterKey = Buffer.from("counter");

let server: PostgresServer;
let schemas = 0;

/** Each test has a schema of its own on the one server. */
function newUrl(): string {
  schemas += 1;
  return `${server.url}?schema=test_${schemas}`;
}

const open = (url: string, options: Partial<PostgresKvOptions> = {}): Promise<Kv> =>
  openPostgresKv({ url, allowNoSync: true, ...options });

async function onStore(body: (kv: Kv, url: string) => Promise<void>): Promise<void> {
  const url = newUrl();
  const kv = await open(url);
  try {
    await body(kv, url);
  } finally {
    await kv.close();
  }
}

async function inSql<T>(body: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: server.url });
  await client.connect();
  try {
    return await body(client);
  } finally {
    await client.end();
  }
}

async function runChild(...args: string[]): Promise<void> {
  const process_ = spawn(process.execPath, [child, ...args], { stdio: ["ignore", "inherit", "inherit"] });
  assert.deepEqual(await once(process_, "exit"), [0, null]);
}

void describe("the PostgreSQL driver", { skip: postgresMissing() }, () => {
  before(async () => {
    server = await startPostgres();
  });
  after(() => server.dispose());

  kvConformance("postgres", async () => {
    const url = newUrl();
    const kv = await open(url);
    return { kv, reopen: () => open(url), dispose: () => kv.close() };
  });

  kvConformance("postgres, one commit in a batch", async () => {
    const kv = await open(newUrl(), { batchCommitsMax: 1, batchesMax: 4 });
    return { kv, dispose: () => kv.close() };
  });

  void test("compare-and-set holds across processes", () =>
    onStore(async (kv, url) => {
      await Promise.all([runChild("increment", url, "40"), runChild("increment", url, "40")]);
      const [row] = await kv.get([counterKey]);
      assert.deepEqual(readCounters(row!.value), [2 * 4 * 40]);
    }));

  void test("transfers of several processes keep the sum, seen from another one", () =>
    onStore(async (kv, url) => {
      const value = Buffer.from("100");
      const accounts = Array.from({ length: 8 }, (_, index) => Buffer.from(`account${index}`));
      await kv.commit({ checks: [], writes: accounts.map((key) => ({ kind: "put", key, value })) });
      const range = { start: Buffer.from("account"), end: Buffer.from("accounu") };
      const movement = { ended: false };
      const moved = Promise.all([runChild("move", url, "30"), runChild("moveWide", url, "120")]);
      void moved.finally(() => (movement.ended = true)).catch(() => undefined);
      let reads = 0;
      while (!movement.ended) {
        const [got, scanned] = await Promise.all([kv.get(accounts), kv.scan(range, { limit: 99 })]);
        for (const rows of [got, scanned]) {
          const sum = rows.reduce((total, row) => total + Number(row?.value.toString() ?? 0), 0);
          assert.equal(sum, 800);
        }
        reads += 1;
      }
      await moved;
      assert.ok(reads > 3);
      // Steps whose two accounts are the same one move nothing.
      const [moves] = await kv.get([Buffer.from("moves")]);
      assert.ok(readCounters(moves!.value)[0]! > 16 * 20 + 4 * 80);
    }));

  void test("a read is never older than a commit another process has acknowledged", (t) =>
    onStore(async (kv, url) => {
      const folder = await mkdtemp(join(tmpdir(), "holdfast-kv-"));
      t.after(() => rm(folder, { recursive: true }));
      const acks = join(folder, "acks");
      await writeFile(acks, "");
      const counting = runChild("count", url, acks);
      for (let acknowledged = 0; acknowledged < 600;) {
        acknowledged = statSync(acks).size;
        const [[row], [scanned]] = await Promise.all([
          kv.get([counterKey]),
          kv.scan({ start: counterKey, end: Buffer.from("d") }, { limit: 1 }),
        ]);
        for (const seen of [row, scanned]) {
          const count = seen === undefined ? 0 : readCounters(seen.value)[0]!;
          assert.ok(count >= acknowledged, `read ${count} after ${acknowledged} were acknowledged`);
        }
      }
      await counting;
    }));

  void test("processes that open a new store at the same time make one", async () => {
    const url = newUrl();
    const stores = await Promise.all(Array.from({ length: 6 }, () => open(url)));
    await Promise.all(
      stores.map((kv) => kv.commit({ checks: [], writes: [{ kind: "add", key: counterKey, deltas: [1] }] })),
    );
    const [row] = await stores[0]!.get([counterKey]);
    assert.deepEqual(readCounters(row!.value), [6]);
    for (const kv of stores) await kv.close();
  });

  void test("concurrent commits and gets share round trips", async () => {
    const batches: number[] = [];
    const kv = await open(newUrl(), { onBatch: ({ commits }) => batches.push(commits) });
    const keys = Array.from({ length: 400 }, (_, index) => Buffer.from(`k${index}`));
    await Promise.all(keys.map((key) => kv.commit({ checks: [], writes: [{ kind: "put", key, value: key }] })));
    assert.equal(
      batches.reduce((sum, count) => sum + count, 0),
      400,
    );
    assert.ok(batches.length <= 4, `${batches.length} batches`);
    const rows = await Promise.all(keys.map((key) => kv.get([key])));
    assert.ok(rows.every(([row], index) => row?.value.equals(keys[index]!)));
    await kv.close();
  });

  void test("of many writers of one row only the winner costs the engine anything", async () => {
    let batches = 0;
    const kv = await open(newUrl(), { onBatch: () => (batches += 1) });
    const commit = (): Promise<{ readonly outcome: string; readonly key?: Uint8Array }> =>
      kv.commit({
        checks: [{ key: counterKey, version: 0 }],
        writes: [{ kind: "put", key: counterKey, value: counterKey }],
      });
    const results = await Promise.all(Array.from({ length: 300 }, commit));
    assert.equal(results.filter(({ outcome }) => outcome === "committed").length, 1);
    assert.ok(results.every(({ outcome, key }) => outcome === "committed" || Buffer.from(key!).equals(counterKey)));
    assert.equal(batches, 1);
    await kv.close();
  });

  void test("more waiting commits than the queue holds are refused with slow_down", () =>
    onStore(async (kv) => {
      const commit = (): Promise<unknown> =>
        kv.commit({ checks: [], writes: [{ kind: "add", key: counterKey, deltas: [1] }] });
      const results = await Promise.allSettled(Array.from({ length: limits.commitQueueMax + 10 }, commit));
      const refused = results.filter((result) => result.status === "rejected");
      assert.equal(refused.length, 10);
      assert.ok(refused.every(({ reason }) => hasReason(reason, "slow_down")));
      const [row] = await kv.get([counterKey]);
      assert.deepEqual(readCounters(row!.value), [limits.commitQueueMax]);
    }));

  void test("more waiting reads than the queue holds are refused with slow_down", () =>
    onStore(async (kv) => {
      const read = (): Promise<unknown> => kv.get([counterKey]);
      const results = await Promise.allSettled(Array.from({ length: limits.postgresReadQueueMax + 10 }, read));
      const refused = results.filter((result) => result.status === "rejected");
      assert.equal(refused.length, 10);
      assert.ok(refused.every(({ reason }) => hasReason(reason, "slow_down")));
    }));

  void test("a store of a format that is not known is refused", async () => {
    const url = newUrl();
    await (await open(url)).close();
    await inSql((client) => client.query(`UPDATE test_${schemas}.store SET format = 2`));
    await assert.rejects(open(url), (error) => hasReason(error, "corrupt_record"));
  });

  void test("a store that an earlier build made gets the functions that came later", async () => {
    const url = newUrl();
    await (await open(url)).close();
    const schema = `test_${schemas}`;
    await inSql((client) =>
      client.query(`DROP FUNCTION ${schema}.commit_bounded_batch, ${schema}.exceeded_adds, ${schema}.counter_at`),
    );
    const kv = await open(url);
    const outcomes: string[] = [];
    for (const deltas of [[2], [1]])
      outcomes.push(
        (await kv.commit({ checks: [], writes: [{ kind: "add", key: counterKey, deltas, max: [2] }] })).outcome,
      );
    assert.deepEqual(outcomes, ["committed", "exceeded"]);
    await kv.close();
  });

  void test("a user who may not make a schema is told so, and can use one that was made", async () => {
    const url = newUrl().replace("holdfast:", "guest:");
    const schema = `test_${schemas}`;
    await inSql((client) => client.query(`CREATE ROLE guest LOGIN PASSWORD '${postgresPassword}'`));
    await assert.rejects(
      open(url),
      (error) => hasReason(error, "invalid_argument") && error.message.includes(`schema ${schema}`),
    );
    await inSql((client) => client.query(`CREATE SCHEMA ${schema} AUTHORIZATION guest`));
    const kv = await open(url);
    await kv.commit({ checks: [], writes: [{ kind: "add", key: counterKey, deltas: [1] }] });
    await kv.close();
  });

  void test("a connection is encrypted and its certificate checked as the URL says", async (t) => {
    if (spawnSync("openssl", ["version"]).status !== 0) {
      t.skip("NOT CHECKED: TLS to PostgreSQL. Install openssl.");
      return;
    }
    const folder = await mkdtemp(join(tmpdir(), "holdfast-kv-"));
    t.after(() => rm(folder, { recursive: true }));
    const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    const self = [
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-subj",
      "/CN=db",
      "-addext",
      "subjectAltName=IP:127.0.0.1",
    ];
    assert.equal(spawnSync("openssl", [...self, "-keyout", key, "-out", cert]).status, 0);
    const tls = { cert: await readFile(cert, "utf8"), key: await readFile(key, "utf8") };
    const encrypted = await startPostgres({ tls });
    t.after(() => encrypted.dispose());
    const rights = ["sslmode=require", `sslmode=verify-full&sslrootcert=${encodeURIComponent(cert)}`];
    for (const right of rights) await (await open(`${encrypted.url}?${right}`)).close();
    const wrongs = {
      [`${encrypted.url}?sslmode=verify-full`]: "self-signed certificate",
      [`${server.url}?sslmode=require`]: "does not support SSL",
      [`${encrypted.url}?sslmode=verify-full&sslrootcert=/none`]: "certificate file",
    };
    for (const [url, says] of Object.entries(wrongs)) {
      await assert.rejects(open(url, { awayMsMax: 0 }), (error) => String(error).includes(says), says);
    }
  });

  void test("an engine that does not sync is refused unless that is asked for", async () => {
    await assert.rejects(
      openPostgresKv({ url: newUrl() }),
      (error) => hasReason(error, "invalid_argument") && /fsync is off/.test(error.message),
    );
  });

  void test("commits are synced although the database's own setting says otherwise", async () => {
    await inSql((client) => client.query("ALTER DATABASE postgres SET synchronous_commit = off"));
    await inSql((client) => client.query("ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'"));
    const kv = await open(newUrl());
    await inSql(async (client) => {
      await client.query(`CREATE TABLE test_${schemas}.seen (synchronous text, isolation text)`);
      // Runs inside the driver's own sessions.
      await client.query(`CREATE FUNCTION test_${schemas}.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO test_${schemas}.seen
          VALUES (current_setting('synchronous_commit'), current_setting('transaction_isolation')); RETURN NULL; END $$`);
      await client.query(
        `CREATE TRIGGER see AFTER INSERT ON test_${schemas}.rows EXECUTE FUNCTION test_${schemas}.see()`,
      );
    });
    await kv.commit({ checks: [], writes: [{ kind: "add", key: counterKey, deltas: [1] }] });
    const { rows } = await inSql((client) => client.query(`SELECT * FROM test_${schemas}.seen`));
    assert.deepEqual(rows, [{ synchronous: "on", isolation: "read committed" }]);
    await kv.close();
    await inSql((client) => client.query("ALTER DATABASE postgres RESET ALL"));
  });

  void test("a batch that the engine gives up is sent again; the caller does not notice", async () => {
    const kv = await open(newUrl());
    // Fails the first two attempts of each batch as a deadlock does; the sequence remembers across transactions.
    await inSql((client) =>
      client.query(`CREATE SEQUENCE test_${schemas}.attempts;
        CREATE FUNCTION test_${schemas}.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF nextval('test_${schemas}.attempts') % 3 <> 0 THEN RAISE EXCEPTION USING ERRCODE = '40P01'; END IF;
          RETURN NULL; END $$;
        CREATE TRIGGER fail AFTER INSERT ON test_${schemas}.rows EXECUTE FUNCTION test_${schemas}.fail()`),
    );
    for (let round = 1; round <= 3; round++) {
      await kv.commit({ checks: [], writes: [{ kind: "add", key: counterKey, deltas: [1] }] });
      assert.deepEqual(readCounters((await kv.get([counterKey]))[0]!.value), [round]);
    }
    await kv.close();
  });

  void test("rows are found through the index, also by sessions that know the table as nearly empty", async () => {
    const kv = await open(newUrl());
    const rows = `test_${schemas}.rows`;
    const put = (at: number): Write => ({ kind: "put", key: Buffer.from(`k${at}`), value: Buffer.alloc(8) });
    const readSome = async (): Promise<void> => {
      await Promise.all(Array.from({ length: 8 }, () => kv.get([Buffer.from("k0"), Buffer.from("k8")])));
      await kv.scan({ start: Buffer.from("k0"), end: Buffer.from("k8") }, { limit: 3 });
      await kv.commit({ checks: [{ key: Buffer.from("none"), version: 0 }], writes: [put(0)] });
    };
    await kv.commit({ checks: [], writes: [put(0)] });
    await inSql((client) => client.query(`ANALYZE ${rows}`));
    for (let round = 0; round < 10; round++) await readSome();
    for (let at = 0; at < 4_000; at += 400) {
      await kv.commit({ checks: [], writes: Array.from({ length: 400 }, (_, index) => put(at + index)) });
    }
    for (let round = 0; round < 10; round++) await readSome();
    // Sessions report what they read when they end.
    await kv.close();
    const sql = `SELECT seq_tup_read::int AS read FROM pg_stat_all_tables WHERE relid = '${rows}'::regclass`;
    const [stats] = (await inSql((client) => client.query<{ read: number }>(sql))).rows;
    assert.ok(stats!.read < 100, `${stats!.read} rows read one after another`);
  });
});

/**
 * A store whose metadata moves, by the command as an operator runs it: from its drives to PostgreSQL, to etcd, and back. On
 * each engine a real server goes on with it. Its clients find everything as it was, uploads under way included.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { askAdmin } from "../../src/client/admin_client.ts";
import { S3Client } from "../../src/client/s3_client.ts";
import { EtcdFixture, etcdMissing } from "../../src/kv/etcd.fixture.ts";
import { postgresMissing, postgresPassword, startPostgres } from "../../src/kv/postgres.fixture.ts";
import { testMsMax } from "../bounds.ts";
import { launch, startServer, temporaryFolder, type Ended, type Running } from "./harness.ts";

const timeout = testMsMax;
const bucket = "kept";
const partBytes = 5 * 2 ** 20;

type Keys = { readonly accessKey: string; readonly secretKey: string };

function clientOf(url: string, keys: Keys): S3Client {
  return new S3Client({ endpoint: new URL(url), ...keys, region: "us-east-1" });
}

function filled(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE(Math.imul(at + seed, 2_654_435_761) >>> 0, at);
  return bytes;
}

function run(...args: string[]): Promise<Ended> {
  return launch(args).ended;
}

async function copy(from: readonly string[], to: readonly string[]): Promise<Record<string, unknown>> {
  const places = [...from.flatMap((word) => ["--from", word]), ...to.flatMap((word) => ["--to", word])];
  const { status, output, errors } = await run("metadata", "copy", ...places, "--json");
  assert.equal(status, 0, errors);
  assert.ok(!`${output}${errors}`.includes(postgresPassword), "no password is printed");
  return JSON.parse(output) as Record<string, unknown>;
}

/** What the store is filled with, and what has to be found again. */
class Content {
  readonly #objects = new Map<string, Buffer>();
  #upload = { uploadId: "", etags: [] as string[] };
  #key: Keys | undefined;

  async write(client: S3Client, round: string): Promise<void> {
    for (let index = 0; index < 40; index++) await this.#put(client, `${round}/small ${index}`, filled(300, index));
    for (let index = 0; index < 3; index++)
      await this.#put(client, `${round}/large ${index}`, filled(6_000_000, index));
    // Leaves trash behind.
    await this.#put(client, `${round}/large 0`, filled(200_000, 9));
    await client.run({ method: "DELETE", bucket, key: `${round}/large 1` });
    this.#objects.delete(`${round}/large 1`);
  }

  async #put(client: S3Client, key: string, body: Buffer): Promise<void> {
    await client.run({ method: "PUT", bucket, key, body });
    this.#objects.set(key, body);
  }

  async begin(client: S3Client, url: string, keys: Keys): Promise<void> {
    await client.run({ method: "PUT", bucket });
    this.#upload.uploadId = await client.createUpload(bucket, "in parts", {});
    await this.uploadPart(client);
    const { accessKey, secretKey } = keys;
    const target = { endpoint: new URL(url), accessKey, secretKey, region: "us-east-1", insecure: false };
    const request = { method: "POST", path: "/_/admin/keys", body: { description: "kept" } };
    this.#key = (await askAdmin(target, request)) as Keys;
  }

  async uploadPart(client: S3Client): Promise<void> {
    const { uploadId, etags } = this.#upload;
    const target = { bucket, key: "in parts", uploadId, partNumber: etags.length + 1 };
    etags.push(await client.uploadPart(target, filled(partBytes, etags.length)));
  }

  async completeUpload(client: S3Client): Promise<void> {
    const { uploadId, etags } = this.#upload;
    await client.completeUpload({ bucket, key: "in parts", uploadId }, etags);
    this.#objects.set("in parts", Buffer.concat(etags.map((_, at) => filled(partBytes, at))));
  }

  /** With the key that was made in the beginning. */
  async assertAllThere(url: string): Promise<void> {
    const client = clientOf(url, this.#key!);
    try {
      for (const [key, body] of this.#objects) assert.ok((await client.read(bucket, key)).equals(body), key);
    } finally {
      client.close();
    }
  }
}

async function onServer(
  t: TestContext,
  args: readonly string[],
  work: (server: Running) => Promise<void>,
  signal: NodeJS.Signals = "SIGTERM",
): Promise<void> {
  const server = await startServer(t, ["--workers", "2", ...args]);
  await work(server);
  await server.stop(signal);
}

test("from the drives to PostgreSQL, to etcd and back: everything is there, and goes on", { timeout }, async (t) => {
  const missing = postgresMissing() || etcdMissing;
  if (missing) return t.skip(missing);
  const folder = temporaryFolder(t);
  const drives = ["d1", "d2", "d3"].map((name) => path.join(folder, name));
  const secretFile = path.join(folder, "secret");
  writeFileSync(secretFile, "x".repeat(40));
  const postgres = await startPostgres({ fsync: true });
  t.after(() => postgres.dispose());
  const etcd = await EtcdFixture.start();
  t.after(() => etcd.dispose());
  const [sql, raft] = [`${postgres.url}?schema=photos`, etcd.url("photos")];
  const on = (url: string): string[] => [...drives, "--metadata", url, "--cluster-secret-file", secretFile];
  const content = new Content();
  let keys: Keys = { accessKey: "", secretKey: "" };
  const goOn = async (server: Running, round: string): Promise<void> => {
    assert.equal(server.accessKey, keys.accessKey, "the root key is the same");
    await content.assertAllThere(server.url);
    const client = clientOf(server.url, keys);
    await content.uploadPart(client);
    await content.write(client, round);
    client.close();
  };

  await onServer(
    t,
    drives,
    async ({ url, accessKey, secretKey }) => {
      keys = { accessKey, secretKey: secretKey! };
      const client = clientOf(url, keys);
      await content.begin(client, url, keys);
      await content.write(client, "on drives");
      client.close();
    },
    "SIGKILL",
  );
  const first = await copy([drives.join(",")], [sql]);
  assert.ok(Number(first["rows"]) > 80 && first["fenced"] === 2, JSON.stringify(first));
  assert.ok(String(first["to"]).startsWith("postgres://…@127.0.0.1"));
  const refused = await launch(["server", ...drives, "--listen", "127.0.0.1:0"]).ended;
  assert.match(refused.errors, /was moved to postgres:\/\/…@.*schema=photos/);

  await onServer(t, on(sql), (server) => goOn(server, "on PostgreSQL"));
  await copy([sql], [raft]);
  await onServer(t, on(raft), (server) => goOn(server, "on etcd"));
  const last = await copy([raft], drives);
  assert.deepEqual(last["missing"], []);
  await onServer(t, drives, async (server) => {
    await goOn(server, "on drives again");
    const client = clientOf(server.url, keys);
    await content.completeUpload(client);
    client.close();
    await content.assertAllThere(server.url);
  });
  const doctor = await run("doctor", "--deep", ...drives);
  assert.equal(doctor.status, 0, doctor.output);
  // And once more, over what was left there.
  await copy(drives, [sql]);
  await onServer(t, on(sql), (server) => content.assertAllThere(server.url));
});

test("a store that somebody works on is not copied, and goes on", { timeout }, async (t) => {
  const missing = postgresMissing();
  if (missing) return t.skip(missing);
  const folder = temporaryFolder(t);
  const drive = path.join(folder, "d1");
  const secretFile = path.join(folder, "secret");
  writeFileSync(secretFile, "x".repeat(40));
  const postgres = await startPostgres({ fsync: true });
  t.after(() => postgres.dispose());
  const target = `${postgres.url}?schema=target`;
  const embedded = await startServer(t, [drive]);
  const locked = await run("metadata", "copy", "--from", drive, "--to", target);
  assert.match(locked.errors, /Another Holdfast server is using/);
  await embedded.stop();
  const url = `${postgres.url}?schema=source`;
  await copy([drive], [url]);
  const server = await startServer(t, [drive, "--metadata", url, "--cluster-secret-file", secretFile]);
  const live = await run("metadata", "copy", "--from", url, "--to", target, "--json");
  assert.equal(live.status, 1);
  assert.match(live.errors, new RegExp(`Servers still work on postgres://…@.*: ${server.url}. Stop them first`));
  const client = clientOf(server.url, { accessKey: server.accessKey, secretKey: embedded.secretKey! });
  await client.run({ method: "PUT", bucket });
  client.close();
  await server.stop();
});

test("killed in the middle, the copy back to the drives is finished by the same command", { timeout }, async (t) => {
  if (etcdMissing !== undefined) return t.skip(etcdMissing);
  const folder = temporaryFolder(t);
  const drives = ["d1", "d2"].map((name) => path.join(folder, name));
  const etcd = await EtcdFixture.start();
  t.after(() => etcd.dispose());
  const content = new Content();
  let keys: Keys = { accessKey: "", secretKey: "" };
  await onServer(t, drives, async ({ url, accessKey, secretKey }) => {
    keys = { accessKey, secretKey: secretKey! };
    const client = clientOf(url, keys);
    await content.begin(client, url, keys);
    await content.write(client, "first");
    client.close();
  });
  const url = etcd.url("photos");
  await copy(drives, [url]);
  const back = ["metadata", "copy", "--from", url, "--to", drives.join(",")];
  // By a part more each time, so that it comes to the end on a slow machine too.
  for (let delayMs = 300; ; delayMs *= 1.3) {
    const { child, ended } = launch(back);
    const timer = setTimeout(() => child.kill("SIGKILL"), delayMs);
    await once(child, "close");
    clearTimeout(timer);
    const { status, errors } = await ended;
    if (status === 0) break;
    assert.equal(errors, "");
    // Whatever was left, no server takes it for the store, unless all had been done when it was killed.
    const started = await startServer(t, drives).catch((error: unknown) => String(error));
    if (typeof started !== "string") {
      await started.stop();
      break;
    }
    assert.match(started, /was moved to etcd:|is not finished|none of the drives named has their metadata/);
  }
  assert.ok(!readdirSync(path.join(drives[0]!, "meta")).some((name) => name.includes("copy")));
  await onServer(t, drives, async (server) => {
    assert.equal(server.accessKey, keys.accessKey);
    await content.assertAllThere(server.url);
  });
  assert.equal((await run("doctor", "--deep", ...drives)).status, 0);
});

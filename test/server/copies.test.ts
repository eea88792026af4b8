/** A server on several drives and the loss of any one of them: what it acknowledged is there, its root key too. */
import assert from "node:assert/strict";
import { readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { S3Client } from "../../src/client/s3_client.ts";
import { testMsMax } from "../bounds.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";
import { launch, startServer, temporaryFolder, until } from "./harness.ts";

const timeout = testMsMax;
const bucket = "kept";
const bodyOf = (key: string): string => `body of ${key}`;

function clientOf(url: URL): S3Client {
  return new S3Client({ endpoint: url, ...testKeys, region: "us-east-1" });
}

type Load = { readonly acknowledged: Set<string>; stop(): Promise<void> };

/** Small objects from several writers until it is stopped, or its server is. */
function startLoad(client: S3Client, round: string): Load {
  const acknowledged = new Set<string>();
  let isStopped = false;
  const writer = async (id: number): Promise<void> => {
    for (let step = 0; !isStopped; step++) {
      const key = `${round}/${id}-${step}`;
      try {
        await client.run({ method: "PUT", bucket, key, body: Buffer.from(bodyOf(key)) });
        acknowledged.add(key);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  };
  const writers = Promise.all(Array.from({ length: 4 }, (_, id) => writer(id)));
  return {
    acknowledged,
    stop: async () => {
      isStopped = true;
      await writers;
    },
  };
}

async function assertAllThere(client: S3Client, keys: Iterable<string>): Promise<void> {
  for (const key of keys) assert.equal((await client.read(bucket, key)).toString(), bodyOf(key), key);
}

async function withServer(
  drives: readonly [string, ...string[]],
  work: (server: ServerProcess, client: S3Client) => Promise<unknown>,
): Promise<void> {
  const server = await ServerProcess.start(drives[0], { workers: 2, args: drives.slice(1) });
  const client = clientOf(server.url);
  try {
    await work(server, client);
  } finally {
    client.close();
    if (server.isRunning()) await server.killAll();
  }
}

test("killed under load, each drive in turn removed: everything acknowledged is there", { timeout }, async (t) => {
  const folder = temporaryFolder(t);
  const drives = ["d1", "d2", "d3"].map((name) => path.join(folder, name)) as [string, string, string];
  const all = new Set<string>();
  await withServer(drives, async (_, client) => {
    await client.run({ method: "PUT", bucket });
  });
  for (const lost of drives) {
    await withServer(drives, async (server, client) => {
      const load = startLoad(client, path.basename(lost));
      await until(() => load.acknowledged.size > 150);
      const stopped = load.stop();
      await server.killAll();
      await stopped;
      for (const key of load.acknowledged) all.add(key);
    });
    rmSync(lost, { recursive: true });
    await withServer(drives, async (server, client) => {
      await assertAllThere(client, all);
      assert.match(server.errors(), /is missing\. It was last at .*in that folder there is the drive/);
      assert.ok(readdirSync(path.join(lost, "meta")).includes("store.mdb"), "the copy was made anew");
    });
  }
});

test("the root key that was made survives the loss of the first drive", { timeout }, async (t) => {
  const folder = temporaryFolder(t);
  const drives = ["d1", "d2"].map((name) => path.join(folder, name)) as [string, string];
  const first = await startServer(t, [...drives, "--workers", "1"]);
  const { accessKey, secretKey } = first;
  assert.ok(secretKey !== undefined);
  await first.stop();
  rmSync(drives[0], { recursive: true });
  const again = await startServer(t, [...drives, "--workers", "1"]);
  assert.equal(again.accessKey, accessKey);
  const client = new S3Client({ endpoint: new URL(again.url), accessKey, secretKey, region: "us-east-1" });
  await client.run({ method: "PUT", bucket });
  client.close();
  assert.match(again.errors(), /metadata was on two drives, and only .*d2 is there/);
  await again.stop();
});

test("with one copy of three there, the server does not start; with two of three it does", { timeout }, async (t) => {
  const folder = temporaryFolder(t);
  const [a, b, c] = ["a", "b", "c"].map((name) => path.join(folder, name)) as [string, string, string];
  await withServer([a, b, c], async (_, client) => {
    await client.run({ method: "PUT", bucket });
    await client.run({ method: "PUT", bucket, key: "x", body: Buffer.from(bodyOf("x")) });
  });
  const refused = await launch(["server", c, "--listen", "127.0.0.1:0"]).ended;
  assert.equal(refused.status, 1);
  assert.match(refused.errors, /The metadata is on 3 drives, and only 1 is there/);
  await withServer([c, b], async (_, client) => {
    await assertAllThere(client, ["x"]);
    await client.run({ method: "PUT", bucket, key: "y", body: Buffer.from(bodyOf("y")) });
  });
  // The copy that was away is stale now, and is not the one that counts.
  await withServer([a, b, c], (_, client) => assertAllThere(client, ["x", "y"]));
  const { status, errors } = await launch(["doctor", a, b, c]).ended;
  assert.equal(status, 0, errors);
});

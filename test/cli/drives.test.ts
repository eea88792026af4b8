/** What an operator does with drives, on a server of five: looking, draining, removing, starting without. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { S3Client } from "../../src/client/s3_client.ts";
import { createServer, type HoldfastServer } from "../../src/index.ts";
import { environmentFor, runCli, type Ended } from "./cli.fixture.ts";
import { temporaryFolder } from "../server/harness.ts";

type Drive = { readonly id: string; readonly path: string; readonly membership: string; readonly liveBytes: number };

const until = async (isTrue: () => Promise<boolean>): Promise<void> => {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 200));
};

test("a drive is drained, removed and left out, and nothing is lost; what cannot be is refused with what to do", async (t) => {
  const folder = temporaryFolder(t);
  const drives = ["d1", "d2", "d3", "d4", "d5"].map((name) => path.join(folder, name));
  let server: HoldfastServer = await createServer({ drives });
  t.after(() => server.close());
  const run = (...args: string[]): Promise<Ended> => runCli(args, folder, environmentFor(server));
  const status = async (): Promise<readonly Drive[]> =>
    (JSON.parse((await run("status", "--json")).output) as { drives: readonly Drive[] }).drives;
  const clientOf = ({ url, accessKey, secretKey, region }: HoldfastServer): S3Client =>
    new S3Client({ endpoint: new URL(url), accessKey, secretKey, region });
  const body = randomBytes(9_000_000);
  let client = clientOf(server);
  await client.run({ method: "PUT", bucket: "things" });
  for (const key of ["a", "b"]) await client.run({ method: "PUT", bucket: "things", key, body });

  const shown = await run("status");
  assert.match(shown.output, /new objects as ec:3\+1/);
  assert.equal(shown.output.split("\n").filter((line) => / up .* stored /.test(line)).length, 5);
  let all = await status();
  // Of five drives each chunk passes one over.
  for (let more = 0; all[4]?.liveBytes === 0; more++) {
    await client.run({ method: "PUT", bucket: "things", key: `more ${more}`, body });
    all = await status();
  }
  const [, , , kept, leaving] = all;
  assert.ok(kept && leaving);

  const explained = await run("explain", "s3://things/a");
  assert.match(explained.output, /^things\/a: 8\.6 MiB\nchunk [0-9a-f]{32} at 0: 4\.0 MiB, ec:3\+1\n/);
  assert.match(explained.output, /It survives the loss of any 1 drive more\.\n$/);
  const chunks = (await run("explain", "things/a", "--json")).output.trim().split("\n");
  assert.deepEqual(
    chunks.map((line) => (JSON.parse(line) as { shards: unknown[] }).shards.length),
    [4, 4, 4],
  );
  await client.run({ method: "PUT", bucket: "things", key: "small", body: Buffer.from("x") });
  assert.match((await run("explain", "things/small")).output, /in the metadata/);

  const early = await run("drive", "remove", leaving.id);
  assert.deepEqual([early.status, /drain it first/.test(early.errors)], [1, true]);
  assert.equal((await run("drive", "drain", leaving.id)).status, 0);
  const second = await run("drive", "drain", kept.id);
  assert.match(second.errors, /needs 4 drives, and 3 would be left/);
  assert.match((await run("drive", "drain", "0000000000000000")).errors, /There is no drive/);

  const now = async (): Promise<Drive | undefined> => (await status()).find(({ id }) => id === leaving.id);
  await until(async () => (await now())?.membership === "drained");
  await until(async () => (await now())?.liveBytes === 0);
  assert.equal((await run("drive", "remove", leaving.id)).status, 0);
  await client.run({ method: "PUT", bucket: "things", key: "c", body });
  assert.equal((await now())?.liveBytes, 0, "it takes nothing new");

  client.close();
  await server.close();
  rmSync(leaving.path, { recursive: true });
  server = await createServer({ drives: drives.filter((drive) => drive !== leaving.path) });
  client = clientOf(server);
  t.after(() => client.close());
  for (const key of ["a", "b", "c"]) assert.ok((await client.read("things", key)).equals(body));
  assert.deepEqual(
    (await status()).map(({ membership }) => membership),
    ["active", "active", "active", "active"],
  );
});

test("a bucket's redundancy is shown, changed and put back; one that needs more drives is refused", async (t) => {
  const folder = temporaryFolder(t);
  const server = await createServer({ drives: ["a", "b", "c"].map((name) => path.join(folder, name)) });
  t.after(() => server.close());
  const run = (...args: string[]): Promise<Ended> => runCli(args, folder, environmentFor(server));
  await run("bucket", "create", "things");
  assert.equal((await run("bucket", "show", "things")).output, "bucket things: replica:2 (the store's default)\n");
  const set = await run("bucket", "set", "things", "--redundancy", "ec:2+1");
  assert.equal(set.output, "bucket things: ec:2+1\n");
  assert.match((await run("bucket", "set", "things", "--redundancy", "ec:4+2")).errors, /needs 6 drives; there are 3/);
  assert.match((await run("bucket", "set", "things", "--redundancy", "raid5")).errors, /must be replica:N/);
  const shown = await run("bucket", "show", "things", "--json");
  assert.equal((JSON.parse(shown.output) as { redundancy: string }).redundancy, "ec:2+1");
  await run("bucket", "set", "things", "--redundancy", "default");
  assert.match((await run("bucket", "show", "things")).output, /replica:2 \(the store's default\)/);
  assert.match((await run("bucket", "show", "nothing")).errors, /does not exist/);
});

/** `holdfast status` and `holdfast explain` on a machine of its own, as a person and as a program read them. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { S3Client } from "../../src/client/s3_client.ts";
import { createServer } from "../../src/index.ts";
import { environmentFor, runCli } from "./cli.fixture.ts";
import { temporaryFolder } from "../server/harness.ts";

type Status = {
  readonly nodes: readonly unknown[];
  readonly zones: readonly unknown[];
  readonly drives: readonly { readonly state: string; readonly node: string }[];
  readonly usage: { readonly levels: readonly object[]; readonly isWhole: boolean };
  readonly backlog: { readonly sessions: number; readonly repairChunks: number };
};

test("what is stored is shown by redundancy, and a drive that is not there is said", async (t) => {
  const folder = temporaryFolder(t);
  const drives = ["a", "b", "c"].map((name) => path.join(folder, name));
  let server = await createServer({ drives });
  t.after(() => server.close());
  const run = (...args: string[]) => runCli(args, folder, environmentFor(server));
  const { accessKey, secretKey, region } = server;
  const client = new S3Client({ endpoint: new URL(server.url), accessKey, secretKey, region });
  for (const bucket of ["plain", "coded"]) await client.run({ method: "PUT", bucket });
  await run("bucket", "set", "coded", "--redundancy", "ec:2+1");
  await client.run({ method: "PUT", bucket: "plain", key: "k", body: Buffer.from("some bytes") });
  await client.run({ method: "PUT", bucket: "coded", key: "k", body: randomBytes(100_000) });
  client.close();

  const whole = (await run("status")).output;
  assert.match(
    whole,
    /2 objects, 97\.7 KiB, in 2 buckets\n {2}ec:2\+1: 1 object, 97\.7 KiB\n {2}replica:2: 1 object, 10 B\n/,
  );
  assert.match(whole, /no chunk is known to lack a shard/);
  const json = JSON.parse((await run("status", "--json")).output) as Status;
  assert.deepEqual([json.nodes, json.zones, json.usage.isWhole], [[], [], true]);
  assert.deepEqual(json.usage.levels, [
    { redundancy: "ec:2+1", buckets: 1, objects: 1, versions: 0, bytes: 100_000 },
    { redundancy: "replica:2", buckets: 1, objects: 1, versions: 0, bytes: 10 },
  ]);
  assert.deepEqual([json.backlog.sessions, json.backlog.repairChunks], [1, 0]);

  await server.close();
  rmSync(drives[2]!, { recursive: true });
  server = await createServer({ drives: drives.slice(0, 2) });
  const reduced = await run("status");
  assert.match(reduced.output, /missing/);
  assert.match(reduced.output, /what lies on 1 drive that cannot be used is missing/);
  assert.doesNotMatch(reduced.output, /no chunk is known/);
  const explained = await run("explain", "s3://coded/k");
  assert.match(explained.output, /It survives the loss of no drive more\.\n$/);
  const [chunk] = (await run("explain", "coded/k", "--json")).output.split("\n");
  const { survives, survivesNodes, survivesZones } = JSON.parse(chunk!) as Record<string, unknown>;
  assert.deepEqual(
    { survives, survivesNodes, survivesZones },
    { survives: 0, survivesNodes: null, survivesZones: null },
  );
});

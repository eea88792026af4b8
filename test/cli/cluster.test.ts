/** `holdfast status`, `explain` and the metrics of a cluster: three nodes in two zones on one PostgreSQL, one of which leaves. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { S3Client } from "../../src/client/s3_client.ts";
import { createServer, type HoldfastServer } from "../../src/index.ts";
import { postgresMissing, startPostgres } from "../../src/kv/postgres.fixture.ts";
import { testMsMax } from "../bounds.ts";
import { environmentFor, runCli } from "./cli.fixture.ts";

type Node = { readonly url: string; readonly zone: string; readonly state: string; readonly isOwn: boolean };
type Drive = { readonly node: string; readonly zone: string; readonly state: string };
type Status = { readonly nodes: readonly Node[]; readonly zones: readonly object[]; readonly drives: readonly Drive[] };

const zones = ["east", "west", "west"];

async function cluster(t: TestContext): Promise<{ readonly folder: string; readonly servers: HoldfastServer[] }> {
  const postgres = await startPostgres({ fsync: true });
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-nodes-"));
  const clusterSecretFile = path.join(folder, "secret");
  writeFileSync(clusterSecretFile, randomBytes(32).toString("hex"));
  const servers: HoldfastServer[] = [];
  t.after(async () => {
    for (const server of servers) await server.close();
    await postgres.dispose();
    rmSync(folder, { recursive: true, force: true });
  });
  for (const [index, zone] of zones.entries()) {
    const drives = ["a", "b"].map((name) => path.join(folder, `node${index}${name}`));
    const server = await createServer({
      drives,
      metadata: postgres.url,
      clusterSecretFile,
      zone,
      redundancy: "ec:2+1",
    });
    servers.push(server);
  }
  return { folder, servers };
}

async function metricsOf({ url }: HoldfastServer): Promise<(series: string) => number | undefined> {
  const lines = (await (await fetch(`${url}/_/metrics`)).text()).split("\n");
  return (series) => {
    const line = lines.find((each) => each.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(series.length));
  };
}

const until = async (isTrue: () => Promise<boolean>): Promise<void> => {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 200));
};

test(
  "a cluster is shown by zones and nodes, and so is each shard; a node that leaves is away",
  { skip: postgresMissing(), timeout: testMsMax },
  async (t) => {
    const { folder, servers } = await cluster(t);
    const [first, , last] = servers as [HoldfastServer, HoldfastServer, HoldfastServer];
    const run = (...args: string[]) => runCli(args, folder, environmentFor(first));
    const status = async (): Promise<Status> => JSON.parse((await run("status", "--json")).output) as Status;
    await until(async () => (await status()).drives.filter(({ state }) => state === "up").length === 6);
    const { accessKey, secretKey, region } = first;
    const client = new S3Client({ endpoint: new URL(first.url), accessKey, secretKey, region });
    t.after(() => client.close());
    await client.run({ method: "PUT", bucket: "things" });
    const chunksOf = async (): Promise<{ shards: Drive[]; [name: string]: unknown }[]> => {
      const { output } = await run("explain", "s3://things/k", "--json");
      return output
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { shards: Drive[] });
    };
    // Who places shards looks at the drives every few seconds only.
    const put = () => client.run({ method: "PUT", bucket: "things", key: "k", body: randomBytes(6_000_000) });
    const nodesOf = ({ shards }: { shards: Drive[] }): number => new Set(shards.map(({ node }) => node)).size;
    await until(() =>
      put().then(
        async () => (await chunksOf()).every((chunk) => nodesOf(chunk) === 3),
        () => false,
      ),
    );

    const whole = await status();
    assert.deepEqual(
      whole.nodes.map(({ state }) => state),
      ["up", "up", "up"],
    );
    assert.deepEqual(
      whole.nodes.filter(({ isOwn }) => isOwn).map(({ url }) => url),
      [first.url],
    );
    assert.deepEqual(
      new Set(whole.zones),
      new Set([
        { zone: "east", nodes: 1, up: 1 },
        { zone: "west", nodes: 2, up: 2 },
      ]),
    );
    for (const { node, zone } of whole.drives) assert.equal(zone, whole.nodes.find(({ url }) => url === node)?.zone);
    const { output } = await run("status");
    assert.match(output, /3 nodes in 2 zones, all up, 6 drives, 3 sessions\n\nzone east\n/);
    assert.match(
      output,
      new RegExp(
        `zone west\\n(?:.*\\n)* {2}${last.url} {2}up {2}\\S+ {2}1 worker {2}up \\d+ (s|min)\\n {4}[0-9a-f]{16} `,
      ),
    );

    // Three shards on three nodes: any one may go. Two of them lie in one zone: that may not.
    const [chunk] = await chunksOf();
    assert.deepEqual([chunk!["survives"], chunk!["survivesNodes"], chunk!["survivesZones"]], [1, 1, 0]);
    const explained = (await run("explain", "s3://things/k")).output;
    assert.match(explained, /of any 1 drive more, of any 1 whole node, of no whole zone\.\n$/);
    assert.match(explained, new RegExp(`${last.url} ${path.join(folder, "node2")}[ab] {2}zone west`));

    const before = await metricsOf(first);
    assert.equal(before('holdfast_store_nodes{state="up"}'), 3);
    assert.equal(before('holdfast_store_drives{membership="active",state="up"}'), 6);
    assert.equal(before("holdfast_store_sessions"), 3);
    assert.equal(before(`holdfast_peer_up{peer="${last.url}"}`), 1);
    assert.equal(before(`holdfast_peer_up{peer="${first.url}"}`), undefined, "it is no peer of itself");
    assert.ok(before('holdfast_peer_calls_total{call="append",outcome="ok"}')! >= 2);

    await last.close();
    await until(async () => (await status()).nodes.some(({ url, state }) => url === last.url && state !== "up"));
    const after = await status();
    assert.ok(after.drives.filter(({ node }) => node === last.url).every(({ state }) => state === "missing"));
    const text = (await run("status")).output;
    assert.match(text, /1 not up/);
    assert.match(text, /what lies on 2 drives that cannot be used is missing/);
    await until(async () => (await metricsOf(first))(`holdfast_store_nodes{state="away"}`) === 1);
    const now = await metricsOf(first);
    assert.equal(now(`holdfast_peer_up{peer="${last.url}"}`), 0);
    assert.equal(now('holdfast_store_drives{membership="active",state="missing"}'), 2);
    assert.match((await run("explain", "things/k")).output, /of no drive more, of no whole node, of no whole zone/);
  },
);

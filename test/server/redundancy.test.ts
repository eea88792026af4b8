/** A server on six drives with erasure coding: drives lost under it, a bit flipped, what a bucket's redundancy may be. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { runCli, type Ended } from "../cli/cli.fixture.ts";
import { askAdmin } from "../../src/client/admin_client.ts";
import { S3Client } from "../../src/client/s3_client.ts";
import { testMsMax } from "../bounds.ts";
import { doctor } from "../crash/kill_rounds.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";
import { temporaryFolder, until } from "./harness.ts";

const timeout = testMsMax;
const bucket = "safe";

type Six = readonly [string, string, string, string, string, string];

function sixDrives(t: TestContext): Six {
  const folder = temporaryFolder(t);
  const at = (number: number): string => path.join(folder, `d${number}`);
  return [at(1), at(2), at(3), at(4), at(5), at(6)];
}

async function start(
  t: TestContext,
  [first, ...others]: Six,
  ...flags: readonly string[]
): Promise<{ server: ServerProcess; client: S3Client }> {
  const server = await ServerProcess.start(first, { workers: 2, args: [...others, ...flags] });
  const client = new S3Client({ endpoint: server.url, ...testKeys, region: "us-east-1" });
  t.after(async () => {
    client.close();
    if (server.isRunning()) await server.killAll();
  });
  return { server, client };
}

/** In the metadata, in copies, in one coded chunk, in several. */
const sizes = [1_000, 60_000, 700_000, 9_000_000];

async function upload(client: S3Client): Promise<Map<string, Buffer>> {
  const bodies = new Map(sizes.map((size) => [`${size} bytes`, randomBytes(size)]));
  await client.run({ method: "PUT", bucket });
  for (const [key, body] of bodies) await client.run({ method: "PUT", bucket, key, body });
  return bodies;
}

/** Of no chunk a shard waits to be made anew: one that a drive took too late, or that is damaged. */
async function isWhole({ url }: ServerProcess): Promise<boolean> {
  const { backlog } = await askAdmin({ endpoint: url, ...testKeys }, { method: "GET", path: "/_/admin/cluster" });
  return (backlog as { repairChunks: number }).repairChunks === 0;
}

async function assertReads(client: S3Client, bodies: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const [key, body] of bodies) assert.ok((await client.read(bucket, key)).equals(body), key);
}

// The first have the metadata, the last has none.
for (const [from, to] of [
  [0, 2],
  [4, 6],
] as const)
  test(
    `killed, and drives ${from + 1} and ${to} of six gone, a server has everything it acknowledged`,
    { timeout },
    (t) => losesTwo(t, from, to),
  );

async function losesTwo(t: TestContext, from: number, to: number): Promise<void> {
  const drives = sixDrives(t);
  const { server, client } = await start(t, drives);
  const bodies = await upload(client);
  // With a drive that was late a write is acknowledged when it bears the loss of one.
  await until(() => isWhole(server));
  await server.killAll();
  for (const lost of drives.slice(from, to)) rmSync(lost, { recursive: true });
  const again = await start(t, drives);
  await assertReads(again.client, bodies);
  // It takes new objects at once, and the old ones survive another start.
  await again.client.run({ method: "PUT", bucket, key: "later", body: randomBytes(100_000) });
  await again.server.killAll();
  await assertReads((await start(t, drives)).client, bodies);
}

test("what lay on a drive that was away for as long as was set is made anew", { timeout }, async (t) => {
  const drives = sixDrives(t);
  const { server, client } = await start(t, drives);
  await upload(client);
  await until(() => isWhole(server));
  const { shards } = await firstChunk(server, "700000 bytes");
  await server.killAll();
  rmSync(shards[0]!.path, { recursive: true });
  const again = await start(t, drives, "--drive-away", "1");
  await until(async () => (await firstChunk(again.server, "700000 bytes")).survives === 2);
});

test("a bucket says how it is stored, and takes only what can be", { timeout }, async (t) => {
  const drives = sixDrives(t);
  const { server, client } = await start(t, drives);
  await client.run({ method: "PUT", bucket });
  const env = {
    ...process.env,
    HOLDFAST_URL: server.url.href,
    HOLDFAST_ACCESS_KEY: testKeys.accessKey,
    HOLDFAST_SECRET_KEY: testKeys.secretKey,
  };
  const run = (...args: string[]): Promise<Ended> => runCli(["bucket", ...args], path.dirname(drives[0]), env);
  const said = (standard: string, reduced: string): string =>
    `bucket ${bucket}: ${standard}\n  REDUCED_REDUNDANCY: ${reduced}\n`;
  const byDefault = said("ec:4+2 (the store's default)", "ec:4+1 (by default)");
  assert.equal((await run("show", bucket)).output, byDefault);
  const copies = said("replica:3", "replica:2 (by default)");
  assert.equal((await run("set", bucket, "--redundancy", "replica:3")).output, copies);
  const refused = await run("set", bucket, "--redundancy", "ec:5+2");
  assert.deepEqual([refused.status, /needs 7 drives/.test(refused.errors)], [1, true], refused.errors);
  assert.equal((await run("show", bucket)).output, copies);
  const stronger = await run("set", bucket, "--reduced-redundancy", "ec:2+3");
  assert.deepEqual([stronger.status, /more losses than replica:3/.test(stronger.errors)], [1, true], stronger.errors);
  await client.run({ method: "PUT", bucket, key: "copied", body: randomBytes(700_000) });
  assert.equal((await firstChunk(server, "copied")).redundancy, "replica:3");
});

test("each storage class has its redundancy, whichever way it is asked for, and says so", { timeout }, async (t) => {
  const drives = sixDrives(t);
  const { server, client } = await start(t, drives, "--reduced-redundancy", "ec:4+1");
  await client.run({ method: "PUT", bucket });
  const reduced = { "x-amz-storage-class": "REDUCED_REDUNDANCY" };
  const body = randomBytes(700_000);
  const stored = async (key: string): Promise<[string, number]> => {
    const { redundancy, shards } = await firstChunk(server, key);
    return [redundancy, shards.length];
  };
  await client.run({ method: "PUT", bucket, key: "standard", body });
  await client.run({ method: "PUT", bucket, key: "reduced", body, headers: reduced });
  const from = (key: string): Record<string, string> => ({ "x-amz-copy-source": `/${bucket}/${key}` });
  await client.run({ method: "PUT", bucket, key: "weaker", headers: { ...from("standard"), ...reduced } });
  await client.run({ method: "PUT", bucket, key: "stronger", headers: from("reduced") });
  const [six, five] = [
    ["ec:4+2", 6],
    ["ec:4+1", 5],
  ];
  await until(() => isWhole(server));
  for (const key of ["standard", "stronger"]) assert.deepEqual(await stored(key), six, key);
  for (const key of ["reduced", "weaker"]) assert.deepEqual(await stored(key), five, key);
  const answers = await askAdmin({ endpoint: server.url, ...testKeys }, { method: "GET", path: "/_/admin/cluster" });
  assert.deepEqual([answers["redundancy"], answers["reducedRedundancy"]], ["ec:4+2", "ec:4+1"]);
  const { levels } = answers["usage"] as { levels: readonly { redundancy: string; objects: number; bytes: number }[] };
  const held = Object.fromEntries(levels.map(({ redundancy, objects, bytes }) => [redundancy, [objects, bytes]]));
  assert.deepEqual(held, { "ec:4+1": [2, 2 * body.length], "ec:4+2": [2, 2 * body.length] });
  // What is there follows the bucket's word.
  const change = { method: "PUT", path: `/_/admin/buckets/${bucket}`, body: { reducedRedundancy: "replica:1" } };
  await askAdmin({ endpoint: server.url, ...testKeys }, change);
  await until(async () => (await stored("reduced"))[1] === 1 && (await stored("weaker"))[1] === 1);
  assert.deepEqual(await stored("standard"), six);
  assert.ok((await client.read(bucket, "weaker")).equals(body));
});

type Chunk = {
  readonly id: string;
  readonly redundancy: string;
  readonly survives: number;
  readonly shards: readonly { readonly shardIndex: number; readonly path: string }[];
};

async function firstChunk({ url }: ServerProcess, key: string): Promise<Chunk> {
  const query = new URLSearchParams({ bucket, key, after: "-1" });
  const target = { endpoint: url, ...testKeys };
  const answer = await askAdmin(target, { method: "GET", path: `/_/admin/explain?${query.toString()}` });
  return (answer["chunks"] as Chunk[])[0]!;
}

/** Within a record, from its chunk's id in the header (docs/formats/segment.md): far into its body. */
const intoBodyBytes = 50_000;

/** Turns a bit over in the body of the shard of a chunk that lies on a drive. */
function damage(drive: string, chunk: string): void {
  const folder = path.join(drive, "segments");
  for (const file of readdirSync(folder).map((name) => path.join(folder, name))) {
    const bytes = readFileSync(file);
    const at = bytes.indexOf(Buffer.from(chunk, "hex"));
    if (at < 0) continue;
    bytes[at + intoBodyBytes]! ^= 1;
    writeFileSync(file, bytes);
    return;
  }
  assert.fail(`no segment in ${folder} has chunk ${chunk}`);
}

async function repairsDone({ url }: ServerProcess): Promise<number> {
  const { jobs } = await askAdmin({ endpoint: url, ...testKeys }, { method: "GET", path: "/_/admin/status" });
  return (jobs as { name: string; done: number }[]).reduce((sum, job) => sum + (job.name === "mend" ? job.done : 0), 0);
}

test("a flipped bit is read around, and mended in its place", { timeout }, async (t) => {
  const drives = sixDrives(t);
  const { server, client } = await start(t, drives);
  const bodies = await upload(client);
  await until(() => isWhole(server));
  const { id, shards } = await firstChunk(server, "700000 bytes");
  const { path: drive } = shards.find(({ shardIndex }) => shardIndex === 0)!;
  await server.stop();
  damage(drive, id);
  assert.match(await doctor(...drives), /"finding"[^\n]*corrupt/);
  const again = await start(t, drives);
  // A read that was late is made elsewhere, and sees no damage then.
  await until(async () => {
    await assertReads(again.client, bodies);
    return (await repairsDone(again.server)) > 0;
  });
  assert.deepEqual((await firstChunk(again.server, "700000 bytes")).shards.length, shards.length);
  await again.server.stop();
  const report = await doctor(...drives);
  assert.doesNotMatch(report, /"finding"/);
  assert.match(report, /"summary"/);
});

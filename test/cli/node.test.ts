/** A node is taken out of a cluster of three and nothing is lost; what would cost the loss of a node is refused. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { S3Client } from "../../src/client/s3_client.ts";
import { createServer, type HoldfastServer } from "../../src/index.ts";
import { postgresMissing, startPostgres } from "../../src/kv/postgres.fixture.ts";
import { testMsMax } from "../bounds.ts";
import { environmentFor, runCli } from "./cli.fixture.ts";

type Drive = { readonly id: string; readonly node: string; readonly membership: string; readonly state: string };
type Status = { readonly nodes: readonly { readonly url: string }[]; readonly drives: readonly Drive[] };

const until = async (isTrue: () => Promise<boolean>): Promise<void> => {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 200));
};

test("a node leaves a cluster", { skip: postgresMissing(), timeout: testMsMax }, async (t) => {
  const postgres = await startPostgres({ fsync: true });
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-node-"));
  const clusterSecretFile = path.join(folder, "secret");
  writeFileSync(clusterSecretFile, randomBytes(32).toString("hex"));
  const servers: HoldfastServer[] = [];
  t.after(async () => {
    for (const server of servers) await server.close();
    await postgres.dispose();
    rmSync(folder, { recursive: true, force: true });
  });
  for (const name of ["n1", "n2", "n3"]) {
    const drives = ["a", "b"].map((drive) => path.join(folder, `${name}${drive}`));
    servers.push(await createServer({ drives, metadata: postgres.url, clusterSecretFile, redundancy: "replica:2" }));
  }
  const [first, second, third] = servers as [HoldfastServer, HoldfastServer, HoldfastServer];
  const run = (...args: string[]) => runCli(args, folder, environmentFor(first));
  const status = async (): Promise<Status> => JSON.parse((await run("status", "--json")).output) as Status;
  const { accessKey, secretKey, region } = first;
  const client = new S3Client({ endpoint: new URL(first.url), accessKey, secretKey, region });
  t.after(() => client.close());
  await until(async () => (await status()).drives.filter(({ state }) => state === "up").length === 6);
  await client.run({ method: "PUT", bucket: "things" });
  const body = randomBytes(9_000_000);
  for (const key of ["a", "b", "c"]) await client.run({ method: "PUT", bucket: "things", key, body });

  assert.match((await run("node", "drain", "http://nowhere:1")).errors, /There is no node http:\/\/nowhere:1/);
  assert.match((await run("node", "remove", third.url)).errors, /drain it first/);
  const drained = await run("node", "drain", third.url, "--json");
  assert.equal(drained.status, 0, drained.errors);
  const ofThird = async (): Promise<Drive[]> => (await status()).drives.filter(({ node }) => node === third.url);
  await until(async () => (await ofThird()).every(({ membership }) => membership === "drained"));
  assert.equal((await run("node", "remove", third.url)).status, 0);
  await third.close();
  await until(async () => !(await status()).nodes.some(({ url }) => url === third.url));
  await until(async () => (await ofThird()).length === 0);
  for (const key of ["a", "b", "c"]) {
    const into = path.join(folder, key);
    assert.equal((await run("get", `things/${key}`, into)).status, 0);
    assert.ok(readFileSync(into).equals(body), key);
  }

  const refused = await run("node", "drain", second.url);
  assert.deepEqual([refused.status, /would not survive the loss of a node.*--force/.test(refused.errors)], [1, true]);
  const [one, other] = (await status()).drives.filter(({ node }) => node === second.url);
  assert.match((await run("drive", "replace", one!.id, "0000000000000000")).errors, /is not there: name its folder/);
  assert.equal((await run("drive", "replace", one!.id, other!.id)).status, 0);
  await until(async () =>
    (await status()).drives.some(({ id, membership }) => id === one!.id && membership === "drained"),
  );
  assert.match((await run("drive", "drain", other!.id)).errors, /--force/);
  assert.equal((await run("drive", "drain", other!.id, "--force")).status, 0);
});

/** Quotas from the command line and at the operator's door. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { useCli } from "./cli.fixture.ts";

const cli = useCli();

async function done(...args: string[]): Promise<string> {
  const { status, output, errors } = await cli.run(...args);
  assert.deepEqual([status, errors], [0, ""], args.join(" "));
  return output;
}

async function refused(why: RegExp, ...args: string[]): Promise<void> {
  const { status, errors } = await cli.run(...args);
  assert.equal(status, 1, args.join(" "));
  assert.match(errors, why);
}

function file(name: string, sizeBytes: number): string {
  const at = path.join(cli.folder(), name);
  writeFileSync(at, Buffer.alloc(sizeBytes, "x"));
  return at;
}

async function asks(method: string, place: string, body?: object): Promise<{ status: number; body: unknown }> {
  const { url, accessKey, secretKey } = cli.server();
  const authorization = `Basic ${Buffer.from(`${accessKey}:${secretKey}`).toString("base64")}`;
  const answer = await fetch(`${url}/_/admin/${place}`, {
    method,
    headers: { authorization },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: await answer.json() };
}

test("a bucket gets a quota, says how full it is, refuses what is too much, and loses the quota", async () => {
  assert.doesNotMatch(await done("bucket", "show", "things"), /objects/);
  await done("put", file("a", 1_536), "things/a");
  const set = await done("bucket", "set", "things", "--quota-bytes", "2KiB", "--quota-objects", "3");
  assert.match(
    set,
    /^bucket things: .*\n {2}bytes {4}1\.5 KiB of 2\.0 KiB \(75 %\)\n {2}objects {2}1 of 3 \(33 %\)\n$/,
  );
  await refused(/This would go beyond the quota of the bucket\./, "put", file("b", 600), "things/b");
  const shown = JSON.parse(await done("bucket", "show", "things", "--json")) as Record<string, unknown>;
  assert.deepEqual(shown["quota"], { bytes: 2_048, objects: 3 });
  assert.deepEqual(shown["held"], { bytes: 1_536, objects: 1 });
  assert.match(
    await done("bucket", "set", "things", "--quota-bytes", "none"),
    /1\.5 KiB, no quota\n {2}objects {2}1 of 3/,
  );
  await done("put", file("b", 600), "things/b");
  await done("bucket", "set", "things", "--quota-objects", "none");
  const metrics = await (await fetch(`${cli.server().url}/_/metrics`)).text();
  assert.doesNotMatch(metrics, /holdfast_store_quota_bytes\{/, "what is not bounded is not told");
});

test("what is no quota is refused and changes nothing", async () => {
  await refused(/is no size/, "bucket", "set", "things", "--quota-bytes", "10 apples");
  await refused(/is no number of objects/, "bucket", "set", "things", "--quota-objects", "-1");
  await refused(/Nothing to set/, "bucket", "set", "things");
  await refused(/does not exist/, "bucket", "set", "nowhere", "--quota-objects", "1");
  await refused(/no account 999999999999/, "account", "set", "999999999999", "--quota-objects", "1");
  for (const quota of [7, [], { bytes: -1 }, { bytes: 0.5 }, { bytes: 2 ** 53 }, { files: 1 }, { objects: "1" }]) {
    const { status } = await asks("PUT", "buckets/things", { quota });
    assert.equal(status, 400, JSON.stringify(quota));
  }
  const both = await asks("PUT", "buckets/things", { redundancy: "replica:9", quota: { objects: 1 } });
  assert.equal(both.status, 400);
  const { body } = await asks("GET", "buckets/things");
  assert.deepEqual((body as Record<string, unknown>)["quota"], { bytes: null, objects: null });
});

test("an account's quota is over all its buckets", async () => {
  await done("bucket", "create", "more");
  assert.match(await done("account", "show"), /^account \d{12}: no quota\n$/);
  assert.match(await done("account", "list"), / {2}\d{12} {2}holdfast\n$/);
  const set = await done("account", "set", "--quota-bytes", "3000");
  assert.match(set, /^account \d{12}\n {2}bytes {4}2\.1 KiB of 2\.9 KiB \(71 %\)\n {2}objects {2}2, no quota\n$/);
  await refused(/beyond the quota of the account/, "put", file("c", 900), "more/c");
  await done("put", file("c", 800), "more/c");
  const metrics = await (await fetch(`${cli.server().url}/_/metrics`)).text();
  assert.match(metrics, /holdfast_store_quota_held_bytes\{of="account",name=""\} 2936/);
  await done("account", "set", "own", "--quota-bytes", "none");
  await done("put", file("d", 90_000), "more/d");
});

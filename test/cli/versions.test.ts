/** Versions from the command line: listed, removed one by one or all, and told where they lie. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { useCli } from "./cli.fixture.ts";

const cli = useCli();
const bucket = "kept";
const ids: string[] = [];

async function fill(): Promise<void> {
  const client = cli.client();
  await client.run({ method: "PUT", bucket });
  const body = Buffer.from("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");
  await client.run({ method: "PUT", bucket, query: { versioning: "" }, body });
  for (const bytes of [Buffer.alloc(100_000, "old"), Buffer.from("new")]) {
    const headers = await client.run({ method: "PUT", bucket, key: "a b", body: bytes });
    ids.push(String(headers["x-amz-version-id"]));
  }
  await client.run({ method: "DELETE", bucket, key: "a b" });
  await client.run({ method: "PUT", bucket, key: "other", body: Buffer.from("x") });
}

const lines = async (...args: string[]): Promise<string[]> => (await cli.run(...args)).output.trim().split("\n");

test("ls --versions shows every version and marker, the newest first", async () => {
  await fill();
  const [marker, newer, older] = await lines("ls", "--versions", `${bucket}/a`);
  assert.match(marker!, /deleted {2}\S{30} {2}\* {2}a b$/);
  assert.match(newer!, new RegExp(`3 B {2}${ids[1]} {5}a b$`));
  assert.match(older!, new RegExp(`${ids[0]} {5}a b$`));
  const [first] = await lines("ls", "--versions", "--json", `${bucket}/other`);
  const { key, isLatest, isMarker, sizeBytes } = JSON.parse(first!);
  assert.deepEqual(
    { key, isLatest, isMarker, sizeBytes },
    { key: "other", isLatest: true, isMarker: false, sizeBytes: 1 },
  );
});

test("explain --version-id tells where a version lies that is not current", async () => {
  const { status, output } = await cli.run("explain", `${bucket}/a b`, "--version-id", ids[0]!);
  assert.equal(status, 0);
  assert.match(output, /chunk [0-9a-f]+ at 0/);
  assert.equal((await cli.run("explain", `${bucket}/a b`)).status, 1);
});

test("rm --version-id removes that version for good, and -r --versions all of them", async () => {
  assert.equal((await cli.run("rm", `${bucket}/a b`, "--version-id", ids[1]!)).status, 0);
  assert.equal((await lines("ls", "--versions", `${bucket}/a`)).length, 2);
  assert.equal((await cli.run("rm", "--versions", `${bucket}/a b`)).status, 1, "only with -r");
  assert.deepEqual(await lines("rm", "-r", "--versions", `${bucket}/a`), ["2 deleted"]);
  assert.deepEqual(await lines("ls", "--versions", bucket).then((found) => found.length), 1);
});

test("bucket remove --force takes versions and markers along", async () => {
  await cli.client().run({ method: "DELETE", bucket, key: "other" });
  assert.equal((await cli.run("bucket", "remove", bucket)).status, 1);
  const { status, output } = await cli.run("bucket", "remove", "--force", bucket);
  assert.equal(status, 0);
  assert.match(output, /removed, with 2 objects and versions/);
});

test("what is locked stays, also with bucket remove --force; --bypass-governance takes what may be bypassed", async () => {
  assert.equal((await cli.run("bucket", "create", "locked", "--object-lock")).status, 0);
  const headers = {
    "x-amz-object-lock-mode": "GOVERNANCE",
    "x-amz-object-lock-retain-until-date": new Date(Date.now() + 86_400_000).toISOString(),
    "content-md5": "ndTkYSaMgDT1yFZOFVxnpg==",
  };
  const put = { method: "PUT", bucket: "locked", key: "a", headers, body: Buffer.from("x") };
  const { "x-amz-version-id": id } = await cli.client().run(put);
  const named = ["rm", "locked/a", "--version-id", String(id)];
  assert.equal((await cli.run(...named)).status, 1);
  assert.equal((await cli.run("bucket", "remove", "--force", "locked")).status, 1);
  assert.equal((await cli.run(...named, "--bypass-governance")).status, 0);
  await cli.client().run({ ...put, key: "b" });
  assert.deepEqual(await lines("rm", "-r", "--versions", "--bypass-governance", "locked/"), ["1 deleted"]);
  assert.equal((await cli.run("bucket", "remove", "locked")).status, 0);
});

/** `holdfast commit`: a file that says what is to be changed at once. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { useCli } from "./cli.fixture.ts";

const cli = useCli();
const directory = mkdtempSync(path.join(tmpdir(), "holdfast-commit-"));
after(() => rmSync(directory, { recursive: true, force: true }));
const bucket = "committed";

function fileOf(document: unknown): string {
  const file = path.join(directory, "commit.json");
  writeFileSync(file, typeof document === "string" ? document : JSON.stringify(document));
  return file;
}

test("a file's entries are committed together", async () => {
  const client = cli.client();
  await client.run({ method: "PUT", bucket });
  await client.run({ method: "PUT", bucket, key: "staged", body: Buffer.from("body") });
  const entries = [
    { rename: "staged", to: "live" },
    { put: "manifest", text: "1" },
  ];
  const { status, output } = await cli.run("commit", fileOf({ bucket, entries }));
  assert.deepEqual([status, output], [0, "2 entries committed\n"]);
  assert.equal(String(await client.read(bucket, "live")), "body");
  const again = await cli.run("commit", "--json", fileOf({ bucket, entries: [{ put: "manifest", text: "2" }] }));
  assert.equal((JSON.parse(again.output) as { entries: { key: string }[] }).entries[0]?.key, "manifest");
});

test("a commit that fails changes nothing and says which entry it was", async () => {
  const entries = [
    { put: "manifest", text: "3" },
    { delete: "missing", ifMatch: "x" },
  ];
  const { status, errors } = await cli.run("commit", fileOf({ bucket, entries }));
  assert.equal(status, 1);
  assert.match(errors, /Entry 1 \(missing\): /);
  assert.equal(String(await cli.client().read(bucket, "manifest")), "2");
  for (const document of ["{", "{}", { bucket: 1, entries }])
    assert.equal((await cli.run("commit", fileOf(document))).status, 1);
});

/** Files to objects and back through the command line: where they land, what is left alone, what cannot be a file. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { text } from "../../src/client/s3_client.ts";
import { uploadFile } from "../../src/client/transfer.ts";
import { useCli } from "./cli.fixture.ts";

const cli = useCli();
const at = (...parts: string[]): string => path.join(cli.folder(), ...parts);
const put = (key: string, body: string | Buffer) =>
  cli.client().run({ method: "PUT", bucket: "things", key, body: Buffer.from(body) });

test("an object is got into a folder, under a name, and never in place of a device", async () => {
  await put("a/cat.txt", "meow");
  mkdirSync(at("folder"));
  assert.equal((await cli.run("get", "things/a/cat.txt", "folder")).status, 0);
  assert.equal(readFileSync(at("folder/cat.txt"), "utf8"), "meow");
  execFileSync("mkfifo", [at("pipe")]);
  const reader = import("node:fs/promises").then(({ readFile }) => readFile(at("pipe"), "utf8"));
  assert.equal((await cli.run("get", "things/a/cat.txt", "pipe")).status, 0);
  assert.ok(lstatSync(at("pipe")).isFIFO(), "a pipe is written to, not replaced");
  assert.equal(await reader, "meow");
});

test("a key that names no file needs a name", async () => {
  await put("x/..", "odd");
  await put("x/folder/", "");
  for (const key of ["x/..", "x/folder/"]) {
    const { status, errors } = await cli.run("get", `things/${key}`);
    assert.equal(status, 1);
    assert.match(errors, /say which file/);
  }
  assert.equal((await cli.run("get", "things/x/..", "odd.txt")).status, 0);
  assert.equal(readFileSync(at("odd.txt"), "utf8"), "odd");
});

test("get -r writes what can be files, inside the folder only, and names the rest", async () => {
  const bad = [
    "r/../../evil",
    "r/..",
    "r/.",
    "r/a//b",
    "r/./c",
    "r//abs",
    `r/${"n".repeat(300)}`,
    "r/nul\0",
    "r/full/",
  ];
  const good = ["r/a/b", "r/..foo/bar", "r/...", `r/${"n".repeat(250)}`, "r/ü %?#&+.txt", "r/C:con"];
  for (const key of [...bad, ...good]) await put(key, key);
  await put("r/empty folder/", "");
  const { status, output, errors } = await cli.run("get", "-r", "things/r/", "deep/er");
  assert.equal(status, 1, "something is missing");
  assert.match(output, new RegExp(`^${good.length} files, `));
  for (const key of good) assert.equal(readFileSync(at("deep/er", key.slice(2)), "utf8"), key);
  assert.ok(lstatSync(at("deep/er/empty folder")).isDirectory());
  assert.equal(errors.split("\n").filter((line) => line.includes("cannot be a file")).length, bad.length);
  assert.match(errors, new RegExp(`${bad.length} keys`));
  for (const outside of ["evil", "../evil", "deep/evil", "deep/er/abs"]) assert.ok(!existsSync(at(outside)), outside);
});

test("a key and keys below it are not both files: one is told, the rest arrives", async () => {
  await put("both/a", "file");
  await put("both/a/b", "below");
  await put("both/z", "last");
  const { status, errors } = await cli.run("get", "-r", "things/both/", "both", "-p", "1");
  assert.equal(status, 1);
  assert.match(errors, /both\/a/);
  assert.equal(readFileSync(at("both/z"), "utf8"), "last");
});

test("get -r and put -r leave alone what is there already, large files too, and see a change", async () => {
  mkdirSync(at("album/sub"), { recursive: true });
  const large = randomBytes(17 * 1024 * 1024);
  writeFileSync(at("album/large"), large);
  writeFileSync(at("album/sub/small"), "small");
  writeFileSync(at("album/empty"), "");
  assert.match((await cli.run("put", "-r", "album", "things/album")).output, /^3 files, 17.0 MiB\n/);
  assert.match((await cli.run("put", "-r", "album", "things/album")).output, /3 were there already/);
  assert.match((await cli.run("get", "-r", "things/album/", "back")).output, /^3 files, 17.0 MiB\n/);
  assert.match((await cli.run("get", "-r", "things/album/", "back")).output, /3 were there already/);
  writeFileSync(at("back/sub/small"), "SMALL");
  large[large.length - 1]! ^= 1;
  writeFileSync(at("album/large"), large);
  assert.match((await cli.run("get", "-r", "things/album/", "back")).output, /2 were there already/);
  assert.equal(readFileSync(at("back/sub/small"), "utf8"), "small");
  assert.match((await cli.run("put", "-r", "album", "things/album")).output, /2 were there already/);
  assert.match((await cli.run("get", "-r", "things/album/", "back")).output, /2 were there already/);
  assert.ok(readFileSync(at("back/large")).equals(large));
});

test("put -r says which entries are no files", async () => {
  mkdirSync(at("links"));
  writeFileSync(at("links/real"), "real");
  symlinkSync("real", at("links/link"));
  symlinkSync("nowhere", at("links/dangling"));
  const { status, output, errors } = await cli.run("put", "-r", "links", "things/links");
  assert.equal(status, 0);
  assert.match(output, /^1 file, 4 B/);
  assert.match(errors, /links\/link.* left out/);
  assert.match(errors, /links\/dangling.* left out/);
});

test("a file that cannot be read, or changes while it is read, is an error and no object", async () => {
  const target = { bucket: "things", key: "changing" };
  const file = at("changing");
  writeFileSync(file, Buffer.alloc(8_000_000));
  let cut = false;
  const progress = (): void => {
    if (!cut) truncateSync(file, 1_000_000);
    cut = true;
  };
  await assert.rejects(uploadFile(cli.client(), file, target, { parallel: 1, progress }), /changed while it was read/);
  await assert.rejects(cli.client().send({ method: "HEAD", ...target }), /There is no/);
  // A folder opens and cannot be read, whoever asks.
  const reading = uploadFile(cli.client(), at("."), target, { parallel: 1, progress: () => undefined });
  await assert.rejects(reading, /EISDIR/);
});

test("an unfinished upload of the same key is only taken up where the parts are the file's", async () => {
  writeFileSync(at("resumed"), randomBytes(33 * 1024 * 1024));
  const uploadId = await cli.client().createUpload("things", "resumed");
  await cli.client().uploadPart({ bucket: "things", key: "resumed", uploadId, partNumber: 1 }, Buffer.alloc(5_000_000));
  assert.equal((await cli.run("put", "resumed", "things/resumed")).status, 0);
  assert.equal((await cli.run("get", "things/resumed", "resumed.back")).status, 0);
  assert.ok(readFileSync(at("resumed")).equals(readFileSync(at("resumed.back"))));
  const left = await cli.client().xml({ method: "GET", bucket: "things", query: { uploads: "" } });
  assert.equal(text(left, "UploadId"), "");
});

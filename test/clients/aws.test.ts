/** `aws s3`: AWS's own copying, syncing, moving and removing against a real server. */
import assert from "node:assert/strict";
import { appendFileSync, cpSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { AwsCli } from "./aws_cli.ts";
import { ClientWorld, contents, missing } from "./world.ts";

const quiet = "--only-show-errors";

describe("aws s3", { skip: missing("/usr/bin/aws", "awscli") }, () => {
  let world: ClientWorld;
  let aws: AwsCli;

  before(async () => {
    world = await ClientWorld.start("aws", { encrypts: true });
    aws = new AwsCli(world);
  });
  after(async () => {
    await aws.stop();
    await world.stop();
  });

  /** What a command says that it would do, or did: one line for each file. */
  const lines = async (...args: string[]): Promise<string[]> =>
    (await aws.run("s3", ...args, "--no-progress"))
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => line.replaceAll(world.directory, ""))
      .toSorted();

  test("sync up sends what differs and nothing else; --delete removes what is gone", async () => {
    const here = world.path("up");
    cpSync(world.files, here, { recursive: true, preserveTimestamps: true });
    await aws.run("s3", "mb", "s3://upward");
    assert.equal((await lines("sync", here, "s3://upward/dir")).length, 5);
    assert.deepEqual(await lines("sync", here, "s3://upward/dir"), []);
    appendFileSync(path.join(here, "small.txt"), "more\n");
    rmSync(path.join(here, "empty"));
    writeFileSync(path.join(here, "new"), "new");
    assert.deepEqual(await lines("sync", here, "s3://upward/dir", "--delete", "--dryrun"), [
      "(dryrun) delete: s3://upward/dir/empty",
      "(dryrun) upload: up/new to s3://upward/dir/new",
      "(dryrun) upload: up/small.txt to s3://upward/dir/small.txt",
    ]);
    assert.equal((await lines("sync", here, "s3://upward/dir", "--delete")).length, 3);
    await aws.run("s3", "sync", quiet, "s3://upward/dir", world.path("from-up"));
    assert.deepEqual(contents(world.path("from-up")), contents(here));
  });

  test("sync with --exclude and --include, and --delete that spares what is excluded", async () => {
    await aws.run("s3", "mb", "s3://filters");
    const chosen = ["--exclude", "*", "--include", "*.txt", "--include", "a folder/deeper/*"];
    assert.deepEqual(await lines("sync", world.files, "s3://filters", ...chosen), [
      "upload: files/a folder/deeper/compressible.log to s3://filters/a folder/deeper/compressible.log",
      "upload: files/a folder/ünï + 100%.txt to s3://filters/a folder/ünï + 100%.txt",
      "upload: files/small.txt to s3://filters/small.txt",
    ]);
    mkdirSync(world.path("nothing"));
    await aws.run("s3", "sync", quiet, world.path("nothing"), "s3://filters", "--delete", "--exclude", "a folder/*");
    const { Contents } = await aws.api("list-objects-v2 --bucket filters");
    assert.deepEqual(
      Contents!.map((each) => each["Key"]),
      ["a folder/deeper/compressible.log", "a folder/ünï + 100%.txt"],
    );
  });

  test("--size-only goes by sizes, --exact-timestamps by times too", async () => {
    const here = world.path("times");
    mkdirSync(here);
    const file = path.join(here, "file");
    writeFileSync(file, "one");
    await aws.run("s3", "mb", "s3://times");
    await aws.run("s3", "sync", quiet, here, "s3://times");
    const later = new Date(Date.now() + 3_600_000);
    writeFileSync(file, "two");
    utimesSync(file, later, later);
    assert.deepEqual(await lines("sync", here, "s3://times", "--size-only"), []);
    // Down, a file that is older here is taken to be what was stored, unless times have to be equal.
    const earlier = new Date(Date.now() - 86_400_000);
    utimesSync(file, earlier, earlier);
    assert.deepEqual(await lines("sync", "s3://times", here), []);
    assert.equal((await lines("sync", "s3://times", here, "--exact-timestamps")).length, 1);
    assert.equal(readFileSync(file, "utf8"), "one");
    assert.deepEqual(await lines("sync", "s3://times", here, "--exact-timestamps"), []);
  });

  test("sync, mv and rm between buckets and below prefixes", async () => {
    for (const bucket of ["one", "two"]) await aws.run("s3", "mb", `s3://${bucket}`);
    await aws.run("s3", "cp", quiet, "--recursive", world.files, "s3://one/dir");
    await aws.run("s3", "sync", quiet, "s3://one/dir", "s3://two/copy");
    assert.deepEqual(await lines("sync", "s3://one/dir", "s3://two/copy", "--size-only"), []);
    await aws.run("s3", "mv", quiet, "--recursive", "s3://two/copy/a folder", "s3://two/moved");
    await aws.run("s3", "mv", quiet, "s3://two/copy/big.bin", "s3://two/moved/big.bin");
    await aws.run("s3", "mv", quiet, "--recursive", "s3://two/moved", world.path("moved-here"));
    assert.deepEqual(Object.keys(contents(world.path("moved-here"))).toSorted(), [
      "big.bin",
      "deeper/compressible.log",
      "ünï + 100%.txt",
    ]);
    assert.equal(contents(world.path("moved-here"))["big.bin"], contents(world.files)["big.bin"]);
    await aws.run("s3", "rm", quiet, "--recursive", "s3://two/copy", "--exclude", "small*");
    assert.match(
      await aws.run("s3", "ls", "--recursive", "--summarize", "s3://two"),
      /small\.txt\n\nTotal Objects: 1\n/,
    );
    await aws.fails("BucketNotEmpty", "s3", "rb", "s3://two");
    await aws.run("s3", "rb", "--force", "s3://two");
    await aws.fails("NoSuchBucket", "s3", "ls", "s3://two");
  });

  test("standard input and output, headers and metadata, storage class", async () => {
    await aws.run("s3", "mb", "s3://headers");
    const given = ["--content-type", "text/x-test", "--cache-control", "no-cache", "--metadata", "colour=blue"];
    const more = ["--storage-class", "STANDARD_IA", "--content-disposition", "inline", "--acl", "public-read"];
    const args = ["s3", "cp", quiet, "-", "s3://headers/streamed", ...given, ...more];
    assert.equal((await aws.ended(args, path.join(world.files, "big.bin"))).code, 0);
    const head = await aws.api("head-object --bucket headers --key streamed");
    const { ContentType, CacheControl, ContentDisposition, StorageClass, Metadata } = head;
    assert.deepEqual(
      { ContentType, CacheControl, ContentDisposition, StorageClass, Metadata },
      {
        ContentType: "text/x-test",
        CacheControl: "no-cache",
        ContentDisposition: "inline",
        StorageClass: "STANDARD_IA",
        Metadata: { colour: "blue" },
      },
    );
    const replaced = ["--metadata-directive", "REPLACE", "--metadata", "colour=red", "--content-type", "text/plain"];
    await aws.run("s3", "cp", quiet, "s3://headers/streamed", "s3://headers/streamed", ...replaced);
    assert.deepEqual((await aws.api("head-object --bucket headers --key streamed"))["Metadata"], { colour: "red" });
    await aws.run("s3", "cp", quiet, "s3://headers/streamed", world.path("streamed"));
    assert.ok(readFileSync(world.path("streamed")).equals(readFileSync(path.join(world.files, "big.bin"))));
    await aws.run("s3", "cp", quiet, path.join(world.files, "small.txt"), "s3://headers/small");
    assert.equal(await aws.run("s3", "cp", "s3://headers/small", "-"), "hello\n");
  });

  test("presigned addresses are good for anyone, until they are changed", async () => {
    await aws.run("s3", "mb", "s3://presigned");
    await aws.run("s3", "cp", quiet, path.join(world.files, "small.txt"), "s3://presigned/a folder/ünï + 100%.txt");
    const url = (
      await aws.run("s3", "presign", "s3://presigned/a folder/ünï + 100%.txt", "--expires-in", "600")
    ).trim();
    assert.equal(await (await fetch(url)).text(), "hello\n");
    assert.equal((await fetch(url.replace("Expires=600", "Expires=601"))).status, 403);
    assert.equal((await fetch(new URL(new URL(url).pathname, url))).status, 403);
  });

  test("--sse, --sse-kms-key-id and --sse-c, in one piece and in parts", async () => {
    await aws.run("s3", "mb", "s3://sealed");
    const customer = ["--sse-c", "AES256", "--sse-c-key", "0123456789abcdef0123456789abcdef"];
    const kms = ["--sse", "aws:kms", "--sse-kms-key-id", "default"];
    const ways = { s3: ["--sse", "AES256"], kms, customer };
    for (const [name, flags] of Object.entries(ways)) {
      const reading = name === "customer" ? flags : [];
      for (const file of ["big.bin", "small.txt"]) {
        await aws.run("s3", "cp", quiet, path.join(world.files, file), `s3://sealed/${name}/${file}`, ...flags);
      }
      await aws.run("s3", "cp", quiet, "--recursive", `s3://sealed/${name}`, world.path(`sealed-${name}`), ...reading);
      const { "big.bin": big, "small.txt": small } = contents(world.files);
      assert.deepEqual(contents(world.path(`sealed-${name}`)), { "big.bin": big, "small.txt": small });
    }
    const sealed = await aws.api("head-object --bucket sealed --key s3/big.bin");
    assert.equal(sealed["ServerSideEncryption"], "AES256");
    await aws.fails("400", "s3", "cp", "s3://sealed/customer/small.txt", world.path("unread"));
    const source = ["--sse-c-copy-source", "AES256", "--sse-c-copy-source-key", customer[3]!];
    await aws.run("s3", "cp", quiet, "s3://sealed/customer/big.bin", "s3://sealed/opened", ...source);
    await aws.run("s3", "cp", quiet, "s3://sealed/opened", world.path("opened"));
    assert.ok(readFileSync(world.path("opened")).equals(readFileSync(path.join(world.files, "big.bin"))));
  });
});

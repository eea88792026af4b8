/**
 * rclone with every flag that changes what it asks of S3, and its backend commands. Not --s3-use-presigned-request: with it
 * rclone 1.60 sends Content-Length twice, which no server has to accept and Node's parser of HTTP does not.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFileSync, cpSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync, gzipSync } from "node:zlib";
import { S3Client } from "../../src/client/s3_client.ts";
import { testKeys } from "../crash/server_process.ts";
import { ClientWorld, contents, missing } from "./world.ts";

const program = "/usr/bin/rclone";

const remote = (origin: string): Record<string, string> => ({
  RCLONE_CONFIG_X_TYPE: "s3",
  RCLONE_CONFIG_X_PROVIDER: "Other",
  RCLONE_CONFIG_X_ACCESS_KEY_ID: testKeys.accessKey,
  RCLONE_CONFIG_X_SECRET_ACCESS_KEY: testKeys.secretKey,
  RCLONE_CONFIG_X_ENDPOINT: origin,
  RCLONE_CONFIG_X_REGION: "us-east-1",
});

describe("rclone", { skip: missing(program, "rclone") }, () => {
  let world: ClientWorld;
  let client: S3Client;

  before(async () => {
    world = await ClientWorld.start("rclone", { encrypts: true });
    client = new S3Client({ endpoint: world.server.url, ...testKeys, region: "us-east-1" });
  });
  after(async () => {
    client.close();
    await world.stop();
  });

  /** What it wrote to standard output; it must succeed at its first attempt. */
  const rclone = async (...args: readonly string[]): Promise<string> => {
    const flags = ["--config", "/dev/null", "--retries", "1", "--low-level-retries", "1"];
    return (await world.command(program, [...flags, ...args], remote(world.origin))).stdout;
  };

  /** Headers of an object, as the server gives them. */
  const headers = async (bucket: string, key: string): Promise<Record<string, unknown>> => {
    const { headers: found, body } = await client.send({ method: "HEAD", bucket, key });
    body.resume();
    return found;
  };

  /** Each way to store and to read back the files; `check` compares what the server says, the copy back all bytes. */
  const ways: Readonly<Record<string, readonly string[]>> = {
    "in parts, many at once": ["--s3-upload-cutoff=6M", "--s3-chunk-size=5M", "--s3-upload-concurrency=8"],
    "with MD5 off and multipart ETags off": [
      "--s3-upload-cutoff=6M",
      "--s3-disable-checksum",
      "--s3-use-multipart-etag=false",
    ],
    "with multipart ETags compared": ["--s3-upload-cutoff=6M", "--s3-use-multipart-etag=true"],
    "in few parts": ["--s3-upload-cutoff=6M", "--s3-max-upload-parts=2"],
    "by lists of version 1, escaped": ["--s3-list-version=1", "--s3-list-url-encode=true", "--s3-list-chunk=2"],
    "by lists of version 2, escaped": ["--s3-list-version=2", "--s3-list-url-encode=true", "--s3-list-chunk=2"],
    "by lists of version 2, as they are": ["--s3-list-version=2", "--s3-list-url-encode=false", "--fast-list"],
    "without any HEAD": ["--s3-no-head", "--s3-no-head-object", "--s3-no-check-bucket"],
    "as requester who pays, without system metadata": ["--s3-requester-pays", "--s3-no-system-metadata"],
    "with metadata": ["--metadata", "--metadata-set", "colour=blue"],
    "sealed by the store": ["--s3-server-side-encryption=AES256", "--s3-upload-cutoff=6M"],
    "sealed by a key with a name": [
      "--s3-server-side-encryption=aws:kms",
      "--s3-sse-kms-key-id=default",
      "--s3-leave-parts-on-error",
    ],
    "as another storage class": ["--s3-storage-class=STANDARD_IA", "--s3-acl=public-read"],
  };

  test("every way to store and read: copy up, check, copy down", async (t) => {
    await rclone("mkdir", "x:ways");
    for (const [index, [name, flags]] of Object.entries(ways).entries()) {
      await t.test(name, async () => {
        const target = `x:ways/${index}`;
        await rclone("copy", world.files, target, ...flags);
        await rclone("check", world.files, target, ...flags);
        await rclone("copy", target, world.path(`way-${index}`), ...flags);
        assert.deepEqual(contents(world.path(`way-${index}`)), contents(world.files));
        rmSync(world.path(`way-${index}`), { recursive: true });
      });
    }
    const at = (name: string): string => String(Object.keys(ways).indexOf(name));
    const sealed = await headers("ways", `${at("sealed by the store")}/big.bin`);
    assert.equal(sealed["x-amz-server-side-encryption"], "AES256");
    const named = await headers("ways", `${at("sealed by a key with a name")}/small.txt`);
    assert.equal(named["x-amz-server-side-encryption"], "aws:kms");
    const other = `${at("as another storage class")}/small.txt`;
    assert.equal((await headers("ways", other))["x-amz-storage-class"], "STANDARD_IA");
    assert.equal((await fetch(`${world.origin}/ways/${other}`)).status, 200, "it is public");
    const coloured = await headers("ways", `${at("with metadata")}/small.txt`);
    assert.equal(coloured["x-amz-meta-colour"], "blue");
    const parts = await headers("ways", `${at("in few parts")}/big.bin`);
    assert.match(String(parts["etag"]), /-2"$/);
  });

  test("sync with --delete and --backup-dir, --checksum, --track-renames, move, dedupe of names", async () => {
    const here = world.path("synced");
    cpSync(world.files, here, { recursive: true });
    await rclone("sync", here, "x:synced/now");
    appendFileSync(path.join(here, "small.txt"), "more\n");
    rmSync(path.join(here, "empty"));
    cpSync(path.join(here, "big.bin"), path.join(here, "a folder/big renamed.bin"));
    rmSync(path.join(here, "big.bin"));
    await rclone("sync", here, "x:synced/now", "--checksum", "--track-renames", "--backup-dir", "x:synced/before");
    await rclone("check", here, "x:synced/now");
    assert.deepEqual((await rclone("lsf", "-R", "--files-only", "x:synced/before")).trim().split("\n").toSorted(), [
      "empty",
      "small.txt",
    ]);
    const times = new Date(1_700_000_000_000);
    utimesSync(path.join(here, "small.txt"), times, times);
    await rclone("sync", here, "x:synced/now");
    assert.match(await rclone("lsl", "x:synced/now/small.txt"), /2023-11-14/, "the time alone was changed, in place");
    await rclone("moveto", "x:synced/now/a folder/big renamed.bin", "x:synced/now/big.bin");
    await rclone("copy", "x:synced/now", world.path("synced-back"));
    assert.deepEqual(contents(world.path("synced-back"))["big.bin"], contents(world.files)["big.bin"]);
    await rclone("purge", "x:synced");
    await assert.rejects(rclone("lsf", "x:synced"), /directory not found/);
  });

  test("--s3-copy-cutoff copies in parts", async () => {
    await rclone("copy", path.join(world.files, "big.bin"), "x:copied/from");
    await rclone("copy", "x:copied/from", "x:copied/to", "--s3-copy-cutoff=6M", "--s3-chunk-size=5M");
    assert.match(String((await headers("copied", "to/big.bin"))["etag"]), /-\d+"$/);
    assert.ok((await client.read("copied", "to/big.bin")).equals(readFileSync(path.join(world.files, "big.bin"))));
  });

  test("--s3-bucket-acl opens a new bucket, and --s3-acl no object", async () => {
    await rclone("mkdir", "x:opened", "--s3-bucket-acl=public-read");
    await rclone("copy", path.join(world.files, "small.txt"), "x:opened", "--s3-acl=private");
    assert.equal((await fetch(`${world.origin}/opened`)).status, 200);
    assert.equal((await fetch(`${world.origin}/opened/small.txt`)).status, 403);
  });

  test("--s3-decompress and --s3-might-gzip: what is stored compressed", async () => {
    const file = path.join(world.files, "a folder/deeper/compressible.log");
    const body = gzipSync(readFileSync(file));
    await client.run({ method: "PUT", bucket: "gzip" });
    const packed = { "content-encoding": "gzip", "content-type": "text/plain" };
    await client.run({ method: "PUT", bucket: "gzip", key: "log", body, headers: packed });
    await rclone("copyto", "x:gzip/log", world.path("log.gz"));
    assert.ok(gunzipSync(readFileSync(world.path("log.gz"))).equals(readFileSync(file)));
    await rclone("copyto", "x:gzip/log", world.path("log"), "--s3-decompress");
    assert.ok(readFileSync(world.path("log")).equals(readFileSync(file)));
    await rclone("copyto", "x:gzip/log", world.path("log2.gz"), "--s3-might-gzip=true");
    assert.ok(readFileSync(world.path("log2.gz")).equals(body));
  });

  test("backend versioning; --s3-versions and --s3-version-at; backend cleanup-hidden", async () => {
    await rclone("mkdir", "x:versions");
    assert.match(await rclone("backend", "versioning", "x:versions"), /Unversioned/);
    assert.match(await rclone("backend", "versioning", "x:versions", "Enabled"), /Enabled/);
    const file = world.path("versioned/file.txt");
    mkdirSync(path.dirname(file));
    const times: string[] = [];
    for (const text of ["one", "two two", "three three three"]) {
      writeFileSync(file, text);
      await rclone("copy", file, "x:versions/dir");
      // Last-Modified has whole seconds; a version is told from the next one by it.
      await sleep(1100);
      times.push(new Date().toISOString());
      await sleep(1100);
    }
    await rclone("deletefile", "x:versions/dir/file.txt");
    const listed = (await rclone("lsf", "x:versions/dir", "--s3-versions")).trim().split("\n");
    assert.equal(listed.length, 3);
    for (const name of listed) assert.match(name, /^file-v[\d-]+\.txt$/);
    await rclone("copy", "x:versions/dir", world.path("every-version"), "--s3-versions");
    const texts = listed.toSorted().map((name) => readFileSync(world.path("every-version", name), "utf8"));
    assert.deepEqual(texts, ["one", "two two", "three three three"]);
    for (const [index, text] of ["one", "two two", "three three three"].entries()) {
      const then = world.path(`then-${index}`);
      await rclone("copy", "x:versions/dir", then, `--s3-version-at=${times[index]!}`);
      assert.equal(readFileSync(path.join(then, "file.txt"), "utf8"), text);
    }
    await rclone("backend", "cleanup-hidden", "x:versions");
    assert.equal((await rclone("lsf", "x:versions/dir", "--s3-versions")).trim(), "");
  });

  test("backend list-multipart-uploads and cleanup: uploads that nobody ends", async () => {
    await rclone("mkdir", "x:unfinished");
    const uploadId = await client.createUpload("unfinished", "big");
    await client.uploadPart({ bucket: "unfinished", key: "big", uploadId, partNumber: 1 }, Buffer.from("x"));
    const listed = await rclone("backend", "list-multipart-uploads", "x:unfinished");
    assert.ok(listed.includes(uploadId));
    await rclone("backend", "cleanup", "x:unfinished", "-o", "max-age=1d");
    assert.ok((await rclone("backend", "list-multipart-uploads", "x:unfinished")).includes(uploadId));
    await rclone("backend", "cleanup", "x:unfinished", "-o", "max-age=0s");
    assert.ok(!(await rclone("backend", "list-multipart-uploads", "x:unfinished")).includes(uploadId));
  });

  test("--s3-sse-customer-key, over TLS as it must be", async (t) => {
    const [cert, key] = [world.path("cert.pem"), world.path("key.pem")];
    try {
      const made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert];
      const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
      execFileSync("openssl", [...made, ...subject], { stdio: "ignore" });
    } catch {
      t.skip("openssl is not there, so no certificate can be made, and rclone sends keys over TLS only");
      return;
    }
    const safe = await ClientWorld.start("rclone-tls", { workers: 1, args: ["--tls-cert", cert, "--tls-key", key] });
    try {
      const flags = ["--config", "/dev/null", "--retries", "1", "--ca-cert", cert, "--s3-upload-cutoff=6M"];
      const customer = [
        "--s3-sse-customer-algorithm=AES256",
        "--s3-sse-customer-key",
        "0123456789abcdef0123456789abcdef",
      ];
      const run = (...args: string[]) => safe.command(program, [...flags, ...args], remote(safe.origin));
      await run("copy", safe.files, "x:mine", ...customer);
      await run("copy", "x:mine", safe.path("mine"), ...customer);
      assert.deepEqual(contents(safe.path("mine")), contents(safe.files));
      await assert.rejects(run("copy", "x:mine", safe.path("not-mine")), /400|Bad Request/);
    } finally {
      await safe.stop();
    }
  });
});

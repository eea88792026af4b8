/**
 * Real S3 clients against a real server: what each stores it reads back, byte for byte. Clients that are not on npm come
 * from Debian's packages; where one is missing its test skips and says what to install.
 */
import assert from "node:assert/strict";
import { appendFileSync, cpSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Client as MinioClient } from "minio";
import { S3Client } from "../../src/client/s3_client.ts";
import type { ServerProcess } from "../crash/server_process.ts";
import { testKeys } from "../crash/server_process.ts";
import { ClientWorld, contents, MiB, missing } from "./world.ts";

let world: ClientWorld;
let directory: string;
let server: ServerProcess;
let files: string;

before(async () => {
  world = await ClientWorld.start("clients");
  ({ directory, server, files } = world);
});
after(() => world.stop());

const command = async (program: string, args: string[], extra: Record<string, string> = {}): Promise<string> =>
  (await world.command(program, args, extra)).stdout;

/** Holdfast's own command line. */
const ownCommand = (...args: string[]): Promise<string> =>
  command(process.execPath, [path.join(import.meta.dirname, "../../bin/holdfast.js"), ...args], {
    HOLDFAST_URL: server.url.origin,
    HOLDFAST_ACCESS_KEY: testKeys.accessKey,
    HOLDFAST_SECRET_KEY: testKeys.secretKey,
  });

describe("clients", () => {
  test(
    "s3cmd: put with parts, get, list, sync, copy, ACL, delete",
    { skip: missing("/usr/bin/s3cmd", "s3cmd") },
    async () => {
      const host = server.url.host;
      const s3cmd = (...args: string[]) =>
        command("/usr/bin/s3cmd", [
          "-c",
          "/dev/null",
          `--access_key=${testKeys.accessKey}`,
          `--secret_key=${testKeys.secretKey}`,
          `--host=${host}`,
          `--host-bucket=${host}`,
          "--no-ssl",
          "--region=us-east-1",
          "--no-progress",
          ...args,
        ]);
      await s3cmd("mb", "s3://s3cmd");
      await s3cmd("put", "--multipart-chunk-size-mb=5", path.join(files, "big.bin"), "s3://s3cmd/big.bin");
      await s3cmd("put", path.join(files, "small.txt"), "s3://s3cmd/small.txt");
      assert.match(await s3cmd("ls", "s3://s3cmd"), /big\.bin[\s\S]*small\.txt/);
      await s3cmd("get", "s3://s3cmd/big.bin", path.join(directory, "s3cmd-big.bin"));
      assert.ok(readFileSync(path.join(directory, "s3cmd-big.bin")).equals(readFileSync(path.join(files, "big.bin"))));
      const here = path.join(directory, "s3cmd-here");
      cpSync(files, here, { recursive: true });
      await s3cmd("sync", `${here}/`, "s3://s3cmd/dir/");
      rmSync(path.join(here, "empty"));
      appendFileSync(path.join(here, "small.txt"), "more\n");
      await s3cmd("sync", "--delete-removed", `${here}/`, "s3://s3cmd/dir/");
      mkdirSync(path.join(directory, "s3cmd-there"));
      await s3cmd("sync", "s3://s3cmd/dir/", path.join(directory, "s3cmd-there/"));
      assert.deepEqual(contents(path.join(directory, "s3cmd-there")), contents(here));
      await s3cmd("cp", "s3://s3cmd/dir/small.txt", "s3://s3cmd/copied");
      await s3cmd("mv", "s3://s3cmd/copied", "s3://s3cmd/moved");
      await s3cmd("modify", "--add-header=x-amz-meta-colour:blue", "s3://s3cmd/moved");
      await s3cmd("setacl", "--acl-public", "s3://s3cmd/moved");
      assert.match(await s3cmd("info", "s3://s3cmd/moved"), /x-amz-meta-colour: blue/);
      assert.equal(await (await fetch(`${server.url.origin}/s3cmd/moved`)).text(), "hello\nmore\n");
      await s3cmd("del", "--recursive", "--force", "s3://s3cmd");
      await s3cmd("rb", "s3://s3cmd");
    },
  );

  test(
    "restic: backups, check of every byte, forget and prune, restore",
    { skip: missing("/usr/bin/restic", "restic") },
    async () => {
      const restic = (...args: string[]) =>
        command(
          "/usr/bin/restic",
          ["-o", "s3.bucket-lookup=path", "-r", `s3:${server.url.origin}/restic`, "--no-cache", ...args],
          { RESTIC_PASSWORD: "x" },
        );
      const here = path.join(directory, "restic-here");
      cpSync(files, here, { recursive: true });
      await restic("init");
      await restic("backup", here);
      const before = contents(here);
      rmSync(path.join(here, "big.bin"));
      appendFileSync(path.join(here, "small.txt"), "more\n");
      await restic("backup", here);
      await restic("check", "--read-data");
      const ids = (JSON.parse(await restic("snapshots", "--json")) as { id: string }[]).map(({ id }) => id);
      assert.equal(ids.length, 2);
      await restic("restore", ids[0]!, "--target", path.join(directory, "restic-first"));
      assert.deepEqual(contents(path.join(directory, "restic-first", here)), before);
      await restic("forget", "--keep-last", "1", "--prune");
      await restic("check", "--read-data");
      await restic("restore", "latest", "--target", path.join(directory, "restic-last"));
      assert.deepEqual(contents(path.join(directory, "restic-last", here)), contents(here));
      const { bytes } = JSON.parse(await ownCommand("du", "restic", "--json")) as { bytes: number };
      assert.ok(bytes < 10 * MiB, "what only the first backup had is gone");
      assert.deepEqual((await restic("list", "locks")).trim(), "");
    },
  );

  test(
    "duplicity: full and incremental backup, verify, restore",
    {
      skip:
        missing("/usr/bin/duplicity", "duplicity python3-boto3") ||
        missing("/usr/lib/python3/dist-packages/boto3", "python3-boto3"),
    },
    async () => {
      await ownCommand("bucket", "create", "duplicity");
      const options = ["--no-encryption", `--s3-endpoint-url=${server.url.origin}`, "--archive-dir", "duplicity-cache"];
      const target = "boto3+s3://duplicity/d";
      const duplicity = (action: string, ...rest: string[]) =>
        command("/usr/bin/duplicity", [action, ...options, ...rest]);
      const here = path.join(directory, "duplicity-here");
      cpSync(files, here, { recursive: true });
      await duplicity("full", here, target);
      appendFileSync(path.join(here, "small.txt"), "more\n");
      await duplicity("incremental", here, target);
      await duplicity("verify", "--compare-data", target, here);
      // As on a machine that has nothing but the bucket.
      rmSync(path.join(directory, "duplicity-cache"), { recursive: true });
      await duplicity("restore", target, path.join(directory, "duplicity-back"));
      assert.deepEqual(contents(path.join(directory, "duplicity-back")), contents(here));
    },
  );

  test(
    "boto3: upload, download, metadata, conditional read",
    { skip: missing("/usr/lib/python3/dist-packages/boto3", "python3-boto3") },
    async () => {
      const script = `
import boto3, sys
from botocore.config import Config
s3 = boto3.client("s3", endpoint_url=sys.argv[1], config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))
s3.create_bucket(Bucket="boto")
s3.upload_file(sys.argv[2], "boto", "big", ExtraArgs={"Metadata": {"colour": "blue"}, "ContentType": "text/x-test"})
s3.download_file("boto", "big", sys.argv[3])
head = s3.head_object(Bucket="boto", Key="big")
assert head["Metadata"] == {"colour": "blue"} and head["ContentType"] == "text/x-test", head
try:
    s3.get_object(Bucket="boto", Key="big", IfNoneMatch=head["ETag"])
    raise SystemExit("304 expected")
except s3.exceptions.ClientError as error:
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 304
keys = [k["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="boto") for k in page["Contents"]]
assert keys == ["big"], keys
s3.delete_objects(Bucket="boto", Delete={"Objects": [{"Key": "big"}]})
s3.delete_bucket(Bucket="boto")
`;
      const out = path.join(directory, "boto-big");
      await command("/usr/bin/python3", ["-c", script, server.url.origin, path.join(files, "big.bin"), out]);
      assert.ok(readFileSync(out).equals(readFileSync(path.join(files, "big.bin"))));
    },
  );

  test("minio (npm): file up and down, list, remove", async () => {
    const minio = new MinioClient({
      endPoint: "127.0.0.1",
      port: Number(server.url.port),
      useSSL: false,
      ...testKeys,
      region: "us-east-1",
      pathStyle: true,
    });
    await minio.makeBucket("minio", "us-east-1");
    await minio.fPutObject("minio", "dir/big.bin", path.join(files, "big.bin"), { "x-amz-meta-colour": "blue" });
    await minio.fGetObject("minio", "dir/big.bin", path.join(directory, "minio-big"));
    assert.ok(readFileSync(path.join(directory, "minio-big")).equals(readFileSync(path.join(files, "big.bin"))));
    assert.equal((await minio.statObject("minio", "dir/big.bin")).metaData["colour"], "blue");
    const names: (string | undefined)[] = [];
    for await (const item of minio.listObjectsV2("minio", "", true)) names.push((item as { name?: string }).name);
    assert.deepEqual(names, ["dir/big.bin"]);
    await minio.removeObjects("minio", ["dir/big.bin"]);
    await minio.removeBucket("minio");
  });

  test("holdfast's own commands: put, ls, get, cat, du, rm, bucket", async () => {
    const holdfast = ownCommand;
    await holdfast("bucket", "create", "own");
    await holdfast("put", "-r", files, "own/dir/");
    assert.match(await holdfast("ls", "own/dir/"), /a folder\/[\s\S]*big\.bin/);
    assert.match(await holdfast("put", "-r", files, "own/dir/"), /5 were there already/);
    await holdfast("get", "-r", "own/dir/", path.join(directory, "from-own"));
    assert.deepEqual(contents(path.join(directory, "from-own")), contents(files));
    assert.equal(await holdfast("cat", "own/dir/small.txt"), "hello\n");
    const used = JSON.parse(await holdfast("du", "own", "--json")) as { objects: number };
    assert.equal(used.objects, 5);
    await assert.rejects(holdfast("cat", "own/none"), /does not exist/);
    await holdfast("rm", "-r", "own/dir/a folder");
    await holdfast("bucket", "remove", "--force", "own");
  });

  test("holdfast put goes on with the parts that are there", async () => {
    const client = new S3Client({ endpoint: server.url, ...testKeys, region: "us-east-1" });
    const { uploadFile } = await import("../../src/client/transfer.ts");
    await client.run({ method: "PUT", bucket: "resume" });
    const big = path.join(files, "big.bin");
    const uploadId = await client.createUpload("resume", "big");
    const first = readFileSync(big).subarray(0, 16 * MiB);
    await client.uploadPart({ bucket: "resume", key: "big", uploadId, partNumber: 1 }, first);
    await uploadFile(client, big, { bucket: "resume", key: "big" }, { parallel: 2, progress: () => undefined });
    assert.ok((await client.read("resume", "big")).equals(readFileSync(big)));
    const uploads = await client.xml({ method: "GET", bucket: "resume", query: { uploads: "" } });
    assert.equal(
      uploads.children.filter((each) => each.name === "Upload").length,
      0,
      "the unfinished upload was the one finished",
    );
    client.close();
  });
});

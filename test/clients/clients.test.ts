/**
 * Real S3 clients against a real server: what each stores it reads back, byte for byte. Clients that are not on npm come
 * from Debian's packages; where one is missing its test skips and says what to install.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { Client as MinioClient } from "minio";
import { S3Client } from "../../src/client/s3_client.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";

const run = promisify(execFile);
const MiB = 1024 * 1024;

let directory: string;
let server: ServerProcess;
let files: string;

function missing(program: string, debianPackage: string): string | false {
  return existsSync(program) ? false : `${program} is not installed: apt-get install ${debianPackage}`;
}

function environment(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const { AWS_CA_BUNDLE: _unused, ...rest } = process.env;
  return {
    ...rest,
    HOME: directory,
    AWS_ACCESS_KEY_ID: testKeys.accessKey,
    AWS_SECRET_ACCESS_KEY: testKeys.secretKey,
    AWS_DEFAULT_REGION: "us-east-1",
    AWS_EC2_METADATA_DISABLED: "true",
    BOTO_DISABLE_CRT: "true",
    ...extra,
  };
}

async function command(program: string, args: string[], extra: Record<string, string> = {}): Promise<string> {
  const { stdout } = await run(program, args, {
    env: environment(extra),
    maxBuffer: 64 * MiB,
    timeout: 120_000,
    cwd: directory,
  });
  return stdout;
}

/** Relative path → SHA-256 of everything below a folder. */
function contents(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = path.join(entry.parentPath, entry.name);
    found[path.relative(folder, file)] = createHash("sha256").update(readFileSync(file)).digest("hex");
  }
  return found;
}

before(async () => {
  directory = mkdtempSync(path.join(tmpdir(), "holdfast-clients-"));
  files = path.join(directory, "files");
  mkdirSync(path.join(files, "a folder/deeper"), { recursive: true });
  writeFileSync(path.join(files, "small.txt"), "hello\n");
  writeFileSync(path.join(files, "empty"), "");
  writeFileSync(path.join(files, "a folder/ünï + 100%.txt"), "names\n");
  writeFileSync(path.join(files, "a folder/deeper/compressible.log"), "the same line\n".repeat(100_000));
  writeFileSync(path.join(files, "big.bin"), randomBytes(19 * MiB + 123));
  mkdirSync(path.join(directory, ".aws"));
  writeFileSync(
    path.join(directory, ".aws/config"),
    "[default]\nregion = us-east-1\ns3 =\n  addressing_style = path\n",
  );
  server = await ServerProcess.start(path.join(directory, "data"), { workers: 2 });
});

after(async () => {
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

describe("clients", () => {
  test("aws: copy up, list, sync down, presign, remove", { skip: missing("/usr/bin/aws", "awscli") }, async () => {
    const aws = (...args: string[]) => command("/usr/bin/aws", ["--endpoint-url", server.url.origin, ...args]);
    await aws("s3", "mb", "s3://aws");
    await aws("s3", "cp", "--recursive", "--only-show-errors", files, "s3://aws/dir");
    assert.match(await aws("s3", "ls", "--recursive", "s3://aws/"), /dir\/a folder\/deeper\/compressible\.log/);
    await aws("s3", "sync", "--only-show-errors", "s3://aws/dir", path.join(directory, "from-aws"));
    assert.deepEqual(contents(path.join(directory, "from-aws")), contents(files));
    const url = (await aws("s3", "presign", "s3://aws/dir/small.txt")).trim();
    assert.equal(await (await fetch(url)).text(), "hello\n");
    await aws("s3", "mv", "s3://aws/dir/small.txt", "s3://aws/moved.txt");
    await aws("s3", "rb", "--force", "s3://aws");
  });

  test("rclone: copy up, check, copy down, delete", { skip: missing("/usr/bin/rclone", "rclone") }, async () => {
    const remote = {
      RCLONE_CONFIG_X_TYPE: "s3",
      RCLONE_CONFIG_X_PROVIDER: "Other",
      RCLONE_CONFIG_X_ACCESS_KEY_ID: testKeys.accessKey,
      RCLONE_CONFIG_X_SECRET_ACCESS_KEY: testKeys.secretKey,
      RCLONE_CONFIG_X_ENDPOINT: server.url.origin,
      RCLONE_CONFIG_X_REGION: "us-east-1",
      RCLONE_CONFIG_X_FORCE_PATH_STYLE: "true",
      RCLONE_CONFIG_X_UPLOAD_CUTOFF: "6M",
      RCLONE_CONFIG_X_CHUNK_SIZE: "5M",
    };
    const rclone = (...args: string[]) => command("/usr/bin/rclone", ["--config", "/dev/null", ...args], remote);
    await rclone("mkdir", "x:rclone");
    await rclone("copy", files, "x:rclone/dir");
    await rclone("check", files, "x:rclone/dir");
    await rclone("copy", "x:rclone/dir", path.join(directory, "from-rclone"));
    assert.deepEqual(contents(path.join(directory, "from-rclone")), contents(files));
    await rclone("purge", "x:rclone");
  });

  test("s3cmd: put with parts, get, list, delete", { skip: missing("/usr/bin/s3cmd", "s3cmd") }, async () => {
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
    await s3cmd("del", "--recursive", "--force", "s3://s3cmd");
    await s3cmd("rb", "s3://s3cmd");
  });

  test("restic: backup, check every byte, restore", { skip: missing("/usr/bin/restic", "restic") }, async () => {
    const restic = (...args: string[]) =>
      command(
        "/usr/bin/restic",
        ["-o", "s3.bucket-lookup=path", "-r", `s3:${server.url.origin}/restic`, "--no-cache", ...args],
        { RESTIC_PASSWORD: "x" },
      );
    await restic("init");
    await restic("backup", files);
    await restic("check", "--read-data");
    await restic("restore", "latest", "--target", path.join(directory, "from-restic"));
    assert.deepEqual(contents(path.join(directory, "from-restic", files)), contents(files));
  });

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
    const main = path.join(import.meta.dirname, "../../bin/holdfast.js");
    const env = {
      HOLDFAST_URL: server.url.origin,
      HOLDFAST_ACCESS_KEY: testKeys.accessKey,
      HOLDFAST_SECRET_KEY: testKeys.secretKey,
    };
    const holdfast = (...args: string[]) => command(process.execPath, [main, ...args], env);
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

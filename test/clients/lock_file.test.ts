/**
 * Locks and state as Terraform's S3 backend keeps them (`use_lockfile`): a lock is an object that is created where there is
 * none, by whoever comes first, and deleted by its holder. Many contenders by the AWS SDK, and Terraform itself where it is.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import { testMsMax } from "../bounds.ts";
import { testKeys } from "../crash/server_process.ts";
import { ClientWorld } from "./world.ts";

const run = promisify(execFile);
const Bucket = "states";

const terraform = (process.env["PATH"] ?? "")
  .split(path.delimiter)
  .map((folder) => path.join(folder, "terraform"))
  .find((program) => existsSync(program));

let world: ClientWorld;
let s3: S3Client;

before(async () => {
  world = await ClientWorld.start("lock-file");
  s3 = newClient();
  await s3.send(new CreateBucketCommand({ Bucket }));
});
after(async () => {
  s3.destroy();
  await world.stop();
});

function newClient(): S3Client {
  return new S3Client({
    endpoint: world.origin,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: { accessKeyId: testKeys.accessKey, secretAccessKey: testKeys.secretKey },
  });
}

/** Whether a write was made; false where its condition said no. Anything else is a failure. */
async function made(writing: Promise<unknown>): Promise<boolean> {
  try {
    await writing;
    return true;
  } catch (error) {
    if (!(error instanceof S3ServiceException)) throw error;
    const status = error.$metadata.httpStatusCode;
    if (status === 412 || status === 409) return false;
    throw error;
  }
}

const textOf = async (Key: string): Promise<{ readonly text: string; readonly etag: string | undefined }> => {
  const { Body, ETag } = await s3.send(new GetObjectCommand({ Bucket, Key }));
  return { text: await Body!.transformToString(), etag: ETag };
};

describe("lock files", () => {
  test("of many contenders one holds the lock at a time, and no change of the state is lost", async () => {
    const [contenders, rounds] = [12, 4];
    const [Key, lock] = ["env/terraform.tfstate", "env/terraform.tfstate.tflock"];
    await s3.send(new PutObjectCommand({ Bucket, Key, Body: "0", IfNoneMatch: "*" }));
    let holders = 0;
    const refused = { count: 0 };
    const contend = async (name: string): Promise<void> => {
      const own = newClient();
      for (let round = 0; round < rounds; round++) {
        const Body = JSON.stringify({ ID: `${name}-${round}` });
        while (!(await made(own.send(new PutObjectCommand({ Bucket, Key: lock, Body, IfNoneMatch: "*" }))))) {
          refused.count++;
          await sleep(10);
        }
        holders++;
        assert.equal(holders, 1, "another one holds the lock too");
        assert.equal((await textOf(lock)).text, Body);
        const { text, etag } = await textOf(Key);
        const next = new PutObjectCommand({ Bucket, Key, Body: String(Number(text) + 1), IfMatch: etag });
        assert.ok(await made(own.send(next)), "somebody wrote the state without the lock");
        assert.equal((await textOf(lock)).text, Body);
        holders--;
        await own.send(new DeleteObjectCommand({ Bucket, Key: lock }));
      }
      own.destroy();
    };
    await Promise.all(Array.from({ length: contenders }, (_, index) => contend(`c${index}`)));
    assert.equal((await textOf(Key)).text, String(contenders * rounds));
    await assert.rejects(textOf(lock), { name: "NoSuchKey" });
    assert.ok(refused.count > 0, "they contended");
  });

  test("of writes at once on one state by its ETag exactly one is made", async () => {
    const Key = "at-once";
    for (let round = 0; round < 8; round++) {
      const condition = round === 0 ? { IfNoneMatch: "*" } : { IfMatch: (await textOf(Key)).etag };
      const puts = Array.from({ length: 8 }, (_, index) =>
        made(s3.send(new PutObjectCommand({ Bucket, Key, Body: `${round}-${index}`, ...condition }))),
      );
      const outcomes = await Promise.all(puts);
      assert.equal(outcomes.filter(Boolean).length, 1);
      assert.equal((await textOf(Key)).text, `${round}-${outcomes.indexOf(true)}`);
    }
  });

  test("a lock that somebody else holds is not deleted by the ETag of one's own", async () => {
    const Key = "own.tflock";
    const mine = await s3.send(new PutObjectCommand({ Bucket, Key, Body: "mine", IfNoneMatch: "*" }));
    await s3.send(new DeleteObjectCommand({ Bucket, Key, IfMatch: mine.ETag }));
    await s3.send(new PutObjectCommand({ Bucket, Key, Body: "theirs", IfNoneMatch: "*" }));
    assert.equal(await made(s3.send(new DeleteObjectCommand({ Bucket, Key, IfMatch: mine.ETag }))), false);
    assert.equal((await textOf(Key)).text, "theirs");
  });
});

const backend = (origin: string): string => `
terraform {
  backend "s3" {
    bucket                      = "${Bucket}"
    key                         = "real/terraform.tfstate"
    region                      = "us-east-1"
    endpoints                   = { s3 = "${origin}" }
    use_path_style              = true
    use_lockfile                = true
    skip_credentials_validation = true
    skip_requesting_account_id  = true
    skip_metadata_api_check     = true
    skip_region_validation      = true
  }
}
variable "value" {}
resource "terraform_data" "thing" {
  triggers_replace = var.value
  # A folder is made by one and no other: whoever finds it made fails.
  provisioner "local-exec" {
    command = "mkdir ../held && echo \${var.value} >> ../order && rmdir ../held"
  }
}
output "value" { value = var.value }
`;

const noTerraform = terraform === undefined && "terraform (1.10 or newer, with use_lockfile) is not in PATH";

describe("Terraform with its state in S3", { skip: noTerraform }, () => {
  const environment = (): NodeJS.ProcessEnv => {
    writeFileSync(world.path("terraformrc"), "");
    return world.environment({
      TF_IN_AUTOMATION: "1",
      CHECKPOINT_DISABLE: "1",
      TF_CLI_CONFIG_FILE: world.path("terraformrc"),
    });
  };
  const tf = async (folder: string, ...args: string[]): Promise<string> =>
    (await run(terraform!, [`-chdir=${folder}`, ...args], { env: environment(), timeout: testMsMax })).stdout;
  const apply = (folder: string, value: string, ...flags: string[]): Promise<string> =>
    tf(folder, "apply", "-auto-approve", "-input=false", "-no-color", `-var=value=${value}`, ...flags);

  let first: string;

  before(async () => {
    first = world.path("tf/0");
    mkdirSync(first, { recursive: true });
    writeFileSync(path.join(first, "main.tf"), backend(world.origin));
    await tf(first, "init", "-input=false", "-no-color");
  });

  test("three apply at once, one after the other; no change of the state is lost", async () => {
    const folders = [first];
    for (const index of [1, 2]) {
      const folder = world.path(`tf/${index}`);
      cpSync(first, folder, { recursive: true });
      folders.push(folder);
    }
    await Promise.all(folders.map((folder, index) => apply(folder, `v${index}`, "-lock-timeout=200s")));
    const state = JSON.parse((await textOf("real/terraform.tfstate")).text) as {
      serial: number;
      outputs: { value: { value: string } };
    };
    const order = readFileSync(world.path("tf/order"), "utf8").trim().split("\n");
    assert.deepEqual(order.toSorted(), ["v0", "v1", "v2"]);
    assert.equal(state.outputs.value.value, order.at(-1), "the state is that of the last one");
    await assert.rejects(textOf("real/terraform.tfstate.tflock"), { name: "NoSuchKey" });
  });

  test("a lock that is held refuses others, who are told by whom, until it is forced open", async () => {
    const lock = { ID: "11111111-2222-3333-4444-555555555555", Operation: "OperationTypeApply", Who: "ada@example" };
    const Body = JSON.stringify({ ...lock, Info: "", Version: "1.11.4", Created: "2026-01-01T00:00:00Z", Path: "" });
    await s3.send(new PutObjectCommand({ Bucket, Key: "real/terraform.tfstate.tflock", Body, IfNoneMatch: "*" }));
    await assert.rejects(apply(first, "no"), /ada@example/);
    await tf(first, "force-unlock", "-force", lock.ID);
    await apply(first, "yes");
    assert.match(await tf(first, "output", "-raw", "value"), /^yes$/);
    rmSync(path.join(first, ".terraform"), { recursive: true });
    await tf(first, "init", "-input=false");
    assert.match(await tf(first, "state", "list"), /terraform_data\.thing/);
  });
});

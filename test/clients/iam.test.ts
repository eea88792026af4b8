/** AWS's command line against IAM and STS of a real server, up to S3 with the credentials that it got. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { testMsMax } from "../bounds.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";

const run = promisify(execFile);
const aws = "/usr/bin/aws";
const skip = existsSync(aws) ? false : `${aws} is not installed: apt-get install awscli`;

type Keys = { readonly AccessKeyId: string; readonly SecretAccessKey: string; readonly SessionToken?: string };
type Json = { readonly [name: string]: Json } & readonly Json[] & string;

let directory: string;
let server: ServerProcess;

function command(args: readonly string[], keys?: Keys): Promise<{ readonly stdout: string }> {
  const { AWS_CA_BUNDLE: _unused, ...rest } = process.env;
  const env = {
    ...rest,
    HOME: directory,
    AWS_ACCESS_KEY_ID: keys?.AccessKeyId ?? testKeys.accessKey,
    AWS_SECRET_ACCESS_KEY: keys?.SecretAccessKey ?? testKeys.secretKey,
    AWS_SESSION_TOKEN: keys?.SessionToken ?? "",
    AWS_DEFAULT_REGION: "us-east-1",
    AWS_EC2_METADATA_DISABLED: "true",
  };
  return run(aws, ["--endpoint-url", server.url.origin, ...args], { env, timeout: testMsMax, cwd: directory });
}

async function json(args: string, keys?: Keys): Promise<Json> {
  const { stdout } = await command([...args.split(" "), "--output", "json"], keys);
  return (stdout === "" ? {} : JSON.parse(stdout)) as Json;
}

const policyOf = (statement: object): string =>
  JSON.stringify({ Version: "2012-10-17", Statement: { Effect: "Allow", ...statement } });

describe("AWS's command line", { skip }, () => {
  before(async () => {
    directory = mkdtempSync(path.join(tmpdir(), "holdfast-iam-"));
    server = await ServerProcess.start(path.join(directory, "data"), { workers: 1 });
  });
  after(async () => {
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  test("a user assumes a role and reads with its session what it could not before", async () => {
    const { User } = await json("iam create-user --user-name ada --path /team/");
    const key = (await json("iam create-access-key --user-name ada"))["AccessKey"] as unknown as Keys;
    const who = await json("sts get-caller-identity", key);
    assert.equal(who["Arn"], User!["Arn"]);
    const trust = policyOf({ Action: "sts:AssumeRole", Principal: { AWS: String(User!["Arn"]) } });
    const { Role } = await json(`iam create-role --role-name reader --assume-role-policy-document ${trust}`);
    assert.deepEqual(Role!["AssumeRolePolicyDocument"], JSON.parse(trust));
    const policy = policyOf({ Action: "s3:*", Resource: "*" });
    await json(`iam put-role-policy --role-name reader --policy-name all --policy-document ${policy}`);
    await command(["s3", "mb", "s3://things"]);
    await assert.rejects(command(["s3", "ls", "s3://things"], key), /AccessDenied/);
    const assumed = await json(`sts assume-role --role-arn ${Role!["Arn"]} --role-session-name work`, key);
    const session = assumed["Credentials"] as unknown as Keys;
    await command(["s3", "ls", "s3://things"], session);
    assert.match(String((await json("sts get-caller-identity", session))["Arn"]), /:assumed-role\/reader\/work$/);
  });

  test("lists are whole, whatever the size of their pages", async () => {
    for (const name of ["l1", "l2", "l3"]) await json(`iam create-group --group-name ${name} --path /lists/`);
    const { Groups } = await json("iam list-groups --path-prefix /lists/ --page-size 2");
    assert.deepEqual(
      Groups!.map((group) => group["GroupName"]),
      ["l1", "l2", "l3"],
    );
    await assert.rejects(json("iam get-group --group-name none"), /NoSuchEntity/);
  });
});

/**
 * The table of operations in docs/s3.md against the SDK's model of S3 and against the server: it names every operation once, what
 * it says is there is what the server has, and what it says is refused is refused by the error that it names.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import * as sdk from "@aws-sdk/client-s3";
import type { S3Client } from "@aws-sdk/client-s3";
import { operations } from "../../src/gateway/operations.ts";
import { detect } from "../../src/gateway/route.ts";
import { bytesOf, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

type Row = { readonly name: string; readonly there: string; readonly notes: string };
type AnyCommand = Parameters<S3Client["send"]>[0];

const text = readFileSync(new URL("../../docs/s3.md", import.meta.url), "utf8");
const rows: readonly Row[] = text
  .slice(text.indexOf("## Operations"), text.indexOf("And those that are no operation"))
  .split("\n")
  .flatMap((line) => {
    const found = /^\| (\w+) +\| (yes|partly|none|no) +\| ?(.*?) *\|$/.exec(line);
    return found === null ? [] : [{ name: found[1]!, there: found[2]!, notes: found[3]! }];
  });
const isThere = ({ there }: Row): boolean => there !== "no";

const suffix = "Command";
const model = Object.keys(sdk)
  .filter((name) => /^[A-Z]\w+Command$/.test(name))
  .map((name) => name.slice(0, -suffix.length));

/** Enough of everything for the SDK to build a request of any operation. */
const input = {
  Bucket: "table",
  Key: "key",
  Id: "one",
  UploadId: "upload",
  PartNumber: 1,
  CopySource: "table/key",
  RenameSource: "key",
  AnnotationName: "annotation",
  RequestRoute: "route",
  RequestToken: "token",
  RestoreRequest: { Days: 1 },
  Body: "body",
};

function commandOf(name: string): AnyCommand {
  const exported = sdk as unknown as Record<string, new (given: object) => AnyCommand>;
  // With the name of a bucket the SDK would open a session with that bucket first.
  return new exported[name + suffix]!(name === "ListDirectoryBuckets" ? {} : input);
}

let server: TestServer;
/** One whose requests go to this server whatever host name the operation has. */
let s3: S3Client;
before(async () => {
  server = await startTestServer();
  s3 = server.client({ disableHostPrefix: true });
  await server.bucket(input.Bucket);
  const { Bucket, Key } = input;
  await s3.send(new sdk.PutObjectCommand({ Bucket, Key, Body: "as it was" }));
});
after(() => server.close());

/** The name by which the server knows it. */
async function routed(name: string): Promise<string> {
  let found = "";
  const requestHandler: NonNullable<sdk.S3ClientConfig["requestHandler"]> = {
    handle: async ({ method, path, query, headers }: Parameters<S3Client["config"]["requestHandler"]["handle"]>[0]) => {
      const pairs = Object.entries(query).map(([key, value]) => (value === "" ? key : `${key}=${String(value)}`));
      const hasCopySource = headers["x-amz-copy-source"] !== undefined;
      const target = `${path}?${pairs.join("&")}`;
      found = detect({ method, host: undefined, target, hasCopySource, domains: [] }).operation;
      throw new Error("routed");
    },
  };
  await assert.rejects(server.client({ requestHandler }).send(commandOf(name)), /routed/, name);
  return found;
}

void test("every operation of the SDK has one row, and every row is of one", () => {
  assert.deepEqual(rows.map(({ name }) => name).sort(), [...model].sort());
});

void test("what is there is what the server has", async () => {
  const found: string[] = [];
  for (const { name } of rows.filter(isThere)) {
    const operation = await routed(name);
    // The model of today calls some operations by longer names than AWS first did.
    assert.ok([operation, `${operation}Configuration`].includes(name), `${name} is routed to ${operation}`);
    found.push(operation);
  }
  assert.deepEqual([...found, "CommitObjects", "PostObject"].sort(), Object.keys(operations).sort());
});

type Answer = { readonly code?: string; readonly status?: number | undefined; readonly members?: object };

async function answerTo(name: string): Promise<Answer> {
  const seen = server.events.length;
  try {
    const { $metadata, ...members } = await s3.send(commandOf(name) as sdk.GetBucketAbacCommand);
    return { status: $metadata.httpStatusCode, members };
  } catch (error) {
    if (!(error instanceof sdk.S3ServiceException)) throw error;
    assert.equal(server.events.length, seen + 1, "the server was asked");
    return { code: error.name, status: error.$metadata.httpStatusCode };
  }
}

async function isAsItWas(): Promise<void> {
  const { Bucket, Key } = input;
  assert.deepEqual(
    (await s3.send(new sdk.ListBucketsCommand())).Buckets?.map(({ Name }) => Name),
    [Bucket],
  );
  const { Contents } = await s3.send(new sdk.ListObjectsV2Command({ Bucket }));
  assert.deepEqual(
    Contents?.map((object) => object.Key),
    [Key],
  );
  const { Body } = await s3.send(new sdk.GetObjectCommand({ Bucket, Key }));
  assert.equal((await bytesOf(Body)).toString(), "as it was");
}

for (const row of rows.filter((each) => !isThere(each))) {
  void test(`${row.name} is refused as the table says, and changes nothing`, async () => {
    const code = /^`(\w+)`/.exec(row.notes)?.[1];
    const answer = await answerTo(row.name);
    assert.deepEqual(answer.code, code);
    assert.ok(answer.status === 501 || (answer.status! >= 400 && answer.status! < 500), String(answer.status));
    await isAsItWas();
  });
}

/** Of what answers without an error that there is nothing. */
const nothing: Readonly<Record<string, object>> = {
  GetBucketAbac: { AbacStatus: { Status: "Disabled" } },
};

for (const { name, notes } of rows.filter(({ there }) => there === "none")) {
  void test(`${name} says that there is none`, async () => {
    const code = /^`(\w+)`/.exec(notes)?.[1];
    const { status, ...answer } = await answerTo(name);
    if (code === undefined) assert.deepEqual(answer, { members: nothing[name] ?? { IsTruncated: false } });
    else assert.deepEqual([answer, status === 404 || status === 403], [{ code }, true]);
  });
}

/** Configuration documents of buckets: kept as they were understood, refused in AWS's words, gone with their bucket. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteBucketCorsCommand,
  DeleteBucketOwnershipControlsCommand,
  DeleteBucketTaggingCommand,
  DeletePublicAccessBlockCommand,
  GetBucketAccelerateConfigurationCommand,
  GetBucketCorsCommand,
  GetBucketOwnershipControlsCommand,
  GetBucketRequestPaymentCommand,
  GetBucketTaggingCommand,
  GetPublicAccessBlockCommand,
  PutBucketAccelerateConfigurationCommand,
  PutBucketCorsCommand,
  PutBucketOwnershipControlsCommand,
  PutBucketRequestPaymentCommand,
  PutBucketTaggingCommand,
  PutPublicAccessBlockCommand,
} from "@aws-sdk/client-s3";
import type { CORSRule, ObjectOwnership } from "@aws-sdk/client-s3";
import { failsWith, startTestServer } from "./server.ts";
import type { RawAnswer, TestServer } from "./server.ts";

let server: TestServer;
let made = 0;
before(async () => {
  server = await startTestServer();
});
after(() => server.close());

async function newBucket(): Promise<string> {
  const name = `configured-${made++}`;
  await server.bucket(name);
  return name;
}

const codeOf = ({ status, text }: RawAnswer): [number, string | undefined] => [
  status,
  /<Code>(\w+)<\/Code>/.exec(text)?.[1],
];

const setCors = async (Bucket: string, CORSRules: CORSRule[]): Promise<void> =>
  void (await server.s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } })));

void test("CORS rules come back as they were set, and are gone when deleted", async () => {
  const Bucket = await newBucket();
  const rules = [
    {
      ID: "first",
      AllowedMethods: ["GET", "PUT"],
      AllowedOrigins: ["https://*.example.com", "http://localhost"],
      AllowedHeaders: ["x-amz-*", "Content-Type"],
      ExposeHeaders: ["ETag"],
      MaxAgeSeconds: 3000,
    },
    { AllowedMethods: ["HEAD"], AllowedOrigins: ["*"] },
  ];
  await setCors(Bucket, rules);
  assert.deepEqual((await server.s3.send(new GetBucketCorsCommand({ Bucket }))).CORSRules, rules);
  await setCors(Bucket, [rules[1]!]);
  assert.deepEqual((await server.s3.send(new GetBucketCorsCommand({ Bucket }))).CORSRules, [rules[1]]);
  const { $metadata } = await server.s3.send(new DeleteBucketCorsCommand({ Bucket }));
  assert.equal($metadata.httpStatusCode, 204);
  await failsWith(server.s3.send(new GetBucketCorsCommand({ Bucket })), 404, "NoSuchCORSConfiguration");
  await server.s3.send(new DeleteBucketCorsCommand({ Bucket }));
});

const rule: CORSRule = { AllowedMethods: ["GET"], AllowedOrigins: ["*"] };
for (const [what, rules, code] of [
  ["a method that is none", [{ ...rule, AllowedMethods: ["PATCH"] }], "InvalidRequest"],
  ["a method in small letters", [{ ...rule, AllowedMethods: ["get"] }], "InvalidRequest"],
  ["two wildcards in an origin", [{ ...rule, AllowedOrigins: ["http://*.*.com"] }], "InvalidRequest"],
  ["two wildcards in a header", [{ ...rule, AllowedHeaders: ["x-*-*"] }], "InvalidRequest"],
  ["a header that is no name", [{ ...rule, AllowedHeaders: ["a b"] }], "InvalidRequest"],
  ["a wildcard in an exposed header", [{ ...rule, ExposeHeaders: ["x-amz-*"] }], "InvalidRequest"],
  ["a line break in an exposed header", [{ ...rule, ExposeHeaders: ["a\r\nset-cookie: b"] }], "InvalidRequest"],
  ["101 rules", Array.from({ length: 101 }, () => rule), "InvalidRequest"],
  ["an ID of 256 characters", [{ ...rule, ID: "i".repeat(256) }], "InvalidRequest"],
  ["no rules", [], "MalformedXML"],
  ["no origins", [{ ...rule, AllowedOrigins: [] }], "MalformedXML"],
  ["no methods", [{ ...rule, AllowedMethods: [] }], "MalformedXML"],
  ["a negative age", [{ ...rule, MaxAgeSeconds: -1 }], "MalformedXML"],
] satisfies [string, CORSRule[], string][])
  void test(`CORS rules with ${what} are ${code} and change nothing`, async () => {
    const Bucket = await newBucket();
    await setCors(Bucket, [rule]);
    await failsWith(setCors(Bucket, rules), 400, code);
    assert.deepEqual((await server.s3.send(new GetBucketCorsCommand({ Bucket }))).CORSRules, [rule]);
  });

void test("the tags of a bucket come back in their order, and are gone when deleted", async () => {
  const Bucket = await newBucket();
  const TagSet = [
    { Key: "zeta", Value: "" },
    { Key: "alpha", Value: "größe: 日本 +-=._/@" },
  ];
  const put = await server.s3.send(new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet } }));
  assert.equal(put.$metadata.httpStatusCode, 204);
  assert.deepEqual((await server.s3.send(new GetBucketTaggingCommand({ Bucket }))).TagSet, TagSet);
  const gone = await server.s3.send(new DeleteBucketTaggingCommand({ Bucket }));
  assert.equal(gone.$metadata.httpStatusCode, 204);
  await failsWith(server.s3.send(new GetBucketTaggingCommand({ Bucket })), 404, "NoSuchTagSet");
});

const tags = (count: number): { Key: string; Value: string }[] =>
  Array.from({ length: count }, (_, n) => ({ Key: `tag${n}`, Value: "v" }));
for (const [what, TagSet, code] of [
  ["51 tags", tags(51), "InvalidTag"],
  ["a key twice", [...tags(1), ...tags(1)], "InvalidTag"],
  ["an empty key", [{ Key: "", Value: "v" }], "InvalidTag"],
  ["a key of 129 characters", [{ Key: "k".repeat(129), Value: "v" }], "InvalidTag"],
  ["a value of 257 characters", [{ Key: "k", Value: "v".repeat(257) }], "InvalidTag"],
  ["a key of AWS's own", [{ Key: "aws:cost", Value: "v" }], "InvalidTag"],
  ["a sign that no tag has", [{ Key: "a<b", Value: "v" }], "InvalidTag"],
] satisfies [string, { Key: string; Value: string }[], string][])
  void test(`the tags of a bucket with ${what} are ${code}`, async () => {
    const Bucket = await newBucket();
    await failsWith(server.s3.send(new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet } })), 400, code);
    await failsWith(server.s3.send(new GetBucketTaggingCommand({ Bucket })), 404, "NoSuchTagSet");
  });

void test("a bucket has up to 50 tags of 128 and 256 characters", async () => {
  const Bucket = await newBucket();
  const TagSet = tags(50).map(({ Key }) => ({ Key: Key.padEnd(128, "ü"), Value: "ö".repeat(256) }));
  await server.s3.send(new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet } }));
  assert.deepEqual((await server.s3.send(new GetBucketTaggingCommand({ Bucket }))).TagSet, TagSet);
});

void test("a public access block is kept, with false for what it does not say", async () => {
  const Bucket = await newBucket();
  const get = new GetPublicAccessBlockCommand({ Bucket });
  await failsWith(server.s3.send(get), 404, "NoSuchPublicAccessBlockConfiguration");
  const block = { BlockPublicAcls: true, RestrictPublicBuckets: true };
  await server.s3.send(new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration: block }));
  assert.deepEqual((await server.s3.send(get)).PublicAccessBlockConfiguration, {
    ...block,
    IgnorePublicAcls: false,
    BlockPublicPolicy: false,
  });
  const empty = new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration: {} });
  await failsWith(server.s3.send(empty), 400, "InvalidRequest");
  const gone = await server.s3.send(new DeletePublicAccessBlockCommand({ Bucket }));
  assert.equal(gone.$metadata.httpStatusCode, 204);
  await failsWith(server.s3.send(get), 404, "NoSuchPublicAccessBlockConfiguration");
});

void test("ownership controls are kept", async () => {
  const Bucket = await newBucket();
  const get = new GetBucketOwnershipControlsCommand({ Bucket });
  await failsWith(server.s3.send(get), 404, "OwnershipControlsNotFoundError");
  const put = (value: string): PutBucketOwnershipControlsCommand =>
    new PutBucketOwnershipControlsCommand({
      Bucket,
      OwnershipControls: { Rules: [{ ObjectOwnership: value as ObjectOwnership }] },
    });
  for (const value of ["BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced"]) {
    await server.s3.send(put(value));
    assert.deepEqual((await server.s3.send(get)).OwnershipControls?.Rules, [{ ObjectOwnership: value }]);
  }
  await failsWith(server.s3.send(put("Nobody")), 400, "MalformedXML");
  await server.s3.send(new DeleteBucketOwnershipControlsCommand({ Bucket }));
  await failsWith(server.s3.send(get), 404, "OwnershipControlsNotFoundError");
});

void test("a bucket may be made with its ownership", async () => {
  for (const ObjectOwnership of ["BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced"] as const) {
    const Bucket = `owned-${made++}`;
    await server.s3.send(new CreateBucketCommand({ Bucket, ObjectOwnership }));
    const { OwnershipControls } = await server.s3.send(new GetBucketOwnershipControlsCommand({ Bucket }));
    assert.deepEqual(OwnershipControls?.Rules, [{ ObjectOwnership }]);
    await server.s3.send(new DeleteBucketCommand({ Bucket }));
  }
  const wrong = new CreateBucketCommand({ Bucket: "owned-wrong", ObjectOwnership: "Nobody" as ObjectOwnership });
  await failsWith(server.s3.send(wrong), 400, "InvalidArgument");
});

void test("the owner pays unless the bucket says that requesters do", async () => {
  const Bucket = await newBucket();
  const payer = async (): Promise<string | undefined> =>
    (await server.s3.send(new GetBucketRequestPaymentCommand({ Bucket }))).Payer;
  assert.equal(await payer(), "BucketOwner");
  for (const Payer of ["Requester", "BucketOwner"] as const) {
    const RequestPaymentConfiguration = { Payer };
    await server.s3.send(new PutBucketRequestPaymentCommand({ Bucket, RequestPaymentConfiguration }));
    assert.equal(await payer(), Payer);
  }
});

void test("acceleration was never set, or is what was set", async () => {
  const Bucket = await newBucket();
  const status = async (): Promise<string | undefined> =>
    (await server.s3.send(new GetBucketAccelerateConfigurationCommand({ Bucket }))).Status;
  assert.equal(await status(), undefined);
  const put = (name: string, Status: "Enabled" | "Suspended"): PutBucketAccelerateConfigurationCommand =>
    new PutBucketAccelerateConfigurationCommand({ Bucket: name, AccelerateConfiguration: { Status } });
  for (const Status of ["Enabled", "Suspended"] as const) {
    await server.s3.send(put(Bucket, Status));
    assert.equal(await status(), Status);
  }
  await server.bucket("with.dots");
  await failsWith(server.s3.send(put("with.dots", "Enabled")), 400, "InvalidRequest");
});

void test("documents of a bucket that is not there are NoSuchBucket", async () => {
  const Bucket = "nowhere";
  await failsWith(server.s3.send(new GetBucketCorsCommand({ Bucket })), 404, "NoSuchBucket");
  await failsWith(setCors(Bucket, [rule]), 404, "NoSuchBucket");
  await failsWith(server.s3.send(new DeleteBucketCorsCommand({ Bucket })), 404, "NoSuchBucket");
  await failsWith(server.s3.send(new GetBucketRequestPaymentCommand({ Bucket })), 404, "NoSuchBucket");
});

void test("documents do not keep a bucket from being deleted, and the next one of its name has none", async () => {
  const Bucket = await newBucket();
  await setCors(Bucket, [rule]);
  await server.s3.send(new DeleteBucketCommand({ Bucket }));
  await server.bucket(Bucket);
  await failsWith(server.s3.send(new GetBucketCorsCommand({ Bucket })), 404, "NoSuchCORSConfiguration");
});

for (const sub of ["replication"])
  void test(`PUT ?${sub}, which would not be carried out, is NotImplemented`, async () => {
    const path = `/${await newBucket()}?${sub}`;
    const answer = await server.raw({ method: "PUT", path, body: Buffer.from("<a/>") });
    assert.deepEqual(codeOf(answer), [501, "NotImplemented"]);
  });

void test("no document at all is MissingRequestBodyError", async () => {
  const answer = await server.raw({ method: "PUT", path: `/${await newBucket()}?cors` });
  assert.deepEqual(codeOf(answer), [400, "MissingRequestBodyError"]);
});

void test("a document that is too large to be kept is refused", async () => {
  const origins = `<AllowedOrigin>http://${"o".repeat(990)}</AllowedOrigin>`.repeat(100);
  const text = `<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod>${origins}</CORSRule></CORSConfiguration>`;
  const answer = await server.raw({ method: "PUT", path: `/${await newBucket()}?cors`, body: Buffer.from(text) });
  assert.deepEqual(codeOf(answer), [400, "MaxMessageLengthExceeded"]);
});

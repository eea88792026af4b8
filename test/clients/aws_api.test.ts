/** `aws s3api`: every kind of setting that a bucket, an object or a version can have, set, read back and taken away. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { AwsCli } from "./aws_cli.ts";
import { ClientWorld, missing } from "./world.ts";

type Document = Readonly<Record<string, unknown>>;

/** A setting of a bucket: what is put under which option, and what is then given back (else the same). */
type Setting = {
  readonly name: string;
  readonly option: string;
  readonly document: Document | string;
  readonly shown?: Document;
  /** What is said where there is none; undefined where there always is one, which cannot be deleted. */
  readonly none?: string;
  /** What it is called where it is deleted. */
  readonly deleted?: string;
};

const allPrivate = {
  BlockPublicAcls: true,
  IgnorePublicAcls: true,
  BlockPublicPolicy: true,
  RestrictPublicBuckets: true,
};
const encrypted = {
  Rules: [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" }, BucketKeyEnabled: false }],
};
const cors = {
  CORSRules: [{ AllowedOrigins: ["https://*.example.org"], AllowedMethods: ["GET", "PUT"], MaxAgeSeconds: 60 }],
};

const lifecycle = {
  Rules: [
    {
      ID: "old",
      Status: "Enabled",
      Filter: { And: { Prefix: "logs/", Tags: [{ Key: "keep", Value: "no" }] } },
      Expiration: { Days: 30 },
      NoncurrentVersionExpiration: { NoncurrentDays: 7 },
    },
    {
      ID: "unfinished",
      Status: "Disabled",
      Filter: { Prefix: "" },
      AbortIncompleteMultipartUpload: { DaysAfterInitiation: 3 },
    },
  ],
};
const website = {
  IndexDocument: { Suffix: "index.html" },
  ErrorDocument: { Key: "error.html" },
  RoutingRules: [{ Condition: { KeyPrefixEquals: "old/" }, Redirect: { ReplaceKeyPrefixWith: "new/" } }],
};

const settings: readonly Setting[] = [
  {
    name: "lifecycle-configuration",
    option: "lifecycle-configuration",
    document: lifecycle,
    none: "NoSuchLifecycleConfiguration",
    deleted: "lifecycle",
  },
  { name: "website", option: "website-configuration", document: website, none: "NoSuchWebsiteConfiguration" },
  {
    name: "tagging",
    option: "tagging",
    document: { TagSet: [{ Key: "team", Value: "ünï" }] },
    none: "NoSuchTagSet",
  },
  { name: "cors", option: "cors-configuration", document: cors, none: "NoSuchCORSConfiguration" },
  {
    name: "encryption",
    option: "server-side-encryption-configuration",
    document: encrypted,
    shown: { ServerSideEncryptionConfiguration: encrypted },
    none: "ServerSideEncryptionConfigurationNotFoundError",
  },
  {
    name: "ownership-controls",
    option: "ownership-controls",
    document: { Rules: [{ ObjectOwnership: "BucketOwnerPreferred" }] },
    shown: { OwnershipControls: { Rules: [{ ObjectOwnership: "BucketOwnerPreferred" }] } },
    none: "OwnershipControlsNotFoundError",
  },
  { name: "versioning", option: "versioning-configuration", document: { Status: "Suspended" } },
  { name: "request-payment", option: "request-payment-configuration", document: { Payer: "Requester" } },
  { name: "accelerate-configuration", option: "accelerate-configuration", document: { Status: "Suspended" } },
];

/** The last rest of an answer that is no part of the document. */
function documentOf(answer: Document): Document {
  const { ResponseMetadata: _metadata, ...document } = answer;
  return document;
}

describe("aws s3api", { skip: missing("/usr/bin/aws", "awscli") }, () => {
  let world: ClientWorld;
  let aws: AwsCli;

  before(async () => {
    world = await ClientWorld.start("aws-api", { encrypts: true });
    aws = new AwsCli(world);
    await aws.api("create-bucket --bucket settings");
  });
  after(async () => {
    await aws.stop();
    await world.stop();
  });

  for (const { name, option, document, shown, none, deleted = name } of settings) {
    test(`a bucket's ${name} is set, given back${none === undefined ? "" : " and taken away"}`, async () => {
      const of = (verb: string): string[] => ["s3api", `${verb}-bucket-${name}`, "--bucket", "settings"];
      if (none !== undefined) await aws.fails(none, ...of("get"));
      await aws.api(`put-bucket-${name} --bucket settings`, { [option]: document });
      assert.deepEqual(documentOf(await aws.api(`get-bucket-${name} --bucket settings`)), shown ?? document);
      if (none === undefined) return;
      await aws.run("s3api", `delete-bucket-${deleted}`, "--bucket", "settings");
      await aws.fails(none, ...of("get"));
    });
  }

  test("a bucket's policy opens it to anyone, and the public access block closes it again", async () => {
    await aws.api("create-bucket --bucket open");
    await aws.api("put-object --bucket open --key k", { body: path.join(world.files, "small.txt") });
    const url = `${world.origin}/open/k`;
    assert.equal((await fetch(url)).status, 403);
    const statement = { Effect: "Allow", Principal: "*", Action: "s3:GetObject", Resource: "arn:aws:s3:::open/*" };
    const policy = { Version: "2012-10-17", Statement: [statement] };
    await aws.api("put-bucket-policy --bucket open", { policy });
    assert.deepEqual(JSON.parse((await aws.api("get-bucket-policy --bucket open"))["Policy"]!), policy);
    const { PolicyStatus } = await aws.api("get-bucket-policy-status --bucket open");
    assert.deepEqual(PolicyStatus, { IsPublic: true });
    assert.equal(await (await fetch(url)).text(), "hello\n");
    await aws.api("put-public-access-block --bucket open", { "public-access-block-configuration": allPrivate });
    assert.deepEqual(await aws.api("get-public-access-block --bucket open"), {
      PublicAccessBlockConfiguration: allPrivate,
    });
    assert.equal((await fetch(url)).status, 403);
    await aws.api("delete-public-access-block --bucket open");
    await aws.api("delete-bucket-policy --bucket open");
    await aws.fails("NoSuchBucketPolicy", "s3api", "get-bucket-policy", "--bucket", "open");
    await aws.fails("MalformedPolicy", "s3api", "put-bucket-policy", "--bucket", "open", "--policy", "{}");
  });

  test("access control lists of buckets and objects, canned, by grants and as documents", async () => {
    await aws.api("create-bucket --bucket lists --object-ownership ObjectWriter");
    await aws.api("put-bucket-acl --bucket lists --acl public-read");
    const { Grants, Owner } = await aws.api("get-bucket-acl --bucket lists");
    assert.equal(Grants!.length, 2);
    await aws.api("put-object --bucket lists --key k");
    const everyone = "uri=http://acs.amazonaws.com/groups/global/AllUsers";
    await aws.api("put-object-acl --bucket lists --key k", { "grant-read": everyone });
    assert.equal((await fetch(`${world.origin}/lists/k`)).status, 200);
    const grants = [{ Grantee: { Type: "CanonicalUser", ID: Owner!["ID"] }, Permission: "FULL_CONTROL" }];
    const document = { Owner: { ID: Owner!["ID"] }, Grants: grants };
    await aws.api("put-object-acl --bucket lists --key k", { "access-control-policy": document });
    assert.equal((await aws.api("get-object-acl --bucket lists --key k"))["Grants"]!.length, 1);
    assert.equal((await fetch(`${world.origin}/lists/k`)).status, 403);
  });

  test("versions: listed, read, deleted behind a marker, brought back", async () => {
    await aws.api("create-bucket --bucket versions");
    await aws.api("put-bucket-versioning --bucket versions --versioning-configuration Status=Enabled");
    const file = world.path("version");
    const ids: string[] = [];
    for (const text of ["one", "two", "three"]) {
      writeFileSync(file, text);
      ids.push((await aws.api("put-object --bucket versions --key k", { body: file }))["VersionId"]!);
    }
    const marker = await aws.api("delete-object --bucket versions --key k");
    assert.equal(marker["DeleteMarker"], true as never);
    await aws.fails("NoSuchKey", "s3api", "get-object", "--bucket", "versions", "--key", "k", file);
    const listed = await aws.api("list-object-versions --bucket versions --page-size 1");
    assert.deepEqual(
      listed["Versions"]!.map((each) => each["VersionId"]),
      ids.toReversed(),
    );
    assert.equal(listed["DeleteMarkers"]!.length, 1);
    await aws.run("s3api", "get-object", "--bucket", "versions", "--key", "k", "--version-id", ids[0]!, file);
    assert.equal(readFileSync(file, "utf8"), "one");
    await aws.api(`delete-object --bucket versions --key k --version-id ${marker["VersionId"]}`);
    assert.equal((await aws.api("head-object --bucket versions --key k"))["VersionId"], ids[2]);
    const named = ids.map((VersionId) => ({ Key: "k", VersionId }));
    const deleted = await aws.api("delete-objects --bucket versions", { delete: { Objects: named, Quiet: false } });
    assert.equal(deleted["Deleted"]!.length, 3);
    await aws.api("delete-bucket --bucket versions");
  });

  test("object lock: a default, a retention, a legal hold, and what they refuse", async () => {
    await aws.api("create-bucket --bucket locked --object-lock-enabled-for-bucket");
    const rule = { ObjectLockEnabled: "Enabled", Rule: { DefaultRetention: { Mode: "GOVERNANCE", Days: 1 } } };
    await aws.api("put-object-lock-configuration --bucket locked", { "object-lock-configuration": rule });
    assert.deepEqual(await aws.api("get-object-lock-configuration --bucket locked"), {
      ObjectLockConfiguration: rule,
    });
    const { VersionId } = await aws.api("put-object --bucket locked --key k");
    const retention = await aws.api("get-object-retention --bucket locked --key k");
    assert.equal(retention["Retention"]!["Mode"], "GOVERNANCE");
    await aws.api("put-object-legal-hold --bucket locked --key k --legal-hold Status=ON");
    assert.deepEqual(await aws.api("get-object-legal-hold --bucket locked --key k"), { LegalHold: { Status: "ON" } });
    const remove = ["s3api", "delete-object", "--bucket", "locked", "--key", "k", "--version-id", VersionId!];
    await aws.fails("AccessDenied", ...remove, "--bypass-governance-retention");
    await aws.api("put-object-legal-hold --bucket locked --key k --legal-hold Status=OFF");
    await aws.fails("AccessDenied", ...remove);
    await aws.run(...remove, "--bypass-governance-retention");
  });

  test("an object's tags, attributes, and conditions on writing it", async () => {
    await aws.api("create-bucket --bucket objects");
    const body = path.join(world.files, "small.txt");
    await aws.api("put-object --bucket objects --key k --tagging a=1&b=2 --checksum-algorithm SHA256", { body });
    assert.equal((await aws.api("get-object-tagging --bucket objects --key k"))["TagSet"]!.length, 2);
    await aws.api("put-object-tagging --bucket objects --key k", { tagging: { TagSet: [{ Key: "c", Value: "3" }] } });
    assert.deepEqual((await aws.api("get-object-tagging --bucket objects --key k"))["TagSet"], [
      { Key: "c", Value: "3" },
    ]);
    await aws.api("delete-object-tagging --bucket objects --key k");
    assert.deepEqual((await aws.api("get-object-tagging --bucket objects --key k"))["TagSet"], []);
    const wanted = "--object-attributes ETag Checksum ObjectSize";
    const attributes = await aws.api(`get-object-attributes --bucket objects --key k ${wanted}`);
    assert.equal(attributes["ObjectSize"], 6 as never);
    assert.match(attributes["Checksum"]!["ChecksumSHA256"]!, /^[\w+/]{43}=$/);
    const etag = (await aws.api("head-object --bucket objects --key k"))["ETag"]!;
    const read = ["s3api", "get-object", "--bucket", "objects", "--key", "k"];
    await aws.run(...read, "--if-match", etag, "--range", "bytes=1-3", world.path("ranged"));
    assert.equal(readFileSync(world.path("ranged"), "utf8"), "ell");
    await aws.fails("304", ...read, "--if-none-match", etag, world.path("none"));
    await aws.fails("PreconditionFailed", ...read, "--if-match", '"other"', world.path("none"));
  });

  test("an upload in parts by hand, listed, completed, another one aborted", async () => {
    await aws.api("create-bucket --bucket parts");
    const { UploadId } = await aws.api("create-multipart-upload --bucket parts --key k --content-type text/parts");
    const part = { body: path.join(world.files, "small.txt") };
    const at = `--bucket parts --key k --upload-id ${UploadId}`;
    const { ETag } = await aws.api(`upload-part ${at} --part-number 1`, part);
    assert.equal((await aws.api(`list-parts ${at}`))["Parts"]!.length, 1);
    const parts = { Parts: [{ ETag, PartNumber: 1 }] };
    await aws.api(`complete-multipart-upload ${at}`, { "multipart-upload": parts });
    assert.equal((await aws.api("head-object --bucket parts --key k"))["ContentType"], "text/parts");
    const { UploadId: other } = await aws.api("create-multipart-upload --bucket parts --key other");
    assert.equal((await aws.api("list-multipart-uploads --bucket parts"))["Uploads"]!.length, 1);
    await aws.api(`abort-multipart-upload --bucket parts --key other --upload-id ${other}`);
    await aws.fails(
      "NoSuchUpload",
      "s3api",
      "list-parts",
      "--bucket",
      "parts",
      "--key",
      "other",
      "--upload-id",
      other!,
    );
  });

  test("access logs into another bucket are set and given back", async () => {
    for (const bucket of ["logged", "logs"]) await aws.api(`create-bucket --bucket ${bucket}`);
    const service = { Service: "logging.s3.amazonaws.com" };
    const resource = "arn:aws:s3:::logs/from/*";
    const statement = { Effect: "Allow", Principal: service, Action: "s3:PutObject", Resource: resource };
    const policy = { Version: "2012-10-17", Statement: statement };
    await aws.api("put-bucket-policy --bucket logs", { policy });
    const LoggingEnabled = { TargetBucket: "logs", TargetPrefix: "from/" };
    assert.deepEqual(await aws.api("get-bucket-logging --bucket logged"), {});
    await aws.api("put-bucket-logging --bucket logged", { "bucket-logging-status": { LoggingEnabled } });
    assert.deepEqual(await aws.api("get-bucket-logging --bucket logged"), { LoggingEnabled });
    await aws.api("put-bucket-logging --bucket logged", { "bucket-logging-status": {} });
    assert.deepEqual(await aws.api("get-bucket-logging --bucket logged"), {});
  });

  test("notifications name an event target that there is, and are taken away with an empty document", async () => {
    await aws.api("create-bucket --bucket noticed");
    const asked = (QueueArn: string) => ({
      "notification-configuration": {
        QueueConfigurations: [{ Id: "new", QueueArn, Events: ["s3:ObjectCreated:*"] }],
      },
    });
    const put = "put-bucket-notification-configuration --bucket noticed";
    const { code, stderr } = await aws.ended([
      "s3api",
      ...put.split(" "),
      "--notification-configuration",
      JSON.stringify(asked("arn:aws:sqs:us-east-1::none")["notification-configuration"]),
    ]);
    assert.notEqual(code, 0);
    assert.match(stderr, /InvalidArgument/);
    await aws.api(put, { "notification-configuration": {} });
    assert.deepEqual(await aws.api("get-bucket-notification-configuration --bucket noticed"), {});
  });
});

/** Access control lists over S3: who is let in by them, who owns what, and where they count for nothing. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  DeletePublicAccessBlockCommand,
  GetBucketAclCommand,
  GetObjectAclCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutBucketAclCommand,
  PutBucketOwnershipControlsCommand,
  PutObjectAclCommand,
  PutObjectCommand,
  PutPublicAccessBlockCommand,
  UploadPartCommand,
  type BucketCannedACL,
  type ObjectCannedACL,
  type ObjectOwnership,
  type S3Client,
} from "@aws-sdk/client-s3";
import { bytesOf, failsWith, startTestServer, type TestServer } from "./server.ts";

type Account = { readonly s3: S3Client; readonly id: string; readonly account: string; readonly name: string };

let server: TestServer;
let main: Account;
let other: Account;
before(async () => {
  server = await startTestServer();
  main = await accountNamed("main");
  other = await accountNamed("other");
});
after(() => server.close());

/** An account with a client of its own. */
async function accountNamed(name: string): Promise<Account> {
  const { account, canonicalId: id } = await server.identity.directory.createAccount(name);
  const { accessKey, secretKey } = await server.identity.create({ owner: { kind: "account", account } });
  const credentials = { accessKeyId: accessKey, secretAccessKey: secretKey };
  return { s3: server.client({ credentials }), id, account, name };
}

let buckets = 0;
async function bucketOf(
  { s3 }: Account,
  input: { ACL?: BucketCannedACL; ObjectOwnership?: ObjectOwnership } = {},
): Promise<string> {
  const Bucket = `acl-${(buckets += 1)}`;
  await s3.send(new CreateBucketCommand({ Bucket, ...input }));
  return Bucket;
}

const put = ({ s3 }: Account, Bucket: string, Key: string, ACL?: ObjectCannedACL) =>
  s3.send(new PutObjectCommand({ Bucket, Key, Body: Key, ACL }));
const get = ({ s3 }: Account, Bucket: string, Key: string) => s3.send(new GetObjectCommand({ Bucket, Key }));
const denied = (promise: Promise<unknown>): Promise<void> => failsWith(promise, 403, "AccessDenied");
const unsigned = async (path: string, init?: RequestInit): Promise<number> =>
  (await fetch(`${server.origin}/${path}`, init)).status;

void test("a bucket and an object begin private, and belong to the account that made them", async () => {
  const Bucket = await bucketOf(main);
  await put(main, Bucket, "k");
  for (const { Owner, Grants } of [
    await main.s3.send(new GetBucketAclCommand({ Bucket })),
    await main.s3.send(new GetObjectAclCommand({ Bucket, Key: "k" })),
  ]) {
    assert.deepEqual(Owner, { ID: main.id, DisplayName: "main" });
    assert.deepEqual(Grants, [
      { Grantee: { ID: main.id, DisplayName: "main", Type: "CanonicalUser" }, Permission: "FULL_CONTROL" },
    ]);
  }
  await denied(get(other, Bucket, "k"));
  await denied(other.s3.send(new GetBucketAclCommand({ Bucket })));
  assert.equal(await unsigned(`${Bucket}/k`), 403);
  assert.equal(await unsigned(Bucket), 403);
});

void test("a name that another account has is BucketAlreadyExists, and stays that account's", async () => {
  const Bucket = await bucketOf(main);
  await failsWith(other.s3.send(new CreateBucketCommand({ Bucket })), 409, "BucketAlreadyExists");
  const { Buckets, Owner } = await other.s3.send(new ListBucketsCommand({}));
  assert.ok(!Buckets?.some(({ Name }) => Name === Bucket));
  assert.equal(Owner?.ID, other.id);
});

void test("public-read of an object lets everybody read that object, and nothing else", async () => {
  const Bucket = await bucketOf(main);
  await put(main, Bucket, "public", "public-read");
  await put(main, Bucket, "private");
  assert.equal(await unsigned(`${Bucket}/public`), 200);
  assert.equal(await unsigned(`${Bucket}/private`), 403);
  assert.equal(await unsigned(`${Bucket}/nothing`), 403);
  assert.equal(await unsigned(`${Bucket}/public?acl`), 403);
  assert.equal(await unsigned(`${Bucket}/public`, { method: "PUT", body: "x" }), 403);
  assert.equal(await unsigned(`${Bucket}/public`, { method: "DELETE" }), 403);
  assert.equal((await get(other, Bucket, "public")).$metadata.httpStatusCode, 200);
});

void test("an ACL where nothing is made is refused, unless it asks for what is so anyway", async () => {
  const Bucket = await bucketOf(main);
  await put(main, Bucket, "k");
  const head = (acl: string) =>
    server.raw({ method: "HEAD", path: `/${Bucket}/k`, headers: { "x-amz-acl": acl } }).then(({ status }) => status);
  assert.deepEqual([await head("private"), await head("public-read")], [200, 501]);
});

void test("who signs nothing may not say what the answer's headers are", async () => {
  const Bucket = await bucketOf(main);
  await put(main, Bucket, "k", "public-read");
  assert.equal(await unsigned(`${Bucket}/k?response-content-type=text/html`), 400);
  assert.equal(await unsigned(`${Bucket}/k?x-id=GetObject`), 200);
});

void test("public-read-write of a bucket lets everybody list, store and delete; what a stranger stores is the stranger's", async () => {
  const Bucket = await bucketOf(main, { ACL: "public-read-write" });
  assert.equal(await unsigned(Bucket), 200);
  assert.equal(await unsigned(`${Bucket}/nothing`), 404);
  assert.equal(await unsigned(`${Bucket}/from-nobody`, { method: "PUT", body: "x" }), 200);
  await put(other, Bucket, "from-other");
  await denied(get(main, Bucket, "from-other"));
  assert.equal((await get(other, Bucket, "from-other")).$metadata.httpStatusCode, 200);
  const listed = await main.s3.send(new ListObjectsCommand({ Bucket }));
  assert.deepEqual(
    listed.Contents?.map(({ Key, Owner }) => [Key, Owner?.ID, Owner?.DisplayName]),
    [
      ["from-nobody", "65a011a29cdf8ec533ec3d1ccaae921c", undefined],
      ["from-other", other.id, "other"],
    ],
  );
  const versions = await main.s3.send(new ListObjectVersionsCommand({ Bucket }));
  assert.deepEqual(versions.Versions?.map(({ Owner }) => Owner?.ID)[1], other.id);
  assert.equal(await unsigned(`${Bucket}/from-other`, { method: "DELETE" }), 204);
});

void test("bucket-owner-full-control shares it with the bucket's account; where that is preferred, it gives it away", async () => {
  const Bucket = await bucketOf(main, { ACL: "public-read-write" });
  await put(other, Bucket, "shared", "bucket-owner-full-control");
  assert.equal((await get(main, Bucket, "shared")).$metadata.httpStatusCode, 200);
  assert.equal((await main.s3.send(new GetObjectAclCommand({ Bucket, Key: "shared" }))).Owner?.ID, other.id);
  const Rules = [{ ObjectOwnership: "BucketOwnerPreferred" as const }];
  await main.s3.send(new PutBucketOwnershipControlsCommand({ Bucket, OwnershipControls: { Rules } }));
  await put(other, Bucket, "given", "bucket-owner-full-control");
  assert.equal((await main.s3.send(new GetObjectAclCommand({ Bucket, Key: "given" }))).Owner?.ID, main.id);
  await denied(get(other, Bucket, "given"));
});

void test("where the bucket's owner owns everything ACLs are not taken, and old ones do not count", async () => {
  const Bucket = await bucketOf(main);
  await put(main, Bucket, "public", "public-read");
  const Rules = [{ ObjectOwnership: "BucketOwnerEnforced" as const }];
  await main.s3.send(new PutBucketOwnershipControlsCommand({ Bucket, OwnershipControls: { Rules } }));
  assert.equal(await unsigned(`${Bucket}/public`), 403);
  const refused = (promise: Promise<unknown>) => failsWith(promise, 400, "AccessControlListNotSupported");
  await refused(put(main, Bucket, "k", "public-read"));
  await refused(main.s3.send(new PutBucketAclCommand({ Bucket, ACL: "private" })));
  await refused(main.s3.send(new PutObjectAclCommand({ Bucket, Key: "public", ACL: "private" })));
  await refused(main.s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "m", ACL: "public-read" })));
  await put(main, Bucket, "k", "bucket-owner-full-control");
  const { Grants } = await main.s3.send(new GetObjectAclCommand({ Bucket, Key: "public" }));
  assert.equal(Grants?.length, 1);
});

void test("a bucket that is shared by its ACL is not made one whose owner owns everything", async () => {
  const Bucket = await bucketOf(main, { ACL: "public-read" });
  const Rules = [{ ObjectOwnership: "BucketOwnerEnforced" as const }];
  const change = new PutBucketOwnershipControlsCommand({ Bucket, OwnershipControls: { Rules } });
  await failsWith(main.s3.send(change), 400, "InvalidBucketAclWithObjectOwnership");
  const made = bucketOf(main, { ACL: "public-read", ObjectOwnership: "BucketOwnerEnforced" });
  await failsWith(made, 400, "InvalidBucketAclWithObjectOwnership");
});

void test("grants by header and by document; who may change the list may not change the owner", async () => {
  const Bucket = await bucketOf(main);
  await main.s3.send(
    new PutObjectCommand({
      Bucket,
      Key: "k",
      Body: "x",
      GrantRead: `id="${other.id}"`,
      GrantWriteACP: `id=${other.id}`,
    }),
  );
  assert.equal((await get(other, Bucket, "k")).$metadata.httpStatusCode, 200);
  await denied(other.s3.send(new GetObjectAclCommand({ Bucket, Key: "k" })));
  const grants = (Owner: { ID: string }) => ({
    Owner,
    Grants: [{ Grantee: { Type: "CanonicalUser" as const, ID: other.id }, Permission: "FULL_CONTROL" as const }],
  });
  const change = (AccessControlPolicy: ReturnType<typeof grants>) =>
    other.s3.send(new PutObjectAclCommand({ Bucket, Key: "k", AccessControlPolicy }));
  await denied(change(grants({ ID: other.id })));
  await change(grants({ ID: main.id }));
  const { Owner, Grants } = await other.s3.send(new GetObjectAclCommand({ Bucket, Key: "k" }));
  assert.equal(Owner?.ID, main.id);
  assert.deepEqual(
    Grants?.map(({ Grantee }) => Grantee?.ID),
    [other.id],
  );
  assert.equal(await bytesOf((await get(main, Bucket, "k")).Body).then(String), "x");
});

void test("what is no list is refused, and changes nothing", async () => {
  const Bucket = await bucketOf(main, { ACL: "public-read" });
  const cases: [string, object, string][] = [
    ["nobody of that id", { GrantRead: `id=${"0".repeat(64)}` }, "InvalidArgument"],
    ["no group", { GrantRead: "uri=http://acs.amazonaws.com/groups/global/Nobody" }, "InvalidArgument"],
    ["mail", { GrantRead: "emailAddress=a@example.com" }, "UnresolvableGrantByEmailAddress"],
    ["both", { ACL: "private", GrantRead: `id=${other.id}` }, "InvalidRequest"],
    ["no canned one", { ACL: "most-public" }, "InvalidArgument"],
  ];
  for (const [what, input, code] of cases)
    await assert.rejects(main.s3.send(new PutBucketAclCommand({ Bucket, ...input })), { name: code }, what);
  assert.equal((await main.s3.send(new GetBucketAclCommand({ Bucket }))).Grants?.length, 2);
});

void test("a public access block refuses public lists, and ignores those that are there", async () => {
  const Bucket = await bucketOf(main);
  await put(main, Bucket, "public", "public-read");
  const block = (PublicAccessBlockConfiguration: { BlockPublicAcls?: boolean; IgnorePublicAcls?: boolean }) =>
    main.s3.send(new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration }));
  await block({ BlockPublicAcls: true });
  await denied(put(main, Bucket, "more", "public-read"));
  await denied(main.s3.send(new PutObjectAclCommand({ Bucket, Key: "public", ACL: "authenticated-read" })));
  await denied(main.s3.send(new PutBucketAclCommand({ Bucket, ACL: "public-read" })));
  await put(main, Bucket, "more", "private");
  assert.equal(await unsigned(`${Bucket}/public`), 200);
  await block({ IgnorePublicAcls: true });
  assert.equal(await unsigned(`${Bucket}/public`), 403);
  await main.s3.send(new DeletePublicAccessBlockCommand({ Bucket }));
  assert.equal(await unsigned(`${Bucket}/public`), 200);
});

void test("a copy has no list of its source's; a multipart upload has the one it was begun with", async () => {
  const Bucket = await bucketOf(main);
  await put(main, Bucket, "public", "public-read");
  await main.s3.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/public` }));
  assert.equal(await unsigned(`${Bucket}/copy`), 403);
  await main.s3.send(new CopyObjectCommand({ Bucket, Key: "copy2", CopySource: `${Bucket}/copy`, ACL: "public-read" }));
  assert.equal(await unsigned(`${Bucket}/copy2`), 200);
  const at = { Bucket, Key: "multipart" };
  const { UploadId } = await main.s3.send(new CreateMultipartUploadCommand({ ...at, ACL: "public-read" }));
  const { ETag } = await main.s3.send(new UploadPartCommand({ ...at, UploadId, PartNumber: 1, Body: "part" }));
  const MultipartUpload = { Parts: [{ ETag, PartNumber: 1 }] };
  await main.s3.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload }));
  assert.equal(await unsigned(`${Bucket}/multipart`), 200);
});

/** An upload that was begun with a public list; what completes it. */
async function publicUpload(Bucket: string, Key: string): Promise<() => Promise<unknown>> {
  const at = { Bucket, Key };
  const { UploadId } = await main.s3.send(new CreateMultipartUploadCommand({ ...at, ACL: "public-read" }));
  const { ETag } = await main.s3.send(new UploadPartCommand({ ...at, UploadId, PartNumber: 1, Body: "part" }));
  const MultipartUpload = { Parts: [{ ETag, PartNumber: 1 }] };
  return () => main.s3.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload }));
}

void test("the list that a multipart upload was begun with is judged again when it is completed", async () => {
  const Bucket = await bucketOf(main);
  const complete = await publicUpload(Bucket, "blocked");
  const PublicAccessBlockConfiguration = { BlockPublicAcls: true };
  await main.s3.send(new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration }));
  await denied(complete());
  await failsWith(get(main, Bucket, "blocked"), 404, "NoSuchKey");
  await main.s3.send(new DeletePublicAccessBlockCommand({ Bucket }));
  await complete();
  assert.equal(await unsigned(`${Bucket}/blocked`), 200, "the upload was still there");
});

void test("an upload that is completed where lists count for nothing leaves none for when they count again", async () => {
  const Bucket = await bucketOf(main);
  const complete = await publicUpload(Bucket, "enforced");
  const own = (ObjectOwnership: ObjectOwnership) =>
    main.s3.send(
      new PutBucketOwnershipControlsCommand({ Bucket, OwnershipControls: { Rules: [{ ObjectOwnership }] } }),
    );
  await own("BucketOwnerEnforced");
  await complete();
  assert.equal(await unsigned(`${Bucket}/enforced`), 403);
  await own("ObjectWriter");
  assert.equal(await unsigned(`${Bucket}/enforced`), 403);
});

void test("a list is the object's: it stays with its metadata, and goes when it is replaced", async () => {
  const Bucket = await bucketOf(main);
  await put(main, Bucket, "k", "public-read");
  const { LastModified } = await main.s3.send(new HeadObjectCommand({ Bucket, Key: "k" }));
  await main.s3.send(new PutObjectAclCommand({ Bucket, Key: "k", ACL: "authenticated-read" }));
  assert.equal(await unsigned(`${Bucket}/k`), 403);
  assert.equal((await get(other, Bucket, "k")).$metadata.httpStatusCode, 200);
  assert.deepEqual((await main.s3.send(new HeadObjectCommand({ Bucket, Key: "k" }))).LastModified, LastModified);
  await put(main, Bucket, "k");
  await denied(get(other, Bucket, "k"));
});

void test("whoever does everything stores what is the bucket's account's", async () => {
  const Bucket = await bucketOf(main);
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x" }));
  assert.equal((await get(main, Bucket, "k")).$metadata.httpStatusCode, 200);
  const { Contents } = await server.s3.send(new ListObjectsV2Command({ Bucket, FetchOwner: true }));
  assert.equal(Contents?.[0]?.Owner?.ID, main.id);
});

/**
 * One request may ask for much: an entry of a commit, a key of a DeleteObjects, either side of a rename. The conditions of policies see
 * what that part says, and nothing that its request says around it.
 */
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { after, before, test, type TestContext } from "node:test";
import { HeadObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { S3Client as OwnClient, S3RequestError } from "../../src/client/s3_client.ts";
import { startTestServer, type TestServer } from "./server.ts";

const bucket = "parts-of-requests";
const all = `arn:aws:s3:::${bucket}/*`;
let server: TestServer;
let etag: string;
before(async () => {
  server = await startTestServer();
  await server.bucket(bucket);
});
after(() => server.close());

const put = async (Key: string): Promise<void> => {
  const { ETag } = await server.s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: "there" }));
  etag = ETag!.replaceAll('"', "");
};

type Statement = { readonly Action: string | readonly string[]; readonly Condition?: object };
type Headers = Record<string, string>;
let users = 0;

/** A client of a user who may do this with every key of the bucket. */
async function userWith(t: TestContext, ...statements: Statement[]) {
  const { directory } = server.identity;
  const { account } = await directory.ownAccount();
  const name = `user-${(users += 1)}`;
  await directory.createUser({ account, name });
  const Statement = statements.map((statement) => ({ Effect: "Allow", Resource: all, ...statement }));
  const document = JSON.stringify({ Version: "2012-10-17", Statement });
  await directory.putInlinePolicy({ kind: "user", account, name }, { name: "own", document });
  const key = await server.identity.create({ owner: { kind: "user", account, user: name } });
  const client = new OwnClient({ endpoint: new URL(server.origin), region: "us-east-1", ...key });
  t.after(() => client.close());
  return { client, key };
}

function commit(client: OwnClient, entry: object, headers: Headers = {}): Promise<unknown> {
  const body = Buffer.from(JSON.stringify({ entries: [entry] }));
  return client.run({ method: "POST", bucket, query: { "holdfast-commit": "" }, body, headers });
}

const denied = (work: Promise<unknown>): Promise<void> =>
  assert.rejects(work, (error) => error instanceof S3RequestError && error.code === "AccessDenied");

const given = (name: string) => ({ Null: { [name]: "false" } });
const is = (name: string, value: string) => ({ StringEquals: { [name]: value } });

void test("a commit's entry has its own conditions, and not those of its request", async (t) => {
  const writing = { Action: "s3:PutObject", Condition: given("s3:if-none-match") };
  const deleting = { Action: "s3:DeleteObject", Condition: given("s3:if-match") };
  const { client } = await userWith(t, writing, deleting);
  await put("there");
  await denied(commit(client, { put: "there", text: "x" }, { "if-none-match": "*" }));
  await denied(commit(client, { delete: "there" }, { "if-match": etag }));
  await commit(client, { put: "fresh", text: "x", ifNoneMatch: "*" });
  await commit(client, { delete: "there", ifMatch: etag });
});

void test("a commit's entry has its own source, storage class and version", async (t) => {
  const source = "s3:x-amz-copy-source";
  const version = { Action: "s3:DeleteObjectVersion", Condition: is("s3:VersionId", "null") };
  const copying = { Action: "s3:PutObject", Condition: is(source, `${bucket}/a b`) };
  const { client } = await userWith(t, copying, version, { Action: "s3:GetObject" });
  const reduced = { Action: "s3:PutObject", Condition: is("s3:x-amz-storage-class", "REDUCED_REDUNDANCY") };
  const { client: saver } = await userWith(t, reduced);
  for (const key of ["a b", "secret"]) await put(key);
  const around = { "x-amz-copy-source": encodeURIComponent(`${bucket}/a b`) };
  await denied(commit(client, { put: "copy", text: "x" }, around));
  await denied(commit(client, { put: "copy", from: { key: "secret" } }, around));
  await commit(client, { put: "copy", from: { key: "a b" } });
  await commit(client, { delete: "copy", versionId: "null" });
  const className = { "x-amz-storage-class": "REDUCED_REDUNDANCY" };
  await denied(commit(saver, { put: "small", text: "x" }, className));
  await commit(saver, { put: "small", text: "x", headers: className });
});

void test("a rename has conditions on what it replaces, and others on what it takes away", async (t) => {
  const deleting = { Action: "s3:DeleteObject", Condition: given("s3:if-match") };
  const writing = { Action: "s3:PutObject", Condition: given("s3:if-none-match") };
  const { client } = await userWith(t, deleting, writing, { Action: "s3:GetObject" });
  await put("old");
  const rename = (headers: Headers) =>
    client.run({
      method: "PUT",
      bucket,
      key: "new",
      query: { renameObject: "" },
      headers: { "x-amz-rename-source": "old", ...headers },
    });
  await denied(commit(client, { rename: "old", to: "new", toIfNoneMatch: "*" }, { "if-match": etag }));
  await denied(commit(client, { rename: "old", to: "new", ifMatch: etag }, { "if-none-match": "*" }));
  await commit(client, { rename: "old", to: "new", ifMatch: etag, toIfNoneMatch: "*" });
  for (const key of ["old", "new"]) await put(key);
  await denied(rename({ "if-match": etag, "if-none-match": '"another"' }));
  await denied(rename({ "x-amz-rename-source-if-match": etag }));
  await rename({ "x-amz-rename-source-if-match": etag, "if-none-match": '"another"' });
});

void test("each key of a DeleteObjects has the condition and the version that it is given", async (t) => {
  const deleting = { Action: "s3:DeleteObject", Condition: given("s3:if-match") };
  const version = { Action: "s3:DeleteObjectVersion", Condition: is("s3:VersionId", "null") };
  const { client } = await userWith(t, deleting, version);
  await put("many");
  const remove = async (more: string, headers: Headers = {}) => {
    const body = Buffer.from(`<Delete><Object><Key>many</Key>${more}</Object></Delete>`);
    const md5 = { "content-md5": createHash("md5").update(body).digest("base64") };
    const query = { delete: "" };
    const { children } = await client.xml({ method: "POST", bucket, query, body, headers: { ...md5, ...headers } });
    return children.map(({ name }) => name);
  };
  assert.deepEqual(await remove("", { "if-match": etag }), ["Error"]);
  assert.deepEqual(await remove(`<ETag>${etag}</ETag>`), ["Deleted"]);
  await put("many");
  assert.deepEqual(await remove("<VersionId>null</VersionId>"), ["Deleted"]);
});

void test("a form that names the source of a copy copies nothing, so it has none", async (t) => {
  const copying = { Action: "s3:PutObject", Condition: is("s3:x-amz-copy-source", `${bucket}/a b`) };
  const { key } = await userWith(t, copying, { Action: "s3:GetObject" });
  const conditions = [["starts-with", "$key", ""], { bucket }, ["starts-with", "$x-amz-copy-source", ""]];
  const expiration = new Date(Date.now() + 3_600_000).toISOString();
  const policy = Buffer.from(JSON.stringify({ expiration, conditions })).toString("base64");
  const signature = createHmac("sha1", key.secretKey).update(policy).digest("base64");
  const fields = { key: "form", AWSAccessKeyId: key.accessKey, policy, signature };
  const form = new FormData();
  for (const [name, value] of Object.entries({ ...fields, "x-amz-copy-source": `${bucket}/a b` }))
    form.append(name, value);
  form.append("file", new Blob(["x"]), "f");
  assert.equal((await fetch(`${server.origin}/${bucket}`, { method: "POST", body: form })).status, 403);
  await assert.rejects(server.s3.send(new HeadObjectCommand({ Bucket: bucket, Key: "form" })), { name: "NotFound" });
});

/** Commits over several keys as a client sends them: JSON, signed as any request of S3. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { CreateBucketCommand, GetObjectAclCommand, GetObjectCommand, HeadObjectCommand } from "@aws-sdk/client-s3";
import { PutObjectCommand, RenameObjectCommand } from "@aws-sdk/client-s3";
import { S3Client as OwnClient, S3RequestError } from "../../src/client/s3_client.ts";
import { bytesOf, failsWith, pattern, startTestServer, type RawAnswer, type TestServer } from "./server.ts";

const Bucket = "commits";
const large = pattern(200_000);
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
});
after(() => server.close());

const put = async (Key: string, Body: string | Buffer): Promise<string> =>
  (await server.s3.send(new PutObjectCommand({ Bucket, Key, Body }))).ETag!;
const read = async (Key: string): Promise<Buffer> =>
  bytesOf((await server.s3.send(new GetObjectCommand({ Bucket, Key }))).Body);
const head = (Key: string) => server.s3.send(new HeadObjectCommand({ Bucket, Key }));

function commit(document: unknown): Promise<RawAnswer> {
  const body = Buffer.from(typeof document === "string" ? document : JSON.stringify(document));
  return server.raw({ method: "POST", path: `/${Bucket}?holdfast-commit=`, body });
}

type Shown = { key: string; etag?: string; versionId?: string; deleteMarker?: boolean };

async function committed(...entries: object[]): Promise<Shown[]> {
  const answer = await commit({ entries });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.headers["content-type"], "application/json");
  return (JSON.parse(answer.text) as { entries: Shown[] }).entries;
}

/** Refused whole: with this code, for this entry. */
async function refused(code: string, entry: number | undefined, ...entries: object[]): Promise<void> {
  const { text } = await commit({ entries });
  assert.match(text, new RegExp(`<Code>${code}</Code>`));
  assert.equal(/<Entry>(\d+)<\/Entry>/.exec(text)?.[1], entry === undefined ? undefined : String(entry), text);
}

void test("puts, copies, renames and deletes happen at once", async () => {
  await put("staged", large);
  await put("old", "old");
  await put("unwanted", "x");
  const entries = await committed(
    {
      put: "text ä",
      text: "ä",
      headers: { "Content-Type": "text/plain", "x-amz-meta-a": "ä", "x-amz-tagging": "t=v" },
    },
    { put: "bytes", base64: "AAH/" },
    { put: "published", from: { key: "staged" }, headers: { "content-type": "image/x" } },
    { rename: "old", to: "new", toIfNoneMatch: "*" },
    { delete: "unwanted" },
    { check: "nothing", ifNoneMatch: "*" },
  );
  const { ETag, ContentType, Metadata, TagCount } = await head("text ä");
  assert.deepEqual([ContentType, Metadata, TagCount], ["text/plain", { a: "Ã¤" }, 1]);
  assert.deepEqual(entries[0], { key: "text ä", etag: ETag?.replaceAll('"', "") });
  assert.deepEqual(entries[4], { key: "unwanted" });
  assert.deepEqual(await read("bytes"), Buffer.of(0, 1, 255));
  assert.ok(large.equals(await read("published")));
  assert.equal((await head("published")).ContentType, "image/x");
  assert.equal(String(await read("new")), "old");
  for (const name of ["old", "unwanted", "nothing"]) await failsWith(head(name), 404, "NotFound");
});

void test("whichever entry fails, nothing happens, and the error names it", async () => {
  await put("kept", "kept");
  const first = { put: "never", text: "x" };
  await refused("PreconditionFailed", 1, first, { put: "kept", text: "y", ifNoneMatch: "*" });
  await refused("PreconditionFailed", 1, first, { delete: "kept", ifMatch: "0".repeat(32) });
  await refused("NoSuchKey", 1, first, { check: "missing", ifMatch: "*" });
  await refused("NoSuchKey", 2, first, { delete: "kept" }, { rename: "missing", to: "x" });
  await refused("NoSuchVersion", 1, first, { put: "y", from: { key: "kept", versionId: "A".repeat(30) } });
  await refused("InvalidRequest", 1, first, { delete: "never" });
  await refused("EntityTooLarge", 1, first, { put: "large", text: "x".repeat(20_000) });
  await failsWith(head("never"), 404, "NotFound");
  assert.equal(String(await read("kept")), "kept");
});

void test("what is not understood is refused", async () => {
  const wrong = [
    { put: "x" },
    { put: "x", text: "x", base64: "eA==" },
    { put: "x", text: 1 },
    { put: "x", text: "\ud800" },
    { put: "x", base64: "x" },
    { put: "", text: "x" },
    { put: "x", text: "x", ifmatch: "x" },
    { put: "x", text: "x", headers: { host: "x" } },
    { put: "x", text: "x", headers: { "x-amz-meta-a": 1 } },
    { put: "x", from: "y" },
    { check: "x" },
    { rename: "x" },
    { move: "x" },
    ["put"],
    null,
  ];
  for (const entry of wrong) await refused("InvalidRequest", 1, { put: "ok", text: "" }, entry as object);
  await refused(
    "InvalidArgument",
    1,
    { put: "ok", text: "" },
    { put: "x", text: "", headers: { "x-amz-meta-a": "\n" } },
  );
  for (const document of ["{", "[]", "null", "{}", '{"entries":[]}', '{"entries":[],"more":1}'])
    assert.match((await commit(document)).text, /<Code>InvalidRequest</, document);
  await failsWith(head("ok"), 404, "NotFound");
});

/** A user's clients: of AWS, and one that sends commits. */
async function userWith(statements: object[]): Promise<Clients> {
  const { directory } = server.identity;
  const { account } = await directory.ownAccount();
  const name = `user-${(users += 1)}`;
  await directory.createUser({ account, name });
  const Statement = statements.map((statement) => ({ Effect: "Allow", ...statement }));
  const document = JSON.stringify({ Version: "2012-10-17", Statement });
  await directory.putInlinePolicy({ kind: "user", account, name }, { name: "own", document });
  return clientsOf(await server.identity.create({ owner: { kind: "user", account, user: name } }));
}

type Clients = { readonly s3: TestServer["s3"]; readonly own: OwnClient };

function clientsOf({ accessKey, secretKey }: { readonly accessKey: string; readonly secretKey: string }): Clients {
  const own = new OwnClient({ endpoint: new URL(server.origin), region: "us-east-1", accessKey, secretKey });
  const credentials = { accessKeyId: accessKey, secretAccessKey: secretKey };
  return { s3: server.client({ credentials }), own };
}
let users = 0;

const isDenied = (error: unknown): boolean => error instanceof S3RequestError && error.code === "AccessDenied";
const on = (name: string): string => `arn:aws:s3:::${Bucket}/${name}`;

void test("every entry needs what its parts need by themselves", async (t) => {
  const { s3, own } = await userWith([
    { Action: ["s3:PutObject", "s3:GetObject"], Resource: on("mine/*") },
    { Action: "s3:DeleteObject", Resource: on("mine/*") },
    { Action: "s3:GetObject", Resource: on("shown/*") },
  ]);
  t.after(() => own.close());
  for (const name of ["mine/a", "mine/b", "shown/a", "theirs/a"]) await put(name, name);
  const send = (...entries: object[]) =>
    own.run({
      method: "POST",
      bucket: Bucket,
      query: { "holdfast-commit": "" },
      body: Buffer.from(JSON.stringify({ entries })),
    });
  const mine = { put: "mine/new", text: "x" };
  const deniedEntries = [
    { put: "theirs/a", text: "x" },
    { put: "mine/copy", from: { key: "theirs/a" } },
    { put: "mine/tagged", text: "x", headers: { "x-amz-tagging": "a=b" } },
    { delete: "theirs/a" },
    { delete: "mine/a", versionId: "null" },
    { rename: "shown/a", to: "mine/x" },
    { rename: "mine/a", to: "theirs/x" },
    { check: "theirs/a", ifMatch: "*" },
    // Nobody is told what is not in a bucket that they may not list.
    { check: "mine/missing", ifMatch: "*" },
  ];
  for (const entry of deniedEntries)
    await assert.rejects(
      send(mine, entry),
      (error) => error instanceof S3RequestError && error.code === "AccessDenied",
    );
  await failsWith(head("mine/new"), 404, "NotFound");
  await send(
    mine,
    { put: "mine/copy", from: { key: "shown/a" } },
    { rename: "mine/a", to: "mine/c" },
    { delete: "mine/b" },
  );
  const rename = (Key: string, from: string) =>
    s3.send(new RenameObjectCommand({ Bucket, Key, RenameSource: `${Bucket}/${from}` }));
  await rename("mine/d", "mine/c");
  await failsWith(rename("mine/d", "shown/a"), 403, "AccessDenied");
  await failsWith(rename("theirs/d", "mine/d"), 403, "AccessDenied");
});

void test("a prefix is renamed by whoever may list, and may rename each of its keys", async (t) => {
  const whole = ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"];
  const listing = { Action: "s3:ListBucket", Resource: `arn:aws:s3:::${Bucket}` };
  const { own } = await userWith([{ Action: whole, Resource: [on("p/*"), on("q/*")] }, listing]);
  const { own: blind } = await userWith([{ Action: whole, Resource: on("*") }]);
  t.after(() => [own, blind].forEach((client) => client.close()));
  for (const name of ["p/a", "p/b", "r/a"]) await put(name, name);
  const rename = (client: OwnClient, from: string, key: string) => {
    const headers = { "x-amz-rename-source": from, "x-holdfast-rename-prefix": "true" };
    return client.run({ method: "PUT", bucket: Bucket, key, query: { renameObject: "" }, headers });
  };
  await assert.rejects(rename(blind, "p/", "q/"), isDenied);
  await assert.rejects(rename(own, "p/", "r/"), isDenied);
  await assert.rejects(rename(own, "r/", "q/"), isDenied);
  assert.equal((await rename(own, "p/", "q/"))["x-holdfast-renamed"], "2");
});

const entriesBy = (own: OwnClient, bucket: string, ...entries: object[]) => {
  const body = Buffer.from(JSON.stringify({ entries }));
  return own.run({ method: "POST", bucket, query: { "holdfast-commit": "" }, body });
};
void test("what another account owns is read, renamed and checked by whom it lets, and stays that account's", async (t) => {
  const shared = "commits-shared";
  await server.s3.send(new CreateBucketCommand({ Bucket: shared, ACL: "public-read-write" }));
  const { account, canonicalId } = await server.identity.directory.createAccount("other");
  const other = clientsOf(await server.identity.create({ owner: { kind: "account", account } }));
  const user = await userWith([{ Action: "s3:*", Resource: [`arn:aws:s3:::${shared}`, `arn:aws:s3:::${shared}/*`] }]);
  t.after(() => [other, user].forEach(({ own }) => own.close()));
  const ownerOf = async (Key: string) =>
    (await server.s3.send(new GetObjectAclCommand({ Bucket: shared, Key }))).Owner?.ID;
  await entriesBy(other.own, shared, { put: "theirs", text: "x" }, { put: "more", text: "x" });
  await other.s3.send(new PutObjectCommand({ Bucket: shared, Key: "shown", Body: "x", ACL: "public-read" }));
  const fine = { put: "fine", text: "x" };
  for (const entry of [
    { rename: "theirs", to: "mine" },
    { put: "mine", from: { key: "theirs" } },
    { check: "theirs", ifMatch: "*" },
  ])
    await assert.rejects(entriesBy(user.own, shared, fine, entry), isDenied);
  const renameBy = ({ s3 }: Clients, from: string, Key: string) =>
    s3.send(new RenameObjectCommand({ Bucket: shared, Key, RenameSource: from, ClientToken: "t" }));
  await failsWith(renameBy(user, "theirs", "mine"), 403, "AccessDenied");
  const headers = { "x-amz-rename-source": "th", "x-holdfast-rename-prefix": "true" };
  const prefix = { method: "PUT", bucket: shared, key: "my", query: { renameObject: "" }, headers } as const;
  await assert.rejects(user.own.run(prefix), isDenied);
  // Done already, it is judged by what stands there.
  for (let times = 0; times < 2; times++) await renameBy(other, "theirs", "moved");
  await failsWith(renameBy(user, "theirs", "moved"), 403, "AccessDenied");
  await entriesBy(user.own, shared, { rename: "shown", to: "seen" }, { put: "copied", from: { key: "shown" } }, fine);
  const ownId = await ownerOf("fine");
  assert.notEqual(ownId, canonicalId);
  assert.deepEqual(await Promise.all(["moved", "more", "seen", "copied"].map(ownerOf)), [
    canonicalId,
    canonicalId,
    canonicalId,
    ownId,
  ]);
  assert.deepEqual(
    await Promise.all(
      ["seen", "copied", "moved"].map(async (key) => (await fetch(`${server.origin}/${shared}/${key}`)).status),
    ),
    [200, 403, 403],
  );
  await entriesBy(user.own, shared, { delete: "more" });
});

void test("a copy in a commit that takes its source's tags needs to read them, and to give them", async (t) => {
  const headers = { "x-amz-tagging": "kind=secret" };
  await committed({ put: "c/tagged", text: "x", headers }, { put: "c/plain", text: "x" });
  const all = on("c/*");
  const plain = await userWith([{ Action: ["s3:GetObject", "s3:PutObject"], Resource: all }]);
  const tagging = ["s3:GetObjectTagging", "s3:PutObjectTagging"];
  const full = await userWith([{ Action: ["s3:GetObject", "s3:PutObject", ...tagging], Resource: all }]);
  t.after(() => [plain, full].forEach(({ own }) => own.close()));
  const copy = (key: string) => ({ put: "c/copy", from: { key } });
  await entriesBy(plain.own, Bucket, copy("c/plain"));
  await assert.rejects(entriesBy(plain.own, Bucket, copy("c/tagged")), isDenied);
  await entriesBy(full.own, Bucket, copy("c/tagged"));
});

void test("that a key is not there is told to whoever may list it, and tags that are given count", async (t) => {
  const listing = { Action: "s3:ListBucket", Resource: `arn:aws:s3:::${Bucket}` };
  const writing = { Action: ["s3:GetObject", "s3:PutObject", "s3:PutObjectTagging"], Resource: on("l/*") };
  const secret = { StringEquals: { "s3:RequestObjectTag/kind": "secret" } };
  const seeing = await userWith([writing, listing]);
  const blind = await userWith([writing, { ...writing, Effect: "Deny", Condition: secret }]);
  t.after(() => [seeing, blind].forEach(({ own }) => own.close()));
  const absent = { check: "l/none", ifNoneMatch: "*" };
  await entriesBy(seeing.own, Bucket, absent);
  await assert.rejects(entriesBy(blind.own, Bucket, absent), isDenied);
  const tagged = (kind: string) => ({ put: "l/t", text: "x", headers: { "x-amz-tagging": `kind=${kind}` } });
  await entriesBy(blind.own, Bucket, tagged("open"));
  await assert.rejects(entriesBy(blind.own, Bucket, tagged("secret")), isDenied);
});

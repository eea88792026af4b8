/** Server-side encryption of a whole server on drives: what lies there, restarts with other master keys, the operator's calls. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import {
  CreateBucketCommand,
  GetObjectCommand,
  PutBucketEncryptionCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { createServer, type HoldfastServer } from "../../src/index.ts";
import { basic, temporaryFolder } from "./harness.ts";

const Bucket = "vault";
const word = "the-word-that-nobody-may-read";
const credentials = { accessKey: "ROOTKEYOFTHESTORE000", secretKey: "the-secret-of-the-root-key-0123456789abcd" };

function keyFile(folder: string, name: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, randomBytes(32).toString("base64"), { mode: 0o600 });
  return file;
}

function clientOf({ url }: HoldfastServer): S3Client {
  return new S3Client({
    endpoint: url,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: { accessKeyId: credentials.accessKey, secretAccessKey: credentials.secretKey },
  });
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true })
    .map((name) => path.join(folder, String(name)))
    .filter((file) => statSync(file).isFile());
}

const holding = (folder: string, text: string): string[] =>
  filesBelow(folder).filter((file) => readFileSync(file).includes(text));

const bodies = { small: `${word}!`, large: word.repeat(3_000), noise: `${randomBytes(30_000).toString("hex")}${word}` };

async function write(server: HoldfastServer, extra: object, prefix: string): Promise<void> {
  const s3 = clientOf(server);
  for (const [name, Body] of Object.entries(bodies))
    await s3.send(new PutObjectCommand({ Bucket, Key: prefix + name, Body, ...extra }));
  s3.destroy();
}

async function check(server: HoldfastServer, prefix: string): Promise<void> {
  const s3 = clientOf(server);
  for (const [name, body] of Object.entries(bodies)) {
    const found = await s3.send(new GetObjectCommand({ Bucket, Key: prefix + name }));
    assert.equal(await found.Body?.transformToString(), body);
  }
  s3.destroy();
}

test("segments and metadata hold no word of what is encrypted, and a master key is replaced in two starts", async (t) => {
  const folder = temporaryFolder(t);
  const drive = path.join(folder, "drive");
  const [old, next] = [keyFile(folder, "old.key"), keyFile(folder, "next.key")];
  const start = (...encryptionKeyFile: string[]): Promise<HoldfastServer> =>
    createServer({ drives: [drive], credentials, encryptionKeyFile });
  const within = async (keys: readonly string[], use: (server: HoldfastServer) => Promise<void>): Promise<void> => {
    const server = await start(...keys);
    try {
      await use(server);
    } finally {
      await server.close();
    }
  };
  await within([old], async (server) => {
    const s3 = clientOf(server);
    await s3.send(new CreateBucketCommand({ Bucket }));
    s3.destroy();
    await write(server, { ServerSideEncryption: "AES256" }, "s3-");
    await write(server, { ServerSideEncryption: "aws:kms" }, "kms-");
  });
  assert.deepEqual(holding(drive, word), []);
  await assert.rejects(start(next), /sealed by another master key/);
  for (const keys of [[next, old], [next]])
    await within(keys, async (server) => {
      for (const prefix of ["s3-", "kms-"]) await check(server, prefix);
    });
  await assert.rejects(start(old), /sealed by another master key/);
  for (const file of [old, next])
    assert.deepEqual(holding(drive, Buffer.from(readFileSync(file, "utf8"), "base64").toString("latin1")), []);
  // The search finds what is there.
  await within([next], (server) => write(server, {}, "plain-"));
  assert.notDeepEqual(holding(drive, word), []);
});

test("files of the plain file API are encrypted as their bucket says, and read as before", async (t) => {
  const folder = temporaryFolder(t);
  const drive = path.join(folder, "drive");
  const encryptionKeyFile = keyFile(folder, "master.key");
  const server = await createServer({ drives: [drive], credentials, encryptionKeyFile });
  t.after(() => server.close());
  const s3 = clientOf(server);
  await s3.send(new CreateBucketCommand({ Bucket: "files" }));
  const Rules = [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" as const } }];
  await s3.send(new PutBucketEncryptionCommand({ Bucket: "files", ServerSideEncryptionConfiguration: { Rules } }));
  s3.destroy();
  const headers = basic(credentials.accessKey, credentials.secretKey);
  for (const [name, body] of Object.entries(bodies)) {
    const sent = await fetch(`${server.url}/_/files?name=${name}`, { method: "PUT", headers, body });
    const { id } = (await sent.json()) as { id: string };
    const found = await fetch(`${server.url}/_/files/${id}`, { headers });
    assert.deepEqual([sent.status, await found.text()], [201, body]);
  }
  assert.deepEqual(holding(drive, word), []);
});

test("encryption keys are made, listed and rotated with the root key, and never shown", async (t) => {
  const file = keyFile(temporaryFolder(t), "master.key");
  const server = await createServer({ memory: true, credentials, encryptionKeyFile: file });
  t.after(() => server.close());
  const headers = basic(credentials.accessKey, credentials.secretKey);
  const at = `${server.url}/_/admin/encryption-keys`;
  const made = await fetch(at, { method: "POST", headers, body: JSON.stringify({ id: "blue" }) });
  assert.equal(made.status, 201);
  const { id, version } = (await made.json()) as { id: string; version: number };
  assert.deepEqual([id, version], ["blue", 1]);
  assert.equal((await fetch(at, { method: "POST", headers, body: JSON.stringify({ id: "blue" }) })).status, 409);
  assert.equal((await fetch(at, { method: "POST", headers, body: JSON.stringify({ id: "a/b" }) })).status, 400);
  assert.equal((await fetch(at, { method: "POST", headers, body: "{}" })).status, 400);
  assert.equal((await fetch(`${at}/blue/rotate`, { method: "POST", headers })).status, 200);
  assert.equal((await fetch(`${at}/none/rotate`, { method: "POST", headers })).status, 404);
  const listed = (await (await fetch(at, { headers })).json()) as { keys: Record<string, unknown>[]; next: null };
  assert.deepEqual(
    listed.keys.map((key) => [key["id"], key["version"]]),
    [
      ["blue", 2],
      ["default", 1],
      ["sse-s3", 1],
    ],
  );
  assert.deepEqual(Object.keys(listed.keys[0]!), ["id", "version", "createdAt", "rotatedAt"]);
  // Another key than the root's may not even look.
  const other = (await (await fetch(`${server.url}/_/admin/keys`, { method: "POST", headers, body: "{}" })).json()) as {
    accessKey: string;
    secretKey: string;
  };
  const theirs = basic(other.accessKey, other.secretKey);
  for (const [method, url] of [
    ["GET", at],
    ["POST", at],
    ["POST", `${at}/blue/rotate`],
  ] as const)
    assert.equal((await fetch(url, { method, headers: theirs })).status, 403);
  assert.equal((await fetch(at)).status, 401);
});

test("a file of keys that is missing or open to others is refused before anything is made", async (t) => {
  const folder = temporaryFolder(t);
  const drive = path.join(folder, "drive");
  const open = path.join(folder, "open.key");
  writeFileSync(open, randomBytes(32), { mode: 0o644 });
  for (const file of [open, path.join(folder, "none")])
    await assert.rejects(createServer({ drives: [drive], encryptionKeyFile: file }), /encryption key file/);
  assert.deepEqual(readdirSync(folder), ["open.key"]);
  const bare = await createServer({ memory: true, credentials });
  t.after(() => bare.close());
  const headers = basic(credentials.accessKey, credentials.secretKey);
  const answer = await fetch(`${bare.url}/_/admin/encryption-keys`, { headers });
  assert.equal(answer.status, 400);
  assert.match(await answer.text(), /--encryption-key-file/);
});

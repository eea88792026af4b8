/**
 * Whole servers with an outside service of keys: their settings and files, TLS, restarts, the operator's commands; and the same against
 * a real Vault or OpenBao where one is on PATH.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { claimPort } from "../../src/core/ports.fixture.ts";
import { createServer, type CreateServerOptions, type HoldfastServer } from "../../src/index.ts";
import { TransitServer } from "../../src/keyring/transit.fixture.ts";
import { testMsMax } from "../bounds.ts";
import { environmentFor, runCli } from "../cli/cli.fixture.ts";
import { startServer, temporaryFolder, until } from "./harness.ts";

const Bucket = "office";
const timeout = testMsMax;
const credentials = { accessKey: "ROOTKEYOFTHESTORE000", secretKey: "the-secret-of-the-root-key-0123456789abcd" };
const word = "the-word-that-nobody-may-read";
const blue = { ServerSideEncryption: "aws:kms", SSEKMSKeyId: "vault:blue" } as const;

type Login = { readonly url: string; readonly accessKey: string; readonly secretKey: string };

async function withS3<T>({ url, accessKey, secretKey }: Login, use: (s3: S3Client) => Promise<T>): Promise<T> {
  const s3 = new S3Client({
    endpoint: url,
    region: "us-east-1",
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
  });
  try {
    return await use(s3);
  } finally {
    s3.destroy();
  }
}

const makeBucket = (server: Login): Promise<unknown> =>
  withS3(server, (s3) => s3.send(new CreateBucketCommand({ Bucket })));
const put = (server: Login, Key: string, Body: string, extra: object): Promise<unknown> =>
  withS3(server, (s3) => s3.send(new PutObjectCommand({ Bucket, Key, Body, ...extra })));
const get = (server: Login, Key: string): Promise<string | undefined> =>
  withS3(server, async (s3) => (await s3.send(new GetObjectCommand({ Bucket, Key }))).Body?.transformToString());

const isRefused = (status: number, name: string) => (error: unknown) => {
  const { $metadata, name: said } = error as { $metadata?: { httpStatusCode?: number }; name: string };
  assert.deepEqual([$metadata?.httpStatusCode, said], [status, name]);
  return true;
};

function tokenFile(folder: string, token: string): string {
  const file = path.join(folder, "vault.token");
  // As Vault's agent does it: the whole file is there at once.
  writeFileSync(`${file}.new`, `${token}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
  return file;
}

async function start(t: TestContext, options: CreateServerOptions): Promise<HoldfastServer> {
  const server = await createServer({ credentials, ...options });
  t.after(() => server.close());
  return server;
}

async function transitServer(t: TestContext, options: Parameters<typeof TransitServer.start>[0] = {}) {
  const transit = await TransitServer.start(options);
  t.after(() => transit.stop());
  transit.make("blue");
  return transit;
}

const kmsOf = ({ origin, mount }: TransitServer): string => `vault+${origin}/${mount}`;

function certificate(folder: string): { readonly cert: Buffer; readonly key: Buffer; readonly file: string } {
  const [key, file] = [path.join(folder, "key.pem"), path.join(folder, "cert.pem")];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=vault"];
  const names = ["-addext", "subjectAltName=IP:127.0.0.1"];
  execFileSync("openssl", ["req", "-x509", ...kind, ...names, "-keyout", key, "-out", file], { stdio: "ignore" });
  return { cert: readFileSync(file), key: readFileSync(key), file };
}

test("what was stored is read after a restart, no drive has a word of it, and without the service it is refused", async (t) => {
  const folder = temporaryFolder(t);
  const drive = path.join(folder, "drive");
  const transit = await transitServer(t);
  const kmsTokenFile = tokenFile(folder, "root-token");
  const options = { drives: [drive], credentials, kms: kmsOf(transit), kmsTokenFile, kmsS3Key: "vault:blue" };
  const large = word.repeat(3_000);
  const first = await createServer(options);
  await makeBucket(first);
  await put(first, "small", word, blue);
  await put(first, "large", large, blue);
  await put(first, "s3", word, { ServerSideEncryption: "AES256" });
  // There is no key of the store's own.
  await assert.rejects(put(first, "k", word, { ServerSideEncryption: "aws:kms" }), isRefused(501, "NotImplemented"));
  await first.close();
  const files = readdirSync(drive, { recursive: true }).map((name) => path.join(drive, String(name)));
  const holding = files.filter((file) => statSync(file).isFile() && readFileSync(file).includes(word));
  assert.deepEqual(holding, []);
  const second = await createServer(options);
  assert.deepEqual(
    [await get(second, "small"), await get(second, "large"), await get(second, "s3")],
    [word, large, word],
  );
  await second.close();
  const without = await createServer({ drives: [drive], credentials });
  await assert.rejects(get(without, "small"), isRefused(501, "NotImplemented"));
  await without.close();
});

test("over TLS the service's authority is checked", async (t) => {
  const folder = temporaryFolder(t);
  const tls = certificate(folder);
  const transit = await transitServer(t, { tls, namespace: "team", mount: "a/transit" });
  const kms = `${kmsOf(transit)}?namespace=team`;
  const common = { memory: true, kms, kmsTokenFile: tokenFile(folder, "root-token") };
  const trusting = await start(t, { ...common, kmsCaFile: tls.file });
  await makeBucket(trusting);
  await put(trusting, "k", word, blue);
  assert.equal(await get(trusting, "k"), word);
  const wary = await start(t, common);
  await makeBucket(wary);
  const asked = transit.asked.length;
  await assert.rejects(put(wary, "k", word, blue), isRefused(503, "ServiceUnavailable"));
  assert.equal(transit.asked.length, asked, "nothing was sent to whom nobody vouches for");
});

test("a token that is replaced in its file is taken without a restart; one that cannot be read leaves the old one", async (t) => {
  const folder = temporaryFolder(t);
  const transit = await transitServer(t);
  const file = tokenFile(folder, "root-token");
  const server = await start(t, { memory: true, kms: kmsOf(transit), kmsTokenFile: file, kmsCacheSeconds: 0 });
  await makeBucket(server);
  await put(server, "k", word, blue);
  transit.tokens.delete("root-token");
  transit.tokens.set("next-token", "use");
  await assert.rejects(get(server, "k"), isRefused(503, "ServiceUnavailable"));
  tokenFile(folder, "next-token");
  assert.equal(await get(server, "k"), word);
  chmodSync(file, 0o644);
  assert.equal(await get(server, "k"), word);
});

test("settings that cannot be are refused before anything is made", async (t) => {
  const folder = temporaryFolder(t);
  const kms = "vault+https://127.0.0.1:1/transit";
  const kmsTokenFile = tokenFile(folder, "root-token");
  const open = path.join(folder, "open");
  writeFileSync(open, "token", { mode: 0o644 });
  const empty = path.join(folder, "empty");
  writeFileSync(empty, "\n", { mode: 0o600 });
  const drives = [path.join(folder, "drive")];
  const refused: [Partial<CreateServerOptions>, RegExp][] = [
    [{ kms }, /kms and kms-token-file go together/],
    [{ kmsTokenFile }, /kms-token-file and kms go together/],
    [{ kmsDefaultKey: "vault:blue" }, /kms-default-key and kms go together/],
    [{ kms: "https://127.0.0.1:1/transit", kmsTokenFile }, /kms must be vault\+https/],
    [{ kms: "vault+http://vault.example/transit", kmsTokenFile }, /kms must be vault\+https/],
    [{ kms, kmsTokenFile: path.join(folder, "none") }, /kms-token-file.*cannot be read/],
    [{ kms, kmsTokenFile: open }, /may be read by others/],
    [{ kms, kmsTokenFile: empty }, /must hold a token/],
    [{ kms, kmsTokenFile, kmsCaFile: path.join(folder, "none") }, /kms-ca.*cannot be read/],
    [{ kms, kmsTokenFile, kmsS3Key: "blue" }, /kms-s3-key must be vault:NAME/],
    [{ kms, kmsTokenFile, kmsCacheSeconds: -1 }, /kms-cache must be a whole number/],
  ];
  for (const [options, expected] of refused) await assert.rejects(createServer({ drives, ...options }), expected);
  assert.deepEqual(readdirSync(folder).toSorted(), ["empty", "open", "vault.token"]);
});

test("holdfast kms makes, lists and rotates keys of the service, and says what it refuses", { timeout }, async (t) => {
  const folder = temporaryFolder(t);
  const transit = await transitServer(t);
  const encryptionKeyFile = path.join(folder, "master.key");
  writeFileSync(encryptionKeyFile, randomBytes(32), { mode: 0o600 });
  const kmsTokenFile = tokenFile(folder, "root-token");
  const server = await start(t, { memory: true, kms: kmsOf(transit), kmsTokenFile, encryptionKeyFile });
  const kms = (...args: string[]) => runCli(["kms", ...args], folder, environmentFor(server));
  assert.match((await kms("create", "vault:green")).output, /encryption key vault:green made/);
  assert.match((await kms("rotate", "vault:green")).output, /vault:green has version 2 now/);
  const ids = (await kms("list")).output.split("\n").flatMap((line) => line.split(/\s+/)[1] ?? []);
  assert.deepEqual(ids, ["default", "sse-s3", "vault:blue", "vault:green"]);
  assert.match((await kms("rotate", "vault:none")).errors, /There is no encryption key "vault:none"/);
  transit.tokens.set("root-token", "use");
  const refused = await kms("create", "vault:red");
  assert.equal(refused.status, 1);
  assert.match(refused.errors, /may not do that with the encryption key "vault:red"/);
});

test("worker processes take the service from flags", { timeout }, async (t) => {
  const folder = temporaryFolder(t);
  const transit = await transitServer(t);
  const args = ["--kms", kmsOf(transit), "--kms-token-file", tokenFile(folder, "root-token")];
  const further = ["--kms-default-key", "vault:blue", "--workers", "1"];
  const server = await startServer(t, [path.join(folder, "drive"), ...args, ...further]);
  const login = { ...server, secretKey: server.secretKey! };
  await makeBucket(login);
  await put(login, "k", word, { ServerSideEncryption: "aws:kms" });
  assert.equal(await get(login, "k"), word);
  assert.deepEqual(transit.asked, ["GET keys/blue", "POST encrypt/blue"]);
  assert.ok(!server.errors().includes("root-token"));
});

// ---- A real one ----

function programOnPath(): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(path.delimiter);
  const named = folders.flatMap((folder) => ["bao", "openbao", "vault"].map((name) => path.join(folder, name)));
  return named.find((file) => {
    try {
      return /^(?:OpenBao|Vault) v/.test(
        execFileSync(file, ["version"], { stdio: ["ignore", "pipe", "ignore"] }).toString(),
      );
    } catch {
      return false;
    }
  });
}

const program = programOnPath();
const skip = program === undefined ? "neither vault nor bao is on PATH: real transit engines were not tested" : false;

test("a real Vault or OpenBao: what is stored, rotations, and its refusals", { skip, timeout }, async (t) => {
  const folder = temporaryFolder(t);
  const origin = `http://127.0.0.1:${await claimPort()}`;
  const listen = `-dev-listen-address=${new URL(origin).host}`;
  const child = spawn(program!, ["server", "-dev", "-dev-root-token-id=root-token", "-dev-no-store-token", listen], {
    stdio: "ignore",
    env: { ...process.env, HOME: folder },
  });
  t.after(() => child.kill("SIGKILL"));
  const ask = (method: string, name: string, body?: object): Promise<Response> => {
    const headers = { "x-vault-token": "root-token" };
    return fetch(`${origin}/v1/${name}`, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  };
  await until(() =>
    ask("GET", "sys/health").then(
      ({ status }) => status === 200,
      () => false,
    ),
  );
  await ask("POST", "sys/mounts/transit", { type: "transit" });
  const kmsTokenFile = tokenFile(folder, "root-token");
  const options = { memory: true, kms: `vault+${origin}/transit`, kmsTokenFile, kmsCacheSeconds: 0 };
  const server = await start(t, options);
  await makeBucket(server);
  const kms = (...args: string[]) => runCli(["kms", ...args], folder, environmentFor(server));
  assert.match((await kms("create", "vault:blue")).output, /vault:blue made/);
  await put(server, "before", word, blue);
  assert.match((await kms("rotate", "vault:blue")).output, /has version 2 now/);
  await put(server, "after", word, blue);
  for (const key of ["before", "after"]) assert.equal(await get(server, key), word);
  assert.match((await kms("list")).output, /vault:blue {2}version 2/);
  await ask("POST", "transit/keys/blue/config", { min_decryption_version: 2 });
  await assert.rejects(get(server, "before"), isRefused(400, "KMS.DisabledException"));
  assert.equal(await get(server, "after"), word);
  const none = { ...blue, SSEKMSKeyId: "vault:none" };
  await assert.rejects(put(server, "none", word, none), isRefused(400, "KMS.NotFoundException"));
  await ask("POST", "transit/keys/blue/config", { deletion_allowed: true });
  await ask("DELETE", "transit/keys/blue");
  await assert.rejects(get(server, "after"), isRefused(400, "KMS.NotFoundException"));
  await ask("POST", "sys/seal", {});
  await assert.rejects(get(server, "after"), isRefused(503, "ServiceUnavailable"));
});

/** The plain file API over a real port, through fetch, raw sockets and curl. */
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { S3Client } from "../../src/client/s3_client.ts";
import { createServer, type HoldfastServer } from "../../src/index.ts";
import { basic, until } from "../server/harness.ts";

type FileJson = { id: string; name: string; size: number; type: string; etag: string; createdAt: string };
type Page = { files: FileJson[]; cursor: string | null };

let server: HoldfastServer;
let auth: Record<string, string>;

before(async () => {
  server = await createServer({ memory: true });
  auth = basic(server.accessKey, server.secretKey);
});
after(() => server.close());

const at = (rest: string): string => `${server.url}/_/files${rest}`;
const call = (rest: string, options: RequestInit = {}): Promise<Response> =>
  fetch(at(rest), { ...options, headers: { ...auth, ...(options.headers as Record<string, string>) } });
const put = async (name: string, body: string | Buffer): Promise<FileJson> => {
  const answer = await call(`?name=${encodeURIComponent(name)}`, { method: "PUT", body });
  assert.equal(answer.status, 201, await answer.clone().text());
  return (await answer.json()) as FileJson;
};
const errorOf = async (answer: Response): Promise<[number, string]> => {
  const { error } = (await answer.json()) as { error: { code: string; message: string } };
  assert.ok(error.message.length > 0);
  return [answer.status, error.code];
};
const listAll = async (): Promise<FileJson[]> => ((await (await call("?limit=1000")).json()) as Page).files;

test("nothing without the right key", async () => {
  const wrong = [{}, basic(server.accessKey, "wrong"), basic("nobody", server.secretKey), { authorization: "Basic" }];
  for (const headers of wrong) {
    const answer = await fetch(at(""), { headers });
    assert.match(answer.headers.get("www-authenticate") ?? "", /^Basic realm=/);
    assert.deepEqual(await errorOf(answer), [401, "unauthorized"]);
  }
});

test("a file goes in and comes out with its name, type and validators", async () => {
  const body = Buffer.alloc(300_000, "abcdefg");
  const answer = await call("?name=r%C3%A9sum%C3%A9%20%E2%82%AC.pdf", {
    method: "POST",
    body,
    headers: { "content-type": "application/pdf" },
  });
  const file = (await answer.json()) as FileJson;
  assert.equal(answer.status, 201);
  assert.equal(answer.headers.get("location"), `/_/files/${file.id}`);
  assert.deepEqual([file.name, file.size, file.type], ["résumé €.pdf", 300_000, "application/pdf"]);
  assert.ok(!Number.isNaN(Date.parse(file.createdAt)));
  const got = await call(`/${file.id}`);
  assert.equal(got.headers.get("content-type"), "application/pdf");
  assert.equal(
    got.headers.get("content-disposition"),
    `attachment; filename="r_sum_ _.pdf"; filename*=UTF-8''r%C3%A9sum%C3%A9%20%E2%82%AC.pdf`,
  );
  assert.equal(got.headers.get("etag"), `"${file.etag}"`);
  assert.deepEqual(Buffer.from(await got.arrayBuffer()), body);
  const head = await call(`/${file.id}`, { method: "HEAD" });
  assert.equal(head.headers.get("content-length"), "300000");
  assert.equal((await head.arrayBuffer()).byteLength, 0);
});

test("ranges and conditions", async () => {
  const { id, etag } = await put("digits", "0123456789");
  const get = (headers: Record<string, string>): Promise<Response> => call(`/${id}`, { headers });
  const part = await get({ range: "bytes=2-4" });
  assert.deepEqual([part.status, part.headers.get("content-range"), await part.text()], [206, "bytes 2-4/10", "234"]);
  assert.equal(await (await get({ range: "bytes=-3" })).text(), "789");
  const beyond = await get({ range: "bytes=10-" });
  assert.equal(beyond.headers.get("content-range"), "bytes */10");
  assert.deepEqual(await errorOf(beyond), [416, "invalid_range"]);
  assert.equal((await get({ "if-none-match": `"${etag}"` })).status, 304);
  assert.deepEqual(await errorOf(await get({ "if-match": '"other"' })), [412, "precondition_failed"]);
  assert.equal(await (await get({ range: "bytes=0-1", "if-range": `"${etag}"` })).text(), "01");
  assert.equal(await (await get({ range: "bytes=0-1", "if-range": '"other"' })).text(), "0123456789");
});

test("chunks say where it lies", async () => {
  const { id } = await put("big", Buffer.alloc(5_000_000, 1));
  const big = (await (await call(`/${id}/chunks`)).json()) as {
    inline: boolean;
    chunks: { sizeBytes: number; places: [] }[];
  };
  assert.equal(big.inline, false);
  assert.equal(
    big.chunks.reduce((sum, chunk) => sum + chunk.sizeBytes, 0),
    5_000_000,
  );
  assert.ok(big.chunks.every((chunk) => chunk.places.length > 0));
  const small = await put("small", "x");
  const inline = (await (await call(`/${small.id}/chunks`)).json()) as { inline: boolean; chunks: [] };
  assert.deepEqual([inline.inline, inline.chunks], [true, []]);
});

test("DELETE, and then it is gone", async () => {
  const { id } = await put("gone", "x");
  assert.equal((await call(`/${id}`, { method: "DELETE" })).status, 204);
  assert.deepEqual(await errorOf(await call(`/${id}`)), [404, "no_such_key"]);
  assert.deepEqual(await errorOf(await call(`/${id}`, { method: "DELETE" })), [404, "no_such_key"]);
  assert.deepEqual(await errorOf(await call(`/${"0".repeat(32)}/chunks`)), [404, "no_such_key"]);
});

test("listing pages in the order of upload, by cursor", async () => {
  const put3 = [await put("l1", "1"), await put("l2", "22"), await put("l3", "333")];
  const seen: FileJson[] = [];
  let cursor: string | null = "";
  while (cursor !== null) {
    const page = (await (await call(`?limit=2&cursor=${cursor}`)).json()) as Page;
    assert.ok(page.files.length <= 2);
    seen.push(...page.files);
    cursor = page.cursor;
  }
  assert.deepEqual(seen, await listAll());
  assert.deepEqual(seen.slice(-3), put3);
  for (const bad of ["?limit=0", "?limit=1001", "?limit=x", "?cursor=!!"]) {
    assert.deepEqual(await errorOf(await call(bad)), [400, "invalid_argument"]);
  }
});

test("a form of one file answers an object, one of several an array", async () => {
  const one = new FormData();
  one.append("note", "a field that is no file");
  one.append("file", new Blob(["hello"], { type: "text/plain" }), "C:\\fakepath\\grüße.txt");
  const answer = await call("", { method: "POST", body: one });
  const file = (await answer.json()) as FileJson;
  assert.deepEqual([answer.status, file.name, file.type, file.size], [201, "grüße.txt", "text/plain", 5]);
  const several = new FormData();
  several.append("a", new Blob([Buffer.alloc(2_000_000, 1)]), "a.bin");
  several.append("empty", new Blob([]), "");
  several.append("b", new Blob(["b"]), "b.bin");
  const files = (await (await call("", { method: "POST", body: several })).json()) as FileJson[];
  assert.deepEqual(
    files.map(({ name, size }) => [name, size]),
    [
      ["a.bin", 2_000_000],
      ["b.bin", 1],
    ],
  );
  const none = new FormData();
  none.append("x", "y");
  assert.deepEqual(await errorOf(await call("", { method: "POST", body: none })), [400, "invalid_argument"]);
});

test("a form that breaks off leaves none of its files", async () => {
  const before = (await listAll()).length;
  const part = (name: string, body: string): string =>
    `--xx\r\nContent-Disposition: form-data; name="f"; filename="${name}"\r\n\r\n${body}`;
  const headers = { "content-type": "multipart/form-data; boundary=xx" };
  const body = `${part("whole", "1234")}\r\n${part("half", "12")}`;
  assert.deepEqual(await errorOf(await call("", { method: "POST", headers, body })), [400, "incomplete_body"]);
  const noBoundary = { "content-type": "multipart/form-data" };
  assert.deepEqual(await errorOf(await call("", { method: "POST", headers: noBoundary, body })), [
    400,
    "incomplete_body",
  ]);
  assert.equal((await listAll()).length, before);
});

test("a client that leaves in the middle leaves nothing", async () => {
  const before = (await listAll()).length;
  const socket = connect(server.port, "127.0.0.1");
  const head = `PUT /_/files?name=torn HTTP/1.1\r\nHost: x\r\nAuthorization: ${auth["authorization"]}\r\n`;
  socket.write(`${head}Content-Length: 1000000\r\n\r\n${"x".repeat(300_000)}`);
  await new Promise((resolve) => setTimeout(resolve, 50));
  socket.destroy();
  await new Promise((resolve) => socket.once("close", resolve));
  await put("after", "x");
  assert.equal((await listAll()).length, before + 1);
});

test("Content-MD5 is held to", async () => {
  const headers = { "content-md5": Buffer.alloc(16).toString("base64") };
  const before = (await listAll()).length;
  assert.deepEqual(await errorOf(await call("?name=x", { method: "PUT", body: "hello", headers })), [
    400,
    "bad_digest",
  ]);
  assert.equal((await listAll()).length, before);
});

test("addresses and methods that are not there", async () => {
  const answer = await call("", { method: "PATCH" });
  assert.equal(answer.headers.get("allow"), "GET, HEAD, POST, PUT");
  assert.deepEqual(await errorOf(answer), [405, "method_not_allowed"]);
  assert.deepEqual(await errorOf(await call("/a/b")), [404, "no_such_address"]);
  assert.deepEqual(await errorOf(await fetch(`${server.url}/_/nothing`)), [404, "no_such_address"]);
  assert.deepEqual(await errorOf(await call("/%zz")), [400, "invalid_address"]);
  assert.deepEqual(await errorOf(await call(`/${"a".repeat(2_000)}`)), [404, "no_such_key"]);
});

test("keys: made and removed by the root only, and refused from then on", async () => {
  const admin = (rest: string, options: RequestInit): Promise<Response> =>
    fetch(`${server.url}/_/admin/${rest}`, options);
  const made = await admin("keys", { method: "POST", headers: auth, body: '{"description": "ci"}' });
  assert.equal(made.status, 201);
  const key = (await made.json()) as { accessKey: string; secretKey: string };
  const headers = basic(key.accessKey, key.secretKey);
  assert.equal((await fetch(at(""), { headers })).status, 200);
  assert.deepEqual(await errorOf(await admin("keys", { headers })), [403, "access_denied"]);
  const listed = (await (await admin("keys", { headers: auth })).json()) as { keys: { accessKey: string }[] };
  assert.deepEqual(
    listed.keys.map(({ accessKey }) => accessKey),
    [key.accessKey],
  );
  assert.equal((await admin(`keys/${key.accessKey}`, { method: "DELETE", headers: auth })).status, 204);
  assert.deepEqual(await errorOf(await fetch(at(""), { headers })), [401, "unauthorized"]);
  for (const body of ["{", "[]", '{"x": 1}', '{"secretKey": "short"}', '{"accessKey": 1}']) {
    assert.deepEqual(await errorOf(await admin("keys", { method: "POST", headers: auth, body })), [
      400,
      "invalid_argument",
    ]);
  }
});

test("curl, as the documentation says it", async (t) => {
  try {
    execFileSync("curl", ["--version"], { stdio: "ignore" });
  } catch {
    t.skip("curl is not there, so its lines were not tried");
    return;
  }
  const credentials = `${server.accessKey}:${server.secretKey}`;
  const run = async (...args: string[]): Promise<string> =>
    (await promisify(execFile)("curl", ["-sS", "-u", credentials, ...args])).stdout;
  const form = JSON.parse(await run("-F", "file=@package.json", at(""))) as FileJson;
  assert.equal(form.name, "package.json");
  const raw = JSON.parse(await run("-T", "package-lock.json", at("?name=lock.json"))) as FileJson;
  assert.equal(raw.name, "lock.json");
  assert.equal((await run(at(`/${raw.id}`))).length, raw.size);
  assert.equal(await run("-X", "DELETE", "-w", "%{http_code}", at(`/${raw.id}`)), "204");
});

test("two servers in one process know nothing of each other", async () => {
  const other = await createServer({ memory: true, filesBucket: "stuff" });
  try {
    assert.notEqual(other.url, server.url);
    assert.equal((await fetch(`${other.url}/_/files`, { headers: auth })).status, 401);
    const headers = basic(other.accessKey, other.secretKey);
    assert.deepEqual(await (await fetch(`${other.url}/_/files`, { headers })).json(), { files: [], cursor: null });
  } finally {
    await other.close();
    await other.close();
  }
  await assert.rejects(fetch(other.url));
  await until(async () => (await fetch(`${server.url}/_/health/ready`)).status === 200);
});

test("HEAD of a listing, and of where a file lies, is a GET without its body", async () => {
  const { id } = await put("headed", "x".repeat(100_000));
  for (const rest of ["", "?limit=1", `/${id}/chunks`]) {
    const answer = await call(rest, { method: "HEAD" });
    assert.deepEqual([answer.status, await answer.text()], [200, ""], rest);
    assert.match(answer.headers.get("content-type") ?? "", /^application\/json/);
  }
  const refused = await call("", { method: "DELETE" });
  assert.equal(refused.headers.get("allow"), "GET, HEAD, POST, PUT");
});

test("an object of S3's below a key like an id is found by its whole key only, and hides no file", async () => {
  const { url, accessKey, secretKey, region } = server;
  const client = new S3Client({ endpoint: new URL(url), accessKey, secretKey, region });
  const { id } = await put("photo.jpg", "mine");
  for (const key of [`${id}/a/below`, `${"d".repeat(32)}/a/b`]) {
    await client.run({ method: "PUT", bucket: "files", key, body: Buffer.from(key) });
    assert.equal(await (await call(`/${encodeURIComponent(key)}`)).text(), key);
  }
  assert.equal(await (await call(`/${id}`)).text(), "mine");
  assert.equal((await call(`/${"d".repeat(32)}`)).status, 404);
  assert.equal((await call(`/${"d".repeat(32)}`, { method: "DELETE" })).status, 404);
  client.close();
});

test("an object that is encrypted with a client's key is listed like any other", async () => {
  const { url, accessKey, secretKey, region } = server;
  const client = new S3Client({ endpoint: new URL(url), accessKey, secretKey, region });
  const secret = Buffer.alloc(32, "k");
  const own = "x-amz-server-side-encryption-customer-";
  const headers = {
    [`${own}algorithm`]: "AES256",
    [`${own}key`]: secret.toString("base64"),
    [`${own}key-md5`]: createHash("md5").update(secret).digest("base64"),
  };
  await put("not sealed", "x");
  await client.run({ method: "PUT", bucket: "files", key: "sealed", body: Buffer.from("secret"), headers });
  assert.deepEqual(
    (await listAll()).filter(({ id }) => id === "sealed").map(({ size }) => size),
    [6],
  );
  await client.run({ method: "DELETE", bucket: "files", key: "sealed" });
  client.close();
});

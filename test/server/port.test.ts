/** The port under strange clients: what is malformed, too large, silent or too early gets a short answer, and others go on. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createServer, HoldfastError, type HoldfastServer } from "../../src/index.ts";
import { basic } from "./harness.ts";
import { talk as talkTo } from "./wire.ts";

let server: HoldfastServer;

before(async () => {
  server = await createServer({ memory: true, domain: ["s3.test"] });
});
after(() => server.close());

const talk = (text: string): Promise<string> => talkTo(server.port, text);

test("malformed requests get a status and the connection's end", async () => {
  const live = "GET /_/health/live HTTP/1.1\r\n";
  assert.match(await talk("NONSENSE\r\n\r\n"), /^HTTP\/1\.1 400 /);
  assert.match(await talk(`${live}\r\n`), /^HTTP\/1\.1 400 /, "no Host header");
  assert.match(await talk(`${live}Host: x\r\nX: ${"a".repeat(60_000)}\r\n\r\n`), /^HTTP\/1\.1 431 /);
  const both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n";
  assert.match(await talk(`POST /_/files HTTP/1.1\r\nHost: x\r\n${both}\r\nabc`), /^HTTP\/1\.1 400 /);
  assert.match(await talk(`${live}Host: x\r\nConnection: close\r\n\r\n`), /^HTTP\/1\.1 200 /);
});

test("an upload that is refused is refused before its bytes travel", async () => {
  const head = "PUT /_/files?name=x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n";
  const heard = await talk(`${head}Connection: close\r\n\r\n`);
  assert.match(heard, /^HTTP\/1\.1 401 /);
  assert.ok(!heard.includes("100 Continue"));
});

test("an address in absolute form takes the same door", async () => {
  const heard = await talk("GET http://x/_/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  assert.match(heard, /^HTTP\/1\.1 200 [^]*"live":true/);
});

test("on a bucket's own host name everything is S3's", async () => {
  const ask = (host: string) => talk(`GET /_/health/live HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  assert.match(await ask("photos.s3.test:9000"), /x-amz-request-id/i);
  assert.match(await ask("s3.test:9000"), /"live":true/);
});

test("health answers while nothing is wrong, and HEAD has no body", async () => {
  for (const what of ["live", "ready"]) {
    const answer = await fetch(`${server.url}/_/health/${what}`, { method: "HEAD" });
    assert.deepEqual([answer.status, await answer.text()], [200, ""]);
    assert.equal((await fetch(`${server.url}/_/health/${what}`, { method: "DELETE" })).status, 405);
  }
});

test("status and usage need a key", async () => {
  for (const what of ["status", "usage", "keys"]) {
    assert.equal((await fetch(`${server.url}/_/admin/${what}`)).status, 401);
  }
  const headers = basic(server.accessKey, server.secretKey);
  const answer = await fetch(`${server.url}/_/admin/status`, { headers });
  const status = (await answer.json()) as { drives: { state: string }[]; jobs: { name: string }[] };
  assert.deepEqual(
    status.drives.map(({ state }) => state),
    ["up"],
  );
  assert.ok(status.jobs.length > 0);
});

test("options that make no sense are refused", async () => {
  await assert.rejects(createServer({}), HoldfastError);
  await assert.rejects(createServer({ memory: true, drives: ["/tmp/x"] }), HoldfastError);
  await assert.rejects(
    createServer({ memory: true, listen: `127.0.0.1:${server.port}` }),
    /another program listens there/,
  );
  const short = { accessKey: "a", secretKey: "b" };
  await assert.rejects(createServer({ memory: true, credentials: short }), /An access key has/);
});

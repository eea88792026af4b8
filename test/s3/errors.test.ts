import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { HeadObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { limits } from "../../src/core/limits.ts";
import { signRequest } from "../../src/gateway/sigv4.ts";
import { accessKey, failsWith, secretKey, sendRaw, startTestServer } from "./server.ts";
import type { RawAnswer, TestServer } from "./server.ts";

const Bucket = "errors";
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x" }));
});
after(() => server.close());

const codeOf = (answer: RawAnswer): [number, string | undefined] => [
  answer.status,
  /<Code>(\w+)<\/Code>/.exec(answer.text)?.[1],
];

type Spoiled = {
  readonly accessKey?: string;
  readonly secretKey?: string;
  readonly region?: string;
  /** How far the client's clock is ahead. */
  readonly aheadMs?: number;
  readonly method?: string;
  readonly path?: string;
  readonly change?: (headers: Record<string, string>) => Record<string, string>;
};

/** A GET of an object that is there, signed with something wrong. */
function get(spoiled: Spoiled): Promise<RawAnswer> {
  const { change = (same) => same, path = `/${Bucket}/k`, aheadMs = 0, ...signing } = spoiled;
  const { headers } = signRequest({
    accessKey,
    secretKey,
    region: "us-east-1",
    method: "GET",
    rawPath: `/${Bucket}/k`,
    headers: { host: `127.0.0.1:${server.port}`, "x-amz-meta-signed": "yes" },
    nowMs: Date.now() + aheadMs,
    ...signing,
  });
  return sendRaw(server.port, { method: "GET", path, headers: change({ ...headers }) });
}

void test("the request that the next ones spoil is right", async () => {
  assert.equal((await get({})).status, 200);
});

for (const [what, spoiled, status, code] of [
  ["another secret", { secretKey: "wrong" }, 403, "SignatureDoesNotMatch"],
  ["another method", { method: "PUT" }, 403, "SignatureDoesNotMatch"],
  ["another path", { path: "/errors/K" }, 403, "SignatureDoesNotMatch"],
  ["another query", { path: "/errors/k?x=1" }, 403, "SignatureDoesNotMatch"],
  ["a changed header", { change: (h) => ({ ...h, "x-amz-meta-signed": "no" }) }, 403, "SignatureDoesNotMatch"],
  ["an unsigned x-amz header", { change: (h) => ({ ...h, "x-amz-acl": "private" }) }, 403, "AccessDenied"],
  ["an unknown key", { accessKey: "NOBODYKNOWSME" }, 403, "InvalidAccessKeyId"],
  ["another region", { region: "eu-west-9" }, 400, "AuthorizationHeaderMalformed"],
  ["a clock 16 minutes slow", { aheadMs: -16 * 60_000 }, 403, "RequestTimeTooSkewed"],
  ["a clock 16 minutes fast", { aheadMs: 16 * 60_000 }, 403, "RequestTimeTooSkewed"],
  ["no signature at all", { change: () => ({}) }, 403, "AccessDenied"],
  ["Signature Version 2", { change: () => ({ authorization: "AWS key:sig" }) }, 400, "InvalidRequest"],
  ["half a header", { change: (h) => ({ ...h, authorization: "AWS4-HMAC-SHA256 Credential=x" }) }, 400, undefined],
] as const satisfies readonly (readonly [string, Spoiled, number, string | undefined])[]) {
  void test(`${what} is ${code ?? status}`, async () => {
    const answer = await get(spoiled);
    assert.deepEqual(codeOf(answer), [status, code ?? codeOf(answer)[1]], answer.text);
    assert.equal(answer.headers["content-type"], "application/xml");
  });
}

void test("an error document names code, message, resource and request", async () => {
  const answer = await server.raw({ method: "GET", path: `/${Bucket}/missing` });
  assert.match(answer.text, /^<\?xml version="1.0" encoding="UTF-8"\?>\n<Error><Code>NoSuchKey<\/Code><Message>[^<]+</);
  assert.match(answer.text, /<Resource>\/errors\/missing<\/Resource>/);
  assert.ok(answer.text.includes(`<RequestId>${String(answer.headers["x-amz-request-id"])}</RequestId>`));
});

for (const path of ["?restore", "?select&select-type=2"]) {
  void test(`GET ${path} of an object is NotImplemented`, async () => {
    assert.deepEqual(codeOf(await server.raw({ method: "GET", path: `/${Bucket}/k${path}` })), [501, "NotImplemented"]);
  });
}

// AWS has ended torrents, and documents no answer.
void test("a torrent of an object is NoSuchKey", async () => {
  for (const key of ["k", "missing"])
    assert.deepEqual(codeOf(await server.raw({ method: "GET", path: `/${Bucket}/${key}?torrent` })), [
      404,
      "NoSuchKey",
    ]);
});

void test("a sub-resource that writes is NotImplemented and writes nothing", async () => {
  const body = Buffer.from("<Any/>");
  for (const sub of ["compose", "annotation"])
    assert.deepEqual(codeOf(await server.raw({ method: "PUT", path: `/${Bucket}/sub?${sub}`, body })), [
      501,
      "NotImplemented",
    ]);
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key: "sub" })), 404, "NotFound");
});

void test("two sub-resources at once are InvalidArgument", async () => {
  assert.deepEqual(codeOf(await server.raw({ method: "GET", path: `/${Bucket}?acl&policy` })), [
    400,
    "InvalidArgument",
  ]);
});

void test("a method nobody knows is MethodNotAllowed", async () => {
  assert.deepEqual(codeOf(await server.raw({ method: "PATCH", path: `/${Bucket}/k` })), [405, "MethodNotAllowed"]);
  assert.deepEqual(codeOf(await server.raw({ method: "DELETE", path: "/" })), [405, "MethodNotAllowed"]);
});

for (const [what, xml] of [
  ["no XML", "this is no XML"],
  ["an unclosed element", "<Delete><Object><Key>k</Key>"],
  ["another root", "<Remove><Object><Key>k</Key></Object></Remove>"],
  ["a DOCTYPE", '<!DOCTYPE x [<!ENTITY e "k">]><Delete><Object><Key>&e;</Key></Object></Delete>'],
  ["nothing", ""],
] as const) {
  void test(`${what} instead of a Delete is MalformedXML`, async () => {
    const body = Buffer.from(xml);
    const headers = { "content-md5": createHash("md5").update(body).digest("base64") };
    const answer = await server.raw({ method: "POST", path: `/${Bucket}?delete`, body, headers });
    assert.deepEqual(codeOf(answer), [400, "MalformedXML"]);
  });
}

void test("a body sent in HTTP chunks needs no length, and stores nothing when it ends early", async () => {
  const upload = (key: string, chunks: string): Promise<string> =>
    talk(
      server.port,
      head("PUT", `/${Bucket}/${key}`, { ...signedPut(key), "transfer-encoding": "chunked", connection: "close" }) +
        chunks,
    );
  assert.match(await upload("http-chunks", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), /^HTTP\/1\.1 200 /);
  const got = await server.raw({ method: "GET", path: `/${Bucket}/http-chunks` });
  assert.equal(got.text, "abcde");
  assert.match(await upload("bad-chunks", "3\r\nabc\r\nzz\r\n"), /^HTTP\/1\.1 400 |^$/);
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key: "bad-chunks" })), 404, "NotFound");
});

void test("aws-chunked without its decoded length is MissingContentLength", async () => {
  const { headers } = signRequest({
    accessKey,
    secretKey,
    region: "us-east-1",
    method: "PUT",
    rawPath: `/${Bucket}/no-length`,
    headers: { host: `127.0.0.1:${server.port}`, "content-encoding": "aws-chunked" },
    payloadHash: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    nowMs: Date.now(),
  });
  const body = Buffer.from("1\r\nx\r\n0\r\n\r\n");
  const answer = await sendRaw(server.port, { method: "PUT", path: `/${Bucket}/no-length`, headers, body });
  assert.deepEqual(codeOf(answer), [411, "MissingContentLength"]);
});

void test("a body that ends early stores nothing", async () => {
  const others = server.events.length;
  const socket = connect(server.port, "127.0.0.1");
  socket.write(head("PUT", `/${Bucket}/short`, { ...signedPut("short"), "content-length": "1000" }) + "only this");
  await new Promise((resolve) => socket.once("connect", () => setTimeout(resolve, 50)));
  socket.destroy();
  await until(() => server.events.length > others);
  const { operation, code } = server.events.at(-1)!;
  assert.deepEqual([operation, code], ["PutObject", "IncompleteBody"]);
  await failsWith(server.s3.send(new HeadObjectCommand({ Bucket, Key: "short" })), 404, "NotFound");
});

void test("a refused upload is refused before its body travels", async () => {
  const headers = { ...signedPut("refused", "no-such-bucket"), "content-length": "5000000", expect: "100-continue" };
  const answer = await talk(server.port, head("PUT", "/no-such-bucket/refused", headers));
  assert.match(answer, /^HTTP\/1\.1 404 /);
  assert.doesNotMatch(answer, /100 Continue/);
  assert.match(answer, /connection: close/i);
});

void test("a wrong signature with a large body gets its answer although nobody reads the body", async () => {
  const headers: Record<string, string> = { ...signedPut("large"), "content-length": "3000000" };
  headers["authorization"] = headers["authorization"]!.replace(/Signature=.{64}/, `Signature=${"0".repeat(64)}`);
  for (;;) {
    const beganMs = performance.now();
    try {
      return await sendSlowly(head("PUT", `/${Bucket}/large`, headers) + "x".repeat(1_000_000));
    } catch (error) {
      // A process that stood still, with the server in it, sent the rest too late.
      if (performance.now() - beganMs < limits.lingerMsMax) throw error;
    }
  }
});

void test("metrics see operation, status and code", async () => {
  await server.raw({ method: "GET", path: `/${Bucket}/missing` });
  const last = server.events.at(-1);
  assert.deepEqual([last?.operation, last?.status, last?.code, last?.cut], ["GetObject", 404, "NoSuchKey", false]);
});

/** A client that only reads once it has sent everything is not cut off meanwhile: a reset would be an error here. */
async function sendSlowly(first: string): Promise<void> {
  const socket = connect(server.port, "127.0.0.1");
  socket.setEncoding("latin1");
  const ended = once(socket, "end");
  // Its error is met at the end.
  ended.catch(() => undefined);
  socket.on("error", () => undefined);
  socket.write(first);
  const [answer] = (await once(socket, "data")) as [string];
  assert.match(answer, /^HTTP\/1\.1 403 /);
  assert.match(answer, /connection: close/i);
  for (let round = 0; round < 4; round++) {
    socket.write("x".repeat(500_000));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await ended;
  socket.destroy();
}

function signedPut(key: string, bucket = Bucket): Record<string, string> {
  return signRequest({
    accessKey,
    secretKey,
    region: "us-east-1",
    method: "PUT",
    rawPath: `/${bucket}/${key}`,
    headers: { host: `127.0.0.1:${server.port}` },
    nowMs: Date.now(),
  }).headers;
}

function head(method: string, path: string, headers: Readonly<Record<string, string>>): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`;
}

/** Sends text and reads until the server closes or has answered with a whole error document. A reset is an error. */
function talk(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let answer = "";
    socket.setEncoding("latin1");
    socket.on("data", (data) => {
      answer += String(data);
      if (answer.includes("</Error>")) socket.end();
    });
    socket.on("close", () => resolve(answer));
    socket.on("error", reject);
    socket.write(text);
  });
}

async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; round < 6_000 && !condition(); round++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(condition());
}

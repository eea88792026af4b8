/**
 * Requests that are no HTTP, or whose meaning two readers could take differently, over real sockets: each is refused with
 * a short answer, its connection ends, nothing is stored, and the server goes on for everybody else.
 */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, afterEach, before, test } from "node:test";
import { signRequest } from "../../src/gateway/sigv4.ts";
import { createServer, type HoldfastServer } from "../../src/index.ts";
import { codeOf, headText, statusesOf, talk } from "./wire.ts";

let server: HoldfastServer;

before(async () => {
  server = await createServer({ memory: true });
  assert.deepEqual(statusesOf(await talk(server.port, put("/bad"), length(0))), [200]);
  assert.deepEqual(statusesOf(await talk(server.port, put("/bad/there"), length(5), "hello")), [200]);
});
after(() => server.close());

/** After every test: nothing but `there` is stored, and requests are answered. */
afterEach(async () => {
  const heard = await talk(server.port, signed("GET", "/bad"), end);
  assert.deepEqual(statusesOf(heard), [200]);
  assert.deepEqual(
    [...heard.matchAll(/<Key>([^<]*)</g)].map((match) => match[1]),
    ["there"],
  );
});

const end = "Connection: close\r\n\r\n";
const length = (bytes: number): string => `Content-Length: ${bytes}\r\n${end}`;

/** The head of a request that is right; the tests spoil it. */
function signed(method: string, path: string, headers: Readonly<Record<string, string>> = {}): string {
  const [rawPath, rawQuery = ""] = path.split("?") as [string, string?];
  const { accessKey, secretKey, port } = server;
  const request = signRequest({
    accessKey,
    secretKey,
    region: "us-east-1",
    method,
    rawPath,
    rawQuery,
    headers: { host: `127.0.0.1:${port}`, ...headers },
    nowMs: Date.now(),
  });
  return headText(method, path, request.headers);
}
const put = (path: string): string => signed("PUT", path);
const get = (): string => signed("GET", "/bad/there");

const oneChunk = "1\r\na\r\n0\r\n\r\n";
const chunked = "Transfer-Encoding: chunked\r\n";

for (const [what, rest, status] of [
  ["two Content-Lengths that agree", `Content-Length: 1\r\n${length(1)}a`, 400],
  ["two Content-Lengths that do not", `Content-Length: 1\r\n${length(2)}ab`, 400],
  ["a list of lengths", `Content-Length: 1, 1\r\n${end}a`, 400],
  ["a length with a sign", `Content-Length: +1\r\n${end}a`, 400],
  ["a negative length", `Content-Length: -1\r\n${end}a`, 400],
  ["a hexadecimal length", `Content-Length: 0x1\r\n${end}a`, 400],
  ["a length beyond 64 bits", `Content-Length: 99999999999999999999\r\n${end}a`, 400],
  ["Content-Length and Transfer-Encoding", `${chunked}${length(3)}${oneChunk}`, 400],
  ["Transfer-Encoding and Content-Length", `Content-Length: 3\r\n${chunked}${end}${oneChunk}`, 400],
  ["a transfer coding that is none", `Transfer-Encoding: xchunked\r\n${end}${oneChunk}`, 501],
  ["identity as a transfer coding", `Transfer-Encoding: identity\r\n${end}${oneChunk}`, 501],
  ["a transfer coding that we would have to undo", `Transfer-Encoding: gzip, chunked\r\n${end}${oneChunk}`, 501],
  ["chunked twice", `Transfer-Encoding: chunked, chunked\r\n${end}${oneChunk}`, 400],
  ["two Transfer-Encodings", `${chunked}Transfer-Encoding: identity\r\n${end}${oneChunk}`, 400],
  ["a vertical tab before chunked", `Transfer-Encoding: \x0bchunked\r\n${end}${oneChunk}`, 400],
  ["a space before the colon", `Transfer-Encoding : chunked\r\n${end}${oneChunk}`, 400],
  ["a header line folded", `X-Folded: a\r\n b\r\n${length(1)}a`, 400],
  ["a carriage return within a header", `X: a\rb\r\n${length(1)}a`, 400],
  ["a NUL within a header", `X: a\0b\r\n${length(1)}a`, 400],
  ["a chunk size beyond 64 bits", `${chunked}${end}fffffffffffffffff\r\na\r\n0\r\n\r\n`, 400],
  ["a chunk size that is none", `${chunked}${end}xyz\r\na\r\n0\r\n\r\n`, 400],
  ["a chunk ended by LF only", `${chunked}${end}1\na\n0\n\n`, 400],
  ["a chunk longer than its size", `${chunked}${end}1\r\nab\r\n0\r\n\r\n`, 400],
  ["an endless chunk extension", `${chunked}${end}1;${"a".repeat(40_000)}\r\na\r\n0\r\n\r\n`, 413],
  ["endless trailers", `${chunked}${end}1\r\na\r\n0\r\nX: ${"a".repeat(60_000)}\r\n\r\n`, 431],
  ["another Host", `Host: other.test\r\n${length(1)}a`, 400],
  ["another Authorization", `Authorization: Basic x\r\n${length(1)}a`, 400],
] as const) {
  test(`${what}: ${status}`, async () => {
    const heard = await talk(server.port, put("/bad/new"), rest);
    assert.deepEqual(statusesOf(heard), [status], heard);
    assert.match(heard, /connection: close/i);
  });
}

test("an expectation that nobody knows is ignored, as AWS does, and so is an empty one", async () => {
  for (const expectation of ["200-ok", ""]) {
    const heard = await talk(server.port, put("/bad/there"), `Expect: ${expectation}\r\n${length(5)}hello`);
    assert.deepEqual(statusesOf(heard), [200], heard);
  }
});

test("lines that end with LF only, a raw NUL, a space or a raw byte in the target: 400", async () => {
  const heads = [
    `${put("/bad/new")}${length(0)}`.replaceAll("\r\n", "\n"),
    `${put("/bad/new").replace("/bad/new", "/bad/n\0w")}${length(0)}`,
    `${put("/bad/new").replace("/bad/new", "/bad/n w")}${length(0)}`,
    `${put("/bad/new").replace("/bad/new", "/bad/n\xffw")}${length(0)}`,
  ];
  for (const head of heads) assert.deepEqual(statusesOf(await talk(server.port, head)), [400], head);
});

test("versions of HTTP: 1.0 is spoken without chunks and expectations, others are not spoken", async () => {
  const as = (version: string, head: string): string => head.replace("HTTP/1.1", `HTTP/${version}`);
  const plain = await talk(server.port, as("1.0", get()), "\r\n");
  assert.deepEqual(statusesOf(plain), [200]);
  assert.match(plain, /hello$/);
  assert.deepEqual(statusesOf(await talk(server.port, as("1.0", put("/bad/new")), chunked, "\r\n", oneChunk)), [400]);
  const expecting = as("1.0", put("/bad/there"));
  const heard = await talk(server.port, `${expecting}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello`);
  assert.deepEqual(statusesOf(heard), [200], "and no 100 Continue");
  assert.deepEqual(statusesOf(await talk(server.port, as("2.0", get()), end)), [505]);
  assert.deepEqual(statusesOf(await talk(server.port, as("0.9", get()), end)), [505]);
  assert.deepEqual(statusesOf(await talk(server.port, as("1.2", get()), end)), [400]);
});

test("the Host: missing, empty, another one", async () => {
  const without = (host: string): string => get().replace(/host: .*\r\n/, host);
  assert.deepEqual(statusesOf(await talk(server.port, without(""), end)), [400]);
  assert.equal(codeOf(await talk(server.port, without("Host:\r\n"), end)), "SignatureDoesNotMatch");
  assert.equal(codeOf(await talk(server.port, without("Host: other.test\r\n"), end)), "SignatureDoesNotMatch");
  assert.deepEqual(
    statusesOf(await talk(server.port, without(`Host: a\r\nHost: 127.0.0.1:${server.port}\r\n`), end)),
    [400],
  );
});

test("forms of the target: absolute is read, authority, asterisk and other schemes are not", async () => {
  const at = (target: string): string => get().replace("/bad/there", target);
  assert.match(await talk(server.port, at(`http://127.0.0.1:${server.port}/bad/there`), end), /hello$/);
  for (const target of ["ftp://x/bad/there", "bad/there"]) {
    const heard = await talk(server.port, at(target), end);
    assert.deepEqual(statusesOf(heard), [400], target);
  }
  assert.equal(codeOf(await talk(server.port, signed("OPTIONS", "*"), end)), "InvalidURI");
  assert.equal(await talk(server.port, headText("CONNECT", "other.test:80", { host: "other.test" }), "\r\n"), "");
});

test("too much before the body: 414 for the target, 431 for the headers, and none is dropped in silence", async () => {
  const long = `/bad?prefix=${"a".repeat(17_000)}`;
  assert.deepEqual(statusesOf(await talk(server.port, signed("GET", long), end)), [414]);
  assert.deepEqual(statusesOf(await talk(server.port, get(), `X: ${"a".repeat(60_000)}\r\n${end}`)), [431]);
  const many = (count: number): string => Array.from({ length: count }, (_, at) => `X${at}: a\r\n`).join("");
  // Of its own the request has host, x-amz-date, x-amz-content-sha256, authorization; then If-None-Match and connection.
  const conditional = (count: number): string =>
    put("/bad/there").replace("host:", `${many(count)}host:`) + `If-None-Match: *\r\n${length(1)}a`;
  const [allowed, tooMany] = [200 - 7, 201 - 7];
  assert.deepEqual(statusesOf(await talk(server.port, conditional(allowed))), [412]);
  for (const count of [tooMany, tooMany + 1, 400, 1_500])
    assert.deepEqual(statusesOf(await talk(server.port, conditional(count))), [431], String(count));
});

test("a request within the body of another is a body", async () => {
  const inner = `${put("/bad/new")}${length(0)}`;
  for (const outer of [
    get(),
    signed("HEAD", "/bad/there"),
    signed("DELETE", "/bad/missing"),
    signed("GET", "/none/k"),
  ]) {
    const heard = await talk(server.port, `${outer}Content-Length: ${inner.length}\r\n\r\n${inner}${get()}${end}`);
    assert.ok(statusesOf(heard).length <= 2, heard);
    const chunk = `${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`;
    const again = await talk(server.port, `${outer}${chunked}\r\n${chunk}${get()}${end}`);
    assert.ok(statusesOf(again).length <= 2, again);
  }
});

test("pipelined requests are answered in order", async () => {
  const heard = await talk(server.port, `${get()}\r\n${signed("GET", "/bad/missing")}\r\n${get()}${end}`);
  assert.deepEqual(statusesOf(heard), [200, 404, 200]);
});

test("garbage behind a request does not become its answer", async () => {
  const heard = await talk(server.port, `${get()}\r\nGARBAGE\r\n\r\n`);
  assert.deepEqual(statusesOf(heard), [200]);
  assert.match(heard, /\r\n\r\nhello$/);
});

test("garbage behind a request does not get into a body that is being sent", async () => {
  const body = Buffer.alloc(30_000_000, "b");
  const large = put("/large");
  assert.deepEqual(statusesOf(await talk(server.port, large, length(0))), [200]);
  assert.deepEqual(statusesOf(await talk(server.port, put("/large/k"), length(body.length), body)), [200]);
  const socket = connect(server.port, "127.0.0.1");
  const pieces: Buffer[] = [];
  socket.write(`${signed("GET", "/large/k")}\r\n`);
  await new Promise<void>((resolve) => socket.once("readable", resolve));
  socket.write("GARBAGE\r\n\r\n");
  socket.write("MORE GARBAGE\r\n\r\n");
  await new Promise((resolve) => setTimeout(resolve, 50));
  socket.on("data", (piece: Buffer) => pieces.push(piece));
  await new Promise((resolve) => socket.once("close", resolve));
  const heard = Buffer.concat(pieces);
  const bodyStart = heard.indexOf("\r\n\r\n") + 4;
  assert.ok(heard.subarray(bodyStart).equals(body), "the whole body and nothing else");
});

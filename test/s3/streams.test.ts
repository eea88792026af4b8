/** What becomes of a body on its way out: slow clients, clients that leave, reads that fail half-way, too many at once. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { limits } from "../../src/core/limits.ts";
import { presignUrl } from "../../src/gateway/sigv4.ts";
import type { GetOutcome, Objects } from "../../src/object/object.ts";
import { accessKey, pattern, secretKey, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const Bucket = "streams";
const body = pattern(20 * 1024 * 1024);
let server: TestServer;
let releases = 0;
let opened = 0;
let arrived = 0;
let failAfterBytes = Number.POSITIVE_INFINITY;
let gate: Promise<void> | undefined;

type Found = Extract<GetOutcome, { outcome: "found" }>;

function watched(outcome: Found): Found {
  opened += 1;
  return {
    ...outcome,
    body: () => breaking(outcome.body()),
    release: () => {
      releases += 1;
      outcome.release();
    },
  };
}

async function* breaking(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > failAfterBytes) throw new Error("the drive caught fire");
    yield piece;
  }
}

/** The real store; only reads are watched, and can be made to fail or to wait. */
function wrap(objects: Objects): Objects {
  return new Proxy(objects, {
    get(target, name) {
      if (name === "get")
        return async (options: Parameters<Objects["get"]>[0]) => {
          arrived += 1;
          await gate;
          const outcome = await target.get(options);
          return outcome.outcome === "found" ? watched(outcome) : outcome;
        };
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

before(async () => {
  server = await startTestServer({ wrap });
  await server.bucket(Bucket);
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "large", Body: body }));
  await server.s3.send(new PutObjectCommand({ Bucket, Key: "small", Body: "small" }));
});
after(() => server.close());

function presigned(key: string): string {
  return presignUrl({
    accessKey,
    secretKey,
    region: "us-east-1",
    method: "GET",
    origin: server.origin,
    rawPath: `/${Bucket}/${key}`,
    expiresSeconds: 60,
    nowMs: Date.now(),
  });
}

async function open(key: string): Promise<IncomingMessage> {
  const req = request(presigned(key), { agent: false });
  req.end();
  const [res] = (await once(req, "response")) as [IncomingMessage];
  return res;
}

async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; round < 6_000 && !condition(); round++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(condition());
}

void test("a client that reads slowly gets everything", async () => {
  const res = await open("large");
  const pieces: Buffer[] = [];
  for await (const piece of res) {
    pieces.push(piece as Buffer);
    if (pieces.length % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.ok(Buffer.concat(pieces).equals(body));
  await until(() => releases === opened);
});

void test("a client that leaves ends the read", async () => {
  const res = await open("large");
  await once(res, "data");
  res.destroy();
  await until(() => releases === opened);
  await until(() => server.events.at(-1)?.cut === true);
});

void test("a read that fails half-way ends in a cut connection, never in a short body", async () => {
  failAfterBytes = 5_000_000;
  const answered = server.events.length;
  try {
    const res = await open("large");
    assert.equal(res.statusCode, 200);
    assert.equal(res.headers["content-length"], String(body.length));
    const read = async (): Promise<void> => {
      for await (const _ of res);
    };
    await assert.rejects(read, { code: "ECONNRESET" });
    await until(() => server.events.length > answered);
    assert.equal(server.events.at(-1)?.cut, true);
    assert.equal(releases, opened);
  } finally {
    failAfterBytes = Number.POSITIVE_INFINITY;
  }
});

void test("on a kept connection nothing follows a body that was cut short", async () => {
  failAfterBytes = 5_000_000;
  const socket = connect(server.port, "127.0.0.1");
  try {
    for (const key of ["large", "small"]) {
      const url = new URL(presigned(key));
      socket.write(`GET ${url.pathname}${url.search} HTTP/1.1\r\nhost: ${url.host}\r\n\r\n`);
    }
    const pieces: Buffer[] = [];
    socket.on("data", (piece: Buffer) => pieces.push(piece));
    await once(socket, "close");
    const got = Buffer.concat(pieces).toString("latin1");
    assert.equal(got.split("HTTP/1.1 ").length, 2);
    assert.ok(got.length < body.length);
  } finally {
    failAfterBytes = Number.POSITIVE_INFINITY;
    socket.destroy();
  }
});

void test("a small body is released at once", async () => {
  const res = await open("small");
  const [piece] = (await once(res, "data")) as [Buffer];
  assert.equal(piece.toString(), "small");
  assert.equal(releases, opened);
});

void test("one request too many is told SlowDown, and there is room again afterwards", async () => {
  arrived = 0;
  let letGo = (): void => undefined;
  gate = new Promise((resolve) => (letGo = resolve));
  const waiting = Array.from({ length: limits.requestsInFlightMax }, () => open("small"));
  const results: IncomingMessage[] = [];
  try {
    // All of them wait in the store; the next one is refused as soon as the last of them has arrived.
    await until(() => arrived >= limits.requestsInFlightMax);
    const refused = await open("small");
    results.push(refused);
    assert.equal(refused.statusCode, 503);
    assert.equal(refused.headers["retry-after"], "1");
  } finally {
    gate = undefined;
    letGo();
  }
  results.push(...(await Promise.all(waiting)));
  for (const res of results) res.resume();
  assert.equal((await open("small")).statusCode, 200);
});

void test("refused clients that go on sending take no place from others", async () => {
  const head = "PUT /streams/refused HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\n";
  const sockets = Array.from({ length: limits.requestsInFlightMax + 6 }, () => connect(server.port, "127.0.0.1"));
  try {
    for (const socket of sockets) socket.on("error", () => undefined).write(head);
    const answers = await Promise.all(sockets.map((socket) => once(socket, "data")));
    for (const [answer] of answers) assert.match(String(answer), /^HTTP\/1\.1 403 /);
    assert.equal((await open("small")).statusCode, 200);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
});

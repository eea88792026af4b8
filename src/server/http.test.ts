import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test, type TestContext } from "node:test";
import { systemClock } from "../core/clock.ts";
import { silentLog } from "../core/log.ts";
import { createMetrics } from "../core/metrics.ts";
import { Listener, type Door, type ListenerOptions } from "./http.ts";
import { untilHeard } from "./until_heard.fixture.ts";

type Bounds = Pick<ListenerOptions, "headersTimeoutMs" | "connectionsMax" | "paceWindowMs">;

async function listening(
  t: TestContext,
  door: Door,
  silenceMsMax: number,
  bounds: Bounds = {},
): Promise<{ listener: Listener; port: number }> {
  const options = { door, silenceMsMax, metrics: createMetrics(), clock: systemClock, log: silentLog, ...bounds };
  const listener = new Listener(options);
  const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
  t.after(() => listener.stop(0));
  return { listener, port };
}

/**
 * Resolves to what came until the other side closed the connection. `drip`: what is sent on top now and then, and not before there is
 * a connection: what is written by then would be sent first.
 */
function send(port: number, text: string, drip?: () => string): Promise<string> {
  return new Promise((resolve) => {
    let dripping: NodeJS.Timeout | undefined;
    const socket = connect(port, "127.0.0.1", () => {
      socket.write(text);
      if (drip !== undefined) dripping = setInterval(() => socket.write(drip()), 20);
    });
    let heard = "";
    socket.on("data", (data) => (heard += data.toString()));
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearInterval(dripping);
      resolve(heard);
    });
  });
}

const upload = "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n";

test("a body on which nothing moves is given up", async (t) => {
  let isHeard = false;
  const failed = Promise.withResolvers<unknown>();
  const door: Door = async (request) => {
    isHeard = true;
    try {
      for await (const _ of request);
      failed.resolve(undefined);
    } catch (error) {
      failed.resolve(error);
    }
  };
  const { port } = await listening(t, door, 100);
  assert.equal(
    await untilHeard(
      () => isHeard,
      () => send(port, `${upload}abc`),
    ),
    "",
  );
  assert.ok((await failed.promise) instanceof Error);
});

/** Sends requests and reads nothing, until what the door answers is closed. */
async function stall(served: { listener: Listener; port: number }, text: string, door: Waiting): Promise<void> {
  await untilHeard(
    () => door.isHeard,
    async () => {
      const socket = connect(served.port, "127.0.0.1", () => socket.write(text));
      socket.pause();
      socket.on("error", () => undefined);
      const connections = (): number => served.listener.openConnections;
      while (connections() === 0) await new Promise((resolve) => setImmediate(resolve));
      while (!door.isHeard && connections() > 0) await new Promise((resolve) => setImmediate(resolve));
      if (door.isHeard) await door.closed.promise;
      socket.destroy();
    },
  );
}

type Waiting = { isHeard: boolean; readonly closed: PromiseWithResolvers<void> };

test("a client that reads nothing is given up", async (t) => {
  const waiting: Waiting = { isHeard: false, closed: Promise.withResolvers() };
  const door: Door = async (_request, response) => {
    waiting.isHeard = true;
    response.once("close", waiting.closed.resolve);
    response.writeHead(200);
    // More than any socket buffer holds.
    for (let count = 0; count < 64; count++) response.write(Buffer.alloc(1_000_000));
  };
  await stall(await listening(t, door, 100), "GET / HTTP/1.1\r\nHost: x\r\n\r\n", waiting);
});

test("a body that drips is given up, and one that only waits for us is not", async (t) => {
  const waited = Promise.withResolvers<void>();
  const door: Door = async (request, response) => {
    if (request.url === "/waits") await waited.promise;
    try {
      for await (const _ of request);
      response.end("read");
    } catch {
      response.destroy();
    }
  };
  const { port } = await listening(t, door, 60_000, { paceWindowMs: 300 });
  const bodyBytes = 10_000;
  const drip = (path: string, text: string): Promise<string> => {
    const head = `PUT ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${bodyBytes}\r\n\r\n`;
    let left = bodyBytes;
    return send(port, head, () => {
      const piece = text.slice(0, left);
      left -= piece.length;
      return piece;
    });
  };
  const waits = drip("/waits", "a");
  assert.equal(await drip("/drips", "a"), "");
  assert.match(await drip("/flows", "a".repeat(500)), /read$/);
  assert.equal(await Promise.race([waits, Promise.resolve("still there")]), "still there");
  waited.resolve();
  assert.equal(await waits, "", "now it is the client's turn");
});

test("a client that reads in drops is given up", async (t) => {
  const closed = Promise.withResolvers<void>();
  const door: Door = async (_request, response) => {
    response.once("close", () => closed.resolve());
    response.writeHead(200);
    for (let count = 0; count < 64; count++) response.write(Buffer.alloc(1_000_000));
  };
  const { port } = await listening(t, door, 60_000, { paceWindowMs: 600 });
  const drops = { buffer: Buffer.alloc(16), callback: () => false };
  const socket = connect({ port, host: "127.0.0.1", onread: drops }, () =>
    socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
  );
  socket.on("error", () => undefined);
  const reading = setInterval(() => socket.resume(), 50);
  await closed.promise;
  clearInterval(reading);
  socket.destroy();
});

const short: Door = async (_request, response) => void response.writeHead(200, { "content-length": 2 }).end("ok");

test("headers that come a byte at a time are not waited for, and neither are those of a second request", async (t) => {
  const { port } = await listening(t, short, 60_000, { headersTimeoutMs: 100 });
  const dripped = (first: string): Promise<string> => send(port, `${first}GET / HTTP/1.1\r\nHost: x\r\nX: `, () => "a");
  assert.match(await dripped(""), /^HTTP\/1.1 408 /);
  let heard = "";
  await untilHeard(
    () => heard.startsWith("HTTP/1.1 200 "),
    async () => (heard = await dripped("GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
  );
  assert.match(heard, /^HTTP\/1.1 200 [^]*ok(HTTP\/1.1 408 |$)/);
});

test("connections beyond the bound are closed at once, idle ones are counted, and there is room again afterwards", async (t) => {
  const { listener, port } = await listening(t, short, 60_000, { connectionsMax: 20 });
  const idle = Array.from({ length: 20 }, () => connect(port, "127.0.0.1"));
  for (const socket of idle) if (socket.connecting) await once(socket, "connect");
  while (listener.openConnections < 20) await new Promise((resolve) => setImmediate(resolve));
  const request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  for (let round = 0; round < 5; round++) assert.equal(await send(port, request), "");
  idle[0]!.destroy();
  while (listener.openConnections === 20) await new Promise((resolve) => setImmediate(resolve));
  assert.match(await send(port, request), /ok$/);
  for (const socket of idle) socket.destroy();
});

test("a stalled first answer is given up although a second request waits behind it", async (t) => {
  const waiting: Waiting = { isHeard: false, closed: Promise.withResolvers() };
  const door: Door = async (request, response) => {
    if (request.url === "/waits") return new Promise(() => undefined);
    waiting.isHeard = true;
    response.once("close", waiting.closed.resolve);
    response.writeHead(200).write(Buffer.alloc(64_000_000));
  };
  const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
  await stall(await listening(t, door, 100), get("/large") + get("/waits"), waiting);
});

test("a stop answers every request that a pipelining client has sent", async (t) => {
  const waiting: (() => void)[] = [];
  const door: Door = async (_request, response) => {
    await new Promise<void>((resolve) => waiting.push(resolve));
    response.writeHead(200, { "content-length": 2 }).end("ok");
  };
  const { listener, port } = await listening(t, door, 60_000);
  const heard = send(port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3));
  while (waiting.length < 3) await new Promise((resolve) => setImmediate(resolve));
  const stopped = listener.stop(60_000);
  for (const letGo of waiting) letGo();
  assert.equal((await heard).split("ok").length - 1, 3);
  await stopped;
});

test("a request that waits for us is left alone, however long it takes", async (t) => {
  let isHeard = false;
  const door: Door = async (request, response) => {
    for await (const _ of request);
    isHeard = true;
    await new Promise((resolve) => setTimeout(resolve, 400));
    response.writeHead(200, { connection: "close", "content-length": 7 }).end("at last");
  };
  const { port } = await listening(t, door, 100);
  const heard = await untilHeard(
    () => isHeard,
    () => send(port, `${upload}0123456789`),
  );
  assert.match(heard, /at last$/);
});

test("a stop ends what does not end by itself", async (t) => {
  let started: () => void = () => undefined;
  const isStarted = new Promise<void>((resolve) => (started = resolve));
  const door: Door = async () => {
    started();
    await new Promise(() => undefined);
  };
  const { listener, port } = await listening(t, door, 60_000);
  const heard = send(port, upload);
  await isStarted;
  assert.equal(listener.openConnections, 1);
  await listener.stop(50);
  assert.equal(await heard, "");
});

test("one that refuses answers everything that comes with 503, and lets what runs finish", async (t) => {
  const [running, finish] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const door: Door = async (_request, response) => {
    running.resolve();
    await finish.promise;
    response.end("done");
  };
  const { listener, port } = await listening(t, door, 10_000);
  const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  const first = send(port, get);
  await running.promise;
  listener.refuse();
  assert.match(await send(port, get), /^HTTP\/1\.1 503 [^]*connection: close/i);
  finish.resolve();
  void listener.stop();
  assert.match(await first, /^HTTP\/1\.1 200 [^]*done/);
});

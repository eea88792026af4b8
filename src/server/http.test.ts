import assert from "node:assert/strict";
import { connect } from "node:net";
import { test, type TestContext } from "node:test";
import { systemClock } from "../core/clock.ts";
import { silentLog } from "../core/log.ts";
import { createMetrics } from "../core/metrics.ts";
import { Listener, type Door } from "./http.ts";

async function listening(
  t: TestContext,
  door: Door,
  silenceMsMax: number,
): Promise<{ listener: Listener; port: number }> {
  const listener = new Listener({ door, silenceMsMax, metrics: createMetrics(), clock: systemClock, log: silentLog });
  const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
  t.after(() => listener.stop(0));
  return { listener, port };
}

/** Resolves to what came until the other side closed the connection. */
function send(port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(text));
    let heard = "";
    socket.on("data", (data) => (heard += data.toString()));
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(heard));
  });
}

const upload = "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n";

test("a body on which nothing moves is given up", async (t) => {
  let failure: unknown;
  let told: () => void = () => undefined;
  const isTold = new Promise<void>((resolve) => (told = resolve));
  const door: Door = async (request) => {
    try {
      for await (const _ of request);
    } catch (error) {
      failure = error;
    }
    told();
  };
  const { port } = await listening(t, door, 100);
  assert.equal(await send(port, `${upload}abc`), "");
  await isTold;
  assert.ok(failure instanceof Error);
});

test("a client that reads nothing is given up", async (t) => {
  let closed: () => void = () => undefined;
  const isClosed = new Promise<void>((resolve) => (closed = resolve));
  const door: Door = async (_request, response) => {
    response.once("close", closed);
    response.writeHead(200);
    // More than any socket buffer holds.
    for (let count = 0; count < 64; count++) response.write(Buffer.alloc(1_000_000));
  };
  const { port } = await listening(t, door, 100);
  const socket = connect(port, "127.0.0.1", () => socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  socket.pause();
  socket.on("error", () => undefined);
  await isClosed;
  socket.destroy();
});

test("a request that waits for us is left alone, however long it takes", async (t) => {
  const door: Door = async (request, response) => {
    for await (const _ of request);
    await new Promise((resolve) => setTimeout(resolve, 400));
    response.writeHead(200, { connection: "close", "content-length": 7 }).end("at last");
  };
  const { port } = await listening(t, door, 100);
  assert.match(await send(port, `${upload}0123456789`), /at last$/);
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

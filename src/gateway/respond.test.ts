import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { test, type TestContext } from "node:test";
import { limits } from "../core/limits.ts";
import { send, type Sent, type StreamBody } from "./respond.ts";

const pieceBytes = 3_000_000;

async function* largePiece(): AsyncGenerator<Buffer> {
  yield Buffer.alloc(pieceBytes);
}

/** A paused client of a server that sends it these pieces, over a socket whose buffers in the kernel are small. */
async function reading(
  t: TestContext,
  pieces = largePiece,
  lengthBytes = pieceBytes,
): Promise<{ client: Socket; sent: Promise<Sent> }> {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-respond-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const sent = Promise.withResolvers<Sent>();
  const written = Promise.withResolvers<void>();
  const body: StreamBody = {
    lengthBytes,
    pieces,
    release: () => undefined,
  };
  const server = createServer((req, res) => {
    const reply = { status: 200, headers: [], body };
    void send({ req, res, reply, common: ["connection", "close"], awaitsContinue: false }).then(sent.resolve);
    setImmediate(() => setImmediate(written.resolve));
  });
  const address = path.join(folder, "socket");
  server.listen(address);
  await once(server, "listening");
  t.after(() => server.close());
  const client = connect(address, () => client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  client.on("error", () => undefined).pause();
  t.after(() => client.destroy());
  await written.promise;
  return { client, sent: sent.promise };
}

/** Reads what comes until there were that many bytes, and pauses. */
async function read(client: Socket, bytes: number): Promise<number> {
  let heardBytes = 0;
  while (heardBytes < bytes) {
    const heard = Promise.withResolvers<Buffer>();
    const onClose = (): void => heard.reject(new Error(`cut after ${heardBytes} of ${bytes} bytes`));
    const onData = (data: Buffer): void => {
      client.pause();
      heard.resolve(data);
    };
    client.once("data", onData).once("close", onClose).resume();
    const data = await heard.promise;
    client.off("close", onClose);
    heardBytes += data.length;
  }
  return heardBytes;
}

test("a client that takes longer than the bound for a piece, but reads, gets it whole; one that stops does not", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, sent } = await reading(t);
  for (let heardBytes = 0; heardBytes < pieceBytes;) {
    heardBytes += await read(client, Math.min(600_000, pieceBytes - heardBytes));
    for (let turns = 0; turns < 10; turns++) await turn();
    t.mock.timers.tick(limits.bodyIdleTimeoutMs);
  }
  assert.deepEqual(await sent, { bytes: pieceBytes, cut: undefined });
  const other = await reading(t);
  t.mock.timers.tick(limits.bodyIdleTimeoutMs);
  t.mock.timers.tick(limits.bodyIdleTimeoutMs);
  assert.ok((await other.sent).cut instanceof Error);
});

/** A server whose replies have this body. */
async function serving(t: TestContext, body: StreamBody): Promise<{ url: string; sent: Promise<Sent> }> {
  const sent = Promise.withResolvers<Sent>();
  const refusal = (error: Error) => ({ status: 500, headers: [], body: error.message, code: "InternalError" });
  const server = createServer((req, res) => {
    const reply = { status: 200, headers: ["x-of", "the body"], body };
    void send({ req, res, reply, common: ["x-of-all", "yes"], awaitsContinue: false, refusal }).then(sent.resolve);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sent: sent.promise };
}

test("a body that fails before its first byte is refused in words, one that fails later is cut; both are released once", async (t) => {
  for (const piecesBefore of [0, 1]) {
    let released = 0;
    const body: StreamBody = {
      lengthBytes: 4,
      async *pieces() {
        for (let index = 0; index < piecesBefore; index++) yield Buffer.from("ab");
        throw new Error("nothing has these bytes");
      },
      release: () => void (released += 1),
    };
    const { url, sent } = await serving(t, body);
    if (piecesBefore === 0) {
      const answer = await fetch(url);
      assert.deepEqual([answer.status, await answer.text()], [500, "nothing has these bytes"]);
      assert.deepEqual([answer.headers.get("x-of"), answer.headers.get("x-of-all")], [null, "yes"]);
      const { cut, instead } = await sent;
      assert.deepEqual([cut, instead?.status], [undefined, 500]);
    } else {
      await assert.rejects(fetch(url).then((answer) => answer.text()));
      const { bytes, cut, instead } = await sent;
      assert.deepEqual([bytes, cut?.message, instead], [2, "nothing has these bytes", undefined]);
    }
    assert.equal(released, 1);
  }
});

test("small pieces that are there go to the socket together, within the bound, while its client reads nothing", async (t) => {
  const small = 100_000;
  let taken = 0;
  const { client, sent } = await reading(t, async function* () {
    for (; taken < pieceBytes / small; taken++) yield Buffer.alloc(small);
  });
  let before = -1;
  // The kernel's buffers take some; then nothing moves.
  for (let still = 0; still < 20; before = taken) {
    await turn();
    still = taken === before ? still + 1 : 0;
  }
  const kernelBytesMax = 1_000_000;
  assert.ok(taken > 1 && taken * small <= limits.unsentBytesMax + 2 * small + kernelBytesMax, `${taken} pieces`);
  await read(client, pieceBytes);
  assert.deepEqual(await sent, { bytes: pieceBytes, cut: undefined });
});

test("a client that leaves, or reads nothing, while the end of its answer waits at the socket did not get it whole", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  // More than the kernel's buffers take, and what waits is within the bound.
  const [pieces, each] = [5, 100_000];
  const body = async function* (): AsyncGenerator<Buffer> {
    for (let count = 0; count < pieces; count++) yield Buffer.alloc(each);
  };
  const left = await reading(t, body, pieces * each);
  left.client.destroy();
  const still = await reading(t, body, pieces * each);
  for (let looks = 0; looks < 2; looks++) t.mock.timers.tick(limits.bodyIdleTimeoutMs);
  for (const sent of [await left.sent, await still.sent]) assert.ok(sent.cut instanceof Error);
});

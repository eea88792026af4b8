/** A connection to another node, against servers that answer as they should not. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { Wire, type WireReply, type WireRequest } from "./peer_http.ts";

const replyBytesMax = 300_000;
const never = new AbortController().signal;

async function wireTo(t: TestContext, server: Server): Promise<Wire> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const wire = new Wire({ url: new URL(`http://127.0.0.1:${port}`), replyBytesMax });
  t.after(() => {
    wire.close();
    server.close();
  });
  return wire;
}

/** A server that answers whatever comes first with these bytes, and ends the connection if it is told to. */
function answering(text: string, ends = false): Server {
  return createServer((socket: Socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => (ends ? socket.end(text, "latin1") : socket.write(text, "latin1")));
  });
}

function ask(wire: Wire, more: Partial<WireRequest> = {}, signal = never): Promise<WireReply> {
  return wire.exchange({ path: "/x", headers: {}, body: [], ...more }, signal);
}

test("bodies of all sizes go and come on one connection, and are told piece by piece", async (t) => {
  const server = createHttpServer((req, res) => {
    const pieces: Buffer[] = [];
    req.on("data", (piece: Buffer) => pieces.push(piece));
    req.on("end", () => {
      const body = Buffer.concat(pieces);
      res.writeHead(200, { "x-path": req.url, "x-given": req.headers["x-given"], "content-length": body.length });
      res.end(body);
    });
  });
  let connections = 0;
  server.on("connection", () => (connections += 1));
  const wire = await wireTo(t, server);
  for (const size of [0, 1, 16_384, 70_000, replyBytesMax]) {
    const body = Buffer.alloc(size, "abcdefg");
    const heard: Buffer[] = [];
    const room = Buffer.alloc(size);
    const halves = [body.subarray(0, size >> 1), body.subarray(size >> 1)];
    const request = { path: `/${size}`, headers: { "x-given": "yes" }, body: halves, room: () => room };
    const reply = await ask(wire, { ...request, onPiece: (piece) => heard.push(Buffer.from(piece)) });
    assert.equal(reply.status, 200);
    assert.equal(reply.headers.get("x-path"), `/${size}`);
    assert.equal(reply.headers.get("x-given"), "yes");
    assert.ok(reply.body === room && reply.body.equals(body), `${size} bytes`);
    assert.ok(Buffer.concat(heard).equals(body), "the pieces are the body");
  }
  assert.equal(connections, 1);
  assert.equal(wire.isOpen, true);
});

for (const [what, text] of [
  ["that is none of HTTP", "SSH-2.0-x\r\n\r\n"],
  ["with a header that is none", "HTTP/1.1 200 OK\r\nwhat\r\n\r\n"],
  ["without a length", "HTTP/1.1 200 OK\r\n\r\n"],
  ["in chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n1\r\na\r\n0\r\n\r\n"],
  ["with two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na"],
  ["that is too long", `HTTP/1.1 200 OK\r\ncontent-length: ${replyBytesMax + 1}\r\n\r\n`],
  ["that is longer than it says", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab"],
  ["whose head has no end", `HTTP/1.1 200 OK\r\nx: ${"a".repeat(20_000)}`],
  ["that comes before it is asked for whole", "HTTP/1.1 100 Continue\r\n\r\n"],
] as const)
  test(`an answer ${what} ends the connection`, async (t) => {
    const wire = await wireTo(t, answering(text));
    await assert.rejects(ask(wire), /its answer|the head/);
    assert.equal(wire.isOpen, false);
    await assert.rejects(ask(wire), /it was closed/);
  });

test("an answer that ends too early is none", async (t) => {
  const wire = await wireTo(t, answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", true));
  await assert.rejects(ask(wire), /ended/);
});

test("who says that the connection ends after an answer is not asked again on it", async (t) => {
  const wire = await wireTo(t, answering("HTTP/1.1 401 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"));
  const reply = await ask(wire);
  assert.deepEqual([reply.status, reply.body.toString()], [401, "no"]);
  assert.equal(wire.isOpen, false);
});

test("an answer that comes before the request was taken ends the connection with it", async (t) => {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("readable", () => {
      socket.read();
      // Nothing more is read.
      socket.removeAllListeners("readable");
      socket.write("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");
    });
  });
  const wire = await wireTo(t, server);
  const reply = await ask(wire, { body: [Buffer.alloc(64 * 2 ** 20)] });
  assert.equal(reply.status, 503);
  assert.equal(wire.isOpen, false);
});

test("what nobody asked for ends the connection", async (t) => {
  const sockets: Socket[] = [];
  const server = createHttpServer((_, res) => res.end("x")).on("connection", (socket: Socket) => sockets.push(socket));
  const wire = await wireTo(t, server);
  await ask(wire);
  assert.equal(wire.isOpen, true);
  sockets[0]!.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  await once(sockets[0]!, "close");
  await assert.rejects(ask(wire));
});

test("a caller that leaves ends the connection", async (t) => {
  const wire = await wireTo(t, answering(""));
  const leaving = new AbortController();
  const asked = ask(wire, {}, leaving.signal);
  const reason = new Error("enough");
  leaving.abort(reason);
  await assert.rejects(asked, reason);
  assert.equal(wire.isOpen, false);
});

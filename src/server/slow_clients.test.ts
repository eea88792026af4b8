import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { Exchange } from "./malformed.ts";
import { SlowClients } from "./slow_clients.ts";

test("a client that reads one large piece for longer than a window is not too slow", async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-slow-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const running = new Map<Socket, Exchange[]>();
  const slowClients = new SlowClients({ running, windowMs: 600 });
  t.after(() => slowClients.stop());
  const body = Buffer.alloc(3_000_000);
  const server = createServer((request, response) => {
    running.set(request.socket, [{ request, response }]);
    response.once("close", () => running.delete(request.socket));
    response.writeHead(200, { "content-length": body.length, connection: "close" }).end(body);
  });
  // Its buffers in the kernel are small: what the client reads is seen at once.
  const address = path.join(folder, "socket");
  server.listen(address);
  await once(server, "listening");
  t.after(() => server.close());
  const client = connect(address, () => client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  let heardBytes = 0;
  client.on("data", (data) => {
    heardBytes += data.length;
    client.pause();
    setTimeout(() => client.resume(), 50);
  });
  client.on("error", () => undefined);
  await once(client, "close");
  assert.ok(heardBytes > body.length, `only ${heardBytes} bytes came`);
});

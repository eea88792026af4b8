import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Server } from "node:net";
import { test, type TestContext } from "node:test";
import { claimPort } from "../core/ports.fixture.ts";
import { choosePort, portsAreShared } from "./port.ts";

const host = "127.0.0.1";

async function listening(t: TestContext, port: number, reusePort = false): Promise<Server> {
  const server = createServer();
  t.after(() => server.close());
  server.listen({ host, port, reusePort, exclusive: true });
  await once(server, "listening");
  return server;
}

const skip = !portsAreShared && "this system has no SO_REUSEPORT";

void test("a port that the kernel gave is nobody else's until a worker has it", { skip }, async (t) => {
  const { listen, release } = await choosePort({ host, port: 0 });
  t.after(release);
  await assert.rejects(listening(t, listen.port), /EADDRINUSE/);
  const early = connect(listen.port, host);
  early.on("error", () => undefined);
  await once(early, "close");
  const worker = await listening(t, listen.port, true);
  await release();
  const [[accepted], client] = await Promise.all([once(worker, "connection"), connected(listen.port)]);
  accepted.destroy();
  client.destroy();
  await release();
});

async function connected(port: number) {
  const socket = connect(port, host);
  await once(socket, "connect");
  return socket;
}

void test("a port of the operator's is tried and given back", async (t) => {
  const port = await claimPort();
  const { listen, release } = await choosePort({ host, port });
  assert.deepEqual(listen, { host, port });
  await listening(t, port);
  await assert.rejects(choosePort({ host, port }), /another program listens there already/);
  await release();
});

void test("ports that are held at the same time are different", async () => {
  const chosen = await Promise.all(Array.from({ length: 50 }, () => choosePort({ host, port: 0 })));
  const ports = new Set(chosen.map(({ listen }) => listen.port));
  await Promise.all(chosen.map(({ release }) => release()));
  if (portsAreShared) assert.equal(ports.size, chosen.length);
});

/** Webhooks against servers that are really there, and do what servers do. */
import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import type { DestinationId } from "../core/ids.ts";
import type { Courier, Message } from "./courier.ts";
import { openWebhook } from "./webhook.ts";

const message: Message = { id: "m", event: "s3:ObjectCreated:Put", orderedBy: "k", body: '{"Records":[]}' };
const never = new AbortController().signal;

async function webhookTo(t: TestContext, listener: RequestListener): Promise<Courier> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return webhook(t, `http://127.0.0.1:${port}/hook`);
}

function webhook(t: TestContext, url: string): Courier {
  const courier = openWebhook({
    id: "01".repeat(8) as DestinationId,
    kind: "webhook",
    createdMs: 1,
    url,
    headers: [],
    secret: undefined,
    credentials: {},
    isLeaving: false,
    isFull: false,
  });
  t.after(() => courier.close());
  return courier;
}

const outcomes: Readonly<Record<number, string>> = {
  200: "taken",
  204: "taken",
  299: "taken",
  302: "refused",
  400: "refused",
  404: "refused",
  410: "refused",
  500: "refused",
  408: "unreachable",
  429: "unreachable",
  502: "unreachable",
  503: "unreachable",
  504: "unreachable",
};

for (const [status, outcome] of Object.entries(outcomes))
  test(`${status} means that a message is ${outcome}`, async (t) => {
    let asked = 0;
    const courier = await webhookTo(t, (req, res) => {
      asked += 1;
      req.resume();
      res.writeHead(Number(status), { location: "/elsewhere" }).end(status === "204" ? undefined : "body");
    });
    const delivery = await courier.deliver(message, never);
    assert.equal(delivery.outcome, outcome);
    if (delivery.outcome !== "taken") assert.match(delivery.why, new RegExp(`^It answered ${status}`));
    assert.equal(asked, 1);
  });

test("a connection that was closed while nobody used it is not taken for a receiver that is away", async (t) => {
  let asked = 0;
  const courier = await webhookTo(t, (req, res) => {
    asked += 1;
    req.resume();
    if (asked === 2) req.socket.resetAndDestroy();
    else res.end();
  });
  assert.deepEqual(await courier.deliver(message, never), { outcome: "taken" });
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(await courier.deliver(message, never), { outcome: "taken" });
  assert.equal(asked, 3);
});

test("a receiver that hangs up on a new connection is unreachable", async (t) => {
  const courier = await webhookTo(t, (req) => void req.socket.destroy());
  const delivery = await courier.deliver(message, never);
  assert.equal(delivery.outcome, "unreachable");
});

test(
  "a receiver that switches protocols, which it was not asked for, is unreachable",
  { timeout: 60_000 },
  async (t) => {
    const courier = await webhookTo(t, (req) => {
      req.socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: something-else\r\n\r\n");
    });
    const delivery = await courier.deliver(message, never);
    assert.deepEqual(delivery, { outcome: "unreachable", why: "It ended the connection without an answer." });
  },
);

test("an answer is not read for ever, and one that breaks off is no answer", async (t) => {
  const courier = await webhookTo(t, (_req, res) => {
    res.writeHead(200);
    const pour = (): void => {
      while (!res.destroyed && res.write(Buffer.alloc(16_384)));
      if (!res.destroyed) res.once("drain", pour);
    };
    pour();
  });
  assert.deepEqual(await courier.deliver(message, never), { outcome: "taken" });
  const broken = await webhookTo(t, (_req, res) => {
    res.writeHead(200, { "content-length": 100 }).write("half");
    setImmediate(() => res.destroy());
  });
  assert.equal((await broken.deliver(message, never)).outcome, "unreachable");
});

test("nobody at the address, and an end that is asked for, are told as they are", async (t) => {
  const gone = await webhook(t, "http://127.0.0.1:1/").deliver(message, never);
  assert.ok(gone.outcome === "unreachable" && gone.why.includes("ECONNREFUSED"));
  const stop = new AbortController();
  const courier = await webhookTo(t, () => stop.abort());
  assert.equal((await courier.deliver(message, stop.signal)).outcome, "unreachable");
});

/**
 * What is no broker stands where one should: it hangs up, says nothing, or says anything. Then a message is not taken, the reason is
 * told, no connection is left behind, and nothing ends the process.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { seededRandom } from "../../src/core/random.ts";
import { testMsMax } from "../bounds.ts";
import { assertUnreachable, courierTo, deliver, message, until } from "./suite.ts";

const urls: Readonly<Record<string, (port: number) => string>> = {
  nats: (port) => `nats://u:p@127.0.0.1:${port}/told`,
  jetstream: (port) => `nats://u:p@127.0.0.1:${port}/told?jetstream=true`,
  "nats over tls": (port) => `tls://127.0.0.1:${port}/told`,
  kafka: (port) => `kafka://u:p@127.0.0.1:${port}/told`,
  kafkas: (port) => `kafkas://u:p@127.0.0.1:${port}/told?mechanism=scram-sha-256`,
  amqp: (port) => `amqp://u:p@127.0.0.1:${port}/?queue=told`,
  amqps: (port) => `amqps://u:p@127.0.0.1:${port}/?queue=told`,
  redis: (port) => `redis://u:p@127.0.0.1:${port}/?stream=told`,
  rediss: (port) => `rediss://127.0.0.1:${port}/3?stream=told`,
  mqtt: (port) => `mqtt://u:p@127.0.0.1:${port}/told`,
  mqtts: (port) => `mqtts://127.0.0.1:${port}/told`,
};

type Peer = { readonly port: number; readonly sockets: ReadonlySet<Socket> };

async function peer(t: TestContext, does: (socket: Socket) => void): Promise<Peer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
    does(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}

/** What protocols begin with, so that some of what follows is read. */
const beginnings: Readonly<Record<string, string>> = {
  nats: 'INFO {"server_id":"x","version":"2.9.0","proto":1,"headers":true,"max_payload":1048576}\r\n',
  jetstream: 'INFO {"server_id":"x","version":"2.9.0","proto":1,"headers":true,"max_payload":1048576}\r\nPONG\r\n',
  redis: "+OK\r\n",
  mqtt: "\x20\x03\x00\x00\x00",
};

for (const [kind, urlOf] of Object.entries(urls)) {
  test(`${kind}: a peer that hangs up`, async (t) => {
    const { port } = await peer(t, (socket) => socket.destroy());
    const courier = courierTo(t, urlOf(port));
    for (const at of [1, 2]) assertUnreachable(await deliver(courier, at), /./);
  });

  test(`${kind}: a peer that says anything`, async (t) => {
    for (let seed = 1; seed <= 6; seed++) {
      const random = seededRandom(seed);
      const noise = Buffer.from(Array.from({ length: 400 }, () => random.below(256)));
      let over = 0;
      const { port } = await peer(t, (socket) => {
        socket.on("close", () => (over += 1));
        socket.resume();
        socket.write(seed % 2 === 0 ? (beginnings[kind] ?? "") : "", "latin1");
        socket.end(noise);
      });
      const stop = new AbortController();
      const delivery = courierTo(t, urlOf(port)).deliver(message(seed), stop.signal);
      // Some clients wait for what cannot come any more until they are late.
      await until(() => over > 0);
      stop.abort();
      assert.equal((await delivery).outcome, "unreachable");
    }
  });
}

/** A method of AMQP 0.9.1 on channel 0 (sections 4.2.3 and 4.2.4), its arguments in hexadecimal. */
function amqpMethod(classAndMethod: string, args: string): string {
  const payload = classAndMethod + args;
  return `010000${(payload.length / 2).toString(16).padStart(8, "0")}${payload}ce`;
}

const text = (words: string): string => Buffer.from(words).toString("hex");
/** Start (PLAIN, en_US), Tune without bounds, Open-Ok. */
const amqpOpened = [
  amqpMethod("000a000a", `00090000000000000005${text("PLAIN")}00000005${text("en_US")}`),
  amqpMethod("000a001e", "0000000000000000"),
  amqpMethod("000a0029", "00"),
].join("");
/** Close, for an internal error (541). */
const amqpClosed = amqpMethod("000a0032", `021d05${text("error")}00000000`);

for (const [what, behind] of Object.entries({ "ends it": amqpClosed, "says anything": "ff".repeat(40) }))
  test(`amqp: a peer that opens a connection and ${what} in one breath`, { timeout: testMsMax }, async (t) => {
    const { port } = await peer(t, (socket) => {
      socket.once("data", () => socket.write(Buffer.from(amqpOpened + behind, "hex")));
    });
    assertUnreachable(await deliver(courierTo(t, urls["amqp"]!(port)), 1), /./);
  });

test("a peer that says nothing, and who asked gives up: no connection is left behind", async (t) => {
  const left = Object.values(urls).map(async (urlOf) => {
    const { port, sockets } = await peer(t, (socket) => void socket.resume());
    const courier = courierTo(t, urlOf(port));
    const stop = new AbortController();
    const delivery = courier.deliver(message(1), stop.signal);
    await until(() => sockets.size > 0);
    stop.abort();
    assert.equal((await delivery).outcome, "unreachable");
    courier.close();
    await until(() => sockets.size === 0);
  });
  await Promise.all(left);
});

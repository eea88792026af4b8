/** Events to Redis. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Redis } from "ioredis";
import { redisMissing, redisPassword, startRedis } from "./redis.ts";
import { assertUnreachable, brokerSuite, courierTo, deliver, message } from "./suite.ts";

const skip = redisMissing;

brokerSuite({ name: "redis stream", skip, start: () => startRedis() });

test("an entry of a stream has the message's id, its event, its object and its body", { skip }, async (t) => {
  const broker = await startRedis({ place: "stream=told&max-length=1000" });
  t.after(() => broker.dispose());
  assert.deepEqual(await deliver(courierTo(t, broker.url(broker.port)), 7), { outcome: "taken" });
  const [[, fields]] = (await broker.command("XRANGE", "told", "-", "+")) as [[string, string[]]];
  const { id, event, orderedBy, body } = message(7);
  assert.deepEqual(fields, ["id", id, "event", event, "object", orderedBy, "body", body]);
});

test("a stream is kept to about its max-length", { skip }, async (t) => {
  const broker = await startRedis({ place: "stream=told&max-length=100" });
  t.after(() => broker.dispose());
  const courier = courierTo(t, broker.url(broker.port));
  for (let at = 0; at < 500; at++) assert.deepEqual(await deliver(courier, at), { outcome: "taken" });
  const length = Number(await broker.command("XLEN", "told"));
  assert.ok(length >= 100 && length < 400, String(length));
});

test("a list gets bodies at its end", { skip }, async (t) => {
  const broker = await startRedis({ place: "list=told" });
  t.after(() => broker.dispose());
  const courier = courierTo(t, broker.url(broker.port));
  for (const at of [1, 2]) assert.deepEqual(await deliver(courier, at), { outcome: "taken" });
  assert.deepEqual(await broker.command("LRANGE", "told", "0", "-1"), [message(1).body, message(2).body]);
});

test("on a channel a message is taken when somebody hears it", { skip }, async (t) => {
  const broker = await startRedis({ place: "channel=told" });
  t.after(() => broker.dispose());
  const courier = courierTo(t, broker.url(broker.port));
  assertUnreachable(await deliver(courier), /Nobody listens to the channel "told"/);
  const listener = new Redis({ port: broker.port, host: "127.0.0.1", password: redisPassword });
  t.after(() => listener.disconnect());
  await listener.subscribe("told");
  const heard = once(listener, "message");
  assert.deepEqual(await deliver(courier, 2), { outcome: "taken" });
  assert.deepEqual(await heard, ["told", message(2).body]);
});

test("a key of another type refuses; a full Redis takes nothing now", { skip }, async (t) => {
  const broker = await startRedis();
  t.after(() => broker.dispose());
  const courier = courierTo(t, broker.url(broker.port));
  await broker.command("SET", "told", "text");
  const delivery = await deliver(courier);
  assert.ok(delivery.outcome === "refused" && delivery.why.startsWith("WRONGTYPE"), JSON.stringify(delivery));
  await broker.command("DEL", "told");
  await broker.command("CONFIG", "SET", "maxmemory", "1");
  assertUnreachable(await deliver(courier), /^OOM/);
  await broker.command("CONFIG", "SET", "maxmemory", "0");
  assert.deepEqual(await deliver(courier), { outcome: "taken" });
});

test("the database is the path's, and one that is not there takes nothing", { skip }, async (t) => {
  const broker = await startRedis();
  t.after(() => broker.dispose());
  const url = broker.url(broker.port);
  assert.deepEqual(await deliver(courierTo(t, url.replace("/0?", "/3?"))), { outcome: "taken" });
  assert.equal(await broker.command("XLEN", "told"), 0);
  assertUnreachable(await deliver(courierTo(t, url.replace("/0?", "/99?"))), /DB index is out of range/);
});

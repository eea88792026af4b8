/** Events to NATS. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { connect } from "@nats-io/transport-node";
import { deliveryOf } from "../../src/events/nats.ts";
import { temporaryFolder } from "./broker.ts";
import { natsMissing, startNats } from "./nats_server.ts";
import { assertUnreachable, brokerSuite, courierTo, deliver, message, until } from "./suite.ts";

const skip = natsMissing;

brokerSuite({ name: "nats jetstream", skip, start: () => startNats() });

test("without JetStream whoever listens is told, and the message bears id and event", { skip }, async (t) => {
  const broker = await startNats({ query: "", stream: undefined });
  t.after(() => broker.dispose());
  const reader = await connect({ servers: `127.0.0.1:${broker.port}`, user: "app", pass: "nats-secret-12" });
  t.after(() => reader.close());
  const told: { body: string; id: string; event: string }[] = [];
  reader.subscribe("told.*", {
    callback: (_error, { data, headers }) => {
      const body = Buffer.from(data).toString();
      told.push({ body, id: headers?.get("Nats-Msg-Id") ?? "", event: headers?.get("Holdfast-Event") ?? "" });
    },
  });
  await reader.flush();
  const courier = courierTo(t, broker.url(broker.port));
  const all = Array.from({ length: 50 }, (_, at) => at);
  for (const at of all) assert.deepEqual(await deliver(courier, at), { outcome: "taken" });
  await until(() => told.length >= all.length);
  assert.deepEqual(
    told,
    all.map((at) => ({ body: message(at).body, id: message(at).id, event: message(at).event })),
  );
});

test("a subject that the user may not publish to refuses", { skip }, async (t) => {
  const folder = temporaryFolder("nats-users");
  const file = path.join(folder, "users.conf");
  writeFileSync(
    file,
    `authorization { users: [{ user: app, password: "nats-secret-12", permissions: { publish: "other" } }] }\n`,
  );
  const broker = await startNats({ flags: ["-c", file], query: "", stream: undefined });
  t.after(() => broker.dispose());
  const delivery = await deliver(courierTo(t, broker.url(broker.port)));
  assert.ok(delivery.outcome === "refused" && /Permissions Violation/i.test(delivery.why), JSON.stringify(delivery));
});

test("a message that is sent twice is in the stream once", { skip }, async (t) => {
  const broker = await startNats();
  t.after(() => broker.dispose());
  const courier = courierTo(t, broker.url(broker.port));
  for (const at of [1, 1, 2]) assert.deepEqual(await deliver(courier, at), { outcome: "taken" });
  assert.deepEqual(await broker.taken(), [message(1).body, message(2).body]);
});

test("a subject that no stream stores waits", { skip }, async (t) => {
  const broker = await startNats({ stream: undefined });
  t.after(() => broker.dispose());
  assertUnreachable(await deliver(courierTo(t, broker.url(broker.port))), /No stream stores the subject "told.all"/);
});

test("a stream that takes no larger message refuses, and so does the server's largest", { skip }, async (t) => {
  const broker = await startNats({ stream: { max_msg_size: 20 } });
  t.after(() => broker.dispose());
  const courier = courierTo(t, broker.url(broker.port));
  const delivery = await deliver(courier);
  assert.ok(delivery.outcome === "refused" && /message size exceeds/.test(delivery.why), JSON.stringify(delivery));
  const large = { ...message(1), body: "x".repeat(2 ** 20) };
  const tooLarge = await courier.deliver(large, new AbortController().signal);
  assert.ok(tooLarge.outcome === "refused" && /at most 1048576 bytes/.test(tooLarge.why), JSON.stringify(tooLarge));
  assert.equal((await broker.taken()).length, 0);
});

test("a token is a user without a password", { skip }, async (t) => {
  const options = { flags: ["--auth", "tok-1"], login: "tok-1@", connection: { token: "tok-1" } };
  const broker = await startNats(options);
  t.after(() => broker.dispose());
  assert.deepEqual(await deliver(courierTo(t, broker.url(broker.port))), { outcome: "taken" });
  const stranger = broker.url(broker.port).replace("tok-1", "tok-2");
  assertUnreachable(await deliver(courierTo(t, stranger)), /Authorization Violation/i);
});

test("what answers a publication decides whether it was stored", () => {
  assert.deepEqual(deliveryOf('{"stream":"S","seq":7}'), { outcome: "taken" });
  assert.deepEqual(deliveryOf('{"stream":"S","seq":7,"duplicate":true}'), { outcome: "taken" });
  assert.equal(deliveryOf('{"error":{"code":503,"description":"no quorum"}}').outcome, "unreachable");
  assert.equal(deliveryOf('{"error":{"code":400,"description":"too large"}}').outcome, "refused");
  for (const other of ["", "null", "[]", "+OK", '{"stream":"S"}', '"x"'])
    assert.equal(deliveryOf(other).outcome, "unreachable");
});

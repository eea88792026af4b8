/** Events to an MQTT broker. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mosquittoMissing, startMosquitto } from "./mosquitto.ts";
import { assertUnreachable, brokerSuite, courierTo, deliver, message, until } from "./suite.ts";

const skip = mosquittoMissing;

brokerSuite({ name: "mqtt", skip, start: () => startMosquitto() });
brokerSuite({ name: "mqtt 3.1.1", skip, start: () => startMosquitto({ query: "?version=3.1.1" }) });

test("a message that nobody has subscribed to waits", { skip }, async (t) => {
  const broker = await startMosquitto({ subscriber: false });
  t.after(() => broker.dispose());
  const courier = courierTo(t, broker.url(broker.port));
  assertUnreachable(await deliver(courier), /Nobody has subscribed to the topic "told\/all"/);
  await broker.subscribe();
  assert.deepEqual(await deliver(courier, 2), { outcome: "taken" });
  await until(async () => (await broker.taken()).length > 0);
  assert.deepEqual(await broker.taken(), [message(2).body]);
});

test("who may not write to the topic is told so", { skip }, async (t) => {
  const broker = await startMosquitto({ settings: ["acl_file FOLDER/nobody-writes"], subscriber: false });
  t.after(() => broker.dispose());
  assertUnreachable(await deliver(courierTo(t, broker.url(broker.port))), /Not authorized/);
});

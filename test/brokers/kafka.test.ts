/** Events to Kafka, as far as a producer's side of it: a broker that speaks the protocol (kafka_fake.ts). */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { KafkaFake, kafkaErrors } from "./kafka_fake.ts";
import { assertUnreachable, brokerSuite, courierTo, deliver, message } from "./suite.ts";

brokerSuite({ name: "kafka", skip: false, start: () => KafkaFake.open() });

async function fake(t: TestContext): Promise<KafkaFake> {
  const kafka = await KafkaFake.open();
  t.after(() => kafka.dispose());
  return kafka;
}

test("a record has the object as its key, and the message's id and event as headers", async (t) => {
  const kafka = await fake(t);
  assert.deepEqual(await deliver(courierTo(t, kafka.url(kafka.port)), 5), { outcome: "taken" });
  const { id, event, orderedBy, body } = message(5);
  const [{ key, value, headers }] = kafka.log as [(typeof kafka.log)[number]];
  assert.deepEqual([key, value, headers], [orderedBy, body, { "holdfast-delivery": id, "holdfast-event": event }]);
});

test("an object's records are in one partition, and objects are spread over all", async (t) => {
  const kafka = await fake(t);
  const courier = courierTo(t, kafka.url(kafka.port));
  const never = new AbortController().signal;
  for (let at = 0; at < 60; at++)
    assert.deepEqual(await courier.deliver({ ...message(at), orderedBy: `b/${at % 20}` }, never), { outcome: "taken" });
  for (const [key, records] of Map.groupBy(kafka.log, (record) => record.key)) {
    assert.equal(records.length, 3, key);
    assert.equal(new Set(records.map(({ partition }) => partition)).size, 1, key);
  }
  assert.equal(new Set(kafka.log.map(({ partition }) => partition)).size, 3);
});

test("a record that is too large is refused; too few replicas take nothing now", async (t) => {
  const kafka = await fake(t);
  const courier = courierTo(t, kafka.url(kafka.port));
  kafka.answer = () => kafkaErrors.messageTooLarge;
  const delivery = await deliver(courier);
  assert.ok(delivery.outcome === "refused" && /larger than the max/.test(delivery.why), JSON.stringify(delivery));
  for (const error of [kafkaErrors.notEnoughReplicas, kafkaErrors.notLeader]) {
    kafka.answer = () => error;
    assertUnreachable(await deliver(courier), /./);
  }
  kafka.answer = () => 0;
  assert.deepEqual(await deliver(courier, 2), { outcome: "taken" });
  assert.deepEqual(await kafka.taken(), [message(2).body]);
});

test("a topic that is not there takes nothing", async (t) => {
  const kafka = await fake(t);
  const courier = courierTo(t, kafka.url(kafka.port).replace("/told", "/other"));
  assertUnreachable(await deliver(courier), /Unknown topic other/);
});

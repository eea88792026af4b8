/** Events to an AMQP broker: RabbitMQ. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { rabbitMissing, startRabbit, type RabbitBroker } from "./rabbit.ts";
import { assertUnreachable, brokerSuite, courierTo, deliver, message } from "./suite.ts";

const skip = rabbitMissing;

/** One for all, since it takes seconds to start. */
let started: Promise<RabbitBroker> | undefined;
const shared = (): Promise<RabbitBroker> => (started ??= startRabbit());
after(async () => (await started)?.dispose());

test("amqp", { skip }, async (t) => {
  const broker = await shared();
  t.after(() => broker.clear());
  const url = broker.url(broker.port);

  await t.test("a message is persistent, and bears its id, event and form", async (st) => {
    assert.deepEqual(await deliver(courierTo(st, url), 3), { outcome: "taken" });
    const found = await broker.run((channel) => channel.get("told", { noAck: true }));
    assert.ok(found !== false);
    const { deliveryMode, messageId, type, contentType } = found.properties;
    assert.deepEqual(
      { deliveryMode, messageId, type, contentType },
      { deliveryMode: 2, messageId: message(3).id, type: message(3).event, contentType: "application/json" },
    );
    assert.equal(found.content.toString(), message(3).body);
  });

  await t.test("an exchange gives it to the queues of its routing key; where there is none it waits", async (st) => {
    await broker.run((channel) => channel.assertExchange("photos", "topic"));
    const courier = courierTo(st, url.replace("queue=told", "exchange=photos&routing-key=a.b"));
    assertUnreachable(await deliver(courier, 1), /No queue takes what is sent there/);
    await broker.run((channel) => channel.bindQueue("told", "photos", "a.*"));
    assert.deepEqual(await deliver(courier, 2), { outcome: "taken" });
    assert.deepEqual(await broker.taken(), [message(2).body]);
  });

  await t.test("a queue that is full and refuses takes it when there is room", async (st) => {
    const options = { durable: true, arguments: { "x-max-length": 1, "x-overflow": "reject-publish" } };
    await broker.run((channel) => channel.assertQueue("small", options));
    const courier = courierTo(st, url.replace("queue=told", "queue=small"));
    assert.deepEqual(await deliver(courier, 1), { outcome: "taken" });
    assertUnreachable(await deliver(courier, 2), /It could not keep the message/);
    await broker.run((channel) => channel.purgeQueue("small"));
    assert.deepEqual(await deliver(courier, 3), { outcome: "taken" });
  });

  await t.test("an exchange that is not there is named", async (st) => {
    const courier = courierTo(st, url.replace("queue=told", "exchange=nowhere"));
    assertUnreachable(await deliver(courier), /no exchange 'nowhere'/);
  });
});

brokerSuite({
  name: "amqp",
  skip,
  start: async () => {
    const broker = await shared();
    return { ...broker, dispose: () => broker.clear() };
  },
});

/**
 * What carries messages to a destination: one contract for every kind. A courier keeps no message: what it could not hand over
 * is tried again by whoever asked it, so it may be closed, or its process killed, at any time.
 *
 * A kind is added here, in `brokers`, and gets its number in meta/destinations.ts.
 */
import type { Clock } from "../core/clock.ts";
import type { DestinationKind, DestinationRecord } from "../meta/destinations.ts";
import type { BrokerKind } from "./address.ts";
import { amqpLibrary, openAmqp } from "./amqp.ts";
import { requireLibrary, SharedConnection, type OpenConnection } from "./connection.ts";
import { kafkaLibrary, openKafka } from "./kafka.ts";
import { mqttLibrary, openMqtt } from "./mqtt.ts";
import { natsLibrary, openNats } from "./nats.ts";
import { openRedis, redisLibrary } from "./redis.ts";
import { openWebhook } from "./webhook.ts";

export type Message = {
  /** The same whenever the message is sent again: who must not act twice keeps it. */
  readonly id: string;
  /** `s3:ObjectCreated:Put`. */
  readonly event: string;
  /** `photos/my+cat.jpg`: what messages of one object have in common, for kinds that keep an order by it. Empty: of none. */
  readonly orderedBy: string;
  readonly body: string;
};

/** `refused`: the destination answers, and does not take this message. `unreachable`: it takes none now. */
export type Delivery =
  | { readonly outcome: "taken" }
  | { readonly outcome: "refused"; readonly why: string }
  | { readonly outcome: "unreachable"; readonly why: string };

export type Courier = {
  /**
   * `taken` means that the destination has it for good. Never rejects; takes at most deliveryMsMax. Tries once: whoever asks tries
   * again (line.ts).
   */
  deliver(message: Message, signal: AbortSignal): Promise<Delivery>;
  close(): void;
};

type Broker = { readonly library: string; readonly open: (destination: DestinationRecord) => OpenConnection };

const brokers: Readonly<Record<BrokerKind, Broker>> = {
  nats: { library: natsLibrary, open: openNats },
  kafka: { library: kafkaLibrary, open: openKafka },
  amqp: { library: amqpLibrary, open: openAmqp },
  redis: { library: redisLibrary, open: openRedis },
  mqtt: { library: mqttLibrary, open: openMqtt },
};

export function openCourier(destination: DestinationRecord, clock: Clock): Courier {
  const { kind } = destination;
  if (kind === "webhook") return openWebhook(destination);
  return new SharedConnection(brokers[kind].open(destination), clock);
}

/** Errors: `unavailable` where what speaks to such a destination is not installed. */
export function requireCourier(kind: DestinationKind): void {
  if (kind !== "webhook") requireLibrary(brokers[kind].library);
}

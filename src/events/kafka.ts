/**
 * Messages on a Kafka topic: taken when all replicas in sync have them (`acks=all`). The message's key is the object, so what is told
 * of one object stands in one partition, in the order in which it was sent.
 */
import { EventEmitter } from "node:events";
import { isIP } from "node:net";
import type { ProducerOptions } from "@platformatic/kafka";
import { limits } from "../core/limits.ts";
import type { Credentials, DestinationRecord } from "../meta/destinations.ts";
import { parseBrokerAddress, type BrokerAddress } from "./address.ts";
import { libraryOf, messageOf, tlsOptions, type OpenConnection } from "./connection.ts";
import type { Delivery } from "./courier.ts";

export const kafkaLibrary = "@platformatic/kafka";
/** What goes wrong with a connection is told to whoever sends over it; told a second time, to nobody, it would end the process. */
const load = async () => {
  const library = await import("@platformatic/kafka");
  library.instancesChannel.unsubscribe(watchConnection);
  library.instancesChannel.subscribe(watchConnection);
  return library;
};

type Options = ProducerOptions<string, string, string, string>;

/** Errors that speak of the message and not of the topic or the cluster, by their names in Kafka's protocol. */
const refusals = ["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD"];

const mechanisms: Readonly<Record<string, NonNullable<Options["sasl"]>["mechanism"]>> = {
  plain: "PLAIN",
  "scram-sha-256": "SCRAM-SHA-256",
  "scram-sha-512": "SCRAM-SHA-512",
};

function watchConnection(made: unknown): void {
  const { type, instance } = made as { type?: unknown; instance?: unknown };
  if (type === "connection" && instance instanceof EventEmitter) instance.on("error", () => undefined);
}

export function openKafka({ url, credentials }: DestinationRecord): OpenConnection {
  const address = parseBrokerAddress(url);
  const topic = address.path;
  return async () => {
    const { Producer, ProduceAcks, stringSerializers } = await libraryOf(kafkaLibrary, load);
    const options = optionsOf(address, credentials);
    const producer = new Producer({ ...options, serializers: stringSerializers });
    return {
      deliver: async ({ id, event, orderedBy, body }) => {
        const headers = { "holdfast-delivery": id, "holdfast-event": event };
        const message = { topic, ...(orderedBy !== "" && { key: orderedBy }), value: body, headers };
        try {
          await producer.send({ messages: [message], acks: ProduceAcks.ALL });
          return { outcome: "taken" };
        } catch (error) {
          return refused(error);
        }
      },
      close: () => void producer.close(true).catch(() => undefined),
    };
  };
}

/** It connects with the first message, and to each broker once. */
function optionsOf({ hosts, isTls, settings }: BrokerAddress, credentials: Credentials): Options {
  const { user: username, password = "" } = credentials;
  const mechanism = mechanisms[settings.get("mechanism") ?? "plain"]!;
  return {
    clientId: "holdfast",
    bootstrapBrokers: hosts.map(({ host, port }) => ({ host, port })),
    connectTimeout: limits.deliveryMsMax,
    requestTimeout: limits.deliveryMsMax,
    timeout: limits.deliveryMsMax,
    maxInflights: limits.deliveriesAtOnceMax,
    retries: 0,
    repeatOnStaleMetadata: false,
    autocreateTopics: false,
    ...(isTls && { tls: tlsOptions(credentials), tlsServerName: hosts.some(({ host }) => isIP(host) === 0) }),
    ...(username !== undefined && { sasl: { mechanism, username, password } }),
  };
}

/** Rejects with what says nothing about the message. */
function refused(error: unknown): Delivery {
  const said = firstCause(error);
  const why = messageOf(said);
  if (said instanceof Error && "apiId" in said && refusals.includes(String(said.apiId)))
    return { outcome: "refused", why };
  throw new Error(why, { cause: error });
}

/** The library puts errors into errors: one message was sent, so the first one of each is what the broker said. */
function firstCause(error: unknown): unknown {
  if (error instanceof AggregateError && error.errors.length > 0) return firstCause(error.errors[0]);
  return error instanceof Error && error.cause !== undefined ? firstCause(error.cause) : error;
}

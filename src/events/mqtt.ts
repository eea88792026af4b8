/**
 * Messages on an MQTT topic, with QoS 1: taken when the broker has acknowledged them. In MQTT 5 it says when nobody has subscribed
 * to the topic: such a message waits.
 */
import type { IClientOptions, MqttClient } from "mqtt";
import { limits } from "../core/limits.ts";
import type { Credentials, DestinationRecord } from "../meta/destinations.ts";
import { parseBrokerAddress, type BrokerAddress } from "./address.ts";
import { serverName, libraryOf, type OpenConnection, tlsOptions } from "./connection.ts";
import type { Delivery, Message } from "./courier.ts";

export const mqttLibrary = "mqtt";
const load = () => import("mqtt");

const keepAliveS = 30;
const noMatchingSubscribers = 0x10;
/** Reasons that speak of the message: 0x90 topic's name, 0x95 too large, 0x99 its form. */
const reasonsOfMessage = [0x90, 0x95, 0x99];

export function openMqtt({ url, credentials }: DestinationRecord): OpenConnection {
  const address = parseBrokerAddress(url);
  return async (lost) => {
    const library = await libraryOf(mqttLibrary, load);
    const client = library.connect(optionsOf(address, credentials));
    let why = new Error("It closed the connection.");
    client.on("error", (error: Error) => (why = error));
    client.on("disconnect", ({ reasonCode }) => (why = new Error(`It ended the connection: reason ${reasonCode}.`)));
    client.on("close", () => lost(why));
    await new Promise<void>((resolve, reject) => {
      client.once("connect", () => resolve());
      client.once("close", () => reject(why));
    }).catch((error: unknown) => {
      client.end(true);
      throw error;
    });
    const version = address.settings.get("version");
    return {
      deliver: publisher(client, { topic: address.path, is5: version !== "3.1.1" }),
      close: () => void client.end(true),
    };
  };
}

function optionsOf({ hosts, isTls, settings }: BrokerAddress, credentials: Credentials): IClientOptions {
  const { host, port } = hosts[0]!;
  const { user, password } = credentials;
  return {
    protocol: isTls ? "mqtts" : "mqtt",
    host,
    port,
    protocolVersion: settings.get("version") === "3.1.1" ? 4 : 5,
    clean: true,
    keepalive: keepAliveS,
    reconnectPeriod: 0,
    connectTimeout: limits.deliveryMsMax,
    ...(user !== undefined && { username: user }),
    ...(password !== undefined && { password }),
    ...(isTls && { ...serverName(host), ...tlsOptions(credentials) }),
  } as IClientOptions;
}

type Topic = { readonly topic: string; readonly is5: boolean };

function publisher(client: MqttClient, { topic, is5 }: Topic): (message: Message) => Promise<Delivery> {
  /** Acknowledged, and heard by nobody: the library's answer does not say so, but the acknowledgement comes first. */
  const unheard = new Set<number>();
  client.on("packetreceive", (packet) => {
    if (packet.cmd === "puback" && packet.reasonCode === noMatchingSubscribers) unheard.add(packet.messageId ?? 0);
  });
  return ({ id, event, body }) => {
    const userProperties = { delivery: id, event };
    const properties = { contentType: "application/json", userProperties };
    return new Promise((resolve, reject) => {
      client.publish(topic, body, { qos: 1, ...(is5 && { properties }) }, (error, packet) => {
        if (error) {
          const code = "code" in error ? error.code : 0;
          if (reasonsOfMessage.includes(code)) resolve({ outcome: "refused", why: error.message });
          else reject(error);
        } else if (unheard.delete(packet?.messageId ?? -1))
          resolve({ outcome: "unreachable", why: `Nobody has subscribed to the topic "${topic}".` });
        else resolve({ outcome: "taken" });
      });
    });
  };
}

/**
 * Messages to an exchange of an AMQP 0.9.1 broker (RabbitMQ), persistent, on a channel whose messages are confirmed. A message that no
 * queue wants comes back (`mandatory`) and is not taken, though the broker confirms it.
 */
import { createRequire } from "node:module";
import type { ChannelModel, ConfirmChannel } from "amqplib";
import { limits } from "../core/limits.ts";
import type { DestinationRecord } from "../meta/destinations.ts";
import { parseBrokerAddress } from "./address.ts";
import { serverName, libraryOf, tlsOptions, type OpenConnection } from "./connection.ts";
import type { Delivery, Message } from "./courier.ts";

export const amqpLibrary = "amqplib";
const load = async () => {
  const library = await import("amqplib");
  readLater();
  return library;
};

type Reading = { acceptLoop(this: unknown): void };
let isReadLater = false;

/**
 * The library reads on, in the same turn, what came together with the end of the handshake, and only then hands the connection out. If that
 * is an error (the broker ends the connection, or sends what is no frame), nobody has listened yet, and it would end the
 * process. So what comes behind the handshake is read in a turn of its own. Its class can only be had from the library's file.
 */
function readLater(): void {
  if (isReadLater) return;
  const require = createRequire(import.meta.url);
  const file = require.resolve(amqpLibrary).replace(/[^/\\]*$/, "lib/connection.js");
  const { prototype } = (require(file) as { readonly Connection: { readonly prototype: Reading } }).Connection;
  const { acceptLoop } = prototype;
  prototype.acceptLoop = function (): void {
    setImmediate(() => acceptLoop.call(this));
  };
  isReadLater = true;
}

const heartbeatS = 30;

export function openAmqp({ url, credentials }: DestinationRecord): OpenConnection {
  const { hosts, isTls, path, settings } = parseBrokerAddress(url);
  const { host, port } = hosts[0]!;
  const queue = settings.get("queue");
  const place = {
    // The exchange without a name gives each queue what is sent to its name.
    exchange: settings.get("exchange") ?? "",
    routingKey: queue ?? settings.get("routing-key") ?? "",
  };
  return async (lost) => {
    const library = await libraryOf(amqpLibrary, load);
    const model = await library.connect(
      {
        protocol: isTls ? "amqps" : "amqp",
        hostname: host,
        port,
        username: credentials.user ?? "guest",
        password: credentials.password ?? "guest",
        vhost: path === "" ? "/" : path,
        heartbeat: heartbeatS,
      },
      {
        timeout: limits.deliveryMsMax,
        clientProperties: { connection_name: "holdfast" },
        ...(isTls && { ...serverName(host), ...tlsOptions(credentials) }),
      },
    );
    watch(model, lost);
    const close = (): void => void model.close().catch(() => undefined);
    try {
      const channel = await model.createConfirmChannel();
      watch(channel, lost);
      return { deliver: publisher(channel, place), close };
    } catch (error) {
      close();
      throw error;
    }
  };
}

/** The error comes first, and says why it closes. */
function watch(what: ChannelModel | ConfirmChannel, lost: (why: Error) => void): void {
  let why = new Error("It closed the connection.");
  what.on("error", (error: Error) => (why = error));
  what.on("close", () => lost(why));
}

type Place = { readonly exchange: string; readonly routingKey: string };

function publisher(channel: ConfirmChannel, { exchange, routingKey }: Place): (message: Message) => Promise<Delivery> {
  /** Those on their way; a message that comes back is marked before it is confirmed. */
  const returned = new Map<string, boolean>();
  channel.on("return", ({ properties }) => {
    const id: unknown = properties.messageId;
    if (typeof id === "string" && returned.has(id)) returned.set(id, true);
  });
  return ({ id, event, body }) => {
    returned.set(id, false);
    const options = { persistent: true, mandatory: true, messageId: id, type: event, appId: "holdfast" };
    return new Promise<Delivery>((resolve, reject) => {
      const contentType = "application/json";
      channel.publish(exchange, routingKey, Buffer.from(body), { ...options, contentType }, (error: unknown) => {
        const isReturned = returned.get(id) === true;
        returned.delete(id);
        if (isReturned) resolve({ outcome: "unreachable", why: "No queue takes what is sent there." });
        else if (error === null || error === undefined) resolve({ outcome: "taken" });
        else if (error instanceof Error && error.message === "message nacked")
          resolve({ outcome: "unreachable", why: "It could not keep the message." });
        else reject(error instanceof Error ? error : new Error("It did not confirm the message."));
      });
    });
  };
}

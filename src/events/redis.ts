/**
 * Messages in a Redis stream (XADD), a list (RPUSH), or told on a channel (PUBLISH). A message is taken when Redis has answered that it
 * is stored; on a channel, when at least one listener was told: one that nobody hears waits.
 *
 * How durable "stored" is, is a setting of Redis (`appendfsync`).
 */
import type { Redis } from "ioredis";
import { limits } from "../core/limits.ts";
import type { DestinationRecord } from "../meta/destinations.ts";
import { parseBrokerAddress } from "./address.ts";
import { serverName, libraryOf, messageOf, tlsOptions, type OpenConnection } from "./connection.ts";
import type { Delivery, Message } from "./courier.ts";

export const redisLibrary = "ioredis";
const load = () => import("ioredis");

/** Answers that speak of the message or of its place, and not of the server. */
const refusal = /^(ERR|WRONGTYPE|NOPERM)\b/;

export function openRedis({ url, credentials }: DestinationRecord): OpenConnection {
  const { hosts, isTls, path, settings } = parseBrokerAddress(url);
  const { host, port } = hosts[0]!;
  const { user, password } = credentials;
  return async (lost) => {
    const library = await libraryOf(redisLibrary, load);
    const redis = new library.Redis({
      host,
      port,
      ...(isTls && { tls: { ...serverName(host), ...tlsOptions(credentials) } }),
      lazyConnect: true,
      connectTimeout: limits.deliveryMsMax,
      commandTimeout: limits.deliveryMsMax,
      connectionName: "holdfast",
      disableClientInfo: true,
      protocol: 2,
      enableReadyCheck: false,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null,
    });
    let why = new Error("It closed the connection.");
    redis.on("error", (error: Error) => (why = error));
    redis.on("end", () => lost(why));
    try {
      await redis.connect();
      // Asked for by ourselves, so that a refusal is seen: the library would go on in the wrong database.
      if (password !== undefined) await redis.call("AUTH", ...(user === undefined ? [password] : [user, password]));
      if (Number(path) > 0) await redis.call("SELECT", path);
    } catch (error) {
      redis.disconnect();
      throw messageOf(error) === "Connection is closed." ? why : error;
    }
    const send = senderOf(redis, settings);
    return {
      deliver: (message) => send(message).catch(refused),
      close: () => redis.disconnect(),
    };
  };
}

function senderOf(redis: Redis, settings: ReadonlyMap<string, string>): (message: Message) => Promise<Delivery> {
  const [stream, list, channel] = ["stream", "list", "channel"].map((name) => settings.get(name));
  if (stream !== undefined) {
    const most = settings.get("max-length");
    const trim = most === undefined ? [] : ["MAXLEN", "~", most];
    return async ({ id, event, orderedBy, body }) => {
      await redis.call("XADD", stream, ...trim, "*", "id", id, "event", event, "object", orderedBy, "body", body);
      return { outcome: "taken" };
    };
  }
  if (list !== undefined)
    return async ({ body }) => {
      await redis.call("RPUSH", list, body);
      return { outcome: "taken" };
    };
  return async ({ body }) =>
    Number(await redis.call("PUBLISH", channel!, body)) > 0
      ? { outcome: "taken" }
      : { outcome: "unreachable", why: `Nobody listens to the channel "${channel}".` };
}

function refused(error: unknown): Delivery {
  const why = messageOf(error);
  if (!refusal.test(why)) throw error;
  return { outcome: "refused", why };
}

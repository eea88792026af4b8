/** A Redis that syncs each write, with a password. */
import { Redis } from "ioredis";
import { BrokerProcess, missing, type Broker } from "./broker.ts";

export const redisMissing = missing("redis-server", "redis-server");
export const redisPassword = "redis-secret-77";

export type RedisBroker = Broker & { command(...words: readonly string[]): Promise<unknown> };

export type RedisOptions = { readonly flags?: readonly string[]; readonly place?: string };

export async function startRedis({ flags = [], place = "stream=told" }: RedisOptions = {}): Promise<RedisBroker> {
  const process = await BrokerProcess.start("redis", ({ folder, port }) => ({
    program: "redis-server",
    args: [
      `--port ${port} --bind 127.0.0.1 --dir ${folder} --appendonly yes --appendfsync always`.split(" "),
      ["--save", "", "--requirepass", redisPassword],
      flags,
    ].flat(),
  }));
  const { port } = process;
  const command = async (...[name, ...words]: readonly string[]): Promise<unknown> => {
    const redis = new Redis({ port, host: "127.0.0.1", password: redisPassword, maxRetriesPerRequest: 50 });
    redis.on("error", () => undefined);
    try {
      return await redis.call(name!, ...words);
    } finally {
      redis.disconnect();
    }
  };
  return {
    port,
    command,
    url: (at) => `redis://:${redisPassword}@127.0.0.1:${at}/0?${place}`,
    urlOfStranger: (at) => `redis://:not-the-password@127.0.0.1:${at}/0?${place}`,
    taken: async () => {
      const entries = (await command("XRANGE", "told", "-", "+")) as [string, string[]][];
      return entries.map(([, fields]) => fields[fields.indexOf("body") + 1]!);
    },
    stop: () => process.stop("SIGKILL"),
    start: () => process.start(),
    dispose: () => process.dispose(),
  };
}

/** A RabbitMQ of its own: its folder, its ports, and the port mapper that Erlang wants, each ended by its id. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { connect } from "amqplib";
import { claimPort, freePort } from "../../src/core/ports.fixture.ts";
import { BrokerProcess, type Broker } from "./broker.ts";

const script = "/usr/lib/rabbitmq/bin/rabbitmq-server";
export const rabbitMissing = existsSync(script)
  ? false
  : "NOT CHECKED: events to RabbitMQ. Install it (apt-get install rabbitmq-server).";

type Channel = Awaited<ReturnType<Awaited<ReturnType<typeof connect>>["createChannel"]>>;

export type RabbitBroker = Broker & {
  /** On a channel of its own. */
  run<T>(work: (channel: Channel) => Promise<T>): Promise<T>;
  /** Forgets what it has taken. */
  clear(): Promise<void>;
};

export async function startRabbit(place = "queue=told"): Promise<RabbitBroker> {
  const [mapperPort, distributionPort] = [await claimPort(), await freePort()];
  const mapper: ChildProcess = spawn("epmd", ["-port", String(mapperPort), "-address", "127.0.0.1"], {
    stdio: "ignore",
  });
  const endMapper = async (): Promise<void> => {
    const exited = once(mapper, "exit");
    if (mapper.kill()) await exited;
  };
  const starting = BrokerProcess.start("rabbit", ({ folder, port }) => {
    writeFileSync(path.join(folder, "plugins"), "[].\n");
    return {
      program: script,
      args: [],
      env: {
        ...process.env,
        HOME: folder,
        ERL_EPMD_PORT: String(mapperPort),
        RABBITMQ_NODENAME: "holdfast@localhost",
        RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
        RABBITMQ_NODE_PORT: String(port),
        RABBITMQ_DIST_PORT: String(distributionPort),
        RABBITMQ_MNESIA_BASE: path.join(folder, "db"),
        RABBITMQ_LOG_BASE: path.join(folder, "log"),
        RABBITMQ_CONFIG_FILE: path.join(folder, "none"),
        RABBITMQ_CONF_ENV_FILE: path.join(folder, "none"),
        RABBITMQ_ENABLED_PLUGINS_FILE: path.join(folder, "plugins"),
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
      },
    };
  });
  const broker = await starting.catch(async (error: unknown) => {
    await endMapper();
    throw error;
  });
  const { port } = broker;
  const run = async <T>(work: (channel: Channel) => Promise<T>): Promise<T> => {
    const model = await connect({ hostname: "127.0.0.1", port });
    model.on("error", () => undefined);
    try {
      return await work(await model.createChannel());
    } finally {
      await model.close().catch(() => undefined);
    }
  };
  await run((channel) => channel.assertQueue("told", { durable: true }));
  const taken: string[] = [];
  const read = async (channel: Channel): Promise<void> => {
    for (let found = await channel.get("told"); found !== false; found = await channel.get("told")) {
      taken.push(found.content.toString());
      channel.ack(found);
    }
  };
  return {
    port,
    run,
    url: (at) => `amqp://guest:guest@127.0.0.1:${at}/?${place}`,
    urlOfStranger: (at) => `amqp://guest:not-the-password@127.0.0.1:${at}/?${place}`,
    taken: async () => {
      await run(read);
      return taken;
    },
    clear: async () => {
      await run((channel) => channel.purgeQueue("told"));
      taken.length = 0;
    },
    // The script ends Erlang's machine in order, which is what can be ended without knowing its id.
    stop: () => broker.stop("SIGTERM"),
    start: () => broker.start(),
    dispose: async () => {
      await broker.dispose("SIGTERM");
      await endMapper();
    },
  };
}

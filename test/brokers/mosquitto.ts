/** A Mosquitto that keeps what it has for a subscriber who comes back, with users. */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { connect, type MqttClient } from "mqtt";
import { claimPort } from "../../src/core/ports.fixture.ts";
import { BrokerProcess, missing, type Broker } from "./broker.ts";

export const mosquittoMissing = missing("mosquitto", "mosquitto");
const password = "mqtt-secret-31";

export type MosquittoBroker = Broker & {
  readonly folder: string;
  /** Takes part as a subscriber: without one nobody is told anything. */
  subscribe(): Promise<void>;
};

export type MosquittoOptions = {
  readonly settings?: readonly string[];
  readonly scheme?: "mqtt" | "mqtts";
  readonly query?: string;
  /** Left out: there is one. */
  readonly subscriber?: boolean;
};

export async function startMosquitto(options: MosquittoOptions = {}): Promise<MosquittoBroker> {
  const { settings = [], scheme = "mqtt", query = "", subscriber = true } = options;
  const plainPort = await claimPort();
  const process = await BrokerProcess.start("mosquitto", ({ folder, port }) => {
    const users = path.join(folder, "users");
    writeFileSync(users, `app:${password}\n`);
    spawnSync("mosquitto_passwd", ["-U", users]);
    writeFileSync(path.join(folder, "nobody-writes"), "user app\ntopic read told/#\n");
    const lines = [
      "per_listener_settings false",
      `listener ${port} 127.0.0.1`,
      ...settings.map((line) => line.replaceAll("FOLDER", folder)),
      ...(scheme === "mqtts" ? [`listener ${plainPort} 127.0.0.1`] : []),
      `password_file ${users}`,
      "persistence true",
      `persistence_location ${folder}/`,
      "max_queued_messages 0",
      "user root",
    ];
    writeFileSync(path.join(folder, "mosquitto.conf"), `${lines.join("\n")}\n`);
    return { program: "mosquitto", args: ["-c", path.join(folder, "mosquitto.conf")] };
  });
  const { port } = process;
  const taken: string[] = [];
  let reader: MqttClient | undefined;
  const subscribe = async (): Promise<void> => {
    reader = connect({
      host: "127.0.0.1",
      port: scheme === "mqtts" ? plainPort : port,
      username: "app",
      password,
      clientId: "reader",
      clean: false,
      reconnectPeriod: 50,
    });
    reader.on("error", () => undefined);
    reader.on("message", (_topic, payload) => taken.push(payload.toString()));
    await reader.subscribeAsync("told/#", { qos: 1 });
  };
  if (subscriber) await subscribe();
  const url = (at: number, login: string): string => `${scheme}://${login}@127.0.0.1:${at}/told/all${query}`;
  return {
    port,
    folder: process.folder,
    subscribe,
    url: (at) => url(at, `app:${password}`),
    urlOfStranger: (at) => url(at, "app:not-the-password"),
    taken: async () => taken,
    // What it has not passed on is only written down when it ends in order.
    stop: () => process.stop("SIGTERM"),
    start: () => process.start(),
    dispose: async () => {
      await reader?.endAsync(true);
      await process.dispose();
    },
  };
}

/** A NATS server with JetStream and a user. */
import { connect, type ConnectionOptions } from "@nats-io/transport-node";
import { BrokerProcess, missing, type Broker } from "./broker.ts";

export const natsMissing = missing("nats-server", "nats-server");
const password = "nats-secret-12";

export type NatsBroker = Broker & {
  /** A request to the server's own interface, or to anybody's. */
  ask(subject: string, body?: object): Promise<Record<string, unknown>>;
};

export type NatsOptions = {
  readonly flags?: readonly string[];
  readonly query?: string;
  readonly login?: string;
  readonly connection?: ConnectionOptions;
  /** Settings of the stream, or none of it. */
  readonly stream?: object | undefined;
};

export async function startNats(options: NatsOptions = {}): Promise<NatsBroker> {
  const {
    flags = ["--user", "app", "--pass", password],
    query = "?jetstream=true",
    login = `app:${password}@`,
  } = options;
  const process = await BrokerProcess.start("nats", ({ folder, port }) => ({
    program: "nats-server",
    args: ["-a", "127.0.0.1", "-p", String(port), "-js", "-sd", folder, ...flags],
  }));
  const { port } = process;
  const ask = async (subject: string, body: object = {}): Promise<Record<string, unknown>> => {
    const connection = options.connection ?? { user: "app", pass: password };
    const nats = await connect({ servers: `127.0.0.1:${port}`, ...connection });
    try {
      const answer = await nats.request(subject, JSON.stringify(body), { timeout: 10_000 });
      return answer.json<Record<string, unknown>>();
    } finally {
      await nats.close();
    }
  };
  const stream = { name: "TOLD", subjects: ["told.>"], storage: "file", ...options.stream };
  if (!("stream" in options) || options.stream !== undefined) await ask("$JS.API.STREAM.CREATE.TOLD", stream);
  const taken = async (): Promise<string[]> => {
    const info = await ask("$JS.API.STREAM.INFO.TOLD");
    const { last_seq: last } = info["state"] as { last_seq: number };
    const bodies: string[] = [];
    for (let seq = 1; seq <= last; seq++) {
      const { message } = await ask("$JS.API.STREAM.MSG.GET.TOLD", { seq });
      bodies.push(Buffer.from((message as { data: string }).data, "base64").toString());
    }
    return bodies;
  };
  return {
    port,
    ask,
    taken,
    url: (at) => `nats://${login}127.0.0.1:${at}/told.all${query}`,
    urlOfStranger: (at) => `nats://app:not-the-password@127.0.0.1:${at}/told.all${query}`,
    stop: () => process.stop("SIGKILL"),
    start: () => process.start(),
    dispose: () => process.dispose(),
  };
}

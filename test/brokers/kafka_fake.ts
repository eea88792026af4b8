/**
 * A Kafka broker for a producer, since Debian has none: one topic with three partitions, users (SASL PLAIN), every answer in the real
 * protocol's bytes, errors as it is told. Its log outlives `stop`, as that of a broker does. Known gap: no consumers, no other brokers.
 */
import { createServer, type Server, type Socket } from "node:net";
import { claimPort } from "../../src/core/ports.fixture.ts";
import type { Broker } from "./broker.ts";
import { Reader, readRecordBatch, Writer, type KafkaRecord } from "./kafka_wire.ts";

const apis = { produce: 0, metadata: 3, handshake: 17, apiVersions: 18, authenticate: 36 } as const;
/** The versions that are spoken here. */
const spoken: readonly (readonly [api: number, min: number, max: number])[] = [
  [apis.produce, 3, 3],
  [apis.metadata, 4, 4],
  [apis.handshake, 1, 1],
  [apis.apiVersions, 0, 2],
  [apis.authenticate, 0, 0],
];
export const kafkaErrors = { unknownTopic: 3, notLeader: 6, messageTooLarge: 10, notEnoughReplicas: 19 } as const;
const authenticationFailed = 58;
const illegalState = 34;
const unsupportedVersion = 35;
const user = "app";
const password = "kafka-secret-55";
const partitions = [0, 1, 2];

export type Stored = KafkaRecord & { readonly partition: number };

export class KafkaFake implements Broker {
  readonly port: number;
  readonly log: Stored[] = [];
  /** The error that a record is answered with; 0: it is stored. */
  answer: (record: KafkaRecord) => number = () => 0;
  /** Clients connect to the address that a broker says it has, whichever way they asked for it. */
  #advertised: number;
  readonly #mechanism: string;
  #server: Server | undefined;
  readonly #sockets = new Set<Socket>();

  static async open(): Promise<KafkaFake> {
    const fake = new KafkaFake(await claimPort());
    await fake.start();
    return fake;
  }

  private constructor(port: number) {
    this.port = port;
    this.#advertised = port;
    this.#mechanism = "PLAIN";
  }

  url(port: number): string {
    this.#advertised = port;
    return `kafka://${user}:${password}@127.0.0.1:${port}/told`;
  }

  urlOfStranger(port: number): string {
    return this.url(port).replace(password, "not-the-password");
  }

  taken = async (): Promise<readonly string[]> => this.log.map(({ value }) => value);

  async start(): Promise<void> {
    const server = createServer((socket) => this.#serve(socket));
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.port, "127.0.0.1", resolve));
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.#sockets) socket.destroy();
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  dispose = (): Promise<void> => this.stop();

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => this.#sockets.delete(socket));
    const caller = { isKnown: false };
    let rest: Buffer = Buffer.alloc(0);
    socket.on("data", (piece: Buffer) => {
      rest = Buffer.concat([rest, piece]);
      while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE(0)) {
        const end = 4 + rest.readInt32BE(0);
        this.#request(rest.subarray(4, end), socket, caller);
        rest = rest.subarray(end);
      }
    });
  }

  #request(bytes: Buffer, socket: Socket, caller: { isKnown: boolean }): void {
    const request = new Reader(bytes);
    const [api, version, correlation] = [request.int16(), request.int16(), request.int32()];
    request.string();
    const isOpen = api === apis.apiVersions || api === apis.handshake || api === apis.authenticate;
    const isSpoken = spoken.some(([known, min, max]) => known === api && version >= min && version <= max);
    const answer = new Writer().int32(correlation);
    // A client that asks in a newer version than is known is told which there are, in the oldest.
    if (api === apis.apiVersions) this.#versions(answer, isSpoken ? version : 0, isSpoken ? 0 : unsupportedVersion);
    else if (!isSpoken || (!isOpen && !caller.isKnown)) return void socket.destroy();
    else if (api === apis.metadata) this.#metadata(answer, request);
    else if (api === apis.produce) this.#produce(answer, request);
    else if (api === apis.handshake) this.#handshake(answer, request);
    else caller.isKnown = this.#authenticate(answer, request);
    const body = answer.finish();
    socket.write(Buffer.concat([new Writer().int32(body.length).finish(), body]));
  }

  #versions(answer: Writer, version: number, error: number): void {
    answer.int16(error).array(spoken, (each) => each.forEach((value) => answer.int16(value)));
    if (version > 0) answer.int32(0);
  }

  #handshake(answer: Writer, request: Reader): void {
    answer.int16(request.string() === this.#mechanism ? 0 : illegalState);
    answer.array([this.#mechanism], (name) => answer.string(name));
  }

  #authenticate(answer: Writer, request: Reader): boolean {
    const isRight = request.bytes().toString() === `\0${user}\0${password}`;
    answer.int16(isRight ? 0 : authenticationFailed).string(isRight ? undefined : "Authentication failed");
    answer.bytes(Buffer.alloc(0));
    return isRight;
  }

  #metadata(answer: Writer, request: Reader): void {
    const topics = request.array(() => request.string()!);
    const only = [1];
    answer.int32(0);
    answer.array(only, (id) => answer.int32(id).string("127.0.0.1").int32(this.#advertised).string(undefined));
    answer.string("fake").int32(1);
    answer.array(topics, (topic) => {
      const isThere = topic === "told";
      answer
        .int16(isThere ? 0 : kafkaErrors.unknownTopic)
        .string(topic)
        .int8(0);
      answer.array(isThere ? partitions : [], (partition) => {
        answer.int16(0).int32(partition).int32(1);
        for (const replicas of [only, only]) answer.array(replicas, (id) => answer.int32(id));
      });
    });
  }

  #produce(answer: Writer, request: Reader): void {
    request.string();
    const acks = request.int16();
    request.int32();
    const topics = request.array(() => ({
      name: request.string()!,
      batches: request.array(() => ({ partition: request.int32(), records: readRecordBatch(request.bytes()) })),
    }));
    answer.array(topics, ({ name, batches }) => {
      answer.string(name).array(batches, ({ partition, records }) => {
        const errors = records.map((record) => this.answer(record));
        const error = acks === -1 ? (errors.find((each) => each !== 0) ?? 0) : illegalState;
        if (error === 0) for (const record of records) this.log.push({ ...record, partition });
        answer.int32(partition).int16(error).int64(this.log.length).int64(-1);
      });
    });
    answer.int32(0);
  }
}

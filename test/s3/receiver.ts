/** A webhook as somebody would write one: takes messages, and answers what it is told to. */
import { createServer, type IncomingHttpHeaders } from "node:http";
import { claimPort } from "../../src/core/ports.fixture.ts";

export type EventRecord = {
  readonly eventName: string;
  readonly eventTime: string;
  readonly awsRegion: string;
  readonly userIdentity: { readonly principalId: string };
  readonly requestParameters: { readonly sourceIPAddress: string };
  readonly responseElements: Readonly<Record<string, string>>;
  readonly s3: {
    readonly configurationId: string;
    readonly bucket: { readonly name: string; readonly arn: string };
    readonly object: {
      readonly key: string;
      readonly size?: number;
      readonly eTag?: string;
      readonly versionId?: string;
      readonly sequencer: string;
    };
  };
};

export type Received = { readonly headers: IncomingHttpHeaders; readonly body: string; readonly path: string };

export type Receiver = {
  readonly url: string;
  readonly port: number;
  /** What it took, in the order in which it came. */
  readonly taken: Received[];
  /** The records of what it took. */
  events(): EventRecord[];
  /** Which status it answers; only what is answered with 200 is taken. */
  answer: (received: Received) => number | Promise<number>;
  close(): Promise<void>;
};

/** At a port of its own, to which it can come back. */
export async function startReceiver(at?: number): Promise<Receiver> {
  const port = at ?? (await claimPort());
  const taken: Received[] = [];
  const server = createServer((req, res) => {
    const pieces: Buffer[] = [];
    req.on("data", (piece: Buffer) => pieces.push(piece));
    req.on("end", () => {
      const received = { headers: req.headers, body: Buffer.concat(pieces).toString(), path: req.url ?? "" };
      void (async () => {
        const status = await receiver.answer(received);
        if (status === 200) taken.push(received);
        res.writeHead(status).end("thanks");
      })();
    });
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const receiver: Receiver = {
    url: `http://127.0.0.1:${port}/hook`,
    port,
    taken,
    events: () => taken.flatMap(({ body }) => (JSON.parse(body) as { Records?: EventRecord[] }).Records ?? []),
    answer: () => 200,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return receiver;
}

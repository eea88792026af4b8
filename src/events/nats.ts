/**
 * Messages on a NATS subject. Without JetStream a message is taken when the server has it (a PING behind it is answered), and is told
 * to whoever listens at that moment; with JetStream when a stream has stored it. The stream tells doubles apart by `Nats-Msg-Id`.
 *
 * Source: "NATS protocol" and "JetStream wire API" (ADR-1) of the NATS documentation. A publish to JetStream is a request: the answer is
 * `{"stream", "seq"}` or `{"error": {"code", "description"}}`.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { Socket } from "node:net";
import { checkServerIdentity, type ConnectionOptions as TlsConnectionOptions } from "node:tls";
import type { ConnectionOptions, MsgHdrs, NatsConnection } from "@nats-io/transport-node";
import { limits } from "../core/limits.ts";
import type { Credentials, DestinationRecord } from "../meta/destinations.ts";
import { parseBrokerAddress, type BrokerAddress, type Host } from "./address.ts";
import { libraryOf, messageOf, type Connection, type OpenConnection } from "./connection.ts";
import type { Delivery, Message } from "./courier.ts";

export const natsLibrary = "@nats-io/transport-node";
const load = async () => {
  const library = await import("@nats-io/transport-node");
  unsubscribe(newSockets, noteSocket);
  subscribe(newSockets, noteSocket);
  return library;
};
type Library = Awaited<ReturnType<typeof load>>;

/** Sockets that were opened by an attempt to connect: the library leaves those behind whose other end says nothing. */
const socketsOf = new AsyncLocalStorage<Set<Socket>>();
const newSockets = "net.client.socket";

function noteSocket(made: unknown): void {
  const { socket } = made as { socket?: unknown };
  if (socket instanceof Socket) socketsOf.getStore()?.add(socket);
}

async function connect(library: Library, options: ConnectionOptions): Promise<NatsConnection> {
  const sockets = new Set<Socket>();
  try {
    return await socketsOf.run(sockets, () => library.connect(options));
  } catch (error) {
    for (const socket of sockets) socket.destroy();
    throw error;
  }
}

export function openNats({ url, credentials }: DestinationRecord): OpenConnection {
  const address = parseBrokerAddress(url);
  return async (lost) => {
    const library = await libraryOf(natsLibrary, load);
    const nats = await connect(library, optionsOf(address, credentials, library.credsAuthenticator));
    void nats.closed().then((error) => lost(error instanceof Error ? error : new Error("It closed the connection.")));
    const headersOf = (message: Message): MsgHdrs => {
      const headers = library.headers();
      headers.set("Nats-Msg-Id", message.id);
      headers.set("Holdfast-Event", message.event);
      return headers;
    };
    const send = address.settings.get("jetstream") === "true" ? toStream(library, nats) : toSubject(nats);
    return {
      deliver: (message) => send({ subject: address.path, body: message.body, headers: headersOf(message) }),
      close: () => void nats.close().catch(() => undefined),
    } satisfies Connection;
  };
}

function optionsOf(
  { hosts, isTls }: BrokerAddress,
  credentials: Credentials,
  authenticatorOf: (file: Uint8Array) => NonNullable<ConnectionOptions["authenticator"]>,
): ConnectionOptions {
  const { user, password, natsCredentials } = credentials;
  return {
    servers: hosts.map(({ host, port }) => `${host.includes(":") ? `[${host}]` : host}:${port}`),
    name: "holdfast",
    reconnect: false,
    ignoreClusterUpdates: true,
    timeout: limits.deliveryMsMax,
    ...(isTls && { tls: natsTls(hosts, credentials) }),
    // A user without a password is a token, as in all addresses of NATS.
    ...(user !== undefined && (password === undefined ? { token: user } : { user, pass: password })),
    ...(natsCredentials !== undefined && { authenticator: authenticatorOf(Buffer.from(natsCredentials)) }),
  };
}

/**
 * The library gives what it does not know to Node.js. It would have an address that is a number checked as "localhost", so the
 * certificate is checked here: it must be of one of the hosts that were named.
 */
function natsTls(
  hosts: readonly Host[],
  { authority, certificate, key }: Credentials,
): NonNullable<ConnectionOptions["tls"]> {
  const identity: Pick<TlsConnectionOptions, "checkServerIdentity"> = {
    checkServerIdentity: (_name, peer) => {
      const wrong = hosts.map(({ host }) => checkServerIdentity(host, peer));
      return wrong.includes(undefined) ? undefined : wrong[0];
    },
  };
  return {
    ...identity,
    ...(authority !== undefined && { ca: authority }),
    ...(certificate !== undefined && key !== undefined && { cert: certificate, key }),
  };
}

type Publication = { readonly subject: string; readonly body: string; readonly headers: MsgHdrs };
type Send = (publication: Publication) => Promise<Delivery>;

/** What the server says about a message that it does not take comes before the answer to the PING, and names no message. */
function toSubject(nats: NatsConnection): Send {
  let refusals = 0;
  let why = "";
  const watch = async (): Promise<void> => {
    for await (const status of nats.status())
      if (status.type === "error") {
        refusals += 1;
        why = messageOf(status.error);
      }
  };
  void watch().catch(() => undefined);
  return async ({ subject, body, headers }) => {
    const before = refusals;
    const tooLarge = sizeRefusal(nats, body);
    if (tooLarge !== undefined) return tooLarge;
    nats.publish(subject, body, { headers });
    await nats.flush();
    // The watcher above is woken in turns of its own.
    await new Promise((resolve) => setImmediate(resolve));
    return refusals === before ? { outcome: "taken" } : { outcome: "refused", why };
  };
}

function toStream(library: Library, nats: NatsConnection): Send {
  return async ({ subject, body, headers }) => {
    const tooLarge = sizeRefusal(nats, body);
    if (tooLarge !== undefined) return tooLarge;
    const options = { headers, timeout: limits.deliveryMsMax };
    const answer = await nats.request(subject, body, options).catch((error: unknown) => {
      // There is no stream of this subject, or none at this moment.
      if (error instanceof library.errors.RequestError && error.isNoResponders()) return undefined;
      throw error;
    });
    if (answer === undefined) return { outcome: "unreachable", why: `No stream stores the subject "${subject}".` };
    return deliveryOf(answer.string());
  };
}

/** Pure. */
export function deliveryOf(answer: string): Delivery {
  let parsed: unknown;
  try {
    parsed = JSON.parse(answer);
  } catch {
    return { outcome: "unreachable", why: "What answered is no stream." };
  }
  const { stream, seq, error } = (parsed ?? {}) as {
    stream?: unknown;
    seq?: unknown;
    error?: { code?: number; description?: string };
  };
  if (error !== undefined) {
    const why = `It answered ${error.code ?? "an error"}: ${error.description ?? ""}`;
    return { outcome: error.code === 503 ? "unreachable" : "refused", why };
  }
  if (typeof stream === "string" && typeof seq === "number") return { outcome: "taken" };
  return { outcome: "unreachable", why: "What answered is no stream." };
}

/** The largest message is the server's setting; one that is larger ends the connection for all others. */
function sizeRefusal({ info }: NatsConnection, body: string): Delivery | undefined {
  const most = info?.max_payload ?? Infinity;
  if (Buffer.byteLength(body) + limits.messageHeaderBytesMax <= most) return undefined;
  return { outcome: "refused", why: `It takes messages of at most ${most} bytes.` };
}

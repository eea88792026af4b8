/** A chunk node served over loopback by the real listener, and a client of it; for tests and bench/peer.ts. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { systemClock, type Clock } from "../core/clock.ts";
import { errorReply, type DoorRequest } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import { silentLog, type Log } from "../core/log.ts";
import { createMetrics } from "../core/metrics.ts";
import { claimPort } from "../core/ports.fixture.ts";
import { systemRandom } from "../core/random.ts";
import { send } from "../gateway/respond.ts";
import { Listener } from "../server/http.ts";
import type { Tls } from "../server/tls.ts";
import type { ChunkNode } from "./node.ts";
import { createNodeDoor, type NodeDoor } from "./peer_door.ts";
import { connectPeer, type PeerNode, type PeerOptions } from "./peer_node.ts";

export const secret = "0123456789abcdef0123456789abcdef";
export const from = "node-a";

export type Served = { readonly port: number; readonly door: NodeDoor; readonly stop: () => Promise<void> };

type ServeOptions = {
  readonly secret?: string;
  readonly tls?: Tls | undefined;
  readonly port?: number;
  readonly copy?: NonNullable<ChunkNode["copy"]>;
  readonly clock?: Clock;
  readonly log?: Log;
};

export async function serveNode(node: ChunkNode, options: ServeOptions = {}): Promise<Served> {
  const parts = { clock: options.clock ?? systemClock, log: options.log ?? silentLog };
  const { copy } = options;
  const door = createNodeDoor({
    node,
    ...(copy && { copy }),
    secret: options.secret ?? secret,
    random: systemRandom,
    ...parts,
  });
  const listener = new Listener({
    door: (req, res) => throughDoor(door, req, res),
    tls: options.tls,
    metrics: createMetrics(),
    clock: systemClock,
    log: silentLog,
  });
  // One that stays its own: some come back at it.
  const port = options.port ?? (await claimPort());
  await listener.listen({ host: "127.0.0.1", port });
  return { port, door, stop: () => listener.stop(0) };
}

export function requestOf(req: IncomingMessage, res: ServerResponse): DoorRequest {
  const left = new AbortController();
  res.once("close", () => {
    if (!res.writableFinished) left.abort(new HoldfastError("cancelled", "The client left."));
  });
  const { pathname, searchParams } = new URL(req.url ?? "", "http://x");
  return {
    method: req.method ?? "",
    segments: pathname.split("/").slice(3),
    query: new Map(searchParams),
    headers: req.headers,
    remoteAddress: req.socket.remoteAddress,
    connection: req.socket,
    signal: left.signal,
    body: () => req,
  };
}

/** As src/server/doors.ts does it. */
async function throughDoor(door: NodeDoor, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const reply = await door.handle(requestOf(req, res)).catch((error: unknown) => errorReply(error).reply);
  await send({ req, res, reply, common: [], awaitsContinue: false });
}

/** A process that has to wait for its turn, with the peer in it, is not to take it for away. */
export const patient = { connectMsMax: 120_000, callMsMax: 240_000 };

export function connectTo(port: number, node: ChunkNode, options: Partial<PeerOptions> = {}): PeerNode {
  const seams = { clock: systemClock, random: systemRandom, log: silentLog, ...patient };
  const drives = node.drives;
  return connectPeer({ url: `http://127.0.0.1:${port}`, name: "b", from, secret, drives, ...seams, ...options });
}

/** The node with another way of appending. */
export function withAppend(inner: ChunkNode, append: ChunkNode["append"]): ChunkNode {
  return {
    get drives() {
      return inner.drives;
    },
    ...(inner.distance && { distance: (drive) => inner.distance!(drive) }),
    ...(inner.isHeld && { isHeld: (drive) => inner.isHeld!(drive) }),
    append,
    read: (...given) => inner.read(...given),
    remove: (...given) => inner.remove(...given),
    list: (...given) => inner.list(...given),
    verify: (...given) => inner.verify(...given),
    discard: (...given) => inner.discard(...given),
    compact: (...given) => inner.compact(...given),
    status: (...given) => inner.status(...given),
    close: () => inner.close(),
  };
}

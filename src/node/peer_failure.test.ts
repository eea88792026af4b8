/** Two nodes and what happens between them: cuts, changed bytes, replays, silence, restarts, callers that leave. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect, createServer as createTcpServer, type AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import fc from "fast-check";
import { systemClock, type Clock } from "../core/clock.ts";
import { HoldfastError, hasReason } from "../core/errors.ts";
import { IdSource, type SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { createMemoryNode } from "./node.memory.ts";
import type { ChunkNode, Shard } from "./node.ts";
import { connectTo, secret, serveNode, withAppend } from "./peer.fixture.ts";
import { isOutcomeUnknown } from "./peer_errors.ts";
import type { PeerNode, PeerOptions } from "./peer_node.ts";
import { proxyTo, type Mishap, type Proxy } from "./peer_proxy.fixture.ts";
import { helloHeader, serverHelloText } from "./peer_seal.ts";

const ids = new IdSource("00000000000000ff" as SessionId);

function shard(sizeBytes: number): Shard {
  const body = [Buffer.from(systemRandom.bytes(sizeBytes))];
  return { chunk: ids.chunk(), shardIndex: 0, owner: { blob: ids.blob(), chunkIndex: 0 }, body };
}

/** Time that passes only when told; deadlines come as they do. */
class StoppedClock implements Clock {
  atMs = 0;
  readonly sleep = systemClock.sleep;
  nowMs(): number {
    return this.atMs;
  }
  monotonicMs(): number {
    return this.atMs;
  }
}

type Pair = { readonly inner: ChunkNode; readonly peer: PeerNode; readonly proxy: Proxy; readonly clock: StoppedClock };

async function pair(t: TestContext, inner = createMemoryNode(), options: Partial<PeerOptions> = {}): Promise<Pair> {
  const clock = new StoppedClock();
  const served = await serveNode(inner);
  const proxy = await proxyTo(served.port);
  const peer = connectTo(proxy.port, inner, { clock, ...options });
  t.after(async () => {
    await peer.close();
    await proxy.stop();
    await served.stop();
  });
  return { inner, peer, proxy, clock };
}

const isAway = (error: unknown): boolean => hasReason(error, "drive_missing");

async function isThere(node: ChunkNode, { chunk, shardIndex, body }: Shard): Promise<boolean> {
  const ref = { chunk, shardIndex };
  if ((await node.verify(node.drives[0]!, ref)).outcome === "missing") return false;
  const length = body[0]!.length;
  assert.ok((await node.read(node.drives[0]!, ref, { offset: 0, length })).equals(body[0]!), "what is there is right");
  return true;
}

/** Lets a try through. */
function passBackoff(clock: StoppedClock): void {
  clock.atMs += limits.peerRetryMsMax;
}

/** What is to succeed on a healthy way, unless this process stood still for as long as a call may take. */
async function surely({ clock }: Pair, call: () => Promise<unknown>): Promise<void> {
  for (let left = 5; ; left--) {
    passBackoff(clock);
    try {
      return void (await call());
    } catch (error) {
      if (left === 0 || !(error instanceof Error && /did not answer in time|no connection free/.test(error.message)))
        throw error;
    }
  }
}

/** An append over a connection that is new or has been used, with a mishap on its way. */
async function appendWith(both: Pair, mishap: Mishap, isUsed: boolean): Promise<void> {
  const { inner, peer, proxy, clock } = both;
  const drive = inner.drives[0]!;
  passBackoff(clock);
  if (!isUsed) proxy.cutAll();
  else await surely(both, () => peer.status(drive));
  const one = shard(300);
  const last = proxy.sockets.length - 1;
  const start = !isUsed ? 0 : mishap.side === "up" ? proxy.up[last]!.length : proxy.downBytes[last]!;
  proxy.mishap = { ...mishap, at: start + mishap.at };
  const failure = await peer.append(drive, one).then(
    () => undefined,
    (error: Error) => error,
  );
  proxy.mishap = undefined;
  if (failure === undefined) assert.equal(await isThere(inner, one), true);
  else {
    assert.ok(isAway(failure), String(failure));
    if (!isOutcomeUnknown(failure)) assert.equal(await isThere(inner, one), false);
  }
  // What is left of it on the other side does not stop the next one.
  await surely(both, async () => {
    const next = shard(300);
    await peer.append(drive, next);
    assert.equal(await isThere(inner, next), true);
  });
}

/** A length that was changed on the way makes one side wait for the rest. */
const callMsMax = 2_000;
/** More than a hello, an append of 300 bytes and their replies have. */
const bytesMax = 1_400;
const mishaps: fc.Arbitrary<Mishap> = fc.record({
  kind: fc.constantFrom("cut" as const, "flip" as const),
  side: fc.constantFrom("up" as const, "down" as const),
  at: fc.nat(bytesMax),
});

test("an append that is cut or changed anywhere fails, or is right; what it says of its outcome is true", async (t) => {
  const both = await pair(t, createMemoryNode(), { callMsMax });
  await fc.assert(
    fc.asyncProperty(mishaps, fc.boolean(), (mishap, isUsed) => appendWith(both, mishap, isUsed)),
    { numRuns: 300 },
  );
});

test("a read whose bytes are cut or changed anywhere fails, or is right", async (t) => {
  const both = await pair(t, createMemoryNode(), { callMsMax });
  const { inner, peer, proxy, clock } = both;
  const drive = inner.drives[0]!;
  const one = shard(300);
  await inner.append(drive, one);
  const run = async (mishap: Mishap): Promise<void> => {
    passBackoff(clock);
    proxy.cutAll();
    proxy.mishap = mishap;
    try {
      const read = await peer.read(drive, one, { offset: 0, length: 300 });
      assert.ok(read.equals(one.body[0]!));
    } catch (error) {
      assert.ok(isAway(error), String(error));
    } finally {
      proxy.mishap = undefined;
    }
  };
  await fc.assert(fc.asyncProperty(mishaps, run), { numRuns: 300 });
});

/** Sends bytes and hears what comes until the connection ends. */
async function say(port: number, ...pieces: readonly Uint8Array[]): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  let heard = "";
  socket.on("data", (data) => (heard += data.toString("latin1")));
  for (const piece of pieces) {
    socket.write(piece);
    await once(socket, "data");
  }
  socket.end();
  if (!socket.closed) await once(socket, "close");
  return heard;
}

test("recorded bytes mean nothing a second time, on the same connection or on another", async (t) => {
  const { inner, peer, proxy } = await pair(t);
  const drive = inner.drives[0]!;
  const one = shard(300);
  await peer.status(drive);
  const before = proxy.up[0]!.length;
  await peer.append(drive, one);
  const all = proxy.up[0]!;
  const append = all.subarray(before);
  await inner.remove(drive, [one]);
  // On another connection: the hello passes, being a good one, and opens nothing.
  const helloBytes = all.indexOf("\r\n\r\n") + 4;
  const far = proxy.sockets[0]!.far.remotePort!;
  const heard = await say(far, all.subarray(0, helloBytes), append);
  assert.match(heard, /^HTTP\/1\.1 200 [^]*HTTP\/1\.1 401 [^]*not_sealed/);
  assert.match(await say(far, append), /^HTTP\/1\.1 401 [^]*hello_first/);
  // On the same connection.
  const ended = once(proxy.sockets[0]!.far, "close");
  proxy.sockets[0]!.far.write(append);
  await ended;
  assert.equal(await isThere(inner, one), false);
  await peer.append(drive, one);
  assert.equal(await isThere(inner, one), true);
});

test("a wrong secret is refused and logged on both sides, and fails fast from then on", async (t) => {
  const inner = createMemoryNode();
  const lines: string[] = [];
  const log = { ...silentLog, warn: (_: object, message: string) => void lines.push(message) };
  const served = await serveNode(inner, { log });
  t.after(served.stop);
  const clock = new StoppedClock();
  const wrong = connectTo(served.port, inner, { secret: "f".repeat(32), clock, log });
  t.after(() => wrong.close());
  const drive = inner.drives[0]!;
  const message = "Node b does not let this one in: it answered 401 wrong_secret.";
  for (let index = 0; index < 3; index++) {
    await assert.rejects(wrong.status(drive), { name: "HoldfastError", message, reason: "drive_missing" });
  }
  assert.deepEqual(lines.sort(), [
    "A node is away: it does not let this one in: it answered 401 wrong_secret.",
    "A node was not let in: it does not know the cluster secret.",
  ]);
});

test("who takes every secret but knows none gets no shard", async (t) => {
  const heard: string[] = [];
  const impostor = createServer((request, response) => {
    heard.push(request.url!);
    const hello = serverHelloText({ nonce: "00".repeat(32), proof: "00".repeat(32) });
    response.writeHead(200, { [helloHeader]: hello, "content-length": 0 }).end();
  });
  await new Promise<void>((resolve) => void impostor.listen(0, "127.0.0.1", resolve));
  const node = createMemoryNode();
  const peer = connectTo((impostor.address() as AddressInfo).port, node, { clock: new StoppedClock() });
  t.after(async () => {
    await peer.close();
    impostor.closeAllConnections();
    impostor.close();
  });
  await assert.rejects(peer.append(node.drives[0]!, shard(100)), (error) => isAway(error) && !isOutcomeUnknown(error));
  assert.deepEqual(heard, ["/_/node/v2/hello"]);
});

test("a peer that ends and comes back is found again, by one try at a time", async (t) => {
  const inner = createMemoryNode();
  const clock = new StoppedClock();
  const first = await serveNode(inner);
  const lines: string[] = [];
  const note = (_: object, message: string): void => void lines.push(message);
  const peer = connectTo(first.port, inner, { clock, log: { ...silentLog, warn: note, info: note } });
  t.after(() => peer.close());
  const drive = inner.drives[0]!;
  await peer.status(drive);
  await first.stop();
  await assert.rejects(peer.status(drive), isAway);
  assert.equal(peer.isWell, false);
  const refused = await Promise.allSettled(Array.from({ length: 50 }, () => peer.status(drive)));
  assert.ok(refused.every((each) => each.status === "rejected" && isAway(each.reason)));
  passBackoff(clock);
  await assert.rejects(peer.status(drive), isAway);
  const second = await serveNode(inner, { port: first.port });
  t.after(second.stop);
  await assert.rejects(peer.status(drive), isAway);
  passBackoff(clock);
  const [tried, other] = await Promise.allSettled([peer.status(drive), peer.status(drive)]);
  assert.deepEqual([tried.status, other.status], ["fulfilled", "rejected"]);
  await peer.status(drive);
  assert.equal(peer.isWell, true);
  assert.deepEqual(
    lines.map((line) => line.slice(0, 14)),
    ["A node is away", "A node is back"],
  );
});

test("a connection that ended meanwhile costs a read nothing", async (t) => {
  const { inner, peer, proxy } = await pair(t);
  const drive = inner.drives[0]!;
  await peer.status(drive);
  // Both at once: the client has not heard of it when it sends.
  proxy.sockets[0]!.far.destroy();
  await peer.status(drive);
  proxy.mishap = { kind: "cut", side: "up", at: proxy.up.at(-1)!.length + 10 };
  await peer.status(drive);
  assert.equal(peer.isWell, true);
});

test("a peer that takes connections and says nothing is away at the deadline; others do not wait for it", async (t) => {
  let connections = 0;
  const silent = createTcpServer(() => void (connections += 1));
  await new Promise<void>((resolve) => void silent.listen(0, "127.0.0.1", resolve));
  const node = createMemoryNode();
  const clock: Clock = { ...systemClock, monotonicMs: () => 0 };
  const { port } = silent.address() as AddressInfo;
  const peer = connectTo(port, node, { connectMsMax: 20, callMsMax: 60_000, clock });
  t.after(async () => {
    await peer.close();
    silent.close();
  });
  const drive = node.drives[0]!;
  // More than there are connections: those that wait are refused with the first that fails.
  const calls = Array.from({ length: 3 * limits.peerConnectionsMax }, () => peer.append(drive, shard(1)));
  for (const outcome of await Promise.allSettled(calls)) {
    assert.ok(outcome.status === "rejected" && isAway(outcome.reason) && !isOutcomeUnknown(outcome.reason));
    assert.match((outcome.reason as Error).message, /^Node b (did not answer in time|cannot be reached)/);
  }
  await assert.rejects(peer.append(drive, shard(1)), isAway);
  assert.ok(connections <= limits.peerConnectionsMax, "those that waited did not try again");
});

/** A node whose appends wait until they are let go. */
function gated(inner: ChunkNode) {
  const signals: AbortSignal[] = [];
  let begun = (): void => undefined;
  const isBegun = new Promise<void>((resolve) => (begun = resolve));
  let letGo = (): void => undefined;
  const gate = new Promise<void>((resolve) => (letGo = resolve));
  const append: ChunkNode["append"] = async (drive, shard, signal) => {
    signals.push(signal!);
    begun();
    await gate;
    await inner.append(drive, shard, signal);
  };
  return { node: withAppend(inner, append), signals, isBegun, letGo: () => letGo() };
}

test("an append that meets its deadline may have been done, and says so", async (t) => {
  const { node, isBegun, letGo } = gated(createMemoryNode());
  // No part of the deadline passes before the append has begun.
  const sleep: Clock["sleep"] = async (ms, signal) => {
    await isBegun;
    await systemClock.sleep(ms, signal);
  };
  const { peer } = await pair(t, node, { callMsMax: 100, clock: { ...systemClock, sleep } });
  const unknown = (error: unknown): boolean => isAway(error) && isOutcomeUnknown(error);
  await assert.rejects(peer.append(node.drives[0]!, shard(10)), unknown);
  letGo();
});

test("a caller that leaves ends its call on the other side too, and the next one goes on", async (t) => {
  const { node, signals, isBegun, letGo } = gated(createMemoryNode());
  const { peer } = await pair(t, node);
  const drive = node.drives[0]!;
  const leaving = new AbortController();
  const one = shard(1_000_000);
  const appended = peer.append(drive, one, leaving.signal);
  await isBegun;
  leaving.abort(new HoldfastError("cancelled", "The client left."));
  await assert.rejects(appended, (error) => hasReason(error, "cancelled"));
  const [signal] = signals;
  if (!signal!.aborted) await once(signal!, "abort");
  letGo();
  await peer.append(drive, shard(10));
  assert.equal(peer.isWell, true);
  assert.equal(await isThere(node, one), false);
});

test("a try whose caller leaves decides nothing: the next call tries", async (t) => {
  const { node, isBegun, letGo } = gated(createMemoryNode());
  const { peer, proxy, clock } = await pair(t, node);
  const drive = node.drives[0]!;
  proxy.mishap = { kind: "cut", side: "up", at: 10 };
  await assert.rejects(peer.status(drive), isAway);
  passBackoff(clock);
  const leaving = new AbortController();
  const tried = peer.append(drive, shard(10), leaving.signal);
  await isBegun;
  await assert.rejects(peer.status(drive), isAway);
  leaving.abort();
  await assert.rejects(tried, (error) => hasReason(error, "cancelled"));
  assert.equal(peer.isWell, false);
  await peer.status(drive);
  assert.equal(peer.isWell, true);
  letGo();
});

test("a caller that leaves while its call waits for a connection sends nothing", async (t) => {
  const { node, signals, isBegun, letGo } = gated(createMemoryNode());
  const { peer } = await pair(t, node);
  const drive = node.drives[0]!;
  const first = Array.from({ length: limits.peerConnectionsMax }, () => peer.append(drive, shard(10)));
  await isBegun;
  const leaving = new AbortController();
  const late = Array.from({ length: limits.peerConnectionsMax }, () => shard(10));
  const waiting = late.map((each) => peer.append(drive, each, leaving.signal));
  leaving.abort();
  for (const each of waiting) await assert.rejects(each, (error) => hasReason(error, "cancelled"));
  letGo();
  await Promise.all(first);
  assert.equal(signals.length, limits.peerConnectionsMax);
  for (const each of late) assert.equal(await isThere(node, each), false);
  // No connection is kept for those who left.
  await peer.append(drive, shard(10));
});

test("a node that has too much under way says so before it reads a shard, and takes it later", async (t) => {
  const inner = createMemoryNode();
  const { node, signals, letGo } = gated(inner);
  const served = await serveNode(node);
  const [one, two, three] = ["a", "b", "c"].map((from) => connectTo(served.port, node, { from }));
  t.after(async () => {
    for (const each of [one!, two!, three!]) await each.close();
    await served.stop();
  });
  const drive = node.drives[0]!;
  const full = shard(limits.chunkBytesMax);
  const fits = limits.peerBodyBytesInFlightMax / limits.chunkBytesMax / 2;
  assert.ok(fits <= limits.peerConnectionsMax);
  const underWay = [one!, two!].flatMap((peer) =>
    Array.from({ length: fits }, () => peer.append(drive, { ...full, chunk: ids.chunk() })),
  );
  while (signals.length < 2 * fits) await setImmediate();
  await assert.rejects(three!.append(drive, full), (error) => hasReason(error, "slow_down"));
  assert.equal(three!.isWell, true);
  letGo();
  await Promise.all(underWay);
  await three!.append(drive, full);
  assert.equal((await node.verify(drive, full)).storedBytes, limits.chunkBytesMax);
});

test("a peer of another version says so", async (t) => {
  const other = createServer((_, response) => {
    const body = '{"error":{"code":"unknown_version","message":"<script>"}}';
    response.writeHead(404, { "content-length": body.length }).end(body);
  });
  await new Promise<void>((resolve) => void other.listen(0, "127.0.0.1", resolve));
  const node = createMemoryNode();
  const peer = connectTo((other.address() as AddressInfo).port, node, { clock: new StoppedClock(), secret });
  t.after(async () => {
    await peer.close();
    other.closeAllConnections();
    other.close();
  });
  await assert.rejects(peer.status(node.drives[0]!), /Node b .*404 unknown_version/);
});

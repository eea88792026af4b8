/** A process that stands still, or waits for the processor, does not take its own pause for the silence of another node. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { TestClock } from "../blob/slow.fixture.ts";
import { hasReason } from "../core/errors.ts";
import { IdSource, type SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { createMemoryNode } from "./node.memory.ts";
import type { ChunkNode } from "./node.ts";
import { connectTo, serveNode, withAppend } from "./peer.fixture.ts";
import { Late, within, withinAttended } from "./peer_deadline.ts";
import type { PeerNode } from "./peer_node.ts";

const ids = new IdSource("00000000000000ff" as SessionId);
const shard = () => ({
  chunk: ids.chunk(),
  shardIndex: 0,
  owner: { blob: ids.blob(), chunkIndex: 0 },
  body: [Buffer.alloc(300, 7)],
});

/** Not the patient ones of other tests. */
const usual = { connectMsMax: limits.peerConnectMsMax, callMsMax: limits.peerCallMsMax };

async function pair(t: TestContext, node: ChunkNode): Promise<{ peer: PeerNode; clock: TestClock }> {
  const clock = new TestClock();
  const served = await serveNode(node);
  const peer = connectTo(served.port, node, { clock, ...usual });
  t.after(async () => {
    await clock.until(peer.close());
    await served.stop();
  });
  return { peer, clock };
}

/** Until so many deadlines are waited for; the network has no turn meanwhile. */
async function deadlines(clock: TestClock, count: number): Promise<void> {
  for (let left = 1_000; clock.sleepers < count && left > 0; left--) await Promise.resolve();
  assert.equal(clock.sleepers, count);
}

test("a hello whose answer waited for this process to go on is heard", async (t) => {
  const node = createMemoryNode();
  const { peer, clock } = await pair(t, node);
  const asked = peer.status(node.drives[0]!);
  await deadlines(clock, 2);
  clock.pass(3 * limits.peerConnectMsMax);
  assert.equal((await asked).state, "up");
  assert.equal(peer.isWell, true);
});

/** Appends to it come and wait. */
function waitingNode(): { readonly node: ChunkNode; readonly came: Promise<void>; readonly goOn: () => void } {
  const [came, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const node = withAppend(createMemoryNode(), () => {
    came.resolve();
    return go.promise;
  });
  return { node, came: came.promise, goOn: go.resolve };
}

test("a call that ended in this process's own pause leaves the peer well", async (t) => {
  const { node, came, goOn } = waitingNode();
  const { peer, clock } = await pair(t, node);
  await peer.status(node.drives[0]!);
  const appended = peer.append(node.drives[0]!, shard());
  await came;
  clock.pass(limits.peerCallMsMax);
  await assert.rejects(appended, (error) => hasReason(error, "drive_missing"));
  assert.equal(peer.isWell, true);
  goOn();
  assert.equal((await peer.status(node.drives[0]!)).state, "up");
});

test("a peer that is silent while this process listens is away", async (t) => {
  const { node, goOn } = waitingNode();
  const { peer, clock } = await pair(t, node);
  await peer.status(node.drives[0]!);
  await assert.rejects(clock.until(peer.append(node.drives[0]!, shard())), (error) =>
    hasReason(error, "drive_missing"),
  );
  assert.equal(peer.isWell, false);
  goOn();
});

const silent = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true }));

test("a deadline in time that passed ends at its time; one in attended time when so much was attended", async () => {
  const clock = new TestClock();
  const never = new AbortController().signal;
  const startedMs = clock.monotonicMs();
  await assert.rejects(
    clock.until(within(clock, 800, never, silent)),
    (error) => error instanceof Late && !error.wasAbsent,
  );
  assert.equal(clock.monotonicMs() - startedMs, 800);
  const asked = within(clock, 800, never, silent);
  clock.pass(900);
  await assert.rejects(asked, (error) => error instanceof Late && error.wasAbsent);
  const attended = withinAttended(clock, 800, never, silent);
  const [beforeMs] = [clock.monotonicMs(), clock.pass(10_000)];
  await assert.rejects(clock.until(attended), (error) => error instanceof Late && !error.wasAbsent);
  assert.equal(clock.monotonicMs() - beforeMs, 10_000 + 700, "the pause counted as one of eight parts");
});

test("a caller who leaves, and work that ends, leave no timer", async () => {
  const clock = new TestClock();
  const caller = new AbortController();
  const asked = withinAttended(clock, 800, caller.signal, silent);
  caller.abort(new Error("left"));
  await assert.rejects(asked, /left/);
  assert.equal(await within(clock, 800, undefined, async () => 7), 7);
  await clock.work();
  assert.equal(clock.sleepers, 0);
});

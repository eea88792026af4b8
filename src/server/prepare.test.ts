/** What a start owes to what came before it: chunks that nothing refers to are found again whoever rebuilt the index. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { systemClock } from "../core/clock.ts";
import type { BlobId, ChunkId, SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { createMetrics } from "../core/metrics.ts";
import { systemRandom } from "../core/random.ts";
import { oneCopy } from "../core/redundancy.ts";
import type { Kv } from "../kv/kv.ts";
import { encodeSession, encodeHeartbeat, fenceSession, readSessions } from "../meta/sessions.ts";
import { endedKey, heartbeatKey, sessionKey, tagRange, tags } from "../meta/keys.ts";
import { inspectStore } from "./inspect.ts";
import { prepareServer } from "./prepare.ts";
import { openStore } from "./store.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "holdfast-prepare-"));
});
after(() => rm(folder, { recursive: true }));

const common = { clock: systemClock, random: systemRandom, log: silentLog };
const root = { accessKey: "root", secretKey: "root-secret" };
const session = "00000000000000ab" as SessionId;

/** A chunk of a session that is over, which no chunk map mentions. */
async function plantOrphan(drive: string): Promise<void> {
  await inspectStore({ drives: [drive], log: silentLog }, async ({ node }) => {
    const owner = { blob: `${session}${"0".repeat(15)}1` as BlobId, chunkIndex: 0 };
    const chunk = `${session}${"0".repeat(15)}2` as ChunkId;
    await node.append(node.drives[0]!, { chunk, shardIndex: 0, owner, body: [Buffer.alloc(5_000, "x")] });
  });
}

async function newDrive(name: string): Promise<string> {
  const drive = path.join(folder, name);
  await prepareServer({ drives: [drive], root, ...common });
  await plantOrphan(drive);
  return drive;
}

const shardsOn = (drive: string): Promise<number> =>
  inspectStore(
    { drives: [drive], log: silentLog },
    async ({ node }) => (await node.list(node.drives[0]!, { limit: 10 })).length,
  );

/** Runs a store until the drive holds no live byte. */
async function serveUntilClean(drive: string): Promise<void> {
  const { sweepDue } = await prepareServer({ drives: [drive], root, ...common });
  const parts = {
    name: "test",
    drives: [drive],
    root,
    redundancy: oneCopy,
    digestThreads: 1,
    metrics: createMetrics(),
    ...common,
  };
  const store = await openStore({ ...parts, sweepAll: sweepDue });
  try {
    while ((await store.drives())[0]?.liveBytes !== 0) await setTimeout(20);
  } finally {
    await store.close();
  }
}

test("an index rebuilt by the one who only looks is swept by the next server", { timeout: 300_000 }, async () => {
  const drive = await newDrive("looked-at");
  await rm(path.join(drive, "state.json"));
  assert.equal(await shardsOn(drive), 1, "the look itself changes nothing");
  await serveUntilClean(drive);
  assert.equal(await shardsOn(drive), 0);
});

test("a sweep that was due stays due however often the start is cut off", { timeout: 300_000 }, async () => {
  const drive = await newDrive("cut-off");
  await rm(path.join(drive, "state.json"));
  // The preparing worker dies before anything was swept; the index it rebuilt is trusted from then on.
  await prepareServer({ drives: [drive], root, ...common });
  await prepareServer({ drives: [drive], root, ...common });
  assert.equal(await shardsOn(drive), 1);
  await serveUntilClean(drive);
  assert.equal(await shardsOn(drive), 0);
});

const shardOf = (count: string) => ({
  chunk: `${session}${"0".repeat(15)}${count}` as ChunkId,
  shardIndex: 0,
  owner: { blob: `${session}${"0".repeat(15)}1` as BlobId, chunkIndex: 0 },
  body: [Buffer.alloc(5_000, count)],
});

/** Two shards of a session that has no row any more; the process died between the sync of the second one and its row. */
async function newUntold(name: string): Promise<string> {
  const drive = path.join(folder, name);
  await prepareServer({ drives: [drive], root, ...common });
  const [index, before] = [path.join(drive, "index"), path.join(folder, `${name}-index-before`)];
  await inspectStore({ drives: [drive], log: silentLog }, async ({ node }) => {
    await node.append(node.drives[0]!, shardOf("2"));
    await cp(index, before, { recursive: true });
    await node.append(node.drives[0]!, shardOf("3"));
  });
  await rm(index, { recursive: true });
  await rename(before, index);
  return drive;
}

const isToBeSwept = (drive: string): Promise<boolean> =>
  inspectStore({ drives: [drive], log: silentLog }, async ({ kv }) => {
    const [row] = await kv.get([endedKey(session)]);
    return row !== undefined;
  });

const stateOf = async (drive: string): Promise<Record<string, unknown>> =>
  JSON.parse(await readFile(path.join(drive, "state.json"), "utf8")) as Record<string, unknown>;

test(
  "what a process stored and could not tell the index goes, though its session was swept",
  { timeout: 300_000 },
  async () => {
    const drive = await newUntold("untold");
    await serveUntilClean(drive);
    assert.equal(await shardsOn(drive), 0);
  },
);

test("so it does when the one who found it only looked, or died before the metadata knew", async () => {
  const drive = await newUntold("untold-looked-at");
  assert.equal(await shardsOn(drive), 2);
  assert.deepEqual((await stateOf(drive))["replayed"], [session]);
  assert.equal(await isToBeSwept(drive), false, "who looks writes nothing");
  await prepareServer({ drives: [drive], root, ...common });
  assert.equal(await isToBeSwept(drive), true);
  const { format, replayed } = await stateOf(drive);
  assert.deepEqual({ format, replayed }, { format: 1, replayed: undefined }, "the drive owes nothing any more");
});

test("more sessions than a drive notes by name have all its shards looked through, whoever found them", async () => {
  const drive = await newUntold("untold-of-too-many");
  const replayed = Array.from({ length: limits.replayedSessionsMax }, (_, index) =>
    (2 ** 32 + index).toString(16).padStart(16, "0"),
  );
  const full = { ...(await stateOf(drive)), format: 2, replayed };
  await writeFile(path.join(drive, "state.json"), JSON.stringify(full));
  assert.equal(await shardsOn(drive), 2);
  const { format, sweepDue, replayed: named } = await stateOf(drive);
  assert.deepEqual({ format, sweepDue, named }, { format: 1, sweepDue: true, named: undefined });
  assert.equal((await prepareServer({ drives: [drive], root, ...common })).sweepDue, true);
});

async function startSession(kv: Kv): Promise<void> {
  const beat = encodeHeartbeat({ atMs: 1, tick: 1, drained: 1 });
  await kv.commit({
    checks: [],
    writes: [
      { kind: "put", key: sessionKey(session), value: encodeSession({ startedMs: 1, node: "paused" }) },
      { kind: "put", key: heartbeatKey(session), value: beat },
    ],
  });
}

test(
  "what a fenced process stored after its session was swept goes at the next start",
  { timeout: 300_000 },
  async () => {
    const drive = path.join(folder, "woken");
    await prepareServer({ drives: [drive], root, ...common });
    await inspectStore({ drives: [drive], log: silentLog }, async ({ kv }) => {
      await startSession(kv);
      const [paused] = await readSessions(kv);
      assert.ok(await fenceSession(kv, paused!, { mayStillRun: true }));
      // Its chunks were looked through.
      await kv.commit({ checks: [], writes: [{ kind: "delete", key: endedKey(session) }] });
    });
    await plantOrphan(drive);
    await serveUntilClean(drive);
    const left = await inspectStore({ drives: [drive], log: silentLog }, ({ kv }) =>
      kv.scan(tagRange(tags.suspect), { limit: 10 }),
    );
    assert.deepEqual(left, [], "nothing is owed any more");
    assert.equal(await shardsOn(drive), 0);
  },
);

/**
 * Removals that are carried out late: by another node, after whoever asked for them has died or given up, or by a process that
 * stood still. What was put in the same place meanwhile stays; nobody is left to look once more.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import type { Commit, Entry } from "../kv/kv.ts";
import { decodeChunkPage, type ChunkRecord } from "../meta/chunk_pages.ts";
import { hauntedKey, parseBlobKey, tags } from "../meta/keys.ts";
import { encodeRelocation, relocationWrite, strayWrites } from "../meta/repairs.ts";
import type { ChunkNode, ShardRef } from "../node/node.ts";
import { patternBytes, plainPut } from "../object/object.fixture.ts";
import {
  Crash,
  drain,
  findingsOf,
  Fuse,
  nodeWithout,
  repairJobs,
  rowsOf,
  startProcess,
  worldWith,
  type Process,
  type World,
} from "./jobs.fixture.ts";
import { fenceOthers, sweepAll } from "./sessions.ts";

const bucket = "photos";
const body = patternBytes(limits.copiedChunkBytesMax + 1_000);
const { signal } = new AbortController();

type Scene = {
  /** Without the drive that has the first shard. */
  readonly world: World;
  readonly row: Entry;
  readonly chunk: ChunkRecord;
  /** The first shard, which will be put on this drive: the only one that has no shard of the chunk. */
  readonly first: ShardRef;
  readonly spare: DriveId;
};

/** One chunk of three shards whose writer has ended; the drive of the first shard is away and given up. */
async function scene(): Promise<Scene> {
  const whole = worldWith("ec:2+1", 1);
  const { store } = await startProcess(whole);
  await store.createBucket(bucket, { region: "here" });
  await store.put(plainPut(bucket, "whole", body));
  const other = await startProcess(whole);
  await fenceOthers(whole.kv, [other.session.id]);
  await drain(other);
  await other.session.close();
  const row = await pageRow(whole);
  const [chunk] = decodeChunkPage(row.value);
  const { drive: away, shardIndex } = chunk!.places[0]!;
  const spare = whole.node.drives.find((drive) => chunk!.places.every((place) => place.drive !== drive))!;
  const world = { ...whole, node: nodeWithout(whole.node, new Set([away])), known: whole.node.drives };
  const first = { chunk: chunk!.id, shardIndex };
  await copyShard(whole.node, first, away, spare);
  return { world, row, chunk: chunk!, first, spare };
}

async function pageRow({ kv }: World): Promise<Entry> {
  return (await rowsOf(kv, tags.blob)).find(({ key }) => parseBlobKey(key).page !== undefined)!;
}

/** As a write leaves it on a drive that it has given up, or a repair that came to nothing. */
async function copyShard(node: ChunkNode, ref: ShardRef, from: DriveId, to: DriveId): Promise<void> {
  const listed = (await node.list(from, { limit: 10 })).find(({ chunk }) => chunk === ref.chunk)!;
  const bytes = await node.read(from, ref, { offset: 0, length: listed.storedBytes });
  await node.append(to, { ...ref, owner: listed.owner, body: [bytes] });
}

async function callStray({ world, row, first, spare }: Scene): Promise<void> {
  const { blob, page } = parseBlobKey(row.key);
  await world.kv.commit({ checks: [], writes: strayWrites(blob, page!, [{ ...first, drive: spare }], () => stamp) });
}

const stamp = "00".repeat(14);

type Late = {
  readonly node: ChunkNode;
  /** Removals that were asked for, and what carries them out. */
  readonly held: (() => Promise<void>)[];
};

/** Who asks it for a removal hears nothing of it. */
function late(node: ChunkNode): Late {
  const held: Late["held"] = [];
  const remove: ChunkNode["remove"] = async (drive, refs) => {
    held.push(() => node.remove(drive, refs));
    throw new Crash("the process has ended");
  };
  return { node: { ...nodeWithout(node, new Set()), remove, drives: node.drives }, held };
}

function jobOf({ jobs }: Process, name: string): Process["jobs"][number] {
  return jobs.find((job) => job.name === name)!;
}

async function runUntilHeld(process: Process, job: string, { held }: Late): Promise<void> {
  for (let round = 0; held.length === 0; round++) {
    assert.ok(round < 100, "the removal is asked for");
    await process.session.heartbeat();
    await jobOf(process, job)
      .run(signal)
      .catch((error: unknown) => assert.ok(error instanceof Crash));
  }
}

/** By a process that knows nothing of removals that were asked for. */
async function repairOnto({ world, spare }: Scene): Promise<Process> {
  const repairer = await startProcess(world);
  for (let round = 0; round < 10; round++) for (const job of repairJobs(repairer)) await job.run(signal);
  const { places } = decodeChunkPage((await pageRow(world)).value)[0]!;
  assert.ok(
    places.some(({ drive }) => drive === spare),
    "the repair has chosen the drive",
  );
  return repairer;
}

async function assertNothingLost({ world }: Scene): Promise<void> {
  assert.deepEqual(await findingsOf(world), []);
}

for (const whose of ["the very record", "another record"] as const)
  void test(`a stray's removal carried out late spares the shard that was wanted again since: ${whose}`, async () => {
    const given = await scene();
    await callStray(given);
    const slow = late(given.world.node);
    const remover = await startProcess({ ...given.world, node: slow.node });
    await runUntilHeld(remover, "strays", slow);
    await remover.session.close();
    if (whose === "another record") await given.world.node.remove(given.spare, [given.first]);
    await repairOnto(given);
    for (const carryOut of slow.held) await carryOut();
    await assertNothingLost(given);
  });

void test("a sweep's removal carried out late spares the shard that was wanted since", async () => {
  const given = await scene();
  const slow = late(given.world.node);
  await assert.rejects(sweepAll({ kv: given.world.kv, node: slow.node, drives: slow.node.drives, log: silentLog }));
  await repairOnto(given);
  assert.equal(slow.held.length, 1);
  await slow.held[0]!();
  await assertNothingLost(given);
});

async function leaveRelocation({ world, row, first, spare }: Scene): Promise<void> {
  const { session } = await startProcess(world);
  await session.close();
  const shards = [{ ...first, drive: spare }];
  const { blob, page } = parseBlobKey(row.key);
  await world.kv.commit({ checks: [], writes: [relocationWrite(blob, page!, { session: session.id, shards })] });
}

void test("the removal of what a repair left, carried out late, spares the shard that was made there since", async () => {
  const given = await scene();
  await leaveRelocation(given);
  const slow = late(given.world.node);
  const cleaner = await startProcess({ ...given.world, node: slow.node });
  await runUntilHeld(cleaner, "mend", slow);
  await cleaner.session.close();
  await repairOnto(given);
  for (const carryOut of slow.held) await carryOut();
  await assertNothingLost(given);
});

void test("what a repair left long ago is not taken away while another one puts it there", async () => {
  const given = await scene();
  const { kv, node } = given.world;
  const { session } = await startProcess(given.world);
  await session.close();
  const { blob, page } = parseBlobKey(given.row.key);
  const value = encodeRelocation({ session: session.id, shards: [{ ...given.first, drive: given.spare }] });
  let isCleaned = false;
  const between: ChunkNode = {
    ...nodeWithout(node, new Set()),
    drives: node.drives,
    discard: async (drive, ref) => {
      const found = await node.discard(drive, ref);
      if (isCleaned) return found;
      isCleaned = true;
      // It is on its way into the page now, and the one that is known to be dead is cleaned up.
      await kv.commit({ checks: [], writes: [{ kind: "put", key: hauntedKey(blob, page!, session.id), value }] });
      const cleaner = await startProcess(given.world);
      await jobOf(cleaner, "mend").run(signal);
      await cleaner.session.close();
      return found;
    },
  };
  await repairOnto({ ...given, world: { ...given.world, node: between } });
  assert.ok(isCleaned);
  await assertNothingLost(given);
});

void test("what a peer stores for a repair that is over, after its process has died and what it left was cleaned up, goes", async () => {
  const given = await scene();
  // Nobody gives the lost drive up: nothing else is to be repaired.
  const world = { ...given.world, known: given.world.node.drives };
  const { kv, node } = world;
  const { first, spare } = given;
  const listed = (await node.list(spare, { limit: 10 })).find(({ chunk }) => chunk === first.chunk)!;
  const bytes = await node.read(spare, first, { offset: 0, length: listed.storedBytes });
  await node.remove(spare, [first]);
  const dead = await startProcess(world);
  const { blob, page } = parseBlobKey(given.row.key);
  const shards = [{ ...first, drive: spare }];
  await kv.commit({ checks: [], writes: [relocationWrite(blob, page!, { session: dead.session.id, shards })] });
  const process = await startProcess(world);
  await fenceOthers(kv, [process.session.id]);
  await jobOf(process, "mend").run(signal);
  await node.append(spare, { ...first, owner: listed.owner, body: [bytes] });
  await drain(process);
  assert.equal((await node.verify(spare, first)).outcome, "missing");
  assert.deepEqual(await rowsOf(kv, tags.relocation), []);
});

/** What removes a shard that nobody names, on the given parts. */
const removers: Readonly<Record<string, (given: Scene, parts: Pick<World, "kv" | "node">) => Promise<void>>> = {
  "a sweeper": async (_given, { kv, node }) => void (await sweepAll({ kv, node, drives: node.drives, log: silentLog })),
  "who deals with strays": async (given, parts) => {
    await callStray(given);
    const process = await startProcess({ ...given.world, ...parts });
    for (let round = 0; round < 4; round++) {
      await process.session.heartbeat();
      await jobOf(process, "strays").run(signal);
    }
  },
};

for (const [who, remove] of Object.entries(removers))
  void test(`${who} that dies at any call while a repair puts the shard there loses nothing`, async () => {
    for (let step = 1, isOver = false; !isOver; step++) {
      const given = await scene();
      const fuse = new Fuse(step, "dies");
      const { kv, node } = fuse.wrap(given.world);
      let repairer: Process | undefined;
      const met: ChunkNode = {
        ...nodeWithout(node, new Set()),
        drives: node.drives,
        remove: async (drive, refs) => {
          repairer ??= await repairOnto(given);
          await node.remove(drive, refs);
        },
      };
      await remove(given, { kv, node: met }).catch((error: unknown) => assert.ok(error instanceof Crash));
      isOver = !fuse.burnt;
      repairer ??= await repairOnto(given);
      await fenceOthers(given.world.kv, [repairer.session.id]);
      await drain(repairer);
      assert.deepEqual(await findingsOf(given.world), [], `call ${step}`);
    }
  });

/** Its first commit that publishes shards gets no answer; from then on it meets `after`. */
function lossy({ kv, node }: World, after: World): { readonly world: World; lost: Commit | undefined } {
  const state: { readonly world: World; lost: Commit | undefined } = {
    world: {
      ...after,
      kv: {
        name: kv.name,
        get: (keys) => (state.lost === undefined ? kv : after.kv).get(keys),
        scan: (range, options) => (state.lost === undefined ? kv : after.kv).scan(range, options),
        commit: async (commit) => {
          if (state.lost !== undefined) return after.kv.commit(commit);
          if (!commit.writes.some(({ kind, key }) => kind === "put" && key[0] === tags.blob)) return kv.commit(commit);
          state.lost = commit;
          throw new HoldfastError("unavailable", "No answer came; it may still be carried out.");
        },
        close: () => kv.close(),
      },
      node: { ...nodeWithout(node, new Set()), drives: node.drives, remove: (...given) => after.node.remove(...given) },
    },
    lost: undefined,
  };
  return state;
}

void test("a repairer that dies while it clears up after a commit that is carried out late loses nothing", async () => {
  for (let step = 1, isOver = false; !isOver; step++) {
    const given = await scene();
    const { kv } = given.world;
    const fuse = new Fuse(step, "dies");
    const unsure = lossy(given.world, fuse.wrap(given.world));
    const repairer = await startProcess(unsure.world);
    for (let round = 0; round < 20 && !fuse.burnt && !isOver; round++) {
      for (const job of repairJobs(repairer)) await job.run(signal).catch(() => undefined);
      isOver = unsure.lost !== undefined && (await rowsOf(kv, tags.relocation)).length === 0;
    }
    assert.ok(unsure.lost !== undefined);
    await kv.commit(unsure.lost);
    const other = await startProcess(given.world);
    await fenceOthers(kv, [other.session.id]);
    await drain(other);
    assert.deepEqual(await findingsOf(given.world), [], `call ${step}`);
  }
});

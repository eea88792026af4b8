/** Shards that are made anew in their own place, while others repair, delete and sweep the same blob. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import type { ChunkId, DriveId } from "../core/ids.ts";
import type { Commit, Kv } from "../kv/kv.ts";
import { decodeChunkPage, type ChunkRecord } from "../meta/chunk_pages.ts";
import { parseBlobKey, tags } from "../meta/keys.ts";
import { relocationWrite } from "../meta/repairs.ts";
import { fenceSession, readSessions } from "../meta/sessions.ts";
import type { ChunkNode, ShardRef } from "../node/node.ts";
import { patternBytes, plainPut, readAll } from "../object/object.fixture.ts";
import { noteDamage } from "./damage.ts";
import {
  drain,
  findingsOf,
  repairJobs,
  rowsOf,
  startProcess,
  worldWith,
  type Process,
  type World,
} from "./jobs.fixture.ts";
import { fenceOthers, sweepAll, sweepSuspects } from "./sessions.ts";

const bucket = "photos";
const body = patternBytes(limits.copiedChunkBytesMax + 1_000);
const { signal } = new AbortController();

async function chunksOf({ kv }: World): Promise<ChunkRecord[]> {
  const pages = (await rowsOf(kv, tags.blob)).filter((row) => parseBlobKey(row.key).page !== undefined);
  return pages.flatMap((row) => decodeChunkPage(row.value));
}

/**
 * An object whose writer has ended and was looked through, and a node on which the first shard of each of its chunks is
 * damaged until it is written anew.
 */
async function damagedWorld(): Promise<{
  readonly world: World;
  readonly damaged: ChunkNode;
  readonly other: Process;
}> {
  const world = worldWith("ec:2+1", 0);
  const { store } = await startProcess(world);
  await store.createBucket(bucket, { region: "here" });
  await store.put(plainPut(bucket, "whole", body));
  const other = await startProcess(world);
  await fenceOthers(world.kv, [other.session.id]);
  await drain(other);
  const { node } = world;
  const broken = new Set<ChunkId>();
  for (const chunk of await chunksOf(world)) broken.add(chunk.id);
  const damaged: ChunkNode = {
    ...wrapped(node),
    verify: async (drive, ref) => {
      const found = await node.verify(drive, ref);
      return ref.shardIndex === 0 && broken.has(ref.chunk) ? { ...found, outcome: "corrupt" } : found;
    },
    discard: async (drive, ref) => {
      if (ref.shardIndex === 0 && broken.has(ref.chunk)) await node.remove(drive, [ref]);
      return node.discard(drive, ref);
    },
    append: async (drive, shard, stop) => {
      await node.append(drive, shard, stop);
      if (shard.shardIndex === 0) broken.delete(shard.chunk);
    },
  };
  const root = (await rowsOf(world.kv, tags.blob)).find((row) => parseBlobKey(row.key).page === undefined)!;
  await noteDamage(world.kv, parseBlobKey(root.key).blob, [0]);
  return { world, damaged, other };
}

async function copyTo({ node }: World, ref: ShardRef, from: DriveId, to: DriveId): Promise<void> {
  const { storedBytes, owner } = (await node.list(from, { limit: 10 })).find(({ chunk }) => chunk === ref.chunk)!;
  const bytes = await node.read(from, ref, { offset: 0, length: storedBytes });
  await node.append(to, { ...ref, owner, body: [bytes] });
}

function wrapped(node: ChunkNode): ChunkNode {
  return {
    drives: node.drives,
    append: (...args) => node.append(...args),
    read: (...args) => node.read(...args),
    remove: (...args) => node.remove(...args),
    list: (...args) => node.list(...args),
    verify: (...args) => node.verify(...args),
    discard: (...args) => node.discard(...args),
    compact: (...args) => node.compact(...args),
    status: (...args) => node.status(...args),
    close: () => node.close(),
  };
}

function jobOf({ jobs }: Process, name: string): Process["jobs"][number] {
  return jobs.find((job) => job.name === name)!;
}

async function repairOnce(process: Process): Promise<void> {
  for (const job of repairJobs(process)) await job.run(signal);
}

async function deleteWholly(deleter: Process, others: readonly Process[], world: World): Promise<void> {
  await deleter.store.delete({ bucket, key: Buffer.from("whole") });
  while ((await rowsOf(world.kv, tags.trash)).length > 0) {
    for (const { session } of [deleter, ...others]) await session.heartbeat();
    await jobOf(deleter, "trash").run(signal);
  }
}

async function assertNothingLeft(world: World): Promise<void> {
  for (const family of [tags.blob, tags.repair, tags.relocation]) assert.deepEqual(await rowsOf(world.kv, family), []);
  for (const drive of world.node.drives) assert.deepEqual(await world.node.list(drive, { limit: 10 }), []);
}

void test("a shard written anew in its place after its blob went leaves nothing", async () => {
  const { world, damaged, other } = await damagedWorld();
  const late: ChunkNode = {
    ...damaged,
    append: async (...args) => {
      await deleteWholly(other, [repairer], world);
      await damaged.append(...args);
    },
  };
  const repairer = await startProcess({ ...world, node: late });
  await drain(repairer);
  await assertNothingLeft(world);
});

void test("a shard written anew in its place between the removal of its blob's shards and rows leaves nothing", async () => {
  const { world, damaged, other } = await damagedWorld();
  let removals = 0;
  const slow: ChunkNode = {
    ...wrapped(world.node),
    remove: async (drive, refs) => {
      await world.node.remove(drive, refs);
      removals += 1;
      // The repair has read what it needs, and writes before the trash job goes on.
      if (removals === 3) {
        goOn();
        await repaired;
      }
    },
  };
  let goOn = (): void => undefined;
  const isTurn = new Promise<void>((resolve) => (goOn = resolve));
  const held: ChunkNode = {
    ...damaged,
    append: async (...args) => {
      await isTurn;
      await damaged.append(...args);
    },
  };
  const repairer = await startProcess({ ...world, node: held });
  const deleter = await startProcess({ ...world, node: slow });
  const repaired = jobOf(repairer, "mend").run(signal);
  await deleteWholly(deleter, [repairer, other], world);
  await repaired;
  await drain(repairer);
  await assertNothingLeft(world);
});

void test("two processes that mend the same shard at once mend it once", async () => {
  const { world, damaged } = await damagedWorld();
  const failures: unknown[] = [];
  const counted: ChunkNode = {
    ...damaged,
    append: (...args) =>
      damaged.append(...args).catch((error: unknown) => {
        failures.push(error);
        throw error;
      }),
  };
  const both = [await startProcess({ ...world, node: counted }), await startProcess({ ...world, node: counted })];
  await Promise.all(both.map((process) => jobOf(process, "mend").run(signal)));
  assert.deepEqual(failures, []);
  for (const process of both) await drain(process);
  assert.deepEqual(await findingsOf(world), []);
  assert.deepEqual(await rowsOf(world.kv, tags.relocation), []);
});

void test("a shard that its drive does not have any more after its index was rebuilt is made anew", async () => {
  const world = worldWith("ec:2+1", 0);
  const writer = await startProcess(world);
  await writer.store.createBucket(bucket, { region: "here" });
  await writer.store.put(plainPut(bucket, "whole", body));
  const [chunk] = await chunksOf(world);
  // The parity shard: no read would meet its absence.
  const { drive, shardIndex } = chunk!.places[2]!;
  await world.node.remove(drive, [{ chunk: chunk!.id, shardIndex }]);
  assert.equal((await findingsOf(world)).length, 1);
  await sweepAll({ ...world, drives: world.node.drives, log: silentLog });
  assert.equal((await rowsOf(world.kv, tags.repair)).length, 1);
  await drain(writer);
  assert.deepEqual(await findingsOf(world), []);
  assert.deepEqual(await rowsOf(world.kv, tags.repair), []);
  const found = await writer.store.get({ bucket, key: Buffer.from("whole") });
  assert.ok((await readAll(found)).equals(body));
});

void test("a shard written anew on a drive whose stray copy of it is being removed is not lost", async () => {
  const world = worldWith("ec:2+1", 1);
  const { store } = await startProcess(world);
  await store.createBucket(bucket, { region: "here" });
  await store.put(plainPut(bucket, "whole", body));
  const other = await startProcess(world);
  await fenceOthers(world.kv, [other.session.id]);
  await drain(other);
  // A copy of the first shard lies where nobody named it, and the drive of the first shard is away.
  const [chunk] = await chunksOf(world);
  const { drive: away, shardIndex } = chunk!.places[0]!;
  const spare = world.node.drives.find((drive) => chunk!.places.every((place) => place.drive !== drive))!;
  await copyTo(world, { chunk: chunk!.id, shardIndex }, away, spare);
  const gone: ChunkNode = { ...wrapped(world.node), drives: world.node.drives.filter((drive) => drive !== away) };
  const reduced = { ...world, node: gone, known: world.node.drives };
  const repairer = await startProcess(reduced);
  const slow: ChunkNode = {
    ...gone,
    remove: async (drive, refs) => {
      for (let round = 0; round < 10; round++) await repairOnce(repairer);
      await gone.remove(drive, refs);
    },
  };
  assert.equal(await sweepAll({ kv: world.kv, node: slow, drives: slow.drives, log: silentLog }), 1);
  assert.ok(
    (await chunksOf(world))[0]!.places.some(({ drive }) => drive === spare),
    "the repair chose the drive",
  );
  await drain(repairer);
  assert.deepEqual(await findingsOf(reduced), []);
});

void test("a process that is fenced for its silence in the middle of a repair leaves nothing when it goes on", async () => {
  const world = worldWith("ec:2+1", 1);
  const { store } = await startProcess(world);
  await store.createBucket(bucket, { region: "here" });
  await store.put(plainPut(bucket, "whole", body));
  const other = await startProcess(world);
  await fenceOthers(world.kv, [other.session.id]);
  await drain(other);
  const [chunk] = await chunksOf(world);
  const away = chunk!.places[0]!.drive;
  const gone: ChunkNode = { ...wrapped(world.node), drives: world.node.drives.filter((drive) => drive !== away) };
  const reduced = { ...world, node: gone, known: world.node.drives };
  const witness = await startProcess(reduced);
  let isFenced = false;
  const sleepy: ChunkNode = {
    ...gone,
    append: async (...args) => {
      const seen = (await readSessions(world.kv)).find(({ id }) => id === sleeper.session.id);
      if (seen !== undefined) isFenced = await fenceSession(world.kv, seen, { mayStillRun: true });
      if (seen !== undefined) await deleteWholly(other, [witness], world);
      for (let round = 0; round < 3; round++) await repairOnce(witness);
      await gone.append(...args);
    },
  };
  const sleeper = await startProcess({ ...reduced, node: sleepy });
  for (let round = 0; round < 10 && !isFenced; round++)
    await repairOnce(sleeper).catch((error: unknown) => assert.ok(hasReason(error, "session_fenced")));
  assert.ok(isFenced);
  await sweepSuspects(world.kv);
  await drain(await startProcess(world));
  await assertNothingLeft(world);
});

for (const when of ["before it stores a shard", "after it stored one"] as const)
  void test(`a repairer that falls silent for good ${when} keeps nobody from its page, and takes nothing away when it wakes`, async () => {
    const world = worldWith("ec:2+1", 1);
    const { store } = await startProcess(world);
    await store.createBucket(bucket, { region: "here" });
    await store.put(plainPut(bucket, "whole", body));
    const other = await startProcess(world);
    await fenceOthers(world.kv, [other.session.id]);
    await drain(other);
    const away = (await chunksOf(world))[0]!.places[0]!.drive;
    const gone: ChunkNode = {
      ...wrapped(world.node),
      drives: world.node.drives.filter((drive) => drive !== away),
    };
    const reduced = { ...world, node: gone, known: world.node.drives };
    let isAsleep = false;
    let wake = (): void => undefined;
    const woken = new Promise<void>((resolve) => (wake = resolve));
    const sleepy: ChunkNode = {
      ...gone,
      append: async (...args) => {
        if (when === "after it stored one") await gone.append(...args);
        isAsleep = true;
        await woken;
        if (when === "before it stores a shard") await gone.append(...args);
      },
    };
    const sleeper = await startProcess({ ...reduced, node: sleepy });
    const asleep = (async () => {
      while (!isAsleep) await repairOnce(sleeper);
    })().catch((error: unknown) => assert.ok(hasReason(error, "session_fenced")));
    while (!isAsleep) await new Promise((resolve) => setImmediate(resolve));
    const witness = await startProcess(reduced);
    for (const seen of await readSessions(world.kv))
      if (seen.id === sleeper.session.id) assert.ok(await fenceSession(world.kv, seen, { mayStillRun: true }));
    await drain(witness);
    for (const { places } of await chunksOf(world)) {
      assert.equal(places.length, 3);
      assert.ok(
        places.every(({ drive }) => drive !== away),
        "the witness has mended what the sleeper held",
      );
    }
    wake();
    await asleep;
    for (let round = 0; round < 3; round++) await repairOnce(sleeper).catch(() => undefined);
    await drain(witness);
    assert.ok((await readAll(await witness.store.get({ bucket, key: Buffer.from("whole") }))).equals(body));
    // When its process is known to be dead, what it stored last goes too.
    await sweepSuspects(world.kv);
    await drain(await startProcess(reduced));
    assert.deepEqual(await findingsOf(reduced), []);
    assert.deepEqual(await rowsOf(world.kv, tags.relocation), []);
  });

void test("a shard made anew while another process removes what an ended one left of it is not lost", async () => {
  const world = worldWith("ec:2+1", 1);
  const { store } = await startProcess(world);
  await store.createBucket(bucket, { region: "here" });
  await store.put(plainPut(bucket, "whole", body));
  const [chunk] = await chunksOf(world);
  const { drive: away, shardIndex } = chunk!.places[0]!;
  const spare = world.node.drives.find((drive) => chunk!.places.every((place) => place.drive !== drive))!;
  await copyTo(world, { chunk: chunk!.id, shardIndex }, away, spare);
  const gone: ChunkNode = { ...wrapped(world.node), drives: world.node.drives.filter((drive) => drive !== away) };
  const reduced = { ...world, node: gone, known: world.node.drives };
  const ended = await startProcess(reduced);
  await ended.session.close();
  const row = (await rowsOf(world.kv, tags.blob)).find(({ key }) => parseBlobKey(key).page !== undefined)!;
  const shards = [{ chunk: chunk!.id, shardIndex, drive: spare }];
  const relocation = relocationWrite(parseBlobKey(row.key).blob, 0, { session: ended.session.id, shards });
  await world.kv.commit({ checks: [], writes: [relocation] });
  const repairer = await startProcess(reduced);
  let isLate = false;
  const slow: ChunkNode = {
    ...gone,
    remove: async (drive, refs) => {
      for (let round = 0; round < 10 && !isLate; round++) await repairOnce(repairer);
      isLate = true;
      await gone.remove(drive, refs);
    },
  };
  await jobOf(await startProcess({ ...reduced, node: slow }), "mend").run(signal);
  assert.ok(
    (await chunksOf(world))[0]!.places.some(({ drive }) => drive === spare),
    "the repair chose the drive",
  );
  await drain(repairer);
  assert.deepEqual(await findingsOf(reduced), []);
});

void test("a commit of unknown outcome that is carried out after its repair was cleaned up names no shard that was removed", async () => {
  const world = worldWith("ec:2+1", 1);
  const { store } = await startProcess(world);
  await store.createBucket(bucket, { region: "here" });
  await store.put(plainPut(bucket, "whole", body));
  const other = await startProcess(world);
  await fenceOthers(world.kv, [other.session.id]);
  await drain(other);
  const away = (await chunksOf(world))[0]!.places[0]!.drive;
  const gone: ChunkNode = { ...wrapped(world.node), drives: world.node.drives.filter((drive) => drive !== away) };
  const { kv } = world;
  let late: Commit | undefined;
  const lossy: Kv = {
    ...kv,
    get: (keys) => kv.get(keys),
    scan: (range, options) => kv.scan(range, options),
    commit: async (commit) => {
      const isPublished = commit.writes.some(({ kind, key }) => kind === "put" && key[0] === tags.blob);
      if (late !== undefined || !isPublished) return kv.commit(commit);
      late = commit;
      throw new HoldfastError("unavailable", "No answer came; it may still be carried out.");
    },
    close: () => kv.close(),
  };
  const reduced = { ...world, node: gone, known: world.node.drives };
  const repairer = await startProcess({ ...reduced, kv: lossy });
  for (let round = 0; round < 20 && late === undefined; round++) await repairOnce(repairer);
  assert.ok(late !== undefined);
  const cleaner = jobOf(repairer, "mend");
  for (let round = 0; (await rowsOf(kv, tags.relocation)).length > 0; round++) {
    assert.ok(round < 10);
    await cleaner.run(signal);
  }
  await kv.commit(late);
  await drain(repairer);
  assert.deepEqual(await findingsOf(reduced), []);
});

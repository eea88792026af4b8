/** Several processes bring back what was lost, each its share: all of it, the most endangered first, whoever dies. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { systemClock, type Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { type BlobId, type ChunkId, type DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { shardsOf } from "../core/redundancy.ts";
import type { Kv } from "../kv/kv.ts";
import { decodeChunkPage, type ChunkRecord } from "../meta/chunk_pages.ts";
import { parseBlobKey, parseMendKey, tags } from "../meta/keys.ts";
import { decodeRepair } from "../meta/repairs.ts";
import type { ChunkNode, ShardRef } from "../node/node.ts";
import { patternBytes, plainPut } from "../object/object.fixture.ts";
import { notePage } from "./damage.ts";
import { findingsOf, nodeWithout, repairJobs, rowsOf, startProcess, worldWith } from "./jobs.fixture.ts";
import type { Process, World } from "./jobs.fixture.ts";
import { fenceOthers } from "./sessions.ts";
import { Shares } from "./shares.ts";

const bucket = "photos";
const { signal } = new AbortController();
/** Shares change with time. */
const still: Clock = { ...systemClock, nowMs: () => 1_700_000_000_000 };
const body = patternBytes(limits.inlineBytesMax + 1);

function jobOf({ jobs }: Process, name: string): Process["jobs"][number] {
  return jobs.find((job) => job.name === name)!;
}

async function chunksOf({ kv }: World): Promise<ChunkRecord[]> {
  const pages = (await rowsOf(kv, tags.blob)).filter((row) => parseBlobKey(row.key).page !== undefined);
  return pages.flatMap((row) => decodeChunkPage(row.value));
}

/** A store whose writer has ended, and then some of its drives. */
async function worldThatLost(text: string, spare: number, lost: number, objects: number): Promise<World> {
  const world = { ...worldWith(text, spare), isShared: true };
  const writer = await startProcess(world);
  await writer.store.createBucket(bucket, { region: "here" });
  for (let index = 0; index < objects; index++) await writer.store.put(plainPut(bucket, `key ${index}`, body));
  await writer.session.close();
  return { ...world, node: nodeWithout(world.node, new Set(world.node.drives.slice(0, lost))) };
}

type Watched = { readonly world: World; readonly appended: ChunkId[] };

/** The world as one process sees it, which remembers the chunks whose shards it made. */
function watched(world: World): Watched {
  const { node } = world;
  const appended: ChunkId[] = [];
  const watching: ChunkNode = {
    ...nodeWithout(node, new Set()),
    append: async (drive, shard, stop) => {
      appended.push(shard.chunk);
      await node.append(drive, shard, stop);
    },
  };
  return { world: { ...world, node: watching }, appended };
}

/** Remembers which planned rows were read. */
function watchedScans(kv: Kv): { readonly kv: Kv; readonly read: ReturnType<typeof parseMendKey>[] } {
  const read: ReturnType<typeof parseMendKey>[] = [];
  const watching: Kv = {
    name: kv.name,
    get: (keys) => kv.get(keys),
    commit: (commit) => kv.commit(commit),
    close: () => kv.close(),
    scan: async (range, options) => {
      const rows = await kv.scan(range, options);
      for (const { key } of rows) if (key[0] === tags.mend) read.push(parseMendKey(key));
      return rows;
    },
  };
  return { kv: watching, read };
}

/** The first one walks; all mend, side by side. */
async function repairTogether(processes: readonly Process[], isOver: () => Promise<boolean>): Promise<void> {
  const [planner] = processes;
  for (let round = 0; !(await isOver()); round++) {
    assert.ok(round < 500, "it comes to an end");
    for (const { session } of processes) await session.heartbeat();
    while ((await jobOf(planner!, "repair").run(signal)).more);
    await Promise.all(processes.map((process) => jobOf(process, "mend").run(signal)));
  }
}

function isWhole(world: World): () => Promise<boolean> {
  return async () => {
    const chunks = await chunksOf(world);
    const isHere = ({ places, redundancy }: ChunkRecord): boolean =>
      places.length === shardsOf(redundancy) && places.every(({ drive }) => world.node.drives.includes(drive));
    return chunks.every(isHere) && (await rowsOf(world.kv, tags.mend)).length === 0;
  };
}

void test("every process mends a share, and together all of it, each shard once", async () => {
  const world = await worldThatLost("replica:2", 3, 1, 120);
  const missing = (await chunksOf(world)).filter(({ places }) =>
    places.some(({ drive }) => !world.node.drives.includes(drive)),
  );
  const seen = [watched(world), watched(world), watched(world)];
  const processes = [];
  for (const each of seen) processes.push(await startProcess(each.world, still));
  await repairTogether(processes, isWhole(world));
  for (const { appended } of seen) assert.ok(appended.length > 0);
  const all = seen.flatMap(({ appended }) => appended).toSorted();
  assert.deepEqual(all, missing.map(({ id }) => id).toSorted());
  assert.deepEqual(await findingsOf(world), []);
});

void test("what a process that died had taken on is mended by the others", async () => {
  const world = await worldThatLost("replica:2", 3, 1, 120);
  const dying = watched(world);
  const dies: ChunkNode = {
    ...dying.world.node,
    append: async (...args) => {
      await dying.world.node.append(...args);
      throw new Error("It dies.");
    },
  };
  const victim = await startProcess({ ...world, node: dies }, still);
  const survivors = [await startProcess(world, still), await startProcess(world, still)];
  while ((await jobOf(survivors[0]!, "repair").run(signal)).more);
  const planned = (await rowsOf(world.kv, tags.mend)).length;
  // As if each of its calls had been its last.
  await jobOf(victim, "mend")
    .run(signal)
    .catch(() => undefined);
  assert.ok(dying.appended.length > 0);
  for (const process of survivors) await jobOf(process, "mend").run(signal);
  assert.ok(planned > 0 && !(await isWhole(world)()), "its share is left to it while it may live");
  await fenceOthers(
    world.kv,
    survivors.map(({ session }) => session.id),
  );
  await repairTogether(survivors, isWhole(world));
  for (let round = 0; round < 10; round++)
    for (const process of survivors) {
      await process.session.heartbeat();
      for (const job of [...repairJobs(process), jobOf(process, "sweep")]) await job.run(signal);
    }
  assert.deepEqual(await findingsOf(world), []);
  assert.deepEqual(await rowsOf(world.kv, tags.relocation), []);
});

void test("a process whose share is done mends what another one leaves, the last of it first", async () => {
  const world = await worldThatLost("replica:2", 3, 1, 400);
  const [at, idle] = [watched(world), watched(world)];
  const processes = [await startProcess(at.world, still), await startProcess(idle.world, still)];
  const [busy, other] = processes.map(({ session }) => session);
  while ((await jobOf(processes[0]!, "repair").run(signal)).more);
  const { own } = new Shares(other!.id, [busy!.id, other!.id], still.nowMs());
  const isOther = (place: number): boolean => place >= own.start && place < own.end;
  const places = async (): Promise<number[]> =>
    (await rowsOf(world.kv, tags.mend)).map(({ key }) => parseMendKey(key).place);
  const before = (await places()).filter(isOther);
  const mend = jobOf(processes[0]!, "mend");
  while (!(await places()).every(isOther)) await mend.run(signal);
  assert.deepEqual(await places(), before, "its own come first");
  await mend.run(signal);
  const after = await places();
  const taken = before.length - after.length;
  assert.ok(taken > 0 && taken <= 2 * limits.mendsAtOnceMax && after.length > 0, `${taken} of ${before.length} rows`);
  assert.deepEqual(after, before.slice(0, after.length), "those that the other one would come to last");
  for (let round = 0; (await places()).length > 0; round++) {
    assert.ok(round < 50, "it comes to an end");
    await mend.run(signal);
  }
  assert.deepEqual(idle.appended, []);
  assert.ok(await isWhole(world)());
  assert.deepEqual(await findingsOf(world), []);
});

void test("each process mends the most endangered chunks first", async () => {
  const world = await worldThatLost("replica:3", 2, 2, 160);
  const left = ({ places }: ChunkRecord): number =>
    places.filter(({ drive }) => world.node.drives.includes(drive)).length;
  const endangered = new Set((await chunksOf(world)).filter((chunk) => left(chunk) === 1).map(({ id }) => id));
  assert.ok(endangered.size > 4 * limits.mendsAtOnceMax, "there are enough of them");
  const seen = [watched(world), watched(world)];
  const processes = [await startProcess(seen[0]!.world, still), await startProcess(seen[1]!.world, still)];
  while ((await jobOf(processes[0]!, "repair").run(signal)).more);
  const urgencies = (await rowsOf(world.kv, tags.mend)).map(({ key }) => parseMendKey(key).urgency);
  assert.deepEqual([...new Set(urgencies)], [0, 1], "all of it is planned");
  const ids = processes.map(({ session }) => session.id);
  for (const process of processes) {
    const { own } = new Shares(process.session.id, ids, still.nowMs());
    const hasOwn = async (): Promise<boolean> =>
      (await rowsOf(world.kv, tags.mend))
        .map(({ key }) => parseMendKey(key).place)
        .some((at) => at >= own.start && at < own.end);
    // And no longer: then it would begin with what the other one leaves, the most endangered first again.
    while (await hasOwn()) await jobOf(process, "mend").run(signal);
  }
  for (const { appended } of seen) {
    const first = appended.findIndex((chunk) => !endangered.has(chunk));
    assert.ok(first > 0);
    const late = new Set(appended.slice(first).filter((chunk) => endangered.has(chunk)));
    assert.ok(late.size < limits.mendsAtOnceMax, "only those under way at the same time end later");
  }
});

void test("a process reads no planned rows but its own, and the more there are the more is planned", async () => {
  const world = await worldThatLost("replica:2", 3, 1, 2_400);
  const kvs = Array.from({ length: 2 }, () => watchedScans(world.kv));
  const processes: Process[] = [];
  for (const { kv } of kvs) processes.push(await startProcess({ ...world, kv }, still));
  while ((await jobOf(processes[0]!, "repair").run(signal)).more);
  const planned = (await rowsOf(world.kv, tags.mend)).map(({ key }) => parseMendKey(key).place);
  assert.ok(
    planned.length > limits.mendRowsOfSession + 64,
    `${planned.length} rows, of those for one process and a step`,
  );
  const ids = processes.map(({ session }) => session.id);
  for (const [index, { session }] of processes.entries()) {
    const { read } = kvs[index]!;
    read.length = 0;
    await jobOf(processes[index]!, "mend").run(signal);
    const { own } = new Shares(session.id, ids, still.nowMs());
    const others = read.filter(({ place }) => place < own.start || place >= own.end);
    assert.ok(read.length - others.length >= 64, "it read some of its own");
    assert.ok(others.length <= 2 * new Set(read.map(({ urgency }) => urgency)).size, `${others.length} of others`);
  }
});

void test("only so many pages are planned at a time, and it is known how much is done", async () => {
  const world = await worldThatLost("replica:2", 1, 1, 1_300);
  const process = await startProcess(world);
  const repair = jobOf(process, "repair");
  while ((await repair.run(signal)).more);
  const planned = (await rowsOf(world.kv, tags.mend)).length;
  assert.ok(planned >= limits.mendRowsOfSession && planned < limits.mendRowsOfSession + 64, `${planned} rows`);
  const { doneBytes, leftBytes } = repair.progress!()!;
  assert.equal(doneBytes, 0);
  const missing = (await chunksOf(world)).filter(({ places }) =>
    places.some(({ drive }) => !world.node.drives.includes(drive)),
  );
  // One scan of the fixture does not see all rows.
  assert.ok(leftBytes >= missing.length * body.length && leftBytes % body.length === 0);
  await jobOf(process, "mend").run(signal);
  await repair.run(signal);
  const after = repair.progress!()!;
  assert.equal(after.doneBytes + after.leftBytes, leftBytes);
  assert.ok(after.doneBytes > 0);
  await repairTogether([process], async () => repair.progress!() === undefined);
  assert.deepEqual(await rowsOf(world.kv, tags.mend), []);
  assert.deepEqual(await findingsOf(world), []);
});

void test("a page that was noted and planned at once is mended by one after the other", async () => {
  // So few that a page's two rows are taken up at the same time.
  for (let round = 0; round < 10; round++) {
    const { node, ...others } = await worldThatLost("replica:2", 2, 1, 3);
    const slow: ChunkNode = {
      ...nodeWithout(node, new Set()),
      append: async (...args) => {
        await node.append(...args);
        for (let turns = 0; turns < 20; turns++) await new Promise((resolve) => setImmediate(resolve));
      },
    };
    const world = { ...others, node: slow };
    const process = await startProcess(world);
    while ((await jobOf(process, "repair").run(signal)).more);
    for (const { key } of await rowsOf(world.kv, tags.mend)) {
      const { blob, page } = parseMendKey(key);
      await notePage(world.kv, blob, page, [0]);
    }
    await repairTogether([process], isWhole(world));
    assert.deepEqual(await findingsOf(world), []);
  }
});

void test("a drive is not asked for a shard before it gets it, and what lies there all the same is no obstacle", async () => {
  for (const found of ["nothing", "good", "damaged"] as const) {
    const world = await worldThatLost("replica:2", 1, 1, 40);
    let asked = 0;
    const node: ChunkNode = {
      ...nodeWithout(world.node, new Set()),
      append: async (drive, shard, stop) => {
        if (found !== "nothing" && asked === 0) {
          const bytes = Buffer.concat(shard.body);
          if (found === "damaged") bytes[0]! ^= 1;
          await world.node.append(drive, { ...shard, body: [bytes] });
        }
        await world.node.append(drive, shard, stop);
      },
      discard: async (drive, ref) => {
        asked += 1;
        // A memory node's shards cannot be damaged, so it takes the place of the check that finds it.
        if (found !== "damaged") return world.node.discard(drive, ref);
        await world.node.remove(drive, [ref]);
        return "missing";
      },
    };
    const process = await startProcess({ ...world, node });
    await repairTogether([process], isWhole(world));
    assert.equal(asked > 0, found !== "nothing", found);
    assert.deepEqual(await findingsOf(world), []);
    for (const { id, places, storedBytes } of await chunksOf(world)) {
      const range = { offset: 0, length: storedBytes };
      const copies = places.map(({ drive, shardIndex }) => world.node.read(drive, { chunk: id, shardIndex }, range));
      const [one, two] = await Promise.all(copies);
      assert.deepEqual(one, two);
    }
  }
});

void test("a planned page costs two commits: one announces, one publishes and forgets the row; who mended looks again at once", async () => {
  const world = await worldThatLost("replica:2", 1, 1, 40);
  let commits = 0;
  const kv: Kv = {
    name: world.kv.name,
    get: (keys) => world.kv.get(keys),
    scan: (range, options) => world.kv.scan(range, options),
    close: () => world.kv.close(),
    commit: (commit) => {
      commits += 1;
      return world.kv.commit(commit);
    },
  };
  const process = await startProcess({ ...world, kv, isShared: false });
  while ((await jobOf(process, "repair").run(signal)).more);
  const planned = (await rowsOf(world.kv, tags.mend)).length;
  assert.ok(planned > 5 && planned < 64);
  commits = 0;
  assert.deepEqual(await jobOf(process, "mend").run(signal), { done: planned, more: false, againMs: 0 });
  assert.equal(commits, 2 * planned);
  assert.deepEqual(await rowsOf(world.kv, tags.mend), []);
  assert.equal(await isWhole(world)(), true);
});

void test("chunks that were published incomplete are completed without reading what is there to check it", async () => {
  const whole = worldWith("replica:3", 0);
  const lost = new Set<DriveId>([whole.node.drives[0]!]);
  const writer = await startProcess({ ...whole, node: nodeWithout(whole.node, lost) });
  await writer.store.createBucket(bucket, { region: "here" });
  await writer.store.put(plainPut(bucket, "key", body));
  let verified = 0;
  const node: ChunkNode = {
    ...nodeWithout(whole.node, new Set()),
    verify: async (...args) => {
      verified += 1;
      return whole.node.verify(...args);
    },
  };
  const process = await startProcess({ ...whole, node });
  await jobOf(process, "mend").run(signal);
  assert.equal(verified, 0);
  assert.deepEqual(await rowsOf(whole.kv, tags.repair), []);
  assert.ok((await chunksOf(whole)).every(({ places }) => places.length === 3));
  assert.deepEqual(await findingsOf(whole), []);
});

void test("damage for which nothing can be done is not read again and again, until there are other drives", async () => {
  const whole = worldWith("ec:2+1", 0);
  const writer = await startProcess(whole);
  await writer.store.createBucket(bucket, { region: "here" });
  await writer.store.put(plainPut(bucket, "key", patternBytes(limits.copiedChunkBytesMax + 1)));
  await writer.session.close();
  const lost = new Set<DriveId>([whole.node.drives[0]!]);
  let verified = 0;
  const node: ChunkNode = {
    ...nodeWithout(whole.node, lost),
    get drives() {
      return nodeWithout(whole.node, lost).drives;
    },
    verify: async (...args) => {
      verified += 1;
      return whole.node.verify(...args);
    },
  };
  const process = await startProcess({ ...whole, node });
  const row = (await rowsOf(whole.kv, tags.blob)).find(({ key }) => parseBlobKey(key).page !== undefined)!;
  const { blob, page } = parseBlobKey(row.key);
  await notePage(whole.kv, blob, page!, [0]);
  for (let round = 0; round < 5; round++) await jobOf(process, "mend").run(signal);
  assert.equal(verified, 2, "each of the two that are there, once");
  assert.equal((await rowsOf(whole.kv, tags.repair)).length, 1);
  lost.clear();
  await jobOf(process, "mend").run(signal);
  assert.equal(verified, 5);
  assert.deepEqual(await rowsOf(whole.kv, tags.repair), []);
});

type Noted = { readonly blob: BlobId; readonly page: number; readonly chunks: readonly ChunkRecord[] };

/** A store that nobody writes to any more, with objects of so many bytes, and its pages in the order of their rows. */
async function worldOf(text: string, sizesBytes: readonly number[]): Promise<{ world: World; pages: Noted[] }> {
  const world = worldWith(text, 0);
  const writer = await startProcess(world);
  await writer.store.createBucket(bucket, { region: "here" });
  for (const [index, sizeBytes] of sizesBytes.entries())
    await writer.store.put(plainPut(bucket, `key ${index}`, patternBytes(sizeBytes, index + 1)));
  await writer.session.close();
  const rows = (await rowsOf(world.kv, tags.blob)).filter(({ key }) => parseBlobKey(key).page !== undefined);
  const pages = rows.map(({ key, value }) => {
    const { blob, page } = parseBlobKey(key);
    return { blob, page: page!, chunks: decodeChunkPage(value) };
  });
  return { world, pages };
}

type Rotten = { readonly world: World; readonly damaged: Map<ChunkId, number>; verified: number };

/** Of a chunk among `damaged` so many copies are, until they are made anew; `before` is awaited before one is looked at. */
function rotten(world: World, before: (chunk: ChunkId) => Promise<void> = async () => undefined): Rotten {
  const { node } = world;
  const damaged = new Map<ChunkId, number>();
  const isBad = ({ chunk, shardIndex }: ShardRef): boolean => shardIndex < (damaged.get(chunk) ?? 0);
  const rots: ChunkNode = {
    ...nodeWithout(node, new Set()),
    verify: async (drive, ref) => {
      rot.verified += 1;
      await before(ref.chunk);
      const result = await node.verify(drive, ref);
      return isBad(ref) ? { ...result, outcome: "corrupt" } : result;
    },
    discard: async (drive, ref) => {
      if (!isBad(ref)) return node.discard(drive, ref);
      await node.remove(drive, [ref]);
      return "missing";
    },
    append: async (drive, shard, stop) => {
      await node.append(drive, shard, stop);
      damaged.delete(shard.chunk);
    },
  };
  const rot: Rotten = { world: { ...world, node: rots }, damaged, verified: 0 };
  return rot;
}

const small = limits.inlineBytesMax + 1;

void test("what was mended counts, though a note of what is lost for good was looked at longer", async () => {
  const { world, pages } = await worldOf("replica:2", [small, small]);
  const [lost, mended] = pages as [Noted, Noted];
  const { damaged, ...rot } = rotten(world, async (chunk) => {
    if (chunk !== lost.chunks[0]!.id) return;
    while ((await rowsOf(world.kv, tags.repair)).length > 1) await turn();
    for (let turns = 0; turns < 10; turns++) await turn();
  });
  for (const { blob, page } of pages) await notePage(world.kv, blob, page, [0]);
  damaged.set(lost.chunks[0]!.id, 2);
  damaged.set(mended.chunks[0]!.id, 1);
  const process = await startProcess(rot.world);
  assert.equal((await jobOf(process, "mend").run(signal)).done, 1);
  assert.deepEqual([...damaged.keys()], [lost.chunks[0]!.id]);
});

void test("notes that fail hold up no other, however many they are, and the job waits only where nothing was mended", async () => {
  const { world, pages } = await worldOf(
    "replica:2",
    Array.from({ length: limits.mendsAtOnceMax + 1 }, () => small),
  );
  const last = pages.at(-1)!.chunks[0]!.id;
  const { damaged, ...rot } = rotten(world, async (chunk) => {
    if (chunk !== last) throw new HoldfastError("unavailable", "The node does not answer.");
  });
  for (const { blob, page } of pages) await notePage(world.kv, blob, page, [0]);
  damaged.set(last, 1);
  const mend = jobOf(await startProcess(rot.world), "mend");
  assert.equal((await mend.run(signal)).done, 1);
  assert.equal(damaged.size, 0);
  assert.equal((await rowsOf(world.kv, tags.repair)).length, limits.mendsAtOnceMax);
  await assert.rejects(mend.run(signal), { reason: "unavailable" });
});

void test("a chunk that was mended and is damaged again is mended again, though another of its page is lost for good", async () => {
  const { world, pages } = await worldOf("replica:2", [limits.chunkBytesMax + 1]);
  const [{ blob, page, chunks }] = pages as [Noted];
  const [lost, other] = chunks.map(({ id }) => id) as [ChunkId, ChunkId];
  const rot = rotten(world);
  rot.damaged.set(lost, 2).set(other, 1);
  const mend = jobOf(await startProcess(rot.world), "mend");
  const noted = async (): Promise<number[]> =>
    (await rowsOf(world.kv, tags.repair)).flatMap(({ value }) => decodeRepair(value).damaged);
  await notePage(world.kv, blob, page, [0, 1]);
  for (let round = 0; round < 2; round++) {
    assert.equal((await mend.run(signal)).done, 1);
    assert.deepEqual(await noted(), [0]);
    for (let idle = 0; idle < 3; idle++) assert.equal((await mend.run(signal)).done, 0);
    const { verified } = rot;
    await mend.run(signal);
    assert.equal(rot.verified, verified, "what is lost is not read again and again");
    rot.damaged.set(other, 1);
    await notePage(world.kv, blob, page, [1]);
  }
});

/** Loss of power and death of processes at any operation, from seeds. A failing run names its seed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { IdSource, type SessionId } from "../core/ids.ts";
import type { Random } from "../core/random.ts";
import { markDriveClean } from "./drive.ts";
import { DriveIndex } from "./drive_index.ts";
import { FakeMachine } from "./fake_machine.ts";
import type { LocalNode } from "./local_node.ts";
import type { Shard, ShardRef } from "./node.ts";
import { SEGMENT_HEADER_BYTES, type SegmentId } from "./segment.ts";

type Fate = "unknown" | "kept" | "removing";
type Known = { readonly shard: Shard; readonly bytes: Buffer; fate: Fate };

/** What a client of the drive has been promised. */
class Model {
  readonly #ids = new IdSource("0123456789abcdef" as SessionId);
  readonly known: Known[] = [];

  newShard(random: Random): Known {
    const large = random.below(4) === 0;
    const bytes = Buffer.alloc(1 + random.below(large ? 200_000 : 3_000), random.bytes(7));
    const cut = random.below(bytes.length);
    const body = [bytes.subarray(0, cut), bytes.subarray(cut)];
    const owner = { blob: this.#ids.blob(), chunkIndex: this.known.length };
    const shard = { chunk: this.#ids.chunk(), shardIndex: random.below(3), owner, body };
    const known: Known = { shard, bytes, fate: "unknown" };
    this.known.push(known);
    return known;
  }

  async append(node: LocalNode, random: Random): Promise<void> {
    const known = this.newShard(random);
    await node.append(node.drives[0]!, known.shard);
    known.fate = "kept";
  }

  async remove(node: LocalNode, random: Random): Promise<void> {
    const chosen = this.known.filter((known) => known.fate === "kept" && random.below(3) > 0);
    for (const known of chosen) known.fate = "removing";
    await node.remove(
      node.drives[0]!,
      chosen.map((known) => known.shard),
    );
  }

  async check(node: LocalNode): Promise<void> {
    for (const known of this.known) {
      const read = await readAll(node, known.shard, known.bytes.length);
      if (read) assert.ok(read.equals(known.bytes), "wrong bytes");
      if (known.fate === "kept") assert.ok(read, "an acknowledged shard is lost");
    }
    const listed = await node.list(node.drives[0]!, { limit: 2_000 });
    const appended = new Set(this.known.map(({ shard }) => `${shard.chunk}/${shard.shardIndex}`));
    for (const one of listed) assert.ok(appended.has(`${one.chunk}/${one.shardIndex}`), "a shard nobody appended");
  }
}

async function readAll(node: LocalNode, ref: ShardRef, length: number): Promise<Buffer | undefined> {
  try {
    return await node.read(node.drives[0]!, ref, { offset: 0, length });
  } catch (error) {
    if (hasReason(error, "no_such_chunk", "corrupt_chunk")) return undefined;
    throw error;
  }
}

async function checkCounters(machine: FakeMachine): Promise<void> {
  for await (const stats of new DriveIndex(machine.kv, machine.random).segments()) {
    assert.ok(stats.liveBytes >= 0 && stats.deadBytes >= 0);
    assert.equal(stats.liveBytes + stats.deadBytes + SEGMENT_HEADER_BYTES, stats.indexedBytes);
  }
}

/** Work until something stops it. */
async function work(node: LocalNode, model: Model, random: Random): Promise<void> {
  for (let round = 0; round < 6; round++) {
    const appends = Array.from({ length: 1 + random.below(6) }, () => model.append(node, random));
    const others = [
      ...(random.below(3) === 0 ? [model.remove(node, random)] : []),
      ...(random.below(4) === 0 ? [node.compact(node.drives[0]!)] : []),
    ];
    const results = await Promise.allSettled([...appends, ...others]);
    if (results.some((result) => result.status === "rejected")) return;
  }
}

async function startDespiteStops(machine: FakeMachine, random: Random): Promise<LocalNode> {
  for (let attempt = 0; attempt < 3; attempt++) {
    machine.stopAfter(random.below(60), random.below(2) === 0 ? "kill" : "crash");
    try {
      return await machine.start();
    } catch {
      // Stopped while starting; the next start must cope.
    }
  }
  machine.kill();
  return machine.start();
}

async function runSeed(seed: number): Promise<void> {
  const machine = new FakeMachine(seed);
  const model = new Model();
  let node = await machine.start();
  for (let cycle = 0; cycle < 4; cycle++) {
    machine.stopAfter(random(machine).below(120), random(machine).below(3) === 0 ? "kill" : "crash");
    await work(node, model, random(machine));
    machine.kill();
    node = await startDespiteStops(machine, random(machine));
    machine.stopAfter(Infinity, "kill");
    // A stop that was armed during the start may have hit after it.
    node = await reopened(machine, node);
    await model.check(node);
    await checkCounters(machine);
  }
  await node.compact(node.drives[0]!);
  await model.check(node);
}

async function reopened(machine: FakeMachine, node: LocalNode): Promise<LocalNode> {
  try {
    await node.list(node.drives[0]!, { limit: 1 });
    return node;
  } catch {
    return machine.start();
  }
}

function random(machine: FakeMachine): Random {
  return machine.random;
}

void test("what was acknowledged survives any stop; what was not is whole or gone", async () => {
  for (let seed = 1; seed <= 300; seed++) {
    try {
      await runSeed(seed);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
});

/** Twenty shards in one sealed segment, most of them removed. */
async function halfDead(machine: FakeMachine): Promise<{ node: LocalNode; model: Model }> {
  const model = new Model();
  let node = await machine.start();
  await Promise.all(Array.from({ length: 20 }, () => model.append(node, machine.random)));
  await node.close();
  node = await machine.openNode();
  const doomed = model.known.slice(5);
  for (const known of doomed) known.fate = "removing";
  await node.remove(
    node.drives[0]!,
    doomed.map((known) => known.shard),
  );
  return { node, model };
}

void test("a drive in folders that were made for it is there after a crash, with what was acknowledged", async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const machine = new FakeMachine(seed, undefined, "/mnt/store/data");
    const model = new Model();
    const node = await machine.start();
    await model.append(node, machine.random);
    machine.crash();
    await model.check(await machine.start());
  }
});

void test("an index that is noted as clean was synced", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const machine = new FakeMachine(seed);
    await machine.prepare();
    const content = Buffer.from("rows");
    const file = await machine.disk.open(`${machine.path}/index/index.mdb`, "create");
    await file.writev([content], 0);
    await file.close();
    await markDriveClean(machine.disk, machine.path);
    machine.disk.crash();
    assert.ok(machine.disk.fileBytes(`${machine.path}/index/index.mdb`).equals(content), `seed ${seed}`);
  }
});

void test("after a clean stop no lost removal leaves a segment that nobody knows", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const machine = new FakeMachine(seed);
    const { node, model } = await halfDead(machine);
    for (const known of model.known) known.fate = "removing";
    await node.remove(
      node.drives[0]!,
      model.known.map(({ shard }) => shard),
    );
    assert.ok((await node.compact(node.drives[0]!)) > 0);
    await node.close();
    await markDriveClean(machine.disk, machine.path);
    machine.kill();
    // The index was synced and survives: only the disk forgets.
    machine.disk.crash();
    const after = await machine.start();
    const known = new Set<SegmentId>();
    for await (const { segment } of new DriveIndex(machine.kv, machine.random).segments()) known.add(segment);
    for (const name of await machine.disk.list(`${machine.path}/segments`))
      assert.ok(known.has(name.slice(0, -".seg".length) as SegmentId), `seed ${seed}: ${name}`);
    await model.check(after);
  }
});

for (const how of ["kill", "crash"] as const) {
  void test(`a compaction stopped by a ${how} at any step loses nothing`, async () => {
    const whole = new FakeMachine(1);
    const first = await halfDead(whole);
    const before = whole.operations;
    assert.ok((await first.node.compact(first.node.drives[0]!)) > 0);
    const steps = whole.operations - before;
    assert.ok(steps > 20);
    for (let step = 0; step < steps; step++) {
      const machine = new FakeMachine(1);
      const { node, model } = await halfDead(machine);
      machine.stopAfter(step, how);
      await assert.rejects(node.compact(node.drives[0]!));
      const after = await machine.start();
      await model.check(after);
      await checkCounters(machine);
      await after.compact(after.drives[0]!);
      await model.check(after);
    }
  });
}

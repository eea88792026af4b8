/**
 * A process that was stopped between its last look at the index and its commit, and woken when the world was another one.
 * Where another server has taken the drive over meanwhile, nothing it still wanted to write may be taken: the index fences
 * it, not the lock and not a grace period.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { IdSource, type SessionId } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import type { Commit, Kv } from "../kv/kv.ts";
import { DriveIndex } from "./drive_index.ts";
import { FakeMachine, stoppedClock } from "./fake_machine.ts";
import { openLocalNode, type LocalNode } from "./local_node.ts";
import type { ChunkNode, Shard } from "./node.ts";
import { SEGMENT_HEADER_BYTES } from "./segment.ts";

const ids = new IdSource("00000000000000cc" as SessionId);

function shard(sizeBytes: number): Shard {
  const body = [Buffer.alloc(sizeBytes, sizeBytes % 251)];
  return { chunk: ids.chunk(), shardIndex: 0, owner: { blob: ids.blob(), chunkIndex: 0 }, body };
}

/** A process whose next commit that puts (or deletes) a shard's row is held until `wake`. */
class Sleeper {
  readonly #machine: FakeMachine;
  #armed: "put" | "delete" | undefined;
  #wake: () => void = () => undefined;
  readonly #woken = new Promise<void>((resolve) => (this.#wake = resolve));
  #fellAsleep: () => void = () => undefined;
  readonly asleep = new Promise<void>((resolve) => (this.#fellAsleep = resolve));

  constructor(machine: FakeMachine) {
    this.#machine = machine;
  }

  arm(kind: "put" | "delete" = "put"): void {
    this.#armed = kind;
  }

  wake(): void {
    this.#wake();
  }

  async #commit(kv: Kv, commit: Commit): ReturnType<Kv["commit"]> {
    if (commit.writes.some(({ kind, key }) => kind === this.#armed && key[0] === 0x63)) {
      this.#fellAsleep();
      await this.#woken;
    }
    return kv.commit(commit);
  }

  openNode(): Promise<LocalNode> {
    const machine = this.#machine;
    return openOn(machine, "sleeper", {
      name: "held",
      get: (keys) => machine.kv.get(keys),
      scan: (range, options) => machine.kv.scan(range, options),
      commit: (commit) => this.#commit(machine.kv, commit),
      close: async () => undefined,
    });
  }
}

/** A process that sees the machine's index as `kv` shows it. */
function openOn(machine: FakeMachine, self: string, kv: Kv): Promise<LocalNode> {
  const processes = { self, isAlive: async () => true };
  const { disk, random, path } = machine;
  const seams = { disk, openIndex: async () => kv, processes, clock: stoppedClock, random, log: silentLog };
  return openLocalNode({ drives: [path], ...seams });
}

async function readsBack(node: ChunkNode, one: Shard): Promise<boolean> {
  const bytes = Buffer.concat(one.body);
  return (await node.read(node.drives[0]!, one, { offset: 0, length: bytes.length })).equals(bytes);
}

async function checkCounters(machine: FakeMachine): Promise<void> {
  for await (const stats of new DriveIndex(machine.kv, machine.random).segments()) {
    assert.ok(stats.liveBytes >= 0 && stats.deadBytes >= 0);
    assert.equal(stats.liveBytes + stats.deadBytes + SEGMENT_HEADER_BYTES, stats.indexedBytes);
  }
}

void test("a compaction that slept through a takeover moves nothing to its lost copies", async () => {
  const machine = new FakeMachine(1);
  const sleeper = new Sleeper(machine);
  const first = await machine.start();
  const drive = first.drives[0]!;
  const [kept, doomed] = [shard(1_000), shard(9_000)];
  for (const each of [kept, doomed]) await first.append(drive, each);
  await first.remove(drive, [doomed]);
  await first.close();
  const old = await sleeper.openNode();
  sleeper.arm();
  const compaction = old.compact(drive).catch(() => 0);
  await sleeper.asleep;
  // The next server: the sleeper's segment holds only second copies, and goes first. The sleeper wakes right then.
  await machine.prepare();
  const now = await machine.openNode();
  const stop = new AbortController();
  machine.disk.onOperation = (operation) => {
    if (operation === "remove") stop.abort();
  };
  await now.compact(drive, stop.signal);
  sleeper.wake();
  await compaction;
  assert.ok(await readsBack(now, kept), "the shard is where the index says");
  await now.compact(drive);
  assert.ok(await readsBack(now, kept), "and its bytes were not taken for dead");
  await checkCounters(machine);
});

void test("a shard removed between a compaction's last look and its commit stays removed", async () => {
  const machine = new FakeMachine(1);
  const sleeper = new Sleeper(machine);
  const first = await machine.start();
  const drive = first.drives[0]!;
  const [kept, late, doomed] = [shard(1_000), shard(1_001), shard(9_000)];
  for (const each of [kept, late, doomed]) await first.append(drive, each);
  await first.remove(drive, [doomed]);
  await first.close();
  const compacting = await sleeper.openNode();
  sleeper.arm();
  const compaction = compacting.compact(drive);
  await sleeper.asleep;
  const other = await machine.openNode();
  await other.remove(drive, [late]);
  sleeper.wake();
  await compaction;
  assert.equal((await other.verify(drive, late)).outcome, "missing");
  assert.ok(await readsBack(other, kept));
  await checkCounters(machine);
});

async function appendAfterLook(look: number): Promise<void> {
  const machine = new FakeMachine(1);
  await machine.prepare();
  const sleeper = new Sleeper(machine);
  const writing = await sleeper.openNode();
  const drive = writing.drives[0]!;
  const one = shard(1_000);
  sleeper.arm();
  // A segment appears after one of the compaction's looks at the index, its first shard before the next commit.
  let looksLeft = Infinity;
  let append: Promise<void> | undefined;
  const kv: Kv = {
    name: "watched",
    get: (keys) => machine.kv.get(keys),
    scan: async (range, options) => {
      const page = await machine.kv.scan(range, options);
      looksLeft -= 1;
      if (looksLeft === 0) append = writing.append(drive, one);
      if (append !== undefined) await sleeper.asleep;
      return page;
    },
    commit: async (commit) => {
      sleeper.wake();
      await append;
      return machine.kv.commit(commit);
    },
    close: async () => undefined,
  };
  const compacting = await openOn(machine, "compacting", kv);
  looksLeft = look;
  await compacting.compact(drive);
  sleeper.wake();
  assert.ok(append !== undefined, "the compaction looked as often");
  await append;
  assert.ok(await readsBack(writing, one), "what was acknowledged is there");
}

void test("a segment made while a compaction looks for dead ones is not taken for one", async () => {
  for (const look of [1, 2, 3]) await appendAfterLook(look);
});

void test("a shard moved between a removal's look and its commit is removed where it stands", async () => {
  const machine = new FakeMachine(1);
  const sleeper = new Sleeper(machine);
  const first = await machine.start();
  const drive = first.drives[0]!;
  const [kept, late, doomed] = [shard(1_000), shard(1_001), shard(9_000)];
  for (const each of [kept, late, doomed]) await first.append(drive, each);
  await first.remove(drive, [doomed]);
  await first.close();
  const removing = await sleeper.openNode();
  sleeper.arm("delete");
  const removal = removing.remove(drive, [late]);
  await sleeper.asleep;
  const other = await machine.openNode();
  assert.ok((await other.compact(drive)) > 8_000);
  sleeper.wake();
  await removal;
  assert.equal((await other.verify(drive, late)).outcome, "missing");
  assert.ok(await readsBack(other, kept));
  await checkCounters(machine);
});

void test("what a dead process wrote and never indexed counts as dead", async () => {
  const machine = new FakeMachine(1);
  await machine.prepare();
  const sleeper = new Sleeper(machine);
  const dying = await sleeper.openNode();
  const drive = dying.drives[0]!;
  sleeper.arm();
  const append = dying.append(drive, shard(5_000)).catch(() => undefined);
  await sleeper.asleep;
  const other = await machine.openNode((token) => token !== "sleeper");
  assert.ok((await other.status(drive)).deadBytes > 5_000);
  assert.ok((await other.compact(drive)) > 5_000, "and is given back");
  sleeper.wake();
  await append;
});

void test("an append that slept through a takeover fails, and is not counted twice", async () => {
  const machine = new FakeMachine(1);
  await machine.prepare();
  const sleeper = new Sleeper(machine);
  const old = await sleeper.openNode();
  const drive = old.drives[0]!;
  const [one, two] = [shard(1_000), shard(2_000)];
  await old.append(drive, one);
  sleeper.arm();
  const append = old.append(drive, two).then(
    () => "acknowledged",
    (error: unknown) => (hasReason(error, "unavailable") ? "refused" : error),
  );
  await sleeper.asleep;
  // The next server indexes what was synced and not acknowledged, removes it, and compacts.
  await machine.prepare();
  const now = await machine.openNode();
  await now.remove(drive, [two]);
  await now.compact(drive);
  sleeper.wake();
  assert.equal(await append, "refused");
  assert.equal((await now.verify(drive, two)).outcome, "missing", "what was removed stays removed");
  await assert.rejects(old.append(drive, shard(3_000)), (error) => hasReason(error, "unavailable"), "in a new segment");
  assert.ok(await readsBack(now, one));
  await checkCounters(machine);
});

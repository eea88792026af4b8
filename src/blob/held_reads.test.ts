/** Reads while drives cannot be asked though somebody alive has them: they are waited for, a while, where nothing else is left. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, hasReason, type ErrorReason } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { parseRedundancy, shardsOf } from "../core/redundancy.ts";
import { createDigestPool } from "../digest/pool.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import { driveMissing, type ChunkNode } from "../node/node.ts";
import { bodyOf, bytesOf, chunkBytes, chunked, drives, KiB, makeStore, readAll, writeOptions } from "./blob.fixture.ts";
import type { BlobStore, ChunkedBlob } from "./blob.ts";
import { createNodePlacement } from "./node_placement.ts";
import { TestClock } from "./slow.fixture.ts";

const digests = createDigestPool({ threads: 0 });
test.after(() => digests.close());

type Cluster = {
  readonly store: BlobStore;
  readonly clock: TestClock;
  readonly blob: ChunkedBlob;
  readonly bytes: Buffer;
  /** Nobody has them any more. */
  readonly lost: Set<DriveId>;
  /** They fail every call, and are not listed if they are away. */
  readonly failing: Map<DriveId, ErrorReason>;
  reads: number;
};

/** A store whose drives are lost, or out of reach, as told. */
async function cluster(text: string): Promise<Cluster> {
  const redundancy = parseRedundancy(text);
  const memory = createMemoryNode(drives(shardsOf(redundancy)));
  const bytes = bytesOf(4 * chunkBytes - 7, "random", 3);
  const writer = await makeStore(memory, digests, { redundancy: () => redundancy });
  const blob = chunked(await writer.write(bodyOf(bytes, 64 * KiB, true), writeOptions));
  const clock = new TestClock();
  const [lost, failing] = [new Set<DriveId>(), new Map<DriveId, ErrorReason>()];
  const found = { clock, blob, bytes, lost, failing, reads: 0 };
  const node: ChunkNode = {
    ...memory,
    get drives() {
      return memory.drives.filter((drive) => !lost.has(drive) && failing.get(drive) !== "drive_missing");
    },
    isHeld: (drive) => !lost.has(drive),
    status: (drive) => memory.status(drive),
    read: async (drive, ref, range) => {
      found.reads += 1;
      const reason = failing.get(drive);
      if (lost.has(drive) || reason === "drive_missing") throw driveMissing(drive);
      if (reason !== undefined) throw new HoldfastError(reason, "Not now.");
      return memory.read(drive, ref, range);
    },
  };
  const placement = await createNodePlacement({ node, clock, log: silentLog });
  return Object.assign(found, { store: await makeStore(node, digests, { placement }) });
}

/** As many drives lost as the redundancy bears, and one more that fails. */
function loseAndFail({ lost, failing, blob }: Cluster, text: string, reason: ErrorReason): void {
  const places = blob.chunks[0]!.places.map(({ drive }) => drive);
  const { parityShards } = parseRedundancy(text);
  for (const drive of places.slice(0, parityShards)) lost.add(drive);
  failing.set(places[parityShards]!, reason);
}

for (const text of ["replica:2", "ec:2+1", "ec:4+2"])
  for (const reason of ["drive_missing", "slow_down", "unavailable"] as const)
    void test(`with ${text}, a drive too many that fails for a while (${reason}) is waited for`, async () => {
      const trial = await cluster(text);
      const { store, clock, blob, bytes, failing } = trial;
      loseAndFail(trial, text, reason);
      const read = readAll(store, blob);
      let isOver = false;
      void read.then(() => (isOver = true));
      const comesBack = clock.sleep(limits.heldReadMsMax / 2).then(() => {
        assert.equal(isOver, false);
        failing.clear();
      });
      assert.ok((await clock.until(read)).equals(bytes));
      await comesBack;
      assert.equal(clock.sleepers, 0, "no timer is left");
    });

void test("one that does not come back is waited for no longer than that, and one that nobody has not at all", async () => {
  for (const isHeld of [true, false]) {
    const trial = await cluster("ec:2+1");
    const { store, clock, blob, lost, failing } = trial;
    loseAndFail(trial, "ec:2+1", "drive_missing");
    if (!isHeld) lost.add([...failing.keys()][0]!);
    const before = clock.monotonicMs();
    await assert.rejects(clock.until(readAll(store, blob)), (error) => hasReason(error, "drive_missing"));
    const tookMs = clock.monotonicMs() - before;
    if (!isHeld) assert.equal(tookMs, 0);
    else assert.ok(tookMs >= limits.heldReadMsMax && tookMs <= limits.heldReadMsMax + limits.slowDriveMsMin);
    const triesMax = 10 + (2 * limits.heldReadMsMax) / limits.slowDriveMsMin;
    assert.ok(trial.reads <= triesMax * blob.chunks.length * 3, `${trial.reads} reads`);
    assert.equal(clock.sleepers, 0);
  }
});

void test("what is damaged is not waited for", async () => {
  const trial = await cluster("ec:2+1");
  const { store, clock, blob } = trial;
  loseAndFail(trial, "ec:2+1", "corrupt_chunk");
  trial.lost.clear();
  const [first] = blob.chunks[0]!.places;
  trial.failing.set(first!.drive, "corrupt_chunk");
  const before = clock.monotonicMs();
  await assert.rejects(clock.until(readAll(store, blob)), (error) => hasReason(error, "corrupt_chunk"));
  assert.equal(clock.monotonicMs(), before);
});

void test("a reader that leaves is not kept by what it waits for", async () => {
  const trial = await cluster("replica:2");
  const { store, clock, blob } = trial;
  loseAndFail(trial, "replica:2", "drive_missing");
  const leaving = new AbortController();
  const { chunkBytes: size, sizeBytes, chunks } = blob;
  const source = { blob: blob.id, chunkBytes: size, sizeBytes, chunks: async () => chunks };
  const next = store.read(source, 0, sizeBytes, leaving.signal)[Symbol.asyncIterator]().next();
  next.catch(() => undefined);
  await clock.work();
  leaving.abort();
  await assert.rejects(next, (error) => hasReason(error, "cancelled"));
  await clock.work();
  assert.equal(clock.sleepers, 0);
});

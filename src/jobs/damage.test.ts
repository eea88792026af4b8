/** Notes of damage on their way to a row: none is held back that could be written. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../core/clock.ts";
import type { BlobId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import type { Kv } from "../kv/kv.ts";
import { parseBlobKey, tags } from "../meta/keys.ts";
import { decodeRepair } from "../meta/repairs.ts";
import { patternBytes, plainPut } from "../object/object.fixture.ts";
import { DamageNotes } from "./damage.ts";
import { newWorld, rowsOf, startProcess } from "./jobs.fixture.ts";

/** A store with two blobs. */
async function twoBlobs() {
  const { kv, node } = newWorld();
  const { store } = await startProcess({ kv, node });
  await store.createBucket("photos", { region: "here" });
  for (const key of ["one", "two"])
    await store.put(plainPut("photos", key, patternBytes(limits.inlineBytesMax + 1, key.length)));
  const blobs = new Set((await rowsOf(kv, tags.blob)).map(({ key }) => parseBlobKey(key).blob));
  const [one, two] = [...blobs] as [BlobId, BlobId];
  const noted = async (): Promise<BlobId[]> => {
    const rows = await rowsOf(kv, tags.repair);
    for (const { value } of rows) assert.deepEqual(decodeRepair(value), { damaged: [0], incomplete: [] });
    return rows.map(({ key }) => parseBlobKey(key).blob).toSorted();
  };
  return { kv, one, two, noted };
}

void test("a note that could not be written is written when the next read meets the damage again", async () => {
  const { kv, one, noted } = await twoBlobs();
  let isAway = true;
  const away: Kv = {
    name: kv.name,
    get: (keys) => (isAway ? Promise.reject(new Error("It is away.")) : kv.get(keys)),
    scan: (range, options) => kv.scan(range, options),
    commit: (commit) => kv.commit(commit),
    close: () => kv.close(),
  };
  let wake = (): void => undefined;
  const damage = new DamageNotes({ kv: away, clock: systemClock, log: silentLog, onNoted: () => wake() });
  const written = (): Promise<void> => new Promise((resolve) => (wake = resolve));
  damage.note({ blob: one }, 0);
  await written();
  assert.deepEqual(await noted(), []);
  isAway = false;
  damage.note({ blob: one }, 0);
  await written();
  assert.deepEqual(await noted(), [one]);
  await damage.close();
});

void test("a note that comes just when all others were written is written too", async () => {
  const { kv, one, two, noted } = await twoBlobs();
  const all = Promise.withResolvers<void>();
  let count = 0;
  const onNoted = (): void => {
    count += 1;
    if (count === 1) queueMicrotask(() => damage.note({ blob: two }, 0));
    else all.resolve();
  };
  const damage = new DamageNotes({ kv, clock: systemClock, log: silentLog, onNoted });
  damage.note({ blob: one }, 0);
  await all.promise;
  assert.deepEqual(await noted(), [one, two].toSorted());
  await damage.close();
});

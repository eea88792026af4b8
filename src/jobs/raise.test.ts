/** A store that grows takes along what it had. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { formatRedundancy, oneCopy, parseRedundancy, type Redundancy } from "../core/redundancy.ts";
import { decodeConversion, type ConversionRecord } from "../meta/conversions.ts";
import { bucketIdOf, tags } from "../meta/keys.ts";
import { patternBytes, plainPut } from "../object/object.fixture.ts";
import { rowsOf, startProcess, worldWith } from "./jobs.fixture.ts";
import { RaiseJob } from "./raise.ts";

function textOf({ redundancies: { standard, reduced } }: ConversionRecord): string {
  return [standard, reduced].map((each) => (each === undefined ? "-" : formatRedundancy(each))).join(" ");
}

const signal = new AbortController().signal;

test("buckets that say nothing else are converted when more losses can be borne, once", async () => {
  const world = worldWith("replica:1", 2);
  const { store } = await startProcess(world);
  const { kv } = world;
  let now: Redundancy = oneCopy;
  const job = new RaiseJob({ kv, redundancy: () => now, log: silentLog });
  const conversions = async (): Promise<string[]> =>
    (await rowsOf(kv, tags.conversion)).map(
      ({ key, value }) => `${bucketIdOf(key)} ${textOf(decodeConversion(value))}`,
    );
  const look = async (): Promise<number> => (await job.run(signal)).done;
  assert.deepEqual([await look(), await look()], [0, 0]);
  const { id } = (await store.createBucket("plain", { region: "here" })).bucket;
  await store.createBucket("own", { region: "here" });
  await store.setRedundancy("own", { redundancy: oneCopy });
  await store.put(plainPut("plain", "x", patternBytes(limits.inlineBytesMax + 1)));
  const [own] = await conversions();
  assert.deepEqual([await look(), await conversions()], [0, [own]]);

  now = parseRedundancy("replica:2");
  assert.deepEqual([await look(), await conversions()], [0, [own]], "seen once is not settled");
  assert.equal(await look(), 1);
  assert.deepEqual(new Set(await conversions()), new Set([own, `${id} replica:2 replica:2`]));
  await kv.commit({
    checks: [],
    writes: (await rowsOf(kv, tags.conversion)).map(({ key }) => ({ kind: "delete", key })),
  });
  for (const text of ["replica:1", "replica:2", "ec:2+1"]) {
    now = parseRedundancy(text);
    assert.deepEqual([await look(), await look(), await conversions()], [0, 0, []], text);
  }
  now = parseRedundancy("replica:3");
  assert.deepEqual([await look(), await look(), await conversions()], [0, 1, [`${id} replica:3 -`]], "STANDARD alone");
});

test("the reduced class is raised by itself, where a bucket follows the store's", async () => {
  const world = worldWith("replica:1", 2);
  const { store } = await startProcess(world);
  const { kv } = world;
  const own = { redundancy: parseRedundancy("replica:3") };
  for (const [name, asked] of [
    ["plain", {}],
    ["own", own],
    ["both", { ...own, reducedRedundancy: oneCopy }],
  ] as const) {
    await store.createBucket(name, { region: "here" });
    await store.setRedundancy(name, asked);
  }
  const ids = new Map<string, string>();
  for (const name of ["plain", "own", "both"]) ids.set((await store.bucket(name)).id, name);
  /** What a store that is started with this setting tells buckets. */
  const told = async (text: string | undefined): Promise<string[]> => {
    await kv.commit({
      checks: [],
      writes: (await rowsOf(kv, tags.conversion)).map(({ key }) => ({ kind: "delete", key })),
    });
    const reducedRedundancy = text === undefined ? undefined : parseRedundancy(text);
    const redundancy = (): Redundancy => parseRedundancy("ec:4+2");
    const job = new RaiseJob({ kv, redundancy, reducedRedundancy, log: silentLog });
    for (let look = 0; look < 3; look++) await job.run(signal);
    return (await rowsOf(kv, tags.conversion))
      .map(({ key, value }) => {
        return `${ids.get(bucketIdOf(key))} ${textOf(decodeConversion(value))}`;
      })
      .toSorted();
  };
  assert.deepEqual(await told("replica:1"), ["own - replica:1", "plain ec:4+2 replica:1"]);
  assert.deepEqual(await told("replica:1"), []);
  assert.deepEqual(await told("replica:2"), ["own - replica:2", "plain - replica:2"]);
  assert.deepEqual(await told(undefined), []);
  assert.deepEqual(await told("replica:3"), ["own - replica:3", "plain - replica:3"]);
});

/** A store that grows takes along what it had. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { formatRedundancy, oneCopy, parseRedundancy, type Redundancy } from "../core/redundancy.ts";
import { decodeConversion } from "../meta/conversions.ts";
import { bucketIdOf, tags } from "../meta/keys.ts";
import { patternBytes, plainPut } from "../object/object.fixture.ts";
import { rowsOf, startProcess, worldWith } from "./jobs.fixture.ts";
import { RaiseJob } from "./raise.ts";

const signal = new AbortController().signal;

test("buckets that say nothing else are converted when more losses can be borne, once", async () => {
  const world = worldWith("replica:1", 2);
  const { store } = await startProcess(world);
  const { kv } = world;
  let now: Redundancy = oneCopy;
  const job = new RaiseJob({ kv, redundancy: () => now, log: silentLog });
  const conversions = async (): Promise<string[]> =>
    (await rowsOf(kv, tags.conversion)).map(
      ({ key, value }) => `${bucketIdOf(key)} ${formatRedundancy(decodeConversion(value).redundancies.standard)}`,
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
  assert.deepEqual(new Set(await conversions()), new Set([own, `${id} replica:2`]));
  await kv.commit({
    checks: [],
    writes: (await rowsOf(kv, tags.conversion)).map(({ key }) => ({ kind: "delete", key })),
  });
  for (const text of ["ec:2+1", "replica:1", "replica:2"]) {
    now = parseRedundancy(text);
    assert.deepEqual([await look(), await look(), await conversions()], [0, 0, []], text);
  }
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { findingsOf, newWorld, startProcess } from "../jobs/jobs.fixture.ts";
import { plainPut } from "./object.fixture.ts";

const bucket = "tagged";
const key = Buffer.from("k");

/** What may be answered when the version goes at the same time. */
function ifGone(error: unknown): void {
  assert.ok(hasReason(error, "no_such_version", "no_such_key"), String(error));
}

test("tags that are set while versions come, move and go belong to a version that is there, or to none", async () => {
  const world = newWorld();
  const [one, other] = [(await startProcess(world)).store, (await startProcess(world)).store];
  await one.createBucket(bucket, { region: "here" });
  await one.put(plainPut(bucket, "k", "null version"));
  await one.setVersioning(bucket, "enabled");
  for (let round = 0; round < 30; round++) {
    const { versionId: older } = await one.put(plainPut(bucket, "k", `older ${round}`));
    const { versionId: newer } = await one.put(plainPut(bucket, "k", "n".repeat(20_000)));
    assert.ok(older !== undefined && newer !== undefined);
    const set = (store: typeof one, versionId: string): Promise<void> =>
      store.setTags({ bucket, key, versionId, tags: new Map([["round", `${round}`]]) }).then(() => undefined, ifGone);
    await Promise.all([
      set(one, older),
      set(other, older),
      set(other, "null"),
      other.put(plainPut(bucket, "k", "newest")),
      // What is older becomes current, and then goes too.
      one.delete({ bucket, key, versionId: newer }),
      other.delete({ bucket, key, versionId: round % 2 === 0 ? older : newer }),
    ]);
    const { info } = await one.head({ bucket, key, versionId: "null" });
    assert.deepEqual(info.tags, new Map([["round", `${round}`]]));
    if (round % 2 === 1) {
      const kept = await one.head({ bucket, key, versionId: older });
      assert.deepEqual(kept.info.tags, new Map([["round", `${round}`]]));
    } else await assert.rejects(one.head({ bucket, key, versionId: older }), { reason: "no_such_version" });
  }
  assert.deepEqual(await findingsOf(world), []);
});

/** Jobs whose drives are another node's, over loopback. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { limits } from "../core/limits.ts";
import { IdSource } from "../core/ids.ts";
import { tags } from "../meta/keys.ts";
import { connectTo, serveNode } from "../node/peer.fixture.ts";
import { patternBytes, plainPut } from "../object/object.fixture.ts";
import { drain, findingsOf, newWorld, rowsOf, startProcess } from "./jobs.fixture.ts";
import { fenceOthers } from "./sessions.ts";

void test("what an ended session left on another node's drive is removed, and what it published is not", async (t) => {
  const { kv, node: inner } = newWorld();
  const served = await serveNode(inner);
  t.after(() => served.stop());
  const node = connectTo(served.port, inner);
  t.after(() => node.close());
  const world = { kv, node };
  const { store, session } = await startProcess(world);
  await store.createBucket("photos", { region: "here" });
  await store.put(plainPut("photos", "whole", patternBytes(limits.copiedChunkBytesMax + 1_000)));
  const published = await inner.list(inner.drives[0]!, { limit: 10 });
  const ids = new IdSource(session.id);
  // Behind the published ones, in the ids of the session.
  for (const _ of published) ids.chunk();
  const owner = { blob: ids.blob(), chunkIndex: 0 };
  await inner.append(inner.drives[0]!, { chunk: ids.chunk(), shardIndex: 0, owner, body: [Buffer.from("left")] });
  const process = await startProcess(world);
  await fenceOthers(kv, [process.session.id]);
  await drain(process);
  assert.deepEqual(await rowsOf(kv, tags.ended), []);
  assert.deepEqual(await inner.list(inner.drives[0]!, { limit: 10 }), published);
  assert.deepEqual(await findingsOf(world), []);
});

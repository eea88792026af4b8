/** A bucket that is deleted with uploads under way takes them along. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { tags } from "../meta/keys.ts";
import { bodyOf, noMetadata, noVerifier } from "../object/object.fixture.ts";
import { drain, findingsOf, newWorld, rowsOf, startProcess } from "./jobs.fixture.ts";

const bucket = "left";
const part = Buffer.alloc(limits.partBytesMin, "part");

test("a bucket with uploads under way can be deleted, and nothing of them stays", async () => {
  const world = newWorld();
  const running = await startProcess(world);
  const { store } = running;
  await store.createBucket(bucket, { region: "here" });
  const begin = async (name: string) => {
    const key = Buffer.from(name);
    const { id } = await store.createUpload({ bucket, key, metadata: noMetadata });
    const upload = { bucket, key, uploadId: id };
    await store.uploadPart({ ...upload, partNumber: 1, body: bodyOf(part), verifier: noVerifier });
    return upload;
  };
  const first = await begin("a");
  for (let left = 40; left > 0; left--) await begin(`b${left}`);
  await store.deleteBucket(bucket);
  await assert.rejects(store.abortUpload(first), (error) => hasReason(error, "no_such_bucket"));
  assert.deepEqual(await findingsOf(world), []);
  // One of the same name is another bucket: it has none of them.
  await store.createBucket(bucket, { region: "here" });
  const listed = await store.listUploads({ bucket, limit: 10 });
  assert.deepEqual(listed.uploads, []);
  await drain(running);
  for (const tag of [tags.upload, tags.part, tags.leftover, tags.gone, tags.blob, tags.trash])
    assert.deepEqual(await rowsOf(world.kv, tag), [], String(tag));
  assert.deepEqual(await findingsOf(world), []);
});

/** What is said of where an object lies, when its chunk map is not what it should be. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { encodeChunkPage, decodeChunkPage } from "../meta/chunk_pages.ts";
import { decodeHead } from "../meta/heads.ts";
import { blobPageKey, headKey } from "../meta/keys.ts";
import { openTestStore, patternBytes, plainPut, testChunkBytes } from "./object.fixture.ts";

void test("a chunk map that ends too early is an error, and not looked at again and again", async () => {
  const t = await openTestStore("memory");
  const { bucket } = await t.store.createBucket("maps", { region: "here" });
  await t.store.put(plainPut("maps", "a", patternBytes(2 * testChunkBytes)));
  const key = Buffer.from("a");
  const [head] = await t.kv.get([headKey(bucket.id, key)]);
  const { data } = decodeHead(head!.value);
  assert.ok(data.kind === "blob");
  const page = blobPageKey(data.blob, 0);
  const [row] = await t.kv.get([page]);
  const value = encodeChunkPage(decodeChunkPage(row!.value).slice(0, 1));
  await t.kv.commit({ checks: [], writes: [{ kind: "put", key: page, value }] });
  const laid: number[] = [];
  await assert.rejects(
    async () => {
      for await (const { offset } of (await t.store.layout({ bucket: "maps", key })).chunks) laid.push(offset);
    },
    (error) => hasReason(error, "corrupt_record"),
  );
  assert.deepEqual(laid, [0]);
  await t.close();
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { counted } from "../kv/counted.fixture.ts";
import type { Kv } from "../kv/kv.ts";
import { scanAll } from "../kv/scan_pages.ts";
import { tagRange, tags } from "../meta/keys.ts";
import { KeptConfigurations } from "./configurations.ts";
import { kvKinds, openTestStore } from "./object.fixture.ts";
import type { TestStore } from "./object.fixture.ts";
import type { Objects } from "./object.ts";

const bucket = "configured";
const corsText = "<CORSConfiguration/>";
const taggingText = "<Tagging/>";
const cors = Buffer.from(corsText);
const tagging = Buffer.from(taggingText);

async function textOf(store: Objects, kind: "cors" | "tagging"): Promise<string | undefined> {
  return (await store.configuration(bucket, kind))?.bytes.toString();
}

async function documents(opened: TestStore): Promise<number> {
  return (await scanAll(opened.kv, tagRange(tags.config))).length;
}

for (const kind of kvKinds) {
  test(`a document is there until it is taken away (${kind})`, async (t) => {
    const opened = await openTestStore(kind);
    t.after(() => opened.close());
    const { store } = opened;
    await store.createBucket(bucket, { region: "here" });
    assert.equal(await textOf(store, "cors"), undefined);
    await store.setConfiguration({ bucket, kind: "cors", document: cors });
    await store.setConfiguration({ bucket, kind: "tagging", document: tagging });
    assert.deepEqual([await textOf(store, "cors"), await textOf(store, "tagging")], [corsText, taggingText]);
    await store.setConfiguration({ bucket, kind: "cors", document: undefined });
    assert.deepEqual([await textOf(store, "cors"), await textOf(store, "tagging")], [undefined, taggingText]);
    await store.setConfiguration({ bucket, kind: "cors", document: undefined });
    assert.equal(await documents(opened), 1);
  });

  test(`another process sees a change as soon as it is acknowledged (${kind})`, async (t) => {
    const opened = await openTestStore(kind);
    t.after(() => opened.close());
    const other = (await opened.gateway()).store;
    await opened.store.createBucket(bucket, { region: "here" });
    for (const text of ["<a/>", "<b/>", undefined, "<c/>"]) {
      const document = text === undefined ? undefined : Buffer.from(text);
      await opened.store.setConfiguration({ bucket, kind: "cors", document });
      assert.deepEqual([await textOf(other, "cors"), await textOf(opened.store, "cors")], [text, text]);
    }
  });
}

test("changes of different kinds at the same time are all kept", async (t) => {
  const opened = await openTestStore("memory");
  t.after(() => opened.close());
  const { store } = opened;
  const other = (await opened.gateway()).store;
  await store.createBucket(bucket, { region: "here" });
  await Promise.all([
    ...Array.from({ length: 8 }, (_, n) =>
      store.setConfiguration({ bucket, kind: "cors", document: Buffer.from(`<a n="${n}"/>`) }),
    ),
    ...Array.from({ length: 8 }, () => other.setConfiguration({ bucket, kind: "tagging", document: tagging })),
    other.setRedundancy(bucket, { redundancy: { dataShards: 1, parityShards: 1 } }),
  ]);
  assert.match((await textOf(store, "cors")) ?? "", /^<a n="\d"\/>$/);
  assert.equal(await textOf(store, "tagging"), taggingText);
  assert.deepEqual((await store.bucket(bucket)).redundancy, { dataShards: 1, parityShards: 1 });
});

test("the documents of a deleted bucket are gone, and the next bucket of its name has none", async (t) => {
  const opened = await openTestStore("memory");
  t.after(() => opened.close());
  const { store } = opened;
  await store.createBucket(bucket, { region: "here" });
  await store.setConfiguration({ bucket, kind: "cors", document: cors });
  await store.setConfiguration({ bucket, kind: "tagging", document: tagging });
  assert.equal(await textOf(store, "cors"), corsText);
  await store.deleteBucket(bucket);
  assert.equal(await documents(opened), 0);
  await assert.rejects(store.configuration(bucket, "cors"), { reason: "no_such_bucket" });
  await assert.rejects(store.setConfiguration({ bucket, kind: "cors", document: cors }), { reason: "no_such_bucket" });
  await store.createBucket(bucket, { region: "here" });
  assert.equal(await textOf(store, "cors"), undefined);
  assert.equal(await documents(opened), 0);
});

test("deleting a bucket against changes of its configuration leaves no document without a bucket", async (t) => {
  const opened = await openTestStore("memory");
  t.after(() => opened.close());
  const other = (await opened.gateway()).store;
  for (let round = 0; round < 20; round++) {
    await opened.store.createBucket(bucket, { region: "here" });
    const changes = Array.from({ length: 3 }, (_, n) =>
      other.setConfiguration({ bucket, kind: "cors", document: n === 1 ? undefined : cors }),
    );
    const [deleted] = await Promise.allSettled([opened.store.deleteBucket(bucket), ...changes]);
    if (deleted.status === "rejected") await opened.store.deleteBucket(bucket);
    assert.equal(await documents(opened), 0);
  }
});

test("a read uses one row more than the bucket's only for a document it has not read", async (t) => {
  const opened = await openTestStore("memory");
  t.after(() => opened.close());
  const asked: number[] = [];
  const { kv: real } = opened;
  const kv: Kv = {
    name: real.name,
    get: (keys) => {
      asked.push(keys.length);
      return real.get(keys);
    },
    scan: (range, options) => real.scan(range, options),
    commit: (commit) => real.commit(commit),
    close: () => real.close(),
  };
  const { store } = await opened.gateway({ kv });
  await store.createBucket(bucket, { region: "here" });
  asked.length = 0;
  await store.configuration(bucket, "cors");
  assert.deepEqual(asked.splice(0), [1]);
  await opened.store.setConfiguration({ bucket, kind: "cors", document: cors });
  const first = await store.configuration(bucket, "cors");
  assert.deepEqual(asked.splice(0), [1, 2]);
  assert.equal(await store.configuration(bucket, "cors"), first);
  assert.deepEqual(asked.splice(0), [1]);
});

test("an answer is the same object until the bucket is changed, in whatever process, and what was read ahead saves the read", async (t) => {
  const opened = await openTestStore("memory");
  t.after(() => opened.close());
  const { kv, counts } = counted(opened.kv);
  const { store } = await opened.gateway({ kv });
  await store.createBucket(bucket, { region: "here" });
  const kinds = ["cors", "tagging"] as const;
  const ahead = async () => {
    const rows = store.readAhead(bucket)!;
    rows.put(await opened.kv.get(rows.keys));
    return rows;
  };
  const first = await store.configurations(bucket, kinds);
  await opened.store.setConfiguration({ bucket, kind: "cors", document: cors });
  const rows = await ahead();
  assert.equal(store.knownConfigurations(bucket, kinds, rows), undefined);
  const second = await store.configurations(bucket, kinds, rows);
  assert.deepEqual([first.documents.size, second.documents.get("cors")?.bytes.toString()], [0, corsText]);
  await store.configuration(bucket, "cors");
  const before = counts.gets;
  assert.equal(store.knownConfigurations(bucket, kinds, await ahead()), second);
  assert.equal(await store.configurations(bucket, kinds, await ahead()), second);
  assert.equal(counts.gets, before);
  // What was read ahead is taken once: after that the store is asked again.
  await opened.store.setConfiguration({ bucket, kind: "cors", document: undefined });
  assert.equal((await store.configurations(bucket, kinds, rows)).documents.size, 0);
  await opened.store.deleteBucket(bucket);
  await assert.rejects(store.configurations(bucket, kinds, await ahead()), (error) =>
    hasReason(error, "no_such_bucket"),
  );
  assert.equal(store.readAhead("x".repeat(limits.bucketNameCharsMax + 1)), undefined);
});

test("what is kept in memory is bounded by its bytes", () => {
  const kept = new KeptConfigurations();
  const bytes = Buffer.alloc(limits.configurationBytesMax);
  const count = Math.ceil(limits.configurationCacheBytesMax / bytes.length) + 1;
  const of = (n: number): Parameters<KeptConfigurations["get"]>[0] =>
    ({ id: `${n}`, revision: 1 }) as unknown as Parameters<KeptConfigurations["get"]>[0];
  for (let n = 0; n < count; n++) kept.keep(of(n), "cors", { bytes, modifiedMs: 0 });
  const held = Array.from({ length: count }, (_, n) => kept.get(of(n), "cors")).filter((one) => one !== undefined);
  assert.ok(held.length < count && held.length * bytes.length <= limits.configurationCacheBytesMax);
});

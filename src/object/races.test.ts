import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { hasReason } from "../core/errors.ts";
import type { Kv } from "../kv/kv.ts";
import { decodeBlobRoot } from "../meta/blobs.ts";
import { decodeHead } from "../meta/heads.ts";
import { blobRootKey, headKey, headRange, parseBlobKey, tagRange, tags } from "../meta/keys.ts";
import { decodeTrash } from "../meta/trash.ts";
import { kvKinds, openTestStore, patternBytes, plainPut, readAll } from "./object.fixture.ts";
import type { TestGateway, TestStore } from "./object.fixture.ts";

for (const kind of kvKinds) {
  describe(`races on ${kind}`, () => {
    let t: TestStore;
    let gateways: TestGateway[];
    const bucket = "raced";
    const address = (key: string): { bucket: string; key: Buffer } => ({ bucket, key: Buffer.from(key) });

    before(async () => {
      t = await openTestStore(kind);
      gateways = [t, await t.gateway(), await t.gateway(), await t.gateway()];
      await t.store.createBucket(bucket, { region: "r" });
    });
    after(() => t.close());

    for (const sizeBytes of [10, 40_000]) {
      test(`of 64 writers with If-None-Match: * exactly one wins (${sizeBytes} bytes)`, async () => {
        const key = `once-${sizeBytes}`;
        const racers = Array.from({ length: 64 }, (_, index) => {
          const { store } = gateways[index % gateways.length]!;
          const put = plainPut(bucket, key, patternBytes(sizeBytes, index));
          return store.put({ ...put, conditions: { ifNoneMatch: "*" } });
        });
        const results = await Promise.allSettled(racers);
        const won = results.filter((result) => result.status === "fulfilled");
        assert.equal(won.length, 1);
        for (const result of results) {
          if (result.status === "rejected")
            assert(hasReason(result.reason, "precondition_failed"), String(result.reason));
        }
        const found = await t.store.get(address(key));
        assert.equal(found.info.etag, won[0]?.value.etag);
      });
    }

    test("a counter kept with If-Match loses no increment", async () => {
      await t.store.put(plainPut(bucket, "counter", "0"));
      const increment = async (gateway: TestGateway): Promise<void> => {
        for (;;) {
          const found = await gateway.store.get(address("counter"));
          const value = Number((await readAll(found)).toString());
          const put = plainPut(bucket, "counter", String(value + 1));
          try {
            await gateway.store.put({ ...put, conditions: { ifMatch: [found.info.etag] } });
            return;
          } catch (error) {
            if (!hasReason(error, "precondition_failed")) throw error;
            await setImmediate();
          }
        }
      };
      const rounds = Array.from({ length: 24 }, (_, index) => increment(gateways[index % 4]!));
      await Promise.all(rounds);
      assert.equal((await readAll(await t.store.get(address("counter")))).toString(), "24");
    });

    test("a deletion of the bucket and writes to it: an acknowledged write is there, or the bucket is gone before it", async () => {
      for (let round = 0; round < 12; round++) {
        const name = `doomed-${round}`;
        await t.store.createBucket(name, { region: "r" });
        const { id } = await t.store.bucket(name);
        const writers = gateways.map(async ({ store }, index) => {
          if (round % 2 === 1) await setImmediate();
          return store.put(plainPut(name, `k${index}`, "x"));
        });
        const [deleted, ...puts] = await Promise.allSettled([
          gateways[round % 4]!.store.deleteBucket(name),
          ...writers,
        ]);
        const stored = puts.filter((put) => put.status === "fulfilled").length;
        const heads = await t.kv.scan(headRange(id), { limit: 10 });
        assert.equal(heads.length, stored, "every acknowledged write is there, and nothing else");
        if (deleted.status === "fulfilled") {
          assert.equal(stored, 0);
          await assert.rejects(t.store.bucket(name), (error) => hasReason(error, "no_such_bucket"));
        } else {
          assert(hasReason(deleted.reason, "bucket_not_empty", "operation_aborted"), String(deleted.reason));
          assert(stored > 0);
        }
        for (const put of puts) if (put.status === "rejected") assert(hasReason(put.reason, "no_such_bucket"));
      }
    });

    test("a write that comes between the deletion's look and its end keeps the bucket", async () => {
      await t.store.createBucket("narrow", { region: "r" });
      const { kv } = t;
      const commit: Kv["commit"] = async (wanted) => {
        if (wanted.writes[0]?.kind === "delete") await t.store.put(plainPut("narrow", "k", "x"));
        return kv.commit(wanted);
      };
      const slow: Kv = {
        name: "slow",
        get: (keys) => kv.get(keys),
        scan: (range, options) => kv.scan(range, options),
        commit,
        close: async () => undefined,
      };
      const { store } = await t.gateway({ kv: slow });
      await assert.rejects(store.deleteBucket("narrow"), (error) => hasReason(error, "bucket_not_empty"));
      const found = await t.store.get({ bucket: "narrow", key: Buffer.from("k") });
      assert.equal((await readAll(found)).toString(), "x");
    });

    test("a read under a storm of overwrites is always one whole version", async () => {
      const bodies = [patternBytes(300_000, 1), Buffer.from("small"), Buffer.alloc(0), patternBytes(20_000, 2)];
      await t.store.put(plainPut(bucket, "storm", bodies[0]!));
      const storm = { isOver: false };
      const writers = gateways.map(async ({ store }, index) => {
        for (let round = 0; round < 15; round++)
          await store.put(plainPut(bucket, "storm", bodies[(index + round) % 4]!));
      });
      const reader = async (gateway: TestGateway): Promise<void> => {
        while (!storm.isOver) {
          // On the memory driver nothing else would yield to the timers that writers wait for.
          await setImmediate();
          const found = await gateway.store.get(address("storm"));
          const bytes = await readAll(found);
          assert.equal(bytes.length, found.info.sizeBytes);
          assert(bodies.some((body) => body.equals(bytes)));
        }
      };
      const readers = gateways.map(reader);
      await Promise.all(writers).finally(() => (storm.isOver = true));
      await Promise.all(readers);
    });

    test("after a storm of puts, copies and deletes every refcount is heads plus trash, and usage is right", async () => {
      const names = ["p", "q", "r", "s"];
      const act = async ({ store }: TestGateway, seed: number): Promise<void> => {
        for (let round = 0; round < 20; round++) {
          const key = names[(seed + round) % 4]!;
          const from = names[(seed * 3 + round * 7) % 4]!;
          const kindOfAct = (seed + round * 5) % 3;
          if (kindOfAct === 0) await store.put(plainPut(bucket, key, patternBytes(30_000, round)));
          else if (kindOfAct === 1) await store.delete(address(key));
          else {
            const copy = store.copy({ ...address(key), source: address(from), metadata: { headers: {}, user: {} } });
            await copy.catch((error: unknown) => assert(hasReason(error, "no_such_key"), String(error)));
          }
        }
      };
      await Promise.all(gateways.map(act));
      await assertReferencesAdd(t, bucket);
    });
  });
}

async function assertReferencesAdd(t: TestStore, bucket: string): Promise<void> {
  const references = new Map<string, number>();
  const refer = (blob: string): void => void references.set(blob, (references.get(blob) ?? 0) + 1);
  let objects = 0;
  let bytes = 0;
  const { id } = await t.store.bucket(bucket);
  for (const entry of await t.kv.scan(tagRange(tags.head), { limit: 2_000 })) {
    const head = decodeHead(entry.value);
    if (head.data.kind === "blob") refer(head.data.blob);
    if (!entry.key.subarray(0, 9).equals(headKey(id, Buffer.alloc(0)))) continue;
    objects += 1;
    bytes += head.sizeBytes;
  }
  for (const entry of await t.kv.scan(tagRange(tags.trash), { limit: 2_000 })) refer(decodeTrash(entry.value).blob);
  assert(references.size > 0);
  for (const [blob, count] of references) {
    const key = blobRootKey(blob as Parameters<typeof blobRootKey>[0]);
    const [row] = await t.kv.get([key]);
    assert.equal(decodeBlobRoot(row!.value).refcount, count);
  }
  for (const entry of await t.kv.scan(tagRange(tags.blob), { limit: 2_000 })) {
    assert(references.has(parseBlobKey(entry.key).blob), "no blob without a reference");
  }
  assert.deepEqual(await t.store.usage(bucket), { objects, versions: 0, bytes });
}

/** Requests that meet on one key with a history: none is lost, none is doubled, and its rows stay in order. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { seededRandom, type Random } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { pastRange, tagRange, tags } from "../meta/keys.ts";
import { checkHistory, type Call, type Operation } from "../../test/linear/checker.ts";
import { interrupted, kvKinds, once, openTestStore, patternBytes, plainPut, readAll } from "./object.fixture.ts";
import type { TestGateway, TestStore } from "./object.fixture.ts";
import { assertSound, listedVersions, modelBody } from "./versions.fixture.ts";

const bucket = "raced";
const key = Buffer.from("k");
const address = { bucket, key };

type Cost = { keys: number; scanned: number; writes: number; checks: number };

/** A gateway that counts what its calls read, write and check. */
async function counted(t: TestStore): Promise<{
  store: TestGateway["store"];
  costOf: (run: () => Promise<unknown>) => Promise<Cost>;
}> {
  const { kv } = t;
  let cost: Cost = { keys: 0, scanned: 0, writes: 0, checks: 0 };
  const counting: Kv = {
    name: "counting",
    get: (keys) => {
      cost.keys += keys.length;
      return kv.get(keys);
    },
    scan: (range, options) => {
      cost.scanned += options.limit;
      return kv.scan(range, options);
    },
    commit: (commit) => {
      cost.writes += commit.writes.length;
      cost.checks += commit.checks.length;
      return kv.commit(commit);
    },
    close: async () => undefined,
  };
  const { store } = await t.gateway({ kv: counting });
  const costOf = async (run: () => Promise<unknown>): Promise<Cost> => {
    cost = { keys: 0, scanned: 0, writes: 0, checks: 0 };
    await run();
    return cost;
  };
  return { store, costOf };
}

for (const kind of kvKinds) {
  describe(`races of versions on ${kind}`, () => {
    let t: TestStore;
    let gateways: TestGateway[];

    before(async () => {
      t = await openTestStore(kind);
      gateways = [t, await t.gateway(), await t.gateway(), await t.gateway()];
      await t.store.createBucket(bucket, { region: "r" });
    });
    after(() => t.close());
    beforeEach(async () => {
      await t.store.setVersioning(bucket, "enabled");
      const { versions } = await t.store.listVersions({ bucket, limit: 1_000 });
      for (const { versionId } of versions) await t.store.delete({ ...address, versionId });
      assert.deepEqual(await t.store.usage(bucket), { objects: 0, versions: 0, bytes: 0 });
    });

    const linesOf = (): Promise<string[]> => listedVersions(t, { bucket, limit: 7 });

    test("of many writers of one key each has its version", async () => {
      const puts = await Promise.all(
        Array.from({ length: 32 }, (_, index) =>
          gateways[index % 4]!.store.put(plainPut(bucket, "k", patternBytes(index % 3 === 0 ? 20_000 : 20, index))),
        ),
      );
      for (const [index, { versionId }] of puts.entries()) {
        const found = await t.store.get({ ...address, versionId: versionId! });
        assert.ok((await readAll(found)).equals(patternBytes(index % 3 === 0 ? 20_000 : 20, index)));
      }
      assert.equal((await linesOf()).length, 32);
      await assertSound(t);
    });

    test("two markers at once are two markers, the one above the other", async () => {
      await t.store.put(plainPut(bucket, "k", "x"));
      const made = await Promise.all(gateways.map(({ store }) => store.delete(address)));
      assert.equal(new Set(made.map(({ versionId }) => versionId)).size, 4);
      assert.equal(made.filter(({ existed }) => existed).length, 1, "one of them deleted the object");
      assert.equal((await linesOf()).length, 5);
      await assertSound(t);
    });

    for (const first of ["the PUT", "the removal"] as const) {
      test(`a PUT and the removal of the marker that is current, ${first} first`, async () => {
        const kept = await t.store.put(plainPut(bucket, "k", "kept"));
        const { versionId: marker } = await t.store.delete(address);
        const put = ({ store }: TestGateway) => store.put(plainPut(bucket, "k", "new"));
        const remove = ({ store }: TestGateway) => store.delete({ ...address, versionId: marker! });
        const slow = await interrupted(
          t,
          once(() => (first === "the PUT" ? put(t) : remove(t))),
        );
        await (first === "the PUT" ? remove(slow) : put(slow));
        const lines = await linesOf();
        assert.deepEqual(
          lines.map((line) => line.split(" ").slice(2).join(" ")),
          [`true ${modelBody(Buffer.from("new")).etag}`, `false ${kept.etag}`],
        );
        await assertSound(t);
      });
    }

    test("a PUT to a key without rows meets two markers, the older of which is gone again", async () => {
      const slow = await interrupted(
        t,
        once(async () => {
          const { versionId } = await t.store.delete(address);
          await t.store.delete(address);
          await t.store.delete({ ...address, versionId: versionId! });
        }),
      );
      await slow.store.put(plainPut(bucket, "k", "new"));
      assert.deepEqual(
        (await linesOf()).map((line) => line.split(" ")[2]),
        ["true", "false"],
      );
      await assertSound(t);
    });

    test("the version to be promoted is removed meanwhile", async () => {
      for (const body of ["one", "two", "three"]) await t.store.put(plainPut(bucket, "k", body));
      const [three, two] = (await t.store.listVersions({ bucket, limit: 3 })).versions;
      const slow = await interrupted(
        t,
        once(() => t.store.delete({ ...address, versionId: two!.versionId })),
      );
      await slow.store.delete({ ...address, versionId: three!.versionId });
      assert.equal((await readAll(await t.store.get(address))).toString(), "one");
      await assertSound(t);
    });

    test("a null version is found while writes replace it", async () => {
      await t.store.setVersioning(bucket, "suspended");
      await t.store.put(plainPut(bucket, "k", "null 0"));
      await t.store.setVersioning(bucket, "enabled");
      await t.store.put(plainPut(bucket, "k", "above"));
      await t.store.setVersioning(bucket, "suspended");
      let replaced = 0;
      const { kv } = t;
      const slow: Kv = {
        name: "slow",
        get: async (keys) => {
          const rows = await kv.get(keys);
          if (replaced < 4) await t.store.put(plainPut(bucket, "k", `null ${++replaced}`));
          return rows;
        },
        scan: (range, options) => kv.scan(range, options),
        commit: (commit) => kv.commit(commit),
        close: async () => undefined,
      };
      const { store } = await t.gateway({ kv: slow });
      const found = await store.get({ ...address, versionId: "null" });
      assert.match((await readAll(found)).toString(), /^null \d$/);
    });

    for (const versioning of ["enabled", "suspended"] as const) {
      test(`a storm on one key stays linearizable while versioning is ${versioning}`, async () => {
        await t.store.setVersioning(bucket, versioning);
        const history: Operation[] = [];
        await Promise.all(gateways.map((gateway, lane) => race(gateway, seededRandom(lane + 1), lane, history)));
        assert.equal(checkHistory(undefined, history), undefined);
        await assertSound(t);
        const writes = history.filter(({ call, answer }) => call.kind !== "get" && answer.kind === "done");
        // The seeds have 29 without a condition, which are done in whatever order they meet.
        assert.ok(writes.length >= 29, `${writes.length}`);
        assert.equal((await linesOf()).length, versioning === "enabled" ? writes.length : 1);
      });
    }

    test("versions, markers and removals in a storm leave rows that are right", async () => {
      await Promise.all(gateways.map(({ store }, lane) => churn(store, seededRandom(100 + lane))));
      await assertSound(t);
    });

    test("a key with a long history is written, deleted and read with as many rows as any other", async () => {
      for (let round = 0; round < 150; round++) await t.store.put(plainPut(bucket, "k", `${round}`));
      const { store, costOf } = await counted(t);
      await store.get(address);
      const put = await costOf(() => store.put(plainPut(bucket, "k", "new")));
      assert.deepEqual(put, { keys: 4, scanned: 0, writes: 4, checks: 2 });
      const [newest] = (await t.store.listVersions({ bucket, limit: 1 })).versions;
      const removal = await costOf(() => store.delete({ ...address, versionId: newest!.versionId }));
      assert.deepEqual(removal, { keys: 4, scanned: 1, writes: 4, checks: 5 });
      const page = await costOf(() => store.listVersions({ bucket, limit: 5 }));
      assert.deepEqual(page, { keys: 1, scanned: 18, writes: 0, checks: 0 });
      const { id } = await t.store.bucket(bucket);
      assert.equal((await t.kv.scan(pastRange(id, key), { limit: 2_000 })).length, 149);
    });

    test("a bucket without versions reads and writes no row for them", async () => {
      const plain = { bucket: "plain", key };
      await t.store.createBucket("plain", { region: "r" });
      await t.store.put(plainPut("plain", "k", "x"));
      const { store, costOf } = await counted(t);
      await store.get(plain);
      assert.deepEqual(await costOf(() => store.get(plain)), { keys: 3, scanned: 0, writes: 0, checks: 0 });
      const put = await costOf(() => store.put(plainPut("plain", "k", "y")));
      assert.deepEqual(put, { keys: 2, scanned: 0, writes: 2, checks: 2 });
      const removal = await costOf(() => store.delete(plain));
      assert.deepEqual(removal, { keys: 2, scanned: 0, writes: 3, checks: 2 });
      const rows = await t.kv.scan(tagRange(tags.past), { limit: 1 });
      assert.deepEqual(rows, []);
    });
  });
}

async function race({ store }: TestGateway, random: Random, lane: number, history: Operation[]): Promise<void> {
  let seen: string | undefined;
  for (let step = 0; step < 25; step++) {
    const body = Buffer.from(`${lane} ${step}`);
    const { etag } = modelBody(body);
    const dice = random.below(10);
    const match = seen === undefined ? {} : { ifMatch: seen };
    const call: Call =
      dice < 3
        ? { kind: "get" }
        : dice < 6
          ? { kind: "put", etag, ...(dice === 5 && match) }
          : dice < 8
            ? { kind: "put", etag, ifNoneMatch: "*" }
            : { kind: "delete", ...(dice === 9 && match) };
    const startMs = performance.now();
    const answer = await perform(store, call, body);
    history.push({ startMs, endMs: performance.now(), call, answer });
    if (answer.kind === "value") seen = answer.etag;
  }
}

async function perform(store: TestGateway["store"], call: Call, body: Buffer): Promise<Operation["answer"]> {
  try {
    if (call.kind === "get") return { kind: "value", etag: (await store.head(address)).info.etag };
    const conditions = {
      ...(call.ifMatch !== undefined && { ifMatch: [call.ifMatch] }),
      ...("ifNoneMatch" in call && { ifNoneMatch: "*" as const }),
    };
    if (call.kind === "delete") await store.delete({ ...address, conditions });
    else await store.put({ ...plainPut(bucket, "k", body), conditions });
    return { kind: "done" };
  } catch (error) {
    if (call.kind === "get" && hasReason(error, "no_such_key")) return { kind: "value", etag: undefined };
    if (hasReason(error, "no_such_key", "precondition_failed")) return { kind: "refused" };
    throw error;
  }
}

/** Everything that can be done to a key's versions, and now and then another setting of versioning. */
async function churn(store: TestGateway["store"], random: Random): Promise<void> {
  for (let step = 0; step < 30; step++) {
    const dice = random.below(12);
    if (dice < 4) await store.put(plainPut(bucket, "k", patternBytes(dice < 2 ? 20_000 : 10, step)));
    else if (dice < 6) await store.delete(address);
    else if (dice < 9) {
      const { versions } = await store.listVersions({ bucket, limit: 4 });
      const chosen = versions[random.below(versions.length + 1)];
      if (chosen !== undefined) await store.delete({ ...address, versionId: chosen.versionId });
    } else if (dice < 11) {
      const copied = store.copy({ source: address, ...address, metadata: undefined });
      await copied.catch((error: unknown) => assert.ok(hasReason(error, "no_such_key"), String(error)));
    } else await store.setVersioning(bucket, random.below(2) === 0 ? "enabled" : "suspended");
  }
}

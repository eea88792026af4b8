/** Commits over several keys: exchanged keys, shared blobs, what they cost and where they end, and those that meet. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { hasReason, HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { seededRandom, type Random } from "../core/random.ts";
import { checkHistory, type Operation } from "../../test/linear/checker.ts";
import type { CommitEntry } from "./commit_types.ts";
import { kvKinds, noMetadata, openTestStore, patternBytes, plainPut, readAll } from "./object.fixture.ts";
import type { TestGateway, TestStore } from "./object.fixture.ts";
import { assertSound, modelBody } from "./versions.fixture.ts";

const key = (name: string): Buffer => Buffer.from(name);
const putOf = (name: string, text: string, ifMatch?: string): CommitEntry => ({
  kind: "put",
  key: key(name),
  bytes: Buffer.from(text),
  metadata: noMetadata,
  ...(ifMatch === undefined ? {} : { conditions: { ifMatch: [ifMatch] } }),
});
const copyOf = (from: string, to: string): CommitEntry => ({ kind: "copy", key: key(to), source: { key: key(from) } });
const renameOf = (from: string, to: string): CommitEntry => ({
  kind: "rename",
  key: key(to),
  source: { key: key(from) },
});

for (const kind of kvKinds) {
  describe(`commits over several keys on ${kind}`, () => {
    let t: TestStore;
    before(async () => {
      t = await openTestStore(kind);
    });
    after(() => t.close());

    const read = async (bucket: string, name: string): Promise<Buffer> =>
      readAll(await t.store.get({ bucket, key: key(name) }));

    test("two keys are exchanged, and one blob is shared by many", async () => {
      const bucket = "exchanged";
      await t.store.createBucket(bucket, { region: "here" });
      const [one, two] = [patternBytes(300_000, 1), patternBytes(200_000, 2)];
      await t.store.put(plainPut(bucket, "one", one));
      await t.store.put(plainPut(bucket, "two", two));
      await t.store.commit({ bucket, entries: [copyOf("one", "two"), copyOf("two", "one")] });
      assert.ok((await read(bucket, "one")).equals(two) && (await read(bucket, "two")).equals(one));
      const copies = ["a", "b", "c"].map((name) => copyOf("one", name));
      await t.store.commit({ bucket, entries: [...copies, renameOf("two", "d"), { kind: "delete", key: key("one") }] });
      for (const name of ["a", "b", "c"]) assert.ok((await read(bucket, name)).equals(two));
      assert.ok((await read(bucket, "d")).equals(one));
      assert.equal((await t.store.usage(bucket)).objects, 4);
      await assertSound(t);
    });

    test("a commit that is too large is refused whole", async () => {
      const bucket = "large";
      await t.store.createBucket(bucket, { region: "here" });
      const many = Array.from({ length: limits.commitEntriesMax }, (_, index) => `${index}`);
      await t.store.commit({ bucket, entries: many.map((name) => putOf(name, name)) });
      await t.store.commit({ bucket, entries: many.map((name) => putOf(name, "again")) });
      const tooMany = t.store.commit({ bucket, entries: many.map((name) => renameOf(name, `to ${name}`)) });
      await assert.rejects(tooMany, (error) => hasReason(error, "invalid_request"));
      const full = Buffer.alloc(limits.inlineBytesMax);
      const bytes = many.map((name): CommitEntry => ({
        ...putOf(name, ""),
        kind: "put",
        bytes: full,
        metadata: noMetadata,
      }));
      await assert.rejects(t.store.commit({ bucket, entries: bytes }), (error) => hasReason(error, "invalid_request"));
      await t.store.commit({ bucket, entries: bytes.slice(0, 60) });
      const larger: CommitEntry = {
        kind: "put",
        key: key("x"),
        bytes: Buffer.alloc(full.length + 1),
        metadata: noMetadata,
      };
      await assert.rejects(t.store.commit({ bucket, entries: [larger] }), (error) =>
        hasReason(error, "entity_too_large"),
      );
      for (const entries of [[], [...many, "x"].map((name) => putOf(name, ""))])
        await assert.rejects(t.store.commit({ bucket, entries }), (error) => hasReason(error, "invalid_request"));
      assert.equal(String(await read(bucket, "99")), "again");
      await t.store.commit({ bucket, entries: many.slice(60, 100).map((name) => renameOf(name, `to ${name}`)) });
      await assertSound(t);
    });

    test("as many are renamed at once as the documentation says", async () => {
      for (const [versioning, fit] of [
        ["unversioned", 56],
        ["enabled", 36],
      ] as const) {
        const bucket = `renamed-${versioning}`;
        await t.store.createBucket(bucket, { region: "here" });
        if (versioning === "enabled") await t.store.setVersioning(bucket, versioning);
        for (let index = 0; index < fit; index++) {
          await t.store.put(plainPut(bucket, `from ${index}`, patternBytes(20_000, index + 1)));
          await t.store.put(plainPut(bucket, `to ${index}`, "small"));
        }
        const entries = Array.from({ length: fit }, (_, index) => renameOf(`from ${index}`, `to ${index}`));
        await t.store.commit({ bucket, entries });
        assert.equal((await t.store.usage(bucket)).objects, fit);
      }
      await assertSound(t);
    });

    test("what is deleted while a prefix is being renamed is left out, and what is put over is taken as it is then", async () => {
      const bucket = "prefixes";
      await t.store.createBucket(bucket, { region: "here" });
      for (const name of ["p/a", "p/b", "p/c"]) await t.store.put(plainPut(bucket, name, name));
      let isDone = false;
      const { store } = await t.gateway({
        kv: {
          name: "interrupted",
          get: (keys) => t.kv.get(keys),
          scan: (range, options) => t.kv.scan(range, options),
          commit: async (wanted) => {
            if (!isDone) {
              isDone = true;
              await t.store.delete({ bucket, key: key("p/b") });
              await t.store.put(plainPut(bucket, "p/c", "newer"));
            }
            return t.kv.commit(wanted);
          },
          close: async () => undefined,
        },
      });
      const renamed = await store.renamePrefix({ bucket, from: key("p/"), to: key("q/"), admit: () => undefined });
      assert.deepEqual(
        renamed.map((each) => String(each.key)),
        ["q/a", "q/c"],
      );
      assert.equal(String(await read(bucket, "q/c")), "newer");
      assert.deepEqual(
        (await t.store.list({ bucket, limit: 10 })).objects.map((each) => String(each.key)),
        ["q/a", "q/c"],
      );
    });

    test("money that is moved between keys by many at once is neither made nor lost", async () => {
      const transfers = new Transfers(t, kind);
      await transfers.open();
      const { store } = await t.gateway();
      const gateways: TestGateway["store"][] = [t.store, store];
      const random = seededRandom(7);
      await Promise.all(
        Array.from({ length: 6 }, (_, index) => transfers.run(gateways[index % 2]!, seededRandom(random.below(1e6)))),
      );
      transfers.judge();
      await assertSound(t);
    });
  });
}

const accounts = ["a", "b", "c", "d"];
const opening = 100;

/** Accounts in keys of one bucket; each transfer changes two, each look checks that it saw one state of all. */
class Transfers {
  readonly #t: TestStore;
  readonly #bucket: string;
  readonly #histories = new Map<string, Operation[]>(accounts.map((name) => [name, []]));
  #now = 0;
  #moved = 0;
  #looks = 0;
  #serial = 0;

  constructor(t: TestStore, kind: string) {
    this.#t = t;
    this.#bucket = `accounts-${kind}`;
  }

  async open(): Promise<void> {
    await this.#t.store.createBucket(this.#bucket, { region: "here" });
    const entries = accounts.map((name) => putOf(name, `${opening} ${name}`));
    await this.#t.store.commit({ bucket: this.#bucket, entries });
  }

  async run(store: TestGateway["store"], random: Random): Promise<void> {
    for (let round = 0; round < 25; round++) {
      if (random.below(4) === 0) await this.#look(store);
      else await this.#transfer(store, random);
    }
  }

  async #balance(store: TestGateway["store"], name: string): Promise<{ amount: number; etag: string }> {
    const startMs = (this.#now += 1);
    const found = await store.get({ bucket: this.#bucket, key: key(name) });
    const { etag } = found.info;
    const amount = Number.parseInt(String(await readAll(found)), 10);
    this.#note(name, { startMs, call: { kind: "get" }, answer: { kind: "value", etag } });
    return { amount, etag };
  }

  #note(name: string, operation: Omit<Operation, "endMs">): void {
    this.#histories.get(name)!.push({ ...operation, endMs: (this.#now += 1) });
  }

  async #transfer(store: TestGateway["store"], random: Random): Promise<void> {
    const from = accounts[random.below(accounts.length)]!;
    const to = accounts[random.below(accounts.length)]!;
    if (from === to) return;
    const [rich, poor] = [await this.#balance(store, from), await this.#balance(store, to)];
    const amount = random.below(10);
    // Bodies that are unique, so that an ETag names one write.
    const serial = (this.#serial += 1);
    const texts = [`${rich.amount - amount} ${serial}-`, `${poor.amount + amount} ${serial}+`] as const;
    const entries = [putOf(from, texts[0], rich.etag), putOf(to, texts[1], poor.etag)];
    const startMs = (this.#now += 1);
    const isDone = await store.commit({ bucket: this.#bucket, entries }).then(() => true, isRefused);
    if (!isDone) return;
    this.#moved += 1;
    for (const [name, text, { etag: ifMatch }] of [
      [from, texts[0], rich],
      [to, texts[1], poor],
    ] as const) {
      const { etag } = modelBody(Buffer.from(text));
      this.#note(name, { startMs, call: { kind: "put", etag, ifMatch }, answer: { kind: "done" } });
    }
  }

  /** What was read one by one, and is confirmed for all keys at once, is one state. */
  async #look(store: TestGateway["store"]): Promise<void> {
    const seen: { amount: number; etag: string }[] = [];
    for (const name of accounts) seen.push(await this.#balance(store, name));
    const entries = accounts.map((name, index): CommitEntry => ({
      kind: "check",
      key: key(name),
      conditions: { ifMatch: [seen[index]!.etag] },
    }));
    if (!(await store.commit({ bucket: this.#bucket, entries }).then(() => true, isRefused))) return;
    this.#looks += 1;
    assert.equal(
      seen.reduce((sum, { amount }) => sum + amount, 0),
      opening * accounts.length,
    );
  }

  judge(): void {
    assert.ok(this.#moved > 10 && this.#looks > 0, `${this.#moved} transfers, ${this.#looks} looks`);
    for (const [name, history] of this.#histories)
      assert.equal(checkHistory(modelBody(Buffer.from(`${opening} ${name}`)).etag, history), undefined, name);
  }
}

function isRefused(error: unknown): false {
  if (error instanceof HoldfastError && error.reason === "precondition_failed") return false;
  throw error;
}

/**
 * Two requests that meet on one key, in every order: what the first of them read is old by the time it commits, for another has done one
 * thing or two in between. It has to end as if the first had begun after that (a check that a commit leaves out would show here).
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { HoldfastError } from "../core/errors.ts";
import { kvKinds, openTestStore, plainPut, type TestGateway, type TestStore } from "./object.fixture.ts";
import { assertSound } from "./versions.fixture.ts";

const bucket = "orders";
type Store = TestGateway["store"];
/** What is asked is fixed before the other one comes. Resolves to what it does. */
type Request = (store: Store, key: string, body: string) => Promise<() => Promise<unknown>>;

const addressOf = (key: string) => ({ bucket, key: Buffer.from(key) });

async function newestOf(store: Store, key: string): Promise<{ versionId: string; etag: string } | undefined> {
  const { versions } = await store.listVersions({ bucket, prefix: Buffer.from(key), limit: 1 });
  const [newest] = versions;
  return newest && { versionId: newest.versionId, etag: newest.isMarker ? "0" : newest.etag };
}

const requests: Record<string, Request> = {
  put: async (store, key, body) => () => store.put(plainPut(bucket, key, body)),
  "put a new one": async (store, key, body) => () =>
    store.put({ ...plainPut(bucket, key, body), conditions: { ifNoneMatch: "*" } }),
  "put over this one": async (store, key, body) => {
    const { etag = "0" } = (await newestOf(store, key)) ?? {};
    return () => store.put({ ...plainPut(bucket, key, body), conditions: { ifMatch: [etag] } });
  },
  delete: async (store, key) => () => store.delete(addressOf(key)),
  remove: async (store, key) => {
    const { versionId = "null" } = (await newestOf(store, key)) ?? {};
    return () => store.delete({ ...addressOf(key), versionId });
  },
  copy: async (store, key) => () =>
    store.copy({ source: addressOf(key), ...addressOf(key), metadata: { headers: {}, user: { by: "copy" } } }),
  commit: async (store, key, body) => () =>
    store.commit({
      bucket,
      entries: [
        { kind: "put", key: Buffer.from(key), bytes: Buffer.from(body), metadata: { headers: {}, user: {} } },
        { kind: "delete", key: Buffer.from(`${key} other`) },
      ],
    }),
};

const changes = ["put", "delete", "remove"];
const pairs = changes.flatMap((one) => changes.filter((two) => two !== one).map((two) => [one, two]));
const meanwhiles = [...changes.map((one) => [one]), ...pairs];
/** Of versioning, and what is done then. */
const histories: readonly (readonly string[])[] = [
  [],
  ["put"],
  ["put", "delete"],
  ["delete"],
  ["put", "put", "delete"],
  ["suspended", "put"],
  ["suspended", "put", "enabled", "put"],
  ["put", "suspended", "delete"],
];

for (const kind of kvKinds)
  describe(`orders of two on ${kind}`, () => {
    let t: TestStore;
    let meeting: TestGateway;
    let meanwhile: () => Promise<void> = async () => undefined;

    before(async () => {
      t = await openTestStore(kind);
      const { kv } = t;
      meeting = await t.gateway({
        kv: {
          name: "meeting",
          get: (keys) => kv.get(keys),
          scan: (range, options) => kv.scan(range, options),
          commit: async (commit) => (await meanwhile(), kv.commit(commit)),
          close: async () => undefined,
        },
      });
      await t.store.createBucket(bucket, { region: "r" });
    });
    after(() => t.close());

    async function begin(key: string, history: readonly string[], versioning: "enabled" | "suspended"): Promise<void> {
      await t.store.setVersioning(bucket, "enabled");
      for (const [at, each] of history.entries())
        if (each === "enabled" || each === "suspended") await t.store.setVersioning(bucket, each);
        else await (await requests[each]!(t.store, key, `${at}`))();
      await t.store.setVersioning(bucket, versioning);
    }

    /** What is left of a key when `first` was begun, others came, and it ended. */
    async function outcome(
      key: string,
      { first, others, isInside }: { first: string; others: readonly string[]; isInside: boolean },
    ): Promise<{ lines: string[]; answer: string; met: boolean }> {
      const run = await requests[first]!(meeting.store, key, "first");
      let met = false;
      const come = async (): Promise<void> => {
        if (met) return;
        met = true;
        for (const [at, each] of others.entries()) await (await requests[each]!(t.store, key, `other ${at}`))();
      };
      if (isInside) meanwhile = come;
      else await come();
      const answer = await run().then(() => "done", reasonOf);
      meanwhile = async () => undefined;
      const { versions } = await t.store.listVersions({ bucket, prefix: Buffer.from(key), limit: 20 });
      const lines = versions.map(({ key: name, versionId, isMarker, isLatest, etag }) =>
        [name.length - key.length, versionId === "null", isMarker, isLatest, isMarker ? "" : etag].join(" "),
      );
      return { lines, answer, met };
    }

    for (const versioning of ["enabled", "suspended"] as const)
      test(`a request ends as if it had begun when it commits, with versioning ${versioning}`, async () => {
        let cases = 0;
        for (const history of histories)
          for (const first of Object.keys(requests))
            for (const others of kind === "memory" ? meanwhiles : changes.map((each) => [each])) {
              const name = `${versioning} ${++cases}`;
              await begin(`${name} a.`, history, versioning);
              const met = await outcome(`${name} a.`, { first, others, isInside: true });
              await begin(`${name} b.`, history, versioning);
              const inTurn = await outcome(`${name} b.`, { first, others, isInside: false });
              // One that was refused by what it read first made no commit, and nobody came in between.
              if (!met.met) continue;
              const what = `${first} meets ${others.join(", ")} after ${history.join(", ")}`;
              assert.deepEqual(met, inTurn, what);
            }
        assert.ok(cases > 150);
        await assertSound(t);
      });
  });

function reasonOf(error: unknown): string {
  if (error instanceof HoldfastError) return error.reason;
  throw error;
}

/** What a change writes for those who are to be told of it: with it, in its order, and nothing where nobody asked. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { hasReason } from "../core/errors.ts";
import type { DestinationId } from "../core/ids.ts";
import type { EventRule } from "../events/events.ts";
import type { Key, Kv } from "../kv/kv.ts";
import { scanAll } from "../kv/scan_pages.ts";
import { encodeDestination } from "../meta/destinations.ts";
import { decodeEvent, type EventRecord } from "../meta/events.ts";
import { destinationKey } from "../meta/event_keys.ts";
import { tagRange, tags } from "../meta/keys.ts";
import { kvKinds, noMetadata, openTestStore, plainPut, type KvKind, type TestGateway } from "./object.fixture.ts";

const bucket = "told";
const key = Buffer.from("k");

/** A document is the names of its destinations. */
const eventRules = ({ bytes }: { readonly bytes: Buffer }): EventRule[] =>
  bytes
    .toString()
    .split(" ")
    .map((destination) => ({
      id: destination,
      destination,
      events: ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*"],
      prefix: undefined,
      suffix: undefined,
    }));

type World = {
  readonly kv: Kv;
  readonly one: TestGateway;
  readonly two: TestGateway;
  readonly told: () => number;
  configure(names: string | undefined): Promise<void>;
  /** In the order in which they would be sent. */
  events(): Promise<EventRecord[]>;
};

async function newWorld(t: TestContext, kind: KvKind): Promise<World> {
  const opened = await openTestStore(kind);
  t.after(() => opened.close());
  let told = 0;
  const hooks = { eventRules, onQueued: () => void (told += 1) };
  const [one, two] = [await opened.gateway(hooks), await opened.gateway(hooks)];
  await one.store.createBucket(bucket, { region: "here" });
  await add(opened.kv, "hook", "01");
  const configure = (names: string | undefined): Promise<void> => {
    const [document, destinations] = names === undefined ? [undefined, []] : [Buffer.from(names), names.split(" ")];
    return one.store.setConfiguration({ bucket, kind: "notification", document, destinations });
  };
  const events = async (): Promise<EventRecord[]> =>
    (await scanAll(opened.kv, tagRange(tags.event))).map(({ value }) => decodeEvent(value));
  return { kv: opened.kv, one, two, told: () => told, configure, events };
}

async function add(kv: Kv, name: string, id: string): Promise<void> {
  const destination = {
    kind: "webhook",
    createdMs: 1,
    url: "u",
    headers: [],
    secret: undefined,
    credentials: {},
  } as const;
  const record = { ...destination, id: id.repeat(8) as DestinationId, isLeaving: false, isFull: false };
  await kv.commit({
    checks: [],
    writes: [{ kind: "put", key: destinationKey(name), value: encodeDestination(record) }],
  });
}

test("a commit over several keys tells of each of its changes, and one that fails of none", async (t) => {
  const { one, two, configure, events, told: wakes } = await newWorld(t, "memory");
  for (const name of ["from", "gone", "copied"]) await one.store.put(plainPut(bucket, name, name));
  await configure("hook");
  const put = { kind: "put", key, bytes: Buffer.from("x"), metadata: noMetadata } as const;
  const gone = { kind: "delete", key: Buffer.from("gone") } as const;
  const failing = { kind: "check", key, conditions: { ifMatch: "*" } } as const;
  await assert.rejects(two.store.commit({ bucket, entries: [put, gone, failing] }));
  assert.deepEqual(await events(), []);
  await two.store.commit({
    bucket,
    entries: [
      put,
      gone,
      { kind: "copy", key: Buffer.from("copy"), source: { key: Buffer.from("copied") } },
      { kind: "rename", key: Buffer.from("to"), source: { key: Buffer.from("from") } },
    ],
  });
  assert.ok(wakes() > 0);
  assert.deepEqual((await events()).map((each) => `${each.name} ${each.key.toString()}`).sort(), [
    "ObjectCreated:Copy copy",
    "ObjectCreated:Copy to",
    "ObjectCreated:Put k",
    "ObjectRemoved:Delete from",
    "ObjectRemoved:Delete gone",
  ]);
});

for (const kind of kvKinds)
  test(`events of a key stand in the order of its versions, whichever process made them (${kind})`, async (t) => {
    const { one, two, configure, events, told: wakes } = await newWorld(t, kind);
    await configure("hook");
    await one.store.setVersioning(bucket, "enabled");
    const writes = Array.from({ length: 40 }, (_, at) => {
      const { store } = at % 2 === 0 ? one : two;
      return at % 5 === 0 ? store.delete({ bucket, key }) : store.put(plainPut(bucket, "k", `body ${at}`));
    });
    await Promise.all(writes);
    const { versions } = await one.store.listVersions({ bucket, limit: 100 });
    assert.equal(versions.length, 40);
    const told = await events();
    assert.deepEqual(
      told.map(({ versionId }) => versionId),
      versions.map(({ versionId }) => versionId).toReversed(),
    );
    assert.deepEqual(
      told.map(({ name }) => name === "ObjectRemoved:DeleteMarkerCreated"),
      versions.map(({ isMarker }) => isMarker).toReversed(),
    );
    assert.equal(wakes(), 40, "once for each commit, and not for the runs before it");
    const sequencers = told.map(({ sequencer }) => sequencer);
    assert.deepEqual(
      sequencers,
      sequencers.toSorted((left, right) => left - right),
    );
  });

test("a configuration holds, in every process, for what begins after it was set or taken away", async (t) => {
  const { one, two, configure, events, told } = await newWorld(t, "memory");
  await two.store.put(plainPut(bucket, "before", "1"));
  await configure("hook");
  await two.store.put(plainPut(bucket, "during", "1"));
  await two.store.copy({ source: { bucket, key: Buffer.from("during") }, bucket, key, metadata: noMetadata });
  await configure(undefined);
  await two.store.put(plainPut(bucket, "after", "1"));
  await one.store.put(plainPut(bucket, "after", "2"));
  const keys = (await events()).map((event) => event.key.toString());
  assert.deepEqual(keys.toSorted(), ["during", "k"]);
  assert.equal(told(), 2);
});

test("a change that does not happen is told to nobody", async (t) => {
  const { one, configure, events, told } = await newWorld(t, "memory");
  await configure("hook");
  await assert.rejects(one.store.put({ ...plainPut(bucket, "k", "1"), conditions: { ifMatch: "*" } }), (error) =>
    hasReason(error, "precondition_failed", "no_such_key"),
  );
  await one.store.delete({ bucket, key });
  assert.deepEqual([await events(), told()], [[], 0]);
});

test("a configuration cannot name a destination that is not there", async (t) => {
  const { one, configure } = await newWorld(t, "memory");
  await assert.rejects(configure("hook nobody"), (error) => hasReason(error, "invalid_argument"));
  assert.equal(await one.store.configuration(bucket, "notification"), undefined);
});

test("each destination that is named has a row of its own; one that was removed has none", async (t) => {
  const { kv, one, configure, events } = await newWorld(t, "memory");
  await add(kv, "other", "02");
  await configure("hook other");
  await one.store.put(plainPut(bucket, "k", "1"));
  await kv.commit({ checks: [], writes: [{ kind: "delete", key: destinationKey("other") }] });
  await one.store.put(plainPut(bucket, "k", "2"));
  assert.deepEqual(
    (await events()).map(({ ruleId }) => ruleId),
    ["hook", "hook", "other"],
  );
});

test("where nothing is configured nothing is read and nothing is written for it", async (t) => {
  const opened = await openTestStore("memory");
  t.after(() => opened.close());
  const seen = new Set<number>();
  const note = (keys: readonly Key[]): void => keys.forEach((row) => void seen.add(row[0]!));
  const { kv } = opened;
  const watched: Kv = {
    name: kv.name,
    get: (keys) => (note(keys), kv.get(keys)),
    scan: (range, options) => kv.scan(range, options),
    commit: (commit) => {
      note([...commit.checks, ...commit.writes].map((each) => each.key));
      return kv.commit(commit);
    },
    close: () => kv.close(),
  };
  const { store } = await opened.gateway({ kv: watched, eventRules });
  await store.createBucket(bucket, { region: "here" });
  await store.put(plainPut(bucket, "k", "1"));
  await store.setTags({ bucket, key, tags: new Map([["a", "b"]]) });
  await store.copy({ source: { bucket, key }, bucket, key: Buffer.from("l"), metadata: noMetadata });
  await store.delete({ bucket, key });
  // A new bucket counts for its account where that has a quota.
  assert.deepEqual(seen, new Set([tags.bucket, tags.quota, tags.head, tags.body, tags.usage]));
});

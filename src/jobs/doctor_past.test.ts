/** Damage that a key's history can take is planted, one at a time, and must be named; a sound history has no findings. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import type { BucketId } from "../core/ids.ts";
import type { Write } from "../kv/kv.ts";
import { decodeHead, decodePast, encodeHead, encodePast, type HeadRecord } from "../meta/heads.ts";
import { headKey, markerKey, pastKey, usageKey } from "../meta/keys.ts";
import { patternBytes, plainPut } from "../object/object.fixture.ts";
import { findingsOf, newWorld, startProcess, type Process, type World } from "./jobs.fixture.ts";
import type { Finding } from "./doctor.ts";

const bucket = "history";
const object = Buffer.from("object");
const gone = Buffer.from("gone");
let world: World;
let process: Process;
let id: BucketId;

before(async () => {
  world = newWorld();
  process = await startProcess(world);
  const { store } = process;
  id = (await store.createBucket(bucket, { region: "here" })).bucket.id;
  for (const key of ["object", "gone"]) {
    await store.setVersioning(bucket, "suspended");
    await store.put(plainPut(bucket, key, "null"));
    await store.setVersioning(bucket, "enabled");
    await store.put(plainPut(bucket, key, patternBytes(20_000)));
    await store.put(plainPut(bucket, key, "newest"));
  }
  await store.delete({ bucket, key: gone });
  await store.delete({ bucket, key: gone });
});

async function valueOf(key: Buffer): Promise<Buffer> {
  const [row] = await world.kv.get([key]);
  assert.ok(row, "the row is there");
  return row.value;
}

const put = (key: Uint8Array, value: Uint8Array): Write => ({ kind: "put", key, value });
const remove = (key: Uint8Array): Write => ({ kind: "delete", key });
const headOf = async (key: Buffer): Promise<HeadRecord> => decodeHead(await valueOf(headKey(id, key)));
const pastOf = async (key: Buffer, order: bigint) => decodePast(await valueOf(pastKey(id, key, order)));
const withVersion = (head: HeadRecord, change: Partial<NonNullable<HeadRecord["version"]>>): HeadRecord => ({
  ...head,
  version: { order: 0, isNull: false, nullOrder: undefined, ...head.version, ...change },
});

/** Every kind that is found, when these writes were made; they are taken back. */
async function kindsAfter(writes: readonly Write[]): Promise<Finding["kind"][]> {
  const { kv } = world;
  const before = await kv.get(writes.map(({ key }) => key));
  await kv.commit({ checks: [], writes });
  const kinds = (await findingsOf(world)).map(({ kind }) => kind);
  const undo = before.map((row, index) => (row === undefined ? remove(writes[index]!.key) : put(row.key, row.value)));
  await kv.commit({ checks: [], writes: undo });
  return kinds;
}

type Damage = readonly [string, () => Promise<readonly Write[]>, readonly Finding["kind"][]];

const damages: readonly Damage[] = [
  ["a past version is gone", async () => [remove(pastKey(id, object, 2n))], ["wrong_refcount", "wrong_usage"]],
  [
    "a past row cannot be read",
    async () => [put(pastKey(id, gone, 3n), Buffer.from("?"))],
    ["corrupt_record", "wrong_usage"],
  ],
  [
    "a past version stands at another place than its id says",
    async () => [remove(pastKey(id, gone, 3n)), put(pastKey(id, gone, 0n), await valueOf(pastKey(id, gone, 3n)))],
    ["wrong_version"],
  ],
  [
    "a past version is newer than what is current",
    async () => {
      const { head, inline } = await pastOf(object, 1n);
      return [
        put(pastKey(id, object, 9n), encodePast({ head: withVersion(head, { order: 9, isNull: false }), inline })),
      ];
    },
    ["wrong_version", "wrong_usage"],
  ],
  ["nothing is current", async () => [remove(markerKey(id, gone))], ["missing_record", "wrong_usage"]],
  [
    "an object and a marker are current",
    async () => [
      put(headKey(id, gone), encodeHead({ ...(await headOf(object)), data: { kind: "empty" }, sizeBytes: 0 })),
    ],
    ["wrong_version", "wrong_version", "wrong_usage"],
  ],
  [
    "an object stands in a marker's place",
    async () => [
      put(
        markerKey(id, gone),
        encodePast({
          head: withVersion({ ...(await pastOf(gone, 4n)).head, data: { kind: "empty" } }, { order: 5, nullOrder: 1 }),
          inline: undefined,
        }),
      ),
    ],
    ["wrong_version"],
  ],
  [
    "the null version is not known to what is current",
    async () => [put(headKey(id, object), encodeHead(withVersion(await headOf(object), { nullOrder: undefined })))],
    ["wrong_version"],
  ],
  [
    "there are two null versions",
    async () => [
      put(headKey(id, object), encodeHead(withVersion(await headOf(object), { isNull: true, nullOrder: undefined }))),
    ],
    ["wrong_version"],
  ],
  [
    "the count of versions is wrong",
    async () => [{ kind: "add", key: usageKey(id, process.session.id), deltas: [0, 0, 1] }],
    ["wrong_usage"],
  ],
];

void test("a sound history has no findings", async () => {
  assert.deepEqual(await findingsOf(world), []);
});

for (const [name, writes, kinds] of damages)
  void test(`doctor finds that ${name}`, async () => {
    assert.deepEqual((await kindsAfter(await writes())).toSorted(), kinds.toSorted());
    assert.deepEqual(await findingsOf(world), [], "and nothing once it is right again");
  });

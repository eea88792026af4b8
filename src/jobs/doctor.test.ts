/** Every kind of damage that records can take is planted, one at a time, and must be named; a sound store has no findings. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { BlobId, ChunkId, DriveId, SessionId, UploadId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Write } from "../kv/kv.ts";
import { decodeBlobRoot, decodePartPage, encodeBlobRoot, encodePartPage } from "../meta/blobs.ts";
import type { BlobRoot } from "../meta/blobs.ts";
import { decodeChunkPage, encodeChunkPage } from "../meta/chunk_pages.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import { decodeBucket, encodeBucket } from "../meta/buckets.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { configurationKinds, encodeConfiguration, withConfiguration } from "../meta/configurations.ts";
import { blobData, decodeHead, encodeHead } from "../meta/heads.ts";
import {
  abandonedKey,
  blobPageKey,
  blobRootKey,
  bodyKey,
  bucketKey,
  configurationKey,
  endedKey,
  headKey,
  heartbeatKey,
  jobKey,
  leftoverKey,
  partKey,
  sessionKey,
  trashKey,
  uploadKey,
  usageKey,
} from "../meta/keys.ts";
import type { LiveSession } from "../meta/sessions.ts";
import { encodeHeartbeat, readSessions } from "../meta/sessions.ts";
import { encodeTrash } from "../meta/trash.ts";
import { decodeUpload, encodeAbandoned, encodeLeftover, encodePart, encodeUpload } from "../meta/uploads.ts";
import { bodyOf, noMetadata, noVerifier, patternBytes, plainPut } from "../object/object.fixture.ts";
import { findingsOf, newWorld, startProcess } from "./jobs.fixture.ts";
import type { Process, World } from "./jobs.fixture.ts";
import type { Finding } from "./doctor.ts";

type Kind = Finding["kind"];

const bucket = "photos";
const big = patternBytes(limits.partBytesMin, 3);
let world: World;
let process: Process;
let id: Parameters<typeof headKey>[0];
let upload: UploadId;
let session: LiveSession;
/** Two chunks; shared by `album` and `copy`. */
let album: BlobId;
/** Two parts. */
let multi: BlobId;
let drive: DriveId;

const document = encodeConfiguration({ modifiedMs: 1, document: Buffer.from("<a/>") });
const noBlob = "00000000000000aa000000000000ffff" as BlobId;
const otherUpload = "f".repeat(32) as UploadId;
const deadSession = "00000000000000aa" as SessionId;
const headOf = async (key: string) => decodeHead(await valueOf(headKey(id, Buffer.from(key))));

async function valueOf(key: Buffer): Promise<Buffer> {
  const [row] = await world.kv.get([key]);
  assert.ok(row, "the row is there");
  return row.value;
}

before(async () => {
  world = newWorld();
  process = await startProcess(world);
  const { store } = process;
  id = (await store.createBucket(bucket, { region: "here" })).bucket.id;
  await store.setConfiguration({ bucket, kind: "cors", document: Buffer.from("<CORSConfiguration/>") });
  await store.put(plainPut(bucket, "album", patternBytes(limits.chunkBytesMax + 1_000)));
  await store.copy({
    bucket,
    key: Buffer.from("copy"),
    source: { bucket, key: Buffer.from("album") },
    metadata: noMetadata,
  });
  await store.put(plainPut(bucket, "small", "inline"));
  await store.put(plainPut(bucket, "empty", ""));
  const key = Buffer.from("multi");
  const { id: uploadId } = await store.createUpload({ bucket, key, metadata: noMetadata });
  const parts = [];
  for (const [index, bytes] of [big, Buffer.from("end")].entries())
    parts.push(
      await store.uploadPart({
        bucket,
        key,
        uploadId,
        partNumber: index + 1,
        body: bodyOf(bytes),
        verifier: noVerifier,
      }),
    );
  const asked = parts.map(({ partNumber, etag }) => ({ partNumber, etag }));
  await store.completeUpload({ bucket, key, uploadId, parts: asked });
  const open = { bucket, key: Buffer.from("open"), metadata: noMetadata };
  upload = (await store.createUpload(open)).id;
  await store.uploadPart({ ...open, uploadId: upload, partNumber: 1, body: bodyOf(big), verifier: noVerifier });
  [session] = (await readSessions(world.kv)) as [LiveSession];
  const albumHead = await headOf("album");
  const multiHead = await headOf("multi");
  assert.ok(albumHead.data.kind === "blob" && multiHead.data.kind === "blob");
  album = albumHead.data.blob;
  multi = multiHead.data.blob;
  drive = world.node.drives[0]!;
});
after(() => world.kv.close());

const put = (key: Buffer, value: Uint8Array): Write => ({ kind: "put", key, value });
const remove = (key: Buffer): Write => ({ kind: "delete", key });

async function root(blob: BlobId, change: Partial<BlobRoot>): Promise<Write> {
  const now = decodeBlobRoot(await valueOf(blobRootKey(blob)));
  return put(blobRootKey(blob), encodeBlobRoot({ ...now, ...change } as BlobRoot));
}

async function chunks(change: (chunks: ChunkRecord[]) => ChunkRecord[]): Promise<Write> {
  const page = decodeChunkPage(await valueOf(blobPageKey(album, 0)));
  return put(blobPageKey(album, 0), encodeChunkPage(change(page)));
}

async function head(key: string, change: object): Promise<Write> {
  return put(headKey(id, Buffer.from(key)), encodeHead({ ...(await headOf(key)), ...change }));
}

async function bucketRow(change: Partial<BucketRecord>): Promise<Write> {
  const key = bucketKey(bucket);
  return put(key, encodeBucket({ ...decodeBucket(await valueOf(key)), ...change }));
}

async function uploadState(state: Parameters<typeof encodeUpload>[0]["state"]): Promise<Write> {
  const key = uploadKey(id, Buffer.from("open"), upload);
  return put(key, encodeUpload({ ...decodeUpload(await valueOf(key)), state }));
}

/** Plants rows, looks, and puts everything back. */
async function planted(writes: readonly Write[]): Promise<Finding[]> {
  const { kv } = world;
  const before = await kv.get(writes.map(({ key }) => key));
  await kv.commit({ checks: [], writes });
  try {
    return await findingsOf(world);
  } finally {
    await kv.commit({
      checks: [],
      writes: before.map((row, index) => (row ? put(row.key, row.value) : remove(writes[index]!.key as Buffer))),
    });
    assert.deepEqual(await findingsOf(world), [], "all is well again");
  }
}

const part = async (change: object) => {
  const [now] = decodePartPage(await valueOf(blobPageKey(multi, 0)));
  return { ...now!, ...change };
};

const swapped = async () =>
  chunks(([one, two]) => [
    { ...one!, rawBytes: two!.rawBytes },
    { ...two!, rawBytes: one!.rawBytes },
  ]);

const cases: readonly [what: string, kinds: readonly Kind[], plant: () => Promise<readonly Write[]>][] = [
  ["a document missing", ["missing_record"], async () => [remove(configurationKey(id, configurationKinds.cors))]],
  [
    "a document that cannot be read",
    ["corrupt_record"],
    async () => [put(configurationKey(id, configurationKinds.cors), Buffer.from("ff", "hex"))],
  ],
  ["object lock without its document", ["corrupt_record"], async () => [await bucketRow({ objectLock: true })]],
  [
    "an object lock document that nothing can be done by",
    ["corrupt_record"],
    async () => [
      await bucketRow({
        objectLock: true,
        configured: withConfiguration(withConfiguration(0, "cors", true), "objectLock", true),
      }),
      put(configurationKey(id, configurationKinds.objectLock), document),
    ],
  ],
  [
    "a document that its bucket does not know",
    ["stray_record"],
    async () => [put(configurationKey(id, configurationKinds.tagging), document)],
  ],
  [
    "a document of no bucket",
    ["stray_record"],
    async () => [put(configurationKey("00".repeat(8) as typeof id, configurationKinds.cors), document)],
  ],
  ["a refcount too high", ["wrong_refcount"], async () => [await root(album, { refcount: 3 })]],
  ["a refcount too low", ["wrong_refcount"], async () => [await root(album, { refcount: 1 })]],
  ["a refcount of a parts map too high", ["wrong_refcount"], async () => [await root(multi, { refcount: 2 })]],
  [
    "a chunk map that nothing refers to",
    ["wrong_refcount"],
    async () => [put(blobRootKey(noBlob), encodeBlobRoot(emptyBlob(1)))],
  ],
  [
    "a chunk map with no reference at all",
    ["wrong_refcount"],
    async () => [put(blobRootKey(noBlob), encodeBlobRoot(emptyBlob(0)))],
  ],
  ["a page without a root", ["stray_record"], async () => [put(blobPageKey(noBlob, 0), encodeChunkPage([]))]],
  [
    "trash for what is not there",
    ["missing_record"],
    async () => [put(trashKey(1, Buffer.alloc(10)), encodeTrash({ blob: noBlob, atMs: 1 }))],
  ],
  [
    "trash for what is still referred to",
    ["wrong_refcount"],
    async () => [put(trashKey(1, Buffer.alloc(10)), encodeTrash({ blob: album, atMs: 1 }))],
  ],
  ["a head whose chunk map is missing", ["stray_record", "missing_record"], async () => [remove(blobRootKey(album))]],
  [
    "a head whose chunk map and pages are missing",
    ["missing_record"],
    async () => [remove(blobRootKey(album)), remove(blobPageKey(album, 0))],
  ],
  [
    "a head that says another storage class than others of its bytes",
    ["wrong_class", "wrong_usage"],
    async () => [await head("copy", { data: blobData(album, true) })],
  ],
  ["a page missing", ["missing_record", "wrong_size"], async () => [remove(blobPageKey(album, 0))]],
  [
    "a page under another number",
    ["wrong_size"],
    async () => [remove(blobPageKey(album, 0)), put(blobPageKey(album, 1), await valueOf(blobPageKey(album, 0)))],
  ],
  ["a page too many", ["missing_record"], async () => [put(blobPageKey(album, 1), encodeChunkPage([]))]],
  [
    "a page of parts missing",
    ["wrong_refcount", "missing_record", "wrong_size"],
    async () => [remove(blobPageKey(multi, 0))],
  ],
  ["a parts map whose pages begin elsewhere", ["wrong_size"], async () => [await root(multi, { pageStarts: [1] })]],
  ["a parts map with another number of parts", ["wrong_size"], async () => [await root(multi, { parts: 3 })]],
  ["a root of another size", ["wrong_size"], async () => [await root(album, { sizeBytes: 5 })]],
  [
    "a head of another size than its blob",
    ["wrong_size", "wrong_usage"],
    async () => [await head("album", { sizeBytes: 7 })],
  ],
  [
    "the later of two heads of another size",
    ["wrong_size", "wrong_usage"],
    async () => [await head("copy", { sizeBytes: 7 })],
  ],
  ["an empty object with a size", ["wrong_size", "wrong_usage"], async () => [await head("empty", { sizeBytes: 7 })]],
  [
    "a head with another number of parts",
    ["wrong_size"],
    async () => [await head("multi", { etag: `${"0".repeat(32)}-3` })],
  ],
  [
    "a head that says it is multipart",
    ["wrong_size"],
    async () => [await head("album", { etag: `${"0".repeat(32)}-1` })],
  ],
  ["an inline object without its bytes", ["missing_record"], async () => [remove(bodyKey(id, Buffer.from("small")))]],
  ["bytes of another write", ["missing_record"], async () => [await head("small", { stamp: "0".repeat(28) })]],
  ["bytes without a head", ["stray_record"], async () => [put(bodyKey(id, Buffer.from("none")), Buffer.from("?"))]],
  ["chunks of another length than the blob's", ["wrong_size"], async () => [await swapped()]],
  [
    "a chunk whose blocks are not its bytes",
    ["corrupt_chunk", "wrong_size"],
    async () => [await chunks(([one, two]) => [{ ...one!, storedBytes: one!.storedBytes + 1 }, two!])],
  ],
  [
    "blocks that do not add up",
    ["wrong_size"],
    async () => [await chunks(([one, two]) => [one!, { ...two!, blockBytes: [two!.storedBytes - 1] }])],
  ],
  ["chunks in another order", ["wrong_size", "corrupt_chunk"], async () => [await chunks((all) => all.toReversed())]],
  [
    "chunks in another order and of the right lengths",
    ["corrupt_chunk"],
    async () => [
      await chunks(([one, two]) => [
        { ...one!, id: two!.id, storedBytes: one!.storedBytes },
        { ...two!, id: one!.id, storedBytes: two!.storedBytes },
      ]),
    ],
  ],
  [
    "a chunk without places",
    ["missing_chunk"],
    async () => [await chunks(([one, two]) => [{ ...one!, places: [] }, two!])],
  ],
  [
    "a chunk on a drive that is not there",
    ["missing_chunk"],
    async () => [
      await chunks(([one, two]) => [{ ...one!, places: [{ drive: "0".repeat(16) as DriveId, shardIndex: 0 }] }, two!]),
    ],
  ],
  [
    "a chunk that no drive has",
    ["missing_chunk"],
    async () => [await chunks(([one, two]) => [{ ...one!, id: noBlob as string as ChunkId }, two!])],
  ],
  [
    "a part of no upload",
    ["missing_record", "stray_record"],
    async () => [put(partKey(otherUpload, 1), encodePart(await part({ blob: noBlob })))],
  ],
  [
    "a part of no upload with another's bytes",
    ["stray_record", "wrong_refcount"],
    async () => [put(partKey(otherUpload, 1), encodePart(await part({})))],
  ],
  [
    "a part under another number",
    ["corrupt_record"],
    async () => [remove(partKey(upload, 1)), put(partKey(upload, 2), await valueOf(partKey(upload, 1)))],
  ],
  [
    "a part whose chunk map is missing",
    ["missing_record", "wrong_refcount"],
    async () => [put(partKey(upload, 1), encodePart(await part({ blob: noBlob })))],
  ],
  [
    "a part of another size",
    ["wrong_size"],
    async () => [put(blobPageKey(multi, 0), encodePartPage([await part({ sizeBytes: 4 }), ...(await lastParts())]))],
  ],
  [
    "a listed part of an ended upload that is still there",
    [],
    async () => [
      put(leftoverKey(otherUpload), encodeLeftover({ listed: Buffer.from([2]), atMs: 1 })),
      put(partKey(otherUpload, 1), encodePart(await part({}))),
    ],
  ],
  [
    "an upload in no bucket",
    ["stray_record"],
    async () => {
      const key = uploadKey(id, Buffer.from("open"), upload);
      return [put(uploadKey("00000000000000aa" as typeof id, Buffer.from("open"), otherUpload), await valueOf(key))];
    },
  ],
  [
    "an upload gone without a trace",
    ["stray_record"],
    async () => [remove(uploadKey(id, Buffer.from("open"), upload))],
  ],
  [
    "an upload that is still completing what was published",
    ["stray_record"],
    async () => [await uploadState({ kind: "completing", partsMap: multi })],
  ],
  [
    "an attempt given up that was published",
    ["stray_record"],
    async () => [put(abandonedKey(multi), encodeAbandoned())],
  ],
  [
    "a page of an attempt under way",
    [],
    async () => [
      await uploadState({ kind: "completing", partsMap: noBlob }),
      put(blobPageKey(noBlob, 0), encodePartPage([])),
    ],
  ],
  ["a bucket gone with its objects there", ["stray_record"], async () => [remove(bucketKey(bucket))]],
  [
    "objects counted that are not there",
    ["wrong_usage"],
    async () => [{ kind: "put", key: usageKey(id, deadSession), value: Buffer.from("0000000000000001", "hex") }],
  ],
  [
    "a heartbeat without its session",
    ["stray_record"],
    async () => [put(heartbeatKey(deadSession), encodeHeartbeat({ atMs: 1, tick: 1, drained: 1 }))],
  ],
  ...[
    ["bucket", () => bucketKey("other")],
    ["finished upload", () => Buffer.concat([Buffer.from([0x42]), Buffer.alloc(16)])],
    ["leftover", () => leftoverKey(otherUpload)],
    ["abandoned", () => abandonedKey(noBlob)],
    ["trash", () => trashKey(1, Buffer.alloc(10))],
    ["session", () => sessionKey(deadSession)],
    ["ended", () => endedKey(deadSession)],
    ["lease", () => jobKey("none")],
    ["upload", () => uploadKey(id, Buffer.from("x"), otherUpload)],
  ].map(([what, key]): (typeof cases)[number] => [
    `a ${what as string} row that cannot be read`,
    ["corrupt_record"],
    async () => [put((key as () => Buffer)(), Buffer.from([0xff, 1]))],
  ]),
  [
    "a heartbeat that cannot be read",
    ["corrupt_record"],
    async () => [put(heartbeatKey(session.id), Buffer.from([0xff]))],
  ],
];

const emptyBlob = (refcount: number): BlobRoot => ({
  kind: "chunks",
  refcount,
  sizeBytes: 0,
  pages: 0,
  pageEntries: 256,
  chunkBytes: limits.chunkBytesMax,
});
const lastParts = async () => decodePartPage(await valueOf(blobPageKey(multi, 0))).slice(1);

for (const [what, kinds, plant] of cases) {
  test(`doctor: ${what}`, async () => {
    const found = await planted(await plant());
    const names = [...new Set(found.map((finding) => finding.kind))];
    assert.deepEqual(names.toSorted(), kinds.toSorted(), JSON.stringify(found, undefined, 1));
  });
}

test("doctor: shards that nothing mentions, but for those that a sweep will look at", async () => {
  const shard = (name: string, owner: BlobId, chunkIndex = 0) => {
    const body = [Buffer.from("x")];
    return {
      chunk: `${deadSession}${name.padStart(16, "0")}` as ChunkId,
      shardIndex: 0,
      owner: { blob: owner, chunkIndex },
      body,
    };
  };
  const shards = [shard("1", noBlob), shard("2", album), shard("3", album, 9_999), shard("4", multi)];
  for (const each of shards) await world.node.append(drive, each);
  const found = await findingsOf(world);
  assert.deepEqual(
    found.map((finding) => finding.kind),
    Array(shards.length).fill("orphan_chunk"),
  );
  const waiting = put(endedKey(deadSession), Buffer.from([1]));
  await world.kv.commit({ checks: [], writes: [waiting] });
  assert.deepEqual(await findingsOf(world), []);
  await world.kv.commit({ checks: [], writes: [remove(waiting.key as Buffer)] });
  await world.node.remove(drive, shards);
});

test("doctor: shards of another owner, another place, or gone", async () => {
  const [first] = await world.node.list(drive, { limit: 1 });
  assert.ok(first);
  const body = [await world.node.read(drive, first, { offset: 0, length: 1 })];
  const whole = Buffer.alloc(first.storedBytes, body[0]);
  for (const [owner, kind] of [
    [{ ...first.owner, blob: noBlob }, "corrupt_chunk"],
    [{ ...first.owner, chunkIndex: first.owner.chunkIndex + 1 }, "corrupt_chunk"],
    [undefined, "missing_chunk"],
  ] as const) {
    await world.node.remove(drive, [{ chunk: first.chunk, shardIndex: first.shardIndex }]);
    if (owner !== undefined) await world.node.append(drive, { ...first, owner, body: [whole] });
    assert.deepEqual(
      (await findingsOf(world, false)).map((finding) => finding.kind),
      [kind],
    );
  }
  await world.node.append(drive, { ...first, body: [whole] });
});

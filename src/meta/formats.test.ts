/** The bytes of every record, written down by hand from docs/formats/records.md: a version never changes. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { BlobId, BucketId, ChunkId, DriveId, SessionId, UploadId } from "../core/ids.ts";
import { oneCopy } from "../core/redundancy.ts";
import { decodeBlobRoot, decodePartPage, encodeBlobRoot, encodePartPage } from "./blobs.ts";
import type { BlobRoot, PartRecord } from "./blobs.ts";
import { decodeBucket, encodeBucket } from "./buckets.ts";
import type { BucketRecord } from "./buckets.ts";
import { decodeChunkPage, encodeChunkPage } from "./chunk_pages.ts";
import type { ChunkRecord } from "./chunk_pages.ts";
import { decodeConversion, encodeConversion } from "./conversions.ts";
import { decodeDrive, encodeDrive } from "./drives.ts";
import { decodeHead, encodeBody, encodeHead } from "./heads.ts";
import type { HeadRecord } from "./heads.ts";
import * as keys from "./keys.ts";
import { decodeProgress, encodeProgress } from "./progress.ts";
import { decodeRelocation, decodeRepair, decodeStray, encodeRelocation, encodeRepair, encodeStray } from "./repairs.ts";
import { decodeScrub, encodeScrub } from "./scrubs.ts";
import * as sessions from "./sessions.ts";
import { decodeTrash, encodeTrash } from "./trash.ts";
import * as uploads from "./uploads.ts";
import type { FinishedRecord, UploadRecord } from "./uploads.ts";

const bucket = "b1".repeat(8) as BucketId;
const session = "5e".repeat(8) as SessionId;
const blob = "b0".repeat(16) as BlobId;
const chunk = "c0".repeat(16) as ChunkId;
const drive = "d0".repeat(8) as DriveId;
const upload = "0a".repeat(16) as UploadId;
const md5 = "e7".repeat(16);
const crc = Buffer.from("01020304", "hex");
const metadata = { headers: { "content-type": "t", "x-amz-storage-class": "GLACIER" }, user: { n: "v" } };
const plain = { headers: { "content-type": "t" }, user: { n: "v" } };
/** Two headers: code 1 and "t"; code 8 and "GLACIER"; one of user metadata. */
const metadataHex = "02 01 01 74 08 07 47 4c 41 43 49 45 52 01 01 6e 01 76";
const plainHex = "01 01 01 74 01 01 6e 01 76";

const head: HeadRecord = {
  sizeBytes: 300,
  modifiedMs: 1,
  etag: `${md5}-2`,
  checksum: { algorithm: "crc32", type: "COMPOSITE", value: crc },
  metadata,
  data: { kind: "blob", blob },
  epoch: 5,
  stamp: "aa".repeat(14),
};
const part: PartRecord = {
  partNumber: 7,
  blob,
  sizeBytes: 128,
  modifiedMs: 2,
  md5,
  checksum: { algorithm: "crc32c", value: crc },
};
const partHex = `07 ${blob} 80 01 02 ${md5} 03 01 02 03 04`;
const coded = { dataShards: 8, parityShards: 2 };
const chunks: ChunkRecord[] = [
  { id: chunk, rawBytes: 5, storedBytes: 3, blockBytes: [3], redundancy: coded, places: [{ drive, shardIndex: 9 }] },
  { id: chunk, rawBytes: 4, storedBytes: 4, blockBytes: undefined, redundancy: oneCopy, places: [] },
];
/** What version 1 of a page could say. */
const copies: ChunkRecord[] = [
  { id: chunk, rawBytes: 5, storedBytes: 3, blockBytes: [3], redundancy: oneCopy, places: [{ drive, shardIndex: 0 }] },
  { id: chunk, rawBytes: 4, storedBytes: 4, blockBytes: undefined, redundancy: oneCopy, places: [] },
];
const scrub = { startedMs: 4, after: { chunk, shardIndex: 9 }, ended: { atMs: 5, shards: 6, damaged: 7 } };
const noScrub = { startedMs: undefined, after: undefined, ended: undefined };
const driveRecord = { state: "draining", path: "/d", sizeBytes: 128, addedMs: 5 } as const;
const stray = { blob, page: 258, shards: [{ chunk, shardIndex: 9 }] };
const progress = { session, startedMs: 4, atMs: 5, doneBytes: 128, leftBytes: 6 };
const newConversion = { redundancy: { dataShards: 4, parityShards: 2 }, after: undefined, isWaiting: false };
const conversion = { ...newConversion, after: Buffer.from("a\0"), isWaiting: true };
const relocation = { session, shards: [{ chunk, shardIndex: 9, drive }] };
const chunksRoot: BlobRoot = { kind: "chunks", refcount: 2, sizeBytes: 9, pages: 1, pageEntries: 256, chunkBytes: 5 };
const partsRoot: BlobRoot = {
  kind: "parts",
  refcount: 1,
  sizeBytes: 400,
  pages: 2,
  pageEntries: 512,
  parts: 600,
  pageStarts: [0, 300],
};
const oldBucket = {
  id: bucket,
  createdMs: 9,
  region: "here",
  state: "deleting",
  epoch: 3,
  redundancy: undefined,
} as const;
const bucketRecord: BucketRecord = { ...oldBucket, redundancy: { dataShards: 4, parityShards: 2 } };
const open: UploadRecord = { state: { kind: "open" }, startedMs: 4, metadata: plain, checksum: undefined };
const completing: UploadRecord = {
  state: { kind: "completing", partsMap: blob },
  startedMs: 4,
  metadata: plain,
  checksum: { algorithm: "crc64nvme", type: "FULL_OBJECT" },
};
const finished: FinishedRecord = {
  bucket,
  key: Buffer.from("k"),
  sizeBytes: 300,
  etag: "e",
  modifiedMs: 1,
  checksum: { algorithm: "crc32", type: "COMPOSITE", value: crc },
  fingerprint: Buffer.alloc(32, 0xf1),
  atMs: 2,
};
const bucketHex = `${bucket} 01 03 09 04 68 65 72 65`;
const finishedHex = `01 ${bucket} 01 6b ac 02 01 65 01 ${"f1".repeat(32)} 02`;
const headHex = `01 0e ac 02 01 ${md5} 02 82 01 02 03 04 07 47 4c 41 43 49 45 52 05 ${head.stamp} ${blob} ` + plainHex;

type Row = readonly [name: string, hex: string, bytes: Buffer, decoded: unknown, record: unknown];

const records: readonly Row[] = [
  row("bucket", `02 ${bucketHex} 04 02`, encodeBucket(bucketRecord), decodeBucket, bucketRecord),
  row("bucket without redundancy", `02 ${bucketHex} 00 00`, encodeBucket(oldBucket), decodeBucket, oldBucket),
  row("scrub", `01 07 04 ${chunk} 09 05 06 07`, encodeScrub(scrub), decodeScrub, scrub),
  row("scrub before the first round", "01 00", encodeScrub(noScrub), decodeScrub, noScrub),
  row("drive", "01 01 02 2f 64 80 01 05", encodeDrive(driveRecord), decodeDrive, driveRecord),
  row("progress", `01 ${session} 04 05 80 01 06`, encodeProgress(progress), decodeProgress, progress),
  row("conversion", "01 04 02 03 02 61 00", encodeConversion(conversion), decodeConversion, conversion),
  row("conversion at its start", "01 04 02 00", encodeConversion(newConversion), decodeConversion, newConversion),
  row("stray", `01 ${blob} 82 02 01 ${chunk} 09`, encodeStray(stray), decodeStray, stray),
  row("repair", "01 02 03 81 01", encodeRepair([3, 129]), decodeRepair, [3, 129]),
  row(
    "relocation",
    `01 ${session} 01 ${chunk} 09 ${drive}`,
    encodeRelocation(relocation),
    decodeRelocation,
    relocation,
  ),
  row("head", headHex, encodeHead(head), decodeHead, head),
  row("chunk root", "01 01 02 09 01 80 02 05", encodeBlobRoot(chunksRoot), decodeBlobRoot, chunksRoot),
  row("parts root", "01 02 01 90 03 02 80 04 d8 04 00 ac 02", encodeBlobRoot(partsRoot), decodeBlobRoot, partsRoot),
  row(
    "chunk page",
    `02 01 ${drive} 02 ${chunk} 05 03 01 03 08 02 00 02 00 ${chunk} 04 04 00 01 00 00`,
    encodeChunkPage(chunks),
    decodeChunkPage,
    chunks,
  ),
  row("part page", `01 01 ${partHex}`, encodePartPage([part]), decodePartPage, [part]),
  row("trash", `01 ${blob} 05`, encodeTrash({ blob, atMs: 5 }), decodeTrash, { blob, atMs: 5 }),
  row("open upload", `01 00 04 ff ${plainHex}`, uploads.encodeUpload(open), uploads.decodeUpload, open),
  row(
    "completing upload",
    `01 01 ${blob} 04 04 ${plainHex}`,
    uploads.encodeUpload(completing),
    uploads.decodeUpload,
    completing,
  ),
  row(
    "upload with a storage class",
    `01 00 04 ff ${metadataHex}`,
    uploads.encodeUpload({ ...open, metadata }),
    uploads.decodeUpload,
    { ...open, metadata },
  ),
  row("part", `01 ${partHex}`, uploads.encodePart(part), uploads.decodePart, part),
  row(
    "finished",
    `${finishedHex} 01 82 01 02 03 04`,
    uploads.encodeFinished(finished),
    uploads.decodeFinished,
    finished,
  ),
  row(
    "finished without checksum",
    `${finishedHex} 00`,
    uploads.encodeFinished({ ...finished, checksum: undefined }),
    uploads.decodeFinished,
    { ...finished, checksum: undefined },
  ),
  row(
    "leftover of parts 1, 7 and 8",
    "01 03 02 82 01",
    uploads.encodeLeftover({
      listed: uploads.listedBits([1, 7, 8].map((partNumber) => ({ partNumber }))),
      atMs: 3,
    }),
    uploads.decodeLeftover,
    { listed: Buffer.from("8201", "hex"), atMs: 3 },
  ),
  row("abandoned", "01", uploads.encodeAbandoned(), uploads.decodeAbandoned, undefined),
  row("session", "01 09 01 6e", sessions.encodeSession({ startedMs: 9, node: "n" }), sessions.decodeSession, {
    startedMs: 9,
    node: "n",
  }),
  row(
    "heartbeat",
    "01 09 80 01 7f",
    sessions.encodeHeartbeat({ atMs: 9, tick: 128, drained: 127 }),
    sessions.decodeHeartbeat,
    { atMs: 9, tick: 128, drained: 127 },
  ),
  row("ended", "01", sessions.encodeEnded(), sessions.decodeEnded, undefined),
  row("suspect", "01 01 6e", sessions.encodeSuspect("n"), sessions.decodeSuspect, { node: "n" }),
];

function row<T>(name: string, hex: string, bytes: Buffer, decode: (bytes: Buffer) => T, record: T): Row {
  return [name, hex.replaceAll(" ", ""), bytes, decode(bytes), record];
}

for (const [name, hex, bytes, decoded, record] of records)
  test(`the ${name} record is as its page says, and comes back`, () => {
    assert.equal(bytes.toString("hex"), hex);
    assert.deepEqual(decoded, record);
  });

test("records of earlier versions are read", () => {
  const page = `01 01 ${drive} 02 ${chunk} 05 03 01 03 01 00 00 ${chunk} 04 04 00 00`;
  assert.deepEqual(decodeChunkPage(Buffer.from(page.replaceAll(" ", ""), "hex")), copies);
  assert.deepEqual(decodeBucket(Buffer.from(`01 ${bucketHex}`.replaceAll(" ", ""), "hex")), oldBucket);
});

test("a body record is as its page says", () => {
  assert.equal(encodeBody(head.stamp, Buffer.from("hi")).toString("hex"), `01${head.stamp}6869`);
});

test("keys are as their page says", () => {
  const object = Buffer.from("a\0b");
  const escaped = "6100ff620000";
  const expected: readonly [Buffer, string][] = [
    [keys.bucketKey("bkt"), "10626b74"],
    [keys.headKey(bucket, object), `20${bucket}610062`],
    [keys.bodyKey(bucket, object), `21${bucket}610062`],
    [keys.pastKey(bucket, object, 2n), `22${bucket}${escaped}fffffffffffffffd`],
    [keys.blobRootKey(blob), `30${blob}`],
    [keys.blobPageKey(blob, 258), `30${blob}00000102`],
    [keys.repairKey(blob, 258), `32${blob}00000102`],
    [keys.relocationKey(blob, 258), `33${blob}00000102`],
    [keys.strayKey(drive), `34${drive}`],
    [keys.strayKey(drive, "aa".repeat(14)), `34${drive}${"aa".repeat(14)}`],
    [keys.scrubKey(drive), `35${drive}`],
    [keys.conversionKey(bucket), `36${bucket}`],
    [keys.trashKey(0x0102, Buffer.alloc(10, 0xee)), `31000000000102${"ee".repeat(10)}`],
    [keys.uploadKey(bucket, object, upload), `40${bucket}${escaped}${upload}`],
    [keys.partKey(upload, 10_000), `41${upload}2710`],
    [keys.finishedKey(upload), `42${upload}`],
    [keys.leftoverKey(upload), `43${upload}`],
    [keys.abandonedKey(blob), `44${blob}`],
    [keys.sessionKey(session), `50${session}`],
    [keys.heartbeatKey(session), `51${session}`],
    [keys.endedKey(session), `52${session}`],
    [keys.suspectKey(session), `53${session}`],
    [keys.usageKey(bucket, session), `60${bucket}${session}`],
    [keys.usageKey(bucket, keys.foldedSession), `60${bucket}0000000000000000`],
    [keys.accessKeyKey("AK"), "70414b"],
    [keys.jobKey("trash"), "807472617368"],
    [keys.progressKey("trash"), "817472617368"],
  ];
  for (const [key, hex] of expected) assert.equal(key.toString("hex"), hex);
});

test("the page names every family by its tag", () => {
  const page = readFileSync(new URL("../../docs/formats/records.md", import.meta.url), "utf8");
  const named = new Map(
    [...page.matchAll(/\b([0-9a-f]{2}) ([a-z]+(?: key)?)(?=[,| ])/g)].map(([, tag, name]) => [
      name,
      Number(`0x${tag}`),
    ]),
  );
  for (const [name, tag] of Object.entries(keys.tags))
    assert.equal(named.get(name === "accessKey" ? "access key" : name), tag, name);
});

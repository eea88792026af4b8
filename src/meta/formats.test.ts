/** The bytes of every record, written down by hand from docs/formats/records.md: a version never changes. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { BlobId, BucketId, ChunkId, DestinationId, DriveId, SessionId, UploadId } from "../core/ids.ts";
import { oneCopy } from "../core/redundancy.ts";
import { decodeBlobRoot, decodePartPage, encodeBlobRoot, encodePartPage } from "./blobs.ts";
import type { BlobRoot, PartRecord } from "./blobs.ts";
import { decodeBucket, decodeGone, encodeBucket, encodeGone, newBucketSettings } from "./buckets.ts";
import type { BucketRecord } from "./buckets.ts";
import { decodeAccountQuota, encodeAccountQuota, type AccountQuotaRecord } from "./quotas.ts";
import { decodeChunkPage, encodeChunkPage } from "./chunk_pages.ts";
import type { ChunkRecord } from "./chunk_pages.ts";
import { configuredKinds, decodeConfiguration, encodeConfiguration, withConfiguration } from "./configurations.ts";
import { decodeConversion, encodeConversion } from "./conversions.ts";
import { decodeCopying, encodeCopying } from "./copying.ts";
import { decodeDrive, encodeDrive } from "./drives.ts";
import { decodeNode, encodeNode } from "./nodes.ts";
import { decodeRaised, encodeRaised } from "./raised.ts";
import { decodeStore, encodeStore } from "./store.ts";
import {
  decodeDeparted,
  decodeDestination,
  decodeTrouble,
  encodeDeparted,
  encodeDestination,
  encodeTrouble,
  type DestinationRecord,
} from "./destinations.ts";
import { decodeEvent, decodeSequence, encodeEvent, encodeSequence, type EventRecord } from "./events.ts";
import { decodeHead, decodePast, encodeBody, encodeHead, encodePast } from "./heads.ts";
import type { HeadRecord } from "./heads.ts";
import * as eventKeys from "./event_keys.ts";
import * as keys from "./keys.ts";
import { decodeKeyring, encodeKeyring, type KeyringRecord } from "./keyring.ts";
import { decodeObjectLock, encodeObjectLock } from "./object_lock.ts";
import { decodeProgress, encodeProgress } from "./progress.ts";
import { balanceKey, decodeBalance, domainOf, encodeBalance, type BalanceRecord } from "./balance.ts";
import { decodeMend, encodeMend, type MendRecord } from "./mends.ts";
import { decodeRelocation, decodeRepair, decodeStray, encodeRelocation, encodeRepair, encodeStray } from "./repairs.ts";
import type { RepairRecord } from "./repairs.ts";
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
const destination = "de".repeat(8) as DestinationId;
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
const removal: EventRecord = {
  name: "ObjectRemoved:Delete",
  sequencer: 300,
  atMs: 1,
  queuedMs: 2,
  bucket: "b",
  region: "r",
  ruleId: "i",
  key: Buffer.from("k"),
  object: undefined,
  versionId: undefined,
  origin: undefined,
};
const removalHex = "01 10 00 ac 02 01 02 01 62 01 72 01 69 01 6b";
const event: EventRecord = {
  ...removal,
  name: "ObjectTagging:Put",
  object: { sizeBytes: 9, etag: "e" },
  versionId: "v",
  origin: { principal: "p", sourceAddress: "s", requestId: "q", hostId: "h" },
};
const eventHex = "01 20 07 ac 02 01 02 01 62 01 72 01 69 01 6b 09 01 65 01 76 01 70 01 73 01 71 01 68";
const hook: DestinationRecord = {
  id: destination,
  kind: "webhook",
  createdMs: 4,
  url: "u",
  headers: [["n", "v"]],
  secret: "s",
  credentials: {},
  isLeaving: false,
  isFull: true,
};
const stream: DestinationRecord = {
  ...hook,
  kind: "redis",
  headers: [],
  secret: undefined,
  credentials: { user: "a", password: "b", key: "c" },
};
const streamHex = `02 ${destination} 04 04 04 01 75 00 03 00 01 61 01 01 62 05 01 63`;
const destinationHex = `01 ${destination} 00 05 04 01 75 01 01 6e 01 76 01 73`;
const trouble = { sinceMs: 1, atMs: 2, failures: 3, message: "w" };
const part: PartRecord = {
  partNumber: 7,
  blob,
  sizeBytes: 128,
  modifiedMs: 2,
  md5,
  checksum: { algorithm: "crc32c", value: crc },
};
const versioned: HeadRecord = { ...head, version: { order: 129, isNull: false, nullOrder: 3 } };
const withExtras: HeadRecord = {
  ...head,
  tags: new Map([["t", "v"]]),
  retention: { mode: "COMPLIANCE", untilMs: 128 },
  legalHold: true,
};
const encrypted: HeadRecord = {
  ...head,
  encryption: {
    mode: "kms",
    keyId: "k",
    sealed: Buffer.of(7, 8),
    context: new Map([["n", "v"]]),
    hasBucketKey: true,
    inlineTag: Buffer.alloc(16, 0x1a),
  },
};
const renamed: HeadRecord = { ...head, renamed: { token: Buffer.alloc(16, 1), request: Buffer.alloc(16, 2) } };
const noMd5 = "00".repeat(16);
const marker: HeadRecord = {
  sizeBytes: 0,
  modifiedMs: 9,
  etag: noMd5,
  checksum: undefined,
  metadata: { headers: {}, user: {} },
  data: { kind: "marker" },
  epoch: 0,
  stamp: head.stamp,
  version: { order: 4, isNull: true, nullOrder: undefined },
};
const hi = Buffer.from("hi");
const { version: _none, ...unversioned } = marker;
const inline: HeadRecord = { ...unversioned, sizeBytes: 2, data: { kind: "inline" } };
const inlineHex = `01 01 02 09 ${noMd5} 00 00 ${head.stamp} 00 00`;
const pastHex = `01 26 ${inlineHex} 68 69`;
const partHex = `07 ${blob} 80 01 02 ${md5} 03 01 02 03 04`;
const coded = { dataShards: 8, parityShards: 2 };
const chunks: ChunkRecord[] = [
  { id: chunk, rawBytes: 5, storedBytes: 3, blockBytes: [3], redundancy: coded, places: [{ drive, shardIndex: 9 }] },
  { id: chunk, rawBytes: 4, storedBytes: 4, blockBytes: undefined, redundancy: oneCopy, places: [] },
];
const sealedChunks: ChunkRecord[] = [{ ...chunks[0]!, storedBytes: 21, blockBytes: [21], isSealed: true }];
/** What version 1 of a page could say. */
const copies: ChunkRecord[] = [
  { id: chunk, rawBytes: 5, storedBytes: 3, blockBytes: [3], redundancy: oneCopy, places: [{ drive, shardIndex: 0 }] },
  { id: chunk, rawBytes: 4, storedBytes: 4, blockBytes: undefined, redundancy: oneCopy, places: [] },
];
const scrub = { startedMs: 4, after: { chunk, shardIndex: 9 }, ended: { atMs: 5, shards: 6, damaged: 7 } };
const noScrub = { startedMs: undefined, after: undefined, ended: undefined };
const driveRecord = { state: "draining", path: "/d", sizeBytes: 128, addedMs: 5, node: "u" } as const;
const nodeRecord = {
  run: "0102030405060708",
  zone: "a",
  version: "1",
  startedMs: 9,
  workers: 2,
  drives: [
    { id: drive, state: "full", totalBytes: 128, freeBytes: 1, liveBytes: 2, deadBytes: 3, segments: 4 },
  ] as const,
};
const storeRecord = { id: "ab".repeat(16), root: { accessKey: "k", secretKey: "s" } };
const stray = { blob, page: 258, shards: [{ chunk, shardIndex: 9 }] };
const progress = { session, startedMs: 4, atMs: 5, doneBytes: 128, leftBytes: 6 };
const configuration = { modifiedMs: 128, document: Buffer.from("<a/>") };
function lockHex(rule: string): string {
  const text =
    '<?xml version="1.0" encoding="UTF-8"?>\n' +
    '<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' +
    `<ObjectLockEnabled>Enabled</ObjectLockEnabled>${rule}</ObjectLockConfiguration>`;
  return Buffer.from(text).toString("hex");
}
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
const oldBucket: BucketRecord = {
  ...newBucketSettings,
  id: bucket,
  createdMs: 9,
  region: "here",
  state: "deleting",
  epoch: 3,
};
const secondBucket: BucketRecord = { ...oldBucket, redundancy: { dataShards: 4, parityShards: 2 } };
const bucketRecord: BucketRecord = {
  ...secondBucket,
  versioning: "suspended",
  objectLock: true,
  configured: 130,
  revision: 5,
  account: "12",
};
const quotaBucket: BucketRecord = {
  ...oldBucket,
  quota: { bytesMax: 128, objectsMax: undefined, isCounted: true, account: "joined" },
};
const accountQuota: AccountQuotaRecord = { bytesMax: undefined, objectsMax: 5, isCounted: false };
const open: UploadRecord = { state: { kind: "open" }, startedMs: 4, metadata: plain, checksum: undefined };
const acl: HeadRecord["acl"] = {
  owner: "o",
  grants: [
    { grantee: { kind: "account", id: "g" }, permission: "READ" },
    { grantee: { kind: "group", group: "AllUsers" }, permission: "FULL_CONTROL" },
  ],
};
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
  versionId: undefined,
};
const bucketHex = `${bucket} 01 03 09 04 68 65 72 65`;
const finishedHex = `01 ${bucket} 01 6b ac 02 01 65 01 ${"f1".repeat(32)} 02`;
const headHex = `01 0e ac 02 01 ${md5} 02 82 01 02 03 04 07 47 4c 41 43 49 45 52 05 ${head.stamp} ${blob} ` + plainHex;

type Row = readonly [name: string, hex: string, bytes: Buffer, decoded: unknown, record: unknown];

const repair: RepairRecord = { damaged: [3, 129], incomplete: [4] };
const balance: BalanceRecord = {
  isSettled: true,
  drives: [{ id: drive, weightBytes: 128, domain: domainOf("z", "n") }],
};
const mend: MendRecord = { bytes: 256, leaving: [drive], positions: [3, 129] };
const copying = { state: "moved", copy: "c1".repeat(16), store: "1d".repeat(16), startedMs: 128, other: "e" } as const;

const keyring: KeyringRecord = {
  master: "3a".repeat(8),
  versions: [
    { createdMs: 128, sealed: Buffer.of(7) },
    { createdMs: 129, sealed: Buffer.of(8, 9) },
  ],
};

const records: readonly Row[] = [
  row("keyring", `01 ${keyring.master} 02 80 01 01 07 81 01 02 08 09`, encodeKeyring(keyring), decodeKeyring, keyring),
  row("copying", `01 02 ${copying.copy} ${copying.store} 80 01 01 65`, encodeCopying(copying), decodeCopying, copying),
  row(
    "bucket",
    `03 ${bucketHex} 04 02 02 01 82 01 05 02 31 32`,
    encodeBucket(bucketRecord),
    decodeBucket,
    bucketRecord,
  ),
  row(
    "bucket without settings",
    `03 ${bucketHex} 00 00 00 00 00 00 00`,
    encodeBucket(oldBucket),
    decodeBucket,
    oldBucket,
  ),
  row(
    "bucket with a quota",
    `04 ${bucketHex} 00 00 00 00 00 00 00 81 01 00 01 02`,
    encodeBucket(quotaBucket),
    decodeBucket,
    quotaBucket,
  ),
  row("account quota", "01 00 06 00", encodeAccountQuota(accountQuota), decodeAccountQuota, accountQuota),
  row("gone", "01", encodeGone(), decodeGone, undefined),
  row("scrub", `01 07 04 ${chunk} 09 05 06 07`, encodeScrub(scrub), decodeScrub, scrub),
  row("scrub before the first round", "01 00", encodeScrub(noScrub), decodeScrub, noScrub),
  row("drive", "02 01 02 2f 64 80 01 05 01 75", encodeDrive(driveRecord), decodeDrive, driveRecord),
  row(
    "node",
    `01 01 02 03 04 05 06 07 08 01 61 01 31 09 02 01 ${drive} 01 80 01 01 02 03 04`,
    encodeNode(nodeRecord),
    decodeNode,
    nodeRecord,
  ),
  row("raised", "01 02", encodeRaised(2), decodeRaised, 2),
  row("store", `01 ${"ab".repeat(16)} 01 01 6b 01 73`, encodeStore(storeRecord), decodeStore, storeRecord),
  row("progress", `01 ${session} 04 05 80 01 06`, encodeProgress(progress), decodeProgress, progress),
  row(
    "configuration",
    "01 80 01 04 3c 61 2f 3e",
    encodeConfiguration(configuration),
    decodeConfiguration,
    configuration,
  ),
  row("conversion", "01 04 02 03 02 61 00", encodeConversion(conversion), decodeConversion, conversion),
  row(
    "conversion in the middle of a key",
    "01 04 02 06 01 61 03 61 00 00",
    encodeConversion({ ...newConversion, after: Buffer.from("a"), past: Buffer.from("a\0\0") }),
    decodeConversion,
    { ...newConversion, after: Buffer.from("a"), past: Buffer.from("a\0\0") },
  ),
  row("conversion at its start", "01 04 02 00", encodeConversion(newConversion), decodeConversion, newConversion),
  row("stray", `01 ${blob} 82 02 01 ${chunk} 09`, encodeStray(stray), decodeStray, stray),
  row("repair", "02 02 03 81 01 01 04", encodeRepair(repair), decodeRepair, repair),
  row("balance", `01 01 01 ${drive} ${domainOf("z", "n")} 80 01`, encodeBalance(balance), decodeBalance, balance),
  row("mend", `01 80 02 01 ${drive} 02 03 81 01`, encodeMend(mend), decodeMend, mend),
  row(
    "relocation",
    `01 ${session} 01 ${chunk} 09 ${drive}`,
    encodeRelocation(relocation),
    decodeRelocation,
    relocation,
  ),
  row("head", headHex, encodeHead(head), decodeHead, head),
  row(
    "head of a version",
    `01 1e ${headHex.slice("01 0e ".length)} 81 01 02 03`,
    encodeHead(versioned),
    decodeHead,
    versioned,
  ),
  row(
    "head with extras",
    `01 2e ${headHex.slice("01 0e ".length)} 03 01 05 01 01 74 01 76 02 03 01 80 01 03 00`,
    encodeHead(withExtras),
    decodeHead,
    { ...withExtras, version: undefined },
  ),
  row(
    "head that is encrypted",
    `01 2e ${headHex.slice("01 0e ".length)} 01 04 1c 02 03 01 6b 02 07 08 01 01 6e 01 76 ${"1a".repeat(16)}`,
    encodeHead(encrypted),
    decodeHead,
    { ...encrypted, version: undefined },
  ),
  row(
    "head of a renamed object",
    `01 2e ${headHex.slice("01 0e ".length)} 01 06 20 ${"01".repeat(16)} ${"02".repeat(16)}`,
    encodeHead(renamed),
    decodeHead,
    { ...renamed, version: undefined },
  ),
  row("delete marker", `01 13 00 09 ${noMd5} 00 00 ${head.stamp} 00 00 04 01`, encodeHead(marker), decodeHead, marker),
  row("past", pastHex, encodePast({ head: inline, inline: hi }), decodePast, { head: inline, inline: hi }),
  row("event", eventHex, encodeEvent(event), decodeEvent, event),
  row("event of a removal", removalHex, encodeEvent(removal), decodeEvent, removal),
  row("sequence", "01 ac 02", encodeSequence(300), decodeSequence, 300),
  row("destination", destinationHex, encodeDestination(hook), decodeDestination, hook),
  row("destination with credentials", streamHex, encodeDestination(stream), decodeDestination, stream),
  row("trouble", "01 01 02 03 01 77", encodeTrouble(trouble), decodeTrouble, trouble),
  row("departed destination", "01", encodeDeparted(), decodeDeparted, undefined),
  row("chunk root", "01 01 02 09 01 80 02 05", encodeBlobRoot(chunksRoot), decodeBlobRoot, chunksRoot),
  row("parts root", "01 02 01 90 03 02 80 04 d8 04 00 ac 02", encodeBlobRoot(partsRoot), decodeBlobRoot, partsRoot),
  row(
    "chunk page",
    `02 01 ${drive} 02 ${chunk} 05 03 01 03 08 02 00 02 00 ${chunk} 04 04 00 01 00 00`,
    encodeChunkPage(chunks),
    decodeChunkPage,
    chunks,
  ),
  row(
    "encrypted chunk page",
    `03 01 ${drive} 01 ${chunk} 05 15 01 15 08 02 00 02 00`,
    encodeChunkPage(sealedChunks),
    decodeChunkPage,
    sealedChunks,
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
  row(
    "upload with an ACL",
    `02 00 04 ff ${plainHex} 01 05 09 01 6f 02 00 00 01 67 04 01`,
    uploads.encodeUpload({ ...open, acl }),
    uploads.decodeUpload,
    { ...open, acl },
  ),
  row(
    "upload with extras",
    `02 00 04 ff ${plainHex} 02 01 05 01 01 74 01 76 03 00`,
    uploads.encodeUpload({ ...open, tags: new Map([["t", "v"]]), legalHold: true }),
    uploads.decodeUpload,
    { ...open, tags: new Map([["t", "v"]]), legalHold: true },
  ),
  row(
    "upload with a legal hold that is off",
    `02 00 04 ff ${plainHex} 01 03 01 00`,
    uploads.encodeUpload({ ...open, legalHold: false }),
    uploads.decodeUpload,
    { ...open, legalHold: false },
  ),
  row("object lock", lockHex(""), encodeObjectLock(undefined), decodeObjectLock, undefined),
  row(
    "object lock with a default",
    lockHex("<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Years>128</Years></DefaultRetention></Rule>"),
    encodeObjectLock({ mode: "COMPLIANCE", unit: "Years", count: 128 }),
    decodeObjectLock,
    { mode: "COMPLIANCE", unit: "Years", count: 128 },
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
    "finished with a version",
    `02 ${finishedHex.slice("01 ".length)} 00 02 69 64`,
    uploads.encodeFinished({ ...finished, checksum: undefined, versionId: "id" }),
    uploads.decodeFinished,
    { ...finished, checksum: undefined, versionId: "id" },
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
  const oldDrive = Buffer.from("01 01 02 2f 64 80 01 05".replaceAll(" ", ""), "hex");
  assert.deepEqual(decodeDrive(oldDrive), { ...driveRecord, node: "" });
  assert.deepEqual(decodeBucket(Buffer.from(`01 ${bucketHex}`.replaceAll(" ", ""), "hex")), oldBucket);
  assert.deepEqual(decodeBucket(Buffer.from(`02 ${bucketHex} 04 02`.replaceAll(" ", ""), "hex")), secondBucket);
  assert.deepEqual(decodeRepair(Buffer.from("0102038101", "hex")), { damaged: [3, 129], incomplete: [] });
});

test("a body record is as its page says", () => {
  assert.equal(encodeBody(head.stamp, Buffer.from("hi")).toString("hex"), `01${head.stamp}6869`);
});

test("keys are as their page says", () => {
  const object = Buffer.from("a\0b");
  const escaped = "6100ff620000";
  const expected: readonly [Buffer, string][] = [
    [keys.copyingKey(), "03"],
    [keys.bucketKey("bkt"), "10626b74"],
    [keys.goneKey(bucket), `12${bucket}`],
    [keys.configurationKey(bucket, 13), `11${bucket}0d`],
    [keys.headKey(bucket, object), `20${bucket}610062`],
    [keys.bodyKey(bucket, object), `21${bucket}610062`],
    [keys.pastKey(bucket, object, 2n), `22${bucket}${escaped}fffffffffffffffd`],
    [keys.markerKey(bucket, object), `22${bucket}${escaped}0000000000000000`],
    [keys.blobRootKey(blob), `30${blob}`],
    [keys.blobPageKey(blob, 258), `30${blob}00000102`],
    [keys.repairKey(blob, 258), `32${blob}00000102`],
    [keys.relocationKey(blob, 258), `33${blob}00000102`],
    [keys.hauntedKey(blob, 258, session), `33${blob}00000102${session}`],
    [keys.strayKey(drive), `34${drive}`],
    [keys.strayKey(drive, "aa".repeat(14)), `34${drive}${"aa".repeat(14)}`],
    [keys.scrubKey(drive), `35${drive}`],
    [keys.conversionKey(bucket), `36${bucket}`],
    [balanceKey(), "38"],
    [keys.mendKey(2, 0x0304, blob, 258), `37020304${blob}00000102`],
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
    [keys.namedKey(keys.tags.user, "111122223333", "aB"), "713131313132323232333333336162"],
    [keys.accountKey("111122223333"), "74313131313232323233333333"],
    [keys.accountKey(""), "74"],
    [keys.keyringKey("k"), "756b"],
    [keys.accountKeyKey("111122223333", "AK"), "79313131313232323233333333414b"],
    [keys.accountKeysDoneKey(), "79"],
    [eventKeys.destinationKey("hook"), "a0686f6f6b"],
    [eventKeys.eventKey(destination, { slot: 0x0102, place: 3 }), `a1${destination}01020000000000000003`],
    [eventKeys.sequenceKey(0x0102), "a20102"],
    [eventKeys.queuedKey(destination, session), `a3${destination}${session}`],
    [
      eventKeys.undeliveredKey(destination, 5, { slot: 0x0102, place: 3 }),
      `a4${destination}00000000000501020000000000000003`,
    ],
    [eventKeys.departedKey(destination), `a5${destination}`],
    [eventKeys.troubleKey(destination), `a6${destination}`],
    [keys.storeKey(), "01"],
    [keys.raisedKey(), "02"],
    [keys.nodeKey("http://n:1"), "90687474703a2f2f6e3a31"],
    [keys.jobKey("trash"), "807472617368"],
    [keys.progressKey("trash"), "817472617368"],
  ];
  for (const [key, hex] of expected) assert.equal(key.toString("hex"), hex);
});

test("the bits of a bucket's row are the kinds of its documents", () => {
  const configured = withConfiguration(withConfiguration(0, "cors", true), "replication", true);
  assert.deepEqual([configured, configuredKinds(configured), configuredKinds(0)], [0x4002, [1, 14], []]);
  assert.equal(withConfiguration(withConfiguration(configured, "cors", false), "policy", false), 0x4000);
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

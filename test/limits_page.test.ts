/** docs/limits.md says of each bound what src/core/limits.ts has. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { limits as of } from "../src/core/limits.ts";

const count = (value: number): string => value.toLocaleString("en-US");

function bytes(value: number): string {
  const power = Math.floor(Math.log2(value) / 10);
  return `${value / 1024 ** power} ${["bytes", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

const seconds = (valueMs: number): string => `${valueMs / 1000} s`;
const minutes = (valueMs: number): string => `${valueMs / 60_000} minutes`;
const hours = (valueMs: number): string => `${valueMs / 3_600_000} hours`;
const days = (valueMs: number): string => `${valueMs / 86_400_000} days`;

/** How a row begins → what its limit says, in this order. */
const rows: Readonly<Record<string, readonly string[]>> = {
  "bucket name": [`${of.bucketNameCharsMin} to ${of.bucketNameCharsMax} characters`],
  buckets: [count(of.bucketsMax)],
  "object key": [`1 to ${count(of.objectKeyBytesMax)} bytes`, `${of.objectKeyNulBytesMax} of them NUL`],
  "user metadata": [bytes(of.userMetadataBytesMax)],
  "object in one PUT": [bytes(Math.min(of.putBytesMax, of.partBytesMax, of.copyBytesMax))],
  "part of a multipart upload": [bytes(of.partBytesMin)],
  parts: [count(of.partsMax)],
  "appends to an object": [`${count(of.partsMax)} parts`, `${of.partsMapDepthMax}`],
  object: [bytes(of.objectBytesMax)],
  "page of a listing": [count(Math.max(of.listPageKeysMax, of.deleteObjectsMax))],
  "keys changed at once": [`${of.commitEntriesMax} entries`],
  "body in a commit": [bytes(of.inlineBytesMax)],
  "client token": [`${of.clientTokenCharsMax} characters`],
  "request target": [
    bytes(of.requestTargetBytesMax),
    `${of.headersMax}`,
    bytes(of.requestTargetBytesMax + of.headersBytesMax),
  ],
  "XML request body": [bytes(of.xmlBodyBytesMax), `${of.xmlDepthMax} levels`, `${count(of.xmlElementsMax)} elements`],
  "configuration document": [bytes(of.configurationBytesMax)],
  "fields of a browser's form": [`${of.postFieldsMax}`, bytes(of.postFieldsBytesMax)],
  "file of such a form": [bytes(of.postTextFileBytesMax)],
  "notification rules": [`${of.notificationRulesMax}`, `${of.destinationsOfBucketMax}`, `${of.destinationsMax}`],
  "an event that": [hours(of.deliveryTriedMsMax), days(of.undeliveredKeptMs)],
  "events kept": [count(of.eventsKeptMax)],
  "lines of access logs": [bytes(of.accessLogBytesMax), `${of.accessLogAttemptsMax}`],
  "CORS rules": [`${of.corsRulesMax}`, `${of.routingRulesMax}`],
  "lifecycle rules": [count(of.lifecycleRulesMax), `${of.lifecycleIdCharsMax}`, `${of.newerNoncurrentVersionsMax}`],
  "default retention": [`${count(of.defaultRetentionDaysMax)} days`, `${of.defaultRetentionYearsMax} years`],
  "tags of a bucket": [`${of.bucketTagsMax}`, `${of.objectTagsMax}`, `${of.tagNameCharsMax}`, `${of.tagValueCharsMax}`],
  "clock difference": [minutes(of.clockSkewMsMax)],
  "life of a presigned URL": [days(of.presignedSecondsMax * 1000)],
  "a body, either way, that moves nothing": [seconds(of.bodyIdleTimeoutMs)],
  "a body, either way, that moves less than 1 KiB/s": [seconds(of.bodyPaceWindowMs)],
  "requests at once": [count(of.requestsInFlightMax)],
  "uploads at once": [
    `first ${of.fullChunkBuffersBytesMax / of.chunkBytesMax}`,
    bytes(of.chunkBytesMax),
    bytes(of.smallChunkBytes),
  ],
  redundancy: [`replica:${of.parityShardsMax + 1}`, `ec:${of.dataShardsMax}+${of.parityShardsMax}`],
  "a drive that is away": [minutes(of.driveAwayMsMax), days(of.driveAwaySecondsMax * 1000)],
  "cluster secret": [`${of.clusterSecretCharsMin} to ${count(of.clusterSecretCharsMax)} characters`],
  "id of an encryption key": [
    `${of.encryptionKeyIdCharsMax} letters`,
    count(of.encryptionKeysMax),
    count(of.encryptionKeyVersionsMax),
  ],
  "encryption context": [`${of.encryptionContextPairsMax} pairs`, bytes(of.encryptionContextBytesMax)],
  "name of a zone": [`${of.zoneNameCharsMax} letters`],
  "drives of one node": [count(of.peerDrivesMax)],
  "background work": [`${of.backgroundBytesPerSecond / 1024 ** 3} GiB/s`],
  "what a dead process": [`${of.sweepSettleMs / 1000} seconds`],
  "copies of the metadata": [`1 to ${of.metadataCopiesMax}`],
  connections: [count(of.connectionsMax)],
  "free space kept": [bytes(of.driveReserveBytes)],
  "small objects, copies and new uploads": [bytes(of.metaReusableBytesMin)],
  "repeated CompleteMultipartUpload": [hours(of.finishedUploadKeptMs)],
};

/** Rows whose limit is no number of ours. */
const others = [
  "what a bucket, or an account, may hold",
  "versions of an object",
  "drives that take data, for a write",
  "users, groups, policies, ACLs, access keys",
];

/** First cell → second cell. */
function tableOf(page: string): ReadonlyMap<string, string> {
  const lines = page.split("\n").filter((line) => line.startsWith("| "));
  return new Map(lines.slice(1).map((line) => [line.split(" | ")[0]!.slice(2), line.split(" | ")[1]!]));
}

/** The longest of them that `what` begins with. */
function rowOf(what: string): string | undefined {
  const begins = Object.keys(rows).filter((each) => what.startsWith(each));
  return begins.sort((a, b) => b.length - a.length)[0];
}

test("the page of limits says what limits.ts has, and no row is without its bound", () => {
  const page = readFileSync(new URL("../docs/limits.md", import.meta.url), "utf8");
  const met = new Set<string>();
  const wrong: string[] = [];
  for (const [what, limit] of tableOf(page)) {
    if (others.includes(what)) continue;
    const row = rowOf(what);
    if (row === undefined) {
      wrong.push(`${what}: nothing here says how much that is`);
      continue;
    }
    met.add(row);
    let from = 0;
    for (const piece of rows[row]!) {
      const at = limit.indexOf(piece, from);
      if (at < 0) wrong.push(`${what}: "${limit}" should say ${piece}`);
      else from = at + piece.length;
    }
  }
  assert.deepEqual(wrong, []);
  assert.deepEqual(
    Object.keys(rows).filter((row) => !met.has(row)),
    [],
  );
});

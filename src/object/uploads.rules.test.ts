import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import { hasReason, type ErrorReason } from "../core/errors.ts";
import type { BlobId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { PartRecord } from "../meta/blobs.ts";
import type { DigestAlgorithm, Digests } from "../digest/digest.ts";
import {
  checkChecksumChoice,
  checkPartNumber,
  defaultChecksumType,
  judgeCompletion,
  type ChecksumChoice,
  type CompletionRequest,
} from "./uploads.rules.ts";

const hash = (name: string, bytes: Uint8Array): Buffer => createHash(name).update(bytes).digest();

const digests = {
  whole(algorithms: readonly DigestAlgorithm[], bytes: Uint8Array): Digests {
    return Object.fromEntries(
      algorithms.map((name) => {
        if (name !== "crc32") return [name, hash(name, bytes)];
        const value = Buffer.alloc(4);
        value.writeUInt32BE(crc32(bytes));
        return [name, value];
      }),
    );
  },
};

const big = limits.partBytesMin;

function part(partNumber: number, bytes: Buffer, algorithm?: "crc32" | "sha256", sizeBytes = bytes.length): PartRecord {
  const value = algorithm && digests.whole([algorithm], bytes)[algorithm];
  return {
    partNumber,
    blob: partNumber.toString(16).padStart(32, "0") as BlobId,
    sizeBytes,
    md5: hash("md5", bytes).toString("hex"),
    modifiedMs: 0,
    checksum: algorithm && value && { algorithm, value },
  };
}

const asked = (parts: readonly PartRecord[]): CompletionRequest["parts"] =>
  parts.map(({ partNumber, md5, checksum }) => ({
    partNumber,
    etag: md5,
    ...(checksum && { checksum }),
  }));

function judge(present: readonly PartRecord[], request: Partial<CompletionRequest> = {}, choice?: ChecksumChoice) {
  return judgeCompletion(
    { parts: asked(present), ...request },
    { choice, present: new Map(present.map((entry) => [entry.partNumber, entry])), digests },
  );
}

const fails = (reason: ErrorReason, run: () => unknown) =>
  assert.throws(run, (error) => hasReason(error, reason), reason);

void test("the ETag is the MD5 of the parts' MD5s and their number", () => {
  const parts = [part(1, Buffer.alloc(big, 1)), part(3, Buffer.from("end"))];
  const { etag, sizeBytes, checksum } = judge(parts);
  assert.equal(etag, `${hash("md5", Buffer.from(parts.map((entry) => entry.md5).join(""), "hex")).toString("hex")}-2`);
  assert.equal(sizeBytes, big + 3);
  assert.equal(checksum, undefined);
});

void test("a request is refused for the right reason", () => {
  const parts = [part(1, Buffer.alloc(big, 1), "crc32"), part(2, Buffer.from("end"), "crc32")];
  const list = asked(parts);
  fails("invalid_argument", () => judge(parts, { parts: [] }));
  fails("invalid_part_order", () => judge(parts, { parts: list.toReversed() }));
  fails("invalid_part_number", () => judge(parts, { parts: [{ partNumber: 0, etag: "" }] }));
  fails("invalid_part", () => judge(parts, { parts: [...list, { partNumber: 9, etag: "" }] }));
  fails("invalid_part", () => judge(parts, { parts: [list[0]!, { partNumber: 2, etag: "0".repeat(32) }] }));
  const wrong = { algorithm: "crc32" as const, value: Buffer.alloc(4) };
  fails("invalid_part", () => judge(parts, { parts: [list[0]!, { ...list[1]!, checksum: wrong }] }));
  fails("invalid_request", () => judge(parts, { sizeBytes: 5 }));
  fails("entity_too_small", () => judge([part(1, Buffer.from("small")), part(2, Buffer.from("end"))]));
  fails("entity_too_large", () =>
    judge(
      Array.from({ length: 1_025 }, (_, index) => part(index + 1, Buffer.from("x"), undefined, limits.partBytesMax)),
    ),
  );
});

void test("of a part that is named several times in a row, what is said last holds", () => {
  const parts = [part(1, Buffer.alloc(big, 1)), part(2, Buffer.from("end"))];
  const [first, second] = asked(parts);
  const stale = { partNumber: 1, etag: "0".repeat(32) };
  const { etag, parts: taken } = judge(parts, { parts: [stale, first!, second!, second!] });
  assert.deepEqual([etag, taken.map((entry) => entry.partNumber)], [judge(parts).etag, [1, 2]]);
  fails("invalid_part", () => judge(parts, { parts: [first!, stale, second!] }));
  fails("invalid_part_order", () => judge(parts, { parts: [first!, second!, first!] }));
});

void test("only the parts named are taken, and ETags are compared without regard to case", () => {
  const parts = [part(1, Buffer.alloc(big, 1)), part(2, Buffer.from("left")), part(5, Buffer.from("end"))];
  const list = [parts[0]!, parts[2]!].map(({ partNumber, md5 }) => ({
    partNumber,
    etag: md5.toUpperCase(),
  }));
  assert.deepEqual(
    judge(parts, { parts: list }).parts.map((entry) => entry.partNumber),
    [1, 5],
  );
});

void test("a composite checksum is that of the checksums, a full-object one that of the bytes", () => {
  const bytes = [Buffer.alloc(big, 7), Buffer.alloc(big, 8), Buffer.from("tail")];
  const crcs = bytes.map((each, index) => part(index + 1, each, "crc32"));
  const full = digests.whole(["crc32"], Buffer.concat(bytes)).crc32!;
  assert.deepEqual(judge(crcs, {}, { algorithm: "crc32", type: "FULL_OBJECT" }).checksum?.value, full);
  const composite = digests.whole(["crc32"], Buffer.concat(crcs.map((entry) => entry.checksum!.value))).crc32!;
  assert.deepEqual(judge(crcs, {}, { algorithm: "crc32", type: "COMPOSITE" }).checksum?.value, composite);
  const choice = { algorithm: "crc32", type: "FULL_OBJECT" } as const;
  const right = { checksum: { algorithm: "crc32" as const, value: full } };
  assert.deepEqual(judge(crcs, right, choice).checksum?.value, full);
  assert.equal(judge(crcs, { ...right, checksumType: "FULL_OBJECT" }).checksum?.type, "FULL_OBJECT");
  fails("checksum_mismatch", () => judge(crcs, { checksum: { algorithm: "crc32", value: composite } }, choice));
  fails("invalid_request", () => judge(crcs, { checksumType: "COMPOSITE" }, choice));
  fails("invalid_request", () => judge(crcs, { checksum: { algorithm: "sha1", value: full } }, choice));
  fails("invalid_request", () => judge([part(1, Buffer.from("x"))], {}, choice));
});

// AWS wants the checksum of every part in the request; Ceph and we have compared each with its part already.
void test("a composite checksum chosen at the start needs no checksums in the request; those there are must be of its kind", () => {
  const bytes = [Buffer.alloc(big, 7), Buffer.from("tail")];
  const parts = bytes.map((each, index) => part(index + 1, each, "crc32"));
  const full = asked(parts);
  const bare = full.map(({ partNumber, etag }) => ({ partNumber, etag }));
  const composite = { algorithm: "crc32", type: "COMPOSITE" } as const;
  const other = { algorithm: "sha1" as const, value: Buffer.alloc(20) };
  const { checksum } = judge(parts, { parts: full }, composite);
  assert.equal(checksum?.type, "COMPOSITE");
  for (const named of [bare, [full[0]!, bare[1]!]])
    assert.deepEqual(judge(parts, { parts: named }, composite).checksum, checksum);
  assert.throws(
    () => judge(parts, { parts: [full[0]!, { ...bare[1]!, checksum: other }] }, composite),
    /created using a crc32 checksum.* another one for part 2/,
  );
  assert.ok(judge(parts, { parts: bare }, { algorithm: "crc32", type: "FULL_OBJECT" }).checksum);
  assert.equal(judge(parts, { parts: bare }).checksum, undefined, "nothing was chosen at the start");
});

void test("checksum types and part numbers that S3 does not know are refused", () => {
  fails("invalid_request", () => checkChecksumChoice({ algorithm: "sha256", type: "FULL_OBJECT" }));
  fails("invalid_request", () => checkChecksumChoice({ algorithm: "crc64nvme", type: "COMPOSITE" }));
  for (const algorithm of ["sha1", "sha256", "crc32", "crc32c", "crc64nvme"] as const)
    checkChecksumChoice({ algorithm, type: defaultChecksumType(algorithm) });
  checkPartNumber(limits.partsMax);
  for (const wrong of [0, -1, 1.5, limits.partsMax + 1, Number.NaN])
    fails("invalid_part_number", () => checkPartNumber(wrong));
});

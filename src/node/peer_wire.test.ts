import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { AssertionError } from "../core/assert.ts";
import { HoldfastError, hasReason } from "../core/errors.ts";
import type { BlobId, ChunkId, DriveId, RecordId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { DriveStatus, ListedShard, Removal, ShardCopy, ShardRef, VerifyResult } from "./node.ts";
import { decodeError, encodeError, isOutcomeUnknown, peerAway } from "./peer_errors.ts";
import {
  bodyOf,
  checkCall,
  decodeDrives,
  decodeListed,
  decodeRequest,
  decodeStatus,
  decodeVerified,
  encodeArgs,
  encodeDrives,
  encodeListed,
  encodeStatus,
  encodeVerified,
  type PeerRequest,
} from "./peer_wire.ts";

function plain<T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(fields, { noNullPrototype: true });
}

function hex<T>(bytes: number): fc.Arbitrary<T> {
  return fc
    .uint8Array({ minLength: bytes, maxLength: bytes })
    .map((raw) => Buffer.from(raw).toString("hex") as T & string);
}

const drive = hex<DriveId>(8);
const refs: fc.Arbitrary<ShardRef> = plain({ chunk: hex<ChunkId>(16), shardIndex: fc.nat(255) });
const owner = plain({ blob: hex<BlobId>(16), chunkIndex: fc.maxSafeNat() });
const body = fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { minLength: 1, maxLength: 3 });
const range = plain({ offset: fc.nat(limits.chunkBytesMax), length: fc.nat(limits.readBytesPerCall) });
const limit = fc.integer({ min: 1, max: limits.scanEntriesMax });
const owned = fc
  .tuple(refs, owner, fc.nat(limits.chunkBytesMax))
  .map(([ref, owner, storedBytes]) => ({ ...ref, owner, storedBytes }));
const listed: fc.Arbitrary<ListedShard> = fc
  .tuple(owned, hex<RecordId>(8))
  .map(([each, record]) => ({ ...each, record }));
const removals: fc.Arbitrary<Removal> = fc
  .tuple(refs, fc.option(hex<RecordId>(8), { nil: undefined }))
  .map(([ref, record]) => (record === undefined ? ref : { ...ref, record }));

const storedBytes = fc.integer({ min: 1, max: limits.chunkBytesMax });
const copies: fc.Arbitrary<ShardCopy> = fc
  .tuple(refs, owner, storedBytes, plain({ drive, shardIndex: fc.nat(255) }))
  .map(([ref, owner, storedBytes, from]) => ({ ...ref, owner, storedBytes, from }));

const requests: fc.Arbitrary<PeerRequest> = fc.oneof(
  fc
    .tuple(drive, refs, owner, body)
    .map(([drive, ref, owner, body]) => ({ call: "append" as const, drive, shard: { ...ref, owner, body } })),
  plain({ call: fc.constant("read" as const), drive, ref: refs, range }),
  plain({ call: fc.constant("copy" as const), drive, shard: copies }),
  plain({ call: fc.constant("record" as const), drive, ref: refs, storedBytes }),
  plain({ call: fc.constant("remove" as const), drive, shards: fc.array(removals, { maxLength: 20 }) }),
  plain({ call: fc.constant("list" as const), drive, after: fc.option(refs, { nil: undefined }), limit }),
  plain({ call: fc.constant("verify" as const), drive, ref: refs }),
  plain({ call: fc.constant("discard" as const), drive, ref: refs }),
  plain({ call: fc.constant("status" as const), drive }),
  plain({ call: fc.constant("drives" as const) }),
);

const isInvalid = (error: unknown): boolean => hasReason(error, "invalid_request");

test("every call comes over as it was", () => {
  fc.assert(
    fc.property(requests, (request) => {
      const bytes = bodyOf(request);
      const length = bytes.reduce((sum, piece) => sum + piece.length, 0);
      const call = checkCall(request.call, length);
      assert.deepEqual(decodeRequest(call, encodeArgs(request), bytes), request);
    }),
  );
});

const callNames = ["append", "copy", "read", "record", "remove", "list", "verify", "discard", "status", "drives"];

test("arguments that are no call's are refused, and never anything else", () => {
  const names = fc.constantFrom(...callNames);
  fc.assert(
    fc.property(names, fc.uint8Array({ maxLength: 80 }), fc.array(fc.uint8Array()), (name, args, pieces) => {
      try {
        const request = decodeRequest(checkCall(name, name === "append" ? 1 : 0), args, pieces);
        assert.deepEqual(encodeArgs(request).length <= args.length, true);
      } catch (error) {
        assert.ok(isInvalid(error), String(error));
      }
    }),
  );
});

test("bounds of a call are held", () => {
  for (const [name, bytes] of [
    ["append", 0],
    ["append", limits.chunkBytesMax + 1],
    ["remove", 26 * limits.peerRemoveRefsMax + 1],
    ["read", 1],
    ["copy", 1],
    ["record", 1],
    ["compact", 0],
    ["constructor", 0],
    ["", 0],
  ] as const)
    assert.throws(() => checkCall(name, bytes), isInvalid, name);
  const [chunk, id] = ["00".repeat(16) as ChunkId, "00".repeat(8) as DriveId];
  const ref = { chunk, shardIndex: 0 };
  const owner = { blob: "00".repeat(16) as BlobId, chunkIndex: 0 };
  const from = { drive: id, shardIndex: 1 };
  const tooMuch: PeerRequest[] = [
    { call: "read", drive: id, ref, range: { offset: 0, length: limits.readBytesPerCall + 1 } },
    { call: "read", drive: id, ref, range: { offset: limits.chunkBytesMax + 1, length: 0 } },
    { call: "record", drive: id, ref, storedBytes: 0 },
    { call: "record", drive: id, ref, storedBytes: limits.chunkBytesMax + 1 },
    { call: "copy", drive: id, shard: { ...ref, owner, storedBytes: limits.chunkBytesMax + 1, from } },
    { call: "list", drive: id, after: undefined, limit: limits.scanEntriesMax + 1 },
    { call: "list", drive: id, after: undefined, limit: 0 },
  ];
  for (const each of tooMuch) assert.throws(() => decodeRequest(each.call, encodeArgs(each), []), isInvalid);
  assert.throws(
    () => decodeRequest("remove", encodeArgs({ call: "remove", drive: id, shards: [] }), [chunk19]),
    isInvalid,
  );
  const many = Buffer.alloc(18 * (limits.peerRemoveRefsMax + 1));
  assert.throws(() => decodeRequest("remove", Buffer.alloc(8), [many]), isInvalid);
});

const chunk19 = Buffer.alloc(19);

test("every result comes over as it was", () => {
  const figures = plain({
    totalBytes: fc.maxSafeNat(),
    freeBytes: fc.maxSafeNat(),
    liveBytes: fc.maxSafeNat(),
    deadBytes: fc.maxSafeNat(),
    segments: fc.nat(),
  });
  const states = fc.constantFrom("up" as const, "full" as const, "failed" as const);
  const status: fc.Arbitrary<DriveStatus> = fc
    .tuple(drive, fc.string({ unit: "grapheme" }), states, figures)
    .map(([id, path, state, rest]) => ({ id, path, state, ...rest }));
  const verified: fc.Arbitrary<VerifyResult> = fc
    .tuple(owned, fc.constantFrom("good" as const, "corrupt" as const, "missing" as const), fc.string())
    .map(([each, outcome, why]) => (outcome === "corrupt" ? { ...each, outcome, why } : { ...each, outcome }));
  fc.assert(
    fc.property(
      fc.array(listed, { maxLength: 30 }),
      status,
      verified,
      fc.array(drive),
      (page, status, verified, drives) => {
        assert.deepEqual(decodeListed(encodeListed(page)), page);
        assert.deepEqual(decodeStatus(encodeStatus(status)), status);
        assert.deepEqual(decodeVerified(encodeVerified(verified)), verified);
        assert.deepEqual(decodeDrives(encodeDrives(drives)), drives);
      },
    ),
  );
});

test("results that are none are refused, and make nothing large", () => {
  const decoders = [decodeListed, decodeStatus, decodeVerified, decodeDrives];
  fc.assert(
    fc.property(fc.constantFrom(...decoders), fc.uint8Array({ maxLength: 60 }), (decode, bytes) => {
      try {
        decode(bytes);
      } catch (error) {
        assert.ok(isInvalid(error), String(error));
      }
    }),
  );
});

test("errors come over with reason, message and details; assertions as assertions", () => {
  const given = new HoldfastError("drive_full", "Drive x is full.", { details: { drive: "x", left: 3 } });
  const back = decodeError(encodeError(given));
  assert.ok(hasReason(back, "drive_full"));
  assert.deepEqual([back.message, back.details], [given.message, given.details]);
  const assertion = decodeError(encodeError(new AssertionError("a shard is appended once")));
  assert.ok(assertion instanceof AssertionError);
  assert.equal(assertion.message, "a shard is appended once");
  assert.ok(hasReason(decodeError(encodeError(new TypeError("of the inside"))), "internal"));
});

test("a reason that this build does not know is `unavailable`", () => {
  for (const reason of ["drive_fell", "constructor", "toString", "__proto__"]) {
    const error = new HoldfastError(reason as "internal", "From the future.");
    const back = decodeError(encodeError(error));
    assert.ok(hasReason(back, "unavailable"), reason);
    assert.equal(back.message, "From the future.");
  }
});

test("whether an append may have been done can be told", () => {
  const why = "did not answer in time";
  assert.equal(isOutcomeUnknown(peerAway({ peer: "b", why, isOutcomeUnknown: true })), true);
  const error = peerAway({ peer: "b", why, isOutcomeUnknown: false });
  assert.equal(isOutcomeUnknown(error), false);
  assert.equal(error.message, "Node b did not answer in time.");
  assert.equal(error.kind, "unavailable");
});

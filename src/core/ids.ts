/**
 * Branded identifiers. All are lower-case hex strings in memory and raw bytes on disk, so that their order as strings
 * is their order as keys.
 *
 *   SessionId  8 bytes: 6 of Unix milliseconds, 2 random; taken by a commit that fails if it exists already
 *   BlobId    16 bytes: the session that wrote it, then a counter of that session
 *   ChunkId   16 bytes: the session that wrote it, then a counter of that session
 *   BucketId   8 bytes: random; a bucket deleted and made again has another id
 *   UploadId  16 bytes: 6 of Unix milliseconds, 10 random
 *   DriveId    8 bytes: random, made when the drive is first opened
 *   RecordId   8 bytes: random; drawn when a drive takes a shard in, and anew when the shard there is taken over
 *   DestinationId  8 bytes: random; a destination of events that is removed and added again has another id
 */
import { assert } from "./assert.ts";
import type { Clock } from "./clock.ts";
import type { Random } from "./random.ts";

declare const brand: unique symbol;
type Id<Name extends string> = string & { readonly [brand]: Name };

export type SessionId = Id<"session">;
export type BlobId = Id<"blob">;
export type ChunkId = Id<"chunk">;
export type BucketId = Id<"bucket">;
export type UploadId = Id<"upload">;
export type DriveId = Id<"drive">;
export type RecordId = Id<"record">;
export type DestinationId = Id<"destination">;

type AnyId = SessionId | BlobId | ChunkId | BucketId | UploadId | DriveId | DestinationId;

export const SESSION_ID_BYTES = 8;
export const BLOB_ID_BYTES = 16;
export const CHUNK_ID_BYTES = 16;
export const BUCKET_ID_BYTES = 8;
export const UPLOAD_ID_BYTES = 16;
export const DRIVE_ID_BYTES = 8;
export const RECORD_ID_BYTES = 8;
export const DESTINATION_ID_BYTES = 8;

export function idBytes(id: AnyId): Buffer {
  return Buffer.from(id, "hex");
}

/** Reads an id back from `length` bytes. The caller says which brand the bytes have. */
export function idFromBytes<T extends AnyId>(bytes: Uint8Array): T {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex") as T;
}

function timed(clock: Clock, random: Random, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  bytes.writeUIntBE(clock.nowMs(), 0, 6);
  bytes.set(random.bytes(lengthBytes - 6), 6);
  return bytes;
}

export function newSessionId(clock: Clock, random: Random): SessionId {
  return timed(clock, random, SESSION_ID_BYTES).toString("hex") as SessionId;
}

export function newUploadId(clock: Clock, random: Random): UploadId {
  return timed(clock, random, UPLOAD_ID_BYTES).toString("hex") as UploadId;
}

export function newBucketId(random: Random): BucketId {
  return Buffer.from(random.bytes(BUCKET_ID_BYTES)).toString("hex") as BucketId;
}

export function newDriveId(random: Random): DriveId {
  return Buffer.from(random.bytes(DRIVE_ID_BYTES)).toString("hex") as DriveId;
}

export function newRecordId(random: Random): RecordId {
  return Buffer.from(random.bytes(RECORD_ID_BYTES)).toString("hex") as RecordId;
}

export function newDestinationId(random: Random): DestinationId {
  return Buffer.from(random.bytes(DESTINATION_ID_BYTES)).toString("hex") as DestinationId;
}

/** The session that wrote a blob or a chunk. */
export function sessionOf(id: BlobId | ChunkId): SessionId {
  return id.slice(0, SESSION_ID_BYTES * 2) as SessionId;
}

/**
 * Hands out blob and chunk ids of one session. Counters start at 1 and are never reused within a session; a second source of
 * the same session begins far behind, where the first one never gets.
 */
export class IdSource {
  readonly session: SessionId;
  #next: number;

  constructor(session: SessionId, after = 0) {
    assert(session.length === SESSION_ID_BYTES * 2, "a session id has 8 bytes");
    this.session = session;
    this.#next = after;
  }

  /** Another source of the session, with 65,536 ids of its own for each time that it is asked for one so. */
  static behind(session: SessionId, random: Random): IdSource {
    return new IdSource(session, 2 ** 48 + random.below(2 ** 32) * 2 ** 16);
  }

  #take(): string {
    this.#next += 1;
    return this.session + this.#next.toString(16).padStart(16, "0");
  }

  blob(): BlobId {
    return this.#take() as BlobId;
  }

  chunk(): ChunkId {
    return this.#take() as ChunkId;
  }
}

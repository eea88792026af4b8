/**
 * Every bound of Holdfast in one place, with the relations between them asserted when the module loads.
 * A bound that AWS documents is AWS's own; the others are ours, and docs/limits.md lists them for users.
 */
import { assert } from "./assert.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;
const TiB = 1024 * GiB;

export const limits = {
  // --- names (S3) ---
  bucketNameCharsMin: 3,
  bucketNameCharsMax: 63,
  bucketsMax: 100_000,
  objectKeyBytesMax: 1_024,
  /** NUL bytes in one key; each costs a second byte in keys that carry a suffix (see metaKeyBytesMax). */
  objectKeyNulBytesMax: 512,
  /** Names and values of x-amz-meta-* headers together (S3). */
  userMetadataBytesMax: 2 * KiB,
  /** Each of Content-Type, Content-Disposition, Cache-Control …; all of them together with user metadata fit a record. */
  contentHeaderBytesMax: 2 * KiB,

  /** A file name of the plain file API (UTF-8); its key is an id of 32 characters, a slash and the name. */
  fileNameBytesMax: 512,
  /** Files in one form of the plain file API. */
  formFilesMax: 100,

  // --- objects (S3) ---
  putBytesMax: 5 * GiB,
  copyBytesMax: 5 * GiB,
  partBytesMin: 5 * MiB,
  partBytesMax: 5 * GiB,
  partsMax: 10_000,
  objectBytesMax: 5 * TiB,
  listPageKeysMax: 1_000,
  deleteObjectsMax: 1_000,

  // --- metadata store (the smallest driver decides) ---
  metaKeyBytesMax: 1_700,
  metaValueBytesMax: 128 * KiB,
  commitOperationsMax: 512,
  commitBytesMax: 1 * MiB,
  scanEntriesMax: 2_000,
  /** Commits that may wait in one process's metadata driver; the next one is refused with slow_down. */
  commitQueueMax: 16_384,
  /** Drives that keep a copy of the embedded metadata store. */
  metadataCopiesMax: 7,
  /** Bytes that the metadata store can use again before its file grows, from which on a full drive takes small objects. */
  metaReusableBytesMin: 8 * MiB,
  /** Free bytes below which a write error of the metadata store is taken for lack of space. */
  fullFileSystemBytes: 4 * MiB,
  /** Connections of one process to PostgreSQL: for batches of commits, and for reads. */
  postgresCommitConnectionsMax: 2,
  postgresReadConnectionsMax: 4,
  postgresConnectMsMax: 5_000,
  /** What the engine itself allows one statement (waiting for locks and replicas included); then it gives it up. */
  postgresStatementMsMax: 10_000,
  /** An answer that takes longer than this is not waited for: the connection is given up. */
  postgresAnswerMsMax: 12_000,
  /** While the engine is away calls wait for it, in all no longer than this; after that they are refused at once. */
  postgresAwayMsMax: 10_000,
  /** One batch of commits: commits, and their keys and values. */
  postgresBatchCommitsMax: 512,
  postgresBatchBytesMax: 8 * MiB,
  /** Commits put off to a later batch, because they meet rows of this one, before no more are looked through. */
  postgresHeldCommitsMax: 1_024,
  /** Times a batch that the engine gave up (a deadlock, a failed serialization) is sent again. */
  postgresBatchAttemptsMax: 8,
  /** Gets and scans that may wait in one process; keys asked for in one round trip. */
  postgresReadQueueMax: 16_384,
  postgresReadKeysMax: 1_024,
  /** What every member of an etcd cluster must accept: `--max-txn-ops` and `--max-request-bytes`. */
  etcdTxnOperations: 1_024,
  etcdRequestBytes: 4 * MiB,
  /** Several commits in one request to etcd. */
  etcdBatchBytesMax: 2 * MiB,
  /** Keys in one read of etcd. */
  etcdReadKeysMax: 256,
  /** Counter rows whose last value is remembered, so that adding to them needs no read. */
  etcdCountersMax: 4_096,
  /** Times a commit meets counters that another process has changed. */
  etcdCounterAttemptsMax: 100,
  /** A read, all attempts together, and one attempt of it. */
  etcdReadMsMax: 10_000,
  etcdReadAttemptMsMax: 3_000,
  /** A write: longer than etcd itself waits for it (7 seconds). */
  etcdWriteMsMax: 10_000,
  /** How long a commit may wait for earlier ones before it is sent. */
  etcdWaitMsMax: 10_000,
  /** How often it is asked whether a full database has room again. */
  etcdFullPauseMs: 1_000,
  /** Superseded states of the store are dropped this often; the younger ones are kept. */
  etcdCompactionMs: 5 * 60_000,
  transactAttemptsMax: 200,
  transactMsMax: 30_000,

  // --- blobs and chunks ---
  /** A body up to this size lives in its metadata record. */
  inlineBytesMax: 16 * KiB,
  chunkBytesMax: 4 * MiB,
  /**
   * Raw bytes of one compression block: the least a range read has to decompress. No row bears it, so it is part of the
   * format of chunk pages (docs/formats/records.md): another size needs another version of them.
   */
  compressionBlockBytes: 128 * KiB,
  /** Chunk references in one page of a chunk map. */
  chunkMapPageEntries: 256,
  /** Part references in one page of a multipart map. */
  partMapPageEntries: 512,
  /** Chunks one writing stream may have under way (one fills while others are being stored). */
  writeChunksInFlightMax: 2,
  /** Bytes of chunk buffers in one process, all writing streams together. */
  chunkBuffersBytesMax: 256 * MiB,
  /** What streams with chunks of full size may claim of them; streams beyond that are cut into smaller chunks. */
  fullChunkBuffersBytesMax: 128 * MiB,
  /** Bytes of such a smaller chunk. */
  smallChunkBytes: 512 * KiB,
  /** Shards of one chunk: `replica:1` to `replica:9`, `ec:2+1` to `ec:16+8`. */
  dataShardsMax: 16,
  parityShardsMax: 8,
  /** A chunk stored in so few bytes is kept in whole copies, as many as survive the same losses: a shard is not worth it. */
  copiedChunkBytesMax: 64 * KiB,
  /** Bytes of a buffer in which a full chunk and its parity shards lie; chunks are cut smaller where that is more. */
  chunkRoomBytesMax: 8 * MiB,
  /** Chunks whose missing shards one process computes at once, each held whole until it is read. */
  recoveriesMax: 16,
  /** Matrices of the erasure code kept in memory, one for each code and set of lost shards; up to 5 KiB each. */
  erasureMatricesMax: 512,
  /** Bytes one reading stream may have read ahead. */
  readAheadBytesMax: 2 * MiB,
  readBytesPerCall: 512 * KiB,

  // --- drives ---
  segmentBytesMax: 512 * MiB,
  /** Stored bytes covered by one checksum in a segment. */
  segmentBlockBytes: 64 * KiB,
  /** Bytes gathered into one vectored write. */
  appendBatchBytesMax: 16 * MiB,
  appendQueueBytesMax: 256 * MiB,
  openSegmentsMax: 256,
  /** Free bytes below which a drive takes no new data (or 1 % of the drive if that is less, but always half a segment). */
  driveReserveBytes: 512 * MiB,

  // --- HTTP ---
  requestTargetBytesMax: 16 * KiB,
  headersBytesMax: 32 * KiB,
  headersMax: 200,
  xmlBodyBytesMax: 4 * MiB,
  xmlDepthMax: 16,
  xmlElementsMax: 100_000,
  connectionsMax: 10_000,
  /** Requests one worker runs at once; the next ones are answered 503 SlowDown. */
  requestsInFlightMax: 1_024,
  workersMax: 64,
  headersTimeoutMs: 30_000,
  /** A body (either way) that moves no byte for this long is given up. */
  bodyIdleTimeoutMs: 60_000,
  /** A body must move this fast, on average over each window in which it is the client's turn. */
  bodyBytesPerSecondMin: 1 * KiB,
  bodyPaceWindowMs: 60_000,
  keepAliveTimeoutMs: 75_000,
  /** What is read and dropped of a refused request's body, and for how long, before its connection is closed. */
  lingerBytesMax: 4 * MiB,
  lingerMsMax: 2_000,
  gracefulStopMsMax: 30_000,
  /** Signature V4 (S3): a header-signed request may be off by this much; a presigned one lives at most this long. */
  clockSkewMsMax: 15 * 60_000,
  presignedSecondsMax: 7 * 24 * 3_600,
  /** Derived signing keys kept in memory. */
  signingKeysMax: 1_024,
  awsChunkHeaderBytesMax: 1 * KiB,
  trailersBytesMax: 4 * KiB,

  // --- between nodes ---
  clusterSecretCharsMin: 32,
  clusterSecretCharsMax: 1_024,
  /** Connections of one process to one peer, each with one call at a time, and calls that may wait for one. */
  peerConnectionsMax: 16,
  peerQueueMax: 2_048,
  /** Until a peer has taken a connection (TLS included) and both have proven the secret; and a call, waiting included. */
  peerConnectMsMax: 3_000,
  peerCallMsMax: 20_000,
  /** A peer that failed is tried again after this, and ever later while it goes on failing. */
  peerRetryMsMin: 100,
  peerRetryMsMax: 5_000,
  /** Refs in one call that removes. */
  peerRemoveRefsMax: 2_048,
  /** Drives of one node. */
  peerDrivesMax: 1_024,
  /** What one process has under way for all other nodes together: calls, and bytes of their bodies; for one node. */
  peerCallsInFlightMax: 512,
  peerBodyBytesInFlightMax: 128 * MiB,
  callsOfOnePeerInFlightMax: 256,
  /** Refused secrets and seals are logged once for each address in this time, for so many addresses. */
  peerRefusalLogMs: 60_000,
  peerRefusalAddressesMax: 256,

  // --- sessions and jobs ---
  heartbeatIntervalMs: 1_000,
  /** A session whose heartbeat row stood still this long is fenced (by a transaction; the time only starts it). */
  sessionSilentMsMax: 30_000,
  jobBatchMax: 256,
  /** A drive that is away this long is given up: what lay on it is made anew on others. */
  driveAwayMsMax: 10 * 60_000,
  /** Every shard is re-read and checked; a drive's next round begins this long after the last one ended, at this rate. */
  scrubIntervalMs: 7 * 24 * 3_600_000,
  scrubBytesPerSecond: 16 * MiB,
  /** How long a finished upload is remembered, so that a repeated CompleteMultipartUpload gets the same answer. */
  finishedUploadKeptMs: 24 * 3_600_000,
} as const;

assert(limits.inlineBytesMax + 1 * KiB < limits.metaValueBytesMax, "an inline body fits a metadata value");
assert(limits.metaValueBytesMax < limits.commitBytesMax, "a metadata value fits a commit");
assert(
  limits.objectKeyBytesMax + limits.objectKeyNulBytesMax + 64 <= limits.metaKeyBytesMax,
  "an escaped object key with its prefix and suffix fits a metadata key",
);
assert(
  limits.metaKeyBytesMax <= 2_600,
  "a metadata key fits a B-tree page of PostgreSQL, of which there are three to a page",
);
assert(limits.postgresBatchBytesMax >= limits.commitBytesMax, "every commit fits a batch of its own");
assert(limits.postgresStatementMsMax < limits.postgresAnswerMsMax, "PostgreSQL gives a statement up before we do");
assert(limits.metaKeyBytesMax <= 1_978, "a metadata key fits LMDB's default");
assert(
  2 * limits.commitOperationsMax <= limits.etcdTxnOperations,
  "the largest commit fits a batch of commits for etcd",
);
assert(
  limits.etcdBatchBytesMax + limits.commitBytesMax < limits.etcdRequestBytes &&
    limits.commitBytesMax + 2 * limits.commitOperationsMax * (limits.metaKeyBytesMax + 256) < limits.etcdRequestBytes,
  "a batch of commits fits a request to etcd, and so does the largest commit, whose checked keys stand in it twice",
);
assert(limits.etcdReadAttemptMsMax < limits.etcdReadMsMax, "a read of etcd has time for a second member");
assert(
  limits.etcdReadMsMax + limits.etcdWriteMsMax < limits.etcdCompactionMs,
  "the state that a read of etcd goes on with is still kept",
);
assert(
  limits.metaReusableBytesMin >= 8 * limits.commitBytesMax,
  "a batch of commits fits what the metadata store can use again when the drive is full",
);
assert(
  limits.fullFileSystemBytes <= limits.chunkBytesMax,
  "the smallest reserve of a drive is more than a full file system has",
);
assert(limits.chunkBytesMax % limits.compressionBlockBytes === 0, "a chunk is a whole number of compression blocks");
assert(
  limits.chunkBytesMax * limits.writeChunksInFlightMax <= limits.chunkBuffersBytesMax,
  "one stream's chunks fit the buffers of the process",
);
assert(
  limits.fullChunkBuffersBytesMax + 128 * limits.smallChunkBytes <= limits.chunkBuffersBytesMax,
  "many slow streams of full chunks leave room for hundreds of others",
);
assert(limits.smallChunkBytes % limits.compressionBlockBytes === 0, "and so is a small chunk");
assert(limits.chunkBytesMax < limits.appendBatchBytesMax, "a chunk fits a batch of appends");
assert(limits.appendBatchBytesMax < limits.appendQueueBytesMax, "a batch fits the queue");
assert(limits.appendBatchBytesMax < limits.segmentBytesMax, "a batch fits a segment");
assert(limits.listPageKeysMax < limits.scanEntriesMax, "one scan can fill a list page and see whether more follows");
assert(limits.partsMax * limits.partBytesMax >= limits.objectBytesMax, "10,000 parts reach the largest object");
assert(
  limits.chunkBytesMax <= limits.chunkRoomBytesMax && limits.chunkRoomBytesMax <= limits.fullChunkBuffersBytesMax,
  "a full chunk fits its room, and the stock has room for one",
);
assert(limits.copiedChunkBytesMax >= limits.dataShardsMax, "no shard of a coded chunk is empty");
assert(
  limits.peerConnectionsMax * limits.chunkBytesMax <= limits.peerBodyBytesInFlightMax,
  "one process of a peer can append full chunks on all its connections",
);
assert(limits.callsOfOnePeerInFlightMax < limits.peerCallsInFlightMax, "no peer takes all places of the others");
assert(limits.peerConnectMsMax < limits.peerCallMsMax, "a call that has to connect has time for the call");
const smallChunksMax = limits.putBytesMax / limits.smallChunkBytes;
/**
 * As meta/chunk_pages.ts writes it: id, two lengths, the lengths of four compression blocks, which shards there are, and for
 * each of 24 shards which of the page's drives (two bytes) it is on.
 */
const chunkRecordBytesMax = 16 + 2 * 3 + 1 + 4 * 3 + 2 + 3 + 2 * (limits.dataShardsMax + limits.parityShardsMax);
assert(
  Math.ceil(smallChunksMax / limits.chunkMapPageEntries) + 16 < limits.commitOperationsMax &&
    smallChunksMax * chunkRecordBytesMax + limits.metaValueBytesMax < limits.commitBytesMax,
  "the chunk map of the largest PUT fits one commit, cut into small chunks too",
);

/**
 * What must hold between the bounds of limits.ts, which has it asserted when it loads: a bound that is changed alone and breaks
 * what another relies on stops every process at its start, and every test.
 */
import { assert } from "./assert.ts";
import type { limits as table } from "./limits.ts";

type Limits = typeof table;

const KiB = 1024;
const MiB = 1024 * KiB;
const TiB = 1024 * 1024 * MiB;

export function assertRelations(limits: Limits): void {
  assertMetadata(limits);
  assertEvents(limits);
  assertChunks(limits);
  assertKeys(limits);
  assertPolicies(limits);
  assertStreams(limits);
  assertNodes(limits);
  assertJobs(limits);
  assertChunkMap(limits);
  assertOidc(limits);
}

function assertOidc(limits: Limits): void {
  assert(limits.webIdentityTokenCharsMax < limits.queryFormBytesMax, "a token of an issuer fits a form");
  assert(limits.oidcFailedMsMin <= limits.oidcRefetchMsMin, "an issuer that is back is not kept waiting the longest");
  assert(limits.oidcRefetchMsMin < limits.oidcKeysKeptMs, "a new key is known before the others are asked for again");
  assert(
    // Addresses and clients are ASCII.
    (1 + limits.oidcClientIdsMax) * (2 + limits.oidcUrlCharsMax) + limits.identityTagsMax * 4 * (128 + 256) + 1 * KiB <
      limits.metaValueBytesMax,
    "an identity provider fits a row",
  );
}

function assertMetadata(limits: Limits): void {
  assert(
    limits.smallPartsAtOnce * limits.smallPartBytesMax <= limits.readAheadBytesMax,
    "small parts that are read at once are no more than what a stream may read ahead",
  );
  assert(limits.inlineBytesMax + 1 * KiB < limits.metaValueBytesMax, "an inline body fits a metadata value");
  assert(limits.metaValueBytesMax < limits.commitBytesMax, "a metadata value fits a commit");
  assert(
    2 * limits.renamedGroupMembersMax + 8 < limits.commitOperationsMax &&
      2 * limits.renamedGroupBytesMax <= limits.commitBytesMax,
    "a group is renamed with its members in one commit",
  );
  assert(
    // A bucket row and counters, and for each: a head and a body row, checked and written, trash, and a due row.
    4 + 5 * limits.commitEntriesMax < limits.commitOperationsMax,
    "as many small objects as one commit has entries can be put where there are no versions",
  );
  assert(limits.configurationBytesMax + 1 * KiB < limits.metaValueBytesMax, "a configuration document fits a row");
  assert(
    limits.objectTagsMax * 4 * (limits.tagNameCharsMax + limits.tagValueCharsMax) + limits.inlineBytesMax <
      limits.metaValueBytesMax / 2,
    "the tags of an object fit its head, and its past row with its bytes",
  );
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
  assert(limits.copyScanRows <= limits.scanEntriesMax, "a page of a copy is one scan");
  assert(limits.copyWatchMs >= 4 * limits.heartbeatIntervalMs, "a session that lives is seen to beat before a copy");
  assert(
    limits.metaReusableBytesMin >= 8 * limits.commitBytesMax,
    "a batch of commits fits what the metadata store can use again when the drive is full",
  );
  assert(
    limits.fullFileSystemBytes <= limits.chunkBytesMax,
    "the smallest reserve of a drive is more than a full file system has",
  );
}

function assertEvents(limits: Limits): void {
  assert(
    2 * limits.destinationsOfBucketMax * limits.eventBytesMax <= limits.metaValueBytesMax,
    "the events of one change take at most half the room that its commit leaves for other rows",
  );
  assert(limits.eventSlots <= 2 ** 16, "a slot is written in two bytes");
  assert(limits.quotasShownMax <= limits.scanEntriesMax, "what quotas are judged by is read at once");
  assert(
    limits.quotaMax + 1_024 * TiB < Number.MAX_SAFE_INTEGER,
    "a counter at its quota, and what is added, are exact",
  );
  assert(limits.eventsAtOnce <= limits.scanEntriesMax, "events are read in one scan");
  assert(2 * limits.eventsAtOnce + 8 <= limits.commitOperationsMax, "what is read at once is taken away at once");
  assert(
    limits.destinationsMax * limits.eventsAtOnce * limits.eventBytesMax <= 64 * MiB,
    "what is read for all destinations fits memory beside everything else",
  );
  assert(
    limits.deliveryMsMax < limits.deliveryPauseMsMax && limits.deliveryPauseMsMax < limits.deliveryTriedMsMax,
    "an event is tried many times before it is put aside",
  );
  assert(
    limits.destinationUrlCharsMax * 3 + 2 * limits.destinationHeaderBytesMax + limits.destinationCredentialBytesMax <=
      limits.metaValueBytesMax / 2,
    "what is known of a destination fits one row",
  );
  assert(limits.courierIdleMs > limits.deliveryMsMax, "a connection is not idle while a message is on its way");
  assert(2 * limits.accessLogObjectBytesMax <= limits.accessLogBytesMax, "a log gathers while another is written");
}

function assertChunks(limits: Limits): void {
  assert(limits.chunkBytesMax % limits.compressionBlockBytes === 0, "a chunk is a whole number of compression blocks");
  assert(
    limits.sealedChunkBytesMax % limits.compressionBlockBytes === 0 &&
      limits.sealedChunkBytesMax + 16 * (limits.sealedChunkBytesMax / limits.compressionBlockBytes) <=
        limits.chunkBytesMax,
    "an encrypted chunk is whole blocks, and with their tags it is no larger than a full chunk",
  );
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
}

function assertKeys(limits: Limits): void {
  assert(
    limits.encryptionKeyVersionsMax * 96 + 1 * KiB < limits.metaValueBytesMax,
    "all versions of a key fit its row",
  );
  assert(
    limits.keyServiceCallsMax + limits.keyServiceCallsWaitingMax < limits.requestsInFlightMax / 2,
    "requests that wait for a key service leave room for the others",
  );
  assert(
    limits.keyServiceAttemptMs < limits.keyServiceCallMs && limits.keyServiceCallMs < limits.bodyIdleTimeoutMs,
    "a call has time for another attempt, and ends before a client gives up",
  );
  assert(
    limits.keyServiceSealedBytesMax + limits.encryptionContextBytesMax + limits.inlineBytesMax <
      limits.metaValueBytesMax / 4,
    "a data key that a key service sealed fits a head",
  );
}

function assertPolicies(limits: Limits): void {
  assert(
    limits.inlinePolicyBytesMax < limits.managedPolicyBytesMax &&
      limits.managedPolicyBytesMax < limits.bucketPolicyBytesMax &&
      limits.bucketPolicyBytesMax + 1 * KiB < limits.metaValueBytesMax,
    "every policy fits a metadata value",
  );
  assert(
    limits.policyVersionsMax * limits.bucketPolicyBytesMax + 8 * KiB < limits.metaValueBytesMax,
    "all versions of a managed policy fit its row, with their white space",
  );
  assert(
    Math.ceil(((limits.sessionRecordBytesMax + 29) * 4) / 3) <= limits.sessionTokenCharsMax,
    "every session fits its token",
  );
  assert(3 * limits.bucketPolicyBytesMax < limits.queryFormBytesMax, "a form holds every policy");
  assert(
    limits.sessionSecondsDefault <= limits.chainedSessionSecondsMax,
    "a session that says nothing may begin from a role",
  );
}

function assertStreams(limits: Limits): void {
  assert(limits.listPageKeysMax < limits.scanEntriesMax, "one scan can fill a list page and see whether more follows");
  assert(limits.partsMax * limits.partBytesMax >= limits.objectBytesMax, "10,000 parts reach the largest object");
  assert(
    limits.chunkBytesMax <= limits.chunkRoomBytesMax && limits.chunkRoomBytesMax <= limits.fullChunkBuffersBytesMax,
    "a full chunk fits its room, and the stock has room for one",
  );
  assert(limits.copiedChunkBytesMax >= limits.dataShardsMax, "no shard of a coded chunk is empty");
  assert(
    limits.hedgesSavedMax >= limits.dataShardsMax,
    "a shard of the widest code can be computed instead of waited for",
  );
  assert(
    limits.lateReadMsMax < limits.hedgeAnywayMs && limits.lateAppendMsMax < limits.hedgeAnywayMs,
    "what is saved up is asked for first",
  );
  assert(limits.hedgeAnywayMs < limits.peerCallMsMax, "another way is tried before a peer's deadline");
  assert(limits.heldReadMsMax < limits.nodeSilentMsMax, "who waits for a node gives up before that counts as away");
  assert(limits.chunkRoomBytesMax <= limits.heldBuffersBytesMax, "a buffer can be held");
}

function assertNodes(limits: Limits): void {
  assert(
    limits.peerConnectionsMax * limits.chunkBytesMax <= limits.peerBodyBytesInFlightMax,
    "one process of a peer can append full chunks on all its connections",
  );
  assert(limits.callsOfOnePeerInFlightMax < limits.peerCallsInFlightMax, "no peer takes all places of the others");
  assert(
    limits.driveStatusMsMax < limits.driveSilentMsMax && limits.driveSilentMsMax < limits.driveAwayMsMax,
    "a drive that says nothing is slow, then failed, then given up",
  );
  assert(2 * limits.topologyMs < limits.nodeSettleMs, "a node is ready when all others have looked since it started");
  assert(
    limits.nodePublishMs + limits.topologyMs < limits.nodeSilentMsMax / 2,
    "a node that misses one write of its row is not away",
  );
  assert(
    limits.peerDrivesMax * (8 + 1 + 5 * 8) + 1 * KiB < limits.metaValueBytesMax,
    "what a node says of its drives fits its row",
  );
  assert(
    limits.peerCallMsMax + limits.recordReadMsMax < limits.sweepSettleMs,
    "no call of an ended session is waited for any more when it is looked through",
  );
  assert(limits.peerConnectMsMax < limits.peerCallMsMax, "a call that has to connect has time for the call");
}

function assertJobs(limits: Limits): void {
  assert(limits.scrubBytesPerSecond < limits.backgroundBytesPerSecond, "a scrub leaves most of it to repair");
  assert(limits.balancedDrivesMax * 24 < limits.metaValueBytesMax, "the drives of a store fit a row");
  assert(
    2 * (limits.mendRowsOfSession + 64) <= limits.scanEntriesMax,
    "what is to be mended in a small store is seen by one scan",
  );
  assert(
    limits.mendRowsOfSession < limits.mendRowsMax && limits.mendRowsMax <= 20 * limits.scanEntriesMax,
    "who plans counts what is planned in a few scans",
  );
  assert(
    limits.commonRowsMsMax < limits.sessionSilentMsMax,
    "the share of a session that has ended does not wait as long as it took to see that it had",
  );
  assert(
    limits.mendsAtOnceMax * limits.chunkBytesMax < limits.recordRoomBytesKept,
    "copies that are made at once find rooms that were used before",
  );
  assert(
    limits.mendsAtOnceMax * 2 * limits.chunkRoomBytesMax <= limits.chunkBuffersBytesMax,
    "what is mended at once takes no more memory than what is written",
  );
}

function assertChunkMap(limits: Limits): void {
  const smallChunksMax = limits.putBytesMax / limits.smallChunkBytes;
  /**
   * As meta/chunk_pages.ts writes it: id, two lengths, the lengths of four compression blocks, which shards there are, and for
   * each of 24 shards which of the page's drives (two bytes) it is on.
   */
  const chunkRecordBytesMax = 16 + 2 * 3 + 1 + 4 * 3 + 2 + 3 + 2 * (limits.dataShardsMax + limits.parityShardsMax);
  assert(
    // Each page may come with a repair row.
    2 * Math.ceil(smallChunksMax / limits.chunkMapPageEntries) + limits.straysPerBlobMax + 16 <
      limits.commitOperationsMax &&
      smallChunksMax * chunkRecordBytesMax + limits.straysPerBlobMax * 96 + limits.metaValueBytesMax <
        limits.commitBytesMax,
    "the chunk map of the largest PUT fits one commit, cut into small chunks too",
  );
}

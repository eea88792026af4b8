/**
 * Every bound of Holdfast in one place, with the relations between them asserted when the module loads.
 * A bound that AWS documents is AWS's own; the others are ours, and docs/limits.md lists them for users.
 */
import { assertRelations } from "./limit_relations.ts";

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

  /** Fields of a browser's form that posts an object: their number, and names and values together (S3). */
  postFieldsMax: 100,
  postFieldsBytesMax: 20 * KiB,
  /** A file in such a form that bears no file name. */
  postTextFileBytesMax: 64 * KiB,

  // --- objects (S3) ---
  putBytesMax: 5 * GiB,
  copyBytesMax: 5 * GiB,
  partBytesMin: 5 * MiB,
  partBytesMax: 5 * GiB,
  partsMax: 10_000,
  objectBytesMax: 5 * TiB,
  listPageKeysMax: 1_000,
  deleteObjectsMax: 1_000,
  /** Entries of one commit over several keys (ours); all they write must fit one commit of the metadata store besides. */
  commitEntriesMax: 100,
  /** Of a RenameObject. */
  clientTokenCharsMax: 256,

  // --- configuration of buckets (S3) ---
  /** One document as it is kept; AWS's own bounds (64 KB for CORS, for one) are of that order. */
  configurationBytesMax: 96 * KiB,
  /** Documents that one process keeps in memory, by their bytes: a policy that was parsed takes up to 60 times its own. */
  configurationCacheBytesMax: 4 * MiB,
  /** Rows of buckets that one process keeps decoded. */
  bucketRowsKept: 1_024,
  corsRulesMax: 100,
  /** Of a website (S3). */
  routingRulesMax: 50,
  bucketTagsMax: 50,
  objectTagsMax: 10,
  /** AWS's bounds of a default retention: 100 years. */
  defaultRetentionDaysMax: 36_500,
  defaultRetentionYearsMax: 100,
  /** UTF-16 code units, as AWS counts. */
  tagNameCharsMax: 128,
  tagValueCharsMax: 256,

  // --- lifecycle ---
  /** Rules of one bucket, characters of a rule's ID, and noncurrent versions that a rule may keep whatever their age (S3). */
  lifecycleRulesMax: 1_000,
  lifecycleIdCharsMax: 255,
  newerNoncurrentVersionsMax: 100,
  /** Keys that the job looks at side by side. */
  dueRowsAtOnce: 16,
  /** Noncurrent versions of one key that one commit removes. */
  expiredVersionsPerCommit: 16,

  // --- notifications ---
  /** Rules of one bucket's notification document (S3), and destinations that they name together. */
  notificationRulesMax: 100,
  destinationsOfBucketMax: 16,
  /** Names of destinations, and how many there are in a store. */
  destinationNameCharsMax: 64,
  destinationsMax: 100,
  destinationUrlCharsMax: 2 * KiB,
  destinationSecretCharsMax: 256,
  destinationHeadersMax: 16,
  destinationHeaderBytesMax: 4 * KiB,
  /** Members of a broker's cluster that an address names; what connections to it need: users, certificates. */
  destinationHostsMax: 8,
  destinationCredentialBytesMax: 16 * KiB,
  /** One event as it is kept: key, names, and who asked. */
  eventBytesMax: 4 * KiB,
  /** Queues in which the events of a destination stand, each in order; keys are spread over them. */
  eventSlots: 4_096,
  /** Events of one destination that wait or could not be delivered; beyond that they are only counted. */
  eventsKeptMax: 1_000_000,
  /** Events of a destination that are read at once, and messages to it that are on their way at once. */
  eventsAtOnce: 128,
  deliveriesAtOnceMax: 16,
  /** Until a destination has answered one message. */
  deliveryMsMax: 10_000,
  /** Between two tries of one that failed: longer each time. */
  deliveryPauseMsMin: 500,
  deliveryPauseMsMax: 60_000,
  /** So long is an event tried to be delivered; then it is put aside, kept so long, and sent again by hand. */
  deliveryTriedMsMax: 24 * 3_600_000,
  undeliveredKeptMs: 14 * 24 * 3_600_000,
  /** Of an answer that is read over, and of one that failed what is told of it. */
  deliveryAnswerBytesMax: 64 * KiB,
  /** A connection to a broker over which nothing was sent for so long is closed. */
  courierIdleMs: 60_000,
  /** What a message's names and ids take beside its body. */
  messageHeaderBytesMax: 512,
  troubleCharsMax: 512,

  // --- access logs ---
  /** Lines in memory of one process, those under way among them; of one log object, from which on it is written at once. */
  accessLogBytesMax: 16 * MiB,
  accessLogObjectBytesMax: 1 * MiB,
  /** What an object counts besides its lines, so that many sources of few lines are bounded too. */
  accessLogBatchOverheadBytes: 1 * KiB,
  accessLogIntervalMs: 60_000,
  accessLogIntervalSecondsMax: 3_600,
  /** Objects of one process that are written at once; tries to write one; and how long a stop waits for them. */
  accessLogWritesAtOnceMax: 4,
  accessLogAttemptsMax: 5,
  accessLogStopMsMax: 3_000,
  /** Buckets known to be logged, and documents of such that are read at once. */
  loggedBucketsMax: 4_096,
  accessLogLooksMax: 256,

  // --- metadata store (the smallest driver decides) ---
  metaKeyBytesMax: 1_700,
  metaValueBytesMax: 128 * KiB,
  commitOperationsMax: 512,
  commitBytesMax: 1 * MiB,
  scanEntriesMax: 2_000,
  /** The largest quota, in bytes or objects: what a counter holds exactly with what is added to it. */
  quotaMax: 2 ** 52,
  /** Quotas of which metrics tell, each in series of its own. */
  quotasShownMax: 1_000,
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
  /** Rows in one scan of a copy from engine to engine, and its commits under way at the same time. */
  copyScanRows: 512,
  copyCommitsInFlightMax: 8,
  /** How long the heartbeats in a store that is to be copied are watched. */
  copyWatchMs: 5_000,
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
  /** Raw bytes of an encrypted chunk: every block of it is stored with a tag, and what is stored fits a full chunk. */
  sealedChunkBytesMax: 4 * MiB - 128 * KiB,
  /** Chunk references in one page of a chunk map. */
  chunkMapPageEntries: 256,
  /** Part references in one page of a multipart map. */
  partMapPageEntries: 512,
  /** Up to so many bytes a small append is joined with the last part of its object, which is written anew. */
  joinedPartBytesMax: 16 * KiB,
  /** Parts of up to this size are read so many at once. */
  smallPartBytesMax: 64 * KiB,
  smallPartsAtOnce: 16,
  /** Parts maps within the first parts of one another: each time what copies share is appended to there is one more. */
  partsMapDepthMax: 16,
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
  /**
   * A call to a drive is late when it takes lateFactor times what about 19 of 20 such calls take, within these bounds. Then a
   * read is asked for elsewhere too, and what an append would have stored goes to another drive, or is left to repair.
   */
  lateFactor: 3,
  lateReadMsMin: 50,
  lateReadMsMax: 2_000,
  lateAppendMsMin: 500,
  lateAppendMsMax: 4_000,
  /** Reads and appends that are made a second time: this part of all of them, and so many that were saved up. */
  hedgedShare: 0.1,
  hedgesSavedMax: 32,
  /** A call that takes this long is made a second time, whatever was saved up. */
  hedgeAnywayMs: 10_000,
  /** So long a read waits for drives that cannot be asked though somebody alive has them, where too few others are left. */
  heldReadMsMax: 10_000,
  /** A drive whose calls were late is tried last for so long after, longer each time. */
  slowDriveMsMin: 1_000,
  slowDriveMsMax: 60_000,
  /** Bytes of chunk buffers that appends which nobody waits for any more may still read, beside chunkBuffersBytesMax. */
  heldBuffersBytesMax: 128 * MiB,
  /** Shards of one blob that its commit notes as strays; what goes beyond is found when the session has ended. */
  straysPerBlobMax: 128,
  /** A drive that does not say its state within this time is slow until it does, and counts as failed from the second on. */
  driveStatusMsMax: 2_000,
  driveSilentMsMax: 20_000,
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
  /** Sessions a drive notes by name whose shards were found behind its index; with more of them all its shards are looked through. */
  replayedSessionsMax: 1_000,

  // --- policies (AWS) ---
  bucketPolicyBytesMax: 20 * KiB,
  /** Without white space, which IAM does not count; the whole document may be bucketPolicyBytesMax in any case. */
  managedPolicyBytesMax: 6_144,
  inlinePolicyBytesMax: 2_048,
  /** Statements of one document; entries of one list in it, and keys of one object. */
  policyStatementsMax: 512,
  /** Beginnings of resources that a compiled policy keeps sorted, for all actions together; those of one action always. */
  policyBeginningsKept: 1_024,
  policyListMax: 1_024,
  policyDepthMax: 8,
  /** `?` in one document: each costs a step at each place of a text where the pattern could begin. */
  policyQuestionMarksMax: 256,

  /** Grants of one access control list (AWS). */
  aclGrantsMax: 100,

  // --- users (AWS; inline policies of a user and of a group are counted without white space, all together) ---
  userNameCharsMax: 64,
  groupNameCharsMax: 128,
  accessKeysOfUserMax: 2,
  groupsOfUserMax: 10,
  managedPoliciesMax: 10,
  policyVersionsMax: 5,
  userInlineBytesMax: 2_048,
  groupInlineBytesMax: 5_120,
  roleInlineBytesMax: 10_240,
  trustPolicyBytesMax: 2_048,
  identityTagsMax: 50,
  accountsMax: 1_000,
  /** Rows of identities kept in memory as they were read and compiled, by their versions; and keys whose rows are known. */
  identityRowsKept: 1_024,
  identityHintsKept: 4_096,

  // --- keys of server-side encryption ---
  encryptionKeyIdCharsMax: 128,
  encryptionKeysMax: 1_000,
  /** Of one key; each rotation makes one. */
  encryptionKeyVersionsMax: 1_000,
  /** How long a process goes by what it read of a key: so long it may seal with the version before after a rotation. */
  encryptionKeyKeptMs: 10_000,
  /** What a client binds an object's key to: pairs, and their names and values together. */
  encryptionContextPairsMax: 64,
  encryptionContextBytesMax: 4 * KiB,

  // --- an outside service of keys ---
  /** Calls at once, and those that wait for their turn; more are told to come again. */
  keyServiceCallsMax: 32,
  keyServiceCallsWaitingMax: 256,
  /** Of one attempt; and of a call with its wait for a turn and all its attempts. */
  keyServiceAttemptMs: 3_000,
  keyServiceCallMs: 8_000,
  keyServiceAttemptsMax: 3,
  /** Before the second attempt; twice as long before each further one. */
  keyServicePauseMs: 100,
  keyServiceAnswerBytesMax: 1 * MiB,
  /** Of a data key as the service seals it: it lies in the head of the object. */
  keyServiceSealedBytesMax: 2 * KiB,
  /** How long it is taken for true that a key is there and seals. */
  keyServiceKeyKeptMs: 60_000,
  keyServiceKeysKept: 1_000,
  /** Looked at together for a list. */
  keyServiceDescribedAtOnce: 16,
  /** Data keys that need not be asked for: how many a process keeps, and how long (the default, and the most). */
  dataKeysKept: 10_000,
  dataKeysKeptMs: 300_000,
  dataKeysKeptSecondsMax: 86_400,
  /** A token file is looked at this often. */
  keyServiceTokenLookMs: 1_000,
  keyServiceTokenBytesMax: 16 * KiB,

  // --- temporary credentials (AWS) ---
  sessionSecondsMin: 900,
  sessionSecondsDefault: 3_600,
  /** Of a role's sessions, as far as the role lets them; of those that a role's session begins; of a user's own; of an account's. */
  roleSessionSecondsMax: 43_200,
  chainedSessionSecondsMax: 3_600,
  userSessionSecondsMax: 129_600,
  accountSessionSecondsMax: 3_600,
  /** What is sealed into a token: it travels in a header of every request, as base64. */
  sessionRecordBytesMax: 6 * KiB,
  sessionTokenCharsMax: 8_300,
  sessionTokensKept: 1_024,

  // --- OpenID Connect (AWS, as far as it says) ---
  oidcProvidersMax: 100,
  oidcClientIdsMax: 100,
  oidcThumbprintsMax: 5,
  /** Of an issuer's address, a client's id, and a token's subject. */
  oidcUrlCharsMax: 255,
  webIdentityTokenCharsMax: 20_000,
  /** What an issuer publishes: its configuration, and its keys. */
  oidcDocumentBytesMax: 64 * KiB,
  oidcKeysMax: 100,
  /** A token need not say which of them it means: so many are tried. */
  oidcKeysTriedMax: 10,
  /** Issuers whose keys a process keeps, and how long it goes by them. */
  oidcIssuersKept: 128,
  oidcKeysKeptMs: 600_000,
  /** For both documents together; and how many issuers are asked at one time. */
  oidcFetchMsMax: 5_000,
  oidcFetchesAtOnceMax: 16,
  /** A token can name a key that nobody has heard of, and an issuer can be away: it is asked again no earlier than this. */
  oidcRefetchMsMin: 30_000,
  oidcFailedMsMin: 5_000,
  /** How far the issuer's clock may be ahead of this one. */
  oidcClockAheadMsMax: 60_000,

  // --- IAM and STS ---
  /** A form that holds the largest policy, with each byte of it encoded as three. */
  queryFormBytesMax: 128 * KiB,
  queryFormFieldsMax: 1_000,
  /** Of a list: as many as the client says, or this. */
  iamPageItemsDefault: 100,
  iamPageItemsMax: 1_000,
  /** Rows looked at for one page that only some of them belong to. */
  iamRowsPerPageMax: 1_000,
  /** Rows of a kind that are counted for GetAccountSummary. */
  iamCountedRowsMax: 100_000,
  /** A group with more members keeps its name: one commit renames it in the rows of all of them. */
  renamedGroupMembersMax: 50,
  /** What those rows may have together, for that. */
  renamedGroupBytesMax: 512 * KiB,

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
  /** So much of an answer is handed to its socket, and a piece more, before the client must have taken it. */
  unsentBytesMax: 512 * KiB,
  /** A body must move this fast, on average over each window in which it is the client's turn. */
  bodyBytesPerSecondMin: 1 * KiB,
  bodyPaceWindowMs: 60_000,
  keepAliveTimeoutMs: 75_000,
  /** What is read and dropped of a refused request's body, and for how long, before its connection is closed. */
  lingerBytesMax: 4 * MiB,
  lingerMsMax: 2_000,
  gracefulStopMsMax: 30_000,
  /** How long a line of the log waits for a reader who takes nothing just now. */
  logWaitMsMax: 1_000,
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
  /** What a node calls itself to others: its host (a name in DNS has 253 characters at most) and its port. */
  peerNameCharsMax: 253 + 6,
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
  /** Until a shard that is copied from node to node was read; and of buffers for whole records that a process keeps for later. */
  recordReadMsMax: 4_000,
  recordRoomBytesKept: 20 * MiB,
  /** Refused secrets and seals are logged once for each address in this time, for so many addresses. */
  peerRefusalLogMs: 60_000,
  peerRefusalAddressesMax: 256,

  // --- nodes of a cluster ---
  zoneNameCharsMax: 64,
  /** How often a node writes its row, and every process reads those of all nodes and drives. */
  nodePublishMs: 3_000,
  topologyMs: 2_000,
  /** A node whose row stood still this long is away; only time in which the reader looked counts. */
  nodeSilentMsMax: 12_000,
  /** A node that was just started says so long that it is not ready: until the others have seen it. */
  nodeSettleMs: 5_000,
  /** Rows of nodes in one scan. */
  nodesAtOnce: 100,

  // --- sessions and jobs ---
  heartbeatIntervalMs: 1_000,
  /** A session whose heartbeat row stood still this long is fenced (by a transaction; the time only starts it). */
  sessionSilentMsMax: 30_000,
  /** In a cluster an ended session is looked through so long after that is known: what it asked of other nodes has been done by then. */
  sweepSettleMs: 25_000,
  jobBatchMax: 256,
  /** A drive that is away this long is given up: what lay on it is made anew on others. By default, and at most. */
  driveAwayMsMax: 10 * 60_000,
  driveAwaySecondsMax: 30 * 24 * 3_600,
  /** Pages that are planned at one time, to be repaired and to be moved: for each session that lives, and in all (or a step of a walk more). */
  mendRowsOfSession: 768,
  mendRowsMax: 32_768,
  /** Pages that one process mends at once. */
  mendsAtOnceMax: 4,
  /** Of sessions and relocations, which every process reads for its share of repair: all together so many rows a second, but each so often. */
  commonRowsPerSecond: 100_000,
  commonRowsMsMax: 10_000,
  /** What repair, rebalance, conversion, scrub and compaction of one process move at most, reads and writes together. */
  backgroundBytesPerSecond: 1_024 * MiB,
  backgroundMiBPerSecondMax: 100_000,
  /** Drives of a store that are balanced. */
  balancedDrivesMax: 4_096,
  /** Every shard is re-read and checked; a drive's next round begins this long after the last one ended, at this rate. */
  scrubIntervalMs: 7 * 24 * 3_600_000,
  scrubBytesPerSecond: 16 * MiB,
  /** How long a finished upload is remembered, so that a repeated CompleteMultipartUpload gets the same answer. */
  finishedUploadKeptMs: 24 * 3_600_000,
} as const;

assertRelations(limits);

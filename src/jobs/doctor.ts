/**
 * Looks whether everything that should be there is there, and nothing else: heads and past rows → blobs → pages → chunks on
 * drives, the order of a key's versions (doctor_past.ts), reference counts against references counted, bodies against heads, usage counters against counts, what quotas are judged by, shards that nothing
 * mentions. Reads only. A finding says what is wrong, where, and what it means.
 *
 * Rows are read in many steps, so on a store that is being written to a finding may be a change caught half-way: run it
 * again, or on a quiet store. Shards of live sessions are never reported. What is known of every blob is kept in memory
 * (doctor_blobs.ts).
 */
import type { BlobId, BucketId, DriveId, SessionId, UploadId } from "../core/ids.ts";
import { BUCKET_ID_BYTES, sessionOf, UPLOAD_ID_BYTES } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Entry, Key, Kv } from "../kv/kv.ts";
import { decodeBlobRoot, decodePartPage } from "../meta/blobs.ts";
import { decodeBucket, decodeGone } from "../meta/buckets.ts";
import { decodeChunkPage } from "../meta/chunk_pages.ts";
import { decodeConversion } from "../meta/conversions.ts";
import { decodeDrive } from "../meta/drives.ts";
import { decodeNode } from "../meta/nodes.ts";
import { decodeRaised } from "../meta/raised.ts";
import { decodeStore } from "../meta/store.ts";
import { decodeBody, decodeHead, decodePast, isReduced, partsCountOf, type HeadRecord } from "../meta/heads.ts";
import { bodyKey, headKey, heartbeatKey, objectKeyOf, parseBlobKey, parsePastKey, partNumberOf } from "../meta/keys.ts";
import { isWholeDrive, prefixRange, sessionIdOf, sessionKey, strayKey } from "../meta/keys.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { tagRange, tags, type Tag } from "../meta/keys.ts";
import { decodeProgress } from "../meta/progress.ts";
import { decodeBalance } from "../meta/balance.ts";
import { decodeMend } from "../meta/mends.ts";
import { decodeRelocation, decodeRepair, decodeStray } from "../meta/repairs.ts";
import { decodeScrub } from "../meta/scrubs.ts";
import { decodeEnded, decodeHeartbeat, decodeSession } from "../meta/sessions.ts";
import { decodeTrash } from "../meta/trash.ts";
import { isNothing, noUsage, readUsage, sumOf, type Usage, type UsageCounts } from "../meta/usage.ts";
import {
  decodeAbandoned,
  decodeFinished,
  decodeLeftover,
  decodePart,
  decodeUpload,
  isListedPart,
} from "../meta/uploads.ts";
import type { ChunkNode, ShardRef } from "../node/node.ts";
import { KnownBlob, type Claim } from "./doctor_blobs.ts";
import { checkChunk } from "./doctor_chunks.ts";
import { checkEvents } from "./doctor_events.ts";
import { checkLifecycle } from "./doctor_lifecycle.ts";
import { KeyHistory } from "./doctor_past.ts";
import { checkQuotas } from "./doctor_quotas.ts";
import { checkConfigurations } from "./doctor_configurations.ts";
import { decodeLease } from "./leases.ts";
import { findOrphans } from "./orphans.ts";

export type Finding = {
  readonly kind:
    | "corrupt_record"
    | "missing_record"
    | "stray_record"
    | "wrong_refcount"
    | "wrong_size"
    /** What versions that share bytes say of their storage class. */
    | "wrong_class"
    | "wrong_usage"
    /** What is current of a key, or the order of its versions. */
    | "wrong_version"
    | "missing_chunk"
    | "corrupt_chunk"
    | "orphan_chunk";
  /** What it is about: `head photos/cat.jpg`, `blob <id>`, `chunk <id> on drive <id>`. */
  readonly where: string;
  /** What is wrong and what that means, in a sentence or two. */
  readonly message: string;
};

export type DoctorSummary = {
  readonly objects: number;
  readonly blobs: number;
  readonly shards: number;
  readonly bytes: number;
  readonly findings: number;
};

export type DoctorOptions = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  /** Reads every chunk whole and checks its blocks. */
  readonly deep: boolean;
  /** Drives of other machines: what lies there is not looked at. */
  readonly elsewhere?: ReadonlySet<DriveId>;
  readonly signal?: AbortSignal;
};

/** What was found of a bucket, and what its rows say. */
type Found = { readonly name: string; usage: Usage; counted: Usage };

const batchRows = 200;

/** Yields findings as they are met; the generator's result is the summary. Errors: those of the store and the node. */
export async function* runDoctor(options: DoctorOptions): AsyncGenerator<Finding, DoctorSummary> {
  const doctor = new Doctor(options);
  let findings = 0;
  for (const step of doctor.steps()) {
    for await (const finding of step) {
      findings += 1;
      yield finding;
    }
  }
  return { ...doctor.counts, findings };
}

class Doctor {
  readonly #kv: Kv;
  readonly #node: ChunkNode;
  readonly #deep: boolean;
  readonly #elsewhere: ReadonlySet<DriveId>;
  readonly #signal: AbortSignal | undefined;
  readonly #buckets = new Map<BucketId, Found>();
  readonly #blobs = new Map<BlobId, KnownBlob>();
  readonly #uploads = new Set<UploadId>();
  readonly #leftovers = new Map<UploadId, Buffer>();
  /** Parts maps that were not published: their pages may stand without a root. */
  readonly #unpublished = new Set<BlobId>();
  readonly counts = { objects: 0, blobs: 0, shards: 0, bytes: 0 };

  constructor({ kv, node, deep, elsewhere = new Set(), signal }: DoctorOptions) {
    this.#elsewhere = elsewhere;
    this.#kv = kv;
    this.#node = node;
    this.#deep = deep;
    this.#signal = signal;
  }

  /** In this order: a step uses what the ones before it learnt. */
  *steps(): Generator<AsyncIterable<Finding>> {
    yield this.#checkSessions();
    yield this.#checkBuckets();
    yield checkConfigurations(this.#kv);
    yield this.#checkHeads();
    yield this.#checkBodies();
    yield this.#checkPast();
    yield this.#checkUploads();
    yield this.#checkParts();
    yield this.#checkTrash();
    yield this.#readBlobs();
    yield this.#checkBlobs();
    yield this.#checkChunks();
    yield this.#checkRepairs();
    yield this.#checkShards();
    yield this.#checkUsage();
    yield checkQuotas(this.#kv);
    yield checkEvents(this.#kv);
    yield checkLifecycle(this.#kv);
  }

  async *#batches(tag: Tag): AsyncGenerator<Entry[]> {
    const { start, end } = tagRange(tag);
    let from: Key = start;
    while (this.#signal?.aborted !== true) {
      const rows = await this.#kv.scan({ start: from, end }, { limit: batchRows });
      if (rows.length > 0) yield rows;
      if (rows.length < batchRows) return;
      from = Buffer.concat([rows.at(-1)!.key, Buffer.from([0])]);
    }
  }

  /** Every row of a family, decoded; a row that cannot be is a finding, and goes no further. */
  async *#rows<T>(
    tag: Tag,
    decode: (value: Buffer) => T,
    each: (record: T, entry: Entry) => Finding | undefined | void,
  ): AsyncGenerator<Finding> {
    for await (const rows of this.#batches(tag)) {
      for (const entry of rows) {
        const found = decodeRow(entry, decode);
        const finding = found.ok ? each(found.record, entry) : found.finding;
        if (finding) yield finding;
      }
    }
  }

  #blob(id: BlobId): KnownBlob {
    const known = this.#blobs.get(id) ?? new KnownBlob();
    this.#blobs.set(id, known);
    return known;
  }

  #refer(id: BlobId, claim: Claim): void {
    this.#blob(id).refer(claim);
  }

  async *#checkSessions(): AsyncGenerator<Finding> {
    yield* this.#rows(tags.session, decodeSession, () => undefined);
    const beating: SessionId[] = [];
    yield* this.#rows(tags.heartbeat, decodeHeartbeat, (_beat, { key }) => void beating.push(sessionIdOf(key)));
    for (const id of beating) {
      // Both rows come and go in one commit, so they are read in one go.
      const [session, beat] = await this.#kv.get([sessionKey(id), heartbeatKey(id)]);
      if (session !== undefined || beat === undefined) continue;
      const message = "The session does not exist, so nobody takes the row away.";
      yield { kind: "stray_record", where: `heartbeat of session ${id}`, message };
    }
    yield* this.#rows(tags.ended, decodeEnded, () => undefined);
    yield* this.#rows(tags.job, decodeLease, () => undefined);
  }

  #checkBuckets(): AsyncIterable<Finding> {
    return this.#rows(tags.bucket, decodeBucket, (bucket, entry) => {
      const name = entry.key.toString("utf8", 1);
      const nothing = { ...noUsage, reduced: noUsage };
      this.#buckets.set(bucket.id, { name, usage: nothing, counted: nothing });
    });
  }

  async *#checkHeads(): AsyncGenerator<Finding> {
    for await (const rows of this.#batches(tags.head)) {
      const bodies = await this.#kv.get(rows.map((row) => bodyKey(bucketOf(row.key), objectKeyOf(row.key))));
      for (const [index, row] of rows.entries()) {
        const found = decodeRow(row, decodeHead);
        if (!found.ok) {
          yield found.finding;
          continue;
        }
        const head = found.record;
        const where = `head ${this.#addressOf(row.key, objectKeyOf(row.key))}`;
        yield* this.#counted(row.key, head, "objects", where);
        this.counts.objects += 1;
        if (head.data.kind !== "inline") continue;
        const body = decodeRow(bodies[index] ?? { ...row, value: undefined }, (value) => decodeBody(head, value));
        if (!body.ok) yield { kind: "missing_record", where, message: `The object cannot be read. ${body.why}` };
      }
    }
  }

  #addressOf(row: Buffer, key: Buffer): string {
    return `${this.#buckets.get(bucketOf(row))?.name ?? bucketOf(row)}/${key.toString()}`;
  }

  /** A head or a past row. */
  *#counted(row: Buffer, head: HeadRecord, as: "objects" | "versions", where: string): Generator<Finding> {
    const bucket = this.#buckets.get(bucketOf(row));
    if (bucket === undefined)
      yield { kind: "stray_record", where, message: "Its bucket does not exist, so no request can reach it." };
    else {
      const counts = { ...noUsage, [as]: 1, bytes: head.sizeBytes };
      bucket.usage = added(bucket.usage, { ...counts, reduced: isReduced(head) ? counts : noUsage });
    }
    this.counts.bytes += head.sizeBytes;
    const { data, sizeBytes, etag } = head;
    if (data.kind === "blob")
      this.#refer(data.blob, { sizeBytes, parts: partsCountOf(etag), isReduced: isReduced(head) });
    if (data.kind === "empty" && sizeBytes > 0)
      yield { kind: "wrong_size", where, message: `It says ${sizeBytes} bytes and that there are none.` };
  }

  async *#checkPast(): AsyncGenerator<Finding> {
    let history: { readonly key: string; readonly of: KeyHistory } | undefined;
    for await (const rows of this.#batches(tags.past)) {
      const parsed = rows.map((row) => ({ row, ...parsePastKey(row.key) }));
      const heads = await this.#headsOf(parsed);
      for (const { row, key, order } of parsed) {
        const found = decodeRow(row, decodePast);
        const where = `version of ${this.#addressOf(row.key, key)}`;
        const keyOfAll = row.key.toString("hex", 0, row.key.length - 8);
        if (history?.key !== keyOfAll)
          history = {
            key: keyOfAll,
            of: new KeyHistory(where, heads.get(headKey(bucketOf(row.key), key).toString("hex"))),
          };
        if (!found.ok) yield found.finding;
        else {
          yield* this.#counted(row.key, found.record.head, "versions", where);
          yield* history.of.take({ order, head: found.record.head });
        }
      }
    }
  }

  /** The heads of these keys that can be read, by their rows' keys in hex. */
  async #headsOf(rows: readonly { readonly row: Entry; readonly key: Buffer }[]): Promise<Map<string, HeadRecord>> {
    const keys = new Map(
      rows.map(({ row, key }) => {
        const head = headKey(bucketOf(row.key), key);
        return [head.toString("hex"), head];
      }),
    );
    const heads = new Map<string, HeadRecord>();
    for (const entry of await this.#kv.get([...keys.values()])) {
      const found = entry && decodeRow(entry, decodeHead);
      if (found?.ok === true) heads.set(entry!.key.toString("hex"), found.record);
    }
    return heads;
  }

  async *#checkBodies(): AsyncGenerator<Finding> {
    for await (const rows of this.#batches(tags.body)) {
      const heads = await this.#kv.get(rows.map((row) => headKey(bucketOf(row.key), objectKeyOf(row.key))));
      for (const [index, row] of rows.entries()) {
        const head = heads[index];
        const found = head && decodeRow(head, decodeHead);
        if (found?.ok === false || found?.record.data.kind === "inline") continue;
        yield {
          kind: "stray_record",
          where: `body of ${objectKeyOf(row.key).toString()}`,
          message: "No head says that its bytes are here. It takes space and is never read.",
        };
      }
    }
  }

  async *#checkUploads(): AsyncGenerator<Finding> {
    const gone = new Set<BucketId>();
    yield* this.#rows(tags.gone, decodeGone, (_nothing, { key }) => void gone.add(bucketOf(key)));
    yield* this.#rows(tags.upload, decodeUpload, (upload, { key }) => {
      const id = key.toString("hex", key.length - UPLOAD_ID_BYTES) as UploadId;
      this.#uploads.add(id);
      if (upload.state.kind === "completing") this.#unpublished.add(upload.state.partsMap);
      if (this.#buckets.has(bucketOf(key)) || gone.has(bucketOf(key))) return undefined;
      return { kind: "stray_record", where: `upload ${id}`, message: "Its bucket does not exist; nothing can end it." };
    });
    yield* this.#rows(tags.leftover, decodeLeftover, ({ listed }, { key }) => {
      this.#leftovers.set(key.toString("hex", 1) as UploadId, Buffer.from(listed));
    });
    yield* this.#rows(tags.abandoned, decodeAbandoned, (_nothing, { key }) => {
      this.#unpublished.add(key.toString("hex", 1) as BlobId);
    });
    yield* this.#rows(tags.finished, decodeFinished, () => undefined);
  }

  #checkParts(): AsyncIterable<Finding> {
    return this.#rows(tags.part, decodePart, (part, { key }) => {
      const id = key.toString("hex", 1, 1 + UPLOAD_ID_BYTES) as UploadId;
      const listed = this.#leftovers.get(id);
      // The reference of a part that an object took is the object's parts map's.
      if (listed !== undefined && isListedPart(listed, part.partNumber)) return undefined;
      this.#refer(part.blob, { sizeBytes: part.sizeBytes, parts: 0 });
      const where = `part ${partNumberOf(key)} of upload ${id}`;
      if (part.partNumber !== partNumberOf(key))
        return { kind: "corrupt_record", where, message: `The row says that it is part ${part.partNumber}.` };
      if (this.#uploads.has(id) || listed !== undefined) return undefined;
      return { kind: "stray_record", where, message: "Its upload does not exist; its bytes are never given back." };
    });
  }

  #checkTrash(): AsyncIterable<Finding> {
    return this.#rows(tags.trash, decodeTrash, ({ blob }) => {
      this.#blob(blob).referTrash();
    });
  }

  /** Roots and pages come in order: a blob's root, then its pages. */
  async *#readBlobs(): AsyncGenerator<Finding> {
    for await (const rows of this.#batches(tags.blob)) {
      for (const row of rows) {
        const { blob, page } = parseBlobKey(row.key);
        const found = page === undefined ? decodeRow(row, decodeBlobRoot) : undefined;
        if (found?.ok === true) {
          this.#blob(blob).root = found.record;
          this.counts.blobs += 1;
          if (this.#unpublished.has(blob)) yield published(blob);
        } else if (found?.ok === false) yield found.finding;
        else yield* this.#readPage(blob, page!, row);
      }
    }
  }

  *#readPage(blob: BlobId, page: number, row: Entry): Generator<Finding> {
    const known = this.#blobs.get(blob);
    if (known?.root === undefined) {
      if (!this.#unpublished.has(blob))
        yield {
          kind: "stray_record",
          where: `page of blob ${blob}`,
          message: "The blob has no root; nothing reads it.",
        };
      return;
    }
    const isParts = known.root.kind === "parts";
    const found = decodeRow(row, (value) =>
      isParts ? decodePartPage(value) : decodeChunkPage(value).map(({ rawBytes }) => ({ sizeBytes: rawBytes })),
    );
    if (!found.ok) yield found.finding;
    const entries = found.ok ? found.record : [];
    known.addPage(
      page,
      entries.map((entry) => entry.sizeBytes),
    );
    for (const [index, entry] of entries.entries()) {
      // The first part of what was appended to may be a blob of parts itself.
      const parts = page === 0 && index === 0 ? undefined : 0;
      if ("blob" in entry) this.#refer(entry.blob, { sizeBytes: entry.sizeBytes, parts });
    }
  }

  async *#checkBlobs(): AsyncGenerator<Finding> {
    for (const [id, known] of this.#blobs) yield* known.findings(id);
  }

  async *#checkChunks(): AsyncGenerator<Finding> {
    for await (const rows of this.#batches(tags.blob)) {
      for (const row of rows) {
        const { blob, page } = parseBlobKey(row.key);
        const known = this.#blobs.get(blob);
        if (page === undefined || known?.root?.kind !== "chunks" || known.isDead || page >= known.root.pages) continue;
        const found = decodeRow(row, decodeChunkPage);
        if (!found.ok) continue;
        const { root } = known;
        const check = { node: this.#node, deep: this.#deep, elsewhere: this.#elsewhere, blob, root };
        for (const [position, chunk] of found.record.entries())
          yield* checkChunk({ ...check, index: page * root.pageEntries + position, chunk });
      }
    }
  }

  /** Rows of pages that are gone are taken away by the repair job. */
  async *#checkRepairs(): AsyncGenerator<Finding> {
    yield* this.#rows(tags.repair, decodeRepair, () => undefined);
    yield* this.#rows(tags.mend, decodeMend, () => undefined);
    yield* this.#rows(tags.balance, decodeBalance, () => undefined);
    yield* this.#rows(tags.relocation, decodeRelocation, () => undefined);
    yield* this.#rows(
      tags.stray,
      (value) => (value.length === 1 ? undefined : decodeStray(value)),
      () => undefined,
    );
    yield* this.#rows(tags.scrub, decodeScrub, () => undefined);
    yield* this.#rows(tags.drive, decodeDrive, () => undefined);
    yield* this.#rows(tags.node, decodeNode, () => undefined);
    yield* this.#rows(tags.store, decodeStore, () => undefined);
    yield* this.#rows(tags.raised, decodeRaised, () => undefined);
    yield* this.#rows(tags.conversion, decodeConversion, () => undefined);
    yield* this.#rows(tags.progress, decodeProgress, () => undefined);
  }

  async *#checkShards(): AsyncGenerator<Finding> {
    for (const drive of this.#node.drives) {
      let after: ShardRef | undefined;
      while (this.#signal?.aborted !== true) {
        const listed = await this.#node.list(drive, { ...(after && { after }), limit: limits.jobBatchMax });
        this.counts.shards += listed.length;
        // After the shards: see sweepAll.
        const waiting = await this.#sessionsNotSwept();
        const strays = await this.#straysOf(drive);
        const isKnown = ({ chunk, shardIndex }: ShardRef): boolean => strays.has(`${chunk} ${shardIndex}`);
        const ended = listed.filter((shard) => !waiting.has(sessionOf(shard.chunk)) && !isKnown(shard));
        for (const orphan of ended.length === 0 ? [] : await findOrphans(this.#kv, drive, ended))
          yield {
            kind: "orphan_chunk",
            where: `chunk ${orphan.chunk} of blob ${orphan.owner.blob} on drive ${drive}`,
            message: `Nothing refers to its ${orphan.storedBytes} bytes; they take space until the next full sweep.`,
          };
        after = listed.at(-1);
        if (listed.length < limits.jobBatchMax) break;
      }
    }
  }

  /** Shards of the drive that a row says are to be removed. */
  async #straysOf(drive: DriveId): Promise<Set<string>> {
    const strays = new Set<string>();
    for await (const rows of scanPages(this.#kv, prefixRange(strayKey(drive))))
      for (const { key, value } of rows)
        if (!isWholeDrive(key))
          for (const { chunk, shardIndex } of decodeStray(value).shards) strays.add(`${chunk} ${shardIndex}`);
    return strays;
  }

  /** Live sessions may still publish; ended ones with a row will be swept. */
  async #sessionsNotSwept(): Promise<Set<SessionId>> {
    const sessions = new Set<SessionId>();
    for (const tag of [tags.session, tags.ended])
      for await (const rows of this.#batches(tag)) for (const row of rows) sessions.add(sessionIdOf(row.key));
    return sessions;
  }

  async *#checkUsage(): AsyncGenerator<Finding> {
    yield* this.#rows(tags.usage, readUsage, (usage, { key }) => {
      const bucket = this.#buckets.get(bucketOf(key));
      if (bucket !== undefined) bucket.counted = added(bucket.counted, usage);
    });
    for (const { name, usage, counted } of this.#buckets.values()) {
      const [counts, found] = [saidOf(counted), saidOf(usage)];
      if (counts === found) continue;
      yield {
        kind: "wrong_usage",
        where: `bucket ${name}`,
        message: `Its counters say ${counts}; there are ${found}.`,
      };
    }
  }
}

function added(one: Usage, other: Usage): Usage {
  return { ...sumOf(one, other), reduced: sumOf(one.reduced, other.reduced) };
}

function saidOf({ reduced, ...all }: Usage): string {
  const said = ({ objects, versions, bytes }: UsageCounts): string =>
    `${objects} objects, ${versions} versions and ${bytes} bytes`;
  return isNothing(reduced) ? said(all) : `${said(all)}, of the reduced class ${said(reduced)}`;
}

type Decoded<T> =
  { readonly ok: true; readonly record: T } | { readonly ok: false; readonly why: string; readonly finding: Finding };

function decodeRow<V extends Buffer | undefined, T>(
  entry: { readonly key: Buffer; readonly value: V },
  decode: (value: V) => T,
): Decoded<T> {
  try {
    return { ok: true, record: decode(entry.value) };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const where = `row ${entry.key.toString("hex")}`;
    return { ok: false, why, finding: { kind: "corrupt_record", where, message: `It cannot be read. ${why}` } };
  }
}

function published(blob: BlobId): Finding {
  const message = "A row says that this parts map was never published, and it was; nothing is lost while it stands.";
  return { kind: "stray_record", where: `blob ${blob}`, message };
}

function bucketOf(key: Buffer): BucketId {
  return key.toString("hex", 1, 1 + BUCKET_ID_BYTES) as BucketId;
}

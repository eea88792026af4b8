/**
 * Append: bytes added to the end of an object in one commit, without touching those that are there.
 *
 *  - A small object and a small body are joined in the body row. What grows beyond that becomes a blob of parts
 *    (uploads.complete.ts): the bytes so far are its first part, and every append adds one to its end.
 *  - A blob of parts that only this object's head refers to is extended in place: its root and its last page are written anew. A
 *    reader that began before sees as many bytes as its head says (chunk_map.ts).
 *  - There a small last part and a small body are joined: a new part has the bytes of both, and the trash gets the old one. So tiny appends
 *    make few parts, and each writes at most joinedPartBytesMax. A last part that cannot be read just now stays as it is.
 *  - One that others refer to as well (copies share it) stays as it is, and becomes the first part of a new one.
 *
 * So an append costs the same however large the object is. The offset is judged in the commit, on the head that it replaces: of two
 * appends at one offset one wins. The order of durability is that of a PUT (put.ts).
 *
 * The ETag of what has parts is the MD5 of the ETag before and of the MD5 of what was added, with the number of parts: it is new with
 * every append and costs no reading. A CRC of the full object is carried on (combine.ts); another checksum cannot be, and goes.
 *
 * Known gaps: buckets that have or had versions, and encrypted objects, are refused.
 */
import type { BodySource, WrittenBody } from "../blob/blob.ts";
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import type { BlobId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Redundancy } from "../core/redundancy.ts";
import { combineCrc } from "../digest/combine.ts";
import type { Write } from "../kv/kv.ts";
import type { Transaction } from "../kv/transact.ts";
import {
  encodeBlobRoot,
  extendedPartsWrites,
  newChunkedBlobWrites,
  newPartsBlobWrites,
  rejoinedPartsWrites,
  type BlobRoot,
  type PartRecord,
} from "../meta/blobs.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { MD5_BYTES } from "../meta/fields.ts";
import { blobData, isReduced as isOfReduced, type HeadRecord } from "../meta/heads.ts";
import { blobRootKey } from "../meta/keys.ts";
import { trashWrite } from "../meta/trash.ts";
import { carriedAlgorithm, judgeAppend, refuseBeforeBody, tooDeep, tooManyParts } from "./append.rules.ts";
import { bytesOf, bytesOfPart, depthOf, firstPart, lastPage, md5Of, readRoot } from "./append_rows.ts";
import type { ObjectContext } from "./context.ts";
import { endingOf } from "./due.ts";
import { assertTags, checkMetadata, checkObjectKey } from "./names.ts";
import type { AppendOptions } from "./append_types.ts";
import type { ObjectMetadata, PutResult, StoredChecksum } from "./object.ts";
import { digestsWithMd5, discardUnpublished } from "./put.ts";
import { asksForReduced, convertLate, redundancyIn } from "./storage_class.ts";
import { changeTarget, readRows, readTarget, type Target } from "./target.ts";
import { newPartsMapId } from "./uploads.complete.ts";
import { replacedBy, replaceVersion, type NewVersion } from "./versions.ts";

type Chunked = WrittenBody & { readonly kind: "chunked" };

/** As which class bytes are stored, and what the bucket asks for of it. */
type Kept = { readonly isReduced: boolean; readonly bucket: BucketRecord };

/** A commit stores no chunks: what it lacks is stored between two attempts. */
type Lacking = Kept &
  (
    | { readonly lacks: "added" }
    /** The bytes of a small object, as this write of its head has them. */
    | { readonly lacks: "before"; readonly stamp: string; readonly bytes: Buffer }
    /** The last part and what is added, as one. */
    | { readonly lacks: "joined"; readonly last: PartRecord }
  );

/** A parts map that only the head refers to; the parts in its last page. */
type OwnMap = {
  readonly id: BlobId;
  readonly root: BlobRoot & { readonly kind: "parts" };
  readonly page: readonly PartRecord[];
  readonly kept: Kept;
};

/** What stands in the place of the object, and what was stored for it. */
type Plan = Pick<NewVersion, "data" | "etag" | "inline"> & {
  readonly published: readonly Chunked[];
  readonly writes: readonly Write[];
};

/** Every attempt but the first three follows on a change of the key by somebody else. */
const attemptsMax = 16;

export async function appendObject(ctx: ObjectContext, options: AppendOptions): Promise<PutResult> {
  checkObjectKey(options.key);
  checkMetadata(options.metadata);
  assertTags(options.tags);
  const early = await readTarget(ctx, readRows(ctx.kv), options);
  // What is refused already is refused before its body is read. The commit judges again.
  await judgeAppend(ctx, early, { ...options, addedBytes: options.body.sizeBytes });
  await refuseBeforeBody(ctx, early, options.body);
  const isReduced = appendsReduced(early.head, options.metadata);
  const added = await writeAdded(ctx, early, { ...options, isReduced });
  return new Appending(ctx, options, { added, isReduced, bucket: early.bucket }).run();
}

/** A small one stays in memory: it may be joined. */
function writeAdded(
  ctx: ObjectContext,
  { head, bucket }: Target,
  options: AppendOptions & { readonly isReduced: boolean },
): Promise<WrittenBody> {
  const { digests } = options.verifier;
  const carried = head && carriedAlgorithm(head);
  return ctx.blobs.write(options.body, {
    digests: digestsWithMd5(carried === undefined ? digests : [...new Set([...digests, carried])]),
    inlineBytesMax: limits.inlineBytesMax,
    bytesMax: limits.putBytesMax,
    redundancy: redundancyIn(ctx, bucket, options.isReduced),
    signal: options.signal,
  });
}

/** Whether what is added is of the reduced class: as the blob that it is added to, or as the label asks where there is none. */
function appendsReduced(head: HeadRecord | undefined, ofNew: ObjectMetadata): boolean {
  return head?.data.kind === "blob" ? isOfReduced(head) : asksForReduced(head?.metadata ?? ofNew);
}

/** One request, from its stored body on. */
class Appending {
  readonly #ctx: ObjectContext;
  readonly #options: AppendOptions;
  readonly #added: WrittenBody;
  /** The same as a blob. */
  #addedBlob: Chunked | undefined;
  /** That blob is of the reduced class. */
  #isReduced: boolean;
  #before: { readonly stamp: string; readonly blob: Chunked } | undefined;
  #joined: { readonly last: BlobId; readonly blob: Chunked; readonly bytes: Buffer } | undefined;
  /** A last part that could not be read. */
  #unread: BlobId | undefined;
  #verified: Omit<StoredChecksum, "type"> | undefined;
  /** What the bucket asked for whenever something was stored. */
  readonly #storedFor: BucketRecord[] = [];

  constructor(
    ctx: ObjectContext,
    options: AppendOptions,
    { added, isReduced, bucket }: Kept & { readonly added: WrittenBody },
  ) {
    this.#ctx = ctx;
    this.#options = options;
    this.#added = added;
    this.#isReduced = isReduced;
    if (added.kind !== "chunked") return;
    this.#addedBlob = added;
    this.#storedFor.push(bucket);
  }

  async run(): Promise<PutResult> {
    const { verifier } = this.#options;
    // The last part that a head led to may be read.
    const release = this.#ctx.session.beginRead();
    try {
      this.#verified = verifier.verify(this.#added.digests);
      if (this.#added.kind === "inline") await this.#ctx.admitRows?.(limits.inlineBytesMax);
      for (let attempt = 0; attempt < attemptsMax; attempt++) {
        const outcome = await this.#attempt();
        if (!("lacks" in outcome)) return outcome;
        await this.#store(outcome);
      }
      throw new HoldfastError("operation_aborted", "Other requests kept changing the key; try again.");
    } catch (error) {
      await this.#discard([], error);
      throw error;
    } finally {
      release();
    }
  }

  async #attempt(): Promise<PutResult | Lacking> {
    let published: readonly Chunked[] = [];
    const publishesChunks = this.#addedBlob !== undefined || this.#joined !== undefined;
    const { signal } = this.#options;
    const outcome = await changeTarget(
      this.#ctx,
      this.#options,
      { publishesChunks, signal },
      async (tx, target): Promise<PutResult | Lacking> => {
        await judgeAppend(this.#ctx, target, { ...this.#options, addedBytes: this.#added.sizeBytes });
        const plan = await this.#plan(tx, target);
        if ("lacks" in plan) return plan;
        ({ published } = plan);
        return this.#publish(tx, target, plan);
      },
    );
    if (!("lacks" in outcome)) await this.#discard(published);
    return outcome;
  }

  /** What the object will be made of. */
  async #plan(tx: Transaction, target: Target): Promise<Plan | Lacking> {
    const { head, bucket } = target;
    const isReduced = appendsReduced(head, this.#options.metadata);
    const kept = { isReduced, bucket };
    const added = this.#added;
    if (this.#addedBlob !== undefined && isReduced !== this.#isReduced) throw replacedMeanwhile();
    if (head === undefined || head.sizeBytes === 0) return this.#asPut();
    const small = head.data.kind === "inline" ? await bytesOf(tx, target, head) : undefined;
    if (small !== undefined && added.kind === "inline" && small.length + added.sizeBytes <= limits.inlineBytesMax) {
      const inline = Buffer.concat([small, added.bytes]);
      const etag = this.#md5(inline).toString("hex");
      return { data: { kind: "inline" }, etag, inline, published: [], writes: [] };
    }
    if (small === undefined) return this.#behindBlob(tx, head, kept);
    const blob = this.#addedBlob;
    if (blob === undefined) return { lacks: "added", ...kept };
    const before = this.#before;
    if (before?.stamp !== head.stamp) return { lacks: "before", stamp: head.stamp, bytes: small, ...kept };
    const first = firstPart(head, before.blob.blob.id);
    return this.#newMap(head, first, { blob, published: [before.blob, blob], writes: [] });
  }

  /** There is nothing before it. */
  #asPut(): Plan {
    const added = this.#added;
    const etag = md5Of(added).toString("hex");
    if (added.kind === "inline")
      return { data: { kind: "inline" }, etag, inline: added.bytes, published: [], writes: [] };
    const data = blobData(added.blob.id, this.#isReduced);
    return { data, etag, inline: undefined, published: [added], writes: [] };
  }

  async #behindBlob(tx: Transaction, head: HeadRecord, kept: Kept): Promise<Plan | Lacking> {
    assert(head.data.kind === "blob", "what is not small is a blob");
    const id = head.data.blob;
    const root = await readRoot(tx, id);
    if (root.kind === "parts" && root.refcount === 1) {
      const page = await lastPage(tx, id, root);
      return this.#joinsTo(page.at(-1)!)
        ? this.#rejoined(head, { id, root, page, kept })
        : this.#extended(head, { id, root, page, kept });
    }
    const blob = this.#addedBlob;
    if (blob === undefined) return { lacks: "added", ...kept };
    if (root.kind === "parts" && (await depthOf(tx, id)) >= limits.partsMapDepthMax) throw tooDeep();
    const shared = { ...root, refcount: root.refcount + 1 };
    const writes: Write[] = [{ kind: "put", key: blobRootKey(id), value: encodeBlobRoot(shared) }];
    return this.#newMap(head, firstPart(head, id), { blob, published: [blob], writes });
  }

  #joinsTo({ blob, sizeBytes }: PartRecord): boolean {
    const isSmall = sizeBytes + this.#added.sizeBytes <= limits.joinedPartBytesMax;
    return isSmall && this.#added.kind === "inline" && this.#unread !== blob;
  }

  #extended(head: HeadRecord, { id, root, page, kept }: OwnMap): Plan | Lacking {
    const blob = this.#addedBlob;
    if (blob === undefined) return { lacks: "added", ...kept };
    const partNumber = page.at(-1)!.partNumber + 1;
    if (partNumber > limits.partsMax) throw tooManyParts();
    const writes = extendedPartsWrites(id, root, page, this.#part(blob, partNumber));
    const etag = this.#etagWith(head, root.parts + 1);
    return { data: head.data, etag, inline: undefined, published: [blob], writes };
  }

  #rejoined(head: HeadRecord, { id, root, page, kept }: OwnMap): Plan | Lacking {
    const last = page.at(-1)!;
    const joined = this.#joined;
    if (joined?.last !== last.blob) return { lacks: "joined", last, ...kept };
    const { clock, random } = this.#ctx;
    const algorithm = this.#verified?.algorithm;
    const digests = this.#ctx.digests.whole(algorithm === undefined ? ["md5"] : ["md5", algorithm], joined.bytes);
    const value = algorithm && digests[algorithm];
    const part: PartRecord = {
      ...this.#part(joined.blob, last.partNumber),
      md5: digests.md5!.toString("hex"),
      checksum: algorithm && value && { algorithm, value },
    };
    const trash = trashWrite({ blob: last.blob, atMs: clock.nowMs() }, random);
    const writes = [...rejoinedPartsWrites(id, root, page, part), trash];
    const etag = this.#etagWith(head, root.parts);
    return { data: head.data, etag, inline: undefined, published: [joined.blob], writes };
  }

  #newMap(
    head: HeadRecord,
    first: PartRecord,
    { blob, published, writes }: Pick<Plan, "published" | "writes"> & { readonly blob: Chunked },
  ): Plan {
    const id = newPartsMapId(this.#ctx);
    const map = newPartsBlobWrites(id, [first, this.#part(blob, 2)]);
    const etag = this.#etagWith(head, 2);
    const data = blobData(id, this.#isReduced);
    return { data, etag, inline: undefined, published, writes: [...writes, ...map] };
  }

  #part({ blob, sizeBytes }: Chunked, partNumber: number): PartRecord {
    const md5 = md5Of(this.#added).toString("hex");
    const modifiedMs = this.#ctx.clock.nowMs();
    return { partNumber, blob: blob.id, sizeBytes, modifiedMs, md5, checksum: this.#verified };
  }

  #etagWith({ etag }: HeadRecord, parts: number): string {
    const before = Buffer.from(etag.slice(0, 2 * MD5_BYTES), "hex");
    const md5 = this.#md5(Buffer.concat([before, md5Of(this.#added)]));
    return `${md5.toString("hex")}-${parts}`;
  }

  #md5(bytes: Buffer): Buffer {
    const { md5 } = this.#ctx.digests.whole(["md5"], bytes);
    assert(md5 !== undefined, "a digest that was asked for is there");
    return md5;
  }

  async #publish(tx: Transaction, target: Target, plan: Plan): Promise<PutResult> {
    const { head } = target;
    const { clock, session } = this.#ctx;
    const { origin } = this.#options;
    const { data, etag, inline } = plan;
    const replaced = await replacedBy(tx, target);
    for (const { blob } of plan.published)
      for (const write of newChunkedBlobWrites(blob, () => session.nextStamp())) tx.put(write.key, write.value);
    for (const write of plan.writes) if (write.kind === "put") tx.put(write.key, write.value);
    const stored = { storedFor: this.#storedFor, reduced: isOfReduced({ data }) };
    if (plan.published.length > 0) await convertLate(this.#ctx, tx, target.bucket, stored);
    const sizeBytes = (head?.sizeBytes ?? 0) + this.#added.sizeBytes;
    const checksum = this.#checksum(head);
    const modifiedMs = clock.nowMs();
    const { metadata, tags, acl } = head ?? this.#options;
    const next = { sizeBytes, modifiedMs, etag, checksum, metadata, tags, acl, data, inline };
    const versionId = await replaceVersion(this.#ctx, tx, target, {
      next,
      replaced,
      cause: { event: "ObjectCreated:Put", origin },
    });
    const ending = await endingOf(this.#ctx, target, target.key, next);
    return { etag, sizeBytes, modifiedMs, checksum, encryption: undefined, versionId, ...(ending && { ending }) };
  }

  /** Of the whole object. */
  #checksum(head: HeadRecord | undefined): StoredChecksum | undefined {
    if (head === undefined || head.sizeBytes === 0) return this.#verified && { ...this.#verified, type: "FULL_OBJECT" };
    const algorithm = carriedAlgorithm(head);
    if (algorithm === undefined || head.checksum === undefined) return undefined;
    const added = this.#added.digests[algorithm];
    // By one with another checksum.
    if (added === undefined) throw replacedMeanwhile();
    const value = combineCrc(algorithm, head.checksum.value, added, this.#added.sizeBytes);
    return { algorithm, type: "FULL_OBJECT", value };
  }

  async #store(lacking: Lacking): Promise<void> {
    const { bucket, isReduced } = lacking;
    const redundancy = redundancyIn(this.#ctx, bucket, isReduced);
    this.#storedFor.push(bucket);
    if (lacking.lacks === "before") {
      const outdated = this.#before;
      this.#before = undefined;
      if (outdated !== undefined) await this.#discardOne(outdated.blob);
      this.#before = { stamp: lacking.stamp, blob: await this.#write(lacking.bytes, redundancy) };
    } else if (lacking.lacks === "joined") await this.#join(lacking.last, redundancy);
    else {
      assert(this.#added.kind === "inline", "what came in chunks is a blob already");
      this.#addedBlob = await this.#write(this.#added.bytes, redundancy);
      this.#isReduced = isReduced;
    }
  }

  async #join(last: PartRecord, redundancy: Redundancy | undefined): Promise<void> {
    assert(this.#added.kind === "inline", "what is joined is in memory");
    const outdated = this.#joined;
    this.#joined = undefined;
    if (outdated !== undefined) await this.#discardOne(outdated.blob);
    let before: Buffer;
    try {
      before = await bytesOfPart(this.#ctx, last, this.#options.signal);
    } catch (error) {
      if (!(error instanceof HoldfastError) || this.#options.signal?.aborted === true) throw error;
      this.#unread = last.blob;
      return;
    }
    const bytes = Buffer.concat([before, this.#added.bytes]);
    this.#joined = { last: last.blob, bytes, blob: await this.#write(bytes, redundancy) };
  }

  async #write(bytes: Buffer, redundancy: Redundancy | undefined): Promise<Chunked> {
    const body: BodySource = {
      sizeBytes: bytes.length,
      collect: async () => bytes,
      async *stream() {
        // What is read belongs to the reader.
        yield Buffer.from(bytes);
      },
    };
    const { signal } = this.#options;
    const bounds = { inlineBytesMax: 0, bytesMax: limits.inlineBytesMax };
    const written = await this.#ctx.blobs.write(body, { digests: [], ...bounds, redundancy, signal });
    assert(written.kind === "chunked", "nothing is inline that may not be");
    return written;
  }

  /** All that is stored, but what was published. */
  async #discard(published: readonly Chunked[], error?: unknown): Promise<void> {
    for (const blob of [this.#addedBlob, this.#before?.blob, this.#joined?.blob])
      if (blob !== undefined && !published.includes(blob)) await this.#discardOne(blob, error);
  }

  /** Where it is not known whether a commit happened its chunks stay. */
  #discardOne(blob: Chunked, error: unknown = notPublished): Promise<void> {
    return discardUnpublished(this.#ctx, blob, error);
  }
}

/** Since the body began to come. */
function replacedMeanwhile(): HoldfastError {
  return new HoldfastError("operation_aborted", "The object was replaced while it was appended to; try again.");
}

const notPublished = new HoldfastError("operation_aborted", "It was not published.");

assert(limits.joinedPartBytesMax <= limits.inlineBytesMax, "what is joined is small");
assert(2 * limits.inlineBytesMax < limits.chunkBytesMax, "a small object and what is added to it are a chunk each");

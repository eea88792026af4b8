/**
 * Append: bytes added to the end of an object in one commit, without touching those that are there.
 *
 *  - A small object and a small body are joined in the body row. What grows beyond that becomes a blob of parts
 *    (uploads.complete.ts): the bytes so far are its first part, and every append adds one to its end.
 *  - A blob of parts that only this object's head refers to is extended in place: its root and its last page are written anew. A
 *    reader that began before sees as many bytes as its head says (chunk_map.ts).
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
  decodeBlobRoot,
  decodePartPage,
  encodeBlobRoot,
  extendedPartsWrites,
  newChunkedBlobWrites,
  newPartsBlobWrites,
  type BlobRoot,
  type PartRecord,
} from "../meta/blobs.ts";
import { MD5_BYTES } from "../meta/fields.ts";
import { blobData, decodeBody, isReduced as isOfReduced, type HeadRecord } from "../meta/heads.ts";
import { blobPageKey, blobRootKey, bodyKey, headKey } from "../meta/keys.ts";
import { carriedAlgorithm, judgeAppend, refuseBeforeBody, tooDeep, tooManyParts } from "./append.rules.ts";
import type { ObjectContext } from "./context.ts";
import { endingOf } from "./due.ts";
import { assertTags, checkMetadata, checkObjectKey } from "./names.ts";
import type { AppendOptions } from "./append_types.ts";
import type { ObjectMetadata, PutResult, StoredChecksum } from "./object.ts";
import { digestsWithMd5, discardUnpublished } from "./put.ts";
import { asksForReduced, redundancyIn } from "./storage_class.ts";
import { changeTarget, readRows, readTarget, type Target } from "./target.ts";
import { newPartsMapId } from "./uploads.complete.ts";
import { replacedBy, replaceVersion, type NewVersion } from "./versions.ts";

type Chunked = WrittenBody & { readonly kind: "chunked" };

/** A commit stores no chunks: what it lacks is stored between two attempts. */
type Lacking = { readonly isReduced: boolean; readonly redundancy: Redundancy | undefined } & (
  | { readonly lacks: "added" }
  /** The bytes of a small object, as this write of its head has them. */
  | { readonly lacks: "before"; readonly stamp: string; readonly bytes: Buffer }
);

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
  return new Appending(ctx, options, { added, isReduced }).run();
}

function writeAdded(
  ctx: ObjectContext,
  { head, bucket }: Target,
  options: AppendOptions & { readonly isReduced: boolean },
): Promise<WrittenBody> {
  const { digests } = options.verifier;
  const carried = head && carriedAlgorithm(head);
  return ctx.blobs.write(options.body, {
    digests: digestsWithMd5(carried === undefined ? digests : [...new Set([...digests, carried])]),
    inlineBytesMax: head?.data.kind === "blob" ? 0 : limits.inlineBytesMax,
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
  #verified: Omit<StoredChecksum, "type"> | undefined;

  constructor(
    ctx: ObjectContext,
    options: AppendOptions,
    { added, isReduced }: { readonly added: WrittenBody; readonly isReduced: boolean },
  ) {
    this.#ctx = ctx;
    this.#options = options;
    this.#added = added;
    this.#isReduced = isReduced;
    if (added.kind === "chunked") this.#addedBlob = added;
  }

  async run(): Promise<PutResult> {
    const { verifier } = this.#options;
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
    }
  }

  async #attempt(): Promise<PutResult | Lacking> {
    let published: readonly Chunked[] = [];
    const publishesChunks = this.#addedBlob !== undefined;
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
    const stored = { isReduced, redundancy: redundancyIn(this.#ctx, bucket, isReduced) };
    const added = this.#added;
    if (added.kind === "chunked" && isReduced !== this.#isReduced) throw replacedMeanwhile();
    if (head === undefined || head.sizeBytes === 0) return this.#asPut();
    const small = head.data.kind === "inline" ? await bytesOf(tx, target, head) : undefined;
    if (small !== undefined && added.kind === "inline" && small.length + added.sizeBytes <= limits.inlineBytesMax) {
      const inline = Buffer.concat([small, added.bytes]);
      const etag = this.#md5(inline).toString("hex");
      return { data: { kind: "inline" }, etag, inline, published: [], writes: [] };
    }
    const blob = this.#addedBlob;
    if (blob === undefined) return { lacks: "added", ...stored };
    if (isReduced !== this.#isReduced) throw replacedMeanwhile();
    if (small === undefined) return this.#behindBlob(tx, head, blob);
    const before = this.#before;
    if (before?.stamp !== head.stamp) return { lacks: "before", stamp: head.stamp, bytes: small, ...stored };
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

  async #behindBlob(tx: Transaction, head: HeadRecord, blob: Chunked): Promise<Plan> {
    assert(head.data.kind === "blob", "what is not small is a blob");
    const id = head.data.blob;
    const root = await readRoot(tx, id);
    if (root.kind === "parts" && root.refcount === 1) {
      const lastKey = blobPageKey(id, root.pages - 1);
      const [row] = await tx.get([lastKey]);
      if (row === undefined) throw new HoldfastError("corrupt_record", `The last page of blob ${id} is missing.`);
      const page = decodePartPage(row.value);
      const partNumber = page.at(-1)!.partNumber + 1;
      if (partNumber > limits.partsMax) throw tooManyParts();
      const part = this.#part(blob, partNumber);
      const etag = this.#etagWith(head, root.parts + 1);
      const writes = extendedPartsWrites(id, root, page, part);
      return { data: head.data, etag, inline: undefined, published: [blob], writes };
    }
    if (root.kind === "parts" && (await depthOf(tx, id)) >= limits.partsMapDepthMax) throw tooDeep();
    const shared = { ...root, refcount: root.refcount + 1 };
    const writes: Write[] = [{ kind: "put", key: blobRootKey(id), value: encodeBlobRoot(shared) }];
    return this.#newMap(head, firstPart(head, id), { blob, published: [blob], writes });
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
    const { redundancy, isReduced } = lacking;
    if (lacking.lacks === "before") {
      const outdated = this.#before;
      this.#before = undefined;
      if (outdated !== undefined) await this.#discardOne(outdated.blob);
      this.#before = { stamp: lacking.stamp, blob: await this.#write(lacking.bytes, redundancy) };
    } else {
      assert(this.#added.kind === "inline", "what came in chunks is a blob already");
      this.#addedBlob = await this.#write(this.#added.bytes, redundancy);
      this.#isReduced = isReduced;
    }
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
    for (const blob of [this.#addedBlob, this.#before?.blob])
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

// ---- Reading ----

/** Read together with the head, so that a change of both is noticed. */
async function bytesOf(tx: Transaction, { bucket, key }: Target, head: HeadRecord): Promise<Buffer> {
  const [, row] = await tx.get([headKey(bucket.id, key), bodyKey(bucket.id, key)]);
  return Buffer.from(decodeBody(head, row?.value));
}

async function readRoot(tx: Transaction, blob: BlobId): Promise<BlobRoot> {
  const [row] = await tx.get([blobRootKey(blob)]);
  if (row === undefined) throw new HoldfastError("corrupt_record", `The root of blob ${blob} is missing.`);
  return decodeBlobRoot(row.value);
}

/** How many blobs of parts lie within one another, each the first part of the one before. */
async function depthOf(tx: Transaction, blob: BlobId): Promise<number> {
  let next = blob;
  for (let depth = 1; ; depth++) {
    const [row] = await tx.get([blobPageKey(next, 0)]);
    const first = row && decodePartPage(row.value)[0];
    if (first === undefined) throw new HoldfastError("corrupt_record", `The parts of blob ${next} are missing.`);
    if ((await readRoot(tx, first.blob)).kind === "chunks") return depth;
    next = first.blob;
  }
}

/** All that was there. */
function firstPart({ sizeBytes, modifiedMs, etag, checksum }: HeadRecord, blob: BlobId): PartRecord {
  const whole = checksum?.type === "FULL_OBJECT" ? checksum : undefined;
  const md5 = etag.slice(0, 2 * MD5_BYTES);
  return {
    partNumber: 1,
    blob,
    sizeBytes,
    modifiedMs,
    md5,
    checksum: whole && { algorithm: whole.algorithm, value: whole.value },
  };
}

function md5Of({ digests: { md5 } }: WrittenBody): Buffer {
  assert(md5 !== undefined, "a digest that was asked for is there");
  return md5;
}

assert(2 * limits.inlineBytesMax < limits.chunkBytesMax, "a small object and what is added to it are a chunk each");

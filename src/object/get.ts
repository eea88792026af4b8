/**
 * GET and HEAD. Bucket, head and inline body come from one read of one state, so an answer is a whole version (a past one is
 * one row with its bytes). A read of
 * chunks is announced to the session before that, so that nothing it leads to is reclaimed until `release`.
 */
import { HoldfastError } from "../core/errors.ts";
import type { DataKey } from "../crypto/data_key.ts";
import type { HeadRecord } from "../meta/heads.ts";
import { findPart, openBlob, readBlob } from "./chunk_map.ts";
import type { OpenBlob, PlacedPart } from "./chunk_map.ts";
import { judgeRead } from "./conditions.ts";
import type { ObjectContext } from "./context.ts";
import { endingOf } from "./due.ts";
import { checkObjectKeyOf, openInline, openObjectKey } from "./encryption.ts";
import { checkObjectKey } from "./names.ts";
import type { GetOptions, GetOutcome, HeadOutcome, ObjectInfo, ResolvedRange, StoredChecksum } from "./object.ts";
import { resolveRange } from "./ranges.ts";
import { readVersion, type ReadVersion, type VersionAddress } from "./read_version.ts";
import { infoOf, readRows } from "./target.ts";

const nothing = (): void => undefined;

export async function getObject(ctx: ObjectContext, options: GetOptions): Promise<GetOutcome> {
  checkObjectKey(options.key);
  const release = ctx.session.beginRead();
  try {
    const version = await readVersion(ctx, readRows(ctx.kv), options, { body: true });
    const { head } = version;
    const info = await shownInfo(ctx, version, options);
    await checkPart(ctx, head, options);
    const dataKey = await openObjectKey(ctx, head, options.customerKey);
    if (judgeRead(head, options.conditions) === "not_modified") {
      release();
      return { outcome: "not_modified", info };
    }
    if (head.data.kind !== "blob") {
      const found = foundInline(version, info, options, dataKey);
      release();
      return found;
    }
    const open = await openBlob(ctx.kv, head.data.blob, { sizeBytes: head.sizeBytes, dataKey });
    const { range, partChecksum } = await selected(ctx, open, head, options);
    const span = range ?? { offset: 0, length: head.sizeBytes };
    const body = (): AsyncIterable<Buffer> => readBlob(ctx, open, span, options.signal);
    return { outcome: "found", info, range, partChecksum, inline: undefined, body, release };
  } catch (error) {
    release();
    throw error;
  }
}

async function shownInfo(
  ctx: ObjectContext,
  { target, head }: ReadVersion,
  { key, versionId }: GetOptions,
): Promise<ObjectInfo> {
  const info = infoOf(target.bucket, key, head);
  const ending = versionId === undefined ? await endingOf(ctx, target, key, head) : undefined;
  return ending === undefined ? info : { ...info, ending };
}

function foundInline(
  { head, bytes }: ReadVersion,
  info: ObjectInfo,
  options: GetOptions,
  dataKey: DataKey | undefined,
): GetOutcome {
  const { range, partChecksum } = onlyPart(head, options);
  const whole = openInline(head, bytes(), dataKey);
  const inline = range === undefined ? whole : whole.subarray(range.offset, range.offset + range.length);
  const body = async function* (): AsyncGenerator<Buffer> {
    if (inline.length > 0) yield inline;
  };
  return { outcome: "found", info, range, partChecksum, inline, body, release: nothing };
}

type Selected = { readonly range: ResolvedRange | undefined; readonly partChecksum: StoredChecksum | undefined };

/** What is asked for of an object that is not multipart: it is its own part 1. */
function onlyPart(head: HeadRecord, options: GetOptions): Selected {
  if (options.partNumber === undefined) {
    const range = options.range === undefined ? undefined : resolveRange(options.range, head.sizeBytes);
    return { range, partChecksum: undefined };
  }
  if (options.partNumber !== 1) {
    throw new HoldfastError("invalid_part_number", "The requested partnumber is not satisfiable.", {
      details: { partNumber: options.partNumber, partsCount: 1 },
    });
  }
  const range = head.sizeBytes === 0 ? undefined : { offset: 0, length: head.sizeBytes };
  return { range, partChecksum: undefined };
}

/** Whether there is such a part is said before whether a client's key is there and right: no key brings a part. */
async function checkPart(ctx: ObjectContext, head: HeadRecord, options: GetOptions): Promise<void> {
  if (options.partNumber === undefined || head.encryption?.mode !== "customer") return;
  if (head.data.kind !== "blob") onlyPart(head, options);
  else await selected(ctx, await openBlob(ctx.kv, head.data.blob, head), head, options);
}

async function selected(ctx: ObjectContext, open: OpenBlob, head: HeadRecord, options: GetOptions): Promise<Selected> {
  if (open.kind === "chunks" || options.partNumber === undefined) return onlyPart(head, options);
  const placed = await findPart(ctx.kv, open, options.partNumber);
  return { range: { offset: placed.offset, length: placed.part.sizeBytes }, partChecksum: checksumOf(placed, head) };
}

/** With the type of the object's: it says what the parts' checksums are for. */
function checksumOf({ part }: PlacedPart, { checksum }: HeadRecord): StoredChecksum | undefined {
  return part.checksum && { ...part.checksum, type: checksum?.type ?? "FULL_OBJECT" };
}

export async function describeObject(ctx: ObjectContext, options: VersionAddress): Promise<ObjectInfo> {
  checkObjectKey(options.key);
  const { target, head } = await readVersion(ctx, readRows(ctx.kv), options, { body: false });
  return infoOf(target.bucket, options.key, head);
}

export async function headObject(ctx: ObjectContext, options: GetOptions): Promise<HeadOutcome> {
  checkObjectKey(options.key);
  const release = options.partNumber === undefined ? nothing : ctx.session.beginRead();
  try {
    const version = await readVersion(ctx, readRows(ctx.kv), options, { body: false });
    const { head } = version;
    await checkPart(ctx, head, options);
    checkObjectKeyOf(head, options.customerKey);
    const info = await shownInfo(ctx, version, options);
    if (judgeRead(head, options.conditions) === "not_modified") return { outcome: "not_modified", info };
    const multipart = options.partNumber !== undefined && head.data.kind === "blob" && info.partsCount !== undefined;
    const { range, partChecksum } = multipart
      ? await selected(ctx, await openBlob(ctx.kv, head.data.blob, head), head, options)
      : onlyPart(head, options);
    return { outcome: "found", info, range, partChecksum };
  } finally {
    release();
  }
}

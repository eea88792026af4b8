/**
 * GET and HEAD. Bucket, head and inline body come from one read of one state, so an answer is a whole version. A read of
 * chunks is announced to the session before that, so that nothing it leads to is reclaimed until `release`.
 */
import { HoldfastError } from "../core/errors.ts";
import { decodeBody } from "../meta/heads.ts";
import type { HeadRecord } from "../meta/heads.ts";
import { findPart, openBlob, readBlob } from "./chunk_map.ts";
import type { OpenBlob, PlacedPart } from "./chunk_map.ts";
import { judgeRead } from "./conditions.ts";
import type { ObjectContext } from "./context.ts";
import { checkObjectKey, checkVersionId } from "./names.ts";
import type { GetOptions, GetOutcome, HeadOutcome, ObjectInfo, ResolvedRange, StoredChecksum } from "./object.ts";
import { resolveRange } from "./ranges.ts";
import { infoOf, noSuchKey, readRows, readTarget } from "./target.ts";
import type { Target } from "./target.ts";

const nothing = (): void => undefined;

export async function getObject(ctx: ObjectContext, options: GetOptions): Promise<GetOutcome> {
  checkObjectKey(options.key);
  checkVersionId(options.versionId);
  const release = ctx.session.beginRead();
  try {
    const target = await readTarget(ctx, readRows(ctx.kv), options, { body: true });
    const head = existing(target);
    const info = infoOf(options.key, head);
    if (judgeRead(head, options.conditions) === "not_modified") {
      release();
      return { outcome: "not_modified", info };
    }
    if (head.data.kind !== "blob") {
      const found = foundInline(target, head, info, options);
      release();
      return found;
    }
    const open = await openBlob(ctx.kv, head.data.blob);
    const { range, partChecksum } = await selected(ctx, open, head, options);
    const span = range ?? { offset: 0, length: head.sizeBytes };
    const body = (): AsyncIterable<Buffer> => readBlob(ctx, open, span, options.signal);
    return { outcome: "found", info, range, partChecksum, inline: undefined, body, release };
  } catch (error) {
    release();
    throw error;
  }
}

/** The current version. Errors: `no_such_key`. */
export function existing(target: Target): HeadRecord {
  if (target.head === undefined) throw noSuchKey();
  return target.head;
}

/** The bytes of a version that has no blob. */
export function inlineBytes(target: Target, head: HeadRecord): Buffer {
  return head.data.kind === "empty" ? Buffer.alloc(0) : decodeBody(head, target.bodyEntry?.value);
}

function foundInline(target: Target, head: HeadRecord, info: ObjectInfo, options: GetOptions): GetOutcome {
  const { range, partChecksum } = onlyPart(head, options);
  const whole = inlineBytes(target, head);
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
  return { range, partChecksum: head.checksum };
}

async function selected(ctx: ObjectContext, open: OpenBlob, head: HeadRecord, options: GetOptions): Promise<Selected> {
  if (open.kind === "chunks" || options.partNumber === undefined) return onlyPart(head, options);
  const placed = await findPart(ctx.kv, open, options.partNumber);
  return { range: { offset: placed.offset, length: placed.part.sizeBytes }, partChecksum: checksumOf(placed) };
}

function checksumOf({ part }: PlacedPart): StoredChecksum | undefined {
  return part.checksum && { ...part.checksum, type: "FULL_OBJECT" };
}

export async function headObject(ctx: ObjectContext, options: GetOptions): Promise<HeadOutcome> {
  checkObjectKey(options.key);
  checkVersionId(options.versionId);
  const release = options.partNumber === undefined ? nothing : ctx.session.beginRead();
  try {
    const head = existing(await readTarget(ctx, readRows(ctx.kv), options));
    const info = infoOf(options.key, head);
    if (judgeRead(head, options.conditions) === "not_modified") return { outcome: "not_modified", info };
    const multipart = options.partNumber !== undefined && head.data.kind === "blob" && info.partsCount !== undefined;
    const { range, partChecksum } = multipart
      ? await selected(ctx, await openBlob(ctx.kv, head.data.blob), head, options)
      : onlyPart(head, options);
    return { outcome: "found", info, range, partChecksum };
  } finally {
    release();
  }
}

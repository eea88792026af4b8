/**
 * One entry of a commit over several keys: what is read for it, and what it writes. The order of both is commit.ts's.
 *
 * What is put is encrypted as the bucket has it. What is copied must be encrypted so already, for its bytes stay where they
 * are; what is renamed stays the same object, sealed with the same key, which nobody needs for that. So it is with the storage class.
 */
import { HoldfastError } from "../core/errors.ts";
import type { Transaction } from "../kv/transact.ts";
import type { HeadRecord } from "../meta/heads.ts";
import type { Cause } from "./announce.ts";
import type { CommitEntry, CommittedEntry, EntryOf } from "./commit_types.ts";
import { judgeCopySource, judgeRenameTarget, judgeWrite } from "./conditions.ts";
import type { ObjectContext } from "./context.ts";
import { encryptionOfCopy, hasBlob, readSource } from "./copy.ts";
import { wantedIn } from "./default_encryption.ts";
import { deleteTarget } from "./delete.ts";
import { etagOf, newEncryption, sealInline } from "./encryption.ts";
import type { ObjectInfo, RequestOrigin } from "./object.ts";
import type { ReadVersion } from "./read_version.ts";
import { refuseLocked } from "./locks.ts";
import { newLock } from "./object_lock.ts";
import { isDoneAlready, renamedBy } from "./rename_token.ts";
import type { SharedBlobs } from "./shared_blobs.ts";
import { mayShare } from "./storage_class.ts";
import { hasVersions, infoOf, readTarget, type Target } from "./target.ts";
import { replacedBy, replaceVersion, type NewVersion } from "./versions.ts";

export type ReadEntry<Entry extends CommitEntry = CommitEntry> = {
  readonly entry: Entry;
  readonly target: Target;
  /** What is copied or renamed; undefined for a rename that was done before. */
  readonly source: ReadVersion | undefined;
  /** What an entry that writes makes current; of a rename too, but when it was done before. */
  readonly next: NewVersion | undefined;
  /** That the metadata store takes up for it. */
  readonly newBytes: number;
};

/** Errors: `no_such_bucket`, `access_denied` for a rename of what is locked, those of a copy's source, `idempotency_mismatch`, those of `admit`. */
export async function readEntry(
  ctx: ObjectContext,
  tx: Transaction,
  bucket: string,
  entry: CommitEntry,
): Promise<ReadEntry> {
  const read = (keys: Parameters<Transaction["get"]>[0]): ReturnType<Transaction["get"]> => tx.get(keys);
  const options = entry.kind === "check" ? {} : ({ body: "kept" } as const);
  const target = await readTarget(ctx, read, { bucket, key: entry.key }, options);
  const nothing = { entry, target, source: undefined, next: undefined, newBytes: 0 };
  if (entry.kind === "check") entry.admit?.(infoAt(target));
  if (entry.kind === "check" || entry.kind === "delete") return nothing;
  // As every new version has it: by the bucket's default, what is renamed too.
  const lock = await newLock(ctx, tx, target, undefined);
  if (entry.kind === "put") {
    const next = { ...(await versionOfBytes(ctx, target, entry)), ...lock };
    return { ...nothing, next, newBytes: entry.bytes.length };
  }
  if (entry.kind === "rename" && isDoneAlready(target.head?.renamed, renamedBy(entry))) {
    entry.source.admit?.(infoOf(target.bucket, entry.key, target.head!));
    return nothing;
  }
  const source = await readSource(ctx, read, { bucket, ...entry.source }, { body: true });
  const made = entry.kind === "copy" ? await copyOf(ctx, source, { entry, target }) : renamed(ctx, source, entry);
  const next = { ...made, ...lock };
  return { entry, target, source, next, newBytes: next.inline?.length ?? 0 };
}

/** Errors: `precondition_failed`, `no_such_key`. */
export async function applyEntry(
  ctx: ObjectContext,
  tx: Transaction,
  { entry, target, source, next }: ReadEntry,
  { blobs, origin }: { readonly blobs: SharedBlobs; readonly origin: RequestOrigin | undefined },
): Promise<CommittedEntry> {
  const by = origin && { origin };
  if (entry.kind === "delete") {
    const { versionId, isMarker } = await deleteTarget(ctx, tx, target, { ...entry, ...by });
    return { key: entry.key, etag: undefined, versionId, isMarker };
  }
  if (entry.kind === "check" || next === undefined) {
    if (entry.kind === "check") judgeWrite(target.head, entry.conditions);
    return standing(target);
  }
  if (source !== undefined && entry.kind !== "put") judgeCopySource(source.head, entry.source.conditions);
  if (entry.kind === "rename") judgeRenameTarget(target.head, entry.conditions);
  else judgeWrite(target.head, entry.conditions);
  const result = await place(ctx, tx, target, { next, blobs, cause: { event: eventOf(entry), origin } });
  if (entry.kind === "rename" && source !== undefined)
    await deleteTarget(ctx, tx, source.target, { key: entry.source.key, ...by });
  return result;
}

/** What is renamed was there already, under another key: for whoever watches the new one that is a copy. */
function eventOf({ kind }: CommitEntry): "ObjectCreated:Put" | "ObjectCreated:Copy" {
  return kind === "put" ? "ObjectCreated:Put" : "ObjectCreated:Copy";
}

/** Nothing was changed: what stands there. */
function standing(target: Target): CommittedEntry {
  const { key } = target;
  const info = infoAt(target);
  return { key, etag: info?.etag, versionId: info?.versionId, isMarker: false };
}

function infoAt({ bucket, key, head }: Target): ObjectInfo | undefined {
  return head && infoOf(bucket, key, head);
}

/** Makes it the key's current version, with one more reference to its blob, unless what it replaces had that already. */
async function place(
  ctx: ObjectContext,
  tx: Transaction,
  target: Target,
  { next, blobs, cause }: { readonly next: NewVersion; readonly blobs: SharedBlobs; readonly cause: Cause },
): Promise<CommittedEntry> {
  const replaced = await replacedBy(tx, target);
  if (next.data.kind === "blob" && !hasBlob(replaced?.head, next.data.blob)) blobs.add(next.data.blob);
  const versionId = await replaceVersion(ctx, tx, target, { next, replaced, cause });
  return { key: target.key, etag: next.etag, versionId, isMarker: false };
}

async function versionOfBytes(
  ctx: ObjectContext,
  target: Target,
  { bytes, metadata, tags, acl }: EntryOf<"put">,
): Promise<NewVersion> {
  const encryption = await newEncryption(ctx, await wantedIn(ctx, target, undefined));
  const etag = etagOf(ctx.digests.whole(["md5"], bytes).md5!, encryption);
  const facts = {
    sizeBytes: bytes.length,
    modifiedMs: ctx.clock.nowMs(),
    etag,
    checksum: undefined,
    metadata,
    tags,
    acl,
  };
  if (bytes.length === 0)
    return { ...facts, data: { kind: "empty" }, inline: undefined, encryption: encryption?.record };
  return { ...facts, data: { kind: "inline" }, ...sealInline(bytes, encryption) };
}

/** Errors: `invalid_request` where it is to be encrypted in another way than its source is, or stored as another class. */
async function copyOf(
  ctx: ObjectContext,
  source: ReadVersion,
  { entry: { metadata, tags, acl }, target }: { readonly entry: EntryOf<"copy">; readonly target: Target },
): Promise<NewVersion> {
  const wanted = await wantedIn(ctx, target, undefined);
  const encryption = await encryptionOfCopy(ctx, source.head, undefined, wanted);
  if (encryption === "needs_bytes")
    throw new HoldfastError(
      "invalid_request",
      "The source is not encrypted as new objects of the bucket are. Copy it by itself first, or rename it.",
    );
  if (metadata !== undefined && !mayShare(source.head, metadata))
    throw new HoldfastError(
      "invalid_request",
      "The source is stored as another storage class. Copy it by itself first, or rename it.",
    );
  const kept = keptOf(source);
  const modifiedMs = ctx.clock.nowMs();
  return { ...kept, modifiedMs, metadata: metadata ?? kept.metadata, tags: tags ?? kept.tags, acl, encryption };
}

function renamed(ctx: ObjectContext, source: ReadVersion, entry: EntryOf<"rename">): NewVersion {
  const { head, target } = source;
  // Under a marker it would still be there, but no longer where it was said to stay.
  refuseLocked(head, { nowMs: ctx.clock.nowMs(), bypassesGovernance: false });
  // Where there are versions it is a new one, whose time tells when it became current.
  const modifiedMs = hasVersions(target.bucket) ? ctx.clock.nowMs() : head.modifiedMs;
  return { ...keptOf(source), acl: head.acl, encryption: head.encryption, modifiedMs, renamed: renamedBy(entry) };
}

type Kept = Pick<HeadRecord, "sizeBytes" | "etag" | "checksum" | "metadata" | "tags" | "data"> &
  Pick<NewVersion, "inline">;

/** What a copy has of its source; a lock and an access control list, for two, it has not. The bytes are as they are stored. */
function keptOf({ head, bytes }: ReadVersion): Kept {
  const { sizeBytes, etag, checksum, metadata, tags, data } = head;
  return { sizeBytes, etag, checksum, metadata, tags, data, inline: data.kind === "inline" ? bytes() : undefined };
}

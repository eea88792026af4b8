/**
 * What a change to a key writes. One place knows what must change together: head, body, past rows, usage and trash.
 *
 * In a bucket that never was versioned a key has its head and nothing else. Otherwise (docs/decisions/0013-versions.md):
 *  - An object that is current is the key's head; a delete marker that is current stands in the marker row; all else are past
 *    rows by `order`, which rises by one with every version. Where there is a past row, there is something current.
 *  - While versioning is enabled a write keeps what it takes the place of. While it is suspended a write makes the null
 *    version, and only the null version that was there goes, wherever it stands.
 *  - The current row knows where among the past ones the null version stands (`nullOrder`). What it names may be gone, but
 *    then no other version stands there: an order is given again only when all newer versions, and the pointer, are gone.
 *  - Removing what is current makes the newest past version current again.
 * So a change costs a few rows, however many versions the key has.
 *
 * Every version that goes, removed or replaced, goes through `letGo`, which refuses it where it is locked (locks.ts). Every
 * change says what lifecycle rules may want of the key from now on (due.ts).
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import type { Entry, Key } from "../kv/kv.ts";
import type { Transaction } from "../kv/transact.ts";
import {
  decodeBody,
  decodePast,
  encodeBody,
  encodeHead,
  encodePast,
  isNullVersion,
  orderOf,
  pastOf,
} from "../meta/heads.ts";
import type { HeadRecord, VersionRecord } from "../meta/heads.ts";
import { bodyKey, headKey, markerKey, pastKey, pastRange } from "../meta/keys.ts";
import { trashWrite } from "../meta/trash.ts";
import { announce, type Cause } from "./announce.ts";
import type { ObjectContext } from "./context.ts";
import { noteDue } from "./due.ts";
import { refuseLocked } from "./locks.ts";
import { countChange } from "./quotas.ts";
import { reducedIn, type Placed } from "./storage_class.ts";
import { hasVersions, type ReadRows, type Target } from "./target.ts";
import { versionIdOf, type VersionRef } from "./version_ids.ts";

/** A version as it stands in the store. */
export type StoredVersion = {
  readonly place: "head" | "marker" | "past";
  readonly head: HeadRecord;
  /** The bytes of a past version; those of a head are in the body row. */
  readonly inline: Buffer | undefined;
};

export type NewVersion = Omit<HeadRecord, "epoch" | "stamp" | "version"> & {
  /** Given exactly when data.kind is `inline`. */
  readonly inline: Uint8Array | undefined;
};

function currentOf({ head, marker }: Target): StoredVersion | undefined {
  if (head !== undefined) return { place: "head", head, inline: undefined };
  return marker && { place: "marker", head: marker, inline: undefined };
}

function placeOf({ bucket, key }: Target, order: number): Buffer {
  return pastKey(bucket.id, key, BigInt(order));
}

/**
 * The version that is meant; undefined: there is none. `changed`: another request changed the key since the target was read,
 * so nobody can tell.
 */
export async function findVersion(
  target: Target,
  ref: VersionRef,
  read: ReadRows,
): Promise<StoredVersion | undefined | "changed"> {
  const current = currentOf(target);
  if (current === undefined || isMeant(current.head, ref)) return current;
  const order = ref.kind === "id" ? ref.order : current.head.version?.nullOrder;
  if (order === undefined || !hasVersions(target.bucket)) return undefined;
  const { bucket, key, headEntry, markerEntry } = target;
  const rows = await read([headKey(bucket.id, key), markerKey(bucket.id, key), placeOf(target, order)]);
  if (rows[0]?.version !== headEntry?.version || rows[1]?.version !== markerEntry?.version) return "changed";
  const past = rows[2] && decodePast(rows[2].value);
  return past && isMeant(past.head, ref) ? { place: "past", ...past } : undefined;
}

function isMeant(head: HeadRecord, ref: VersionRef): boolean {
  if (ref.kind === "null") return isNullVersion(head);
  return !isNullVersion(head) && orderOf(head) === ref.order && head.stamp === ref.stamp;
}

/** findVersion in a transaction, which runs again if anything changed. */
export async function findInTransaction(
  tx: Transaction,
  target: Target,
  ref: VersionRef,
): Promise<StoredVersion | undefined> {
  const found = await findVersion(target, ref, (keys: readonly Key[]) => tx.get(keys));
  // Two versions of a row were read, so the error is not passed on: see transact.
  if (found === "changed") throw new HoldfastError("operation_aborted", "The key was changed meanwhile.");
  return found;
}

/** The version that goes when a new one, or a marker, is written: the head, none, or the null version. */
export async function replacedBy(tx: Transaction, target: Target): Promise<StoredVersion | undefined> {
  const { versioning } = target.bucket;
  if (versioning === "unversioned") return currentOf(target);
  return versioning === "enabled" ? undefined : findInTransaction(tx, target, { kind: "null" });
}

export type Replacement = {
  readonly next: NewVersion;
  /** What replacedBy said. */
  readonly replaced: StoredVersion | undefined;
  readonly cause: Cause;
};

/** Makes `next` the key's current version. Returns the version's id, if it has one. */
export async function replaceVersion(
  ctx: ObjectContext,
  tx: Transaction,
  target: Target,
  { next, replaced, cause }: Replacement,
): Promise<string | undefined> {
  const { bucket, key, head: old } = target;
  const stamp = ctx.session.nextStamp();
  const { inline, ...fields } = next;
  const version = placeOfNew(target);
  const head = { ...fields, epoch: bucket.epoch, stamp, version };
  const pastRows = yieldPlace(tx, target, replaced);
  tx.put(headKey(bucket.id, key), encodeHead(head));
  putBody(tx, target, stamp, inline);
  letGo(ctx, tx, replaced?.head, { next });
  const bytes = next.sizeBytes - (replaced?.head.sizeBytes ?? 0);
  const objects = old === undefined ? 1 : 0;
  const displaced = displacedIn(target, replaced);
  const reduced = reducedIn(
    [
      { place: "head", head },
      { place: "past", head: displaced },
    ],
    goneFrom(target, replaced),
  );
  await countChange(ctx, tx, target.bucket, { objects, bytes, pastRows, reduced, isBounded: true });
  await announce(ctx, tx, target, { cause, version: head });
  await noteDue(ctx, tx, target, { current: head, displaced });
  return version && versionIdOf(head);
}

const noEtag = "0".repeat(32);

/** Makes a delete marker the key's current version: DELETE where there are versions. Returns the marker's id. */
export async function addMarker(
  ctx: ObjectContext,
  tx: Transaction,
  target: Target,
  { replaced, cause }: Pick<Replacement, "replaced" | "cause">,
): Promise<string> {
  const { bucket, key, head: old } = target;
  const marker: HeadRecord = {
    sizeBytes: 0,
    modifiedMs: ctx.clock.nowMs(),
    etag: noEtag,
    checksum: undefined,
    metadata: { headers: {}, user: {} },
    data: { kind: "marker" },
    epoch: bucket.epoch,
    stamp: ctx.session.nextStamp(),
    version: placeOfNew(target),
  };
  const pastRows = yieldPlace(tx, target, replaced) + 1;
  if (old !== undefined) tx.delete(headKey(bucket.id, key));
  putBody(tx, target, marker.stamp, undefined);
  tx.put(markerKey(bucket.id, key), encodePast({ head: marker, inline: undefined }));
  letGo(ctx, tx, replaced?.head);
  const bytes = -(replaced?.head.sizeBytes ?? 0);
  const objects = old === undefined ? 0 : -1;
  const displaced = displacedIn(target, replaced);
  const reduced = reducedIn([{ place: "past", head: displaced }], goneFrom(target, replaced));
  await countChange(ctx, tx, target.bucket, { objects, bytes, pastRows, reduced, isBounded: false });
  await announce(ctx, tx, target, { cause, version: marker });
  await noteDue(ctx, tx, target, { current: marker, displaced });
  return versionIdOf(marker);
}

/** Where the next version of the key stands; undefined in a bucket without versions. */
function placeOfNew(target: Target): VersionRecord | undefined {
  if (!hasVersions(target.bucket)) return undefined;
  const current = currentOf(target)?.head;
  const order = current === undefined ? 1 : orderOf(current) + 1;
  // The null version that was there goes, or becomes a past one.
  if (target.bucket.versioning === "suspended") return { order, isNull: true, nullOrder: undefined };
  if (current === undefined) return { order, isNull: false, nullOrder: undefined };
  const nullOrder = isNullVersion(current) ? orderOf(current) : current.version?.nullOrder;
  return { order, isNull: false, nullOrder };
}

/** What is in its place no more when a new version is written: what was current, and what is replaced among the past ones. */
function goneFrom(target: Target, replaced: StoredVersion | undefined): Placed[] {
  return [currentOf(target), replaced?.place === "past" ? replaced : undefined].filter((gone) => gone !== undefined);
}

/** What is current and becomes a past version, for it is not replaced. */
function displacedIn(target: Target, replaced: StoredVersion | undefined): HeadRecord | undefined {
  const current = currentOf(target);
  return current?.place === replaced?.place ? undefined : current?.head;
}

/** Moves what is current among the past versions, or takes it away if it is `replaced`. Returns by how many past rows there are more. */
function yieldPlace(tx: Transaction, target: Target, replaced: StoredVersion | undefined): number {
  let pastRows = 0;
  if (replaced?.place === "past") {
    tx.delete(placeOf(target, orderOf(replaced.head)));
    pastRows -= 1;
  }
  const { bucket, key } = target;
  const current = currentOf(target);
  if (current?.place === "marker") {
    tx.delete(markerKey(bucket.id, key));
    pastRows -= 1;
  }
  if (current === undefined || current.place === replaced?.place) return pastRows;
  tx.put(placeOf(target, orderOf(current.head)), pastRowOf(target, current));
  return pastRows + 1;
}

/** What is current as a past row: its rows' bytes as they are. */
function pastRowOf({ headEntry, markerEntry, bodyEntry }: Target, { place, head }: StoredVersion): Buffer {
  if (place === "marker") return markerEntry!.value;
  return pastOf(headEntry!.value, head.data.kind === "inline" ? decodeBody(head, bodyEntry?.value) : undefined);
}

/** The body row beside the new head, or none where there was one. */
function putBody(tx: Transaction, { bucket, key, head }: Target, stamp: string, inline: Uint8Array | undefined): void {
  if (inline !== undefined) tx.put(bodyKey(bucket.id, key), encodeBody(stamp, inline));
  else if (head?.data.kind === "inline") tx.delete(bodyKey(bucket.id, key));
}

/**
 * The same version, of which something else is said now: its row is written anew where it is. That of a past version is none of
 * those which tell of the key's other changes; who found it in the transaction has it checked. Without a cause nobody is told.
 */
export async function rewriteVersion(
  ctx: ObjectContext,
  tx: Transaction,
  target: Target,
  { version, cause }: { readonly version: StoredVersion; readonly cause: Cause | undefined },
): Promise<void> {
  const { bucket, key } = target;
  const { place, head, inline } = version;
  assert(place !== "marker", "a delete marker says nothing else");
  if (place === "past") tx.put(placeOf(target, orderOf(head)), encodePast({ head, inline }));
  else tx.put(headKey(bucket.id, key), encodeHead(head));
  if (cause !== undefined) await announce(ctx, tx, target, { cause, version: head });
  await noteDue(ctx, tx, target, place === "past" ? { rewritten: head } : { current: head });
}

export type Removal = {
  readonly version: StoredVersion;
  /** The caller may remove what a retention in GOVERNANCE mode keeps. */
  readonly bypassesGovernance: boolean;
  readonly cause: Cause;
};

/** Removes this version for good. Errors: `access_denied` where it is locked. */
export async function removeVersion(
  ctx: ObjectContext,
  tx: Transaction,
  target: Target,
  { version: { place, head }, bypassesGovernance, cause }: Removal,
): Promise<void> {
  const change = { objects: 0, bytes: -head.sizeBytes, pastRows: 0 };
  let moved: HeadRecord | undefined;
  // A marker may have nothing behind it any more.
  let current = target.marker;
  if (place === "past") {
    tx.delete(placeOf(target, orderOf(head)));
    change.pastRows = -1;
  } else {
    const next = hasVersions(target.bucket) ? await nextOldest(tx, target, head) : undefined;
    promote(tx, target, next);
    current = moved = next?.past.head;
    const becomesObject = next !== undefined && next.past.head.data.kind !== "marker";
    change.objects = (becomesObject ? 1 : 0) - (place === "head" ? 1 : 0);
    change.pastRows = -((becomesObject ? 1 : 0) + (place === "marker" ? 1 : 0));
  }
  letGo(ctx, tx, head, { bypassesGovernance });
  const gone: Placed[] = [
    { place, head },
    { place: "past", head: moved },
  ];
  const reduced = reducedIn([{ place: "head", head: moved }], gone);
  await countChange(ctx, tx, target.bucket, { ...change, reduced, isBounded: false });
  await announce(ctx, tx, target, { cause, version: head });
  await noteDue(ctx, tx, target, { current });
}

type Past = { readonly entry: Entry; readonly past: ReturnType<typeof decodePast> };

/**
 * The newest version that is older. A newer one cannot come between without a change of what is current, which is checked, so
 * it is enough to check the row that was found.
 */
async function nextOldest(tx: Transaction, target: Target, current: HeadRecord): Promise<Past | undefined> {
  const { end } = pastRange(target.bucket.id, target.key);
  const [entry] = await tx.scan({ start: placeOf(target, orderOf(current)), end }, { limit: 1 });
  if (entry === undefined) return undefined;
  tx.check(entry.key, entry.version);
  const past = decodePast(entry.value);
  const order = orderOf(past.head);
  const pointer = current.version?.nullOrder;
  const nullOrder = pointer !== undefined && pointer < order ? pointer : undefined;
  const { version } = past.head;
  return { entry, past: { ...past, head: { ...past.head, version: version && { ...version, nullOrder } } } };
}

/** Puts a past version where the current one stands, which goes. */
function promote(tx: Transaction, target: Target, next: Past | undefined): void {
  const { bucket, key, head, marker } = target;
  if (next !== undefined) tx.delete(next.entry.key);
  const { inline, head: promoted } = next?.past ?? { inline: undefined, head: undefined };
  const isMarker = promoted?.data.kind === "marker";
  if (promoted !== undefined && !isMarker) tx.put(headKey(bucket.id, key), encodeHead(promoted));
  else if (head !== undefined) tx.delete(headKey(bucket.id, key));
  if (promoted !== undefined && isMarker)
    tx.put(markerKey(bucket.id, key), encodePast({ head: promoted, inline: undefined }));
  else if (marker !== undefined) tx.delete(markerKey(bucket.id, key));
  putBody(tx, target, promoted?.stamp ?? "", inline);
}

type LetGo = {
  /** What takes its place. */
  readonly next?: Pick<HeadRecord, "data">;
  readonly bypassesGovernance?: boolean;
};

/** The version goes, and its blob with it. Errors: `access_denied` where it is locked. */
function letGo(
  ctx: ObjectContext,
  tx: Transaction,
  old: HeadRecord | undefined,
  { next, bypassesGovernance = false }: LetGo = {},
): void {
  if (old === undefined) return;
  refuseLocked(old, { nowMs: ctx.clock.nowMs(), bypassesGovernance });
  if (old.data.kind !== "blob") return;
  // A copy onto a key that has this blob already keeps the reference that is there.
  if (next?.data.kind === "blob" && next.data.blob === old.data.blob) return;
  const trash = trashWrite({ blob: old.data.blob, atMs: ctx.clock.nowMs() }, ctx.random);
  tx.put(trash.key, trash.value);
}

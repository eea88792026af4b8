/**
 * The doctor's look at what is counted in one place: a counted bucket's row says as many objects and bytes as its usage rows and the
 * parts of its uploads come to, and an account's as many as its buckets. (That the usage rows say what is there, another step finds.)
 */
import type { BucketId, UploadId } from "../core/ids.ts";
import { readCounters, type Entry, type Kv } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { decodeBucket } from "../meta/buckets.ts";
import {
  bucketIdOf,
  bucketNameOf,
  parseUploadKey,
  parseUsageKey,
  partRange,
  tagRange,
  tags,
  type Tag,
} from "../meta/keys.ts";
import { accountQuotaKey, countedSession, heldKey, heldUploadOf, quotaAccountOf } from "../meta/quota_keys.ts";
import { decodeAccountQuota, readCounted, readHeld, type BucketQuota, type Held } from "../meta/quotas.ts";
import { decodePart } from "../meta/uploads.ts";
import type { Finding } from "./doctor.ts";

type Counted = {
  readonly name: string;
  readonly account: string;
  readonly quota: BucketQuota;
  /** What the usage rows and parts come to, and what the one row says. */
  objects: number;
  bytes: number;
  says: ReturnType<typeof readCounted>;
};

export async function* checkQuotas(kv: Kv): AsyncGenerator<Finding> {
  const buckets = await countedBuckets(kv);
  yield* checkHeld(kv, buckets);
  for await (const { key, value } of rowsOf(kv, tags.usage)) {
    const { bucket: id, session } = parseUsageKey(key);
    const bucket = buckets.get(id);
    if (bucket === undefined) continue;
    const [objects = 0, bytes = 0, versions = 0] = readCounters(value);
    bucket.objects += objects + versions;
    bucket.bytes += bytes;
    if (session === countedSession) bucket.says = readCounted(value);
  }
  for (const { name, quota, objects, bytes, says } of buckets.values()) {
    if (quota.isCounted) yield* compare(`bucket ${name}`, says.held, { objects, bytes });
  }
  yield* checkAccounts(kv, [...buckets.values()]);
}

/** A bucket's row that cannot be read is another step's finding. */
async function countedBuckets(kv: Kv): Promise<Map<BucketId, Counted>> {
  const buckets = new Map<BucketId, Counted>();
  for await (const { key, value } of rowsOf(kv, tags.bucket)) {
    const bucket = readable(() => decodeBucket(value));
    if (bucket?.quota === undefined) continue;
    const { id, quota, account = "" } = bucket;
    buckets.set(id, { name: bucketNameOf(key), account, quota, objects: 0, bytes: 0, says: readCounted(undefined) });
  }
  return buckets;
}

/** Of each upload that is counted; its bytes become its bucket's. */
async function* checkHeld(kv: Kv, buckets: ReadonlyMap<BucketId, Counted>): AsyncGenerator<Finding> {
  const uploads = new Map<UploadId, BucketId>();
  for await (const { key } of rowsOf(kv, tags.upload)) uploads.set(parseUploadKey(key).upload, bucketIdOf(key));
  for await (const { key, value } of rowsOf(kv, tags.held)) {
    const upload = heldUploadOf(key);
    const id = uploads.get(upload);
    const where = `held bytes of upload ${upload}`;
    if (id === undefined) {
      if (await isStillThere(kv, upload))
        yield { kind: "stray_record", where, message: "There is no such upload; nothing is lost by it." };
      continue;
    }
    const { bytes } = readHeldBytes(value);
    const bucket = buckets.get(id);
    if (bucket !== undefined) bucket.bytes += bytes;
    yield* compare(where, { objects: 0, bytes }, { objects: 0, bytes: await partBytes(kv, upload) });
  }
}

async function isStillThere(kv: Kv, upload: UploadId): Promise<boolean> {
  const [row] = await kv.get([heldKey(upload)]);
  return row !== undefined;
}

function readHeldBytes(value: Buffer): { readonly bytes: number } {
  const [bytes = 0] = readCounters(value);
  return { bytes };
}

async function partBytes(kv: Kv, upload: UploadId): Promise<number> {
  let bytes = 0;
  for await (const rows of scanPages(kv, partRange(upload)))
    for (const { value } of rows) bytes += readable(() => decodePart(value).sizeBytes) ?? 0;
  return bytes;
}

async function* checkAccounts(kv: Kv, buckets: readonly Counted[]): AsyncGenerator<Finding> {
  for await (const { key, value } of rowsOf(kv, tags.quota))
    if (readable(() => decodeAccountQuota(value)) === undefined)
      yield { kind: "corrupt_record", where: `quota of account ${shown(quotaAccountOf(key))}`, message: unreadable };
  const accounts = new Map<string, Held>();
  for (const { account, quota, says } of buckets) {
    if (quota.account === "none") continue;
    const counts = quota.account === "joined" ? says.held : says.since;
    const { objects, bytes } = accounts.get(account) ?? { objects: 0, bytes: 0 };
    accounts.set(account, { objects: objects + counts.objects, bytes: bytes + counts.bytes });
  }
  for await (const { key, value } of rowsOf(kv, tags.holding)) {
    const account = quotaAccountOf(key);
    const [quota] = await kv.get([accountQuotaKey(account)]);
    const where = `account ${shown(account)}`;
    if (quota === undefined) yield { kind: "stray_record", where, message: "It is counted and has no quota's row." };
    yield* compare(where, readHeld(value), accounts.get(account) ?? { objects: 0, bytes: 0 });
    accounts.delete(account);
  }
  for (const [account, held] of accounts) yield* compare(`account ${shown(account)}`, { objects: 0, bytes: 0 }, held);
}

const unreadable = "It is of a form that is not known, and cannot be read: writes to its buckets fail.";

function shown(account: string): string {
  return account === "" ? "of the store" : account;
}

function* compare(where: string, says: Held, there: Held): Generator<Finding> {
  if (says.objects === there.objects && says.bytes === there.bytes) return;
  const message =
    `A quota is judged by ${says.objects} objects and ${says.bytes} bytes; ` +
    `there are ${there.objects} and ${there.bytes}.`;
  yield { kind: "wrong_usage", where, message };
}

async function* rowsOf(kv: Kv, tag: Tag): AsyncGenerator<Entry> {
  for await (const page of scanPages(kv, tagRange(tag))) yield* page;
}

function readable<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}

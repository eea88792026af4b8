/** The doctor's look at configuration documents: one is there exactly where its bucket's row says so, and can be read. */
import type { BucketId } from "../core/ids.ts";
import type { Kv } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { decodeBucket } from "../meta/buckets.ts";
import { configurationKinds, configuredKinds, decodeConfiguration, hasConfiguration } from "../meta/configurations.ts";
import { bucketIdOf, bucketNameOf, configurationKey, configurationKindOf, tagRange, tags } from "../meta/keys.ts";
import { decodeObjectLock } from "../meta/object_lock.ts";
import type { Finding } from "./doctor.ts";

/** A bucket's row that cannot be read is another step's finding. */
export async function* checkConfigurations(kv: Kv): AsyncGenerator<Finding> {
  const rowOf = new Map<BucketId, Buffer>();
  for await (const page of scanPages(kv, tagRange(tags.bucket)))
    for (const { key, value } of page) {
      const bucket = readable(() => decodeBucket(value));
      if (bucket === undefined) continue;
      rowOf.set(bucket.id, key);
      if (bucket.configured !== 0 || bucket.objectLock) yield* checkBucket(kv, key);
    }
  for await (const page of scanPages(kv, tagRange(tags.config)))
    for (const { key } of page) {
      const bucketRow = rowOf.get(bucketIdOf(key));
      if (await isNamed(kv, bucketRow, key)) continue;
      const where = `document ${configurationKindOf(key)} of bucket ${bucketIdOf(key)}`;
      yield {
        kind: "stray_record",
        where,
        message: "No bucket's row says that there is one, so no request can reach it.",
      };
    }
}

/** Bucket and documents of one state of the store. */
async function* checkBucket(kv: Kv, bucketRow: Buffer): AsyncGenerator<Finding> {
  const [before] = await kv.get([bucketRow]);
  if (before === undefined) return;
  const { id, configured, objectLock } = decodeBucket(before.value);
  if (objectLock !== hasConfiguration(configured, "objectLock")) yield lockFinding(bucketNameOf(bucketRow));
  const kinds = configuredKinds(configured);
  const [again, ...rows] = await kv.get([bucketRow, ...kinds.map((kind) => configurationKey(id, kind))]);
  if (again?.version !== before.version) return;
  for (const [index, kind] of kinds.entries()) {
    const where = `document ${kind} of bucket ${bucketNameOf(bucketRow)}`;
    const row = rows[index];
    if (row === undefined)
      yield { kind: "missing_record", where, message: "The bucket's row says that there is one; it cannot be read." };
    else if (readable(() => read(kind, row.value)) === undefined)
      yield { kind: "corrupt_record", where, message: "It is of a form that is not known, and cannot be read." };
  }
}

/** Object lock is the one kind that the object layer acts by. */
function read(kind: number, value: Buffer): true {
  const { document } = decodeConfiguration(value);
  if (kind === configurationKinds.objectLock) decodeObjectLock(document);
  return true;
}

function lockFinding(bucket: string): Finding {
  const message =
    "Its row says object lock and has no document of it, or the other way round: what is new gets no default retention.";
  return { kind: "corrupt_record", where: `bucket ${bucket}`, message };
}

/** Whether the document is gone by now, or named by its bucket's row. */
async function isNamed(kv: Kv, bucketRow: Buffer | undefined, key: Buffer): Promise<boolean> {
  const [row, bucket] = await kv.get(bucketRow === undefined ? [key] : [key, bucketRow]);
  if (row === undefined) return true;
  if (bucket === undefined) return false;
  const { id, configured } = decodeBucket(bucket.value);
  return id === bucketIdOf(key) && configuredKinds(configured).includes(configurationKindOf(key));
}

function readable<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}

/**
 * The doctor's look at lifecycle rules: a bucket with a document has the row by which the job finds it, rows can be read, and no
 * due row is left of a bucket that the job does not go to.
 */
import type { BucketId } from "../core/ids.ts";
import type { Kv } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { decodeBucket } from "../meta/buckets.ts";
import { hasConfiguration } from "../meta/configurations.ts";
import { bucketIdOf, bucketNameOf, tagRange, tags } from "../meta/keys.ts";
import { decodeDue, decodeLifecycle, lifecycleKey, parseDueKey, type LifecycleRecord } from "../meta/lifecycle.ts";
import type { Finding } from "./doctor.ts";

export async function* checkLifecycle(kv: Kv): AsyncGenerator<Finding> {
  const known = new Map<BucketId, LifecycleRecord | undefined>();
  for await (const rows of scanPages(kv, tagRange(tags.lifecycle)))
    for (const { key, value } of rows) {
      const record = readable(() => decodeLifecycle(value));
      known.set(bucketIdOf(key), record);
      if (record === undefined) yield corrupt(`lifecycle of bucket ${bucketIdOf(key)}`);
    }
  for await (const rows of scanPages(kv, tagRange(tags.bucket)))
    for (const { key, value } of rows) {
      const bucket = readable(() => decodeBucket(value));
      if (bucket !== undefined && (await isForgotten(kv, key, bucket.id, known)))
        yield {
          kind: "missing_record",
          where: `lifecycle of bucket ${bucketNameOf(key)}`,
          message: "The bucket has rules, and nothing leads the job to them: nothing expires until they are set again.",
        };
    }
  yield* checkDue(kv, known);
}

/** Both rows of one state of the store. */
async function isForgotten(
  kv: Kv,
  bucketRow: Buffer,
  id: BucketId,
  known: ReadonlyMap<BucketId, LifecycleRecord | undefined>,
): Promise<boolean> {
  const [row, leading] = await kv.get([bucketRow, lifecycleKey(id)]);
  const bucket = row && readable(() => decodeBucket(row.value));
  if (bucket?.id !== id || !hasConfiguration(bucket.configured, "lifecycle")) return false;
  if (leading === undefined) return true;
  const record = readable(() => decodeLifecycle(leading.value));
  // One that cannot be read was found before.
  return record?.kind === "clearing" && known.get(id)?.kind === "clearing";
}

async function* checkDue(kv: Kv, known: ReadonlyMap<BucketId, unknown>): AsyncGenerator<Finding> {
  for await (const rows of scanPages(kv, tagRange(tags.due)))
    for (const { key, value } of rows) {
      const where = `due row ${key.toString("hex")}`;
      if (readable(() => (parseDueKey(key), decodeDue(value), true)) === undefined) yield corrupt(where);
      else if (!known.has(bucketIdOf(key))) {
        const [still, leading] = await kv.get([key, lifecycleKey(bucketIdOf(key))]);
        if (still !== undefined && leading === undefined)
          yield { kind: "stray_record", where, message: "Its bucket has no rules, so nobody takes the row away." };
      }
    }
}

function corrupt(where: string): Finding {
  return { kind: "corrupt_record", where, message: "It is of a form that is not known, and cannot be read." };
}

function readable<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}

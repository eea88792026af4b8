/**
 * Configuration documents of buckets: bytes to this layer, which means nothing by them. Whoever reads a document reads the
 * bucket's row with it (or finds it there that there is none), so a change that was acknowledged is seen by every read
 * that begins after it, in every process; what is kept in memory only saves the reading of the document.
 *
 * A change is one commit: the document's row, and the bucket's row with its bit and the next revision. Every write to the
 * bucket checks that row, so the two are ordered. Deleting the bucket deletes its documents (buckets.ts).
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import type { BucketId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { requireDestinations } from "../events/events.ts";
import type { Version } from "../kv/kv.ts";
import { ReadAhead } from "../kv/read_ahead.ts";
import { transact } from "../kv/transact.ts";
import type { Transaction } from "../kv/transact.ts";
import { encodeBucket } from "../meta/buckets.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import {
  configurationKinds,
  configuredKinds,
  decodeConfiguration,
  encodeConfiguration,
  hasConfiguration,
  withConfiguration,
} from "../meta/configurations.ts";
import type { ConfigurationKind } from "../meta/configurations.ts";
import { bucketKey, configurationKey } from "../meta/keys.ts";
import { encodeLifecycle, lifecycleKey, type LifecycleRecord } from "../meta/lifecycle.ts";
import type { ObjectContext } from "./context.ts";
import type { ConfigurationDocument, NewDocuments, Objects } from "./object.ts";
import { bucketInfoOf, bucketOf, bucketRow, readBucket } from "./target.ts";

/** Reads of the bucket's row and its document that met a change in between, one after another. */
const readAttemptsMax = 8;

type FoundConfigurations = Awaited<ReturnType<Objects["configurations"]>>;
type Kept = { readonly revision: number; readonly document: ConfigurationDocument };

/** Documents read before. Only what the bucket's row in hand confirms is used. */
export class KeptConfigurations {
  readonly #kept = new Map<string, Kept>();
  /** What was answered for a row of a bucket, which says that its documents have not changed either, by the kinds of these. */
  #answers = new WeakMap<BucketRecord, Map<string, FoundConfigurations>>();
  #bytes = 0;

  /** The same object as long as the bucket stays as it is: what was made of it may be kept by it. */
  get({ id, revision }: BucketRecord, kind: ConfigurationKind): ConfigurationDocument | undefined {
    const kept = this.#kept.get(`${id}/${kind}`);
    return kept?.revision === revision ? kept.document : undefined;
  }

  keep({ id, revision }: BucketRecord, kind: ConfigurationKind, document: ConfigurationDocument): void {
    const name = `${id}/${kind}`;
    this.#bytes += document.bytes.length - (this.#kept.get(name)?.document.bytes.length ?? 0);
    this.#kept.set(name, { revision, document });
    if (this.#bytes <= limits.configurationCacheBytesMax) return;
    this.#kept.clear();
    this.#answers = new WeakMap();
    this.#bytes = 0;
  }

  answer(bucket: BucketRecord, kinds: readonly ConfigurationKind[]): FoundConfigurations | undefined {
    return this.#answers.get(bucket)?.get(kinds.join());
  }

  keepAnswer(bucket: BucketRecord, kinds: readonly ConfigurationKind[], found: FoundConfigurations): void {
    const answers = this.#answers.get(bucket) ?? new Map<string, FoundConfigurations>();
    this.#answers.set(bucket, answers.set(kinds.join(), found));
  }
}

/** Undefined: there is no document of that kind. Errors: `no_such_bucket`. */
export async function readConfiguration(
  ctx: ObjectContext,
  name: string,
  kind: ConfigurationKind,
): Promise<ConfigurationDocument | undefined> {
  return (await readConfigurations(ctx, name, [kind])).documents.get(kind);
}

/** What readConfigurations begins with, to be read with something else. Undefined: no bucket has that name. */
export function configurationsAhead(name: string): ReadAhead | undefined {
  return name === "" || name.length > limits.bucketNameCharsMax ? undefined : new ReadAhead([bucketKey(name)]);
}

/** What readConfigurations would answer, where nothing need be read for it. Errors: `no_such_bucket`. */
export function knownConfigurations(
  ctx: ObjectContext,
  name: string,
  kinds: readonly ConfigurationKind[],
  { rows }: ReadAhead,
): FoundConfigurations | undefined {
  return rows && ctx.configurations.answer(bucketOf(ctx, name, rows[0]).bucket, kinds);
}

/** The bucket and those of the documents that there are: all of one revision. Errors: `no_such_bucket`. */
export async function readConfigurations(
  ctx: ObjectContext,
  name: string,
  kinds: readonly ConfigurationKind[],
  ahead?: ReadAhead,
): Promise<FoundConfigurations> {
  const { kv, configurations } = ctx;
  for (let attempt = 0; attempt < readAttemptsMax; attempt++) {
    // Taken once: what is tried again is read again.
    const rows = ahead?.take() ?? (await kv.get([bucketRow(name)]));
    const { entry, bucket } = bucketOf(ctx, name, rows[0]);
    const known = configurations.answer(bucket, kinds);
    if (known !== undefined) return known;
    const documents = await documentsAt(ctx, { name, bucket, version: entry.version }, kinds);
    if (documents === "changed") continue;
    const found = { bucket: bucketInfoOf(name, bucket), documents };
    configurations.keepAnswer(bucket, kinds, found);
    return found;
  }
  throw new HoldfastError("slow_down", "The bucket's configuration kept changing while it was read; try again.");
}

async function documentsAt(
  ctx: ObjectContext,
  state: BucketState,
  kinds: readonly ConfigurationKind[],
): Promise<Map<ConfigurationKind, ConfigurationDocument> | "changed"> {
  const documents = new Map<ConfigurationKind, ConfigurationDocument>();
  for (const kind of kinds) {
    const found = await configurationAt(ctx, state, kind);
    if (found === "changed") return found;
    if (found !== undefined) documents.set(kind, found);
  }
  return documents;
}

type BucketState = { readonly name: string; readonly bucket: BucketRecord; readonly version: Version };

/** The document as it is at this state of the bucket's row. `changed`: that is not its state any more, so nobody can tell. */
async function configurationAt(
  ctx: ObjectContext,
  { name, bucket, version }: BucketState,
  kind: ConfigurationKind,
): Promise<ConfigurationDocument | undefined | "changed"> {
  if (!hasConfiguration(bucket.configured, kind)) return undefined;
  const kept = ctx.configurations.get(bucket, kind);
  if (kept !== undefined) return kept;
  const keys = [bucketKey(name), configurationKey(bucket.id, configurationKinds[kind])];
  const [again, row] = await ctx.kv.get(keys);
  // Changed between the two reads: what was read now may belong to another revision, or another bucket.
  if (again?.version !== version) return "changed";
  if (row === undefined)
    throw new HoldfastError("corrupt_record", `The ${kind} document of bucket ${bucket.id} is missing.`);
  const { document, modifiedMs } = decodeConfiguration(row.value);
  // A copy: the row may be a view of much more.
  const read = { bytes: Buffer.from(document), modifiedMs };
  ctx.configurations.keep(bucket, kind, read);
  return read;
}

/**
 * The document that goes with the bucket's row as the transaction has read it. Where that row has changed since the work runs again: the
 * row was looked at twice, which the check says to transact, so that the error is never passed on.
 */
export async function configurationIn(
  ctx: ObjectContext,
  tx: Transaction,
  state: BucketState,
  kind: ConfigurationKind,
): Promise<ConfigurationDocument | undefined> {
  const document = await configurationAt(ctx, state, kind);
  if (document !== "changed") return document;
  tx.check(bucketKey(state.name), state.version);
  throw new HoldfastError("operation_aborted", "The bucket was changed meanwhile.");
}

export type ConfigurationChange = {
  readonly bucket: string;
  readonly kind: ConfigurationKind;
  /** Undefined: there shall be none. */
  readonly document: Buffer | undefined;
  /** Destinations of events that it names: they must be there when it is set. */
  readonly destinations?: readonly string[];
};

/** Errors: `no_such_bucket`, `invalid_argument` for a destination that is not there. Taking away what is not there is no change. */
export async function changeConfiguration(ctx: ObjectContext, change: ConfigurationChange): Promise<void> {
  const { bucket: name, kind, document, destinations = [] } = change;
  assert(kind !== "objectLock", "object lock is set by setObjectLock, and never taken away");
  assert((document?.length ?? 0) <= limits.configurationBytesMax, "a document fits its row");
  const { kv, clock, random } = ctx;
  await transact(
    kv,
    async (tx) => {
      const { entry, bucket } = await readBucket(ctx, (keys) => tx.get(keys), name);
      const key = configurationKey(bucket.id, configurationKinds[kind]);
      if (document === undefined) {
        if (!hasConfiguration(bucket.configured, kind)) return;
        tx.delete(key);
      } else {
        await ctx.admitRows?.(document.length);
        if (destinations.length > 0) await requireDestinations(tx, destinations);
        tx.put(key, encodeConfiguration({ modifiedMs: clock.nowMs(), document }));
      }
      if (kind === "lifecycle")
        tx.put(lifecycleKey(bucket.id), encodeLifecycle(begunWith(name, document !== undefined)));
      const configured = withConfiguration(bucket.configured, kind, document !== undefined);
      tx.put(entry.key, encodeBucket({ ...bucket, configured, revision: bucket.revision + 1 }));
    },
    { clock, random },
  );
}

/** What is there already has to be walked through; without rules nothing is due any more. */
function begunWith(bucket: string, hasRules: boolean): LifecycleRecord {
  return hasRules ? { kind: "walking", bucket, from: undefined } : { kind: "clearing" };
}

/** Of a bucket that is being made. Returns what its row says of them. */
export function putDocuments(
  tx: Transaction,
  made: { readonly id: BucketId; readonly documents: NewDocuments; readonly modifiedMs: number },
): number {
  let configured = 0;
  for (const [kind, document] of made.documents) {
    const key = configurationKey(made.id, configurationKinds[kind]);
    tx.put(key, encodeConfiguration({ modifiedMs: made.modifiedMs, document }));
    configured = withConfiguration(configured, kind, true);
  }
  return configured;
}

/** The rows that go with a bucket's row. Exact where the commit that deletes them checks that row. */
export function configurationRows(id: BucketId, configured: number): Buffer[] {
  return configuredKinds(configured).map((kind) => configurationKey(id, kind));
}

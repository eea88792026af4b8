/**
 * One commit over several keys of a bucket: all its entries happen, or none does.
 *
 * Every entry is judged by what there was before the commit, the sources of copies and renames too: so two keys can be
 * exchanged. All rows are read first, then written; the commit checks every row that was read, so it is linearizable over all
 * keys it names, those that it only checks included. What is written goes through versions.ts, as every other change does.
 *
 * How much one commit may change is what the metadata store takes (MeasuredTransaction), and commitEntriesMax entries.
 */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { MeasuredTransaction } from "../kv/measured.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { applyEntry, readEntry } from "./commit_entry.ts";
import type { CommitEntry, CommitOptions, CommittedEntry } from "./commit_types.ts";
import type { ObjectContext } from "./context.ts";
import { assertTags, checkMetadata, checkObjectKey } from "./names.ts";
import { SharedBlobs } from "./shared_blobs.ts";
import { keepBucketAlive } from "./target.ts";

/** Errors: those of a PUT, a copy and a DELETE, with the place of the entry (`entry`, from 0) and its key among their details. */
export async function commitEntries(ctx: ObjectContext, options: CommitOptions): Promise<readonly CommittedEntry[]> {
  judgeEntries(options.entries);
  const { clock, random } = ctx;
  const { signal } = options;
  const work = (tx: Transaction): Promise<CommittedEntry[]> => commitOnce(ctx, new MeasuredTransaction(tx), options);
  return transact(ctx.kv, work, signal === undefined ? { clock, random } : { clock, random, signal });
}

async function commitOnce(
  ctx: ObjectContext,
  tx: Transaction,
  { bucket, entries, origin }: CommitOptions,
): Promise<CommittedEntry[]> {
  const reads = entries.map((entry, index) => named(entry, index, () => readEntry(ctx, tx, bucket, entry)));
  const read = (await Promise.allSettled(reads)).map((each) => {
    if (each.status === "rejected") throw each.reason;
    return each.value;
  });
  const blobs = await SharedBlobs.read(
    tx,
    read.map(({ source }) => source?.head),
  );
  const bytes = read.reduce((sum, { newBytes }) => sum + newBytes, 0);
  if (entries.some(({ kind }) => kind !== "delete" && kind !== "check")) await ctx.admitRows?.(bytes);
  const results: CommittedEntry[] = [];
  for (const [index, each] of read.entries())
    results.push(await named(each.entry, index, () => applyEntry(ctx, tx, each, { blobs, origin })));
  blobs.write(tx);
  const { target } = read[0]!;
  if (entries.some(({ kind }) => kind !== "check")) await keepBucketAlive(ctx, tx, target.name, target.bucket);
  return results;
}

const ofTheEntry: ReadonlySet<string> = new Set(["not_found", "conflict", "precondition_failed", "invalid", "denied"]);

/** An error says which entry it is about, as far as it is about one. */
async function named<T>({ key }: CommitEntry, index: number, work: () => Promise<T> | T): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof HoldfastError) || !ofTheEntry.has(error.kind)) throw error;
    const details = { ...error.details, entry: index, key: key.toString() };
    throw new HoldfastError(error.reason, error.message, { details, cause: error });
  }
}

function judgeEntries(entries: readonly CommitEntry[]): void {
  if (entries.length === 0 || entries.length > limits.commitEntriesMax)
    throw new HoldfastError("invalid_request", `A commit has 1 to ${limits.commitEntriesMax} entries.`, {
      details: { entries: entries.length },
    });
  const changed = new Set<string>();
  for (const [index, entry] of entries.entries()) {
    judgeEntry(entry, index);
    for (const key of changedKeys(entry)) {
      const name = key.toString("latin1");
      if (changed.has(name)) throw refused(entry, index, "Another entry changes the same key.");
      changed.add(name);
    }
  }
}

function changedKeys(entry: CommitEntry): Buffer[] {
  if (entry.kind === "check") return [];
  return entry.kind === "rename" ? [entry.key, entry.source.key] : [entry.key];
}

function judgeEntry(entry: CommitEntry, index: number): void {
  checkObjectKey(entry.key);
  if (entry.kind === "copy" || entry.kind === "rename") checkObjectKey(entry.source.key);
  if (entry.kind === "rename" && entry.source.key.equals(entry.key))
    throw refused(entry, index, "An object cannot be renamed to the key it has.");
  if (entry.kind !== "put" && entry.kind !== "copy") return;
  if (entry.metadata !== undefined) checkMetadata(entry.metadata);
  assertTags(entry.tags);
  if (entry.kind === "put" && entry.bytes.length > limits.inlineBytesMax)
    throw new HoldfastError("entity_too_large", "Upload what is larger than this first, and copy or rename it here.", {
      details: { entry: index, key: entry.key.toString(), maxSizeBytes: limits.inlineBytesMax },
    });
}

function refused({ key }: CommitEntry, index: number, why: string): HoldfastError {
  return new HoldfastError("invalid_request", why, { details: { entry: index, key: key.toString() } });
}

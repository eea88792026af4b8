/**
 * Another key for an object, or for all objects below a prefix: commits as those of commit.ts, so at once and without touching
 * bytes. Without versions the object moves; with versions the new key gets a new version, and the old one a delete marker.
 *
 * A prefix is renamed as its keys are found. Known gap: a key that is created below it while the rename is under way may be left
 * behind, for nothing makes the commit depend on keys that are not there.
 */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { commitEntries } from "./commit.ts";
import type { CommitEntry, CommittedEntry, RenameOptions, RenamePrefixOptions } from "./commit_types.ts";
import type { ObjectContext } from "./context.ts";
import { listObjects } from "./list.ts";
import { startsWith } from "./markers.ts";
import { noSuchKey } from "./target.ts";

export async function renameObject(ctx: ObjectContext, options: RenameOptions): Promise<CommittedEntry> {
  const { bucket, signal, origin, ...rename } = options;
  const entries = [{ kind: "rename", ...rename } as const];
  const commit = { bucket, entries, ...(origin && { origin }), ...(signal && { signal }) };
  const [renamed] = await commitEntries(ctx, commit).catch(withoutEntry);
  return renamed!;
}

/** There is only one, so nobody needs to be told which. */
function withoutEntry(error: unknown): never {
  const { cause } = error instanceof HoldfastError ? error : {};
  throw cause instanceof HoldfastError ? cause : error;
}

/** How often a prefix is listed again because a key was deleted before the commit. */
const attemptsMax = 16;

/** Errors: `no_such_key` for a prefix of no key, `invalid_request` for more keys than one commit can rename. */
export async function renamePrefix(
  ctx: ObjectContext,
  options: RenamePrefixOptions,
): Promise<readonly CommittedEntry[]> {
  const { bucket, from: prefix, to, conditions, admit, origin, signal } = options;
  if (startsWith(prefix, to) || startsWith(to, prefix))
    throw new HoldfastError("invalid_request", "The old prefix and the new one must not begin with each other.");
  for (let attempt = 1; ; attempt++) {
    const keys = await keysBelow(ctx, bucket, prefix);
    const entries = keys.map((source): CommitEntry => {
      const key = Buffer.concat([to, source.subarray(prefix.length)]);
      const judge = admit(source, key);
      const from = { key: source, ...(judge && { admit: judge }) };
      return { kind: "rename", key, source: from, ...(conditions && { conditions }) };
    });
    try {
      return await commitEntries(ctx, { bucket, entries, ...(origin && { origin }), ...(signal && { signal }) });
    } catch (error) {
      // Deleted since it was listed: it is none of those to be renamed.
      const isGone =
        error instanceof HoldfastError && error.reason === "no_such_key" && conditions?.ifMatch === undefined;
      if (!isGone || attempt >= attemptsMax) throw error;
    }
  }
}

async function keysBelow(ctx: ObjectContext, bucket: string, prefix: Buffer): Promise<Buffer[]> {
  const { objects } = await listObjects(ctx, { bucket, prefix, limit: limits.commitEntriesMax + 1 });
  if (objects.length === 0) throw noSuchKey();
  if (objects.length <= limits.commitEntriesMax) return objects.map(({ key }) => key);
  throw new HoldfastError(
    "invalid_request",
    `More than ${limits.commitEntriesMax} keys begin with this prefix, which is what one commit can rename. Nothing was renamed.`,
    { details: { keysMax: limits.commitEntriesMax } },
  );
}

/**
 * DELETE of one key: one commit, however large the object. Its bytes go later (trash). Where there are versions it makes a
 * delete marker the current one; only with a version's id is that version removed, for good.
 */
import { HoldfastError } from "../core/errors.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { judgeDelete } from "./conditions.ts";
import type { ObjectContext } from "./context.ts";
import { checkObjectKey } from "./names.ts";
import type { DeleteOptions, DeleteResult } from "./object.ts";
import { hasVersions, keepBucketAlive, readTarget, type Target } from "./target.ts";
import { optionalVersionId, type VersionRef } from "./version_ids.ts";
import { addMarker, findInTransaction, removeVersion, replacedBy } from "./versions.ts";

export async function deleteObject(ctx: ObjectContext, options: DeleteOptions): Promise<DeleteResult> {
  checkObjectKey(options.key);
  const { clock, random } = ctx;
  return transact(
    ctx.kv,
    async (tx) => {
      const target = await readTarget(ctx, (keys) => tx.get(keys), options, { body: "kept" });
      const result = await deleteTarget(ctx, tx, target, options);
      if (result.changed) await keepBucketAlive(ctx, tx, target.name, target.bucket);
      const { existed, versionId, isMarker } = result;
      return { existed, versionId, isMarker };
    },
    { clock, random },
  );
}

export type Deleted = DeleteResult & { readonly changed: boolean };

/** The part of a delete that is about its key, in whichever transaction. */
export async function deleteTarget(
  ctx: ObjectContext,
  tx: Transaction,
  target: Target,
  options: Omit<DeleteOptions, "bucket">,
): Promise<Deleted> {
  const ref = optionalVersionId(options.versionId);
  return ref === undefined && hasVersions(target.bucket)
    ? markDeleted(ctx, tx, target, options)
    : remove(ctx, tx, target, { ref, options });
}

async function markDeleted(
  ctx: ObjectContext,
  tx: Transaction,
  target: Target,
  { conditions, origin }: Omit<DeleteOptions, "bucket">,
): Promise<Deleted> {
  judgeDelete(target.head, conditions);
  // Without versions nothing is done where nothing is there; here a marker would be, for an object that is not the one meant.
  if (target.head === undefined) refuseFacts(conditions);
  const replaced = await replacedBy(tx, target);
  const cause = { event: "ObjectRemoved:DeleteMarkerCreated", origin } as const;
  const versionId = await addMarker(ctx, tx, target, { replaced, cause });
  return { existed: target.head !== undefined, versionId, isMarker: true, changed: true };
}

/** What a condition says of size or time is true of no object that is not there. */
function refuseFacts(conditions: DeleteOptions["conditions"]): void {
  if (conditions?.sizeBytes === undefined && conditions?.modifiedMs === undefined) return;
  throw new HoldfastError("precondition_failed", "At least one of the preconditions you specified did not hold.", {
    details: { condition: "x-amz-if-match-*" },
  });
}

/** Without a version's id: all there is, in a bucket without versions. A version that is gone already is no error. */
async function remove(
  ctx: ObjectContext,
  tx: Transaction,
  target: Target,
  {
    ref = { kind: "null" },
    options,
  }: { readonly ref: VersionRef | undefined; readonly options: Omit<DeleteOptions, "bucket"> },
): Promise<Deleted> {
  const version = await findInTransaction(tx, target, ref);
  const isMarker = version?.head.data.kind === "marker";
  judgeDelete(isMarker ? undefined : version?.head, options.conditions);
  const { versionId } = options;
  if (version === undefined) return { existed: false, versionId, isMarker, changed: false };
  const { bypassesGovernance = false, origin } = options;
  const cause = { event: "ObjectRemoved:Delete", origin } as const;
  await removeVersion(ctx, tx, target, { version, bypassesGovernance, cause });
  return { existed: true, versionId, isMarker, changed: true };
}

/** DELETE of one key: one commit, however large the object. Its bytes go later (trash). */
import { judgeDelete } from "./conditions.ts";
import type { DeleteConditions } from "./conditions.ts";
import type { ObjectContext } from "./context.ts";
import { checkObjectKey, checkVersionId } from "./names.ts";
import { readTarget, removeVersion, keepBucketAlive } from "./target.ts";
import { transact } from "../kv/transact.ts";

export type DeleteOptions = {
  readonly bucket: string;
  readonly key: Buffer;
  readonly versionId?: string;
  readonly conditions?: DeleteConditions;
};

export async function deleteObject(ctx: ObjectContext, options: DeleteOptions): Promise<{ readonly existed: boolean }> {
  checkObjectKey(options.key);
  checkVersionId(options.versionId);
  const { clock, random } = ctx;
  return transact(
    ctx.kv,
    async (tx) => {
      const target = await readTarget(ctx, (keys) => tx.get(keys), options);
      judgeDelete(target.head, options.conditions);
      if (target.head === undefined) return { existed: false };
      removeVersion(ctx, tx, target);
      await keepBucketAlive(ctx, tx, target.name, target.bucket);
      return { existed: true };
    },
    { clock, random },
  );
}

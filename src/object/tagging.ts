/**
 * Tags and access control list of an object that is there: the row of its version is written anew with them, and stays the same version. Stamp, ETag
 * and time of modification do not change, so the body row beside a head still belongs to it.
 */
import type { Extras } from "../meta/extras.ts";
import type { ObjectContext } from "./context.ts";
import { assertTags, checkObjectKey } from "./names.ts";
import type { ObjectInfo, Objects } from "./object.ts";
import { currentVersion, namedVersion, type VersionAddress } from "./read_version.ts";
import { changeTarget, infoOf } from "./target.ts";
import { optionalVersionId } from "./version_ids.ts";
import { findInTransaction, rewriteVersion } from "./versions.ts";

/** Errors: those of a HEAD. */
export async function setTags(
  ctx: ObjectContext,
  options: Parameters<Objects["setTags"]>[0],
): ReturnType<Objects["setTags"]> {
  const { tags, admit, origin } = options;
  assertTags(tags);
  const event = tags.size > 0 ? "ObjectTagging:Put" : "ObjectTagging:Delete";
  const change = (found: ObjectInfo): Pick<Extras, "tags"> => {
    admit?.(found);
    return { tags };
  };
  return changeExtras(ctx, options, { change, cause: { event, origin } });
}

/** Errors: those of a HEAD and of `change`. */
export function setAcl(ctx: ObjectContext, options: Parameters<Objects["setAcl"]>[0]): ReturnType<Objects["setAcl"]> {
  const change = (found: ObjectInfo): Pick<Extras, "acl"> => ({ acl: options.change(found) });
  // There is no event for it here.
  return changeExtras(ctx, options, { change, cause: undefined });
}

async function changeExtras(
  ctx: ObjectContext,
  options: VersionAddress,
  {
    change,
    cause,
  }: {
    readonly change: (found: ObjectInfo) => Pick<Extras, "tags" | "acl">;
    readonly cause: Parameters<typeof rewriteVersion>[3]["cause"];
  },
): Promise<{ readonly versionId: string | undefined }> {
  const { key } = options;
  checkObjectKey(key);
  const ref = optionalVersionId(options.versionId);
  return changeTarget(ctx, options, { publishesChunks: false }, async (tx, target) => {
    const found = ref && (await findInTransaction(tx, target, ref));
    const { head: before } = ref === undefined ? currentVersion(target) : namedVersion(target, ref, found);
    const changed = change(infoOf(target.bucket, key, before));
    if (changed.acl !== undefined || (changed.tags?.size ?? 0) > 0) await ctx.admitRows?.(0);
    const head = { ...before, ...changed };
    const version = found === undefined ? { place: "head" as const, head, inline: undefined } : { ...found, head };
    await rewriteVersion(ctx, tx, target, { version, cause });
    return { versionId: infoOf(target.bucket, key, head).versionId };
  });
}

/**
 * Quotas: what would make a bucket hold more than it may is refused, and changes nothing; what makes room, or adds a delete marker, goes
 * through. Versions and markers count as objects; bytes are those of all versions and of the parts of open uploads.
 */
import type { Model } from "./model.ts";
import type { Outcome } from "./types.ts";

export type Quota = { readonly bytesMax: number | undefined; readonly objectsMax: number | undefined };
export type Held = { readonly objects: number; readonly bytes: number };
export const noQuota: Quota = { bytesMax: undefined, objectsMax: undefined };

const sizeOf = (all: readonly { readonly bytes: Buffer }[]): number =>
  all.reduce((sum, { bytes }) => sum + bytes.length, 0);

export function heldBy(model: Model): Held {
  const versions = model.keys.flatMap((key) => model.of(key));
  const parts = model.uploads.filter(({ state }) => state === "open").flatMap((upload) => upload.parts);
  return { objects: versions.length, bytes: sizeOf(versions) + sizeOf(parts) };
}

function isBeyond({ bytesMax = Infinity, objectsMax = Infinity }: Quota, before: Held, after: Held): boolean {
  return (
    (after.bytes > before.bytes && after.bytes > bytesMax) ||
    (after.objects > before.objects && after.objects > objectsMax)
  );
}

/** The change is taken back where there is no room for it. What is refused for another reason may lack room as well. */
export function within(model: Model, refused: readonly string[], change: () => Outcome): Outcome {
  const { quota } = model;
  if (refused.length > 0) return { refused: quota === noQuota ? refused : [...refused, "QuotaExceeded"] };
  if (quota === noQuota) return change();
  const before = heldBy(model);
  const saved = model.save();
  const outcome = change();
  if ("refused" in outcome || !isBeyond(quota, before, heldBy(model))) return outcome;
  model.restore(saved);
  return { refused: ["QuotaExceeded"] };
}

/** What a request wants of a new object's encryption: what it says, or else what the bucket says. */
import { HoldfastError } from "../core/errors.ts";
import type { BucketRecord } from "../meta/buckets.ts";
import { hasConfiguration } from "../meta/configurations.ts";
import { readConfiguration } from "./configurations.ts";
import type { ObjectContext } from "./context.ts";
import type { WantedEncryption } from "./object.ts";

/** `bucket`: as it was just read. Reads nothing where the request says it, or the bucket has no default. */
export async function wantedIn(
  ctx: ObjectContext,
  { name, bucket }: { readonly name: string; readonly bucket: BucketRecord },
  asked: WantedEncryption | undefined,
): Promise<WantedEncryption | undefined> {
  if (asked !== undefined || !hasConfiguration(bucket.configured, "encryption")) return asked;
  const document = await readConfiguration(ctx, name, "encryption");
  if (document === undefined) return undefined;
  if (ctx.defaultEncryption !== undefined) return ctx.defaultEncryption(document);
  throw new HoldfastError("encryption_not_set_up", "The bucket's default encryption cannot be read here.");
}

/** What a request brings to a policy's conditions and variables: the values of condition keys, by name. */

/** Several values only where AWS documents the key as multivalued (`aws:TagKeys`, `s3:RequestObjectTagKeys`). */
export type KeyValue = string | readonly string[] | undefined;

/** Asked with names in their normal form (`normalKey`). A Map is one. */
export type ConditionKeys = { get(name: string): KeyValue };

/** What stands behind the slash is the key of an S3 tag there, and those differ by case. */
const caseSensitiveTags = new Set(["s3:existingobjecttag", "s3:requestobjecttag", "s3:buckettag"]);

/** Names of condition keys, those of IAM's tags included, are the same however they are capitalized. */
export function normalKey(name: string): string {
  const lower = name.toLowerCase();
  const slash = lower.indexOf("/");
  if (slash < 0 || !caseSensitiveTags.has(lower.slice(0, slash))) return lower;
  return lower.slice(0, slash) + name.slice(slash);
}

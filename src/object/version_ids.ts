/**
 * Version ids as clients carry them: base64url of the order (8 bytes) and the stamp (14 bytes) of a version, so that an id
 * leads to its row, and one of a version that is gone never to another. The null version is called `null`. Pure.
 */
import { HoldfastError } from "../core/errors.ts";
import { isNullVersion, orderOf, STAMP_BYTES, type HeadRecord } from "../meta/heads.ts";

export type VersionRef =
  { readonly kind: "null" } | { readonly kind: "id"; readonly order: number; readonly stamp: string };

const orderBytes = 8;
const nullId = "null";

export function versionIdOf(head: HeadRecord): string {
  return isNullVersion(head) ? nullId : placeIdOf(head);
}

/** Says where in its key's history a version stands, be it the null version or not: where a listing goes on. */
export function placeIdOf(head: HeadRecord): string {
  const bytes = Buffer.alloc(orderBytes + STAMP_BYTES);
  bytes.writeBigUInt64BE(BigInt(orderOf(head)));
  bytes.write(head.stamp, orderBytes, "hex");
  return bytes.toString("base64url");
}

/** Errors: `invalid_argument` for what is no version's id. */
export function parseVersionId(text: string): VersionRef {
  if (text === nullId) return { kind: "null" };
  const bytes = Buffer.from(text, "base64url");
  const order = bytes.length === orderBytes + STAMP_BYTES ? Number(bytes.readBigUInt64BE()) : Number.NaN;
  if (!Number.isSafeInteger(order) || bytes.toString("base64url") !== text)
    throw new HoldfastError("invalid_argument", "Invalid version id specified", {
      details: { ArgumentName: "versionId", ArgumentValue: text },
    });
  return { kind: "id", order, stamp: bytes.toString("hex", orderBytes) };
}

export function optionalVersionId(text: string | undefined): VersionRef | undefined {
  return text === undefined ? undefined : parseVersionId(text);
}

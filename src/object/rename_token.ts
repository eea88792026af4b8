/**
 * What a rename leaves in the object it moved, so that the same request sent again is answered as done: 16 bytes each of the
 * hashes of its token and of all else that it asked for. It lasts as long as that object stays what stands at the new key.
 */
import { createHash } from "node:crypto";
import { HoldfastError } from "../core/errors.ts";
import type { RenamedRecord } from "../meta/extras.ts";
import type { EntryOf } from "./commit_types.ts";

type Rename = EntryOf<"rename">;

export function renamedBy({ token, key, source, conditions }: Rename): RenamedRecord | undefined {
  if (token === undefined) return undefined;
  const asked = JSON.stringify([key.toString("base64"), source.key.toString("base64"), source.conditions, conditions]);
  return { token: hash(token), request: hash(asked) };
}

function hash(text: string): Buffer {
  return createHash("sha256").update(text).digest().subarray(0, 16);
}

/** Errors: `idempotency_mismatch` for a token that came with another request. */
export function isDoneAlready(there: RenamedRecord | undefined, asked: RenamedRecord | undefined): boolean {
  if (there === undefined || asked === undefined || !there.token.equals(asked.token)) return false;
  if (there.request.equals(asked.request)) return true;
  throw new HoldfastError(
    "idempotency_mismatch",
    "Parameters on this idempotent request are inconsistent with parameters used in previous request(s).",
  );
}

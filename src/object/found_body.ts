/** A found object as a body to be written again. */
import type { BodySource } from "../blob/blob.ts";
import { assert } from "../core/assert.ts";
import type { GetOutcome } from "./object.ts";

export type Found = GetOutcome & { readonly outcome: "found" };

/** `sizeBytes`: what it gives, a range or all of it. */
export function bodyOf(found: Found, sizeBytes: number): BodySource {
  return {
    sizeBytes,
    stream: () => found.body(),
    async collect(bytesMax) {
      assert(sizeBytes <= bytesMax, "a body that is collected is small");
      const pieces: Buffer[] = [];
      for await (const piece of found.body()) pieces.push(piece);
      return Buffer.concat(pieces);
    },
  };
}

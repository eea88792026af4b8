/** Request bodies of the file API as the object layer wants them: a raw body, or one file of a form. */
import type { Readable } from "node:stream";
import type { BodySource } from "../blob/blob.ts";
import { HoldfastError } from "../core/errors.ts";

export type BodyOptions = {
  readonly stream: Readable;
  /** Undefined where the client did not say. */
  readonly sizeBytes: number | undefined;
  /** Asked when the stream has ended: why what came is not all of it, or undefined when it is. */
  readonly cutShort?: () => HoldfastError | undefined;
};

/** Errors: `incomplete_body` when the client leaves or sends less than it said. */
export function bodySource({ stream, sizeBytes, cutShort }: BodyOptions): BodySource {
  async function* pieces(): AsyncGenerator<Uint8Array> {
    let received = 0;
    try {
      // The request must outlive a body that is given up early: the refusal is still to be sent on its connection.
      for await (const piece of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        received += piece.length;
        yield piece;
      }
    } catch (error) {
      throw error instanceof HoldfastError ? error : incomplete(error);
    }
    const why = cutShort?.();
    if (why !== undefined) throw why;
    if (sizeBytes !== undefined && received !== sizeBytes) throw incomplete(undefined);
  }

  async function collect(bytesMax: number): Promise<Buffer> {
    const kept: Uint8Array[] = [];
    let length = 0;
    for await (const piece of pieces()) {
      length += piece.length;
      if (length > bytesMax) throw new HoldfastError("entity_too_large", `The body has more than ${bytesMax} bytes.`);
      kept.push(piece);
    }
    return Buffer.concat(kept);
  }

  return { sizeBytes, collect, stream: pieces };
}

function incomplete(cause: unknown): HoldfastError {
  return new HoldfastError("incomplete_body", "The connection ended before the whole body had arrived.", { cause });
}

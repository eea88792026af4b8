/** What doctor learns of one blob while it reads rows, and what it makes of that at the end. Pure. */
import type { BlobId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { BlobRoot } from "../meta/blobs.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import type { Finding } from "./doctor.ts";

/**
 * What a row that refers to a blob says of it. `parts` is 0 for a blob of chunks; undefined: the row does not say. `isReduced`: what a
 * version says of its storage class.
 */
export type Claim = { readonly sizeBytes: number; readonly parts: number | undefined; readonly isReduced?: boolean };

/** About 200 bytes each; there may be many. */
export class KnownBlob {
  root: BlobRoot | undefined;
  references = 0;
  trashed = 0;
  /** Pages read, and the bytes their entries have. */
  pages = 0;
  rawBytes = 0;
  /** A page is not where the root says, or bears another number than its place. */
  #misplaced = false;
  #entries = 0;
  /** The first claim, and the first one that contradicts it. */
  #claims: readonly Claim[] = [];
  /** What versions say of its class. */
  #isReduced: boolean | undefined;
  #isOfBoth = false;

  /** Only trash refers to it: it is on its way out, pages first. */
  get isDead(): boolean {
    return this.references === this.trashed;
  }

  refer(claim: Claim): void {
    this.references += 1;
    this.#isOfBoth ||= claim.isReduced !== undefined && claim.isReduced !== (this.#isReduced ??= claim.isReduced);
    const [first, ...others] = this.#claims;
    if (first === undefined) this.#claims = [claim];
    else if (first.sizeBytes !== claim.sizeBytes || !mayAgree(first.parts, claim.parts)) this.#claims = [first, claim];
    else if (first.parts === undefined) this.#claims = [claim, ...others];
  }

  referTrash(): void {
    this.references += 1;
    this.trashed += 1;
  }

  /** Pages come in the order of their numbers. */
  addPage(page: number, entryBytes: readonly number[]): void {
    const { root } = this;
    const start = root?.kind === "parts" ? root.pageStarts[page] : root && page * root.pageEntries * root.chunkBytes;
    if (page !== this.pages || start !== this.rawBytes) this.#misplaced = true;
    this.pages += 1;
    this.#entries += entryBytes.length;
    for (const bytes of entryBytes) this.rawBytes += bytes;
  }

  *findings(id: BlobId): Generator<Finding> {
    const { root, references } = this;
    const where = `blob ${id}`;
    if (root === undefined) {
      const message = `${references} rows refer to it and it does not exist; what they stand for cannot be read.`;
      yield { kind: "missing_record", where, message };
      return;
    }
    if (root.refcount !== references || root.refcount === 0) {
      const meaning = root.refcount < references ? "its bytes may go too early" : "its bytes are never given back";
      const message = `Its count is ${root.refcount}, and ${references} rows refer to it: ${meaning}.`;
      yield { kind: "wrong_refcount", where, message };
    }
    if (this.#isOfBoth) {
      const message =
        "Versions that share it disagree on its storage class: each conversion stores it as the one that it meets last.";
      yield { kind: "wrong_class", where, message };
    }
    if (!this.isDead) yield* this.#mapFindings(root, where);
  }

  *#mapFindings(root: BlobRoot, where: string): Generator<Finding> {
    if (root.pages !== this.pages)
      yield { kind: "missing_record", where, message: `It has ${this.pages} of its ${root.pages} pages.` };
    const { sizeBytes } = root;
    const claimed = this.#claims.find((claim) => claim.sizeBytes !== sizeBytes)?.sizeBytes ?? sizeBytes;
    if (sizeBytes !== this.rawBytes || sizeBytes !== claimed) {
      const message = `Its root says ${sizeBytes} bytes, its pages ${this.rawBytes}, its owner ${claimed}.`;
      yield { kind: "wrong_size", where, message };
    } else if (this.#misplaced && root.pages === this.pages) {
      const message = "Its pages are not where its root says they begin; a read of it fails or finds other bytes.";
      yield { kind: "wrong_size", where, message };
    }
    const parts = root.kind === "parts" ? root.parts : 0;
    const listed = root.kind === "parts" ? this.#entries : 0;
    const named = this.#claims.find((claim) => (claim.parts ?? parts) !== parts)?.parts ?? parts;
    if (parts === listed && parts === named) return;
    yield {
      kind: "wrong_size",
      where,
      message: `Its root says ${parts} parts, its pages ${listed}, its owner ${named}.`,
    };
  }
}

function mayAgree(one: number | undefined, other: number | undefined): boolean {
  return one === undefined || other === undefined || one === other;
}

/** Why a reader would refuse this entry of a chunk map, which stands at `index`; undefined if it would not. */
export function chunkFault(root: BlobRoot & { kind: "chunks" }, index: number, chunk: ChunkRecord): string | undefined {
  const { rawBytes, storedBytes, blockBytes } = chunk;
  const expectedBytes = Math.min(root.chunkBytes, root.sizeBytes - index * root.chunkBytes);
  if (rawBytes !== expectedBytes) return `It has ${rawBytes} bytes where ${expectedBytes} should be.`;
  const storedSum = blockBytes?.reduce((sum, bytes) => sum + bytes, 0) ?? rawBytes;
  if (chunk.isSealed === true && blockBytes === undefined) return "It is encrypted and lists no blocks.";
  if (storedSum !== storedBytes) return `Its blocks have ${storedSum} bytes; the record says ${storedBytes}.`;
  const blocks = Math.ceil(rawBytes / limits.compressionBlockBytes);
  if (blockBytes !== undefined && blockBytes.length !== blocks)
    return `It has ${blockBytes.length} blocks where ${blocks} should be.`;
  return undefined;
}

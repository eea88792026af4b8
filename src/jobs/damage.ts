/**
 * What reads met that could not be read, on its way to a repair row. A read is not held up by it: notes are gathered and
 * written a little later, each chunk once in a while; what does not fit, or could not be written, is dropped, for the next read meets it
 * again. Known gap: what is damaged anew within forgottenAfterMs of its last note is noted by a read after that, or by the scrub.
 */
import type { ChunkSource } from "../blob/blob.ts";
import type { Clock } from "../core/clock.ts";
import type { BlobId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import type { Kv } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { decodeBlobRoot } from "../meta/blobs.ts";
import { blobRootKey, repairKey } from "../meta/keys.ts";
import { decodeRepair, encodeRepair } from "../meta/repairs.ts";

const waitingMax = 1_000;
const rememberedMax = 10_000;
const forgottenAfterMs = 60_000;
const gatherMs = 100;

export type DamageParts = {
  readonly kv: Kv;
  readonly clock: Clock;
  readonly log: Log;
  /** Called when notes were written. */
  readonly onNoted: () => void;
};

export class DamageNotes {
  readonly #parts: DamageParts;
  readonly #waiting = new Map<BlobId, Set<number>>();
  #waitingCount = 0;
  readonly #remembered = new Set<string>();
  #rememberedSinceMs = 0;
  readonly #stop = new AbortController();
  #writing: Promise<void> | undefined;

  constructor(parts: DamageParts) {
    this.#parts = parts;
  }

  /** Never throws. `chunkIndex` is the chunk's in its blob. */
  note(source: Pick<ChunkSource, "blob">, chunkIndex: number): void {
    if (this.#stop.signal.aborted || this.#waitingCount >= waitingMax || this.#isRemembered(source.blob, chunkIndex))
      return;
    const indexes = this.#waiting.get(source.blob) ?? new Set();
    indexes.add(chunkIndex);
    this.#waiting.set(source.blob, indexes);
    this.#waitingCount += 1;
    this.#writing ??= this.#write();
  }

  #isRemembered(blob: BlobId, chunkIndex: number): boolean {
    const nowMs = this.#parts.clock.monotonicMs();
    if (nowMs - this.#rememberedSinceMs > forgottenAfterMs || this.#remembered.size >= rememberedMax) {
      this.#remembered.clear();
      this.#rememberedSinceMs = nowMs;
    }
    const name = nameOf(blob, chunkIndex);
    if (this.#remembered.has(name)) return true;
    this.#remembered.add(name);
    return false;
  }

  /** Never rejects. */
  async #write(): Promise<void> {
    const { kv, clock, log, onNoted } = this.#parts;
    await clock.sleep(gatherMs, this.#stop.signal);
    for (const [blob, indexes] of this.#waiting) {
      this.#waiting.delete(blob);
      this.#waitingCount -= indexes.size;
      try {
        await noteDamage(kv, blob, [...indexes]);
      } catch (error) {
        for (const index of indexes) this.#remembered.delete(nameOf(blob, index));
        log.warn({ blob, err: error }, "Damaged chunks could not be noted; the next read meets them again.");
      }
    }
    // In the turn in which nothing waits any more: what comes later begins anew.
    this.#writing = undefined;
    onNoted();
  }

  /** What waits is written first. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#writing;
  }
}

function nameOf(blob: BlobId, chunkIndex: number): string {
  return `${blob} ${chunkIndex}`;
}

/** Notes chunks of a blob, by their indexes in it, as damaged, beside those that are noted already. */
export async function noteDamage(kv: Kv, blob: BlobId, chunkIndexes: readonly number[]): Promise<void> {
  const [rootRow] = await kv.get([blobRootKey(blob)]);
  const root = rootRow && decodeBlobRoot(rootRow.value);
  if (root?.kind !== "chunks") return;
  const pages = Map.groupBy(chunkIndexes, (index) => Math.floor(index / root.pageEntries));
  for (const [page, indexes] of pages) {
    const positions = indexes.map((index) => index - page * root.pageEntries);
    await notePage(kv, blob, page, positions);
  }
}

/** Notes chunks of a page as damaged, by their positions in it. */
export async function notePage(kv: Kv, blob: BlobId, page: number, positions: readonly number[]): Promise<void> {
  const key = repairKey(blob, page);
  await transact(kv, async (tx) => {
    const [row] = await tx.get([key]);
    const noted = row === undefined ? { damaged: [], incomplete: [] } : decodeRepair(row.value);
    const damaged = [...new Set([...noted.damaged, ...positions])].toSorted((a, b) => a - b);
    const incomplete = noted.incomplete.filter((position) => !damaged.includes(position));
    if (damaged.length > noted.damaged.length) tx.put(key, encodeRepair({ damaged, incomplete }));
  });
}

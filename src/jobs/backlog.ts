/**
 * How much background work waits, by the rows that say so, for whoever watches. Counting is bounded: one scan for each kind,
 * which says "so many at least" when it is full.
 */
import { limits } from "../core/limits.ts";
import type { Kv } from "../kv/kv.ts";
import { tagRange, tags, type Tag } from "../meta/keys.ts";
import { decodeRepair } from "../meta/repairs.ts";
import { readSessions } from "../meta/sessions.ts";

export type Backlog = {
  readonly sessions: number;
  /** Pages of chunk maps noted for repair, and the chunks of them that are. */
  readonly repairPages: number;
  readonly repairChunks: number;
  /** Pages that a walk found, to be mended or moved; it plans so many at a time only. */
  readonly plannedPages: number;
  readonly relocations: number;
  readonly strays: number;
  readonly trash: number;
};

export async function readBacklog(kv: Kv): Promise<Backlog> {
  const rowsOf = (tag: Tag) => kv.scan(tagRange(tag), { limit: limits.scanEntriesMax });
  const [sessions, repairs, planned, relocations, strays, trash] = await Promise.all([
    readSessions(kv),
    ...[tags.repair, tags.mend, tags.relocation, tags.stray, tags.trash].map(rowsOf),
  ]);
  return {
    sessions: sessions.length,
    repairPages: repairs!.length,
    repairChunks: repairs!.reduce((sum, { value }) => sum + chunksOf(value), 0),
    plannedPages: planned!.length,
    relocations: relocations!.length,
    strays: strays!.length,
    trash: trash!.length,
  };
}

function chunksOf(repair: Buffer): number {
  const { damaged, incomplete } = decodeRepair(repair);
  return new Set([...damaged, ...incomplete]).size;
}

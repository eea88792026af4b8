/**
 * Shards that a chunk map says are on a drive and the drive does not have: after its index was rebuilt from segments with
 * damaged record headers nothing else would meet them, for a read in good health asks for data shards only, and a scrub
 * looks at what is there. They are noted for repair.
 */
import type { Log } from "../core/log.ts";
import type { Kv } from "../kv/kv.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import type { ChunkNode } from "../node/node.ts";
import { notePage } from "./damage.ts";
import { findShard } from "./doctor_chunks.ts";
import { MapWalk } from "./map_walk.ts";

export type MissingParts = { readonly kv: Kv; readonly node: ChunkNode; readonly log: Log };

/** Looks at every chunk map. Resolves to the chunks noted, or to undefined when it was cut short. */
export async function noteMissing({ kv, node, log }: MissingParts, signal?: AbortSignal): Promise<number | undefined> {
  const walk = new MapWalk(kv);
  let noted = 0;
  for (let pages = await walk.next(); pages !== undefined; pages = await walk.next()) {
    for (const { blob, page, chunks } of pages) {
      const positions: number[] = [];
      for (const [position, chunk] of chunks.entries()) {
        if (signal?.aborted === true) return undefined;
        if (await lacksShard(node, chunk)) positions.push(position);
      }
      if (positions.length === 0) continue;
      await notePage(kv, blob, page, positions);
      noted += positions.length;
    }
  }
  if (noted > 0) log.warn({ chunks: noted }, "Chunks lack shards that their drives should have; they are made anew.");
  return noted;
}

/** A drive that is away may have what it should. */
async function lacksShard(node: ChunkNode, { id, places }: ChunkRecord): Promise<boolean> {
  for (const { drive, shardIndex } of places) {
    if (!node.drives.includes(drive)) continue;
    if ((await findShard(node, drive, { chunk: id, shardIndex })) === undefined) return true;
  }
  return false;
}

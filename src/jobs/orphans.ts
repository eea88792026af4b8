/**
 * Shards that nobody wants: no chunk map names them, and nobody is putting them into one (a relocation row, meta/repairs.ts).
 * A shard's owner, kept with it on the drive, says in which page of which blob it would stand.
 */
import type { BlobId, DriveId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import type { Kv } from "../kv/kv.ts";
import { decodeBlobRoot } from "../meta/blobs.ts";
import { decodeChunkPage, type ChunkRecord } from "../meta/chunk_pages.ts";
import { blobPageKey, blobRootKey, relocationKey } from "../meta/keys.ts";
import { decodeRelocation } from "../meta/repairs.ts";
import type { ChunkNode, ListedShard, ShardRef } from "../node/node.ts";
import { notePage } from "./damage.ts";

type PageName = { readonly blob: BlobId; readonly page: number };

/** Of these shards, those that nothing mentions. Certain only for chunks of sessions that have ended. */
export async function findOrphans(kv: Kv, drive: DriveId, shards: readonly ListedShard[]): Promise<ListedShard[]> {
  const wanted = await wantedOn(kv, drive, await pagesOf(kv, shards));
  return shards.filter((shard) => !wanted.has(nameOf(shard)));
}

/** Where the shards would stand, by their owners: of blobs that exist. */
async function pagesOf(kv: Kv, shards: readonly ListedShard[]): Promise<PageName[]> {
  const blobs = [...new Set(shards.map((shard) => shard.owner.blob))];
  const roots = await kv.get(blobs.map(blobRootKey));
  const pageEntries = new Map<BlobId, number>();
  roots.forEach((row, index) => {
    const root = row && decodeBlobRoot(row.value);
    if (root?.kind === "chunks") pageEntries.set(blobs[index]!, root.pageEntries);
  });
  const pages = new Map<string, PageName>();
  for (const { owner } of shards) {
    const entries = pageEntries.get(owner.blob);
    if (entries === undefined) continue;
    const page = Math.floor(owner.chunkIndex / entries);
    pages.set(`${owner.blob} ${page}`, { blob: owner.blob, page });
  }
  return [...pages.values()];
}

function nameOf({ chunk, shardIndex }: ShardRef): string {
  return `${chunk} ${shardIndex}`;
}

/**
 * `<chunk> <shard index>` of every shard that should be on the drive, or is on its way there. A page and its relocation are
 * read from one state: a shard is in one of them as long as it is wanted.
 */
export async function wantedOn(kv: Kv, drive: DriveId, pages: readonly PageName[]): Promise<Set<string>> {
  const wanted = new Set<string>();
  const keys = pages.flatMap(({ blob, page }) => [blobPageKey(blob, page), relocationKey(blob, page)]);
  const rows = keys.length === 0 ? [] : await kv.get(keys);
  rows.forEach((row, index) => {
    if (row === undefined) return;
    if (index % 2 === 0) for (const shard of mentionedIn(decodeChunkPage(row.value), drive)) wanted.add(shard);
    else
      for (const shard of decodeRelocation(row.value).shards)
        if (shard.drive === drive) wanted.add(`${shard.chunk} ${shard.shardIndex}`);
  });
  return wanted;
}

/** `<chunk> <shard index>` of every shard that a page says is on the drive. */
export function mentionedIn(chunks: readonly ChunkRecord[], drive: DriveId): Set<string> {
  const mentioned = new Set<string>();
  for (const chunk of chunks)
    for (const place of chunk.places) if (place.drive === drive) mentioned.add(`${chunk.id} ${place.shardIndex}`);
  return mentioned;
}

export type OrphanParts = { readonly kv: Kv; readonly node: ChunkNode; readonly log: Log };

export async function removeOrphans(
  parts: OrphanParts,
  drive: DriveId,
  shards: readonly ListedShard[],
): Promise<number> {
  if (shards.length === 0) return 0;
  const orphans = await findOrphans(parts.kv, drive, shards);
  if (orphans.length === 0) return 0;
  await removeUnwanted(parts, drive, await pagesOf(parts.kv, orphans), orphans);
  parts.log.info({ drive, shards: orphans.length }, "Chunks that were stored but never published were removed.");
  return orphans.length;
}

/**
 * Removes shards that nothing mentioned, and then looks once more: a repair of another process may have chosen the same drive
 * for one of them and written it anew in between. Such a page is noted for repair.
 */
export async function removeUnwanted(
  { kv, node, log }: OrphanParts,
  drive: DriveId,
  pages: readonly PageName[],
  shards: readonly ShardRef[],
): Promise<void> {
  await node.remove(drive, shards);
  const wanted = await wantedOn(kv, drive, pages);
  const lost = new Set(shards.filter((shard) => wanted.has(nameOf(shard))).map(({ chunk }) => chunk));
  if (lost.size === 0) return;
  log.warn({ drive, chunks: [...lost] }, "Shards were written anew while they were removed; they are looked at again.");
  const rows = await kv.get(pages.map(({ blob, page }) => blobPageKey(blob, page)));
  for (const [index, { blob, page }] of pages.entries()) {
    const row = rows[index];
    const chunks = row === undefined ? [] : decodeChunkPage(row.value);
    const positions = chunks.flatMap(({ id }, position) => (lost.has(id) ? [position] : []));
    if (positions.length > 0) await notePage(kv, blob, page, positions);
  }
}

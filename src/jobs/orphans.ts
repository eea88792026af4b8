/**
 * Shards that nobody wants: no chunk map names them, and nobody is putting them into one (a relocation row, meta/repairs.ts).
 * A shard's owner, kept with it on the drive, says in which page of which blob it would stand.
 *
 * The order that makes a removal safe, however late it is carried out: a shard is seen on its drive, with its record; then pages
 * and relocations are read; then that very record is removed. Whoever wants the shard later says so in a relocation row
 * first, and then puts it there or takes it over (ChunkNode.discard): it is another record, which the removal spares.
 */
import type { BlobId, ChunkId, DriveId } from "../core/ids.ts";
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

/** `shards` as they were listed. */
export async function removeOrphans(
  parts: OrphanParts,
  drive: DriveId,
  shards: readonly ListedShard[],
): Promise<number> {
  if (shards.length === 0) return 0;
  const orphans = await findOrphans(parts.kv, drive, shards);
  if (orphans.length === 0) return 0;
  await parts.node.remove(drive, orphans);
  parts.log.info({ drive, shards: orphans.length }, "Chunks that were stored but never published were removed.");
  return orphans.length;
}

/** Notes those of the chunks that the page has. */
export async function noteChunks(kv: Kv, { blob, page }: PageName, lost: ReadonlySet<ChunkId>): Promise<void> {
  const [row] = await kv.get([blobPageKey(blob, page)]);
  const chunks = row === undefined ? [] : decodeChunkPage(row.value);
  const positions = chunks.flatMap(({ id }, position) => (lost.has(id) ? [position] : []));
  if (positions.length > 0) await notePage(kv, blob, page, positions);
}

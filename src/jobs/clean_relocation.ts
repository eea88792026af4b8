/**
 * Clearing up after a repair that came to nothing: shards that its relocation row names and the page does not are removed, and
 * the row goes.
 *
 * First the row is written anew, so that nothing is published by it any more: a commit of unknown outcome, carried out late, checks
 * the version that the row had. That of a session which may only be asleep, or whose calls to peers may still be carried out,
 * moves aside instead, so that others can mend the page; it is cleaned up once more when the session's process is known to be dead
 * and what it has left was looked through. Then comes the order that makes a removal
 * safe (orphans.ts): the shards are seen on their drives, page and relocation are read, and of what was seen those records
 * are removed that nothing names. Who dies at any point leaves a row, and the next one begins again. Idempotent.
 */
import { removeShards } from "../blob/remover.ts";
import { hasReason } from "../core/errors.ts";
import type { RecordId, SessionId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import type { Entry, Kv, Write } from "../kv/kv.ts";
import { decodeChunkPage } from "../meta/chunk_pages.ts";
import {
  blobPageKey,
  endedKey,
  hauntedKey,
  isHaunted,
  parseBlobKey,
  relocationKey,
  sessionKey,
  suspectKey,
} from "../meta/keys.ts";
import { decodeRelocation, strayWrites, type RelocatedShard } from "../meta/repairs.ts";
import type { Session } from "../meta/sessions.ts";
import type { ChunkNode } from "../node/node.ts";
import { findShard } from "./doctor_chunks.ts";

export type CleanParts = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  readonly session: Pick<Session, "id" | "nextStamp">;
  readonly log: Log;
};

/** Of this session's own, whose work has ended, and of one that is gone. Another's is left alone. */
export async function cleanRelocation(parts: CleanParts, row: Entry): Promise<void> {
  const { kv, node, session, log } = parts;
  const { session: by, shards } = decodeRelocation(row.value);
  const fate = by === session.id ? "dead" : await fateOf(kv, by);
  if (fate === "alive" || (fate === "suspect" && isHaunted(row.key))) return;
  const held = isHaunted(row.key) ? row : await hold(kv, row, { by, isAside: fate === "suspect" });
  if (held === undefined) return;
  const { seen, away } = await lookFor(node, shards);
  const isWanted = await whatIsWanted(kv, held);
  if (isWanted === undefined) return;
  const lateAway = await removeShards(
    node,
    seen.filter((shard) => !isWanted(shard)).map(({ drive, ...ref }) => ({ drive, ref })),
  );
  const left = [...away, ...seen.filter(({ drive }) => lateAway.includes(drive))].filter((shard) => !isWanted(shard));
  const { blob, page } = parseBlobKey(row.key);
  const strays = strayWrites(blob, page!, left, () => session.nextStamp());
  const { key, version } = held;
  const isOver = fate === "dead";
  if (isOver) await kv.commit({ checks: [{ key, version }], writes: [{ kind: "delete", key }, ...strays] });
  else if (strays.length > 0) await kv.commit({ checks: [], writes: strays });
  log.info({ blob, page, shards: shards.length }, "A repair that was not finished was cleaned up.");
}

/**
 * A suspect was fenced for its silence: it publishes nothing any more, but may still store what it had begun to. So may a peer
 * which one that is dead had asked to, until what the session has left is looked through (sessions.ts).
 */
async function fateOf(kv: Kv, session: SessionId): Promise<"alive" | "suspect" | "dead"> {
  const [alive, suspect, ended] = await kv.get([sessionKey(session), suspectKey(session), endedKey(session)]);
  if (alive !== undefined) return "alive";
  return suspect === undefined && ended === undefined ? "dead" : "suspect";
}

/** The row by which nothing can be published any more; undefined when somebody else was faster. */
async function hold(
  kv: Kv,
  { key, value, version }: Entry,
  { by, isAside }: { readonly by: SessionId; readonly isAside: boolean },
): Promise<Entry | undefined> {
  const { blob, page } = parseBlobKey(key);
  const heldKey = isAside ? hauntedKey(blob, page!, by) : key;
  const put: Write = { kind: "put", key: heldKey, value };
  const writes: Write[] = isAside ? [{ kind: "delete", key }, put] : [put];
  const { outcome } = await kv.commit({ checks: [{ key, version }], writes });
  const [held] = outcome === "committed" ? await kv.get([heldKey]) : [];
  // Another one that cleaned it up may have been followed by another repair.
  return held !== undefined && decodeRelocation(held.value).session === by ? held : undefined;
}

type SeenShard = RelocatedShard & { readonly record: RecordId };

/** Those that are on their drives, and those whose drives are away. */
async function lookFor(
  node: ChunkNode,
  shards: readonly RelocatedShard[],
): Promise<{ readonly seen: SeenShard[]; readonly away: RelocatedShard[] }> {
  const [seen, away]: [SeenShard[], RelocatedShard[]] = [[], []];
  for (const shard of shards) {
    try {
      const listed = await findShard(node, shard.drive, shard);
      if (listed !== undefined) seen.push({ ...shard, record: listed.record });
    } catch (error) {
      if (!hasReason(error, "drive_missing")) throw error;
      away.push(shard);
    }
  }
  return { seen, away };
}

/** By the page, and by a repair that goes on while the held row stands aside. Undefined when the row is held no more. */
async function whatIsWanted(kv: Kv, held: Entry): Promise<((shard: RelocatedShard) => boolean) | undefined> {
  const { blob, page } = parseBlobKey(held.key);
  const keys = [held.key, blobPageKey(blob, page!), ...(isHaunted(held.key) ? [relocationKey(blob, page!)] : [])];
  const [now, pageRow, relocationRow] = await kv.get(keys);
  if (now?.version !== held.version) return undefined;
  const named = new Set<string>();
  for (const { id: chunk, places } of pageRow === undefined ? [] : decodeChunkPage(pageRow.value))
    for (const place of places) named.add(nameOf({ chunk, ...place }));
  const others = relocationRow === undefined ? [] : decodeRelocation(relocationRow.value).shards;
  for (const shard of others) named.add(nameOf(shard));
  return (shard) => named.has(nameOf(shard));
}

function nameOf({ drive, chunk, shardIndex }: RelocatedShard): string {
  return `${drive} ${chunk} ${shardIndex}`;
}

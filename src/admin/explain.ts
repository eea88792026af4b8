/** Where an object's bytes lie, shard by shard, and how many losses of drives, nodes and zones each chunk survives now. */
import { jsonReply, type DoorReply, type DoorRequest } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { formatRedundancy, shardsOf } from "../core/redundancy.ts";
import type { LaidChunk, Objects } from "../object/object.ts";
import type { DriveView } from "./admin.ts";

/** `?bucket=&key=` (and `versionId=`), and `after=` with the `next` of the answer before: chunksPerAnswer chunks at a time. */
export async function explain(
  objects: Pick<Objects, "layout">,
  drives: readonly DriveView[],
  { query }: DoorRequest,
): Promise<DoorReply> {
  const bucket = query.get("bucket");
  const key = query.get("key");
  if (bucket === undefined || key === undefined)
    throw new HoldfastError("invalid_argument", "Both `bucket` and `key` must be given.");
  const versionId = query.get("versionId");
  const after = Number(query.get("after") ?? "-1");
  if (!Number.isSafeInteger(after)) throw new HoldfastError("invalid_argument", "`after` must be a whole number.");
  const { info, inline, chunks } = await objects.layout({
    bucket,
    key: Buffer.from(key),
    ...(versionId === undefined ? {} : { versionId }),
  });
  const byId = new Map(drives.map((drive) => [drive.id, drive]));
  const page: object[] = [];
  let next: number | null = null;
  let last = after;
  for await (const chunk of chunks) {
    if (chunk.offset <= after) continue;
    if (page.length === limits.listPageKeysMax) {
      next = last;
      break;
    }
    page.push(explained(chunk, byId));
    last = chunk.offset;
  }
  const { sizeBytes, etag, metadata } = info;
  const storageClass = metadata.headers["x-amz-storage-class"] ?? "STANDARD";
  return jsonReply(200, { bucket, key, sizeBytes, etag, storageClass, inline, chunks: page, next });
}

function explained(
  { redundancy, places, ...chunk }: LaidChunk,
  byId: ReadonlyMap<string, DriveView>,
): Record<string, unknown> {
  const shards = places.map(({ drive, shardIndex }) => {
    const view = byId.get(drive);
    const { path = null, state = "missing", node = "", zone = "", checkedMs } = view ?? {};
    const checkedAt = checkedMs === undefined ? null : new Date(checkedMs).toISOString();
    return { shardIndex, drive, path, state, node, zone, checkedAt };
  });
  const readable = shards.filter(({ state }) => state === "up" || state === "full");
  const spare = readable.length - redundancy.dataShards;
  const isCluster = [...byId.values()].some(({ node }) => node !== "");
  return {
    ...chunk,
    redundancy: formatRedundancy(redundancy),
    missingShards: shardsOf(redundancy) - shards.length,
    survives: spare,
    survivesNodes: isCluster ? lossesBorne(readable, ({ node }) => node, spare) : null,
    survivesZones: isCluster ? lossesBorne(readable, ({ zone }) => zone, spare) : null,
    shards,
  };
}

/** How many of the places that shards share, whichever they are, can go with no more than `spare` shards among them. */
function lossesBorne<T>(shards: readonly T[], placeOf: (shard: T) => string, spare: number): number {
  if (spare < 0) return -1;
  const counts = [...Map.groupBy(shards, placeOf).values()].map(({ length }) => length).toSorted((a, b) => b - a);
  let [borne, lost] = [0, 0];
  for (const count of counts) {
    lost += count;
    if (lost > spare) break;
    borne += 1;
  }
  return borne;
}

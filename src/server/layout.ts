/** Where things lie in a drive's folder, for the rooms that open them (docs/formats/directory.md). */
import path from "node:path";
import { openLmdbKv, type LmdbKvOptions } from "../kv/lmdb.ts";
import type { OpenIndex } from "../node/drive.ts";

/** The metadata store, or a copy of it, on those drives that have one. */
export function metaFile(drive: string): string {
  return path.join(drive, "meta", "store.mdb");
}

/** A drive's index is derived from its segments, so its store need not sync. Its folder is wiped by the caller. */
export const openIndex: OpenIndex = openIndexWith({});

/** As `openIndex`, for a process that tells of failures. */
export function openIndexWith(options: Pick<LmdbKvOptions, "log" | "freeBytes" | "onFailed">): OpenIndex {
  return ({ path: folder }) =>
    openLmdbKv({ ...options, path: path.join(folder, "index.mdb"), sync: false, mapBytes: 64 * 2 ** 30 });
}

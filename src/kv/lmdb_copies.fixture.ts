/** Copies of the metadata in folders of a test, on the real file system; also for the processes that a test kills. */
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join, dirname } from "node:path";
import { silentLog } from "../core/log.ts";
import type { Log } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { openLmdbCopies } from "./lmdb_copies.ts";
import type { CopiesKv, LmdbCopiesOptions } from "./lmdb_copies.ts";
import type { CopyFiles } from "./lmdb_copies_look.ts";
import { prepareCopies } from "./lmdb_copies_prepare.ts";
import type { PreparedCopies } from "./lmdb_copies_prepare.ts";
import type { CopyPlace } from "./lmdb_copy.ts";

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export const realFiles: CopyFiles = {
  head: async (path, bytes) => {
    try {
      return (await readFile(path)).subarray(0, bytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  },
  makeFolderOf: async (path) => void (await mkdir(dirname(path), { recursive: true })),
  remove: (path) => rm(path, { force: true }),
  sync: syncPath,
  replace: async (from, to) => {
    await rename(from, to);
    await syncPath(dirname(to));
  },
};

/** Drives 1, 2, … below a folder. */
export function placesIn(folder: string, count: number): CopyPlace[] {
  return Array.from({ length: count }, (_, index) => {
    const name = join(folder, `d${index + 1}`);
    return { id: `d${index + 1}`.padStart(16, "0"), name, path: join(name, "store.mdb") };
  });
}

export function prepare(
  places: readonly CopyPlace[],
  wanted = places.length,
  log: Log = silentLog,
): Promise<PreparedCopies> {
  const common = { files: realFiles, random: systemRandom, log, assertNew: async () => undefined };
  return prepareCopies({ places, wanted, ...common });
}

export async function openPrepared(
  places: readonly CopyPlace[],
  options: Omit<LmdbCopiesOptions, "places"> = {},
): Promise<CopiesKv> {
  const prepared = await prepare(places);
  if (prepared.kind !== "copies") throw new Error("These are not several copies.");
  return openLmdbCopies({ ...options, places: prepared.places });
}

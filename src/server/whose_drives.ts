/**
 * Whether drives belong to the store that a start is to serve with them, in a metadata engine or embedded in them. To a store that does not know a drive, or takes another store's drive for
 * its own, every chunk on it would be one that nobody wants: it would be removed. So a drive bears the id of its store from its
 * first start in a cluster (node/drive.ts), and both have to agree. A drive without chunks may change hands among engines; a start with
 * embedded metadata refuses it too, for it could be asked to serve half of a cluster by a setting that was left out.
 */
import { HoldfastError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Kv } from "../kv/kv.ts";
import { readDrives } from "../meta/drives.ts";
import { readStore } from "../meta/store.ts";
import type { Disk } from "../node/disk.ts";
import { markDriveStore, readDriveStore, storeFile, type PreparedDrive } from "../node/drive.ts";
import { findNewestMetadata } from "./metadata.ts";
import { hasChunks, hasMetadata } from "./metadata_marks.ts";

type UsableDrive = Pick<PreparedDrive, "id" | "path">;

/** Errors: `invalid_argument`, a sentence for the operator. */
export async function refuseForeign(kv: Kv, disk: Disk, usable: readonly UsableDrive[]): Promise<void> {
  const known = new Set((await readDrives(kv)).map(({ id }) => id));
  const store = await readStore(kv);
  for (const { id, path: drive } of usable) {
    const isKnown = known.has(id);
    if (!isKnown && (await hasMetadata(disk, drive)))
      throw refusal(
        `${drive} has metadata of its own, which the metadata store does not have: copy it there first ` +
          "(holdfast metadata copy, docs/operations/metadata.md), or name an empty folder.",
      );
    if (!(await hasChunks(disk, drive))) continue;
    if (!isKnown)
      throw refusal(
        `${drive} has chunks, and the metadata store does not know this drive: it belongs to another store.`,
      );
    const bears = await readDriveStore(disk, drive);
    if (bears !== undefined && bears !== store?.id)
      throw refusal(
        `${drive} has chunks of the store ${bears}, and this metadata store has ${store?.id ?? "none yet"}: is it the right ` +
          `one (--metadata)? If it really has the metadata of what is on the drive, remove ${storeFile(drive)}.`,
      );
  }
}

/**
 * For metadata that is embedded in the drives, before any of them is written to, or a store is begun where there is none. Errors:
 * as of `refuseForeign`, and those of metadata that cannot be opened.
 */
export async function refuseForeignToEmbedded(disk: Disk, usable: readonly UsableDrive[], log: Log): Promise<void> {
  const drives = [];
  for (const drive of usable) drives.push(await marksOf(disk, drive));
  const isDoubtful = ({ bears, isStrange }: Marks): boolean => bears !== undefined || isStrange;
  if (!drives.some(isDoubtful)) return;
  const here = await storeOn(disk, usable, log);
  for (const { id, path: drive, bears, isStrange } of drives) {
    // Where none has metadata, those with chunks are refused by who would begin a store (metadata_marks.ts).
    if (here === undefined && isStrange) continue;
    if (bears !== undefined && bears !== here?.id) throw ofCluster(drive, bears);
    if (isStrange && here?.known.has(id) === false)
      throw refusal(
        `${drive} has chunks, and the metadata on the other drives does not know this drive: it belongs to another store. ` +
          "Name the drives of one store only, or an empty folder.",
      );
  }
}

/** `isStrange`: it has chunks and no metadata, which is so on some drives of a store that has more of them than copies. */
type Marks = UsableDrive & { readonly bears: string | undefined; readonly isStrange: boolean };

async function marksOf(disk: Disk, { id, path: drive }: UsableDrive): Promise<Marks> {
  const isStrange = (await hasChunks(disk, drive)) && !(await hasMetadata(disk, drive));
  return { id, path: drive, bears: await readDriveStore(disk, drive), isStrange };
}

async function storeOn(disk: Disk, drives: readonly UsableDrive[], log: Log) {
  const kv = await findNewestMetadata(drives, disk, log);
  try {
    return kv && { id: (await readStore(kv))?.id, known: new Set((await readDrives(kv)).map(({ id }) => id)) };
  } finally {
    await kv?.close();
  }
}

function ofCluster(drive: string, bears: string): HoldfastError {
  return refusal(
    `${drive} belongs to the store ${bears} of a cluster, whose metadata is not on these drives. Start it with that ` +
      "(--metadata and --cluster-secret-file), or bring the metadata here first (holdfast metadata copy). If the drive was taken " +
      `out of the cluster and has nothing that is wanted, remove ${storeFile(drive)}.`,
  );
}

/** To be called by the holder of the drives' locks, when none of them is foreign and the store has been founded. */
export async function markStore(kv: Kv, disk: Disk, usable: readonly UsableDrive[]): Promise<void> {
  const { id } = (await readStore(kv))!;
  for (const { path: drive } of usable)
    if ((await readDriveStore(disk, drive)) !== id) await markDriveStore(disk, drive, id);
}

function refusal(message: string): HoldfastError {
  return new HoldfastError("invalid_argument", message);
}

/**
 * A drive: a folder that Holdfast owns.
 *
 *   drive.json    format version and id; made once
 *   state.json    whether the index may be trusted (see below), and what a sweep still owes the drive
 *   store.json    in a cluster: the id of the store that the drive belongs to
 *   segments/     the shards
 *   index/        the index's store; derived, never synced while in use
 *   lock          held by the server that uses the drive (drive_lock.ts)
 *
 * The JSON files are replaced atomically: written aside, synced, renamed, the folder synced.
 *
 * The index is trusted if it bears the generation that state.json names, and either the drive was closed cleanly (the
 * index was synced then) or the machine has not stopped since (what was written is in the kernel's cache). Otherwise it
 * is thrown away and rebuilt. Known gap: a drive that is unplugged and plugged in again without a restart of the machine
 * looks as if nothing had happened.
 */
import { dirname } from "node:path";
import { HoldfastError, systemCode } from "../core/errors.ts";
import { newDriveId, SESSION_ID_BYTES, type DriveId, type SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import type { Disk } from "./disk.ts";
import { DriveIndex } from "./drive_index.ts";
import { rebuildIndex, replayTails, sessionsBehind } from "./recovery.ts";
import { removeIfThere } from "./segment_writer.ts";

/** Opens the store of a drive's index in the folder `path`; with `wipe` an empty one. It need not sync. */
export type OpenIndex = (options: {
  readonly drivePath: string;
  readonly path: string;
  readonly wipe: boolean;
}) => Promise<Kv>;

export type PreparedDrive = {
  readonly id: DriveId;
  readonly path: string;
  /**
   * The index was rebuilt, now or earlier: shards removed before may be there again, and the caller runs a full orphan
   * sweep. It stays due, over any number of starts, until `markDriveSwept`.
   */
  readonly sweepDue: boolean;
  /**
   * Whose shards were found behind what the index knew, now or earlier: processes had died before they could tell it. They stay,
   * over any number of starts, until `markReplayedKnown`.
   */
  readonly replayed: readonly SessionId[];
};

const driveFormat = 1;
const stateFormat = 1;
/** With `replayed`, which a build that knows only the first format must not lose: it rebuilds the index, and sweeps all. */
const replayedStateFormat = 2;
const storeFormat = 1;
/** What a folder may hold and still count as empty. */
const ignoredNames = /^(lock.*|lost\+found|drive\.json\.new)$/;

type State = {
  readonly bootId: string;
  readonly clean: boolean;
  readonly generation: string;
  readonly sweepDue: boolean;
  readonly replayed: readonly SessionId[];
};

export type PrepareOptions = {
  readonly path: string;
  readonly disk: Disk;
  readonly openIndex: OpenIndex;
  readonly random: Random;
  readonly log: Log;
};

/**
 * Formats an empty folder or opens a drive, and brings its index up to date. To be called by the one who holds the
 * drive's lock, before any node opens the drive.
 * Errors: `invalid_argument` for a folder that is no drive or a format this build does not know.
 */
export async function prepareDrive(options: PrepareOptions): Promise<PreparedDrive> {
  const { path, disk, openIndex, random, log } = options;
  const knownId = await readDriveId(disk, path);
  const id = knownId ?? (await formatDrive(disk, path, random));
  const bootId = await disk.bootId();
  const state = await readState(disk, path);
  const unlost = state !== undefined && (state.clean || state.bootId === bootId);
  const trusted = unlost ? await openTrusted(options, state) : undefined;
  if (trusted) {
    // From here on the index changes without being synced.
    const noted = { ...state!, bootId, clean: false };
    await writeState(disk, path, noted);
    // Fences processes of an earlier server that may be woken yet, before their segments are brought to an end.
    await trusted.setGeneration(state!.generation);
    const recovery = { disk, drive: id, drivePath: path, index: trusted, log };
    const owed = withReplayed(noted, await sessionsBehind(recovery));
    // Before the rows: once they are there, nothing tells what was found behind the index from what it knew.
    if (owesMore(owed, noted)) await writeState(disk, path, owed);
    await replayTails(recovery);
    await trusted.close();
    return { id, path, sweepDue: owed.sweepDue, replayed: owed.replayed };
  }
  const rebuilt = knownId !== undefined;
  log.info({ drive: id, path }, rebuilt ? "rebuilding the drive's index" : "a new drive");
  await wipeIndexFolder(disk, path);
  const index = new DriveIndex(await openIndex({ drivePath: path, path: indexPath(path), wipe: true }), random);
  await rebuildIndex({ disk, drive: id, drivePath: path, index, log });
  const generation = Buffer.from(random.bytes(8)).toString("hex");
  await index.setGeneration(generation);
  await index.close();
  await writeState(disk, path, { bootId, clean: false, generation, sweepDue: rebuilt, replayed: [] });
  return { id, path, sweepDue: rebuilt, replayed: [] };
}

/** Too many to note are as good as all. */
function withReplayed(state: State, sessions: ReadonlySet<SessionId>): State {
  const replayed = [...new Set([...state.replayed, ...sessions])];
  return replayed.length > limits.replayedSessionsMax
    ? { ...state, sweepDue: true, replayed: [] }
    : { ...state, replayed };
}

/** Too many sessions leave none by name, and the sweep of all instead. */
function owesMore(owed: State, noted: State): boolean {
  return owed.sweepDue !== noted.sweepDue || owed.replayed.length !== noted.replayed.length;
}

async function openTrusted(options: PrepareOptions, state: State): Promise<DriveIndex | undefined> {
  const { path, openIndex, random, log } = options;
  const index = new DriveIndex(await openIndex({ drivePath: path, path: indexPath(path), wipe: false }), random);
  if ((await index.generation()) === state.generation) return index;
  log.warn({ path }, "the drive's index is not the one it was closed with");
  await index.close();
  return undefined;
}

/** Opens the index of a drive that was prepared. */
export async function openPreparedIndex(
  path: string,
  { openIndex, random }: Pick<PrepareOptions, "openIndex" | "random">,
): Promise<DriveIndex> {
  const index = new DriveIndex(await openIndex({ drivePath: path, path: indexPath(path), wipe: false }), random);
  try {
    await index.join();
    return index;
  } catch (error) {
    await index.close();
    throw error;
  }
}

/**
 * Notes that the drive was closed cleanly, so that its index is trusted after a restart of the machine too. To be called
 * by the holder of the lock after every node on the drive was closed; never for a drive that it has not prepared, as where a start ends
 * before it comes to that: then the machine may have stopped since, and the index lost what was not synced.
 */
export async function markDriveClean(disk: Disk, path: string): Promise<void> {
  const state = await readState(disk, path);
  if (!state) return;
  // The index must be durable before the note that says so.
  for (const name of await listIfThere(disk, indexPath(path))) {
    const file = await disk.open(`${indexPath(path)}/${name}`, "write");
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }
  if ((await listIfThere(disk, indexPath(path))).length > 0) await disk.syncDirectory(indexPath(path));
  await writeState(disk, path, { ...state, clean: true });
}

/**
 * Notes that every shard was compared with the metadata since the index was rebuilt. A sweep that was cut short notes
 * nothing, and is due again. Not to be called while another call for the drive is under way.
 */
export async function markDriveSwept(disk: Disk, path: string): Promise<void> {
  const state = await readState(disk, path);
  if (state?.sweepDue === true) await writeState(disk, path, { ...state, sweepDue: false });
}

/**
 * Notes that the metadata knows of the sessions which `prepareDrive` told as replayed: they will be looked through. Not to be
 * called while another call for the drive is under way.
 */
export async function markReplayedKnown(disk: Disk, path: string): Promise<void> {
  const state = await readState(disk, path);
  if (state !== undefined && state.replayed.length > 0) await writeState(disk, path, { ...state, replayed: [] });
}

function indexPath(drivePath: string): string {
  return `${drivePath}/index`;
}

async function wipeIndexFolder(disk: Disk, path: string): Promise<void> {
  await disk.makeDirectory(indexPath(path));
  for (const name of await listIfThere(disk, indexPath(path))) await removeIfThere(disk, `${indexPath(path)}/${name}`);
}

/** The drive's id, or undefined if the folder bears none. */
export async function readDriveId(disk: Disk, path: string): Promise<DriveId | undefined> {
  const content = await readJson(disk, `${path}/drive.json`);
  if (content === undefined) return undefined;
  const { format, id } = content;
  if (format !== driveFormat)
    throw new HoldfastError(
      "invalid_argument",
      `${path} has drive format ${String(format)}, which this build does not know.`,
    );
  if (typeof id !== "string" || !/^[0-9a-f]{16}$/.test(id))
    throw new HoldfastError("corrupt_record", `${path}/drive.json bears no valid drive id.`);
  return id as DriveId;
}

export function storeFile(drivePath: string): string {
  return `${drivePath}/store.json`;
}

/** The id of the store that the drive was last used by, or undefined: by none that noted it. */
export async function readDriveStore(disk: Disk, path: string): Promise<string | undefined> {
  const content = await readJson(disk, storeFile(path));
  if (content === undefined) return undefined;
  const { format, store } = content;
  if (format !== storeFormat)
    throw new HoldfastError(
      "invalid_argument",
      `${storeFile(path)} has format ${String(format)}, which this build does not know.`,
    );
  if (typeof store !== "string" || !/^[0-9a-f]{32}$/.test(store))
    throw new HoldfastError("corrupt_record", `${storeFile(path)} bears no valid id of a store.`);
  return store;
}

/** To be called by the holder of the drive's lock. */
export async function markDriveStore(disk: Disk, path: string, store: string): Promise<void> {
  await replaceFile(disk, storeFile(path), { format: storeFormat, store });
}

/** Errors: `invalid_argument` for a folder that bears no drive and holds something else. Writes nothing. */
export async function refuseForeign(disk: Disk, path: string): Promise<void> {
  if ((await readDriveId(disk, path)) !== undefined) return;
  const names = await listIfThere(disk, path);
  const foreign = names.filter((name) => !ignoredNames.test(name) && name !== "segments" && name !== "index");
  const segments = await listIfThere(disk, `${path}/segments`);
  if (foreign.length > 0 || segments.length > 0)
    throw new HoldfastError(
      "invalid_argument",
      `${path} is not empty and not a Holdfast drive (it holds ${foreign[0] ?? "segments without drive.json"}).`,
    );
}

async function formatDrive(disk: Disk, path: string, random: Random): Promise<DriveId> {
  await refuseForeign(disk, path);
  await disk.makeDirectory(path);
  await syncParents(disk, path);
  await disk.makeDirectory(`${path}/segments`);
  await disk.makeDirectory(indexPath(path));
  const id = newDriveId(random);
  await replaceFile(disk, `${path}/drive.json`, { format: driveFormat, id });
  return id;
}

/**
 * The folder may have been made together with any of those above it, now or by a start that was cut off. Those further up
 * than its own parent may be closed to this user; then they were made by another one, long ago.
 */
async function syncParents(disk: Disk, path: string): Promise<void> {
  let folder = dirname(path);
  await disk.syncDirectory(folder);
  while (folder !== dirname(folder)) {
    folder = dirname(folder);
    await trySync(disk, folder);
  }
}

async function trySync(disk: Disk, folder: string): Promise<void> {
  try {
    await disk.syncDirectory(folder);
  } catch (error) {
    if (!["EACCES", "EPERM", "EROFS", "EINVAL"].includes(systemCode(error) ?? "")) throw error;
  }
}

async function readState(disk: Disk, path: string): Promise<State | undefined> {
  const content = await readJson(disk, `${path}/state.json`);
  const format = content?.["format"];
  if (content === undefined || (format !== stateFormat && format !== replayedStateFormat)) return undefined;
  const { bootId, clean, generation, sweepDue } = content;
  if (typeof bootId !== "string" || typeof clean !== "boolean" || typeof generation !== "string") return undefined;
  const replayed = format === stateFormat ? [] : sessionIds(content["replayed"]);
  if (replayed === undefined) return undefined;
  // Absent in the first files of this version, and then nothing is due.
  return { bootId, clean, generation, sweepDue: sweepDue === true, replayed };
}

const sessionPattern = new RegExp(`^[0-9a-f]{${2 * SESSION_ID_BYTES}}$`);

function sessionIds(value: unknown): SessionId[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const isId = (id: unknown): id is SessionId => typeof id === "string" && sessionPattern.test(id);
  return value.every(isId) ? value : undefined;
}

async function writeState(disk: Disk, path: string, { replayed, ...state }: State): Promise<void> {
  const content =
    replayed.length === 0 ? { format: stateFormat, ...state } : { format: replayedStateFormat, ...state, replayed };
  await replaceFile(disk, `${path}/state.json`, content);
}

async function replaceFile(disk: Disk, path: string, content: Readonly<Record<string, unknown>>): Promise<void> {
  const aside = `${path}.new`;
  await removeIfThere(disk, aside);
  const file = await disk.open(aside, "create");
  try {
    await file.writev([Buffer.from(`${JSON.stringify(content)}\n`)], 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(aside, path);
  await disk.syncDirectory(dirname(path));
}

async function readJson(disk: Disk, path: string): Promise<Record<string, unknown> | undefined> {
  const text = await readIfThere(disk, path);
  if (text === undefined) return undefined;
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === "object" && parsed !== null) return { ...parsed };
  } catch (error) {
    throw new HoldfastError("corrupt_record", `${path} is damaged.`, { cause: error });
  }
  throw new HoldfastError("corrupt_record", `${path} is damaged.`);
}

async function readIfThere(disk: Disk, path: string): Promise<string | undefined> {
  try {
    const file = await disk.open(path, "read");
    try {
      const bytes = Buffer.alloc(await file.sizeBytes());
      const length = await file.read(bytes, 0);
      return bytes.toString("utf8", 0, length);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function listIfThere(disk: Disk, path: string): Promise<string[]> {
  try {
    return await disk.list(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

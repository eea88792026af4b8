/**
 * The drives of the store: one row for each that ever held something of it, so that a start can say which are missing. A
 * row stays when its drive is lost, and also when it was removed: an upload that took long may name it afterwards.
 *
 *   active    takes shards
 *   draining  takes none; its shards are moved to others
 *   drained   no chunk map named it when all were looked at
 *   removed   does not belong to the store any more
 *
 * Whoever writes shards knows a state that is some seconds old.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { idBytes } from "../core/ids.ts";
import type { DriveId } from "../core/ids.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { scanAll } from "../kv/scan_pages.ts";
import { transact } from "../kv/transact.ts";
import { driveIdOf, tagRange, tags } from "./keys.ts";

export const driveStates = ["active", "draining", "drained", "removed"] as const;
export type DriveState = (typeof driveStates)[number];

/** `path`, `sizeBytes` and `node`: as they were at the last start with this drive. */
export type DriveRecord = {
  readonly state: DriveState;
  readonly path: string;
  readonly sizeBytes: number;
  readonly addedMs: number;
  /** The address of the node that has it; empty where the metadata is embedded in the drives. */
  readonly node: string;
};
/** What background work needs to know of a drive. */
export type KnownDrive = {
  readonly id: DriveId;
  readonly state: DriveState;
  /** Its node says that the drive is well: it is not lost, whoever cannot reach it. */
  readonly isHeld?: boolean;
};
export type Drive = DriveRecord & { readonly id: DriveId };

const driveVersion = 2;

export function driveKey(id: DriveId): Buffer {
  return Buffer.concat([Buffer.from([tags.drive]), idBytes(id)]);
}

export function encodeDrive({ state, path, sizeBytes, addedMs, node }: DriveRecord): Buffer {
  return new ByteWriter()
    .u8(driveVersion)
    .u8(driveStates.indexOf(state))
    .string(path)
    .varint(sizeBytes)
    .varint(addedMs)
    .string(node)
    .finish();
}

export function decodeDrive(value: Uint8Array): DriveRecord {
  const reader = new ByteReader(value, "drive");
  const version = reader.version(driveVersion);
  const state = driveStates[reader.u8()];
  if (state === undefined) throw reader.corrupt("its state is not known");
  const known = { state, path: reader.string(), sizeBytes: reader.varint(), addedMs: reader.varint() };
  // Version 1 ends here.
  const node = version === 1 ? "" : reader.string();
  reader.end();
  return { ...known, node };
}

export function driveOf({ key, value }: Entry): Drive {
  return { id: driveIdOf(key), ...decodeDrive(value) };
}

export async function readDrives(kv: Kv): Promise<Drive[]> {
  return (await scanAll(kv, tagRange(tags.drive))).map(driveOf);
}

/**
 * Notes the drives that are there, and returns those that are in the record and are not. To be called by the one process
 * that prepares a start and holds the locks of these drives.
 */
export async function recordDrives(
  kv: Kv,
  present: readonly Omit<Drive, "addedMs" | "state">[],
  nowMs: number,
): Promise<Drive[]> {
  const known = await readDrives(kv);
  for (const drive of present) await recordDrive(kv, drive, nowMs);
  return known.filter(({ id, state }) => state !== "removed" && !present.some((drive) => drive.id === id));
}

/** An operator may change the drive's state meanwhile. */
async function recordDrive(
  kv: Kv,
  { id, path, sizeBytes, node }: Omit<Drive, "addedMs" | "state">,
  nowMs: number,
): Promise<void> {
  await transact(kv, async (tx) => {
    const key = driveKey(id);
    const [row] = await tx.get([key]);
    const before = row && decodeDrive(row.value);
    const isSame = before?.path === path && before.sizeBytes === sizeBytes && before.node === node;
    if (before !== undefined && before.state !== "removed" && isSame) return;
    // One that was removed and is named again begins anew; what it has is looked through as that of any drive.
    const state = before === undefined || before.state === "removed" ? "active" : before.state;
    tx.put(key, encodeDrive({ state, path, sizeBytes, addedMs: before?.addedMs ?? nowMs, node }));
  });
}

/** Only from a state in `from`. Resolves to the state it has now, or undefined where there is no such drive. */
export async function changeDriveState(
  kv: Kv,
  id: DriveId,
  from: readonly DriveState[],
  to: DriveState,
): Promise<DriveState | undefined> {
  return transact(kv, async (tx) => {
    const key = driveKey(id);
    const [row] = await tx.get([key]);
    if (row === undefined) return undefined;
    const record = decodeDrive(row.value);
    if (!from.includes(record.state)) return record.state;
    tx.put(key, encodeDrive({ ...record, state: to }));
    return to;
  });
}

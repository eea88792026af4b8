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
import { limits } from "../core/limits.ts";
import type { Entry, Kv, Write } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { driveIdOf, tagRange, tags } from "./keys.ts";

export const driveStates = ["active", "draining", "drained", "removed"] as const;
export type DriveState = (typeof driveStates)[number];

/** `path` and `sizeBytes`: as they were at the last start with this drive. */
export type DriveRecord = {
  readonly state: DriveState;
  readonly path: string;
  readonly sizeBytes: number;
  readonly addedMs: number;
};
/** What background work needs to know of a drive. */
export type KnownDrive = { readonly id: DriveId; readonly state: DriveState };
export type Drive = DriveRecord & { readonly id: DriveId };

const driveVersion = 1;

function driveKey(id: DriveId): Buffer {
  return Buffer.concat([Buffer.from([tags.drive]), idBytes(id)]);
}

export function encodeDrive({ state, path, sizeBytes, addedMs }: DriveRecord): Buffer {
  return new ByteWriter()
    .u8(driveVersion)
    .u8(driveStates.indexOf(state))
    .string(path)
    .varint(sizeBytes)
    .varint(addedMs)
    .finish();
}

export function decodeDrive(value: Uint8Array): DriveRecord {
  const reader = new ByteReader(value, "drive");
  reader.version(driveVersion);
  const state = driveStates[reader.u8()];
  if (state === undefined) throw reader.corrupt("its state is not known");
  const record = { state, path: reader.string(), sizeBytes: reader.varint(), addedMs: reader.varint() };
  reader.end();
  return record;
}

function driveOf({ key, value }: Entry): Drive {
  return { id: driveIdOf(key), ...decodeDrive(value) };
}

export async function readDrives(kv: Kv): Promise<Drive[]> {
  const drives: Drive[] = [];
  const { start, end } = tagRange(tags.drive);
  for (let from: Uint8Array = start; ;) {
    const page = await kv.scan({ start: from, end }, { limit: limits.scanEntriesMax });
    drives.push(...page.map(driveOf));
    const last = page.at(-1);
    if (last === undefined || page.length < limits.scanEntriesMax) return drives;
    from = Buffer.concat([last.key, Buffer.from([0])]);
  }
}

/**
 * Notes the drives that are there, and returns those that are in the record and are not. To be called by the one process
 * that prepares a start.
 */
export async function recordDrives(
  kv: Kv,
  present: readonly Omit<Drive, "addedMs" | "state">[],
  nowMs: number,
): Promise<Drive[]> {
  const known = await readDrives(kv);
  const writes = present.flatMap(({ id, path, sizeBytes }): Write[] => {
    const before = known.find((drive) => drive.id === id);
    if (before !== undefined && before.state !== "removed" && before.path === path && before.sizeBytes === sizeBytes)
      return [];
    // One that was removed and is named again begins anew; what it has is looked through as that of any drive.
    const state = before === undefined || before.state === "removed" ? "active" : before.state;
    const record = { state, path, sizeBytes, addedMs: before?.addedMs ?? nowMs };
    return [{ kind: "put", key: driveKey(id), value: encodeDrive(record) }];
  });
  for (let at = 0; at < writes.length; at += limits.commitOperationsMax) {
    await kv.commit({ checks: [], writes: writes.slice(at, at + limits.commitOperationsMax) });
  }
  return known.filter(({ id, state }) => state !== "removed" && !present.some((drive) => drive.id === id));
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

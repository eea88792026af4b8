/**
 * One server per drive. The lock is a POSIX record lock on the file `lock` in the drive's folder: the kernel holds it for
 * the process and lets it go when the process ends, however it ends, so nothing is ever left to clean up. Node offers
 * no call for it; an exclusive transaction of its built-in SQLite on that file takes exactly such a lock, and refuses a
 * second one within the same process too. Nothing is ever written into the file.
 */
import { DatabaseSync } from "node:sqlite";
import { HoldfastError } from "../core/errors.ts";

export type DriveLock = { release(): void };

/** SQLITE_BUSY, https://www.sqlite.org/rescode.html#busy */
const busy = 5;

/** Takes the lock of the folder at `path`, which must exist. Errors: `unavailable` when another server has it. */
export function lockDrive(path: string): DriveLock {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(`${path}/lock`);
    database.exec("PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
  } catch (error) {
    database?.close();
    if (error instanceof Error && "errcode" in error && error.errcode === busy)
      throw new HoldfastError("unavailable", `Another Holdfast server is using ${path}.`, { cause: error });
    throw new HoldfastError("unavailable", `${path} cannot be locked: ${String(error)}`, { cause: error });
  }
  const held = database;
  let released = false;
  return {
    release: () => {
      if (!released) held.close();
      released = true;
    },
  };
}

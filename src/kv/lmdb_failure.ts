/**
 * What an error of LMDB means for the store: lack of space passes, anything else does not (lmdb.ts says why).
 *
 * Known gap: where the write that fails is one that LMDB makes while it saves its list of free pages, before those of the commit (it
 * then prints "mdb_page_spill error"), it may damage its own memory and end the process (SIGABRT). Nothing that was acknowledged is
 * lost: no such commit is shown, and a worker is started again.
 */
import { constants } from "node:os";
import { limits } from "../core/limits.ts";

const mdbMapFull = -30_792;
const mdbPanic = -30_795;
const { EINVAL, ENOSPC, EDQUOT, EFBIG, EIO } = constants.errno;

/** npm `lmdb` sets the error's number as `code`: a positive one is the system's, a negative one LMDB's. */
function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

/**
 * An earlier error was fatal: LMDB refuses every transaction of this process, reads too. Once something was read in the
 * process npm `lmdb` gives EINVAL as the code of that, and LMDB's own only in the message.
 */
export function isPanic(error: unknown): boolean {
  if (codeOf(error) === mdbPanic) return true;
  return codeOf(error) === EINVAL && (error as Error).message.includes("MDB_PANIC");
}

/**
 * LMDB reports a write that was cut short as EIO, and a full file system cuts writes short. So an EIO is lack of space
 * when next to none is free; when that cannot be found out it is not.
 */
export async function isLackOfSpace(error: unknown, freeBytes?: () => Promise<number>): Promise<boolean> {
  const code = codeOf(error);
  if (code === ENOSPC || code === EDQUOT || code === EFBIG || code === mdbMapFull) return true;
  if (code !== EIO || freeBytes === undefined) return false;
  return freeBytes().then(
    (free) => free < limits.fullFileSystemBytes,
    () => false,
  );
}

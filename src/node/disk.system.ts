/**
 * The real file system behind the `Disk` contract: the only file of the chunk node that imports node:fs.
 *
 *  - Folders are made with mode 0700 and files with 0600: chunks are nobody else's business.
 *  - A short write is continued until all bytes are written; a short read is returned as it is (the end of the file).
 *  - No error is retried, least of all one of `sync`: after a failed fsync Linux marks the pages clean, and a second
 *    one would report a success that is none.
 */
import { constants, promises as fs } from "node:fs";
import { isAbsolute, join } from "node:path";
import { systemCode } from "../core/errors.ts";
import type { Disk, DiskFile } from "./disk.ts";
import type { Processes } from "./processes.ts";

const FLAGS = {
  read: constants.O_RDONLY,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
  write: constants.O_RDWR,
} as const;

/** The kernel's limit on pieces of one vectored write (IOV_MAX). */
const piecesPerWriteMax = 1_024;

class SystemFile implements DiskFile {
  readonly #handle: fs.FileHandle;

  constructor(handle: fs.FileHandle) {
    this.#handle = handle;
  }

  async writev(pieces: readonly Uint8Array[], offset: number): Promise<void> {
    let position = offset;
    for (let first = 0; first < pieces.length; first += piecesPerWriteMax) {
      position = await this.#writeSome(pieces.slice(first, first + piecesPerWriteMax), position);
    }
  }

  async #writeSome(pieces: Uint8Array[], offset: number): Promise<number> {
    let position = offset;
    let rest = pieces.filter((piece) => piece.length > 0);
    while (rest.length > 0) {
      const { bytesWritten } = await this.#handle.writev(rest, position);
      position += bytesWritten;
      rest = withoutFront(rest, bytesWritten);
    }
    return position;
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    let filled = 0;
    while (filled < into.length) {
      const { bytesRead } = await this.#handle.read(into, filled, into.length - filled, offset + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return filled;
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  truncate(lengthBytes: number): Promise<void> {
    return this.#handle.truncate(lengthBytes);
  }

  async sizeBytes(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** What is left of the pieces after `count` bytes of them were written. */
function withoutFront(pieces: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count;
  const rest: Uint8Array[] = [];
  for (const piece of pieces) {
    if (left >= piece.length) left -= piece.length;
    else {
      rest.push(piece.subarray(left));
      left = 0;
    }
  }
  return rest;
}

/** Relative paths are taken from `root`; absolute ones are left alone. Errors are Node's own, with their `code`. */
export function systemDisk(root: string): Disk {
  const resolve = (path: string): string => (isAbsolute(path) ? path : join(root, path));
  return {
    open: async (path, mode) => new SystemFile(await fs.open(resolve(path), FLAGS[mode], 0o600)),
    list: (path) => fs.readdir(resolve(path)),
    makeDirectory: async (path) => {
      await fs.mkdir(resolve(path), { recursive: true, mode: 0o700 });
    },
    rename: (from, to) => fs.rename(resolve(from), resolve(to)),
    remove: (path) => fs.unlink(resolve(path)),
    syncDirectory: async (path) => {
      const handle = await fs.open(resolve(path), constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    },
    space: async (path) => {
      const found = await fs.statfs(resolve(path));
      return { totalBytes: found.blocks * found.bsize, freeBytes: found.bavail * found.bsize };
    },
    bootId: systemBootId,
  };
}

/** Linux tells a new id at each boot. Elsewhere every start counts as a new boot: slower to open, never wrong. */
async function systemBootId(): Promise<string> {
  try {
    return (await fs.readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    return `${process.pid}-${performance.timeOrigin}`;
  }
}

/** Tells processes of this machine apart by process id and start time, so that a reused process id is not mistaken. */
export async function systemProcesses(): Promise<Processes> {
  return {
    self: `${process.pid}:${await startTime(process.pid)}`,
    isAlive: async (token) => {
      const [pid, started] = token.split(":");
      return Number(pid) === process.pid || (await startTime(Number(pid))) === started;
    },
  };
}

/** Field 22 of /proc/PID/stat (proc(5)), or whether there is such a process where /proc does not exist. */
async function startTime(pid: number): Promise<string> {
  try {
    const stat = await fs.readFile(`/proc/${pid}/stat`, "utf8");
    const afterName = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return afterName[0] === "Z" ? "gone" : (afterName[19] ?? "gone");
  } catch (error) {
    if (systemCode(error) !== "ENOENT" && systemCode(error) !== "ESRCH") throw error;
    return process.platform === "linux" || !answersSignal(pid) ? "gone" : "running";
  }
}

function answersSignal(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return systemCode(error) === "EPERM";
  }
}

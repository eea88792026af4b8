/**
 * The file system as a seam. `systemDisk` (disk.system.ts) is the only user of node:fs; the simulation's fake disk
 * forgets what was not synced. Paths are absolute or relative to the disk's root, with `/`.
 *
 * Durability, as POSIX has it and the fake disk enforces it: bytes of a file are durable after `sync` of that file; a
 * created, renamed or removed name is durable after `syncDirectory` of its folder; nothing else is.
 */
export type DiskFile = {
  /** Writes all pieces at `offset`; resolves when all are written (not synced). */
  writev(pieces: readonly Uint8Array[], offset: number): Promise<void>;
  /** Fills `into` from `offset`; returns the bytes read, fewer only at the end of the file. */
  read(into: Uint8Array, offset: number): Promise<number>;
  /** fdatasync: data and the size needed to read it. */
  sync(): Promise<void>;
  truncate(lengthBytes: number): Promise<void>;
  sizeBytes(): Promise<number>;
  close(): Promise<void>;
};

export type DiskSpace = { readonly totalBytes: number; readonly freeBytes: number };

export type Disk = {
  /** `read`: must exist. `create`: must not exist, opened for reading and writing. `write`: must exist, both. */
  open(path: string, mode: "read" | "create" | "write"): Promise<DiskFile>;
  /** Names in a folder, any order. */
  list(path: string): Promise<string[]>;
  /** With its missing parents; it may exist already. */
  makeDirectory(path: string): Promise<void>;
  /** Within one folder; replaces what has that name. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file. Those who have it open can still read it. */
  remove(path: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
  space(path: string): Promise<DiskSpace>;
  /** Differs after each start of the machine: what was written but not synced before may be lost exactly then. */
  bootId(): Promise<string>;
};

/**
 * A disk in memory that is as treacherous as POSIX allows, from one seed. The fault model:
 *
 *  - `crash()` is a loss of power. Of the bytes written and not synced, any subset of the 4 KiB blocks survives; the last
 *    of a file's surviving blocks may be torn (its beginning new, its rest old). A length that was not synced may or may
 *    not survive; where it does, lost blocks read as zeros. A truncation not synced may be lost.
 *  - Of the names created, renamed and removed since their folder's last `syncDirectory` any subset survives; changes
 *    of one name keep their order, and a rename is one change. A removed file whose removal is lost is there again.
 *  - A folder that was made is there for sure after its parent's `syncDirectory`; else it may be gone, with all it held.
 *  - A sync that fails has lost what it was to write for good, as on Linux: a second sync succeeds and saves nothing.
 *  - Files open at a crash can be used no more; calls on them fail with EIO. `bootId` is another one afterwards.
 *  - `capacityBytes`: a write that does not fit fails with ENOSPC after writing what does fit.
 *  - `failNext`: the next matching operation fails with a given code. `flipBit`: bytes rot, synced or not.
 *
 * Not modelled: reordering between a write and a sync that has succeeded, data written to a wrong place, slow calls.
 */
import type { Random } from "../core/random.ts";
import type { Disk, DiskFile, DiskSpace } from "./disk.ts";

const blockBytes = 4_096;

export type DiskOperation =
  | "open"
  | "write"
  | "read"
  | "sync"
  | "truncate"
  | "list"
  | "makeDirectory"
  | "rename"
  | "remove"
  | "syncDirectory"
  | "space";

type Inode = {
  bytes: Buffer;
  sizeBytes: number;
  durable: Buffer;
  readonly dirty: Set<number>;
  links: number;
  openCount: number;
};
type Change = { readonly names: readonly string[]; readonly apply: (entries: Map<string, Inode>) => void };
type Folder = {
  entries: Map<string, Inode>;
  durable: Map<string, Inode>;
  pending: Change[];
  /** Its own name in its parent. */
  isNameDurable: boolean;
};

function newFolder(isNameDurable: boolean): Folder {
  return { entries: new Map(), durable: new Map(), pending: [], isNameDurable };
}

function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}

export class FakeDisk implements Disk {
  readonly #random: Random;
  readonly #folders = new Map<string, Folder>();
  readonly #failures: { operation: DiskOperation; path: RegExp; code: string }[] = [];
  #boot = 1;
  #usedBytes = 0;
  capacityBytes: number;
  /** Called before every operation; what it throws is the operation's error. A test stops the world here. */
  onOperation: (operation: DiskOperation, path: string) => void = () => undefined;

  constructor(random: Random, capacityBytes = 2 ** 40) {
    this.#random = random;
    this.capacityBytes = capacityBytes;
    this.#folders.set("/", newFolder(true));
  }

  get boot(): number {
    return this.#boot;
  }

  /** The next operation of this kind on a path that matches fails with `code`. */
  failNext(operation: DiskOperation, code: string, path = /./): void {
    this.#failures.push({ operation, path, code });
  }

  /** Failures that no operation has met yet are none any more. */
  failNoMore(): void {
    this.#failures.length = 0;
  }

  /** Turns one bit of a file over. */
  flipBit(path: string, bit: number): void {
    const inode = this.#inode(path);
    const at = Math.floor(bit / 8);
    for (const bytes of [inode.bytes, inode.durable]) {
      if (at < bytes.length) bytes[at] = bytes[at]! ^ (1 << (bit % 8));
    }
  }

  fileBytes(path: string): Buffer {
    const inode = this.#inode(path);
    return Buffer.from(inode.bytes.subarray(0, inode.sizeBytes));
  }

  /** Loss of power. */
  crash(): void {
    this.#boot += 1;
    this.#loseFolders();
    const inodes = new Set<Inode>();
    for (const folder of this.#folders.values()) {
      const lost = new Set<string>();
      for (const change of folder.pending) {
        const kept = !change.names.some((name) => lost.has(name)) && this.#random.below(2) === 0;
        if (kept) change.apply(folder.durable);
        else for (const name of change.names) lost.add(name);
      }
      folder.pending = [];
      folder.entries = new Map(folder.durable);
      for (const inode of folder.entries.values()) inodes.add(inode);
    }
    this.#usedBytes = 0;
    for (const inode of inodes) {
      this.#crashInode(inode);
      inode.links = 1;
      inode.openCount = 0;
      this.#usedBytes += inode.sizeBytes;
    }
  }

  #loseFolders(): void {
    for (const [path, folder] of this.#folders) {
      if (folder.isNameDurable || this.#random.below(2) === 0) continue;
      for (const each of this.#folders.keys())
        if (each === path || each.startsWith(`${path}/`)) this.#folders.delete(each);
    }
    for (const folder of this.#folders.values()) folder.isNameDurable = true;
  }

  #crashInode(inode: Inode): void {
    const length = this.#random.below(2) === 0 ? inode.durable.length : inode.sizeBytes;
    const after = Buffer.alloc(length);
    inode.durable.copy(after);
    const survivors = [...inode.dirty].filter(() => this.#random.below(2) === 0).sort((left, right) => left - right);
    for (const [index, block] of survivors.entries()) {
      const torn = index === survivors.length - 1 && this.#random.below(2) === 0;
      const count = torn ? this.#random.below(blockBytes) : blockBytes;
      const start = block * blockBytes;
      inode.bytes.copy(after, start, start, Math.min(start + count, inode.sizeBytes));
    }
    inode.dirty.clear();
    inode.bytes = Buffer.from(after);
    inode.sizeBytes = length;
    inode.durable = after;
  }

  // --- used by open files ---

  begin(operation: DiskOperation, path: string, boot = this.#boot): void {
    if (boot !== this.#boot) throw systemError("EIO", path);
    this.onOperation(operation, path);
    const index = this.#failures.findIndex((failure) => failure.operation === operation && failure.path.test(path));
    const [failure] = index < 0 ? [] : this.#failures.splice(index, 1);
    if (failure) throw systemError(failure.code, path);
  }

  /** Writes what fits; says whether that was all. */
  write(inode: Inode, bytes: Uint8Array, offset: number): boolean {
    const roomBytes = Math.max(0, this.capacityBytes - this.#usedBytes);
    const end = Math.min(offset + bytes.length, inode.sizeBytes + roomBytes);
    const count = Math.max(0, end - offset);
    this.#resize(inode, Math.max(inode.sizeBytes, offset + count));
    inode.bytes.set(bytes.subarray(0, count), offset);
    for (let block = Math.floor(offset / blockBytes); block * blockBytes < offset + count; block++)
      inode.dirty.add(block);
    return count === bytes.length;
  }

  truncate(inode: Inode, lengthBytes: number): void {
    if (lengthBytes < inode.sizeBytes) inode.bytes.fill(0, lengthBytes, inode.sizeBytes);
    this.#resize(inode, lengthBytes);
  }

  #resize(inode: Inode, sizeBytes: number): void {
    if (sizeBytes > inode.bytes.length) {
      const grown = Buffer.alloc(Math.max(sizeBytes, inode.bytes.length * 2));
      inode.bytes.copy(grown, 0, 0, inode.sizeBytes);
      inode.bytes = grown;
    }
    this.#usedBytes += sizeBytes - inode.sizeBytes;
    inode.sizeBytes = sizeBytes;
  }

  sync(inode: Inode): void {
    const grown = Buffer.alloc(inode.sizeBytes);
    inode.durable.copy(grown);
    for (const block of inode.dirty) {
      const start = block * blockBytes;
      inode.bytes.copy(grown, start, start, Math.min(start + blockBytes, inode.sizeBytes));
    }
    inode.dirty.clear();
    inode.durable = grown;
  }

  release(inode: Inode): void {
    inode.openCount -= 1;
    this.#freeIfUnused(inode);
  }

  #freeIfUnused(inode: Inode): void {
    if (inode.links === 0 && inode.openCount === 0) this.#usedBytes -= inode.sizeBytes;
  }

  // --- Disk ---

  async open(path: string, mode: "read" | "create" | "write"): Promise<DiskFile> {
    await turn();
    this.begin("open", path);
    const { folder, name } = this.#parent(path);
    let inode = folder.entries.get(name);
    if (mode === "create") {
      if (inode) throw systemError("EEXIST", path);
      const made: Inode = {
        bytes: Buffer.alloc(0),
        sizeBytes: 0,
        durable: Buffer.alloc(0),
        dirty: new Set(),
        links: 1,
        openCount: 0,
      };
      this.#change(folder, { names: [name], apply: (entries) => entries.set(name, made) });
      inode = made;
    }
    if (!inode) throw systemError("ENOENT", path);
    inode.openCount += 1;
    return new FakeFile(this, inode, { path, boot: this.#boot, writable: mode !== "read" });
  }

  async list(path: string): Promise<string[]> {
    await turn();
    this.begin("list", path);
    const folder = this.#folder(path);
    const prefix = path === "/" ? "/" : `${path}/`;
    const below = [...this.#folders.keys()].filter((each) => each.startsWith(prefix) && each !== "/");
    const folders = below.map((each) => each.slice(prefix.length)).filter((name) => !name.includes("/"));
    return [...folder.entries.keys(), ...folders];
  }

  async makeDirectory(path: string): Promise<void> {
    await turn();
    this.begin("makeDirectory", path);
    const names = path.split("/").filter((name) => name !== "");
    for (let count = 1; count <= names.length; count++) {
      const each = `/${names.slice(0, count).join("/")}`;
      if (!this.#folders.has(each)) {
        this.#folders.set(each, newFolder(false));
      }
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await turn();
    this.begin("rename", from);
    const source = this.#parent(from);
    const target = this.#parent(to);
    const inode = source.folder.entries.get(source.name);
    if (!inode) throw systemError("ENOENT", from);
    if (source.folder !== target.folder) throw systemError("EXDEV", from);
    this.#unlink(source.folder.entries.get(target.name));
    this.#change(source.folder, {
      names: [source.name, target.name],
      apply: (entries) => {
        entries.delete(source.name);
        entries.set(target.name, inode);
      },
    });
  }

  async remove(path: string): Promise<void> {
    await turn();
    this.begin("remove", path);
    const { folder, name } = this.#parent(path);
    const inode = folder.entries.get(name);
    if (!inode) throw systemError("ENOENT", path);
    this.#change(folder, { names: [name], apply: (entries) => entries.delete(name) });
    this.#unlink(inode);
  }

  #unlink(inode: Inode | undefined): void {
    if (!inode) return;
    inode.links -= 1;
    this.#freeIfUnused(inode);
  }

  #change(folder: Folder, change: Change): void {
    change.apply(folder.entries);
    folder.pending.push(change);
  }

  async syncDirectory(path: string): Promise<void> {
    await turn();
    this.begin("syncDirectory", path);
    const folder = this.#folder(path);
    folder.durable = new Map(folder.entries);
    folder.pending = [];
    for (const [each, { isNameDurable }] of this.#folders)
      if (!isNameDurable && (each.slice(0, each.lastIndexOf("/")) || "/") === path)
        this.#folders.get(each)!.isNameDurable = true;
  }

  async space(path: string): Promise<DiskSpace> {
    await turn();
    this.begin("space", path);
    this.#folder(path);
    return { totalBytes: this.capacityBytes, freeBytes: Math.max(0, this.capacityBytes - this.#usedBytes) };
  }

  async bootId(): Promise<string> {
    return `boot-${this.#boot}`;
  }

  #folder(path: string): Folder {
    const folder = this.#folders.get(path);
    if (!folder) throw systemError("ENOENT", path);
    return folder;
  }

  #parent(path: string): { folder: Folder; name: string } {
    const slash = path.lastIndexOf("/");
    return { folder: this.#folder(slash <= 0 ? "/" : path.slice(0, slash)), name: path.slice(slash + 1) };
  }

  #inode(path: string): Inode {
    const { folder, name } = this.#parent(path);
    const inode = folder.entries.get(name);
    if (!inode) throw systemError("ENOENT", path);
    return inode;
  }
}

/** Real calls take a turn of the event loop's queue; so do these, and others may run in between. */
function turn(): Promise<void> {
  return Promise.resolve();
}

class FakeFile implements DiskFile {
  readonly #disk: FakeDisk;
  readonly #inode: Inode;
  readonly #path: string;
  readonly #boot: number;
  readonly #writable: boolean;
  #open = true;

  constructor(disk: FakeDisk, inode: Inode, how: { path: string; boot: number; writable: boolean }) {
    this.#disk = disk;
    this.#inode = inode;
    this.#path = how.path;
    this.#boot = how.boot;
    this.#writable = how.writable;
  }

  async #begin(operation: DiskOperation): Promise<void> {
    await turn();
    if (!this.#open) throw systemError("EBADF", this.#path);
    this.#disk.begin(operation, this.#path, this.#boot);
  }

  async writev(pieces: readonly Uint8Array[], offset: number): Promise<void> {
    await turn();
    if (!this.#writable) throw systemError("EBADF", this.#path);
    let position = offset;
    for (const piece of pieces) {
      // Each piece by itself: a crash in between finds some of them written.
      await this.#begin("write");
      if (!this.#disk.write(this.#inode, piece, position)) throw systemError("ENOSPC", this.#path);
      position += piece.length;
    }
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    await this.#begin("read");
    const end = Math.min(offset + into.length, this.#inode.sizeBytes);
    if (end <= offset) return 0;
    into.set(this.#inode.bytes.subarray(offset, end), 0);
    return end - offset;
  }

  async sync(): Promise<void> {
    try {
      await this.#begin("sync");
    } catch (error) {
      this.#inode.dirty.clear();
      throw error;
    }
    this.#disk.sync(this.#inode);
  }

  async truncate(lengthBytes: number): Promise<void> {
    await this.#begin("truncate");
    this.#disk.truncate(this.#inode, lengthBytes);
  }

  async sizeBytes(): Promise<number> {
    await this.#begin("read");
    return this.#inode.sizeBytes;
  }

  async close(): Promise<void> {
    await turn();
    if (!this.#open) return;
    this.#open = false;
    if (this.#boot === this.#disk.boot) this.#disk.release(this.#inode);
  }
}

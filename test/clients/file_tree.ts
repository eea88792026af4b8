/**
 * An exerciser of file systems: seeded random changes to a folder, each made at the same time to a model in memory, and
 * comparisons of the two. What POSIX promises to one process is expected: what was closed is what is read.
 */
import assert from "node:assert/strict";
import { appendFile, chmod, lstat, mkdir, open, readFile, readdir, readlink } from "node:fs/promises";
import { rename, rmdir, symlink, truncate, unlink, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Random } from "../../src/core/random.ts";

type Entry =
  | { readonly kind: "file"; bytes: Buffer; mode: number }
  | { readonly kind: "folder"; mode: number }
  | { readonly kind: "link"; readonly target: string };

type File = Extract<Entry, { kind: "file" }>;

const modes = [0o600, 0o640, 0o644, 0o700, 0o755] as const;
const entriesMax = 60;

export class FileTree {
  #root: string;
  readonly #random: Random;
  readonly #sizeMax: number;
  /** Relative path → what is there; the root itself is the empty path. */
  readonly #entries = new Map<string, Entry>([["", { kind: "folder", mode: 0o755 }]]);
  #names = 0;
  /** What was done, for the message of a failure. */
  readonly done: string[] = [];

  constructor(root: string, options: { readonly random: Random; readonly sizeMax: number }) {
    this.#root = root;
    this.#random = options.random;
    this.#sizeMax = options.sizeMax;
  }

  #at(name: string): string {
    return path.join(this.#root, name);
  }

  #pick<T>(of: readonly T[]): T {
    return of[this.#random.below(of.length)]!;
  }

  #namesOf(kind: Entry["kind"]): string[] {
    return [...this.#entries].filter(([, entry]) => entry.kind === kind).map(([name]) => name);
  }

  #childrenOf(folder: string): string[] {
    const prefix = folder === "" ? "" : `${folder}/`;
    return [...this.#entries.keys()].filter(
      (name) => name !== "" && name.startsWith(prefix) && !name.slice(prefix.length).includes("/"),
    );
  }

  /** A name that nothing has had, in some folder; some with characters that have to be escaped. */
  #newName(): string {
    const folder = this.#pick(this.#namesOf("folder"));
    return path.join(folder, `${this.#pick(["n", "ü ", "a+b%20", "x&y"])}${this.#names++}`);
  }

  #bytes(): Buffer {
    return Buffer.from(this.#random.bytes(this.#random.below(this.#sizeMax)));
  }

  async #create(): Promise<void> {
    const name = this.#newName();
    const entry: File = { kind: "file", bytes: this.#bytes(), mode: this.#pick(modes) };
    this.done.push(`create ${name} of ${entry.bytes.length}`);
    await writeFile(this.#at(name), entry.bytes, { flag: "wx", mode: entry.mode });
    this.#entries.set(name, entry);
  }

  async #write(name: string, file: File): Promise<void> {
    const position = this.#random.below(file.bytes.length + 1000);
    const bytes = this.#bytes();
    this.done.push(`write ${name} at ${position}, ${bytes.length}`);
    const handle = await open(this.#at(name), "r+");
    try {
      await handle.write(bytes, 0, bytes.length, position);
    } finally {
      await handle.close();
    }
    if (bytes.length === 0) return;
    const whole = Buffer.alloc(Math.max(file.bytes.length, position + bytes.length));
    file.bytes.copy(whole);
    bytes.copy(whole, position);
    file.bytes = whole;
  }

  async #append(name: string, file: File): Promise<void> {
    const bytes = this.#bytes();
    this.done.push(`append ${name}, ${bytes.length}`);
    await appendFile(this.#at(name), bytes);
    file.bytes = Buffer.concat([file.bytes, bytes]);
  }

  async #truncate(name: string, file: File): Promise<void> {
    const length = this.#random.below(file.bytes.length + 2000);
    this.done.push(`truncate ${name} to ${length}`);
    await truncate(this.#at(name), length);
    const cut = Buffer.alloc(length);
    file.bytes.copy(cut);
    file.bytes = cut;
  }

  /** Onto a name that is free, or onto another file, which it then takes the place of. */
  async #rename(name: string, file: File): Promise<void> {
    const others = this.#namesOf("file").filter((other) => other !== name);
    const target = others.length > 0 && this.#random.below(3) === 0 ? this.#pick(others) : this.#newName();
    this.done.push(`rename ${name} to ${target}`);
    await rename(this.#at(name), this.#at(target));
    this.#entries.delete(name);
    this.#entries.set(target, file);
  }

  async #renameFolder(): Promise<void> {
    const folders = this.#namesOf("folder").filter((name) => name !== "");
    if (folders.length === 0) return;
    const name = this.#pick(folders);
    const target = this.#newName();
    if (target.startsWith(`${name}/`)) return;
    this.done.push(`rename folder ${name} to ${target}`);
    await rename(this.#at(name), this.#at(target));
    const moved = [...this.#entries].filter(([each]) => each === name || each.startsWith(`${name}/`));
    for (const [each, entry] of moved) {
      this.#entries.delete(each);
      this.#entries.set(target + each.slice(name.length), entry);
    }
  }

  async #unlink(name: string): Promise<void> {
    this.done.push(`unlink ${name}`);
    await unlink(this.#at(name));
    this.#entries.delete(name);
  }

  async #makeFolder(): Promise<void> {
    const name = this.#newName();
    const mode = 0o755;
    this.done.push(`mkdir ${name}`);
    await mkdir(this.#at(name), { mode });
    this.#entries.set(name, { kind: "folder", mode });
  }

  /** One that is empty goes; one that is not stays, with an error. */
  async #removeFolder(): Promise<void> {
    const folders = this.#namesOf("folder").filter((name) => name !== "");
    if (folders.length === 0) return;
    const name = this.#pick(folders);
    this.done.push(`rmdir ${name}`);
    if (this.#childrenOf(name).length > 0) {
      await assert.rejects(rmdir(this.#at(name)), { code: "ENOTEMPTY" });
      return;
    }
    await rmdir(this.#at(name));
    this.#entries.delete(name);
  }

  async #chmod(name: string, file: File): Promise<void> {
    const mode = this.#pick(modes);
    this.done.push(`chmod ${name} ${mode.toString(8)}`);
    await chmod(this.#at(name), mode);
    file.mode = mode;
  }

  async #link(): Promise<void> {
    const [name, target] = [this.#newName(), `to/nowhere ${this.#names}`];
    this.done.push(`symlink ${name}`);
    await symlink(target, this.#at(name));
    this.#entries.set(name, { kind: "link", target });
  }

  /** One change, or a look. */
  async step(): Promise<void> {
    const links = this.#namesOf("link");
    const files = this.#namesOf("file");
    const dice = this.#random.below(100);
    if (files.length === 0 || (dice < 22 && this.#entries.size < entriesMax)) return this.#create();
    if (dice < 28 && this.#entries.size < entriesMax) return this.#makeFolder();
    if (dice < 31 && this.#entries.size < entriesMax) return this.#link();
    if (dice < 35) return this.#removeFolder();
    if (dice < 38) return this.#renameFolder();
    if (dice < 42 && links.length > 0) return this.#unlink(this.#pick(links));
    const name = this.#pick(files);
    const file = this.#entries.get(name) as File;
    if (dice < 52) return this.#write(name, file);
    if (dice < 62) return this.#append(name, file);
    if (dice < 70) return this.#truncate(name, file);
    if (dice < 80) return this.#rename(name, file);
    if (dice < 86) return this.#unlink(name);
    if (dice < 91) return this.#chmod(name, file);
    return this.#checkEntry(name, file);
  }

  async #checkEntry(name: string, entry: Entry): Promise<void> {
    const found = await lstat(this.#at(name));
    if (entry.kind === "link") {
      assert.ok(found.isSymbolicLink(), name);
      assert.equal(await readlink(this.#at(name)), entry.target);
      return;
    }
    assert.equal((found.mode & 0o777).toString(8), entry.mode.toString(8), `mode of ${name}`);
    if (entry.kind === "folder") {
      assert.ok(found.isDirectory(), name);
      const listed = (await readdir(this.#at(name))).toSorted();
      const expected = this.#childrenOf(name).map((child) => path.basename(child));
      assert.deepEqual(listed, expected.toSorted(), `entries of ${name}`);
      return;
    }
    assert.equal(found.size, entry.bytes.length, `size of ${name}`);
    assert.ok((await readFile(this.#at(name))).equals(entry.bytes), `bytes of ${name}`);
  }

  /** Everything that is there is looked at: entries, kinds, modes, sizes, bytes. */
  async check(): Promise<void> {
    for (const [name, entry] of this.#entries) if (name !== "") await this.#checkEntry(name, entry);
    const listed = (await readdir(this.#root)).toSorted();
    assert.deepEqual(listed, this.#childrenOf("").toSorted(), "entries of the root");
  }

  /** The same where it is mounted now. */
  at(root: string): this {
    this.#root = root;
    return this;
  }

  /** The files alone. */
  files(): Map<string, Buffer> {
    const files = [...this.#entries].filter((each): each is [string, File] => each[1].kind === "file");
    return new Map(files.map(([name, { bytes }]) => [name, bytes]));
  }
}

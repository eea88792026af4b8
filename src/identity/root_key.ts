/**
 * The root key's file, `root-key.json` in the folder of each drive that has the metadata: made on the first start, readable
 * by its owner only.
 *
 * Durability: the content is synced under a temporary name, renamed, and the folder synced, so that a key that was
 * printed is never lost and the file is never half there.
 */
import { promises as fs } from "node:fs";
import path from "node:path";
import { HoldfastError, systemCode } from "../core/errors.ts";
import { systemRandom, type Random } from "../core/random.ts";
import { checkAccessKey, checkSecretKey, generateAccessKey, generateSecretKey } from "./credentials.ts";
import type { Credentials } from "./identity.ts";

export const rootKeyFileName = "root-key.json";

export type RootKey = Credentials & {
  readonly from: "given" | "made" | "kept";
  /** The first of its files; of a given one, where it would be. */
  readonly file: string;
  /** Somebody else may read the file (or its file system knows no modes). */
  readonly isExposed: boolean;
};

export function newRootKey(random: Random = systemRandom): Credentials {
  return { accessKey: generateAccessKey(random), secretKey: generateSecretKey(random) };
}

/** Folders whose files count, then those that get the same key because they are new or came back. */
export type RootKeyFolders = { readonly known: readonly string[]; readonly others: readonly string[] };

/**
 * The given key wins and is not kept; else the folders' own, made if there is none, and brought to each of them. One process
 * at a time. Errors: `invalid_argument` when the known folders have different ones.
 */
export async function rootKey(folders: RootKeyFolders, given: Credentials | undefined): Promise<RootKey> {
  const files = [...folders.known, ...folders.others].map((folder) => path.join(folder, rootKeyFileName));
  const [first] = files as [string];
  if (given !== undefined) {
    checkRoot(given);
    return { ...given, from: "given", file: first, isExposed: false };
  }
  const found: (RootKey | undefined)[] = [];
  for (const file of files) found.push(await readRootKey(file));
  const [kept, ...more] = found.slice(0, folders.known.length).filter((each) => each !== undefined);
  const differs = kept === undefined ? undefined : more.find((each) => !isSame(each, kept));
  if (kept !== undefined && differs !== undefined) throw twoKeys(kept.file, differs.file);
  const key = kept ?? found.find((each) => each !== undefined);
  const root: RootKey = key ?? { ...newRootKey(), from: "made", file: first, isExposed: false };
  for (const [index, file] of files.entries()) {
    const there = found[index];
    if (there === undefined || !isSame(there, root)) await writeRootKey(file, root);
  }
  return { ...root, isExposed: found.some((each) => each !== undefined && isSame(each, root) && each.isExposed) };
}

/** Errors: `invalid_argument`. */
export function checkRoot({ accessKey, secretKey }: Credentials): void {
  checkAccessKey(accessKey);
  checkSecretKey(secretKey);
}

/** The key in the first of these folders that has one. */
export async function keptRootKey(folders: readonly string[]): Promise<Credentials | undefined> {
  for (const folder of folders) {
    const found = await readRootKey(path.join(folder, rootKeyFileName));
    if (found !== undefined) return { accessKey: found.accessKey, secretKey: found.secretKey };
  }
  return undefined;
}

/** Brings a key that was kept elsewhere into the folder, over the one it has. */
export function keepRootKey(folder: string, key: Credentials): Promise<void> {
  return writeRootKey(path.join(folder, rootKeyFileName), key);
}

function isSame(a: Credentials, b: Credentials): boolean {
  return a.accessKey === b.accessKey && a.secretKey === b.secretKey;
}

function twoKeys(one: string, other: string): HoldfastError {
  return new HoldfastError(
    "invalid_argument",
    `The root key files ${one} and ${other} differ: copy the right one over the other.`,
  );
}

async function readRootKey(file: string): Promise<RootKey | undefined> {
  let content: string;
  let mode: number;
  try {
    content = await fs.readFile(file, "utf8");
    mode = (await fs.stat(file)).mode;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    const { version, accessKey, secretKey } = JSON.parse(content) as Record<string, unknown>;
    if (version !== 1) throw new Error(`format version ${String(version)} is not known`);
    const credentials = { accessKey: checkAccessKey(accessKey), secretKey: checkSecretKey(secretKey) };
    return { ...credentials, from: "kept", file, isExposed: (mode & 0o077) !== 0 };
  } catch (error) {
    throw new HoldfastError("corrupt_record", `The root key file ${file} cannot be read: ${(error as Error).message}`);
  }
}

async function writeRootKey(file: string, { accessKey, secretKey }: Credentials): Promise<void> {
  const temporary = `${file}.new`;
  // One left behind by a crash may have any mode: it is made anew.
  await fs.rm(temporary, { force: true });
  const handle = await fs.open(temporary, "wx", 0o600);
  try {
    await handle.writeFile(JSON.stringify({ version: 1, accessKey, secretKey }, undefined, 2) + "\n");
    await handle.sync();
  } finally {
    await handle.close();
  }
  await fs.rename(temporary, file);
  const folder = await fs.open(path.dirname(file), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

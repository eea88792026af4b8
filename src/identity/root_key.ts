/**
 * The root key's file, `root-key.json` in the first drive's folder: made on the first start, readable by its owner only.
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
  /** Somebody else may read the file (or its file system knows no modes). */
  readonly isExposed: boolean;
};

export function newRootKey(random: Random = systemRandom): Credentials {
  return { accessKey: generateAccessKey(random), secretKey: generateSecretKey(random) };
}

/** The given key wins and is not kept; else the folder's own, made if there is none. One process at a time. */
export async function rootKey(folder: string, given: Credentials | undefined): Promise<RootKey> {
  if (given !== undefined) {
    checkAccessKey(given.accessKey);
    checkSecretKey(given.secretKey);
    return { ...given, from: "given", isExposed: false };
  }
  const file = path.join(folder, rootKeyFileName);
  const kept = await readRootKey(file);
  if (kept !== undefined) return kept;
  const made = newRootKey();
  await writeRootKey(file, made);
  return { ...made, from: "made", isExposed: false };
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
    return { ...credentials, from: "kept", isExposed: (mode & 0o077) !== 0 };
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

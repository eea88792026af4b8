import type { Command } from "commander";
import { mkdir, stat } from "node:fs/promises";
import path from "node:path";
import { HoldfastError, hasReason, systemCode } from "../core/errors.ts";
import type { S3Client } from "../client/s3_client.ts";
import { isSameFile, type ObjectFacts } from "../client/same.ts";
import { downloadFile, inParallel } from "../client/transfer.ts";
import { counted, humanBytes, parseAddress, parseObject, print, printJson, remark } from "./connection.ts";
import { withClient, withConnection, type Address, type ConnectionOptions } from "./connection.ts";
import { progressBar, progressCounter } from "./progress.ts";
import { parseParallel } from "./put.ts";

type Options = ConnectionOptions & { readonly recursive?: boolean; readonly parallel: string };

export function register(program: Command): void {
  withConnection(program.command("get"))
    .description(
      "download an object, or with -r everything below a prefix; a run that was cut off goes on where it was",
    )
    .argument("<address>", "bucket/key")
    .argument("[path]", "file or folder", ".")
    .option("-r, --recursive", "every key that begins with the given one")
    .option("-p, --parallel <n>", "objects at once", "4")
    .action((address: string, to: string, options: Options) =>
      withClient(options, (client) =>
        options.recursive
          ? getBelow(client, parseAddress(address), to, options)
          : getOne(client, parseObject(address, "add -r to get everything in it."), to, options),
      ),
    );
}

async function getOne(client: S3Client, source: Address, to: string, options: Options): Promise<void> {
  const file = await fileFor(source, to);
  const head = await client.send({ method: "HEAD", ...source });
  head.body.resume();
  const sizeBytes = Number(head.headers["content-length"]);
  const bar = progressBar(sizeBytes, options.json ?? false);
  await downloadFile(client, source, file, bar.add).finally(bar.stop);
  if (options.json) printJson({ file, bytes: sizeBytes });
  else print(`${file}  ${humanBytes(sizeBytes)}`);
}

/** In a folder the file is called as the last part of the key. */
async function fileFor(source: Address, to: string): Promise<string> {
  if (!to.endsWith(path.sep) && !(await isFolder(to))) return to;
  const name = source.key.split("/").at(-1)!;
  if (whyNoPath([name]) === undefined) return path.join(to, name);
  throw new HoldfastError(
    "invalid_argument",
    `The key "${source.key}" names no file: say which file, like: holdfast get ${source.bucket}/KEY FILE`,
  );
}

async function isFolder(name: string): Promise<boolean> {
  try {
    return (await stat(name)).isDirectory();
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
}

/** What became of the keys below a prefix. */
type Tally = { files: number; bytes: number; there: number; refused: number };

async function getBelow(client: S3Client, source: Address, to: string, options: Options): Promise<void> {
  const { bucket } = source;
  const base = source.key.slice(0, source.key.lastIndexOf("/") + 1);
  const tally: Tally = { files: 0, bytes: 0, there: 0, refused: 0 };
  const counter = progressCounter(options.json ?? false);
  const keys = client.list(bucket, source.key);
  try {
    await inParallel(keys, parseParallel(options.parallel), async (listed) => {
      const why = await getListed(
        client,
        { bucket, ...listed },
        { to, relative: listed.key.slice(base.length), tally },
      );
      if (why !== undefined) {
        tally.refused += 1;
        remark(`"${listed.key}" cannot be a file below ${to}: ${why}.`);
      }
      counter.show(`${counted(tally.files, "file")}, ${humanBytes(tally.bytes)}`);
    });
  } finally {
    counter.stop();
  }
  const { files, bytes, there, refused } = tally;
  if (options.json) printJson({ files, bytes, there, refused });
  else print(`${counted(files, "file")}, ${humanBytes(bytes)}${there > 0 ? `, ${there} were there already` : ""}`);
  if (refused > 0)
    throw new HoldfastError(
      "invalid_argument",
      `${counted(refused, "key")} could not be written; get each under a name.`,
    );
}

type Below = { readonly to: string; readonly relative: string; readonly tally: Tally };

/** Resolves to why the key cannot be a file there, or to undefined when it is one now. */
async function getListed(client: S3Client, object: ObjectFacts, below: Below): Promise<string | undefined> {
  const { to, relative, tally } = below;
  // A key that ends in / and has no bytes stands for a folder: consoles make such ones.
  const isMarker = (relative === "" || relative.endsWith("/")) && object.sizeBytes === 0;
  const parts = (isMarker ? relative.slice(0, -1) : relative).split("/");
  const why = relative === "" && isMarker ? undefined : whyNoPath(parts);
  if (why !== undefined) return why;
  const place = path.join(to, ...parts);
  try {
    if (isMarker) await mkdir(place, { recursive: true });
    else if (await isSameFile(client, object, place)) tally.there += 1;
    else await downloadFile(client, object, place, () => undefined);
  } catch (error) {
    const clash = clashes[systemCode(error) ?? ""];
    if (clash === undefined && !isFolderError(error)) throw error;
    return clash ?? "a folder has that name";
  }
  if (isMarker) return undefined;
  tally.files += 1;
  tally.bytes += object.sizeBytes;
  return undefined;
}

const isFolderError = (error: unknown): boolean => hasReason(error, "invalid_argument");

const clashes: Readonly<Record<string, string>> = {
  ENOTDIR: "a part of its path is a file",
  EEXIST: "a part of its path is a file",
  EISDIR: "a folder has that name",
  ENAMETOOLONG: "the name is too long for the file system",
};

/**
 * A key is any text; as a path it must stay below the folder it was asked into and be no other key's path, so what the
 * file system would read in its own way is refused.
 */
function whyNoPath(parts: readonly string[]): string | undefined {
  if (parts.some((part) => part === "")) return "a part of its path has no name";
  if (parts.some((part) => part === "." || part === "..")) return "its path leads elsewhere";
  if (parts.some((part) => part.includes("\0"))) return "it has a NUL byte";
  const isForeign = process.platform === "win32" && parts.some((part) => /[<>:"|?*\\]/.test(part));
  return isForeign ? "Windows takes no such name" : undefined;
}

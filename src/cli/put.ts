import type { Command } from "commander";
import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { HoldfastError } from "../core/errors.ts";
import { S3RequestError } from "../client/s3_client.ts";
import type { S3Client } from "../client/s3_client.ts";
import { isSameFile } from "../client/same.ts";
import { inParallel, uploadFile } from "../client/transfer.ts";
import { counted, humanBytes, parseAddress, print, printJson, remark } from "./connection.ts";
import { withClient, withConnection, type Address, type ConnectionOptions } from "./connection.ts";
import { progressBar } from "./progress.ts";

type Options = ConnectionOptions & { readonly recursive?: boolean; readonly parallel: string };
type Planned = { readonly file: string; readonly key: string; readonly sizeBytes: number };

export function register(program: Command): void {
  withConnection(program.command("put"))
    .description("upload files; a run that was cut off goes on where it was")
    .argument("<paths...>", "files (with -r: folders too), then bucket/key; a key ending in / is a folder")
    .option("-r, --recursive", "folders with everything in them")
    .option("-p, --parallel <n>", "files, and parts of a file, at once", "4")
    .action((paths: string[], options: Options) => withClient(options, (client) => put(client, paths, options)));
}

async function put(client: S3Client, paths: string[], options: Options): Promise<void> {
  const last = paths.at(-1)!;
  const sources = paths.slice(0, -1);
  if (sources.length === 0)
    throw new HoldfastError("invalid_argument", "Say what to upload and where: holdfast put FILE bucket/key");
  const target = parseAddress(last);
  const parallel = parseParallel(options.parallel);
  const planned = await plan(sources, target, options.recursive ?? false);
  const totalBytes = planned.reduce((sum, each) => sum + each.sizeBytes, 0);
  const bar = progressBar(totalBytes, options.json ?? false);
  let skipped = 0;
  try {
    await inParallel(planned, parallel, async ({ file, key, sizeBytes }) => {
      if (planned.length > 1 && (await isThere(client, { bucket: target.bucket, key }, file, sizeBytes))) {
        skipped += 1;
        bar.add(sizeBytes);
      } else await uploadFile(client, file, { bucket: target.bucket, key }, { parallel, progress: bar.add });
    });
  } finally {
    bar.stop();
  }
  if (options.json) printJson({ files: planned.length, bytes: totalBytes, skipped });
  else {
    const there = skipped > 0 ? `, ${skipped} were there already` : "";
    print(`${counted(planned.length, "file")}, ${humanBytes(totalBytes)}${there}`);
  }
}

export function parseParallel(value: string): number {
  const parallel = Number(value);
  if (Number.isInteger(parallel) && parallel >= 1 && parallel <= 64) return parallel;
  throw new HoldfastError("invalid_argument", `--parallel is a whole number from 1 to 64, not "${value}".`);
}

async function plan(sources: readonly string[], target: Address, recursive: boolean): Promise<Planned[]> {
  const isFolder = target.key === "" || target.key.endsWith("/");
  const planned: Planned[] = [];
  for (const source of sources) {
    const found = await stat(source);
    if (found.isDirectory()) {
      if (!recursive) throw new HoldfastError("invalid_argument", `"${source}" is a folder: add -r.`);
      planned.push(...(await planFolder(source, target.key)));
    } else {
      if (!isFolder && sources.length > 1)
        throw new HoldfastError("invalid_argument", `Several files need a key that ends in /, not "${target.key}".`);
      planned.push({
        file: source,
        key: isFolder ? target.key + path.basename(source) : target.key,
        sizeBytes: found.size,
      });
    }
  }
  return planned;
}

async function planFolder(folder: string, keyPrefix: string): Promise<Planned[]> {
  const prefix = keyPrefix === "" || keyPrefix.endsWith("/") ? keyPrefix : `${keyPrefix}/`;
  const planned: Planned[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name);
    if (entry.isDirectory()) continue;
    if (!entry.isFile()) {
      remark(`${file} is ${entry.isSymbolicLink() ? "a link" : "no file"} and was left out.`);
      continue;
    }
    const key = prefix + path.relative(folder, file).split(path.sep).join("/");
    planned.push({ file, key, sizeBytes: (await stat(file)).size });
  }
  return planned;
}

/** Whether the object is this very file already. */
async function isThere(client: S3Client, target: Address, file: string, sizeBytes: number): Promise<boolean> {
  try {
    const head = await client.send({ method: "HEAD", ...target });
    head.body.resume();
    if (Number(head.headers["content-length"]) !== sizeBytes) return false;
    return await isSameFile(client, { ...target, sizeBytes, etag: head.headers.etag ?? "" }, file);
  } catch (error) {
    if (error instanceof S3RequestError && error.status === 404) return false;
    throw error;
  }
}

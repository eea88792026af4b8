import type { Command } from "commander";
import path from "node:path";
import { HoldfastError } from "../core/errors.ts";
import type { S3Client } from "../client/s3_client.ts";
import { downloadFile, inParallel } from "../client/transfer.ts";
import { humanBytes, parseAddress, print, printJson, withClient, withConnection } from "./connection.ts";
import type { Address, ConnectionOptions } from "./connection.ts";
import { progressBar } from "./progress.ts";
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
          : getOne(client, parseAddress(address), to, options),
      ),
    );
}

async function getOne(client: S3Client, source: Address, to: string, options: Options): Promise<void> {
  if (source.key === "")
    throw new HoldfastError("invalid_argument", `"${source.bucket}" is a bucket: add -r to get everything in it.`);
  const name = source.key.split("/").at(-1)!;
  const file = to === "." || to.endsWith(path.sep) ? path.join(to, name) : to;
  const head = await client.send({ method: "HEAD", ...source });
  head.body.resume();
  const sizeBytes = Number(head.headers["content-length"]);
  const bar = progressBar(sizeBytes, options.json ?? false);
  await downloadFile(client, source, file, bar.add).finally(bar.stop);
  if (options.json) printJson({ file, bytes: sizeBytes });
  else print(`${file}  ${humanBytes(sizeBytes)}`);
}

async function getBelow(client: S3Client, source: Address, to: string, options: Options): Promise<void> {
  const base = source.key.slice(0, source.key.lastIndexOf("/") + 1);
  let files = 0;
  let bytes = 0;
  const folders: string[] = [];
  await inParallel(client.list(source.bucket, source.key), parseParallel(options.parallel), async (each) => {
    if (each.key.endsWith("/")) {
      folders.push(each.key);
      return;
    }
    await downloadFile(
      client,
      { bucket: source.bucket, key: each.key },
      safePath(to, each.key.slice(base.length)),
      () => undefined,
    );
    files += 1;
    bytes += each.sizeBytes;
  });
  for (const key of folders) process.stderr.write(`holdfast: "${key}" names a folder and was not written\n`);
  if (options.json) printJson({ files, bytes });
  else print(`${files} files, ${humanBytes(bytes)}`);
}

/** A key is any bytes; as a file name it must stay below the folder it was asked into. */
function safePath(folder: string, relative: string): string {
  const file = path.join(folder, relative);
  const inside = path.relative(folder, file);
  if (inside === "" || inside.startsWith("..") || path.isAbsolute(inside) || relative.includes("\0")) {
    throw new HoldfastError(
      "invalid_argument",
      `The key "${relative}" cannot be a file below ${folder}; get it alone and name the file.`,
    );
  }
  return file;
}

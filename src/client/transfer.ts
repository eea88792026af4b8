/**
 * Files to objects and back, for `holdfast put` and `holdfast get`: in parallel, with progress, resuming what an earlier
 * run left.
 *
 * Up: a file above one part's size becomes a multipart upload. An unfinished upload of the same key is taken up again:
 * parts whose MD5 equals the file's are kept. A file that changes while it is read is an error and no object.
 *
 * Down: bytes go to `<file>.<etag>.part`, which a later run continues if the object is still the same one; the finished
 * file is compared with the ETag where that is an MD5, synced, then renamed. Pipes and devices are written to directly.
 */
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, open, realpath, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { pipeline as pipe, Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { HoldfastError, systemCode } from "../core/errors.ts";
import { md5OfFile } from "./same.ts";
import { text } from "./s3_client.ts";
import type { S3Client } from "./s3_client.ts";

const MiB = 1024 * 1024;
const partsMax = 10_000;

export type Progress = (bytes: number) => void;

export type Target = { readonly bucket: string; readonly key: string };

/** 16 MiB, or as large as 10,000 parts need. */
export function partSizeFor(fileBytes: number): number {
  let partBytes = 16 * MiB;
  while (partBytes * partsMax < fileBytes) partBytes *= 2;
  return partBytes;
}

/** Runs `work` over all items, `width` at a time; the first failure stops the rest. */
export async function inParallel<T>(
  items: AsyncIterable<T> | Iterable<T>,
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let stopped = false;
  const lane = async (): Promise<void> => {
    while (!stopped) {
      const next = await iterator.next();
      if (next.done) return;
      await work(next.value).catch((error: unknown) => {
        stopped = true;
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
}

function counting(progress: Progress): Transform {
  return new Transform({
    transform(piece: Buffer, _encoding, done) {
      progress(piece.length);
      done(null, piece);
    },
  });
}

/** A range of a file as a stream that fails when the file has no longer all of it, and never gives more. */
function reading(file: string, range: { start: number; lengthBytes: number }, progress: Progress): Transform {
  const { start, lengthBytes } = range;
  let seenBytes = 0;
  const counted = new Transform({
    transform(piece: Buffer, _encoding, done) {
      seenBytes += piece.length;
      progress(piece.length);
      done(null, piece);
    },
    flush(done) {
      const isWhole = seenBytes === lengthBytes;
      done(isWhole ? null : new HoldfastError("incomplete_body", `${file} changed while it was read.`));
    },
  });
  // An error of the file ends the request that reads `counted`, which tells it.
  pipe(createReadStream(file, { start, end: start + lengthBytes - 1 }), counted, () => undefined);
  return counted;
}

export async function uploadFile(
  client: S3Client,
  file: string,
  target: Target,
  options: { parallel: number; progress: Progress },
): Promise<void> {
  const { size } = await stat(file);
  const partBytes = partSizeFor(size);
  if (size > partBytes) return uploadInParts(client, file, { ...target, sizeBytes: size, partBytes }, options);
  const body =
    size === 0
      ? Buffer.alloc(0)
      : { stream: reading(file, { start: 0, lengthBytes: size }, options.progress), lengthBytes: size };
  await client.run({ method: "PUT", ...target, body });
}

type PartsTarget = Target & { readonly sizeBytes: number; readonly partBytes: number };

async function uploadInParts(
  client: S3Client,
  file: string,
  target: PartsTarget,
  options: { parallel: number; progress: Progress },
): Promise<void> {
  const { bucket, key, sizeBytes, partBytes } = target;
  const uploadId = (await unfinishedUpload(client, target)) ?? (await client.createUpload(bucket, key));
  const there = await listedParts(client, { bucket, key, uploadId });
  const etags: string[] = [];
  const partNumbers = Array.from({ length: Math.ceil(sizeBytes / partBytes) }, (_, index) => index + 1);
  await inParallel(partNumbers, options.parallel, async (partNumber) => {
    const start = (partNumber - 1) * partBytes;
    const lengthBytes = Math.min(partBytes, sizeBytes - start);
    const known = there.get(partNumber);
    if (known?.sizeBytes === lengthBytes && (await md5OfRange(file, start, lengthBytes)) === known.md5) {
      options.progress(lengthBytes);
      etags[partNumber - 1] = `"${known.md5}"`;
      return;
    }
    const stream = reading(file, { start, lengthBytes }, options.progress);
    etags[partNumber - 1] = await client.uploadPart({ bucket, key, uploadId, partNumber }, { stream, lengthBytes });
  });
  await client.completeUpload({ bucket, key, uploadId }, etags);
}

async function unfinishedUpload(client: S3Client, target: Target): Promise<string | undefined> {
  const root = await client.xml({ method: "GET", bucket: target.bucket, query: { uploads: "", prefix: target.key } });
  const uploads = root.children.filter((each) => each.name === "Upload" && text(each, "Key") === target.key);
  const last = uploads.at(-1);
  return last && text(last, "UploadId");
}

async function listedParts(
  client: S3Client,
  upload: Target & { uploadId: string },
): Promise<Map<number, { sizeBytes: number; md5: string }>> {
  const parts = new Map<number, { sizeBytes: number; md5: string }>();
  for (let marker = "0"; ;) {
    const query = { uploadId: upload.uploadId, "part-number-marker": marker };
    const root = await client.xml({ method: "GET", bucket: upload.bucket, key: upload.key, query });
    for (const each of root.children.filter((element) => element.name === "Part")) {
      parts.set(Number(text(each, "PartNumber")), {
        sizeBytes: Number(text(each, "Size")),
        md5: text(each, "ETag").replaceAll('"', ""),
      });
    }
    if (text(root, "IsTruncated") !== "true") return parts;
    marker = text(root, "NextPartNumberMarker");
  }
}

async function md5OfRange(file: string, start: number, lengthBytes: number): Promise<string> {
  return (await md5OfFile(file, { start, end: start + lengthBytes - 1 })).toString("hex");
}

async function sizeIfThere(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return 0;
    throw error;
  }
}

/** The longest name that file systems take. */
const nameBytesMax = 255;

function partialName(file: string, etag: string): string {
  const ending = `.${etag.replace(/[^0-9a-zA-Z-]/g, "")}.part`;
  const name = path.basename(file);
  if (Buffer.byteLength(name + ending) <= nameBytesMax) return file + ending;
  return path.join(path.dirname(file), createHash("md5").update(name).digest("hex") + ending);
}

/** Where the bytes go in the end: behind a link, or where nothing is yet, at the name given. */
async function placeFor(file: string): Promise<{ file: string; isStream: boolean }> {
  try {
    const found = await stat(file);
    if (found.isDirectory()) throw new HoldfastError("invalid_argument", `${file} is a folder.`);
    return { file: await realpath(file), isStream: !found.isFile() };
  } catch (error) {
    if (systemCode(error) === "ENOENT") return { file, isStream: false };
    throw error;
  }
}

/** Errors: those of the server, of the file system; `checksum_mismatch`. */
export async function downloadFile(client: S3Client, source: Target, to: string, progress: Progress): Promise<void> {
  const { file, isStream } = await placeFor(to);
  if (isStream) {
    const { body } = await client.send({ method: "GET", ...source });
    return pipeline(Readable.from(body), counting(progress), createWriteStream(file));
  }
  const head = await client.send({ method: "HEAD", ...source });
  head.body.resume();
  const etag = head.headers.etag ?? "";
  const sizeBytes = Number(head.headers["content-length"] ?? 0);
  await mkdir(path.dirname(file), { recursive: true });
  const partial = partialName(file, etag);
  const start = Math.min(await sizeIfThere(partial), sizeBytes);
  progress(start);
  if (start < sizeBytes || sizeBytes === 0) {
    const headers: Record<string, string> = { "if-match": etag };
    if (start > 0) headers["range"] = `bytes=${start}-`;
    const { body } = await client.send({ method: "GET", ...source, headers });
    await pipeline(
      Readable.from(body),
      counting(progress),
      createWriteStream(partial, { flags: start > 0 ? "r+" : "w", start }),
    );
  }
  const plain = /^"([0-9a-f]{32})"$/.exec(etag)?.[1];
  if (
    plain &&
    head.headers["x-amz-server-side-encryption"] === undefined &&
    (await md5OfFile(partial)).toString("hex") !== plain
  ) {
    await rm(partial);
    throw new HoldfastError(
      "checksum_mismatch",
      `${source.bucket}/${source.key}: what arrived is not what the ETag says; the partial file was removed.`,
    );
  }
  const handle = await open(partial, "r+");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(partial, file);
}

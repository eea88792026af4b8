/**
 * Whether a file is the object that stands at a key, told without moving its bytes: by size and ETag. An ETag is the MD5
 * of what went up in one piece; of a multipart upload it is the MD5 of the parts' MD5s, `-` and their number, which can be
 * computed when all parts but the last have one size, as every client makes them.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { systemCode } from "../core/errors.ts";
import type { S3Client } from "./s3_client.ts";

export type ObjectFacts = {
  readonly bucket: string;
  readonly key: string;
  readonly sizeBytes: number;
  /** With its quotes. */
  readonly etag: string;
};

/** False also where it cannot be told. */
export async function isSameFile(client: S3Client, object: ObjectFacts, file: string): Promise<boolean> {
  if ((await fileBytes(file)) !== object.sizeBytes) return false;
  const [, md5 = "", parts] = /^"([0-9a-f]{32})(?:-(\d{1,5}))?"$/.exec(object.etag) ?? [];
  if (md5 === "") return false;
  if (parts === undefined) return (await md5OfFile(file)).toString("hex") === md5;
  const partBytes = await firstPartBytes(client, object);
  if (partBytes === undefined || Math.ceil(object.sizeBytes / partBytes) !== Number(parts)) return false;
  return (await md5OfParts(file, object.sizeBytes, partBytes)) === md5;
}

/** Undefined where there is no such file, or something that is none. */
async function fileBytes(file: string): Promise<number | undefined> {
  try {
    const found = await stat(file);
    return found.isFile() ? found.size : undefined;
  } catch (error) {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

export async function md5OfFile(file: string, range?: { start: number; end: number }): Promise<Buffer> {
  const hash = createHash("md5");
  await pipeline(createReadStream(file, range), hash);
  return hash.digest();
}

async function firstPartBytes(client: S3Client, { bucket, key }: ObjectFacts): Promise<number | undefined> {
  const { headers, body } = await client.send({ method: "HEAD", bucket, key, query: { partNumber: "1" } });
  body.resume();
  const bytes = Number(headers["content-length"]);
  return bytes > 0 ? bytes : undefined;
}

async function md5OfParts(file: string, sizeBytes: number, partBytes: number): Promise<string> {
  const hash = createHash("md5");
  for (let start = 0; start < sizeBytes; start += partBytes) {
    hash.update(await md5OfFile(file, { start, end: Math.min(start + partBytes, sizeBytes) - 1 }));
  }
  return hash.digest("hex");
}

/**
 * Uploads: a raw body is one file named by `?name=`; a multipart/form-data body has one or more files, stored one after
 * the other as they arrive. When one of a form fails, those already stored are deleted again: an error means no file.
 */
import { HoldfastError, hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { BodyVerifier } from "../object/object.ts";
import { bodySource, type BodyOptions } from "./body.ts";
import type { FileVisit } from "./access_line.ts";
import type { FileRequest, FilesOptions } from "./files.ts";
import type { FilesPermit } from "./permit.ts";
import { readForm } from "./form.ts";
import { cleanName, FileIds, fileJson, keyOfFile, type FileJson } from "./names.ts";

export type Uploads = { take(request: FileRequest): Promise<FileJson[]> };

type NewFile = {
  readonly name: string;
  readonly type: string | undefined;
  readonly body: BodyOptions;
  readonly verifier: BodyVerifier;
  readonly signal: AbortSignal;
  readonly permit: FilesPermit;
  readonly visit: FileVisit;
};

const unverified: BodyVerifier = { digests: [], verify: () => undefined };

export function createUploads(options: FilesOptions): Uploads {
  const { objects, bucket, region, clock, random } = options;
  const ids = new FileIds(clock, random);

  async function makeBucket(permit: FilesPermit): Promise<void> {
    try {
      await objects.bucket(bucket);
    } catch (error) {
      if (!hasReason(error, "no_such_bucket")) throw error;
      await permit.require("CreateBucket");
      await objects.createBucket(bucket, { region });
    }
  }

  async function store({ name, type, body, verifier, signal, permit, visit }: NewFile): Promise<FileJson> {
    const key = keyOfFile(ids.next(), name);
    await permit.require("PutObject", key);
    const contentType = type ?? "application/octet-stream";
    const put = await (
      await permit.judged(objects)
    ).put({
      bucket,
      key,
      body: bodySource(body),
      metadata: { headers: { "content-type": contentType }, user: {} },
      verifier,
      signal,
      ...(await permit.storing()),
    });
    visit.files.push({ key, sizeBytes: put.sizeBytes });
    return fileJson(key, { ...put, type: contentType });
  }

  async function takeRaw(request: FileRequest): Promise<FileJson[]> {
    const { headers, signal, permit, visit } = request;
    if (headers["content-range"] !== undefined)
      throw new HoldfastError("invalid_argument", "A file is uploaded whole: Content-Range is not for uploads.");
    const name = cleanName(request.query.get("name"));
    const verifier = md5Verifier(headers["content-md5"]);
    const sizeBytes = lengthOf(headers["content-length"]);
    const body = { stream: request.body(), sizeBytes };
    return [await store({ name, type: headers["content-type"], body, verifier, signal, permit, visit })];
  }

  async function takeForm(request: FileRequest): Promise<FileJson[]> {
    const { signal, permit, visit } = request;
    const stored: FileJson[] = [];
    try {
      await readForm(request, async ({ stream, name, type, cutShort }) => {
        const body = { stream, sizeBytes: undefined, cutShort };
        const file = { name: cleanName(name), type, body, verifier: unverified, signal, permit, visit };
        stored.push(await store(file));
      });
    } catch (error) {
      for (const { id, name } of stored) await objects.delete({ bucket, key: keyOfFile(id, name) });
      throw error;
    }
    if (stored.length === 0) throw new HoldfastError("invalid_argument", "The form has no file in it.");
    return stored;
  }

  return {
    take: async (request) => {
      await makeBucket(request.permit);
      const isForm = /^multipart\/form-data\b/i.test(request.headers["content-type"] ?? "");
      return isForm ? takeForm(request) : takeRaw(request);
    },
  };
}

function lengthOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const length = Number(header);
  if (length > limits.putBytesMax) {
    throw new HoldfastError("entity_too_large", `A file has at most ${limits.putBytesMax} bytes here.`);
  }
  return length;
}

/** Content-MD5, for those who want to be sure (RFC 1864). */
function md5Verifier(header: string | string[] | undefined): BodyVerifier {
  if (header === undefined) return unverified;
  const said = Buffer.from(String(header), "base64");
  if (said.length !== 16) throw new HoldfastError("invalid_argument", "Content-MD5 is 16 bytes in base64.");
  return {
    digests: ["md5"],
    verify: ({ md5 }) => {
      if (md5?.equals(said) !== true) {
        throw new HoldfastError("bad_digest", "The body does not match its Content-MD5; nothing was stored.");
      }
      return undefined;
    },
  };
}

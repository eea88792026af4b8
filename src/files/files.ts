/**
 * The plain file API below `/_/files`, for people with curl and no S3 library (docs/file-api.md). Files are ordinary
 * objects of one bucket, made on first use; names.ts says how they are called. Every call needs HTTP Basic credentials;
 * what they allow is judged as at the S3 door (permit.ts).
 *
 * Promises: 201 only after the file is durable; an upload that fails, also in the middle of a form of several files,
 * leaves none of its files; answers are JSON, errors too.
 */
import type { Clock } from "../core/clock.ts";
import { jsonReply, methodNotAllowed, noSuchAddress, type DoorReply, type DoorRequest } from "../core/door.ts";
import { HoldfastError, hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { formatRedundancy } from "../core/redundancy.ts";
import type { Random } from "../core/random.ts";
import type { Reply } from "../gateway/respond.ts";
import { authenticateBasic } from "../identity/basic.ts";
import type { Identity } from "../identity/identity.ts";
import type { ListedObject, Objects } from "../object/object.ts";
import type { Access } from "../gateway/authorize.ts";
import type { RequestLog } from "../logging/logging.ts";
import { logCall, type AnsweredCall, type FileVisit } from "./access_line.ts";
import { downloadReply } from "./download.ts";
import { fileJson, fileOfKey, isFileId, keyOfFile, type FileJson } from "./names.ts";
import { FilesPermit } from "./permit.ts";
import { createUploads, type Uploads } from "./upload.ts";

export type FilesOptions = {
  readonly objects: Objects;
  readonly identity: Identity;
  readonly bucket: string;
  readonly region: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Of requests to the bucket; without it none is logged. */
  readonly bucketLogs?: RequestLog;
};

/** A call, and what its caller may do. */
export type FileRequest = DoorRequest & { readonly permit: FilesPermit; readonly visit: FileVisit };

/** The calls, for metrics. */
export type FilesOperation = "Upload" | "Download" | "Head" | "Chunks" | "Delete" | "List" | "Other";

export type FilesDoor = {
  operation(request: DoorRequest): FilesOperation;
  /** Rejects with what errorReply turns into an answer. */
  handle(request: DoorRequest): Promise<DoorReply | Reply>;
  /** Told when the request that was handled has been answered. */
  answered(request: DoorRequest, call: Omit<AnsweredCall, "operation">): void;
};

const listLimitDefault = 100;
const headsAtOnce = 16;

export function createFiles(options: FilesOptions): FilesDoor {
  const files = new Files(options);
  const run: Readonly<Record<FilesOperation, (request: FileRequest) => Promise<DoorReply | Reply>>> = {
    Upload: (request) => files.upload(request),
    Download: (request) => files.download(request),
    Head: (request) => files.head(request),
    Chunks: (request) => files.chunks(request),
    Delete: (request) => files.delete(request),
    List: (request) => files.list(request),
    Other: (request) => Promise.reject(refusal(request)),
  };
  const visits = new WeakMap<DoorRequest, FileVisit>();
  const { bucket, random, bucketLogs: log } = options;
  const requestId = (): string => Buffer.from(random.bytes(8)).toString("hex").toUpperCase();
  return {
    operation: operationOf,
    answered: (request, call) => {
      const visit = visits.get(request);
      if (log === undefined || visit === undefined) return;
      logCall({ log, bucket, requestId }, { ...call, operation: operationOf(request) }, visit);
    },
    handle: async (request) => {
      const visit: FileVisit = { files: [] };
      visits.set(request, visit);
      const { access } = await authenticateBasic(options.identity, request.headers);
      visit.access = access;
      const permit = permitOf(options, access, request);
      return run[operationOf(request)]({ ...request, permit, visit }).catch(async (error: unknown) => {
        throw await permit.shown(error);
      });
    },
  };
}

function permitOf(options: FilesOptions, access: Access, request: DoorRequest): FilesPermit {
  const { objects, identity, bucket, region, clock } = options;
  const source = { objects, accounts: identity.accounts };
  return new FilesPermit({ access, request, bucket, region, nowMs: clock.nowMs(), source });
}

function operationOf({ method, segments }: DoorRequest): FilesOperation {
  const [id, what, ...more] = segments;
  if (more.length > 0) return "Other";
  if (id === undefined) {
    if (method === "POST" || method === "PUT") return "Upload";
    return isRead(method) ? "List" : "Other";
  }
  if (what !== undefined) return what === "chunks" && isRead(method) ? "Chunks" : "Other";
  return ({ GET: "Download", HEAD: "Head", DELETE: "Delete" } as const)[method] ?? "Other";
}

/** HEAD is a GET whose body is not sent. */
function isRead(method: string): boolean {
  return method === "GET" || method === "HEAD";
}

function refusal({ segments }: DoorRequest): Error {
  if (segments.length === 0) return methodNotAllowed("GET, HEAD, POST, PUT");
  if (segments.length === 1) return methodNotAllowed("GET, HEAD, DELETE");
  return segments.length === 2 && segments[1] === "chunks" ? methodNotAllowed("GET, HEAD") : noSuchAddress();
}

class Files {
  readonly #options: FilesOptions;
  readonly #uploads: Uploads;

  constructor(options: FilesOptions) {
    this.#options = options;
    this.#uploads = createUploads(options);
  }

  async upload(request: FileRequest): Promise<DoorReply> {
    const files = await this.#uploads.take(request);
    const [first] = files;
    if (files.length !== 1 || first === undefined) return jsonReply(201, files);
    return jsonReply(201, first, ["location", `/_/files/${encodeURIComponent(first.id)}`]);
  }

  async download(request: FileRequest): Promise<Reply> {
    const { objects, bucket } = this.#options;
    const key = await this.#keyOf(request);
    const read = { bucket, key, signal: request.signal, ...(await request.permit.reading(key)) };
    return downloadReply(request, (extra) => objects.get({ ...read, ...extra }).catch(asNoSuchFile));
  }

  async head(request: FileRequest): Promise<Reply> {
    const { objects, bucket } = this.#options;
    const key = await this.#keyOf(request);
    const read = { bucket, key, ...(await request.permit.reading(key)) };
    return downloadReply(request, (extra) => objects.head({ ...read, ...extra }).catch(asNoSuchFile));
  }

  async chunks(request: FileRequest): Promise<DoorReply> {
    const { objects, bucket } = this.#options;
    const key = await this.#keyOf(request);
    const judged = await request.permit.reading(key);
    const { info, inline, chunks } = await objects.layout({ bucket, key, ...judged }).catch(asNoSuchFile);
    const listed: object[] = [];
    const first = countOf(request, "first", 0);
    const limit = Math.min(countOf(request, "limit", limits.listPageKeysMax), limits.listPageKeysMax);
    let seen = 0;
    for await (const chunk of chunks) {
      if (seen++ < first) continue;
      if (listed.length === limit) break;
      listed.push({ ...chunk, redundancy: formatRedundancy(chunk.redundancy) });
    }
    const { id, name } = fileOfKey(key);
    const next = seen - first > limit ? first + limit : null;
    return jsonReply(200, { id, name, size: info.sizeBytes, etag: info.etag, inline, chunks: listed, next });
  }

  async delete(request: FileRequest): Promise<DoorReply> {
    const { objects, bucket } = this.#options;
    const key = await this.#keyOf(request);
    await request.permit.require("DeleteObject", key);
    // With the condition nothing is written for a file that is not there, not even a delete marker.
    await objects.delete({ bucket, key, conditions: { ifMatch: "*" } }).catch(asNoSuchFile);
    return { status: 204, headers: [] };
  }

  async list(request: FileRequest): Promise<DoorReply> {
    const { objects, bucket } = this.#options;
    const limit = countOf(request, "limit", listLimitDefault);
    if (limit < 1 || limit > limits.listPageKeysMax) {
      throw new HoldfastError("invalid_argument", `limit is a whole number from 1 to ${limits.listPageKeysMax}.`);
    }
    const after = cursorOf(request.query.get("cursor"));
    try {
      await request.permit.require("ListObjectsV2");
      const page = await objects.list({ bucket, limit, ...(after !== undefined && { after }) });
      const files = await this.#described(page.objects);
      return jsonReply(200, { files, cursor: page.next?.toString("base64url") ?? null });
    } catch (error) {
      // Before the first upload there is no bucket, which is an empty list to a client.
      if (hasReason(error, "no_such_bucket")) return jsonReply(200, { files: [], cursor: null });
      throw error;
    }
  }

  /** A listing does not bear content types: a few heads at a time fetch them. What was deleted meanwhile is left out. */
  async #described(listed: readonly ListedObject[]): Promise<FileJson[]> {
    const found: FileJson[] = [];
    for (let first = 0; first < listed.length; first += headsAtOnce) {
      const some = listed.slice(first, first + headsAtOnce).map((object) => this.#describe(object));
      for (const file of await Promise.all(some)) if (file !== undefined) found.push(file);
    }
    return found;
  }

  async #describe({ key }: ListedObject): Promise<FileJson | undefined> {
    try {
      const info = await this.#options.objects.describe({ bucket: this.#options.bucket, key });
      return fileJson(key, { ...info, type: info.metadata.headers["content-type"] });
    } catch (error) {
      if (hasReason(error, "no_such_key")) return undefined;
      throw error;
    }
  }

  /** The object behind an id: of our own files only the id is in the address, so the name is looked up. */
  async #keyOf(request: FileRequest): Promise<Buffer> {
    const key = await this.#keyAt(request);
    request.visit.files.push({ key });
    return key;
  }

  async #keyAt({ segments }: FileRequest): Promise<Buffer> {
    const id = segments[0] ?? "";
    if (Buffer.byteLength(id) > limits.objectKeyBytesMax) throw noSuchFile();
    if (!isFileId(id)) return Buffer.from(id);
    const { objects, bucket } = this.#options;
    // What S3 clients put further below `ID/` is another file, and counts as one common prefix for each folder.
    const below = { bucket, prefix: keyOfFile(id, ""), delimiter: Buffer.from("/"), limit: limits.listPageKeysMax };
    const page = await objects.list(below).catch(asNoSuchFile);
    return page.objects.find(({ key }) => fileOfKey(key).id === id)?.key ?? Buffer.from(id);
  }
}

function noSuchFile(): HoldfastError {
  return new HoldfastError("no_such_key", "There is no such file.");
}

function asNoSuchFile(error: unknown): never {
  throw hasReason(error, "no_such_bucket", "no_such_key") ? noSuchFile() : error;
}

function countOf({ query }: DoorRequest, name: string, fallback: number): number {
  const text = query.get(name);
  if (text === undefined) return fallback;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new HoldfastError("invalid_argument", `${name} is a whole number.`);
}

function cursorOf(text: string | undefined): Buffer | undefined {
  if (text === undefined || text === "") return undefined;
  const key = Buffer.from(text, "base64url");
  if (key.length === 0 || key.length > limits.objectKeyBytesMax || key.toString("base64url") !== text) {
    throw new HoldfastError("invalid_argument", "cursor is not one that a listing gave.");
  }
  return key;
}

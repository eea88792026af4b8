/**
 * How a file is called. Its object key is `<id>/<name>`: an id of 32 hex digits that begins with the time, so that
 * listings are in the order of upload (FileIds); then the name, so that an S3 client sees (and downloads) files with names.
 * Objects that came into the bucket through the S3 door under any other key are files too: their id is the whole key.
 */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";

const idPattern = /^[0-9a-f]{32}$/;
const ownKeyPattern = /^([0-9a-f]{32})\/([^/]+)$/;

/** An id is greater by no more than this than the one before it, where the time has not gone on. */
const stepMax = 2 ** 32;

/**
 * Ids of new files: 6 bytes of Unix milliseconds and 10 random ones. Each of them is greater than those that it gave before: a client
 * sends one file after another within a millisecond, and the time of day may go back. Those of two processes are in the order of
 * their clocks.
 */
export class FileIds {
  readonly #clock: Clock;
  readonly #random: Random;
  #last = 0n;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  next(): string {
    const bytes = Buffer.alloc(16);
    bytes.writeUIntBE(this.#clock.nowMs(), 0, 6);
    bytes.set(this.#random.bytes(10), 6);
    const drawn = BigInt(`0x${bytes.toString("hex")}`);
    const isLater = drawn >> 80n > this.#last >> 80n;
    this.#last = isLater ? drawn : this.#last + 1n + BigInt(this.#random.below(stepMax));
    return this.#last.toString(16).padStart(32, "0");
  }
}

export function isFileId(text: string): boolean {
  return idPattern.test(text);
}

export function keyOfFile(id: string, name: string): Buffer {
  return Buffer.from(`${id}/${name}`);
}

export function fileOfKey(key: Buffer): { readonly id: string; readonly name: string } {
  const text = key.toString("utf8");
  const own = ownKeyPattern.exec(text);
  if (own !== null) return { id: own[1]!, name: own[2]! };
  return { id: text, name: text.slice(text.lastIndexOf("/") + 1) || "file" };
}

/** A file as clients see it. `etag` has no quotes; `createdAt` is RFC 3339. */
export type FileJson = {
  readonly id: string;
  readonly name: string;
  readonly size: number;
  readonly type: string;
  readonly etag: string;
  readonly createdAt: string;
};

export function fileJson(
  key: Buffer,
  facts: {
    readonly sizeBytes: number;
    readonly etag: string;
    readonly modifiedMs: number;
    readonly type: string | undefined;
  },
): FileJson {
  const { id, name } = fileOfKey(key);
  return {
    id,
    name,
    size: facts.sizeBytes,
    type: facts.type ?? "application/octet-stream",
    etag: facts.etag,
    createdAt: new Date(facts.modifiedMs).toISOString(),
  };
}

/** The last part of a client's path, without control characters. Errors: `invalid_argument`. */
export function cleanName(given: string | undefined): string {
  const last = (given ?? "").replaceAll("\\", "/").split("/").at(-1) ?? "";
  const name = last.replace(/[\u0000-\u001f\u007f]/g, "").trim();
  if (name === "" || name === "." || name === "..") return "file";
  if (Buffer.byteLength(name) > limits.fileNameBytesMax) {
    throw new HoldfastError("invalid_argument", `A file name has at most ${limits.fileNameBytesMax} bytes of UTF-8.`);
  }
  if (!name.isWellFormed()) throw new HoldfastError("invalid_argument", "A file name is well-formed Unicode.");
  return name;
}

/**
 * RFC 6266: a quoted ASCII name for old clients and, where that is not the whole truth, `filename*` (RFC 5987) for all
 * others. Always an attachment: what people upload must not run as a page of this server.
 */
export function contentDisposition(name: string): string {
  const ascii = name.replace(/[^\x20-\x7e]/g, "_").replace(/["\\%]/g, "_");
  const plain = `attachment; filename="${ascii}"`;
  return ascii === name ? plain : `${plain}; filename*=UTF-8''${encodeExtended(name)}`;
}

/** RFC 5987, section 3.2.1: everything but attr-char is percent-encoded. */
function encodeExtended(name: string): string {
  return encodeURIComponent(name).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

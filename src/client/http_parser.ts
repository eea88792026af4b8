/**
 * Reads HTTP/1.1 responses off a raw socket, as little of them as a load generator needs: status, headers as text, and
 * how many body bytes there were. Understands Content-Length and chunked bodies; anything else is an error.
 */
import { assert } from "../core/assert.ts";

export type ParsedResponse = {
  readonly status: number;
  /** Header lines in lower case, without the status line. */
  readonly headers: string;
  readonly bodyBytes: number;
  /** The body itself where the parser was asked to keep it. */
  readonly body: Buffer | undefined;
};

type State =
  | { readonly at: "head" }
  | { readonly at: "sized"; left: number }
  | { readonly at: "chunk_size" }
  | { readonly at: "chunk"; left: number }
  | { readonly at: "trailers" };

const headBytesMax = 64 * 1024;
const nothing = Buffer.alloc(0);

export class ResponseParser {
  readonly #done: (response: ParsedResponse) => void;
  #state: State = { at: "head" };
  #pending: Buffer = nothing;
  #status = 0;
  #headers = "";
  #bodyBytes = 0;
  #kept: Buffer[] = [];
  /** The request was HEAD: its response has no body whatever its headers say. */
  expectNoBody = false;
  keepBody = false;

  constructor(done: (response: ParsedResponse) => void) {
    this.#done = done;
  }

  /** Takes bytes as they come; calls `done` for each response that is complete. Throws on what is not HTTP/1.1. */
  feed(bytes: Buffer): void {
    let rest = this.#pending.length > 0 ? Buffer.concat([this.#pending, bytes]) : bytes;
    this.#pending = nothing;
    while (rest.length > 0) {
      const used = this.#step(rest);
      if (used === 0) {
        assert(rest.length <= headBytesMax, "a response head or chunk line is too long");
        this.#pending = rest;
        return;
      }
      rest = rest.subarray(used);
    }
  }

  /** Uses up some of `rest` and returns how much; 0 when it needs more. */
  #step(rest: Buffer): number {
    const state = this.#state;
    switch (state.at) {
      case "head":
        return this.#head(rest);
      case "sized":
      case "chunk":
        return this.#bodyPiece(state, rest);
      case "chunk_size":
        return this.#chunkSize(rest);
      case "trailers":
        return this.#trailers(rest);
    }
  }

  #head(rest: Buffer): number {
    const end = rest.indexOf("\r\n\r\n");
    if (end < 0) return 0;
    const text = rest.toString("latin1", 0, end);
    assert(text.startsWith("HTTP/1."), "not an HTTP response");
    this.#status = Number(text.slice(9, 12));
    const lineEnd = text.indexOf("\r\n");
    this.#headers = lineEnd < 0 ? "" : text.slice(lineEnd + 2).toLowerCase();
    if (this.#status === 100) return end + 4;
    this.#bodyBytes = 0;
    if (this.expectNoBody || this.#status === 204 || this.#status === 304) this.#finish();
    else if (this.#headers.includes("transfer-encoding: chunked")) this.#state = { at: "chunk_size" };
    else {
      const length = /(?:^|\n)content-length: *(\d+)/.exec(this.#headers);
      assert(length, "a response has neither a length nor chunks");
      const left = Number(length[1]);
      if (left === 0) this.#finish();
      else this.#state = { at: "sized", left };
    }
    return end + 4;
  }

  #bodyPiece(state: { readonly at: "sized" | "chunk"; left: number }, rest: Buffer): number {
    const used = Math.min(rest.length, state.left);
    const isChunk = state.at === "chunk";
    // A chunk's `left` counts the CRLF behind its data.
    const dataBytes = isChunk ? Math.max(0, Math.min(used, state.left - 2)) : used;
    this.#bodyBytes += dataBytes;
    if (this.keepBody && dataBytes > 0) this.#kept.push(Buffer.from(rest.subarray(0, dataBytes)));
    state.left -= used;
    if (state.left === 0) {
      if (isChunk) this.#state = { at: "chunk_size" };
      else this.#finish();
    }
    return used;
  }

  #chunkSize(rest: Buffer): number {
    const end = rest.indexOf("\r\n");
    if (end < 0) return 0;
    const size = Number.parseInt(rest.toString("latin1", 0, end), 16);
    assert(Number.isSafeInteger(size) && size >= 0, "a chunk size is not a number");
    this.#state = size === 0 ? { at: "trailers" } : { at: "chunk", left: size + 2 };
    return end + 2;
  }

  #trailers(rest: Buffer): number {
    const end = rest.indexOf("\r\n");
    if (end < 0) return 0;
    if (end === 0) this.#finish();
    return end + 2;
  }

  #finish(): void {
    const body = this.keepBody ? Buffer.concat(this.#kept) : undefined;
    this.#kept = [];
    this.#state = { at: "head" };
    this.#done({ status: this.#status, headers: this.#headers, bodyBytes: this.#bodyBytes, body });
  }
}

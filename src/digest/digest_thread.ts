/**
 * The body of a digest thread: keeps the running digests of the streams it was given and answers one message per update
 * and per finish. Bytes arrive as views of shared memory (or as copies); it never writes to them.
 */
import { parentPort } from "node:worker_threads";
import { assert } from "../core/assert.ts";
import type { DigestAlgorithm, Digests } from "./digest.ts";
import { RunningDigests } from "./running.ts";

export type ThreadRequest =
  | { readonly kind: "open"; readonly stream: number; readonly algorithms: readonly DigestAlgorithm[] }
  | { readonly kind: "update"; readonly stream: number; readonly bytes: Uint8Array }
  | { readonly kind: "finish"; readonly stream: number }
  | { readonly kind: "cancel"; readonly stream: number };

/** `digests` is there in the answer to `finish`. Answers of one stream come in the order of its requests. */
export type ThreadAnswer = { readonly stream: number; readonly digests?: Record<string, Uint8Array> };

const streams = new Map<number, RunningDigests>();

function running(stream: number): RunningDigests {
  const found = streams.get(stream);
  assert(found !== undefined, "a digest stream is opened before it is used");
  return found;
}

const port = parentPort;
assert(port !== null, "this module runs in a worker thread");

function answer(message: ThreadAnswer & { readonly digests?: Digests }): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  port!.postMessage(message);
}

port.on("message", (request: ThreadRequest) => {
  const { stream } = request;
  switch (request.kind) {
    case "open":
      streams.set(stream, new RunningDigests(request.algorithms));
      break;
    case "update":
      running(stream).update(request.bytes);
      answer({ stream });
      break;
    case "finish":
      answer({ stream, digests: running(stream).finish() });
      streams.delete(stream);
      break;
    case "cancel":
      streams.delete(stream);
      break;
  }
});

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

function handle(request: ThreadRequest): { readonly digests?: Digests } | undefined {
  switch (request.kind) {
    case "open":
      streams.set(request.stream, new RunningDigests(request.algorithms));
      return undefined;
    case "update":
      running(request.stream).update(request.bytes);
      return {};
    case "finish": {
      const digests = running(request.stream).finish();
      streams.delete(request.stream);
      return { digests };
    }
    case "cancel":
      streams.delete(request.stream);
      return undefined;
  }
}

const port = parentPort;
assert(port !== null, "this module runs in a worker thread");
port.on("message", (request: ThreadRequest) => {
  const answer = handle(request);
  if (answer !== undefined) port.postMessage({ stream: request.stream, ...answer });
});

/**
 * The digest pool. A stream whose first piece is large goes to one thread of the pool and stays there; any other is
 * digested in place. Threads start with the first large stream and stop when there was none for a while, so an idle
 * process keeps no memory for them.
 *
 * Invariants: bytes in shared memory are not copied, and are not read any more once their `update` has settled; a thread
 * that dies fails the calls of its streams (`unavailable`), and the next stream gets a new thread. A thread keeps the
 * process alive only while it owes an answer.
 */
import { Worker } from "node:worker_threads";
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import type { DigestAlgorithm, DigestPool, Digests, StreamDigest } from "./digest.ts";
import type { ThreadAnswer, ThreadRequest } from "./digest_thread.ts";
import { RunningDigests, wholeDigests } from "./running.ts";

/** The least first piece that is worth a message to a thread and back: about 100 µs of MD5. */
export const threadedBytesMin = 64 * 1024;

export type DigestPoolOptions = {
  /** Threads at most; 0 digests everything in place. */
  readonly threads: number;
  /** Threads are stopped when no stream was open for this long. */
  readonly idleMs?: number;
};

type Waiter = { resolve(answer: ThreadAnswer): void; reject(error: Error): void };

const threadUrl = new URL(
  import.meta.url.endsWith(".ts") ? "./digest_thread.ts" : "./digest_thread.js",
  import.meta.url,
);

function startWorker(): Worker {
  const worker = new Worker(threadUrl, {
    name: "digest",
    // The thread needs nothing of the command line (a loader, an inspector) or of the environment (credentials).
    execArgv: [],
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4, codeRangeSizeMb: 8 },
  });
  worker.unref();
  return worker;
}

/** One worker thread and the calls that wait for it. */
class DigestThread {
  readonly #worker = startWorker();
  readonly #waiting = new Map<number, Waiter>();
  #death: HoldfastError | undefined;
  /** Streams that are open on this thread. */
  streams = 0;

  constructor(onDeath: (thread: DigestThread) => void) {
    this.#worker.on("message", (answer: ThreadAnswer) => this.#answered(answer));
    this.#worker.on("error", (error) => this.#die(error, onDeath));
    this.#worker.on("exit", () => this.#die(undefined, onDeath));
  }

  #answered(answer: ThreadAnswer): void {
    // The error that ends a thread may come before what it answered to other streams, which have been refused by then.
    if (this.#death !== undefined) return;
    const waiter = this.#waiting.get(answer.stream);
    assert(waiter !== undefined, "a digest thread answers only what was asked");
    this.#waiting.delete(answer.stream);
    if (this.#waiting.size === 0) this.#worker.unref();
    waiter.resolve(answer);
  }

  #die(cause: unknown, onDeath: (thread: DigestThread) => void): void {
    if (this.#death !== undefined) return;
    this.#death = new HoldfastError("unavailable", "A digest thread stopped.", { cause });
    onDeath(this);
    for (const waiter of this.#waiting.values()) waiter.reject(this.#death);
    this.#waiting.clear();
  }

  send(request: ThreadRequest): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    if (this.#death === undefined) this.#worker.postMessage(request);
  }

  ask(request: ThreadRequest): Promise<ThreadAnswer> {
    if (this.#death !== undefined) return Promise.reject(this.#death);
    assert(!this.#waiting.has(request.stream), "at most one call of a digest stream is under way");
    return new Promise((resolve, reject) => {
      if (this.#waiting.size === 0) this.#worker.ref();
      this.#waiting.set(request.stream, { resolve, reject });
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      this.#worker.postMessage(request);
    });
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}

class Pool implements DigestPool {
  readonly #threadsMax: number;
  readonly #idleMs: number;
  readonly #threads = new Set<DigestThread>();
  #idleTimer: NodeJS.Timeout | undefined;
  #streamsOpened = 0;
  #closed = false;

  constructor({ threads, idleMs = 30_000 }: DigestPoolOptions) {
    assert(Number.isInteger(threads) && threads >= 0, "threads is a whole number");
    this.#threadsMax = threads;
    this.#idleMs = idleMs;
  }

  stream(algorithms: readonly DigestAlgorithm[]): StreamDigest {
    return new PooledStream(algorithms, {
      open: () => this.#open(algorithms),
      release: (thread) => this.#release(thread),
    });
  }

  whole(algorithms: readonly DigestAlgorithm[], bytes: Uint8Array): Digests {
    return wholeDigests(algorithms, bytes);
  }

  /** A stream on the thread with the fewest, or undefined where there are no threads. */
  #open(algorithms: readonly DigestAlgorithm[]): ThreadStream | undefined {
    if (this.#threadsMax === 0 || this.#closed || algorithms.length === 0) return undefined;
    clearTimeout(this.#idleTimer);
    const thread = this.#leastBusy();
    thread.streams += 1;
    this.#streamsOpened += 1;
    const stream = this.#streamsOpened;
    thread.send({ kind: "open", stream, algorithms });
    return { thread, stream };
  }

  #leastBusy(): DigestThread {
    const [idlest] = [...this.#threads].sort((a, b) => a.streams - b.streams);
    if (idlest !== undefined && (idlest.streams === 0 || this.#threads.size >= this.#threadsMax)) return idlest;
    const thread = new DigestThread((dead) => this.#threads.delete(dead));
    this.#threads.add(thread);
    return thread;
  }

  #release(thread: DigestThread): void {
    thread.streams -= 1;
    if ([...this.#threads].some(({ streams }) => streams > 0)) return;
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => void this.#stopThreads(), this.#idleMs);
    this.#idleTimer.unref();
  }

  async #stopThreads(): Promise<void> {
    const threads = [...this.#threads];
    this.#threads.clear();
    await Promise.all(threads.map((thread) => thread.stop()));
  }

  /** Streams that are still open fail with `unavailable`. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#idleTimer);
    await this.#stopThreads();
  }
}

type ThreadStream = { readonly thread: DigestThread; readonly stream: number };

/** Where a stream finds its thread, and tells that it is done with it. */
type StreamPlace = { readonly open: () => ThreadStream | undefined; readonly release: (thread: DigestThread) => void };

class PooledStream implements StreamDigest {
  readonly #algorithms: readonly DigestAlgorithm[];
  readonly #place: StreamPlace;
  #threaded: ThreadStream | undefined;
  #inPlace: RunningDigests | undefined;
  #ended = false;

  constructor(algorithms: readonly DigestAlgorithm[], place: StreamPlace) {
    this.#algorithms = algorithms;
    this.#place = place;
  }

  async update(bytes: Uint8Array): Promise<void> {
    assert(!this.#ended, "a digest stream takes no bytes after its end");
    if (bytes.length === 0) return;
    if (this.#threaded === undefined && this.#inPlace === undefined && bytes.length >= threadedBytesMin)
      this.#threaded = this.#place.open();
    if (this.#threaded === undefined) {
      this.#inPlace ??= new RunningDigests(this.#algorithms);
      this.#inPlace.update(bytes);
      return;
    }
    const { thread, stream } = this.#threaded;
    // A view of shared memory is passed as a view, any other is copied by the message itself. A Buffer would bring its
    // whole pool along.
    const view = bytes.buffer instanceof SharedArrayBuffer ? bytes : Uint8Array.from(bytes);
    await thread.ask({ kind: "update", stream, bytes: new Uint8Array(view.buffer, view.byteOffset, view.length) });
  }

  async finish(): Promise<Digests> {
    assert(!this.#ended, "a digest stream ends once");
    this.#ended = true;
    if (this.#threaded === undefined) return (this.#inPlace ?? new RunningDigests(this.#algorithms)).finish();
    const { thread, stream } = this.#threaded;
    try {
      const { digests } = await thread.ask({ kind: "finish", stream });
      assert(digests !== undefined, "the answer to finish bears the digests");
      return Object.fromEntries(Object.entries(digests).map(([name, bytes]) => [name, Buffer.from(bytes)]));
    } finally {
      this.#place.release(thread);
    }
  }

  cancel(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#inPlace = undefined;
    if (this.#threaded === undefined) return;
    const { thread, stream } = this.#threaded;
    thread.send({ kind: "cancel", stream });
    this.#place.release(thread);
  }
}

export function createDigestPool(options: DigestPoolOptions): DigestPool {
  return new Pool(options);
}

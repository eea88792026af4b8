/**
 * The S3 part of the benchmark: the same signed requests against any S3 server. `holdfast bench --endpoint URL` runs it
 * alone; `npm run bench` runs it beside the machine's ceilings.
 */
import { randomBytes } from "node:crypto";
import { HoldfastError } from "../core/errors.ts";
import { runLoad } from "./load.ts";
import type { LoadRequest, LoadResult } from "./load.ts";
import type { RequestSigner } from "./signer.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

export type BenchWork =
  "put-4k" | "get-4k" | "head-4k" | "list" | "delete" | "put-64m" | "put-64m-multipart" | "get-64m";

export const benchWorks: readonly BenchWork[] = [
  "put-4k",
  "get-4k",
  "head-4k",
  "list",
  "put-64m",
  "put-64m-multipart",
  "get-64m",
  "delete",
];

export type BenchRow = LoadResult & {
  readonly work: BenchWork;
  readonly connections: number;
  /** Keys a second for `list`, requests a second otherwise. */
  readonly operationsPerSecond: number;
  readonly mebibytesPerSecond: number;
};

export type BenchOptions = {
  readonly endpoint: URL;
  readonly signer: RequestSigner;
  readonly bucket: string;
  readonly works: readonly BenchWork[];
  /** Small objects written, read, listed and deleted. */
  readonly objects: number;
  readonly connections: number;
  readonly largeConnections: number;
  readonly durationMsMax: number;
  /** Awaited before each work; a place to measure what the work is compared with, in the same minute. */
  before?(work: BenchWork): Promise<void>;
  /** Awaited after each work. */
  after?(work: BenchWork): Promise<void>;
  onRow?(row: BenchRow): void;
};

const largeBytes = 64 * MiB;
const partBytes = 8 * MiB;

/** Makes the bucket, runs the works in the order given, and leaves the bucket's objects to `cleanUp`. */
export async function runBench(options: BenchOptions): Promise<BenchRow[]> {
  await expectGood(options, { method: "PUT", path: `/${options.bucket}`, query: "" });
  const rows: BenchRow[] = [];
  const state: BenchState = {
    options,
    small: randomBytes(4 * KiB),
    large: randomBytes(largeBytes),
    written: 0,
    largeWritten: 0,
  };
  for (const work of options.works) {
    await options.before?.(work);
    const row = await works[work](state);
    await options.after?.(work);
    rows.push(row);
    options.onRow?.(row);
  }
  return rows;
}

type BenchState = {
  readonly options: BenchOptions;
  readonly small: Buffer;
  readonly large: Buffer;
  /** Small objects that exist: keys 0..written. */
  written: number;
  largeWritten: number;
};

type Unsigned = {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly body?: Buffer;
  readonly keepBody?: boolean;
};

function signed(options: BenchOptions, request: Unsigned): LoadRequest {
  const headers = options.signer.sign({ method: request.method, path: request.path, query: request.query });
  return {
    method: request.method,
    target: request.query === "" ? request.path : `${request.path}?${request.query}`,
    headers,
    ...(request.body && { body: request.body }),
    ...(request.keepBody && { keepBody: true }),
  };
}

/** Runs one request and gives its body back. */
async function expectGood(options: BenchOptions, request: Unsigned): Promise<string> {
  let body = "";
  const result = await runLoad({
    url: options.endpoint,
    connections: 1,
    requestsMax: 1,
    durationMsMax: 60_000,
    next: () => signed(options, { ...request, keepBody: true }),
    check: (response) => {
      body = response.body?.toString() ?? "";
      return response.status < 300;
    },
  });
  if (result.errors > 0) throw new HoldfastError("internal", `${request.method} ${request.path}: ${result.firstError}`);
  return body;
}

/** Small works begin with this much of the same, written and deleted on other keys, not counted: compilers are warm then. */
const warmUpMs = 1_000;

const warmKey = (options: BenchOptions, index: number): string => `/${options.bucket}/warm/${index}`;

const smallKey = (options: BenchOptions, index: number): string =>
  `/${options.bucket}/small/${String(index).padStart(9, "0")}`;

async function load(
  state: BenchState,
  work: BenchWork,
  how: {
    connections: number;
    requestsMax: number;
    next(index: number): Unsigned;
    /** What to warm up with. */
    warm?(index: number): Unsigned;
  },
): Promise<BenchRow> {
  const { options } = state;
  const { connections, requestsMax, warm, next } = how;
  const common = { url: options.endpoint, connections };
  if (warm !== undefined) {
    const requests = { requestsMax: Number.MAX_SAFE_INTEGER, durationMsMax: Math.min(warmUpMs, options.durationMsMax) };
    await runLoad({ ...common, ...requests, next: (index) => signed(options, warm(index)) });
  }
  const { durationMsMax } = options;
  const result = await runLoad({
    ...common,
    requestsMax,
    durationMsMax,
    next: (index) => signed(options, next(index)),
  });
  return {
    ...result,
    work,
    connections,
    operationsPerSecond: result.requestsPerSecond,
    mebibytesPerSecond: result.seconds > 0 ? (result.bytesIn + result.bytesOut) / MiB / result.seconds : 0,
  };
}

const works: Record<BenchWork, (state: BenchState) => Promise<BenchRow>> = {
  "put-4k": async (state) => {
    const { options, small } = state;
    const row = await load(state, "put-4k", {
      connections: options.connections,
      requestsMax: options.objects,
      next: (index) => ({ method: "PUT", path: smallKey(options, index), query: "", body: small }),
      warm: (index) => ({ method: "PUT", path: warmKey(options, index), query: "", body: small }),
    });
    state.written = row.requests;
    return row;
  },
  "get-4k": (state) => readSmall(state, "get-4k", "GET"),
  "head-4k": (state) => readSmall(state, "head-4k", "HEAD"),
  list: listAll,
  delete: (state) =>
    load(state, "delete", {
      connections: state.options.connections,
      requestsMax: state.written,
      next: (index) => ({ method: "DELETE", path: smallKey(state.options, index), query: "" }),
      warm: (index) => ({ method: "DELETE", path: warmKey(state.options, index), query: "" }),
    }),
  "put-64m": async (state) => {
    const row = await load(state, "put-64m", {
      connections: state.options.largeConnections,
      requestsMax: 32,
      next: (index) => ({
        method: "PUT",
        path: `/${state.options.bucket}/large/${index % 4}`,
        query: "",
        body: state.large,
      }),
    });
    state.largeWritten = Math.min(4, row.requests);
    return row;
  },
  "put-64m-multipart": putMultipart,
  "get-64m": (state) =>
    load(state, "get-64m", {
      connections: state.options.largeConnections,
      requestsMax: 32,
      next: (index) => ({
        method: "GET",
        path: `/${state.options.bucket}/large/${index % state.largeWritten}`,
        query: "",
      }),
    }),
};

function readSmall(state: BenchState, work: BenchWork, method: "GET" | "HEAD"): Promise<BenchRow> {
  const next = (index: number): Unsigned => {
    return { method, path: smallKey(state.options, (index * 7_919) % state.written), query: "" };
  };
  const { connections } = state.options;
  return load(state, work, { connections, requestsMax: Number.MAX_SAFE_INTEGER, next, warm: next });
}

/** One connection walks the bucket in pages of 1,000; `operationsPerSecond` counts keys. */
async function listAll(state: BenchState): Promise<BenchRow> {
  const { options } = state;
  const run: { token: string | undefined; keys: number; ended: boolean } = { token: undefined, keys: 0, ended: false };
  const result = await runLoad({
    url: options.endpoint,
    connections: 1,
    requestsMax: Number.MAX_SAFE_INTEGER,
    durationMsMax: options.durationMsMax,
    next: () => {
      if (run.ended) return undefined;
      const from = run.token === undefined ? "" : `continuation-token=${encodeURIComponent(run.token)}&`;
      const query = `${from}list-type=2&max-keys=1000&prefix=small%2F`;
      return signed(options, { method: "GET", path: `/${options.bucket}`, query, keepBody: true });
    },
    check: (response) => {
      const text = response.body?.toString() ?? "";
      run.token = /<NextContinuationToken>([^<]+)</.exec(text)?.[1];
      run.ended = run.token === undefined;
      run.keys += Number(/<KeyCount>(\d+)</.exec(text)?.[1] ?? 0);
      return response.status === 200;
    },
  });
  return {
    ...result,
    work: "list",
    connections: 1,
    operationsPerSecond: run.keys / result.seconds,
    mebibytesPerSecond: result.bytesIn / MiB / result.seconds,
  };
}

/** Uploads of eight parts; all parts of one upload at once, so as a client with a transfer manager does it. */
async function putMultipart(state: BenchState): Promise<BenchRow> {
  const { options, large } = state;
  const parts = largeBytes / partBytes;
  const started = performance.now();
  const results: LoadResult[] = [];
  for (let round = 0; round < 4; round++) {
    const path = `/${options.bucket}/multipart/${round}`;
    const created = await expectGood(options, { method: "POST", path, query: "uploads=" });
    const uploadId = /<UploadId>([^<]+)</.exec(created)?.[1] ?? "";
    const etags: string[] = [];
    const result = await runLoad({
      url: options.endpoint,
      connections: Math.min(options.largeConnections, parts),
      requestsMax: parts,
      durationMsMax: options.durationMsMax,
      next: (index) => {
        const body = large.subarray(index * partBytes, (index + 1) * partBytes);
        return signed(options, {
          method: "PUT",
          path,
          query: `partNumber=${index + 1}&uploadId=${encodeURIComponent(uploadId)}`,
          body,
        });
      },
      check: (response, index) => {
        etags[index] = /(?:^|\n)etag: *([^\r\n]+)/.exec(response.headers)?.[1] ?? "";
        return response.status === 200;
      },
    });
    results.push(result);
    const listed = etags.map((etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`);
    const body = Buffer.from(`<CompleteMultipartUpload>${listed.join("")}</CompleteMultipartUpload>`);
    await expectGood(options, { method: "POST", path, query: `uploadId=${encodeURIComponent(uploadId)}`, body });
  }
  const seconds = (performance.now() - started) / 1000;
  const bytesOut = results.reduce((sum, result) => sum + result.bytesOut, 0);
  const requests = results.reduce((sum, result) => sum + result.requests, 0);
  const errors = results.reduce((sum, result) => sum + result.errors, 0);
  return {
    ...results.at(-1)!,
    work: "put-64m-multipart",
    connections: options.largeConnections,
    requests,
    errors,
    seconds,
    bytesOut,
    requestsPerSecond: requests / seconds,
    operationsPerSecond: requests / parts / seconds,
    mebibytesPerSecond: bytesOut / MiB / seconds,
  };
}

/** Deletes what the run left: everything in the bucket, then the bucket. */
export async function cleanUpBench(options: BenchOptions): Promise<void> {
  for (;;) {
    const text = await expectGood(options, {
      method: "GET",
      path: `/${options.bucket}`,
      query: "list-type=2&max-keys=1000",
    });
    const keys = [...text.matchAll(/<Key>([^<]+)</g)].map((match) => match[1]!);
    if (keys.length === 0) break;
    const { errors, firstError } = await runLoad({
      url: options.endpoint,
      connections: Math.min(32, keys.length),
      requestsMax: keys.length,
      durationMsMax: 600_000,
      next: (index) => signed(options, { method: "DELETE", path: `/${options.bucket}/${keys[index]!}`, query: "" }),
    });
    if (errors > 0) throw new HoldfastError("unavailable", `The bucket ${options.bucket} is left: ${firstError}`);
  }
  await expectGood(options, { method: "DELETE", path: `/${options.bucket}`, query: "" });
}

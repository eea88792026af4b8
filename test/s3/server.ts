/**
 * A whole Holdfast on loopback for the S3 tests: metadata and chunks in memory, everything between them real. `s3` is the
 * AWS SDK as an application would use it; `raw` sends what the SDK would not, signed by hand.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer, request } from "node:http";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { CreateBucketCommand, S3Client, S3ServiceException } from "@aws-sdk/client-s3";
import type { S3ClientConfig } from "@aws-sdk/client-s3";
import { createNodePlacement } from "../../src/blob/node_placement.ts";
import { createBlobStore } from "../../src/blob/store.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { Clock } from "../../src/core/clock.ts";
import { IdSource } from "../../src/core/ids.ts";
import { silentLog } from "../../src/core/log.ts";
import { systemRandom } from "../../src/core/random.ts";
import { createDigestPool } from "../../src/digest/pool.ts";
import type { RequestEvent } from "../../src/gateway/gateway.ts";
import { createGateway } from "../../src/gateway/gateway.ts";
import { signRequest } from "../../src/gateway/sigv4.ts";
import { openMemoryKv } from "../../src/kv/memory.ts";
import { Session } from "../../src/meta/sessions.ts";
import { createMemoryNode } from "../../src/node/node.memory.ts";
import type { Objects } from "../../src/object/object.ts";
import { ObjectStore } from "../../src/object/object_store.ts";

export const accessKey = "TESTACCESSKEY";
export const secretKey = "test-secret-key-of-forty-characters-long";

export type RawRequest = {
  readonly method: string;
  /** With its query, encoded as it shall be sent. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
};

export type RawAnswer = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly text: string;
};

export type TestServer = {
  readonly s3: S3Client;
  readonly port: number;
  readonly origin: string;
  readonly objects: Objects;
  /** Every request answered so far. */
  readonly events: RequestEvent[];
  client(config?: S3ClientConfig): S3Client;
  bucket(name: string): Promise<void>;
  /** A signed request; the body's SHA-256 is signed. */
  raw(request: RawRequest): Promise<RawAnswer>;
  close(): Promise<void>;
};

export type TestServerOptions = {
  readonly region?: string;
  readonly domains?: readonly string[];
  readonly clock?: Clock;
  /** Stands between the gateway and the store. */
  readonly wrap?: (objects: Objects) => Objects;
};

async function openObjects(clock: Clock): Promise<{ objects: Objects; digests: ReturnType<typeof createDigestPool> }> {
  const kv = openMemoryKv();
  const node = createMemoryNode();
  const digests = createDigestPool({ threads: 0 });
  const session = await Session.start({ kv, clock, random: systemRandom, node: "test" });
  const placement = await createNodePlacement({ node, clock, log: silentLog });
  const ids = new IdSource(session.id);
  const blobs = createBlobStore({ node, ids, digests, placement, log: silentLog });
  const objects = new ObjectStore({ kv, blobs, digests, session, clock, random: systemRandom, log: silentLog });
  return { objects, digests };
}

export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const { region = "us-east-1", domains = [], clock = systemClock, wrap = (same) => same } = options;
  const store = await openObjects(clock);
  const objects = wrap(store.objects);
  const events: RequestEvent[] = [];
  const gateway = createGateway({
    objects,
    digests: store.digests,
    identity: { secretFor: async (key) => (key === accessKey ? secretKey : undefined) },
    region,
    domains,
    clock,
    random: systemRandom,
    log: silentLog,
    onRequest: (event) => events.push(event),
  });
  const http = createServer((req, res) => void gateway(req, res));
  http.on("checkContinue", (req, res) => void gateway(req, res));
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const { port } = http.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}`;
  const clients: S3Client[] = [];
  const client = (config: S3ClientConfig = {}): S3Client => {
    const made = new S3Client({
      endpoint: origin,
      region,
      forcePathStyle: true,
      maxAttempts: 1,
      credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
      ...config,
    });
    clients.push(made);
    return made;
  };
  const s3 = client();
  return {
    s3,
    port,
    origin,
    objects,
    events,
    client,
    bucket: async (name) => void (await s3.send(new CreateBucketCommand({ Bucket: name }))),
    raw: (raw) => sendSigned({ port, region, raw }),
    close: async () => {
      for (const made of clients) made.destroy();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
      await store.digests.close();
    },
  };
}

function sendSigned(options: { port: number; region: string; raw: RawRequest }): Promise<RawAnswer> {
  const { port, region, raw } = options;
  const [rawPath, rawQuery = ""] = raw.path.split(/\?(.*)/s) as [string, string?];
  const body = raw.body ?? Buffer.alloc(0);
  const { headers } = signRequest({
    accessKey,
    secretKey,
    region,
    method: raw.method,
    rawPath,
    rawQuery,
    headers: { host: `127.0.0.1:${port}`, ...raw.headers },
    payloadHash: createHash("sha256").update(body).digest("hex"),
    nowMs: Date.now(),
  });
  return sendRaw(port, { ...raw, headers });
}

/** Sends exactly what it is given. */
export function sendRaw(port: number, raw: RawRequest): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const { method, path, body = Buffer.alloc(0) } = raw;
    const length = body.length > 0 || method === "PUT" || method === "POST" ? { "content-length": body.length } : {};
    const req = request(
      { host: "127.0.0.1", port, method, path, headers: { ...length, ...raw.headers }, agent: false },
      (res) => void collect(res).then(resolve, reject),
    );
    req.on("error", reject);
    req.end(body);
  });
}

async function collect(res: IncomingMessage): Promise<RawAnswer> {
  const pieces: Buffer[] = [];
  for await (const piece of res) pieces.push(piece as Buffer);
  const body = Buffer.concat(pieces);
  return { status: res.statusCode ?? 0, headers: res.headers, body, text: body.toString() };
}

/** Bytes without a short period, always the same ones. */
export function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 0x9e3779b9 ^ length;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

export async function bytesOf(body: { transformToByteArray(): Promise<Uint8Array> } | undefined): Promise<Buffer> {
  assert.ok(body, "there is a body");
  return Buffer.from(await body.transformToByteArray());
}

/** The promise fails with this status and S3 code. */
export async function failsWith(promise: Promise<unknown>, status: number, code: string): Promise<void> {
  const error: unknown = await promise.then(
    () => assert.fail(`${code} was expected, but it succeeded`),
    (reason: unknown) => reason,
  );
  if (!(error instanceof S3ServiceException)) throw error;
  assert.deepEqual([error.$metadata.httpStatusCode, error.name], [status, code], error.message);
}

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
import { defaultEncryption } from "../../src/gateway/documents/encryption.ts";
import { DeliverJob, Destinations } from "../../src/events/events.ts";
import { contentOf } from "../../src/gateway/documents/document.ts";
import { lifecycleRules } from "../../src/gateway/documents/lifecycle.ts";
import { loggingSetting } from "../../src/gateway/documents/logging.ts";
import { notification } from "../../src/gateway/documents/notification.ts";
import type { RequestEvent } from "../../src/gateway/gateway.ts";
import { createGateway } from "../../src/gateway/gateway.ts";
import { admitLogs } from "../../src/gateway/log_delivery.ts";
import { Budget } from "../../src/jobs/budget.ts";
import { LifecycleJob } from "../../src/jobs/lifecycle.ts";
import { signRequest } from "../../src/gateway/sigv4.ts";
import { createIdentity, type Identity } from "../../src/identity/identity.ts";
import { KeyServices, type KeyServicesParts } from "../../src/keyring/key_services.ts";
import { Keyring } from "../../src/keyring/keyring.ts";
import type { VaultKeys } from "../../src/keyring/vault_keys.ts";
import type { Kv } from "../../src/kv/kv.ts";
import { openMemoryKv } from "../../src/kv/memory.ts";
import { AccessLogs } from "../../src/logging/logging.ts";
import { Session } from "../../src/meta/sessions.ts";
import { createMemoryNode } from "../../src/node/node.memory.ts";
import type { ChunkNode } from "../../src/node/node.ts";
import type { Objects } from "../../src/object/object.ts";
import { LoggedBuckets } from "../../src/object/logged_buckets.ts";
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
  readonly identity: Identity;
  /** What it keeps everything in. */
  readonly kv: Kv;
  readonly node: ChunkNode;
  /** Only with `hasKeyring`. */
  readonly keyring: Keyring | undefined;
  readonly destinations: Destinations;
  /** Delivers the events that wait, as far as that can be done now. */
  deliver(): Promise<void>;
  /** Does what lifecycle rules want by now. */
  expire(): Promise<void>;
  /** Writes the lines of access logs that wait, and says what became of them. */
  flushLogs(): Promise<{ readonly written: number; readonly dropped: number }>;
  readonly accessLogs: AccessLogs;
  /** As after a start: it is not known which buckets are logged. */
  forgetLogged(): void;
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
  /** Of the objects alone, so that it may be far from the one that signatures are judged by; `clock` if left out. */
  readonly objectClock?: Clock;
  /** To keep everything but bytes in; memory if left out. */
  readonly kv?: Kv;
  /** Encrypts with keys of its own, under a master key that it makes. */
  readonly hasKeyring?: boolean;
  /** Encrypts with keys of an outside service too. */
  readonly vault?: Pick<KeyServicesParts, "defaults"> & { readonly keys: VaultKeys };
  /** Stands between the gateway and the store. */
  readonly wrap?: (objects: Objects) => Objects;
};

type OpenedObjects = { readonly loggedBuckets: LoggedBuckets } & Pick<
  TestServer,
  "objects" | "kv" | "node" | "keyring" | "destinations"
> & {
    readonly digests: ReturnType<typeof createDigestPool>;
    readonly job: DeliverJob;
    readonly lifecycle: LifecycleJob;
  };

async function openObjects(clock: Clock, options: TestServerOptions): Promise<OpenedObjects> {
  const { hasKeyring = false, vault, kv = openMemoryKv() } = options;
  const node = createMemoryNode();
  const digests = createDigestPool({ threads: 0 });
  const session = await Session.start({ kv, clock, random: systemRandom, node: "test" });
  const placement = await createNodePlacement({ node, clock, log: silentLog });
  const ids = new IdSource(session.id);
  const blobs = createBlobStore({ node, ids, digests, placement, log: silentLog });
  const masters = [systemRandom.bytes(32)];
  const keyring = hasKeyring ? await Keyring.open({ kv, masters, clock, random: systemRandom }) : undefined;
  const keys = new KeyServices({ keyring, vault: vault?.keys, defaults: vault?.defaults ?? {} });
  const parts = { kv, clock, random: systemRandom, log: silentLog };
  const loggedBuckets = new LoggedBuckets();
  const objects = new ObjectStore({
    ...parts,
    blobs,
    digests,
    session,
    ...((hasKeyring || vault !== undefined) && { keys }),
    defaultEncryption,
    eventRules: (document) => contentOf(notification, document),
    lifecycleRules,
    loggedBuckets,
  });
  const ofSession = { ...parts, session: session.id };
  const destinations = new Destinations({
    ...ofSession,
    rulesOf: (bytes) => contentOf(notification, { bytes, modifiedMs: 0 }),
  });
  const job = new DeliverJob({ ...ofSession, mayGoOn: async () => true });
  const budget = new Budget({ clock, bytesPerSecond: 2 ** 30, activity: () => 0 });
  const lifecycle = new LifecycleJob({ ...parts, lifecycle: objects.lifecycle, budget });
  return { objects, loggedBuckets, lifecycle, digests, kv, node, keyring, destinations, job };
}

export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const { region = "us-east-1", domains = [], clock = systemClock, wrap = (same) => same } = options;
  const store = await openObjects(options.objectClock ?? clock, options);
  const identity = createIdentity({ kv: store.kv, root: { accessKey, secretKey }, clock });
  const objects = wrap(store.objects);
  const events: RequestEvent[] = [];
  const lines = { written: 0, dropped: 0 };
  const accessLogs = new AccessLogs({
    objects,
    logged: store.loggedBuckets,
    accounts: identity.accounts,
    settingOf: loggingSetting,
    admit: admitLogs({ objects, accounts: identity.accounts }, { clock, region }),
    counts: { accessLogLines: (outcome, count) => void (lines[outcome] += count) },
    // Logs are written when a test asks for it.
    intervalMs: 3_600_000,
    clock,
    random: systemRandom,
    log: silentLog,
  });
  const gateway = createGateway({
    objects,
    bucketLogs: accessLogs,
    destinations: store.destinations,
    digests: store.digests,
    identity,
    region,
    domains,
    clock,
    random: systemRandom,
    log: silentLog,
    onRequest: (event) => events.push(event),
  });
  // A test may keep this process busy for longer than a connection may be idle: the client would use one that ends just then.
  const http = createServer({ keepAliveTimeout: 0 }, (req, res) => void gateway(req, res));
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
    identity,
    kv: store.kv,
    node: store.node,
    keyring: store.keyring,
    destinations: store.destinations,
    deliver: async () => void (await store.job.run(new AbortController().signal)),
    expire: async () => {
      const { signal } = new AbortController();
      while ((await store.lifecycle.run(signal)).more);
    },
    flushLogs: async () => {
      await accessLogs.settled();
      await accessLogs.flush();
      return { ...lines };
    },
    accessLogs,
    forgetLogged: () => store.loggedBuckets.clear(),
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

/**
 * The operator's door: `/_/health/…`, `/_/metrics` and `/_/admin/…`.
 *
 *   GET  /_/health/live      200 while the process answers at all. No credentials.
 *   GET  /_/health/ready     200, or 503 and why: what a load balancer asks. No credentials.
 *   GET  /_/metrics          Prometheus text: from this machine without credentials, unless a proxy forwards the request;
 *                            from elsewhere with HTTP Basic and any valid key.
 *   GET  /_/admin/status     version, uptime, drives, jobs. Any valid key.
 *   GET  /_/admin/usage      objects and bytes by bucket (?bucket= for one). Any valid key.
 *   GET  /_/admin/buckets/NAME  how the bucket is stored. Any valid key.
 *   PUT  /_/admin/buckets/NAME  {"redundancy": "replica:N", "ec:K+M" or null for the store's default}. Root only.
 *   PUT  /_/admin/drives/ID  {"membership": "draining", "active" or "removed"}. Root only.
 *   GET  /_/admin/explain    ?bucket=&key=: every chunk of an object, where its shards are, what it survives. Any valid key.
 *   GET  /_/admin/keys       access keys without secrets. Root only, as are the next two.
 *   POST /_/admin/keys       {"accessKey"?, "secretKey"?, "description"?} → 201 with the secret, shown only here.
 *   DELETE /_/admin/keys/KEY 204.
 */
import { type DoorReply, type DoorRequest, jsonReply, methodNotAllowed, noSuchAddress } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { formatRedundancy, parseRedundancy, shardsOf, type Redundancy } from "../core/redundancy.ts";
import { type DriveFacts, metricsContentType } from "../core/metrics.ts";
import { authenticateBasic, type Caller } from "../identity/basic.ts";
import type { Identity, KeyInfo } from "../identity/identity.ts";
import type { BucketInfo, Objects } from "../object/object.ts";
import { explain } from "./explain.ts";
import { readJsonObject, textField } from "./json_body.ts";

export type JobFacts = {
  readonly name: string;
  readonly state: string;
  readonly done: number;
  readonly failures: number;
  readonly lastError: string | undefined;
  readonly progress: { readonly doneBytes: number; readonly leftBytes: number } | undefined;
};

export type DriveView = Omit<DriveFacts, "state"> & {
  readonly state: DriveFacts["state"] | "missing";
  readonly membership: string;
  readonly path: string;
  readonly segments: number;
  /** When every shard on it had last been read and checked. */
  readonly checkedMs: number | undefined;
};

export type WorkFacts = {
  readonly name: string;
  readonly startedMs: number;
  readonly atMs: number;
  readonly doneBytes: number;
  readonly leftBytes: number;
};

export type ServerStatus = {
  readonly version: string;
  readonly startedMs: number;
  readonly workers: number;
  readonly redundancy: string;
  readonly drives: readonly DriveView[];
  /** Long work under way in any process. */
  readonly work: readonly WorkFacts[];
  /** Of the process that answers. */
  readonly jobs: readonly JobFacts[];
};

export type AdminOptions = {
  readonly objects: Objects;
  readonly identity: Identity;
  /** Of buckets that say nothing else. */
  readonly redundancy: Redundancy;
  /** What is in the way of serving requests; empty when ready. */
  ready(): Promise<readonly string[]>;
  /** All workers' metrics in Prometheus's text format. */
  metrics(): Promise<string>;
  status(): Promise<ServerStatus>;
  /** Errors: `invalid_argument` with what to do instead. */
  changeDrive(id: DriveId, membership: "active" | "draining" | "removed"): Promise<readonly DriveView[]>;
};

export type AdminOperation =
  "Live" | "Ready" | "Metrics" | "Status" | "Usage" | "Explain" | "Bucket" | "Drive" | "Keys" | "Key" | "Other";

export type AdminDoor = {
  operation(request: DoorRequest): AdminOperation;
  /** Rejects with what errorReply turns into an answer. `segments` begin with health, metrics or admin. */
  handle(request: DoorRequest): Promise<DoorReply>;
};

const operations: Readonly<Record<string, AdminOperation>> = {
  "health/live": "Live",
  "health/ready": "Ready",
  metrics: "Metrics",
  "admin/status": "Status",
  "admin/usage": "Usage",
  "admin/explain": "Explain",
  "admin/keys": "Keys",
};

function operationOf({ segments }: DoorRequest): AdminOperation {
  if (segments.length === 3 && segments[0] === "admin" && segments[1] === "keys") return "Key";
  if (segments.length === 3 && segments[0] === "admin" && segments[1] === "buckets") return "Bucket";
  if (segments.length === 3 && segments[0] === "admin" && segments[1] === "drives") return "Drive";
  return operations[segments.join("/")] ?? "Other";
}

export function createAdmin(options: AdminOptions): AdminDoor {
  const run: Readonly<Record<AdminOperation, (request: DoorRequest) => Promise<DoorReply>>> = {
    Live: (request) => only(request, "GET", async () => jsonReply(200, { live: true })),
    Ready: (request) => only(request, "GET", () => ready(options)),
    Metrics: (request) => only(request, "GET", () => metrics(options, request)),
    Status: (request) => only(request, "GET", () => status(options, request)),
    Usage: (request) => only(request, "GET", () => usage(options, request)),
    Explain: (request) => only(request, "GET", () => explainObject(options, request)),
    Bucket: (request) => (request.method === "PUT" ? setBucket(options, request) : showBucket(options, request)),
    Drive: (request) => only(request, "PUT", () => changeDrive(options, request)),
    Keys: (request) => (request.method === "POST" ? createKey(options, request) : listKeys(options, request)),
    Key: (request) => only(request, "DELETE", () => removeKey(options, request)),
    Other: () => Promise.reject(noSuchAddress()),
  };
  return { operation: operationOf, handle: (request) => run[operationOf(request)](request) };
}

/** HEAD is a GET whose body is not sent. */
function only(request: DoorRequest, method: string, run: () => Promise<DoorReply>): Promise<DoorReply> {
  const asked = request.method === "HEAD" ? "GET" : request.method;
  return asked === method ? run() : Promise.reject(methodNotAllowed(method));
}

async function ready(options: AdminOptions): Promise<DoorReply> {
  const inTheWay = await options.ready();
  return inTheWay.length === 0 ? jsonReply(200, { ready: true }) : jsonReply(503, { ready: false, why: inTheWay });
}

async function metrics(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  if (!isFromThisMachine(request)) await authenticate(options, request);
  return { status: 200, headers: ["content-type", metricsContentType], body: await options.metrics() };
}

/** A reverse proxy on this machine speaks for others, and says so. */
function isFromThisMachine({ remoteAddress, headers }: DoorRequest): boolean {
  if (headers["x-forwarded-for"] !== undefined || headers["forwarded"] !== undefined) return false;
  return remoteAddress !== undefined && /^(127\.|::1$|::ffff:127\.)/.test(remoteAddress);
}

function authenticate({ identity }: AdminOptions, { headers }: DoorRequest): Promise<Caller> {
  return authenticateBasic(identity, headers.authorization);
}

async function authenticateRoot(options: AdminOptions, request: DoorRequest, what: string): Promise<void> {
  const { isRoot } = await authenticate(options, request);
  if (!isRoot) throw new HoldfastError("access_denied", `Only the root key may ${what}.`);
}

async function status(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await authenticate(options, request);
  return jsonReply(200, await options.status());
}

async function usage(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await authenticate(options, request);
  const { objects } = options;
  const one = request.query.get("bucket");
  if (one !== undefined) return jsonReply(200, { buckets: [{ name: one, ...(await objects.usage(one)) }], next: null });
  const after = request.query.get("after");
  const page = await objects.listBuckets({ limit: limits.listPageKeysMax, ...(after !== undefined && { after }) });
  const buckets: object[] = [];
  for (const { name } of page.buckets) buckets.push({ name, ...(await objects.usage(name)) });
  return jsonReply(200, { buckets, next: page.next ?? null });
}

function bucketJson({ redundancy: byDefault }: AdminOptions, { name, createdMs, region, redundancy }: BucketInfo) {
  const createdAt = new Date(createdMs).toISOString();
  return { name, region, createdAt, redundancy: formatRedundancy(redundancy ?? byDefault), isDefault: !redundancy };
}

async function showBucket(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  if (request.method !== "GET") throw methodNotAllowed("GET, PUT");
  await authenticate(options, request);
  return jsonReply(200, bucketJson(options, await options.objects.bucket(request.segments[2] ?? "")));
}

async function setBucket(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await authenticateRoot(options, request, "change buckets");
  const body = await readJsonObject(request.body(), ["redundancy"]);
  if (!("redundancy" in body)) throw new HoldfastError("invalid_argument", `"redundancy" is missing.`);
  const wanted = body["redundancy"] === null ? undefined : parseRedundancy(textField(body, "redundancy") ?? "");
  const { drives } = await options.status();
  const count = drives.filter(({ membership, state }) => membership === "active" && state !== "missing").length;
  if (wanted !== undefined && shardsOf(wanted) > count) {
    const there = count === 1 ? "is 1 drive" : `are ${count} drives`;
    const message = `${formatRedundancy(wanted)} needs ${shardsOf(wanted)} drives; there ${there}.`;
    throw new HoldfastError("invalid_argument", message);
  }
  return jsonReply(200, bucketJson(options, await options.objects.setRedundancy(request.segments[2] ?? "", wanted)));
}

async function changeDrive(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await authenticateRoot(options, request, "change drives");
  const body = await readJsonObject(request.body(), ["membership"]);
  const membership = textField(body, "membership");
  if (membership !== "active" && membership !== "draining" && membership !== "removed")
    throw new HoldfastError("invalid_argument", `"membership" must be active, draining or removed.`);
  const drives = await options.changeDrive((request.segments[2] ?? "") as DriveId, membership);
  return jsonReply(200, { drives });
}

async function explainObject(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await authenticate(options, request);
  return explain(options.objects, (await options.status()).drives, request);
}

function keyJson({ accessKey, createdMs, description }: KeyInfo) {
  return { accessKey, createdAt: new Date(createdMs).toISOString(), description };
}

async function listKeys(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  if (request.method !== "GET") throw methodNotAllowed("GET, POST");
  await authenticateRoot(options, request, "manage access keys");
  const after = request.query.get("after");
  const keys = await options.identity.list({ after, limit: limits.listPageKeysMax });
  const next = keys.length === limits.listPageKeysMax ? keys.at(-1)!.accessKey : null;
  return jsonReply(200, { keys: keys.map(keyJson), next });
}

async function createKey(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await authenticateRoot(options, request, "manage access keys");
  const body = await readJsonObject(request.body(), ["accessKey", "secretKey", "description"]);
  const made = await options.identity.create({
    accessKey: textField(body, "accessKey"),
    secretKey: textField(body, "secretKey"),
    description: textField(body, "description"),
  });
  return jsonReply(201, { ...keyJson(made), secretKey: made.secretKey });
}

async function removeKey(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await authenticateRoot(options, request, "manage access keys");
  await options.identity.remove(request.segments[2] ?? "");
  return { status: 204, headers: [] };
}

/**
 * The operator's door: `/_/health/…`, `/_/metrics` and `/_/admin/…`. At the end of each call stands the action that a user's policy must
 * allow (identity/administration.ts); the root key may do all of it, and a key of nobody ReadStatus.
 *
 *   GET  /_/health/live      200 while the process answers at all. No credentials.
 *   GET  /_/health/ready     200, or 503 and why: what a load balancer asks. No credentials.
 *   GET  /_/metrics          Prometheus text: from this machine without credentials, unless a proxy forwards the request;
 *                            from elsewhere with HTTP Basic, as ReadStatus.
 *   GET  /_/admin/status     version, uptime, drives, jobs. ReadStatus.
 *   GET  /_/admin/cluster    nodes, zones, drives, what is stored how, what lacks redundancy, long work. ReadStatus.
 *   GET  /_/admin/usage      objects and bytes by bucket (?bucket= for one). ReadStatus.
 *   GET  /_/admin/buckets/NAME  how the bucket is stored. ReadStatus.
 *   PUT  /_/admin/buckets/NAME  {"redundancy"?, "reducedRedundancy"?: each "replica:N", "ec:K+M" or null for the store's default,
 *                            "quota"?: {"bytes"?, "objects"?}, each a number, or null for none}. ChangeBuckets.
 *   GET, PUT /_/admin/account-quotas/NUMBER  {"quota": …}: of all buckets of an account (`own`: the store's own). ReadStatus, ChangeBuckets.
 *   PUT  /_/admin/drives/ID  {"membership": "draining", "active" or "removed", "force"?: true}. ChangeDrives.
 *   PUT  /_/admin/nodes/URL  the same for all drives of a node. ChangeDrives.
 *   GET  /_/admin/explain    ?bucket=&key=, &versionId=: every chunk of an object, where its shards are, what it survives. ReadStatus.
 *   GET  /_/admin/event-targets  where events are sent, what waits, what is wrong. ChangeEventTargets, as are all of them.
 *   PUT  /_/admin/event-targets/NAME  {"webhook": URL, "headers"?: {…}, "secret"?}: adds one, or changes where it sends.
 *   DELETE /_/admin/event-targets/NAME  204; 409 while a bucket's configuration names it, unless ?force=true.
 *   GET  /_/admin/event-targets/NAME/dead  ?after=: events that were given up.
 *   POST /_/admin/event-targets/NAME/dead  has some of them delivered again: {"sent": how many}; 0 when there are none.
 *   GET  /_/admin/keys       access keys without secrets. ManageIdentities, as is all down to groups and policies.
 *   POST /_/admin/keys       {"accessKey"?, "secretKey"?, "description"?, "user"?, "account"?} → 201 with the secret, shown
 *                            only here. With a user the key is the user's; with an account alone it is the account's own.
 *   DELETE /_/admin/keys/KEY 204.
 *   /_/admin/accounts, users, groups, roles, policies: identities.ts.
 *   GET  /_/admin/encryption-keys   keys of server-side encryption, which are never shown. ManageEncryptionKeys, as are both below.
 *   POST /_/admin/encryption-keys   {"id"} → 201.
 *   POST /_/admin/encryption-keys/ID/rotate   its new version seals from now on.
 */
import type { Clock } from "../core/clock.ts";
import { type DoorReply, type DoorRequest, jsonReply, methodNotAllowed, noSuchAddress } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import {
  formatRedundancy,
  parseRedundancy,
  redundanciesOf,
  shardsOf,
  type AskedRedundancies,
  type Redundancies,
  type Redundancy,
} from "../core/redundancy.ts";
import { type DriveFacts, metricsContentType } from "../core/metrics.ts";
import type { KeyManager } from "../crypto/crypto.ts";
import { permitAdministration, type Administered } from "../identity/administration.ts";
import { authenticateBasic } from "../identity/basic.ts";
import type { Identity, KeyInfo } from "../identity/identity.ts";
import type { KeyOwner } from "../identity/key_record.ts";
import type { Destinations } from "../events/events.ts";
import type { BucketInfo, Objects } from "../object/object.ts";
import { clusterJson, type ClusterFacts } from "./cluster.ts";
import { encryptionKeys, rotateKey } from "./encryption_keys.ts";
import { eventTargets, isEventTargets } from "./event_targets.ts";
import { explain } from "./explain.ts";
import { isIdentities, runIdentities } from "./identities.ts";
import { readJsonObject, textField } from "./json_body.ts";
import { accountQuotas, quotaIn, quotaJson } from "./quotas.ts";

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
  /** Which has it; both are empty on a single machine, and the zone where nothing is known of the node. */
  readonly node: string;
  readonly zone: string;
  /** When every shard on it had last been read and checked, and how many of them were damaged. */
  readonly checkedMs: number | undefined;
  readonly damagedShards: number;
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

export type DriveChange = { readonly to: "active" | "draining" | "removed"; readonly force: boolean };

export type AdminOptions = {
  readonly objects: Objects;
  readonly identity: Identity;
  /** Undefined: the server has no master key. */
  readonly encryptionKeys: KeyManager | undefined;
  readonly destinations: Destinations;
  readonly clock: Pick<Clock, "nowMs">;
  /** Of buckets that say nothing else. */
  readonly redundancy: () => Redundancy;
  /** What was asked for the reduced class of such buckets. */
  readonly reducedRedundancy?: Redundancy | undefined;
  /** What is in the way of serving requests; empty when ready. */
  ready(): Promise<readonly string[]>;
  /** All workers' metrics in Prometheus's text format. */
  metrics(): Promise<string>;
  status(): Promise<ServerStatus>;
  cluster(): Promise<ClusterFacts>;
  /** Errors: `invalid_argument` with what to do instead. */
  changeDrive(id: DriveId, change: DriveChange): Promise<readonly DriveView[]>;
  changeNode(url: string, change: DriveChange): Promise<readonly DriveView[]>;
};

export type AdminOperation =
  | "Live"
  | "Ready"
  | "Metrics"
  | "Status"
  | "Cluster"
  | "Usage"
  | "Explain"
  | "Bucket"
  | "AccountQuota"
  | "Drive"
  | "Node"
  | "EventTargets"
  | "Keys"
  | "Key"
  | "Identities"
  | "EncryptionKeys"
  | "RotateEncryptionKey"
  | "Other";

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
  "admin/cluster": "Cluster",
  "admin/usage": "Usage",
  "admin/explain": "Explain",
  "admin/keys": "Keys",
  "admin/encryption-keys": "EncryptionKeys",
};

function operationOf(request: DoorRequest): AdminOperation {
  const { segments } = request;
  if (isIdentities(request)) return "Identities";
  if (segments.length === 3 && segments[0] === "admin" && segments[1] === "keys") return "Key";
  if (segments.length === 3 && segments[0] === "admin" && segments[1] === "buckets") return "Bucket";
  if (segments.length === 3 && segments[0] === "admin" && segments[1] === "account-quotas") return "AccountQuota";
  if (segments.length === 3 && segments[0] === "admin" && segments[1] === "drives") return "Drive";
  if (segments.length === 3 && segments[0] === "admin" && segments[1] === "nodes") return "Node";
  const [door, what, , then] = segments;
  if (segments.length === 4 && door === "admin" && what === "encryption-keys" && then === "rotate")
    return "RotateEncryptionKey";
  if (isEventTargets(segments)) return "EventTargets";
  return operations[segments.join("/")] ?? "Other";
}

export function createAdmin(options: AdminOptions): AdminDoor {
  const run: Readonly<Record<AdminOperation, (request: DoorRequest) => Promise<DoorReply>>> = {
    Live: (request) => only(request, "GET", async () => jsonReply(200, { live: true })),
    Ready: (request) => only(request, "GET", () => ready(options)),
    Metrics: (request) => only(request, "GET", () => metrics(options, request)),
    Status: (request) => only(request, "GET", () => status(options, request)),
    Cluster: (request) => only(request, "GET", () => cluster(options, request)),
    Usage: (request) => only(request, "GET", () => usage(options, request)),
    Explain: (request) => only(request, "GET", () => explainObject(options, request)),
    Bucket: (request) => (request.method === "PUT" ? setBucket(options, request) : showBucket(options, request)),
    AccountQuota: (request) => accountQuota(options, request),
    Drive: (request) => only(request, "PUT", () => changeDrives(options, request)),
    Node: (request) => only(request, "PUT", () => changeDrives(options, request)),
    EventTargets: async (request) => {
      await permit(options, request, { action: "holdfast:ChangeEventTargets", what: "manage event targets" });
      return eventTargets(options.destinations, request);
    },
    Keys: (request) => (request.method === "POST" ? createKey(options, request) : listKeys(options, request)),
    Key: (request) => only(request, "DELETE", () => removeKey(options, request)),
    Identities: (request) => identities(options, request),
    EncryptionKeys: async (request) => {
      await permit(options, request, { action: "holdfast:ManageEncryptionKeys", what: "manage encryption keys" });
      return encryptionKeys(options.encryptionKeys, request);
    },
    RotateEncryptionKey: (request) =>
      only(request, "POST", async () => {
        await permit(options, request, { action: "holdfast:ManageEncryptionKeys", what: "manage encryption keys" });
        return rotateKey(options.encryptionKeys, request);
      }),
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
  if (!isFromThisMachine(request)) await permitLook(options, request);
  return { status: 200, headers: ["content-type", metricsContentType], body: await options.metrics() };
}

/** A reverse proxy on this machine speaks for others, and says so. */
function isFromThisMachine({ remoteAddress, headers }: DoorRequest): boolean {
  if (headers["x-forwarded-for"] !== undefined || headers["forwarded"] !== undefined) return false;
  return remoteAddress !== undefined && /^(127\.|::1$|::ffff:127\.)/.test(remoteAddress);
}

async function permit(
  { identity, clock }: AdminOptions,
  request: DoorRequest,
  asked: Pick<Administered, "action" | "what">,
): Promise<void> {
  const caller = await authenticateBasic(identity, request.headers);
  permitAdministration(caller, { ...asked, request, nowMs: clock.nowMs() });
}

function permitLook(options: AdminOptions, request: DoorRequest): Promise<void> {
  return permit(options, request, { action: "holdfast:ReadStatus", what: "look at the store" });
}

async function status(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await permitLook(options, request);
  return jsonReply(200, await options.status());
}

async function cluster(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await permitLook(options, request);
  return jsonReply(200, clusterJson(await options.cluster()));
}

async function usage(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await permitLook(options, request);
  const { objects } = options;
  const one = request.query.get("bucket");
  if (one !== undefined) return jsonReply(200, { buckets: [{ name: one, ...(await objects.usage(one)) }], next: null });
  const after = request.query.get("after");
  const page = await objects.listBuckets({ limit: limits.listPageKeysMax, ...(after !== undefined && { after }) });
  const buckets: object[] = [];
  for (const { name } of page.buckets) buckets.push({ name, ...(await objects.usage(name)) });
  return jsonReply(200, { buckets, next: page.next ?? null });
}

/** As it holds: what the bucket asks for, or the store's default. */
function bucketJson(options: AdminOptions, bucket: BucketInfo) {
  const { name, createdMs, region, redundancy, reducedRedundancy } = bucket;
  const { standard, reduced } = redundanciesHere(options, bucket);
  return {
    name,
    region,
    createdAt: new Date(createdMs).toISOString(),
    redundancy: formatRedundancy(standard),
    isDefault: redundancy === undefined,
    reducedRedundancy: formatRedundancy(reduced),
    isReducedDefault: reducedRedundancy === undefined,
  };
}

function redundanciesHere({ redundancy, reducedRedundancy }: AdminOptions, bucket: AskedRedundancies): Redundancies {
  return redundanciesOf(bucket, { redundancy: redundancy(), reducedRedundancy });
}

async function showBucket(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  if (request.method !== "GET") throw methodNotAllowed("GET, PUT");
  await permitLook(options, request);
  const name = request.segments[2] ?? "";
  const [bucket, quota] = await Promise.all([options.objects.bucket(name), options.objects.quota(name)]);
  return jsonReply(200, { ...bucketJson(options, bucket), ...quotaJson(quota) });
}

async function accountQuota(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  if (request.method === "PUT")
    await permit(options, request, { action: "holdfast:ChangeBuckets", what: "change quotas" });
  else await permitLook(options, request);
  return accountQuotas({ objects: options.objects, directory: options.identity.directory }, request);
}

async function setBucket(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await permit(options, request, { action: "holdfast:ChangeBuckets", what: "change buckets" });
  const { objects } = options;
  const name = request.segments[2] ?? "";
  const body = await readJsonObject(request.body(), ["redundancy", "reducedRedundancy", "quota"]);
  if (Object.keys(body).length === 0)
    throw new HoldfastError("invalid_argument", `"redundancy", "reducedRedundancy" or "quota" is missing.`);
  // All is judged before any is set.
  const asked = await redundanciesIn(options, name, body);
  const before = await objects.quota(name);
  const quota = "quota" in body ? quotaIn(body, before.quota) : undefined;
  if (asked !== undefined) await objects.setRedundancy(name, asked);
  const view = quota === undefined ? before : await objects.setQuota(name, quota);
  return jsonReply(200, { ...bucketJson(options, await objects.bucket(name)), ...quotaJson(view) });
}

/** Undefined: none is asked for. Errors: `no_such_bucket`, `invalid_argument`, also for a reduced class that bears more losses than the other. */
async function redundanciesIn(
  options: AdminOptions,
  name: string,
  body: Record<string, unknown>,
): Promise<Partial<AskedRedundancies> | undefined> {
  const asked = {
    ...("redundancy" in body && { redundancy: await redundancyIn(options, body, "redundancy") }),
    ...("reducedRedundancy" in body && { reducedRedundancy: await redundancyIn(options, body, "reducedRedundancy") }),
  };
  if (Object.keys(asked).length === 0) return undefined;
  const changed = { ...(await options.objects.bucket(name)), ...asked };
  const { standard } = redundanciesHere(options, changed);
  if (asked.reducedRedundancy === undefined || asked.reducedRedundancy.parityShards <= standard.parityShards)
    return asked;
  const message = `${formatRedundancy(asked.reducedRedundancy)} bears more losses than ${formatRedundancy(standard)}, which STANDARD has.`;
  throw new HoldfastError("invalid_argument", message);
}

/** Errors: `invalid_argument`, also for more drives than there are. */
async function redundancyIn(
  options: AdminOptions,
  body: Record<string, unknown>,
  field: keyof AskedRedundancies,
): Promise<Redundancy | undefined> {
  const wanted = body[field] === null ? undefined : parseRedundancy(textField(body, field) ?? "");
  const { drives } = await options.status();
  const count = drives.filter(({ membership, state }) => membership === "active" && state !== "missing").length;
  if (wanted !== undefined && shardsOf(wanted) > count) {
    const there = count === 1 ? "is 1 drive" : `are ${count} drives`;
    const message = `${formatRedundancy(wanted)} needs ${shardsOf(wanted)} drives; there ${there}.`;
    throw new HoldfastError("invalid_argument", message);
  }
  return wanted;
}

/** Of one drive, or of all that a node has. */
async function changeDrives(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await permit(options, request, { action: "holdfast:ChangeDrives", what: "change drives" });
  const body = await readJsonObject(request.body(), ["membership", "force"]);
  const to = textField(body, "membership");
  if (to !== "active" && to !== "draining" && to !== "removed")
    throw new HoldfastError("invalid_argument", `"membership" must be active, draining or removed.`);
  const { force = false } = body;
  if (typeof force !== "boolean") throw new HoldfastError("invalid_argument", `"force" must be true or false.`);
  const [, what, name = ""] = request.segments;
  const change = { to, force } as const;
  const drives =
    what === "nodes" ? await options.changeNode(name, change) : await options.changeDrive(name as DriveId, change);
  return jsonReply(200, { drives });
}

async function explainObject(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await permitLook(options, request);
  return explain(options.objects, (await options.status()).drives, request);
}

/** `owner` is null for a key that is nobody's and may do everything; `off` is there where it is switched off. */
function keyJson({ accessKey, createdMs, description, owner, isOff }: KeyInfo) {
  const { kind, ...whose } = owner;
  return {
    accessKey,
    createdAt: new Date(createdMs).toISOString(),
    description,
    owner: kind === "none" ? null : whose,
    ...(isOff === true && { off: true }),
  };
}

async function listKeys(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  if (request.method !== "GET") throw methodNotAllowed("GET, POST");
  await permit(options, request, { action: "holdfast:ManageIdentities", what: "manage access keys" });
  const after = request.query.get("after");
  const keys = await options.identity.list({ after, limit: limits.listPageKeysMax });
  const next = keys.length === limits.listPageKeysMax ? keys.at(-1)!.accessKey : null;
  return jsonReply(200, { keys: keys.map(keyJson), next });
}

async function createKey(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await permit(options, request, { action: "holdfast:ManageIdentities", what: "manage access keys" });
  const body = await readJsonObject(request.body(), ["accessKey", "secretKey", "description", "user", "account"]);
  const made = await options.identity.create({
    accessKey: textField(body, "accessKey"),
    secretKey: textField(body, "secretKey"),
    description: textField(body, "description"),
    owner: await ownerIn(options, body),
  });
  return jsonReply(201, { ...keyJson(made), secretKey: made.secretKey });
}

async function ownerIn({ identity }: AdminOptions, body: Record<string, unknown>): Promise<KeyOwner> {
  const [user, account] = [textField(body, "user"), textField(body, "account")];
  if (user === undefined) return account === undefined ? { kind: "none" } : { kind: "account", account };
  return { kind: "user", account: account ?? (await identity.directory.ownAccount()).account, user };
}

async function identities(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await permit(options, request, { action: "holdfast:ManageIdentities", what: "manage users" });
  return runIdentities(options.identity.directory, request);
}

async function removeKey(options: AdminOptions, request: DoorRequest): Promise<DoorReply> {
  await permit(options, request, { action: "holdfast:ManageIdentities", what: "manage access keys" });
  await options.identity.remove(request.segments[2] ?? "");
  return { status: 204, headers: [] };
}

/**
 * Holdfast as a library: a whole server inside this process.
 *
 *     const server = await createServer({ memory: true });   // or { drives: ["./data"] }
 *     console.log(server.url, server.accessKey, server.secretKey);
 *     await server.close();
 *
 * A server that can write no more closes itself, and the promise `server.ended` says why; the program goes on, and may create another.
 * Several may live in one process, each with its own data, keys, port and metrics. A drive belongs to one server at a time.
 */
import path from "node:path";
import { systemClock } from "./core/clock.ts";
import { HoldfastError } from "./core/errors.ts";
import { silentLog, type Log } from "./core/log.ts";
import { createMetrics } from "./core/metrics.ts";
import { systemRandom } from "./core/random.ts";
import { newRootKey } from "./identity/root_key.ts";
import { markDriveClean } from "./node/drive.ts";
import { systemDisk } from "./node/disk.system.ts";
import type { CommitDocumentEntry, ShownEntry } from "./gateway/commit_spelling.ts";
import { commitDocument } from "./server/commit.ts";
import { clusterOf } from "./server/cluster_settings.ts";
import { readKeyFiles } from "./server/key_file.ts";
import { keyServiceOf } from "./server/key_service.ts";
import { lockDrives } from "./server/lock.ts";
import type { ClusterOptions } from "./server/membership.ts";
import { choosePort } from "./server/port.ts";
import { prepareServer, type Prepared } from "./server/prepare.ts";
import { prepareNode } from "./server/prepare_node.ts";
import { newRun, sessionName } from "./server/run.ts";
import { serve, type Serving } from "./server/serving.ts";
import { readSettings, redundancyOf, type Settings } from "./server/settings.ts";
import { openStore, type Store } from "./server/store.ts";
import { checkTls, type Tls } from "./server/tls.ts";

export { HoldfastError } from "./core/errors.ts";
export type { Log } from "./core/log.ts";
export type { CommitDocumentEntry, ShownEntry } from "./gateway/commit_spelling.ts";

export type CreateServerOptions = {
  /** Folders to keep data in, made when missing. Either this or `memory`. */
  readonly drives?: readonly string[];
  /** Keep everything in memory; it ends with the server. */
  readonly memory?: boolean;
  /** HOST:PORT; a free port of 127.0.0.1 by default. */
  readonly listen?: string;
  /** Domains whose subdomains are buckets. */
  readonly domain?: readonly string[];
  /** Domains whose subdomains are buckets as websites. */
  readonly websiteDomain?: readonly string[];
  readonly region?: string;
  /** The bucket behind the plain file API. */
  readonly filesBucket?: string;
  /** How buckets are stored that say nothing else: `replica:n` or `ec:k+m`; by default after the number of drives. */
  readonly redundancy?: string;
  /** The same for the storage class REDUCED_REDUNDANCY; by default one loss less, where that leaves one. */
  readonly reducedRedundancy?: string;
  /** `postgres://…` or `etcd://…`: the server is a node of the cluster whose metadata is there. */
  readonly metadata?: string;
  /** A file with the secret that all nodes of the cluster share. */
  readonly clusterSecretFile?: string;
  /** A file with the authorities that signed the other nodes' certificates (PEM); the system's by default. */
  readonly clusterCaFile?: string;
  /** How other nodes reach this one; at the address it listens on by default. */
  readonly advertise?: string;
  /** What fails together with this node: a rack, a room, a site. */
  readonly zone?: string;
  /** Drives that keep a copy of the metadata; by default 3 (where there are as many drives), and 5 from six drives on. */
  readonly metadataCopies?: number;
  /** Files with master keys of server-side encryption; the first one seals, the others only open. */
  readonly encryptionKeyFile?: string | readonly string[];
  /** A transit engine of Vault or OpenBao whose keys seal as `vault:NAME`: `vault+https://HOST:PORT/MOUNT`. */
  readonly kms?: string;
  /** A file with the token for it, which is read again when it changes. */
  readonly kmsTokenFile?: string;
  /** A file with the authority that signed its certificate (PEM); the system's by default. */
  readonly kmsCaFile?: string;
  /** `vault:NAME`: the key of SSE-KMS requests that name none, and of SSE-S3; the store's own by default. */
  readonly kmsDefaultKey?: string;
  readonly kmsS3Key?: string;
  /** How long the data key of an object is kept in memory; 300 by default. */
  readonly kmsCacheSeconds?: number;
  /** Takes clients' own encryption keys without TLS, because a proxy before the server has it. */
  readonly customerKeysOverHttp?: boolean;
  /** Takes OpenID Connect providers on this machine without TLS. */
  readonly oidcOverHttp?: boolean;
  /** How long a drive may be away until what lay on it is made anew on others; 600 by default. */
  readonly driveAwaySeconds?: number;
  /** How long lines of buckets' access logs wait at most until they are written; 60 by default. */
  readonly accessLogIntervalSeconds?: number;
  /** PEM. */
  readonly tls?: Tls;
  /** The root key; else the one kept on the first drive, or a new one. */
  readonly credentials?: { readonly accessKey: string; readonly secretKey: string };
  /** Nothing is logged by default. */
  readonly log?: Log;
};

export type HoldfastServer = {
  /** Of the S3 API; the plain file API is below it at `/_/files`. */
  readonly url: string;
  readonly port: number;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region: string;
  /**
   * Resolves when the server can write no more, with the reason in a sentence: another server has taken its address or one of
   * its drives, it was taken for dead because it stood still for too long, or its metadata store or the index of a drive failed.
   * It refuses requests with 503 then, listens no more, and closes itself: `close` waits for that. On the same drives a
   * new server may be created afterwards. It never fails, and does not resolve for a server that was closed.
   */
  readonly ended: Promise<string>;
  /**
   * Changes several keys of a bucket at once, or none, as docs/atomic-commit.md says. Errors: HoldfastError; where it is about one
   * entry, `details.entry` is its place, from 0.
   */
  commit(bucket: string, entries: readonly CommitDocumentEntry[]): Promise<readonly ShownEntry[]>;
  /** Lets running requests finish (up to 30 seconds), then closes everything. When called again, waits for the same. */
  close(): Promise<void>;
};

/** Errors: HoldfastError with a sentence that says what is wrong with the options, the folder or the port. */
export async function createServer(options: CreateServerOptions = {}): Promise<HoldfastServer> {
  const asked = settingsOf(options);
  const { drives } = asked;
  const masterKeys = readKeyFiles(asked["encryption-key-file"]);
  const log = options.log ?? silentLog;
  const keyService = keyServiceOf(asked, { clock: systemClock, log });
  const lock = await lockDrives(drives, asked.metadata === undefined ? "embedded" : "elsewhere");
  const undo: (() => Promise<unknown>)[] = [async () => lock.release()];
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => (closed ??= runAll(undo));
  try {
    const port = await choosePort(asked.listen);
    undo.push(() => port.release());
    const settings = { ...asked, listen: port.listen };
    const common = { clock: systemClock, random: systemRandom, log };
    const run = newRun();
    const cluster = clusterOf({ ...settings, workers: 1 }, run);
    const prepared = drives.length === 0 ? undefined : await prepare(settings, options, cluster);
    const root = prepared?.rootKey ?? options.credentials ?? newRootKey();
    const metrics = createMetrics();
    undo.push(() => markClean(prepared?.drives ?? []));
    const store = await openStore({
      name: sessionName(run, `pid ${process.pid}`),
      drives: prepared?.drives ?? [],
      ...(prepared && { driveIds: prepared.driveIds, metadata: prepared.metadata }),
      ...(cluster && { cluster }),
      root,
      redundancy: cluster === undefined ? redundancyOf(settings) : settings.redundancy,
      reducedRedundancy: settings["reduced-redundancy"],
      masterKeys,
      keyService,
      driveAwayMs: 1_000 * settings["drive-away"],
      backgroundBytesPerSecond: settings["background-rate"] * 2 ** 20,
      digestThreads: settings.workers,
      sweepAll: prepared?.sweepDue ?? false,
      metrics,
      ...common,
    });
    undo.push(() => store.close());
    const serving = await serve({
      ...common,
      store,
      listen: settings.listen,
      portIsShared: port.isHeld,
      tls: options.tls,
      domains: settings.domain,
      websiteDomains: settings["website-domain"],
      region: settings.region,
      filesBucket: settings["files-bucket"],
      workers: 1,
      accessLogIntervalMs: 1_000 * settings["access-log-interval"],
      plainCustomerKeys: settings["customer-keys-over-http"],
      plainOidc: settings["oidc-over-http"],
      ...(cluster && { clusterSecret: cluster.secret }),
      metrics,
      snapshots: async () => [await metrics.snapshot()],
    });
    undo.push(() => serving.stop());
    await port.release();
    const { accessKey, secretKey } = root;
    const url = urlOf(settings, serving.port, options.tls !== undefined);
    const ended = endOf(store, serving, { close, isClosing: () => closed !== undefined, log });
    const commit: HoldfastServer["commit"] = (bucket, entries) => commitDocument(store.objects, bucket, entries);
    return { url, port: serving.port, accessKey, secretKey, region: settings.region, ended, commit, close };
  } catch (error) {
    await close().catch(() => undefined);
    throw error;
  }
}

type Closing = { readonly close: () => Promise<void>; readonly isClosing: () => boolean; readonly log: Log };

/** What is left of a store that ended cannot be trusted, so nothing of it goes on, whatever the program does. */
function endOf(store: Store, serving: Serving, { close, isClosing, log }: Closing): Promise<string> {
  return new Promise((resolve) => {
    void store.ended.then((why) => {
      if (isClosing()) return;
      log.error({ why }, "This server can write no more; it closes itself.");
      serving.refuse();
      close().catch((error: unknown) => log.error({ err: error }, "Closing a server that ended failed."));
      resolve(why);
    });
  });
}

function prepare(
  { drives, metadata: engine, "metadata-copies": copies }: Settings,
  { credentials: root, log = silentLog }: CreateServerOptions,
  cluster: ClusterOptions | undefined,
): Promise<Prepared> {
  const common = { drives, root, clock: systemClock, random: systemRandom, log };
  if (cluster !== undefined && engine !== undefined) return prepareNode({ ...common, engine, own: cluster.own });
  return prepareServer({ ...common, ...(copies === undefined ? {} : { copies }) });
}

/** The steps from last to first, each whatever became of the others; the first error is thrown at the end. */
async function runAll(steps: readonly (() => Promise<unknown>)[]): Promise<void> {
  const errors: unknown[] = [];
  for (const step of steps.toReversed()) await step().catch((error: unknown) => errors.push(error));
  if (errors.length > 0) throw errors[0];
}

async function markClean(drives: readonly string[]): Promise<void> {
  for (const drive of drives) await markDriveClean(systemDisk("/"), drive);
}

const optionNames: Readonly<Record<keyof CreateServerOptions, true>> = {
  drives: true,
  memory: true,
  listen: true,
  domain: true,
  websiteDomain: true,
  region: true,
  filesBucket: true,
  redundancy: true,
  reducedRedundancy: true,
  metadataCopies: true,
  metadata: true,
  clusterSecretFile: true,
  clusterCaFile: true,
  advertise: true,
  zone: true,
  encryptionKeyFile: true,
  kms: true,
  kmsTokenFile: true,
  kmsCaFile: true,
  kmsDefaultKey: true,
  kmsS3Key: true,
  kmsCacheSeconds: true,
  customerKeysOverHttp: true,
  oidcOverHttp: true,
  driveAwaySeconds: true,
  accessLogIntervalSeconds: true,
  tls: true,
  credentials: true,
  log: true,
};

function refuse(message: string): never {
  throw new HoldfastError("invalid_argument", message);
}

/** Programs in JavaScript have no compiler that reads the types. */
function checkOptions(options: CreateServerOptions): void {
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(optionNames, name));
  if (unknown !== undefined) refuse(`createServer has no option "${unknown}".`);
  const { drives = [], memory = false, tls } = options;
  if (!Array.isArray(drives)) refuse("`drives` must be a list of folders.");
  if (typeof memory !== "boolean") refuse("`memory` must be true or false.");
  if (memory === drives.length > 0) refuse("createServer needs either `drives` or `memory: true`.");
  if (tls !== undefined) checkTls(tls, "The TLS certificate and key");
}

function settingsOf(options: CreateServerOptions): Settings {
  checkOptions(options);
  const { drives = [] } = options;
  const flags: Record<string, unknown> = {
    drives: drives.map((drive) => path.resolve(drive)),
    listen: options.listen ?? "127.0.0.1:0",
    domain: options.domain,
    "website-domain": options.websiteDomain,
    region: options.region,
    "files-bucket": options.filesBucket,
    redundancy: options.redundancy,
    "reduced-redundancy": options.reducedRedundancy,
    "metadata-copies": options.metadataCopies,
    metadata: options.metadata,
    "cluster-secret-file": options.clusterSecretFile,
    "cluster-ca": options.clusterCaFile,
    advertise: options.advertise,
    zone: options.zone,
    "tls-cert": options.tls && "given",
    "tls-key": options.tls && "given",
    "encryption-key-file": options.encryptionKeyFile,
    kms: options.kms,
    "kms-token-file": options.kmsTokenFile,
    "kms-ca": options.kmsCaFile,
    "kms-default-key": options.kmsDefaultKey,
    "kms-s3-key": options.kmsS3Key,
    "kms-cache": options.kmsCacheSeconds,
    "customer-keys-over-http": options.customerKeysOverHttp,
    "oidc-over-http": options.oidcOverHttp,
    "drive-away": options.driveAwaySeconds,
    "access-log-interval": options.accessLogIntervalSeconds,
  };
  return readSettings({ flags, environment: {}, flagsAre: "option " });
}

function urlOf({ listen }: Settings, port: number, isTls: boolean): string {
  const anyAddress = listen.host === "::" || listen.host === "0.0.0.0";
  const host = anyAddress ? "127.0.0.1" : listen.host.includes(":") ? `[${listen.host}]` : listen.host;
  return `${isTls ? "https" : "http"}://${host}:${port}`;
}

/**
 * Holdfast as a library: a whole server inside this process.
 *
 *     const server = await createServer({ memory: true });   // or { drives: ["./data"] }
 *     console.log(server.url, server.accessKey, server.secretKey);
 *     await server.close();
 *
 * Several may live in one process, each with its own data, keys, port and metrics. A drive belongs to one server at a time.
 */
import path from "node:path";
import { systemClock } from "./core/clock.ts";
import { HoldfastError } from "./core/errors.ts";
import { silentLog, type Log } from "./core/log.ts";
import { createMetrics, mergeSnapshots } from "./core/metrics.ts";
import { systemRandom } from "./core/random.ts";
import { newRootKey } from "./identity/root_key.ts";
import { markDriveClean } from "./node/drive.ts";
import { systemDisk } from "./node/disk.system.ts";
import { lockDrives } from "./server/lock.ts";
import { prepareServer } from "./server/prepare.ts";
import { serve } from "./server/serving.ts";
import { readSettings, redundancyOf, type Settings } from "./server/settings.ts";
import { openStore } from "./server/store.ts";
import { checkTls, type Tls } from "./server/tls.ts";

export { HoldfastError } from "./core/errors.ts";
export type { Log } from "./core/log.ts";

export type CreateServerOptions = {
  /** Folders to keep data in, made when missing. Either this or `memory`. */
  readonly drives?: readonly string[];
  /** Keep everything in memory; it ends with the server. */
  readonly memory?: boolean;
  /** HOST:PORT; a free port of 127.0.0.1 by default. */
  readonly listen?: string;
  /** Domains whose subdomains are buckets. */
  readonly domain?: readonly string[];
  readonly region?: string;
  /** The bucket behind the plain file API. */
  readonly filesBucket?: string;
  /** How buckets are stored that say nothing else: `replica:n` or `ec:k+m`; by default after the number of drives. */
  readonly redundancy?: string;
  /** Drives that keep a copy of the metadata; by default 3 (where there are as many drives), and 5 from six drives on. */
  readonly metadataCopies?: number;
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
  /** Lets running requests finish (up to 30 seconds), then closes everything. When called again, waits for the same. */
  close(): Promise<void>;
};

/** Errors: HoldfastError with a sentence that says what is wrong with the options, the folder or the port. */
export async function createServer(options: CreateServerOptions = {}): Promise<HoldfastServer> {
  const settings = settingsOf(options);
  const { drives } = settings;
  const log = options.log ?? silentLog;
  const lock = await lockDrives(drives);
  const undo: (() => Promise<unknown>)[] = [async () => lock.release()];
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => (closed ??= runAll(undo));
  try {
    const common = { clock: systemClock, random: systemRandom, log };
    const { "metadata-copies": copies } = settings;
    const wanted = { drives, root: options.credentials, ...(copies === undefined ? {} : { copies }) };
    const prepared = drives.length === 0 ? undefined : await prepareServer({ ...wanted, ...common });
    const root = prepared?.rootKey ?? options.credentials ?? newRootKey();
    const metrics = createMetrics();
    undo.push(() => markClean(drives));
    const store = await openStore({
      drives: prepared?.drives ?? [],
      ...(prepared === undefined ? {} : { metadata: prepared.metadata }),
      root,
      redundancy: redundancyOf(settings),
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
      tls: options.tls,
      domains: settings.domain,
      region: settings.region,
      filesBucket: settings["files-bucket"],
      redundancy: redundancyOf(settings),
      workers: 1,
      metrics,
      allMetrics: async () => mergeSnapshots([await metrics.snapshot()]),
    });
    undo.push(() => serving.stop());
    const { accessKey, secretKey } = root;
    const url = urlOf(settings, serving.port, options.tls !== undefined);
    return { url, port: serving.port, accessKey, secretKey, region: settings.region, close };
  } catch (error) {
    await close().catch(() => undefined);
    throw error;
  }
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
  region: true,
  filesBucket: true,
  redundancy: true,
  metadataCopies: true,
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
    region: options.region,
    "files-bucket": options.filesBucket,
    redundancy: options.redundancy,
    "metadata-copies": options.metadataCopies,
  };
  return readSettings({ flags, environment: {}, flagsAre: "option " });
}

function urlOf({ listen }: Settings, port: number, isTls: boolean): string {
  const anyAddress = listen.host === "::" || listen.host === "0.0.0.0";
  const host = anyAddress ? "127.0.0.1" : listen.host.includes(":") ? `[${listen.host}]` : listen.host;
  return `${isTls ? "https" : "http"}://${host}:${port}`;
}

/**
 * A worker process: store and doors, started and stopped by the supervisor's messages. Signals are the supervisor's
 * business; a worker that loses its session or its store finishes what it can and ends, one that loses its supervisor ends at once.
 */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";
import { systemClock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import { createMetrics, type Metrics, type MetricsSnapshot } from "../core/metrics.ts";
import { systemRandom } from "../core/random.ts";
import { createLog } from "./log.ts";
import type { FromWorker, StartMessage, ToWorker } from "./messages.ts";
import { clusterOf } from "./cluster_settings.ts";
import { readKeyFiles } from "./key_file.ts";
import { keyServiceOf } from "./key_service.ts";
import type { ClusterOptions } from "./membership.ts";
import { portsAreShared } from "./port.ts";
import { prepareServer, type Prepared } from "./prepare.ts";
import { prepareNode } from "./prepare_node.ts";
import { serve, type Serving } from "./serving.ts";
import { givenRoot, lifecycleDayMs, redundancyOf, type Settings } from "./settings.ts";
import { metadataFailed, openStore, type Store } from "./store.ts";
import { checkTls } from "./tls.ts";

const collectMsMax = 5_000;
/** What the store gets to close, beyond what running requests get. */
const closeMsMax = 10_000;

function tell(message: FromWorker): void {
  // Without a supervisor there is nobody to tell; the disconnect ends this process.
  if (process.connected) process.send?.(message);
}

/**
 * Ends this process whatever its threads do. process.exit waits for those of the thread pool, and a commit of LMDB waits there for
 * this one: the process would stay for ever, with its socket, and its supervisor would not know.
 */
function endAtOnce(): void {
  process.kill(process.pid, "SIGKILL");
}

class Worker {
  readonly #metrics: Metrics = createMetrics();
  /** Questions for all workers' metrics that the supervisor has not answered yet. */
  readonly #asked = new Map<number, (snapshots: readonly MetricsSnapshot[]) => void>();
  #questions = 0;
  #log: Log = createLog("info");
  #store: Store | undefined;
  #serving: Serving | undefined;
  #ending: Promise<void> | undefined;

  take(message: ToWorker): void {
    switch (message.kind) {
      case "start":
        this.#start(message).catch((error: unknown) => this.#fail(error));
        break;
      case "fence":
        void this.#fence(message.dead);
        break;
      case "stop":
        this.end(0);
        break;
      case "measure":
        void this.#metrics.snapshot().then((snapshot) => tell({ kind: "snapshot", id: message.id, snapshot }));
        break;
      case "measured":
        this.#asked.get(message.id)?.(message.snapshots);
        break;
    }
  }

  async #start({ settings, prepared: known, run, name, dead, givenUpDrives }: StartMessage): Promise<void> {
    this.#log = createLog(settings["log-level"]);
    const common = { clock: systemClock, random: systemRandom, log: this.#log, metrics: this.#metrics };
    const tls = readTls(settings);
    const masterKeys = readKeyFiles(settings["encryption-key-file"]);
    const keyService = keyServiceOf(settings, common);
    const cluster = clusterOf(settings, run);
    const { rootKey: root, sweepDue, ...prepared } = known ?? (await this.#prepare(settings, cluster));
    const digestThreads = Math.max(1, Math.floor(availableParallelism() / settings.workers));
    this.#store = await openStore({
      ...common,
      ...prepared,
      name,
      givenUpDrives,
      onDriveFailed: (drive) => tell({ kind: "drive failed", drive }),
      ...(cluster && { cluster }),
      root,
      redundancy: cluster === undefined ? redundancyOf(settings) : settings.redundancy,
      reducedRedundancy: settings["reduced-redundancy"],
      masterKeys,
      keyService,
      driveAwayMs: 1_000 * settings["drive-away"],
      backgroundBytesPerSecond: settings["background-rate"] * 2 ** 20,
      lifecycleDayMs: lifecycleDayMs(settings),
      digestThreads,
      sweepAll: sweepDue,
    });
    void this.#store.ended.then((why) => {
      this.#log.error({ why }, "This worker can write no more; it ends and is started again.");
      if (why === metadataFailed) tell({ kind: "metadata failed" });
      this.end(1);
    });
    await this.#fence(dead);
    this.#serving = await serve({
      ...common,
      store: this.#store,
      listen: settings.listen,
      portIsShared: portsAreShared,
      tls,
      domains: settings.domain,
      websiteDomains: settings["website-domain"],
      region: settings.region,
      filesBucket: settings["files-bucket"],
      workers: settings.workers,
      plainCustomerKeys: settings["customer-keys-over-http"],
      plainOidc: settings["oidc-over-http"],
      accessLogIntervalMs: 1_000 * settings["access-log-interval"],
      ...(cluster && { clusterSecret: cluster.secret }),
      snapshots: () => this.#snapshots(),
    });
    tell({ kind: "listening", port: this.#serving.port });
  }

  /** What cannot be done now is done by the next worker that starts, or in the end by the fence job. */
  async #fence(dead: readonly string[]): Promise<void> {
    if (this.#store === undefined || dead.length === 0) return;
    try {
      await this.#store.fenceDead(dead);
      tell({ kind: "fenced", dead });
    } catch (error) {
      this.#log.warn({ err: error }, "The session of a worker that died could not be fenced.");
    }
  }

  async #prepare(settings: Settings, cluster: ClusterOptions | undefined): Promise<Prepared> {
    const { drives, metadata: engine, "metadata-copies": copies } = settings;
    const options = { drives, root: givenRoot(settings), clock: systemClock, random: systemRandom, log: this.#log };
    const prepared =
      cluster === undefined || engine === undefined
        ? await prepareServer({ ...options, ...(copies === undefined ? {} : { copies }) })
        : await prepareNode({ ...options, engine, own: cluster.own });
    tell({ kind: "prepared", prepared });
    return prepared;
  }

  /** Asks the supervisor for everybody's; without an answer in time this worker's own must do. */
  async #snapshots(): Promise<readonly MetricsSnapshot[]> {
    const id = ++this.#questions;
    const answered = new AbortController();
    const answer = new Promise<readonly MetricsSnapshot[]>((resolve) => this.#asked.set(id, resolve));
    tell({ kind: "collect", id });
    const late = systemClock.sleep(collectMsMax, answered.signal).then(async () => [await this.#metrics.snapshot()]);
    const snapshots = await Promise.race([answer, late]);
    answered.abort();
    this.#asked.delete(id);
    return snapshots;
  }

  /** What is left of this process cannot be trusted: its session is fenced by whoever is there. */
  crash(error: unknown): void {
    this.#log.error({ err: error }, "An error that nobody handled ends this worker.");
    endAtOnce();
  }

  #fail(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.#log.debug({ err: error }, "Starting failed.");
    tell({ kind: "failed", message });
    this.end(1);
  }

  /**
   * Stops serving, closes the store, ends the process, within bounds: the supervisor starts another one only when this one has ended,
   * which a drive that hangs would keep it from. The first call decides the exit status.
   */
  end(status: number): void {
    if (this.#ending === undefined) setTimeout(() => this.#giveUp(), limits.gracefulStopMsMax + closeMsMax).unref();
    this.#ending ??= this.#close().then(
      () => process.exit(status),
      (error: unknown) => {
        this.#log.error({ err: error }, "Stopping failed.");
        endAtOnce();
      },
    );
  }

  /** As after a crash: the session is fenced, and what was not acknowledged is reclaimed. */
  #giveUp(): void {
    this.#log.error({}, "The store does not close; this worker ends all the same.");
    endAtOnce();
  }

  async #close(): Promise<void> {
    await this.#serving?.stop();
    await this.#store?.close();
  }
}

function readTls(settings: Settings) {
  const { "tls-cert": cert, "tls-key": key } = settings;
  if (cert === undefined || key === undefined) return undefined;
  const tls = { cert: readPem(cert), key: readPem(key) };
  checkTls(tls, `The TLS files ${cert} and ${key}`);
  return tls;
}

function readPem(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new HoldfastError("invalid_argument", `The TLS file ${file} cannot be read: ${(error as Error).message}`);
  }
}

/**
 * How much V8 lets the heap grow over what the last full collection left, buffers outside it included, before it begins the next
 * one. By itself it allows so little that the buffers which come and go with bodies set off one after the other (decision 0004).
 */
const heapGrowingPercent = 300;

setFlagsFromString(`--heap-growing-percent=${heapGrowingPercent}`);
const worker = new Worker();
process.on("uncaughtException", (error) => worker.crash(error));
process.on("message", (message: ToWorker) => worker.take(message));
// The drives' locks died with the supervisor, and another server may take them at any moment: nothing more is done.
process.on("disconnect", endAtOnce);
// A terminal's Ctrl-C goes to every process; the supervisor's `stop` message is what counts.
process.on("SIGINT", () => undefined);
process.on("SIGTERM", () => worker.end(0));
tell({ kind: "awake" });

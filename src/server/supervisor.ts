/**
 * The supervisor: holds the drives' locks, starts the workers, starts those again that die, hands metrics round, and
 * stops everything in order. It opens no store and serves no request, so it stays small and has little to die of.
 *
 * The first worker prepares the drives (prepare.ts) before the others are started. Workers share the port (http.ts
 * says how). A drive that fails one worker after another is not tried any more (drive_failures.ts). A worker's death is known here first, so its session is fenced from here at once. What fails before the first worker listens ends the server; what fails later is tried again, ever slower.
 */
import cluster, { type Worker } from "node:cluster";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { MetricsSnapshot } from "../core/metrics.ts";
import type { RootKey } from "../identity/root_key.ts";
import { systemDisk } from "../node/disk.system.ts";
import { markDriveClean } from "../node/drive.ts";
import type { DriveLock } from "../node/drive_lock.ts";
import { DriveFailures } from "./drive_failures.ts";
import { lockDrives } from "./lock.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import { choosePort, type Chosen } from "./port.ts";
import type { Prepared } from "./prepare.ts";
import { newRun, sessionName } from "./run.ts";
import type { Settings } from "./settings.ts";

type StartedWorker = { readonly port: number; readonly prepared: Prepared };
export type Started = { readonly port: number; readonly rootKey: RootKey; readonly workers: number };

const restartMsMin = 200;
const restartMsMax = 10_000;
/** A worker that ran this long has not failed to start. */
const steadyMs = 60_000;
/** Beyond the workers' own bound, before they are killed. */
const killGraceMs = 5_000;
const measureMsMax = 2_000;
/** What workers get to finish requests before the drives are prepared again. */
const anewGraceMs = 2_000;
/** Workers that did not start in a row, after which the drives are prepared again. */
const failuresMax = 3;
/** A page of a mapped file that could not be read ends a process so. */
const faultSignals: readonly string[] = ["SIGBUS", "SIGSEGV"];

type Collecting = { readonly snapshots: MetricsSnapshot[]; waiting: Set<number>; done(): void };

export class Supervisor {
  #settings: Settings;
  readonly #log: Log;
  readonly #run = newRun();
  readonly #collecting = new Map<number, Collecting>();
  #collections = 0;
  #lock: DriveLock | undefined;
  /** What the first worker found out for all. */
  #prepared: Prepared | undefined;
  /** All workers are being ended, and the drives are prepared again. */
  #isPreparingAnew = false;
  /** Names of workers that died, until another worker says that their sessions are fenced. */
  readonly #dead = new Set<string>();
  readonly #driveFailures = new DriveFailures();
  /** Workers that are about to be started again. */
  readonly #revivals = new Set<NodeJS.Timeout>();
  #isStopping = false;
  #failuresInARow = 0;

  constructor(settings: Settings, log: Log) {
    this.#settings = settings;
    this.#log = log;
  }

  /** Resolves when every worker listens. Errors: a sentence for the operator; nothing is left running then. */
  async start(): Promise<Started> {
    const { drives, metadata } = this.#settings;
    this.#lock = await lockDrives(drives, metadata === undefined ? "embedded" : "elsewhere");
    let port: Chosen;
    try {
      port = await choosePort(this.#settings.listen);
    } catch (error) {
      this.#lock.release();
      throw error;
    }
    this.#settings = { ...this.#settings, listen: port.listen };
    const ending = import.meta.url.endsWith(".ts") ? "ts" : "js";
    cluster.setupPrimary({
      exec: fileURLToPath(new URL(`./worker.${ending}`, import.meta.url)),
      args: [],
      serialization: "advanced",
    });
    try {
      const first = await this.#startFirst(port);
      this.#prepared = first.prepared;
      const others = Array.from({ length: this.#settings.workers - 1 }, () => this.#startWorker(this.#prepared));
      await Promise.all(others);
      return { port: first.port, rootKey: first.prepared.rootKey, workers: this.#settings.workers };
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async #startFirst(port: Chosen): Promise<StartedWorker> {
    try {
      return await this.#startWorker(undefined);
    } finally {
      await port.release();
    }
  }

  #workers(): Worker[] {
    // A worker that has ended stays in this list until its channel is closed too.
    return Object.values(cluster.workers ?? {}).filter((worker): worker is Worker => worker?.isDead() === false);
  }

  /** Resolves when the worker listens. With `known` undefined it prepares the drives first and tells what it found. */
  #startWorker(known: Prepared | undefined): Promise<StartedWorker> {
    return new Promise((resolve, reject) => {
      const worker = cluster.fork();
      const startedMs = performance.now();
      const run = this.#run;
      const name = sessionName(run, `worker ${worker.id}, pid ${worker.process.pid}`);
      let prepared = known;
      let isListening = false;
      worker.on("error", (error) => {
        // What is written to a worker that has just died fails too: its exit is on its way, and is what is acted on.
        if (worker.process.pid !== undefined) return;
        reject(new HoldfastError("unavailable", `A worker could not be started: ${error.message}`, { cause: error }));
      });
      let why = "A worker ended while it was starting.";
      worker.on("message", (message: FromWorker) => {
        if (message.kind === "awake") {
          const { givenUp: givenUpDrives } = this.#driveFailures;
          const facts = { settings: this.#settings, prepared: known, run, name, dead: [...this.#dead], givenUpDrives };
          this.#send(worker, { kind: "start", ...facts });
        } else if (message.kind === "fenced") for (const dead of message.dead) this.#dead.delete(dead);
        else if (message.kind === "prepared") prepared = { ...message.prepared, sweepDue: false };
        else if (message.kind === "drive failed") this.#noteDrive(message.drive, startedMs);
        else if (message.kind === "metadata failed") this.#prepareAnew("A worker could not write the metadata.");
        else if (message.kind === "failed") why = message.message;
        else if (message.kind === "listening") {
          isListening = true;
          resolve({ port: message.port, prepared: prepared! });
        } else this.#measure(worker, message);
      });
      worker.once("exit", (code, signal) => {
        this.#forget(worker.id);
        this.#bury(name);
        // What it said last may still be on its way: the channel is read to its end first.
        const refuse = (): void => reject(new HoldfastError("unavailable", why));
        if (!isListening) return worker.isConnected() ? void worker.once("disconnect", refuse) : refuse();
        if (performance.now() - startedMs > steadyMs) this.#failuresInARow = 0;
        if (signal !== null && faultSignals.includes(signal)) this.#prepareAnew(`A worker ended with ${signal}.`);
        this.#revive(`Worker ${worker.process.pid} ended (${signal ?? `status ${code}`})`);
      });
    });
  }

  /**
   * Has a dead worker's session fenced: by the others now, and, should none of them come to it, by each worker that starts
   * until one says it is done. Should the supervisor itself die, the next start fences all sessions.
   */
  #bury(name: string): void {
    this.#dead.add(name);
    if (this.#isStopping) return;
    for (const worker of this.#workers()) this.#send(worker, { kind: "fence", dead: [...this.#dead] });
  }

  #noteDrive(drive: string, workerStartedMs: number): void {
    const failure = { drive, workerStartedMs, nowMs: performance.now() };
    if (this.#driveFailures.note(failure, this.#prepared?.drives ?? this.#settings.drives))
      this.#log.error({ drive }, `The drive ${drive} fails again and again: it is done without until a restart.`);
  }

  /** Starts a worker in place of one that died, after a pause that doubles with each failure in a row. */
  #revive(what: string): void {
    if (this.#isStopping || this.#isPreparingAnew) return;
    const pauseMs = Math.min(restartMsMax, restartMsMin * 2 ** this.#failuresInARow++);
    this.#log.warn({ pauseMs }, `${what}; another is started in its place.`);
    const revival = setTimeout(() => {
      this.#revivals.delete(revival);
      this.#startWorker(this.#prepared).then(
        () => this.#log.info({}, "A worker was started again."),
        (error: unknown) => {
          const why = `A worker could not start: ${(error as Error).message}`;
          if (this.#failuresInARow >= failuresMax) this.#prepareAnew(why);
          this.#revive(why);
        },
      );
    }, pauseMs);
    this.#revivals.add(revival);
  }

  /**
   * Where the metadata is in several copies, one that fails under its reader is found out by a new start, which takes
   * another: every worker is ended, and the first one that comes back prepares the drives again.
   */
  #prepareAnew(why: string): void {
    if (this.#isStopping || this.#isPreparingAnew || this.#prepared?.metadata.kind !== "copies") return;
    this.#isPreparingAnew = true;
    this.#log.error({}, `${why} All workers are started again, from the copies of the metadata that are good.`);
    for (const revival of this.#revivals) clearTimeout(revival);
    this.#revivals.clear();
    void this.#startAllAgain();
  }

  async #startAllAgain(): Promise<void> {
    for (let failures = 0; !this.#isStopping; failures++) {
      await this.#endWorkers(anewGraceMs);
      if (this.#isStopping) return;
      try {
        this.#driveFailures.clear();
        const first = await this.#startWorker(undefined);
        this.#prepared = first.prepared;
        break;
      } catch (error) {
        this.#log.error({}, `The drives could not be prepared: ${(error as Error).message}`);
        await new Promise((resolve) => setTimeout(resolve, Math.min(restartMsMax, restartMsMin * 2 ** failures)));
      }
    }
    this.#isPreparingAnew = false;
    for (let count = this.#workers().length; count < this.#settings.workers; count++) this.#revive("All workers ended");
  }

  /** Lets the workers finish what they can, then kills them. */
  async #endWorkers(graceMs: number): Promise<void> {
    const workers = this.#workers();
    const gone = workers.map((worker) => new Promise<void>((resolve) => void worker.once("exit", () => resolve())));
    const timer = setTimeout(() => this.kill(), graceMs);
    for (const worker of workers) this.#send(worker, { kind: "stop" });
    await Promise.all(gone);
    clearTimeout(timer);
  }

  #send(worker: Worker, message: ToWorker): void {
    if (worker.isConnected()) worker.send(message);
  }

  /** Passes metrics round: a worker that was asked for them asks here, and here everybody is asked. */
  #measure(asker: Worker, message: FromWorker): void {
    if (message.kind === "snapshot") {
      const collecting = this.#collecting.get(message.id);
      if (collecting?.waiting.delete(asker.id) !== true) return;
      collecting.snapshots.push(message.snapshot);
      if (collecting.waiting.size === 0) collecting.done();
    } else if (message.kind === "collect") {
      const id = ++this.#collections;
      const workers = this.#workers().filter((worker) => worker.isConnected());
      const snapshots: MetricsSnapshot[] = [];
      const done = (): void => {
        clearTimeout(timer);
        this.#collecting.delete(id);
        this.#send(asker, { kind: "measured", id: message.id, snapshots });
      };
      const timer = setTimeout(done, measureMsMax);
      this.#collecting.set(id, { snapshots, waiting: new Set(workers.map((worker) => worker.id)), done });
      for (const worker of workers) this.#send(worker, { kind: "measure", id });
    }
  }

  /** A dead worker sends no metrics. */
  #forget(workerId: number): void {
    for (const collecting of this.#collecting.values()) {
      if (collecting.waiting.delete(workerId) && collecting.waiting.size === 0) collecting.done();
    }
  }

  /** Lets the workers finish their requests, within bounds, then notes that the drives were closed, and lets them go. */
  async stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    for (const revival of this.#revivals) clearTimeout(revival);
    await this.#endWorkers(limits.gracefulStopMsMax + killGraceMs);
    const { givenUp } = this.#driveFailures;
    // A start that failed may not have come to all of them.
    for (const drive of this.#prepared?.drives ?? []) if (!givenUp.includes(drive)) await this.#markClean(drive);
    this.#lock?.release();
  }

  /** One that fails is not marked: its index is built anew at the next start. */
  async #markClean(drive: string): Promise<void> {
    try {
      await markDriveClean(systemDisk("/"), drive);
    } catch (error) {
      this.#log.warn({ err: error }, `It could not be noted that the drive ${drive} was closed.`);
    }
  }

  /** Ends every worker at once. What was acknowledged is safe, as ever. */
  kill(): void {
    for (const worker of this.#workers()) worker.process.kill("SIGKILL");
  }
}

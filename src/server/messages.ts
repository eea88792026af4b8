/** What supervisor and workers say to each other (node:cluster's channel, structured clone). */
import type { MetricsSnapshot } from "../core/metrics.ts";
import type { Prepared } from "./prepare.ts";
import type { Settings } from "./settings.ts";

/** `prepared` undefined: this worker comes first and prepares the drives before it opens them. */
export type StartMessage = {
  readonly kind: "start";
  readonly settings: Settings;
  readonly prepared: Prepared | undefined;
  /** Of the supervisor. */
  readonly run: string;
  /** What the worker's session is called. */
  readonly name: string;
  /** Names of workers that died and whose sessions may still stand. */
  readonly dead: readonly string[];
  /** Folders of drives that failed one worker after another: they are not tried. */
  readonly givenUpDrives: readonly string[];
};

export type ToWorker =
  | StartMessage
  | { readonly kind: "stop" }
  /** These workers died: fence their sessions. */
  | { readonly kind: "fence"; readonly dead: readonly string[] }
  /** Send your metrics. */
  | { readonly kind: "measure"; readonly id: number }
  /** All workers' metrics, which this worker asked for. */
  | { readonly kind: "measured"; readonly id: number; readonly snapshots: readonly MetricsSnapshot[] };

export type FromWorker =
  /** The process runs and waits for `start`. */
  | { readonly kind: "awake" }
  | { readonly kind: "prepared"; readonly prepared: Prepared }
  | { readonly kind: "listening"; readonly port: number }
  /** The metadata can be written no more by this process, which ends. */
  | { readonly kind: "metadata failed" }
  /** This drive cannot be opened, and is done without; or its index failed, and the process ends. */
  | { readonly kind: "drive failed"; readonly drive: string }
  /** Starting failed; the worker ends. `message` is a sentence for the operator. */
  | { readonly kind: "failed"; readonly message: string }
  /** No session of these dead workers stands any more. */
  | { readonly kind: "fenced"; readonly dead: readonly string[] }
  /** Send me all workers' metrics. */
  | { readonly kind: "collect"; readonly id: number }
  | { readonly kind: "snapshot"; readonly id: number; readonly snapshot: MetricsSnapshot };

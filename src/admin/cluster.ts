/**
 * The whole store at a look: nodes and zones, drives, what is stored how, what lacks redundancy, and long work under way. Every
 * part of it is bounded, and as fresh as what the process that answers knows: some seconds.
 */
import type { DestinationView } from "../events/events.ts";
import type { StoreUsage } from "../object/object.ts";
import type { DriveView, WorkFacts } from "./admin.ts";
import { targetJson } from "./event_targets.ts";

export type NodeFacts = {
  readonly url: string;
  readonly zone: string;
  /** `away`: it does not say that it is there; `unreachable`: it does, and does not answer this one. */
  readonly state: "up" | "away" | "unreachable";
  /** It is the one that answers. */
  readonly isOwn: boolean;
  readonly version: string;
  readonly startedMs: number;
  readonly workers: number;
  readonly drives: number;
};

export type BacklogFacts = {
  readonly sessions: number;
  readonly repairPages: number;
  readonly repairChunks: number;
  readonly plannedPages: number;
  readonly relocations: number;
  readonly strays: number;
  readonly trash: number;
};

export type ClusterFacts = {
  readonly version: string;
  readonly startedMs: number;
  readonly workers: number;
  readonly redundancy: string;
  /** Of the storage class REDUCED_REDUNDANCY. */
  readonly reducedRedundancy: string;
  /** None on a single machine. */
  readonly nodes: readonly NodeFacts[];
  readonly drives: readonly DriveView[];
  readonly usage: StoreUsage;
  /** Counts of rows; each ends at 2,000. */
  readonly backlog: BacklogFacts;
  readonly work: readonly WorkFacts[];
  readonly eventTargets: readonly DestinationView[];
};

/** As it is answered. */
export function clusterJson({ work, nodes, eventTargets, ...facts }: ClusterFacts): object {
  // Any key may ask: addresses may hold what only the root key is to see.
  const targets = eventTargets.map((target) => targetJson({ ...target, url: "", headers: [] }));
  return {
    ...facts,
    nodes,
    eventTargets: targets,
    zones: zonesOf(nodes),
    work: work.map((each) => ({ ...each, endsMs: endsMs(each) })),
  };
}

function zonesOf(nodes: readonly NodeFacts[]): object[] {
  return [...Map.groupBy(nodes, ({ zone }) => zone)].map(([zone, members]) => ({
    zone,
    nodes: members.length,
    up: members.filter(({ state }) => state === "up").length,
  }));
}

/** At the pace so far; null before there is one. */
function endsMs({ startedMs, atMs, doneBytes, leftBytes }: WorkFacts): number | null {
  if (doneBytes === 0 || atMs <= startedMs) return null;
  return Math.round(atMs + (leftBytes * (atMs - startedMs)) / doneBytes);
}

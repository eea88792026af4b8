/** What `holdfast status` prints, as lines: the answer of `/_/admin/cluster` for people. Pure. */
import { counted, humanBytes } from "./connection.ts";

export type Drive = {
  readonly id: string;
  readonly path: string;
  readonly state: string;
  readonly membership: string;
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly liveBytes: number;
  /** Empty on a single machine. */
  readonly node: string;
};

type Node = {
  readonly url: string;
  readonly zone: string;
  readonly state: string;
  readonly isOwn: boolean;
  readonly version: string;
  readonly startedMs: number;
  readonly workers: number;
};

type Work = {
  readonly name: string;
  readonly doneBytes: number;
  readonly leftBytes: number;
  readonly atMs: number;
  readonly endsMs: number | null;
};

type Level = {
  readonly redundancy: string;
  readonly buckets: number;
  readonly objects: number;
  /** Noncurrent ones and delete markers. */
  readonly versions: number;
  readonly bytes: number;
};

export type EventTarget = {
  readonly name: string;
  readonly waiting: number;
  readonly dead: number;
  readonly lost: number;
  readonly isFull: boolean;
  readonly trouble: { readonly since: string; readonly message: string } | null;
};

export type Status = {
  readonly version: string;
  readonly startedMs: number;
  readonly workers: number;
  readonly redundancy: string;
  /** A server of an earlier version does not say. */
  readonly reducedRedundancy?: string;
  readonly nodes: readonly Node[];
  readonly drives: readonly Drive[];
  readonly usage: { readonly levels: readonly Level[]; readonly isWhole: boolean };
  readonly backlog: { readonly sessions: number; readonly repairPages: number; readonly repairChunks: number };
  readonly work: readonly Work[];
  readonly eventTargets: readonly EventTarget[];
};

/** Where the server stops counting rows. */
const countedMax = 2_000;

export function statusLines(status: Status, nowMs: number): string[] {
  const { version, workers, redundancy, reducedRedundancy: reduced, nodes, drives } = status;
  const up = duration((nowMs - status.startedMs) / 1_000);
  const differs = reduced !== undefined && reduced !== redundancy;
  const head = `Holdfast ${version}, ${counted(workers, "worker")}, up ${up}, new objects as ${redundancy}${differs ? `, reduced ${reduced}` : ""}`;
  return [
    head,
    "",
    ...(nodes.length === 0 ? driveLines(drives) : clusterLines(status, nowMs)),
    "",
    ...usageLines(status),
    ...redundancyLines(status),
    ...status.eventTargets.map(targetLine),
    ...status.work.map(workLine),
  ];
}

// --- nodes and drives ---

function clusterLines({ nodes, drives, backlog }: Status, nowMs: number): string[] {
  const zones = Map.groupBy(nodes, ({ zone }) => zone);
  const isHere = ({ state }: Node): boolean => state === "up";
  const missing = nodes.filter((node) => !isHere(node)).length;
  const lines = [
    `${counted(nodes.length, "node")} in ${counted(zones.size, "zone")}, ${missing === 0 ? "all up" : `${missing} not up`}, ` +
      `${counted(drives.length, "drive")}, ${counted(backlog.sessions, "session")}`,
  ];
  for (const [zone, members] of [...zones].toSorted(([left], [right]) => (left < right ? -1 : 1))) {
    lines.push("", `zone ${zone === "" ? "(none named)" : zone}`);
    for (const node of members) lines.push(`  ${nodeLine(node, nowMs)}`, ...ofNode(drives, node.url));
  }
  const homeless = drives.filter(({ node }) => !nodes.some(({ url }) => url === node));
  if (homeless.length > 0) lines.push("", "of nodes that are not known", ...driveLines(homeless).map(indented));
  return lines;
}

function ofNode(drives: readonly Drive[], url: string): string[] {
  return driveLines(drives.filter(({ node }) => node === url)).map(indented);
}

function indented(line: string): string {
  return `    ${line}`;
}

function nodeLine({ url, state, version, workers, startedMs, isOwn }: Node, nowMs: number): string {
  const facts = [url, state, version, counted(workers, "worker"), `up ${duration((nowMs - startedMs) / 1_000)}`];
  if (state !== "up") facts.pop();
  return `${facts.join("  ")}${isOwn ? "  (asked)" : ""}`;
}

export function driveLines(drives: readonly Drive[]): string[] {
  const rows = drives.map((drive) => [
    drive.id,
    drive.membership === "active" ? drive.state : `${drive.state}, ${drive.membership}`,
    drive.state === "missing" ? "" : `${humanBytes(drive.liveBytes)} stored`,
    drive.state === "missing" ? "" : `${humanBytes(drive.freeBytes)} free of ${humanBytes(drive.totalBytes)}`,
    drive.path,
  ]);
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map((row) => row[column]!.length)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  "));
}

// --- what is stored ---

function usageLines({ usage: { levels, isWhole } }: Status): string[] {
  const sum = (of: (level: Level) => number): number => levels.reduce((total, level) => total + of(level), 0);
  const versions = sum((level) => level.versions);
  const objects =
    counted(
      sum((level) => level.objects),
      "object",
    ) + (versions === 0 ? "" : ` and ${counted(versions, "earlier version")}`);
  const whole = `${objects}, ${humanBytes(sum((level) => level.bytes))}, in ${counted(
    sum((level) => level.buckets),
    "bucket",
  )}`;
  const head = isWhole ? whole : `${whole}; there are more`;
  if (levels.length < 2) return [head];
  const sorted = levels.toSorted((left, right) => right.bytes - left.bytes);
  return [
    head,
    ...sorted.map((level) => `  ${level.redundancy}: ${counted(level.objects, "object")}, ${humanBytes(level.bytes)}`),
  ];
}

/** What is known to lack shards: noted chunks, and drives that are not there. */
function redundancyLines({ drives, backlog, work }: Status): string[] {
  const lines: string[] = [];
  const { repairPages, repairChunks } = backlog;
  const atLeast = repairPages >= countedMax ? "at least " : "";
  if (repairChunks > 0)
    lines.push(
      `${atLeast}${counted(repairChunks, "chunk")} noted that may lack shards or have damaged ones; to be mended`,
    );
  const lost = drives.filter(({ state }) => state === "missing" || state === "failed").length;
  const isRepairing = work.some(({ name }) => name.startsWith("repair"));
  if (lost > 0 && !isRepairing)
    lines.push(
      `what lies on ${counted(lost, "drive")} that cannot be used is missing; it is made anew when the drive is given up`,
    );
  if (lines.length === 0 && lost === 0) lines.push("no chunk is known to lack a shard");
  return lines;
}

// --- events ---

export function targetLine({ name, waiting, dead, lost, isFull, trouble }: EventTarget): string {
  const facts = [`event target ${name}: ${counted(waiting, "event")} waiting`];
  if (dead > 0) facts.push(`${dead} dead`);
  if (lost > 0) facts.push(`${lost} lost`);
  if (isFull) facts.push("FULL, new events are lost");
  if (trouble !== null) facts.push(`in trouble since ${trouble.since}: ${trouble.message}`);
  return facts.join(", ");
}

// --- work ---

function workLine({ name, doneBytes, leftBytes, atMs, endsMs }: Work): string {
  const end = endsMs === null ? "" : `, about ${duration((endsMs - atMs) / 1_000)} left`;
  return `${name}: ${humanBytes(doneBytes)} done, ${humanBytes(leftBytes)} to do${end}`;
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  return seconds < 36 * 3_600 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} days`;
}

/**
 * What is done once before the workers of a cluster's node start, while its drives are locked. Other nodes may run meanwhile,
 * and others may start: nothing here waits for them, and what all of them could do is done in transactions.
 *
 * Whose processes are dead? See isDeadRun: their sessions are fenced at once. All others are left to the silence of their
 * heartbeats.
 */
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Credentials } from "../identity/identity.ts";
import { checkRoot, keptRootKey, newRootKey, type RootKey } from "../identity/root_key.ts";
import { fenceDead } from "../jobs/jobs.ts";
import type { Kv } from "../kv/kv.ts";
import { transact } from "../kv/transact.ts";
import { refuseCopying } from "../meta/copying.ts";
import { nodeKey } from "../meta/keys.ts";
import { encodeNode, readNodeRows, type ClusterNodeRow, type PublishedDrive } from "../meta/nodes.ts";
import { foundStore } from "../meta/store.ts";
import type { Disk } from "../node/disk.ts";
import { systemDisk } from "../node/disk.system.ts";
import type { PreparedDrive } from "../node/drive.ts";
import { openEngine } from "./engine.ts";
import { setMetadataAside } from "./metadata_marks.ts";
import { noteDrives, prepareDrives, sweepReplayed } from "./prepare_drives.ts";
import type { Prepared } from "./prepare.ts";
import { isOfRun } from "./run.ts";
import { markStore, refuseForeign } from "./whose_drives.ts";
import type { OwnNode } from "../cluster/publish.ts";

export type PrepareNodeOptions = {
  /** Absolute paths; not empty. */
  readonly drives: readonly string[];
  /** Address of the metadata store. */
  readonly engine: string;
  readonly own: OwnNode;
  readonly root: Credentials | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

/** Errors: a sentence for the operator. */
export async function prepareNode(options: PrepareNodeOptions): Promise<Prepared> {
  const { engine, own, clock, log } = options;
  const disk = systemDisk("/");
  const kv = await openEngine(engine, { log });
  try {
    await refuseCopying(kv);
    const usable = await prepareDrives(options, disk);
    await refuseForeign(kv, disk, usable);
    const rootKey = await rootKeyOf(kv, options);
    await markStore(kv, disk, usable);
    await noteDrives(kv, usable, { node: own.url, disk, clock, log });
    await takePlace(kv, usable, { ...options, disk });
    await sweepReplayed(kv, usable, disk);
    for (const drive of usable) await setMetadataAside(disk, drive.path);
    return {
      rootKey,
      drives: usable.map((drive) => drive.path),
      driveIds: usable.map(({ id }) => id),
      metadata: { kind: "engine", url: engine },
      sweepDue: usable.some(({ sweepDue }) => sweepDue),
    };
  } finally {
    await kv.close();
  }
}

const keptWhere = "the metadata store";

async function rootKeyOf(kv: Kv, { root: given, drives, random }: PrepareNodeOptions): Promise<RootKey> {
  if (given !== undefined) {
    checkRoot(given);
    await foundStore(kv, random, () => undefined);
    return { ...given, from: "given", file: keptWhere, isExposed: false };
  }
  // A store that was on these drives alone keeps its key.
  const before = await keptRootKey(drives);
  const { store, isRootNew } = await foundStore(kv, random, () => before ?? newRootKey(random));
  const { accessKey, secretKey } = store.root!;
  const isMade = isRootNew && before === undefined;
  return { accessKey, secretKey, from: isMade ? "made" : "kept", file: keptWhere, isExposed: false };
}

/**
 * The node's row, in place of those of runs that are dead, whose sessions are fenced. They are fenced first: a start that is cut
 * off in between would have forgotten which runs they were of.
 */
export async function takePlace(
  kv: Kv,
  usable: readonly PreparedDrive[],
  { own, disk, log }: Pick<PrepareNodeOptions, "own" | "log"> & { readonly disk: Disk },
): Promise<void> {
  const here = new Set(usable.map(({ id }) => id));
  const { url, ...facts } = own;
  const { nodes, unread } = await readNodeRows(kv);
  // Whose row cannot be read may live.
  if (unread.some((row) => row.url === url)) throw newerThanThis(url);
  const dead = nodes.filter((row) => isDeadRun(row, url, here));
  const isDead = (name: string): boolean => dead.some(({ run }) => isOfRun(name, run));
  const served = [...new Set([...here, ...dead.flatMap(({ drives }) => drives.map(({ id }) => id))])];
  const fenced = dead.length === 0 ? 0 : await fenceDead(kv, isDead, { log, served });
  if (fenced > 0) log.info({ count: fenced }, "Sessions of an earlier run of this node were fenced.");
  const row = encodeNode({ ...facts, drives: await firstSeen(usable, disk) });
  await transact(kv, async (tx) => {
    // A commit that was given up, with its start, and is carried out later must not take the place of a later run.
    await tx.get([nodeKey(url)]);
    tx.put(nodeKey(url), row);
    for (const node of dead) if (node.url !== url) tx.delete(nodeKey(node.url));
  });
}

function newerThanThis(url: string): HoldfastError {
  const why = `What the metadata store has of this node, ${url}, cannot be read`;
  return new HoldfastError("invalid_argument", `${why}: it was written by another version. Start that or a newer one.`);
}

/** A run holds the locks of all its drives or of none. At its own address one drive is enough: others may be lost meanwhile. */
function isDeadRun({ url, drives }: ClusterNodeRow, own: string, here: ReadonlySet<DriveId>): boolean {
  const isHere = ({ id }: PublishedDrive): boolean => here.has(id);
  return url === own ? drives.some(isHere) : drives.length > 0 && drives.every(isHere);
}

/** Until a worker looks at them. */
async function firstSeen(usable: readonly PreparedDrive[], disk: Disk): Promise<PublishedDrive[]> {
  const seen: PublishedDrive[] = [];
  for (const { id, path } of usable) {
    const { totalBytes, freeBytes } = await disk.space(path);
    seen.push({ id, state: "up", totalBytes, freeBytes, liveBytes: 0, deadBytes: 0, segments: 0 });
  }
  return seen;
}

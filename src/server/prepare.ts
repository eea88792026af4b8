/**
 * What is done once before a server's workers start, by one process, while the drives are locked: drives are formatted or
 * their indexes brought up to date, drives of another store are refused, the copies of the metadata are brought to one state,
 * the drives that are there are compared with those that the store knows, sessions of earlier runs are fenced (their processes
 * are dead: they held the lock), and the root key is found or made.
 *
 * A drive that fails (its device reports errors) is left out, said loudly, where the metadata can be had without it.
 */
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { defaultRedundancy } from "../core/redundancy.ts";
import type { Credentials } from "../identity/identity.ts";
import { rootKey, type RootKey } from "../identity/root_key.ts";
import { fenceOthers, sweepSuspects } from "../jobs/jobs.ts";
import { refuseCopying } from "../meta/copying.ts";
import { systemDisk } from "../node/disk.system.ts";
import { noteDrives, prepareDrives, sweepReplayed } from "./prepare_drives.ts";
import { metadataDrives, openMetadata, prepareMetadata, syncMetadataNames, type Metadata } from "./metadata.ts";
import { refuseForeignToEmbedded } from "./whose_drives.ts";

export type Prepared = {
  readonly rootKey: RootKey;
  /** Those of the drives that can be used. */
  readonly drives: readonly string[];
  /** In the same order. */
  readonly driveIds: readonly DriveId[];
  readonly metadata: Metadata | EngineMetadata;
  /** An index was built anew and not swept since: shards that were removed may be back. */
  readonly sweepDue: boolean;
};

/** The metadata is not on the drives. */
export type EngineMetadata = { readonly kind: "engine"; readonly url: string };

export type PrepareServerOptions = {
  /** Absolute paths; not empty. */
  readonly drives: readonly string[];
  /** Copies of the metadata wanted; by default as many as `metadataCopiesDefault` says. */
  readonly copies?: number;
  readonly root: Credentials | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

/**
 * Enough that the newest commits are known (more than half of the copies are there) while as many drives are lost at once as
 * chunks bear by default; more would cost each commit.
 */
export function metadataCopiesDefault(drives: number): number {
  const losses = defaultRedundancy(drives).parityShards;
  return Math.min(drives, 2 * losses + 1);
}

/** Errors: a sentence for the operator that names the folder. */
export async function prepareServer(options: PrepareServerOptions): Promise<Prepared> {
  const { drives, root, clock, random, log } = options;
  const disk = systemDisk("/");
  const usable = await prepareDrives(options, disk);
  await refuseForeignToEmbedded(disk, usable, log);
  const copies = Math.min(options.copies ?? metadataCopiesDefault(drives.length), usable.length);
  const metadata = await prepareMetadata({ drives: usable, copies, disk, random, log });
  const { kv } = await openMetadata({ metadata, disk, log });
  try {
    await syncMetadataNames(disk, metadata);
    await refuseCopying(kv);
    await noteDrives(kv, usable, { node: "", disk, clock, log });
    const count = await fenceOthers(kv, []);
    if (count > 0) log.info({ count }, "Sessions of an earlier run were fenced.");
    await sweepSuspects(kv);
    await sweepReplayed(kv, usable, disk);
  } finally {
    await kv.close();
  }
  return {
    rootKey: await rootKey(rootKeyFolders(metadata), root),
    drives: usable.map((drive) => drive.path),
    driveIds: usable.map(({ id }) => id),
    metadata,
    sweepDue: usable.some(({ sweepDue }) => sweepDue),
  };
}

/** A copy that was made just now may stand where an old one was: what is beside it does not count. */
function rootKeyFolders(metadata: Metadata): { readonly known: string[]; readonly others: string[] } {
  if (metadata.kind === "alone") return { known: metadataDrives(metadata), others: [] };
  const { places, made } = metadata;
  const names = (areMade: boolean): string[] =>
    places.filter(({ id }) => made.includes(id) === areMade).map(({ name }) => name);
  return { known: names(false), others: names(true) };
}

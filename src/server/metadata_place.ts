/**
 * Where a store's metadata is, as the command line names it: the address of an engine, or the drives that it is embedded in;
 * and what is done with whole places: copying from one to another, opening one again.
 *
 * Drives are locked as long as they are open, so no server runs on them. To be copied from, they are opened as a start would:
 * their copies are brought to one state, and no process of an earlier start can write to them any more.
 */
import path from "node:path";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { keptRootKey } from "../identity/root_key.ts";
import { readDrives, type Drive } from "../meta/drives.ts";
import { systemDisk } from "../node/disk.system.ts";
import { copyMetadata, identifySource, reopenMetadata } from "./copy_metadata.ts";
import type { CopyMetadataOptions, CopyReport, CopySource, CopyTarget } from "./copy_metadata.ts";
import { drivesOf, openDrivesTarget, type DrivesTargetParts } from "./copy_to_drives.ts";
import { isEngineUrl, openEngine, shownEngineUrl } from "./engine.ts";
import { lockDrives } from "./lock.ts";
import { metadataDrives, openStopped } from "./metadata.ts";

export type MetadataPlace =
  | { readonly kind: "engine"; readonly url: string }
  /** Absolute paths; not empty. */
  | { readonly kind: "drives"; readonly drives: readonly string[] };

/** Words of a command line: one address, or folders, with commas between or each its own word. Errors: `invalid_argument`. */
export function readPlace(words: readonly string[]): MetadataPlace {
  const [first] = words;
  if (first !== undefined && words.length === 1 && isEngineUrl(first)) {
    // Refused here, before anything is opened.
    shownEngineUrl(first);
    return { kind: "engine", url: first };
  }
  if (words.some(isEngineUrl)) throw refusal("Name one address, or the drives of one store, not both.");
  const drives = words.flatMap((word) => word.split(",")).filter((word) => word !== "");
  if (drives.length === 0) throw refusal("Name the address of an engine, or the drives of the store.");
  const absolute = drives.map((drive) => path.resolve(drive));
  if (new Set(absolute).size !== absolute.length) throw refusal("The drive list names one directory twice.");
  return { kind: "drives", drives: absolute };
}

/** Without a password. */
export function placeName(place: MetadataPlace): string {
  return place.kind === "engine" ? shownEngineUrl(place.url) : place.drives.join(", ");
}

export type PlaceParts = { readonly clock: Clock; readonly random: Random; readonly log: Log };

export type CopyPlacesOptions = PlaceParts &
  Pick<CopyMetadataOptions, "onProgress"> & { readonly from: MetadataPlace; readonly to: MetadataPlace };

/** `missing`: drives of the store that were not named where drives were. */
export type PlacesReport = CopyReport & { readonly missing: readonly Drive[] };

/** Errors: sentences for the operator. After one the same call goes on, or begins again. */
export async function copyPlaces({ from, to, ...parts }: CopyPlacesOptions): Promise<PlacesReport> {
  if (from.kind === "drives" && to.kind === "drives") {
    throw refusal("One of the two is the address of an engine: a store's drives have their metadata among themselves.");
  }
  const source = await openSource(from, parts);
  try {
    const identity = await identifySource(source.kv, parts.random);
    const known = await readDrives(source.kv);
    const target = await openTarget(to, { ...parts, identity, known: known.map(({ id }) => id) });
    try {
      return {
        ...(await copyMetadata({ ...parts, source, target, identity })),
        missing: await missingOf(known, from, to),
      };
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

/** Errors: as `reopenMetadata`, and those of opening the place. */
export async function reopenPlace(
  place: MetadataPlace,
  parts: PlaceParts & { readonly force: boolean },
): Promise<void> {
  const source = await openSource(place, parts);
  try {
    await reopenMetadata(source.kv, parts);
  } finally {
    await source.close();
  }
}

async function missingOf(known: readonly Drive[], ...places: readonly MetadataPlace[]): Promise<Drive[]> {
  const named = places.find(({ kind }) => kind === "drives");
  if (named?.kind !== "drives") return [];
  const present = await drivesOf(systemDisk("/"), named.drives);
  return known.filter(({ id, state }) => state !== "removed" && !present.some((drive) => drive.id === id));
}

type Closable = { close(): Promise<void> };

/** Errors: those of `openEngine`; `unavailable` when a server runs on the drives; sentences about drives and metadata. */
async function openSource(place: MetadataPlace, parts: PlaceParts): Promise<CopySource & Closable> {
  const name = placeName(place);
  if (place.kind === "drives") return openDrives(place.drives, name, parts);
  const kv = await openEngine(place.url, parts);
  return { kv, name, isLocked: false, close: () => kv.close() };
}

async function openDrives(
  drives: readonly string[],
  name: string,
  { random, log }: PlaceParts,
): Promise<CopySource & Closable> {
  const disk = systemDisk("/");
  const named = await drivesOf(disk, drives);
  // Before they are locked, for that makes folders that are missing.
  const none = drives.find((drive) => !named.some((found) => found.path === drive));
  if (none !== undefined) throw refusal(`${none} is not a Holdfast drive.`);
  const lock = await lockDrives(drives, "embedded");
  try {
    const { kv, metadata } = await openStopped(named, { disk, random, log });
    const close = async (): Promise<void> => {
      await kv.close();
      lock.release();
    };
    return { kv, name, isLocked: true, rootKey: () => keptRootKey(metadataDrives(metadata)), close };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Errors: as `openSource`, and those of `openDrivesTarget`. */
async function openTarget(place: MetadataPlace, parts: PlaceParts & DrivesTargetParts): Promise<CopyTarget & Closable> {
  const name = placeName(place);
  if (place.kind === "drives") return openDrivesTarget(place.drives, name, parts);
  const kv = await openEngine(place.url, parts);
  return { kv, name, publish: async () => kv, close: () => kv.close() };
}

function refusal(message: string): HoldfastError {
  return new HoldfastError("invalid_argument", message);
}

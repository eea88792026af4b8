/**
 * The drives of one simulated store, as folders of one disk: which are there, which are away and which are lost for good. A
 * drive that lost everything is there again as an empty folder of another name; nobody but this file knows where it was.
 *
 * `remains` tells what of the published chunks can still be read, whatever any process believes: it reads index and segments
 * past all seams. With it faults are kept within what the redundancy bears (losses.ts).
 */
import type { DriveId } from "../../src/core/ids.ts";
import { systemRandom } from "../../src/core/random.ts";
import { MapWalk } from "../../src/jobs/map_walk.ts";
import type { Kv } from "../../src/kv/kv.ts";
import { openMemoryKv } from "../../src/kv/memory.ts";
import type { ChunkRecord, PlaceRecord } from "../../src/meta/chunk_pages.ts";
import type { FakeDisk } from "../../src/node/disk.fake.ts";
import { readDriveId } from "../../src/node/drive.ts";
import { DriveIndex } from "../../src/node/drive_index.ts";
import type { ShardRef } from "../../src/node/node.ts";
import { SEGMENT_HEADER_BYTES, type SegmentId } from "../../src/node/segment.ts";
import { SegmentFiles } from "../../src/node/segment_files.ts";
import { walkSegment } from "../../src/node/segment_walk.ts";
import { ShardReader } from "../../src/node/shard_reader.ts";

export type SimDrive = { readonly path: string; readonly isHere: boolean };

/** A chunk and those of its shards that could be read if all processes were gone. */
export type Remains = { readonly chunk: ChunkRecord; readonly good: readonly PlaceRecord[] };

export class SimDrives {
  readonly #disk: FakeDisk;
  readonly #indexes = new Map<string, Kv>();
  #drives: readonly SimDrive[] = [];
  #made = 0;

  constructor(disk: FakeDisk, count: number) {
    this.#disk = disk;
    for (let left = count; left > 0; left--) this.add();
  }

  get all(): readonly SimDrive[] {
    return this.#drives;
  }

  set(drives: readonly SimDrive[]): void {
    this.#drives = drives;
  }

  /** Folders of the drives that are there. */
  paths(): string[] {
    return this.#drives.filter(({ isHere }) => isHere).map(({ path }) => path);
  }

  /** An empty folder that no drive has had. */
  fresh(): SimDrive {
    this.#made += 1;
    return { path: `/drive${this.#made}`, isHere: true };
  }

  add(): void {
    this.#drives = [...this.#drives, this.fresh()];
  }

  index(path: string, wipe: boolean): Kv {
    const known = wipe ? undefined : this.#indexes.get(path);
    const index = known ?? openMemoryKv();
    this.#indexes.set(path, index);
    return index;
  }

  async pathOf(id: DriveId): Promise<string> {
    for (const { path } of this.#drives) if ((await this.#idOf(path)) === id) return path;
    throw new Error(`no folder is drive ${id}`);
  }

  async #idOf(path: string): Promise<DriveId | undefined> {
    return readDriveId(this.#disk, path);
  }

  /** Of every chunk that a page names, with these drives alone. */
  async remains(kv: Kv, paths: readonly string[] = this.paths()): Promise<Remains[]> {
    return remainsOf(kv, await this.looks(paths));
  }

  /** What is on these drives. */
  async looks(paths: readonly string[] = this.paths()): Promise<Map<DriveId, Look>> {
    const looks = new Map<DriveId, Look>();
    for (const path of paths) {
      const id = await this.#idOf(path);
      if (id !== undefined) looks.set(id, await this.#lookAt(path));
    }
    return looks;
  }

  /** An index that the next start does not trust says nothing: then all that is in the segments counts. */
  async #lookAt(path: string): Promise<Look> {
    const index = new DriveIndex(this.index(path, false), systemRandom);
    const files = new SegmentFiles({ disk: this.#disk, drivePath: path, openMax: 4 });
    const reader = new ShardReader(index, files);
    if (await this.#isTrusted(path, index)) return async (ref) => (await reader.verify(ref))?.outcome === "good";
    const found = new Set<string>();
    for (const name of await this.segments(path)) {
      const segment = name.slice(name.lastIndexOf("/") + 1, -".seg".length) as SegmentId;
      await files.with(segment, async (file) => {
        const range = { from: SEGMENT_HEADER_BYTES, end: await file.sizeBytes() };
        for await (const step of walkSegment(file, segment, range)) {
          if (step.kind === "gap") continue;
          const place = { segment, offset: step.offset, ...step.header };
          if ((await reader.readWhole(file, step.header, place)).ok) found.add(nameOf(step.header));
        }
      });
    }
    return async (ref) => found.has(nameOf(ref));
  }

  async #isTrusted(path: string, index: DriveIndex): Promise<boolean> {
    const names: readonly string[] = await this.#disk.list(path).catch(() => []);
    if (!names.includes("state.json")) return false;
    const state = JSON.parse(this.#disk.fileBytes(`${path}/state.json`).toString()) as Record<string, unknown>;
    return state["bootId"] === (await this.#disk.bootId()) && state["generation"] === (await index.generation());
  }

  /** Files with shards on a drive. */
  async segments(path: string): Promise<string[]> {
    const names = await this.#disk.list(`${path}/segments`).catch(() => []);
    return names.filter((name) => name.endsWith(".seg")).map((name) => `${path}/segments/${name}`);
  }
}

/** Of every chunk that a page names, with the drives of these looks. */
export async function remainsOf(kv: Kv, looks: ReadonlyMap<DriveId, Look>): Promise<Remains[]> {
  const remains: Remains[] = [];
  const walk = new MapWalk(kv);
  for (let pages = await walk.next(); pages !== undefined; pages = await walk.next())
    for (const chunk of pages.flatMap((page) => page.chunks)) remains.push({ chunk, good: await goodOf(chunk, looks) });
  return remains;
}

/** Whether a drive has a shard and it is good. */
export type Look = (ref: ShardRef) => Promise<boolean>;

function nameOf({ chunk, shardIndex }: ShardRef): string {
  return `${chunk} ${shardIndex}`;
}

async function goodOf({ id, places }: ChunkRecord, looks: ReadonlyMap<DriveId, Look>): Promise<PlaceRecord[]> {
  const good: PlaceRecord[] = [];
  for (const place of places)
    if ((await looks.get(place.drive)?.({ chunk: id, shardIndex: place.shardIndex })) === true) good.push(place);
  return good;
}

/** Whether every chunk that could be read can be read still. */
export function isBearable(before: readonly Remains[], after: readonly Remains[]): boolean {
  const isReadable = ({ chunk, good }: Remains): boolean => good.length >= chunk.redundancy.dataShards;
  return before.every((each, index) => !isReadable(each) || isReadable(after[index]!));
}

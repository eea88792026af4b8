/**
 * Shards that a chunk map says are on a drive and the drive does not have: after its index was rebuilt from segments with
 * damaged record headers nothing else would meet them, for a read in good health asks for data shards only, and what a scrub
 * reads is what is there. They are noted for repair.
 *
 * They are looked for after such a rebuild, and, as the scrub does with what is there, again and again: each machine on its own drives,
 * at a steady low rate. That reads every chunk map of the store on every machine; so all of them together take a
 * tenth of what one process can read. Known gaps: how far a look came is not kept, and in a store of a hundred nodes and 10^8 objects it
 * takes weeks.
 */
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Kv } from "../kv/kv.ts";
import type { ChunkRecord } from "../meta/chunk_pages.ts";
import type { KnownDrive } from "../meta/drives.ts";
import type { ChunkNode } from "../node/node.ts";
import { notePage } from "./damage.ts";
import { findShard } from "./doctor_chunks.ts";
import { MapWalk } from "./map_walk.ts";
import type { Job, JobResult } from "./runner.ts";

export type MissingParts = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  /** Where shards are looked for. */
  readonly drives: readonly DriveId[];
  readonly log: Log;
};

/** Looks at every chunk map, some pages at a time. */
export class MissingWalk {
  readonly #parts: MissingParts;
  readonly #looked: ReadonlySet<DriveId>;
  readonly #maps: MapWalk;
  #noted = 0;

  constructor(parts: MissingParts) {
    this.#parts = parts;
    this.#looked = new Set(parts.drives);
    this.#maps = new MapWalk(parts.kv);
  }

  /** Chunks that lack a shard, so far. */
  get noted(): number {
    return this.#noted;
  }

  /** The next pages. "cut short": it was told to end in the middle of them. */
  async step(signal?: AbortSignal): Promise<"more" | "over" | "cut short"> {
    const { kv, node, log } = this.#parts;
    const pages = await this.#maps.next();
    for (const { blob, page, chunks } of pages ?? []) {
      const positions: number[] = [];
      for (const [position, chunk] of chunks.entries()) {
        if (signal?.aborted === true) return "cut short";
        if (await lacksShard(node, this.#looked, chunk)) positions.push(position);
      }
      if (positions.length === 0) continue;
      await notePage(kv, blob, page, positions);
      this.#noted += positions.length;
    }
    if (pages !== undefined) return "more";
    if (this.#noted > 0)
      log.warn({ chunks: this.#noted }, "Chunks lack shards that their drives should have; they are made anew.");
    return "over";
  }
}

/** Looks at every chunk map. Resolves to the chunks noted, or to undefined when it was cut short. */
export async function noteMissing(parts: MissingParts, signal?: AbortSignal): Promise<number | undefined> {
  const walk = new MissingWalk(parts);
  for (;;) {
    const state = await walk.step(signal);
    if (state === "over") return walk.noted;
    if (state === "cut short") return undefined;
  }
}

/** A step is followed by a rest of so many times as long as it took, and that for each machine that looks too. */
const restFactor = 9;

export type MissingJobParts = Omit<MissingParts, "drives"> & {
  readonly local: { readonly name: string; readonly drives: readonly DriveId[] };
  readonly knownDrives: () => Promise<readonly KnownDrive[]>;
  readonly clock: Clock;
};

type Look = { readonly walk: MissingWalk; readonly restFactor: number };

export class MissingJob implements Job {
  readonly name = "missing";
  readonly leased = true;
  readonly scope: string;
  readonly idleMsMin = 60_000;
  readonly idleMsMax = 600_000;
  readonly #parts: MissingJobParts;
  #look: Look | undefined;
  #lookedAtMs: number | undefined;

  constructor(parts: MissingJobParts) {
    this.#parts = parts;
    this.scope = parts.local.name;
  }

  /** Some pages; the pause after them keeps the rate. */
  async run(signal: AbortSignal): Promise<JobResult> {
    const { clock } = this.#parts;
    const look = this.#look ?? (await this.#next());
    if (look === undefined) return { done: 0, more: false };
    // One that fails, or is cut off, in the middle of some pages begins anew.
    this.#look = undefined;
    const beganMs = clock.monotonicMs();
    const state = await look.walk.step(signal);
    const nowMs = clock.monotonicMs();
    if (state === "over") this.#lookedAtMs = nowMs;
    if (state !== "more") return { done: 0, more: false };
    this.#look = look;
    return { done: 0, more: false, againMs: Math.ceil(look.restFactor * (nowMs - beganMs)) };
  }

  async #next(): Promise<Look | undefined> {
    const { kv, node, local, knownDrives, clock, log } = this.#parts;
    const isDue = this.#lookedAtMs === undefined || clock.monotonicMs() - this.#lookedAtMs >= limits.scrubIntervalMs;
    if (!isDue || local.drives.length === 0) return undefined;
    const machines = Math.max(1, (await knownDrives()).length / local.drives.length);
    return { walk: new MissingWalk({ kv, node, drives: local.drives, log }), restFactor: restFactor * machines };
  }
}

/** Other drives may have what they should. */
async function lacksShard(
  node: ChunkNode,
  drives: ReadonlySet<DriveId>,
  { id, places }: ChunkRecord,
): Promise<boolean> {
  for (const { drive, shardIndex } of places) {
    if (!drives.has(drive)) continue;
    if ((await findShard(node, drive, { chunk: id, shardIndex })) === undefined) return true;
  }
  return false;
}

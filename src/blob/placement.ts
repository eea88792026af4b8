/**
 * Where the shards of a chunk go: weighted rendezvous hashing over failure domains. Every drive arrives at a time computed
 * from (chunk id, drive id, rate) alone; drives are taken in the order of arrival, but none whose zone or node is full.
 * Pure; the places chosen are written into the chunk map, so a read never computes them again.
 *
 * Promised:
 * - Spread. Of the drives that are up, no other choice has fewer shards of the chunk in its fullest zone, nor, with that, in
 *   its fullest node (placement_tree.ts). Every shard has a drive of its own. So any one zone (or node) may be lost without a
 *   loss of data whenever there are places where that holds.
 * - Proportion. Each drive gets shards by its size as far as the spread allows; what a capped zone, node or drive cannot
 *   take the others share by size (placement_rates.ts says how exactly).
 * - Little moves. For given rates and caps a drive that leaves is replaced by one other in each chunk it was in, and nothing
 *   else changes; a drive that joins takes the place of one other in each chunk it gets into: the choice is the best
 *   basis of a laminar matroid, which differs by one exchange. When drives join or leave, the rates of others change a
 *   little, and caps when a domain more or less is there: what that costs is measured in docs/operations/placement.md.
 * - A drive that refuses is replaced by the drive that would have been chosen had it not been up; when none fits the caps
 *   any more, by one in a zone that gets least above its cap, then in the least crowded node. Shards that lie already stay.
 *
 * Known gaps. Below the cap spread is left to chance and size: six shards over five equal zones lie 2+2+1+1+0 as well as
 * 2+1+1+1+1. (A floor for each zone would force small zones to be filled like large ones, and move more when a drive joins;
 * what the loss of one zone costs is the same.) Sizes count, not free bytes: drives fill in proportion only if all began
 * empty.
 *
 * The time is -ln(u) / rate with u uniform in (0, 1) (Schindelhauer and Schomaker's logarithmic method; CRUSH's straw2 is the
 * same): the first to arrive is each drive with a chance in proportion to its rate.
 */
import { assert } from "../core/assert.ts";
import { CHUNK_ID_BYTES, DRIVE_ID_BYTES, type ChunkId, type DriveId } from "../core/ids.ts";
import { fairShares, ratesFor } from "./placement_rates.ts";
import { domainsOf, type Domains, type Group, type PlacementDrive } from "./placement_tree.ts";

export type { PlacementDrive } from "./placement_tree.ts";

/** What can be known before the chunk is: for the drives that were up and one number of shards. */
export type PlacementPlan = {
  /** Shards of a chunk, or how many drives are up where those are fewer. */
  readonly shards: number;
  /** Those that are up, by id, and after them the others, which may hold shards. */
  readonly drives: readonly DriveId[];
  readonly domains: Domains;
  /** Per drive that is up. */
  readonly rates: Float64Array;
  /** Words of the ids of the drives that are up, two each. */
  readonly words: Uint32Array;
  /** A drive whose u is lower than this arrives too late to be needed, but for rare chunks. */
  readonly uniformsMin: Float64Array;
};

/** Murmur3's mixing of one 32-bit word into a state, and its finalizer. */
function mix(state: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  const mixed = state ^ k;
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

function finalize(state: number): number {
  let h = state;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function wordsOf(id: ChunkId | DriveId, lengthBytes: number): number[] {
  assert(id.length === lengthBytes * 2, "an id has its length");
  return Array.from({ length: lengthBytes / 4 }, (_, at) => Number.parseInt(id.slice(at * 8, at * 8 + 8), 16));
}

/** The state of the hash after the chunk's id, in its two halves. */
type ChunkHash = { readonly high: number; readonly low: number };

function hashOf(chunk: ChunkId): ChunkHash {
  let high = 0x9747b28c;
  let low = 0x3c6ef372;
  for (const word of wordsOf(chunk, CHUNK_ID_BYTES)) {
    high = mix(high, word);
    low = mix(low, ~word);
  }
  return { high, low };
}

/** A number in (0, 1) for a drive, the same for the same chunk and drive, unrelated for any others; 0 if below `least`. */
function uniform({ high, low }: ChunkHash, first: number, second: number, least: number): number {
  const upper = finalize(mix(mix(high, first), second));
  // Most drives of a large store are too late: the lower half need not be known for that.
  if ((upper + 1) / 2 ** 32 < least) return 0;
  const lower = finalize(mix(mix(low, ~first), ~second));
  const u = (upper * 2 ** 21 + (lower >>> 11) + 0.5) / 2 ** 53;
  return u < least ? 0 : u;
}

/** Arrivals that are sorted at first: so many more than shards that a chunk needs more only rarely. */
function firstArrivals(shards: number): number {
  return 3 * shards + 8;
}

/** The u below which drives arrive after the first arrivals. */
function uniformsMinOf(rates: Float64Array, arrivals: number): Float64Array {
  if (rates.length <= 2 * arrivals) return new Float64Array(rates.length);
  const arrived = (time: number): number => rates.reduce((sum, rate) => sum - Math.expm1(-rate * time), 0);
  let time = 1 / 1024;
  while (arrived(time) < arrivals) time *= 1.25;
  return rates.map((rate) => Math.exp(-rate * time));
}

function ratesOf(root: Group, weights: readonly number[]): Float64Array {
  if (root.cap < weights.length) return ratesFor(root, fairShares(root, weights));
  // Every drive gets a shard: sizes only say which comes first.
  const heaviest = weights.reduce((most, weight) => Math.max(most, weight), 0);
  return Float64Array.from(weights, (weight) => weight / heaviest);
}

function makePlan(drives: readonly PlacementDrive[], shards: number): PlacementPlan {
  assert(Number.isInteger(shards) && shards >= 1, "a chunk has at least one shard");
  const isUp = ({ state, weightBytes }: PlacementDrive): boolean => state === "up" && weightBytes > 0;
  const sorted = drives.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const up = sorted.filter(isUp);
  const all = [...up, ...sorted.filter((drive) => !isUp(drive))];
  const placed = Math.min(shards, up.length);
  const domains = domainsOf(all, up.length, placed);
  const rates = ratesOf(
    domains.root,
    up.map(({ weightBytes }) => weightBytes),
  );
  return {
    shards: placed,
    drives: all.map(({ id }) => id),
    domains,
    rates,
    words: Uint32Array.from(up.flatMap(({ id }) => wordsOf(id, DRIVE_ID_BYTES))),
    uniformsMin: uniformsMinOf(rates, firstArrivals(placed)),
  };
}

/** Plans by the list of drives they are for, and shards: a list is never changed, and forgotten with its plans. */
const plans = new WeakMap<readonly PlacementDrive[], Map<number, PlacementPlan>>();

/** The first time for a list of drives it takes milliseconds, up to a fifth of a second (1,000 drives); then none. */
export function planPlacement(drives: readonly PlacementDrive[], shards: number): PlacementPlan {
  const ofDrives = plans.get(drives) ?? new Map<number, PlacementPlan>();
  const plan = ofDrives.get(shards) ?? makePlan(drives, shards);
  plans.set(drives, ofDrives.set(shards, plan));
  return plan;
}

/** Gives out the drives of one chunk, best first, and others for those that refuse. */
export class ChunkDrives {
  readonly #plan: PlacementPlan;
  readonly #hash: ChunkHash;
  /** Places in the plan by arrival; those that arrive late are left out until they are needed. */
  #order: readonly number[];
  /** Drives that have a shard of the chunk, have had one, or refused one. */
  readonly #used = new Set<number>();
  readonly #inZone: Uint32Array;
  readonly #inNode: Uint32Array;

  /** `holders`: drives that have a shard of the chunk already, in whatever way they lie. */
  constructor(plan: PlacementPlan, chunk: ChunkId, holders: readonly DriveId[] = []) {
    this.#plan = plan;
    this.#hash = hashOf(chunk);
    this.#order = this.#arrivals(false);
    this.#inZone = new Uint32Array(plan.drives.length);
    this.#inNode = new Uint32Array(plan.drives.length);
    for (const holder of holders) {
      const index = plan.drives.indexOf(holder);
      if (index !== -1) this.#take(index);
    }
  }

  /** The drive that gets one shard more; none when every drive has been used. */
  next(): DriveId | undefined {
    const index = this.#firstThatFits() ?? this.#leastCrowded();
    if (index === undefined) return undefined;
    this.#take(index);
    return this.#plan.drives[index];
  }

  /** A drive that was given out does not take its shard: it is not given out again, and others may stand in its domains. */
  refuse(drive: DriveId): void {
    const index = this.#plan.drives.indexOf(drive);
    assert(this.#used.has(index), "only a drive that was given out can refuse");
    this.#inZone[this.#zoneOf(index)]! -= 1;
    this.#inNode[this.#nodeOf(index)]! -= 1;
  }

  #zoneOf(index: number): number {
    return this.#plan.domains.zoneOf[index]!;
  }

  #nodeOf(index: number): number {
    return this.#plan.domains.nodeOf[index]!;
  }

  #take(index: number): void {
    this.#used.add(index);
    this.#inZone[this.#zoneOf(index)]! += 1;
    this.#inNode[this.#nodeOf(index)]! += 1;
  }

  #arrivals(isWhole: boolean): number[] {
    const { rates, words, uniformsMin } = this.#plan;
    const arrivals: { readonly index: number; readonly time: number }[] = [];
    for (let index = 0; index < rates.length; index++) {
      const least = isWhole ? 0 : uniformsMin[index]!;
      const u = uniform(this.#hash, words[index * 2]!, words[index * 2 + 1]!, least);
      if (u > 0) arrivals.push({ index, time: -Math.log(u) / rates[index]! });
    }
    return arrivals.sort((a, b) => a.time - b.time || a.index - b.index).map(({ index }) => index);
  }

  #firstThatFits(): number | undefined {
    const { zoneCap, nodeCap } = this.#plan.domains;
    const fits = (index: number): boolean =>
      this.#inZone[this.#zoneOf(index)]! < zoneCap &&
      this.#inNode[this.#nodeOf(index)]! < nodeCap &&
      !this.#used.has(index);
    const early = this.#order.find(fits);
    if (early !== undefined || this.#order.length === this.#plan.rates.length) return early;
    this.#order = this.#arrivals(true);
    return this.#order.find(fits);
  }

  /** When no drive fits: as few as possible above the zone's cap, then in the node, then the first to arrive. */
  #leastCrowded(): number | undefined {
    const { zoneCap } = this.#plan.domains;
    let best: { readonly index: number; readonly zone: number; readonly node: number } | undefined;
    for (const index of this.#order) {
      if (this.#used.has(index)) continue;
      const zone = Math.max(0, this.#inZone[this.#zoneOf(index)]! + 1 - zoneCap);
      const node = this.#inNode[this.#nodeOf(index)]!;
      if (best === undefined || zone < best.zone || (zone === best.zone && node < best.node))
        best = { index, zone, node };
    }
    return best?.index;
  }
}

/** The `copies` best drives for the chunk, best first; fewer where fewer are up. */
export function placeChunk(chunk: ChunkId, drives: readonly PlacementDrive[], copies: number): DriveId[] {
  const plan = planPlacement(drives, copies);
  const chosen = new ChunkDrives(plan, chunk);
  return Array.from({ length: plan.shards }, () => {
    const drive = chosen.next();
    assert(drive !== undefined, "a plan has a drive for each of its shards");
    return drive;
  });
}

/**
 * At what rate each drive takes part in the race for a chunk (placement.ts), so that it holds its fair share of all shards.
 *
 * The fair share of a drive is in proportion to its size, as far as the caps allow: no drive holds more than one shard
 * of a chunk and no group more than its cap; what a capped one cannot take the others share by size.
 *
 * Rates in proportion to sizes would not give that: drawing several drives for one chunk without putting them back favours
 * the small ones (the known bias of rendezvous hashing with copies, and of CRUSH), by a third in stores of a few nodes.
 * But the race can be computed: arrivals of drives are independent exponential times, a drive that arrives is
 * chosen exactly when none of its groups is full, and how full a group is at a time is the sum, up to its cap, of how
 * full its members are. So the chance of each drive is an integral over time of a product of such distributions; rates are
 * corrected by it until the chances are the fair shares: mostly to 0.1 %, and to 5 % at worst, in stores of very few drives
 * where some group has to be full of nearly every chunk.
 */
import { assert } from "../core/assert.ts";
import type { Group, Tree } from "./placement_tree.ts";

/**
 * A relative error of a share below which rates are good. It is this small because another number of rounds for a slightly
 * other store would move as much data.
 */
const tolerance = 0.0005;
/** Corrections at most; mostly three to six are enough. */
const roundsMax = 12;

/** Points of the integral, equally far apart in the logarithm of time: the integrand is smooth in it. */
const firstLogTime = -6;
const lastLogTime = 8;
const logTimeStep = 0.2;
/** The integral ends where every seat is taken but for such a chance. */
const negligible = 1e-5;
/** A higher chance than this is taken for this: the rate that gives a chance of 1 is infinite. */
const certain = 0.999;

/** What a tree takes of each chunk when its drives take `level` per byte, or as much as they can. */
function demand(tree: Tree, weights: readonly number[], level: number): number {
  if (tree.kind === "drive") return Math.min(1, weights[tree.index]! * level);
  let total = 0;
  for (const member of tree.members) total += demand(member, weights, level);
  return Math.min(tree.cap, total);
}

/** The fair shares: expected shards of one chunk, per drive; together as many as the chunk has. */
export function fairShares(root: Group, weights: readonly number[]): Float64Array {
  const shares = new Float64Array(weights.length);
  const heaviest = weights.reduce((most, weight) => Math.max(most, weight), 0);
  const lightest = weights.reduce((least, weight) => Math.min(least, weight), Infinity);
  assert(lightest > 0, "a drive that takes part has a size");
  const give = (tree: Tree, share: number): void => {
    if (tree.kind === "drive") {
      shares[tree.index] = share;
      return;
    }
    let low = Math.log(share / heaviest / weights.length) - 1;
    let high = Math.log(1 / lightest) + 1;
    for (let step = 0; step < 60; step++) {
      const middle = (low + high) / 2;
      let total = 0;
      for (const member of tree.members) total += demand(member, weights, Math.exp(middle));
      if (total < share) low = middle;
      else high = middle;
    }
    for (const member of tree.members) give(member, demand(member, weights, Math.exp(high)));
  };
  give(root, root.cap);
  return shares;
}

/** Chances of 0, 1, … shards in a tree at one time, the last of its cap or more; and in its members. */
type Filled = { readonly counts: Float64Array; readonly members: readonly Filled[] };

function fill(tree: Tree, present: Float64Array): Filled {
  if (tree.kind === "drive") {
    const chance = present[tree.index]!;
    return { counts: Float64Array.of(1 - chance, chance), members: [] };
  }
  const members = tree.members.map((member) => fill(member, present));
  const counts = new Float64Array(tree.cap + 1);
  counts[0] = 1;
  for (const member of members) add(counts, member.counts);
  return { counts, members };
}

/** Makes `counts` the distribution of the sum of two independent counts, up to its last one. */
function add(counts: Float64Array, other: Float64Array): void {
  const last = counts.length - 1;
  for (let count = last; count >= 0; count--) {
    const chance = counts[count]!;
    if (chance === 0) continue;
    counts[count] = chance * other[0]!;
    for (let more = 1; more < other.length; more++) counts[Math.min(last, count + more)]! += chance * other[more]!;
  }
}

/** The mean of `open` at the sum of each count and a random one. */
function averaged(open: Float64Array, random: Float64Array): Float64Array {
  const last = open.length - 1;
  const mean = new Float64Array(open.length);
  for (let count = 0; count < last; count++) {
    let sum = 0;
    for (let more = 0; more < random.length && count + more < last; more++) sum += random[more]! * open[count + more]!;
    mean[count] = sum;
  }
  return mean;
}

/** The same for one member: up to its own cap, where it is full. */
function openTo(member: Filled, before: Float64Array, rest: Float64Array): Float64Array {
  const open = new Float64Array(member.counts.length);
  for (let count = 0; count < open.length - 1; count++) {
    let sum = 0;
    for (let more = 0; count + more < rest.length - 1; more++) sum += before[more]! * rest[count + more]!;
    open[count] = sum;
  }
  return open;
}

/**
 * Writes to `chances` with what chance each drive of the tree would be chosen if it arrived at this time. `open` is that chance
 * by the number of shards in the tree, as far as what lies outside decides it: 0 at the tree's cap.
 */
function openness(tree: Tree, filled: Filled, open: Float64Array, chances: Float64Array): void {
  if (tree.kind === "drive") {
    chances[tree.index] = open[0]!;
    return;
  }
  // What is open to a member when those behind it are left to chance; those before it are counted on the way.
  const rest: Float64Array[] = [open];
  for (const member of filled.members.slice(1).toReversed()) rest.push(averaged(rest.at(-1)!, member.counts));
  const before = new Float64Array(tree.cap + 1);
  before[0] = 1;
  tree.members.forEach((member, at) => {
    const memberFilled = filled.members[at]!;
    openness(member, memberFilled, openTo(memberFilled, before, rest.pop()!), chances);
    add(before, memberFilled.counts);
  });
}

/** The chance of each drive to get a shard of a chunk, when drives arrive at these rates (together about one chunk's shards). */
export function chancesAt(root: Group, rates: Float64Array): Float64Array {
  // Before the first point every drive that arrives is as good as always taken.
  const early = Math.exp(firstLogTime - logTimeStep / 2);
  const chances = rates.map((rate) => -Math.expm1(-rate * early));
  const open = new Float64Array(root.cap + 1).fill(1, 0, root.cap);
  const opens = new Float64Array(rates.length);
  for (let logTime = firstLogTime; logTime <= lastLogTime; logTime += logTimeStep) {
    const time = Math.exp(logTime);
    const present = rates.map((rate) => -Math.expm1(-rate * time));
    const filled = fill(root, present);
    openness(root, filled, open, opens);
    for (let index = 0; index < rates.length; index++)
      chances[index]! += opens[index]! * rates[index]! * time * (1 - present[index]!) * logTimeStep;
    if (filled.counts[root.cap]! > 1 - negligible) break;
  }
  return chances;
}

/** The rate of a drive that meets nothing full and gets a shard with this chance by time 1. */
function lonelyRate(chance: number): number {
  return -Math.log1p(-Math.min(chance, certain));
}

/** How many times more than in proportion a rate has to change for a chance to become the share, which is near a cap. */
function steepness(share: number, chance: number): number {
  return ((lonelyRate(share) / lonelyRate(chance)) * chance) / share;
}

function further(a: number, b: number): number {
  return Math.abs(Math.log(a)) > Math.abs(Math.log(b)) ? a : b;
}

function total(tree: Tree, numbers: Float64Array): number {
  if (tree.kind === "drive") return numbers[tree.index]!;
  return tree.members.reduce((sum, member) => sum + total(member, numbers), 0);
}

/** Changes the rates in a tree so that chances come nearer to shares: most by that group on the way which is nearest to its cap. */
function correct(tree: Tree, shares: Float64Array, chances: Float64Array, rates: Float64Array, outer = 1): void {
  const share = total(tree, shares);
  const chance = total(tree, chances);
  if (tree.kind === "drive") {
    rates[tree.index]! *= (share / chance) * further(outer, steepness(share, chance));
    return;
  }
  const steepest = further(outer, steepness(share / tree.cap, chance / tree.cap));
  for (const member of tree.members) correct(member, shares, chances, rates, steepest);
}

/** Rates that give each drive its fair share. */
export function ratesFor(root: Group, shares: Float64Array): Float64Array {
  const rates = shares.map(lonelyRate);
  for (let round = 0; round < roundsMax; round++) {
    const chances = chancesAt(root, rates);
    const worst = shares.reduce((most, share, index) => Math.max(most, Math.abs(share / chances[index]! - 1)), 0);
    for (const zone of root.members) correct(zone, shares, chances, rates);
    if (worst < tolerance) break;
  }
  return rates;
}

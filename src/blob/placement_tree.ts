/**
 * The failure domains of a store as a tree (zones, nodes in them, drives in those), and what each may hold of one chunk.
 *
 * Every group has a cap: the most shards of one chunk that lie in it. The caps are the least that still give every shard a
 * drive of its own, zones first: no other choice of drives has fewer shards in its fullest zone, nor, with that, in its
 * fullest node. Sizes do not count here: a small zone is used as well, or losing a large one would lose more.
 */
import { assert } from "../core/assert.ts";
import type { DriveId } from "../core/ids.ts";

export type PlacementDrive = {
  readonly id: DriveId;
  /** What its share is in proportion to: its size. */
  readonly weightBytes: number;
  /** Only drives that are up take new chunks. */
  readonly state: "up" | "full" | "failed" | "draining";
  /** The process tree it belongs to; drives that name none are of the same. */
  readonly node?: string;
  /** What fails together above nodes; drives that name none are in the same. */
  readonly zone?: string;
};

/** A drive (its place in the list that the tree was made of) or a group of trees that fail together. */
export type Tree =
  | { readonly kind: "drive"; readonly index: number }
  | { readonly kind: "group"; readonly cap: number; readonly members: readonly Tree[] };

export type Group = Extract<Tree, { kind: "group" }>;

export type Domains = {
  /** Of the drives that are up. */
  readonly root: Group;
  readonly zoneCap: number;
  readonly nodeCap: number;
  /** Number of its zone and of its node, per drive. */
  readonly zoneOf: Uint32Array;
  readonly nodeOf: Uint32Array;
};

/** Drives by node by zone, as places in the list. */
type Zones = readonly (readonly (readonly number[])[])[];

function grouped(places: readonly number[], nameOf: (place: number) => string): number[][] {
  const groups = new Map<string, number[]>();
  for (const place of places) {
    const name = nameOf(place);
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [place]);
    else group.push(place);
  }
  return [...groups.values()];
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** How many shards fit when no zone and no node holds more than its cap. */
function room(zones: Zones, zoneCap: number, nodeCap: number): number {
  return sum(zones.map((nodes) => Math.min(zoneCap, sum(nodes.map((places) => Math.min(nodeCap, places.length))))));
}

/** The least cap that leaves room for all shards; as many as there are shards always do. */
function leastCap(shards: number, roomOf: (cap: number) => number): number {
  let low = 1;
  let high = Math.max(1, shards);
  while (low < high) {
    const middle = (low + high) >> 1;
    if (roomOf(middle) < shards) low = middle + 1;
    else high = middle;
  }
  return low;
}

function treeOf(zones: Zones, caps: { readonly root: number; readonly zone: number; readonly node: number }): Group {
  const nodeTree = (places: readonly number[]): Tree => ({
    kind: "group",
    cap: caps.node,
    members: places.map((index) => ({ kind: "drive", index })),
  });
  const zoneTree = (nodes: Zones[number]): Tree => ({ kind: "group", cap: caps.zone, members: nodes.map(nodeTree) });
  return { kind: "group", cap: caps.root, members: zones.map(zoneTree) };
}

/** The domains of these drives, of which the first `upCount` are up, for chunks of so many shards; not more than those. */
export function domainsOf(drives: readonly PlacementDrive[], upCount: number, shards: number): Domains {
  assert(shards <= upCount && upCount <= drives.length, "every shard gets a drive of its own");
  const zoneName = (index: number): string => drives[index]!.zone ?? "";
  // A node that is named in two zones is two nodes.
  const nodeName = (index: number): string => JSON.stringify([zoneName(index), drives[index]!.node ?? ""]);
  const all = drives.map((_, index) => index);
  const zoneOf = new Uint32Array(drives.length);
  const nodeOf = new Uint32Array(drives.length);
  grouped(all, zoneName).forEach((places, zone) => places.forEach((index) => (zoneOf[index] = zone)));
  grouped(all, nodeName).forEach((places, node) => places.forEach((index) => (nodeOf[index] = node)));
  const zones = grouped(all.slice(0, upCount), zoneName).map((places) => grouped(places, nodeName));
  const zoneCap = leastCap(shards, (cap) => room(zones, cap, cap));
  const nodeCap = leastCap(shards, (cap) => room(zones, zoneCap, cap));
  return { root: treeOf(zones, { root: shards, zone: zoneCap, node: nodeCap }), zoneCap, nodeCap, zoneOf, nodeOf };
}

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { chancesAt, fairShares, ratesFor } from "./placement_rates.ts";
import type { Group } from "./placement_tree.ts";

const group = (cap: number, members: Group["members"]): Group => ({ kind: "group", cap, members });

/** Nodes of so many drives each, in one zone. */
function nodesOf(shards: number, nodeCap: number, sizes: readonly number[]): Group {
  let index = 0;
  const nodes = sizes.map((size) =>
    group(
      nodeCap,
      Array.from({ length: size }, () => ({ kind: "drive", index: index++ })),
    ),
  );
  return group(shards, [group(shards, nodes)]);
}

function assertClose(actual: Iterable<number>, expected: readonly number[], allowed: number): void {
  const found = [...actual];
  assert.equal(found.length, expected.length);
  found.forEach((value, at) => assert.ok(Math.abs(value - expected[at]!) <= allowed, `${value} for ${expected[at]}`));
}

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, number) => total + number, 0);

void test("the chances of races that can be worked out by hand", () => {
  // One winner: in proportion to the rates.
  assertClose(chancesAt(nodesOf(1, 1, [4]), Float64Array.of(0.1, 0.2, 0.3, 0.4)), [0.1, 0.2, 0.3, 0.4], 0.001);
  // Two of three: first or second. The drive of rate 2: 2/4 + 2 × 1/4 × 2/3.
  assertClose(chancesAt(nodesOf(2, 2, [3]), Float64Array.of(1, 1, 2)), [7 / 12, 7 / 12, 10 / 12], 0.001);
  // Two of four, but only one of the first two, which are in a node: the other comes from the second node.
  assertClose(chancesAt(nodesOf(2, 1, [2, 2]), Float64Array.of(1, 3, 2, 2)), [1 / 4, 3 / 4, 1 / 2, 1 / 2], 0.001);
  // Two of three nodes: the node with two drives arrives at rate 2. It is left out when it is third.
  const inNode = 1 - (1 / 4) * (1 / 3) * 2;
  assertClose(
    chancesAt(nodesOf(2, 1, [2, 1, 1]), Float64Array.of(1, 1, 1, 1)),
    [inNode / 2, inNode / 2, (2 - inNode) / 2, (2 - inNode) / 2],
    0.001,
  );
});

void test("fair shares are in proportion to sizes, and what a cap keeps from one goes to the others by size", () => {
  const root = nodesOf(2, 1, [2, 1, 2]);
  assertClose(fairShares(root, [1, 1, 2, 3, 1]), [0.25, 0.25, 0.5, 0.75, 0.25], 1e-9);
  // The last node would get 1.2 by its size.
  assertClose(fairShares(root, [1, 1, 2, 3, 3]), [0.25, 0.25, 0.5, 0.5, 0.5], 1e-9);
  // So large that it is in every chunk.
  assertClose(fairShares(nodesOf(2, 2, [3]), [1_000_000, 1, 3]), [1, 0.25, 0.75], 1e-9);
});

const sizes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 8 });
const weights = fc.array(fc.integer({ min: 1, max: 1_000_000 }), { minLength: 32, maxLength: 32 });

void test("rates give the fair shares, and shares and chances add up to the shards of a chunk", () => {
  const property = fc.property(sizes, fc.integer({ min: 1, max: 3 }), fc.nat(), weights, (sizes, nodeCap, at, all) => {
    const drives = sum(sizes);
    const room = sum(sizes.map((size) => Math.min(size, nodeCap)));
    const shards = 1 + (at % Math.min(room, drives - 1));
    const root = nodesOf(shards, nodeCap, sizes);
    const shares = fairShares(root, all.slice(0, drives));
    const chances = chancesAt(root, ratesFor(root, shares));
    assertClose([sum(shares)], [shards], 1e-9);
    assertClose([sum(chances)], [shards], 0.003 * shards);
    chances.forEach((chance, index) => assertClose([chance / shares[index]!], [1], 0.1));
  });
  fc.assert(property, { numRuns: 200 });
});

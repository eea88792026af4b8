/** What may leave a store: decided by the drives, nodes and zones that would be left. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PlacementDrive } from "../blob/placement_tree.ts";
import type { DriveId } from "../core/ids.ts";
import { parseRedundancy } from "../core/redundancy.ts";
import { refusalToLeave } from "./leaving.ts";

/** Two drives in each node: `a1 a2 b1` are nodes 1 and 2 of zone a, and 1 of zone b. */
function drivesOf(...nodes: string[]): PlacementDrive[] {
  return nodes.flatMap((node) =>
    ["x", "y"].map((drive) => ({
      id: `${node}${drive}` as DriveId,
      weightBytes: 1,
      state: "up" as const,
      node,
      zone: node[0]!,
    })),
  );
}

function refusal(text: string, now: readonly PlacementDrive[], left: readonly PlacementDrive[]): string {
  const found = refusalToLeave(now, left, [{ redundancy: parseRedundancy(text), whose: "The bucket" }]);
  return found === undefined ? "none" : `${found.mayBeForced ? "may be forced" : "no"}: ${found.why}`;
}

test("too few drives for all shards is no matter of taste", () => {
  const now = drivesOf("a1", "a2", "a3");
  assert.match(refusal("ec:4+2", now, now.slice(1)), /^no: The bucket needs 6 drives, and 5 would be left/);
  assert.equal(refusal("ec:3+2", now, now.slice(1)), "none");
});

test("a node or a zone that could be lost before must be so afterwards", () => {
  const [two, three, four] = [
    ["a1", "a2"],
    ["a1", "a2", "a3"],
    ["a1", "a2", "a3", "a4"],
  ].map((nodes) => drivesOf(...nodes));
  assert.equal(refusal("replica:2", three!, two!), "none");
  assert.match(
    refusal("replica:2", two!, drivesOf("a1")),
    /^may be forced: .*\(replica:2\) would not survive the loss of a node/,
  );
  assert.match(refusal("ec:2+1", three!, two!), /the loss of a node/);
  assert.equal(refusal("ec:2+1", four!, three!), "none");
  const zones = drivesOf("a1", "b1", "c1");
  assert.match(refusal("ec:2+1", [...zones, ...drivesOf("a2")], drivesOf("a1", "a2", "b1")), /the loss of a zone/);
});

test("what could not be lost before hinders nobody", () => {
  const one = drivesOf("a1").slice(0, 1);
  assert.equal(refusal("replica:1", drivesOf("a1"), one), "none");
  // On one machine the drives are all in one node.
  assert.equal(refusal("replica:2", drivesOf("a1", "a1").slice(0, 3), drivesOf("a1")), "none");
});

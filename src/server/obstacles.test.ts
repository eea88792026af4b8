/** Whether a process is ready, whatever some of its drives do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../core/clock.ts";
import { newDriveId, type DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { systemRandom } from "../core/random.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { DriveStatus } from "../node/node.ts";
import { obstacles, type ObstaclesParts } from "./obstacles.ts";

/** Time is over when everything that can happen at once has happened. */
const hasty: Clock = {
  nowMs: () => 1,
  monotonicMs: () => limits.nodeSettleMs - 1,
  sleep: async () => {
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  },
};

type State = DriveStatus["state"] | "hangs" | "throws";

function found(
  states: readonly State[],
  why?: string,
  { nodes = [], openedMs = 0 }: Partial<Pick<ObstaclesParts, "nodes" | "openedMs">> = {},
): Promise<string[]> {
  const drives = states.map(() => newDriveId(systemRandom));
  const inner = createMemoryNode({ drives });
  const status = async (drive: DriveId): Promise<DriveStatus> => {
    const state = states[drives.indexOf(drive)]!;
    if (state === "throws") throw new Error("EACCES");
    if (state === "hangs") return new Promise(() => undefined);
    return { ...(await inner.status(drive)), state };
  };
  const session = { check: { key: Buffer.from("session"), version: 1 } };
  return obstacles({ kv: openMemoryKv(), session, why, node: { drives, status }, nodes, openedMs, clock: hasty });
}

test("a process is ready with one drive that is well, whatever the others do", async () => {
  assert.deepEqual(await found(["hangs", "throws", "failed", "up"]), []);
  assert.deepEqual(await found(["full"]), []);
  assert.deepEqual(await found(["failed", "throws"]), ["Every drive has failed."]);
  assert.deepEqual(await found(["failed", "hangs"]), ["The store does not answer."]);
  assert.deepEqual(await found(["up"], "It ends."), ["It ends."]);
});

test("a node of a cluster is ready when the others have had time to see it", async () => {
  const [own, other] = [
    { isUp: true, isOwn: true },
    { isUp: true, isOwn: false },
  ];
  const unseen = ["The other nodes may not know yet that this one is there."];
  assert.deepEqual(await found(["up"], undefined, { nodes: [own, other] }), unseen);
  assert.deepEqual(await found(["up"], undefined, { nodes: [own, other], openedMs: -1 }), []);
  assert.deepEqual(await found(["up"], undefined, { nodes: [own, { ...other, isUp: false }] }), []);
});

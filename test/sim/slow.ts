/**
 * A drive that answers late: its reads and appends wait for up to a few hundred turns, in which everything else goes on, and are
 * carried out after all, also when nobody waits for them any more. Cancelled reads of a slow drive don't end sooner either.
 */
import { setImmediate as turn } from "node:timers/promises";
import type { DriveId } from "../../src/core/ids.ts";
import type { Random } from "../../src/core/random.ts";
import type { ChunkNode } from "../../src/node/node.ts";
import type { Power } from "./power.ts";

const turnsMax = 300;

/** `slow`: which drive it is at this moment. */
export function slowedNode(node: ChunkNode, slow: () => DriveId | undefined, random: Random, power: Power): ChunkNode {
  const wait = async (drive: DriveId): Promise<void> => {
    if (drive !== slow()) return;
    for (let left = random.below(turnsMax); left > 0 && power.on; left--) await turn();
  };
  return {
    drives: node.drives,
    append: async (drive, shard, signal) => {
      await wait(drive);
      // Half of them have been sent when they are cancelled.
      await node.append(drive, shard, random.below(2) === 0 ? signal : undefined);
    },
    read: async (drive, ref, range, signal) => {
      await wait(drive);
      return node.read(drive, ref, range, signal);
    },
    remove: (drive, refs) => node.remove(drive, refs),
    list: (drive, options) => node.list(drive, options),
    verify: (drive, ref) => node.verify(drive, ref),
    discard: (drive, ref) => node.discard(drive, ref),
    compact: (drive, signal) => node.compact(drive, signal),
    status: (drive) => node.status(drive),
    close: () => node.close(),
  };
}

/** What keeps a process from serving requests. One drive that is well is enough: a drive that hangs hides no other. */
import type { Clock } from "../core/clock.ts";
import { limits } from "../core/limits.ts";
import type { Kv } from "../kv/kv.ts";
import type { Session } from "../meta/sessions.ts";
import type { SeenDrives } from "./membership.ts";

const answerMsMax = 2_000;

export type ObstaclesParts = {
  readonly kv: Pick<Kv, "get">;
  readonly session: Pick<Session, "check">;
  /** Why the process is to end, if it is. */
  readonly why: string | undefined;
  readonly node: SeenDrives;
  /** Those of the cluster; none on a single machine. */
  readonly nodes: readonly { readonly isUp: boolean; readonly isOwn: boolean }[];
  /** When this process opened the store, by its monotonic clock. */
  readonly openedMs: number;
  readonly clock: Clock;
};

/** In sentences; empty when there are none. */
export async function obstacles(parts: ObstaclesParts): Promise<string[]> {
  const { kv, session, why, node, clock } = parts;
  const answered = new AbortController();
  const asked = Promise.all([kv.get([session.check.key]), isAnyDriveWell(node)]).then(
    ([, isWell]) => (isWell ? [] : ["Every drive has failed."]),
    (error: unknown) => [`The store cannot be read: ${error instanceof Error ? error.message : String(error)}`],
  );
  const late = clock.sleep(answerMsMax, answered.signal).then(() => ["The store does not answer."]);
  const found = await Promise.race([asked, late]);
  answered.abort();
  return [...(why === undefined ? [] : [why]), ...found, ...unseen(parts)];
}

/** Who restarts one node after another must not stop the next one before the others use this one. */
function unseen({ nodes, openedMs, clock }: ObstaclesParts): string[] {
  const hasOthers = nodes.some(({ isUp, isOwn }) => isUp && !isOwn);
  const isNew = clock.monotonicMs() - openedMs < limits.nodeSettleMs;
  return hasOthers && isNew ? ["The other nodes may not know yet that this one is there."] : [];
}

/** Known with the first one that says so. */
async function isAnyDriveWell(node: SeenDrives): Promise<boolean> {
  const well = node.drives.map(async (drive) => {
    const { state } = await node.status(drive);
    if (state === "failed") throw new Error("It has failed.");
  });
  return Promise.any(well).then(
    () => true,
    () => false,
  );
}

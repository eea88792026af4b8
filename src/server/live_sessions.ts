/** Whether anybody works on a store in an engine: told by heartbeats that change while they are watched. */
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Kv } from "../kv/kv.ts";
import { readNodes } from "../meta/nodes.ts";
import { readSessions, type LiveSession } from "../meta/sessions.ts";
import { isOfRun } from "./run.ts";

/**
 * Sessions that do not beat. `name`: the store's, for people. Errors: `invalid_argument` with the names of those that do:
 * their processes live.
 */
export async function refuseLiveSessions(kv: Kv, name: string, clock: Clock): Promise<readonly LiveSession[]> {
  const before = await readSessions(kv);
  if (before.length === 0) return before;
  await clock.sleep(limits.copyWatchMs);
  const after = await readSessions(kv);
  const live = after.filter((session) => !isQuiet(session, before));
  if (live.length === 0) return after;
  const whose = (await whoseAre(kv, live)).join(", ");
  throw new HoldfastError("invalid_argument", `Servers still work on ${name}: ${whose}. Stop them first.`);
}

/** The addresses of the nodes, and the names of sessions whose nodes are not known. */
async function whoseAre(kv: Kv, sessions: readonly LiveSession[]): Promise<string[]> {
  const nodes = await readNodes(kv);
  return [...new Set(sessions.map(({ node }) => nodes.find(({ run }) => isOfRun(node, run))?.url ?? node))];
}

/** It has not beaten since it was seen. */
export function isQuiet(session: LiveSession, seen: readonly LiveSession[]): boolean {
  const before = seen.find(({ id }) => id === session.id);
  return before !== undefined && before.heartbeatVersion === session.heartbeatVersion;
}

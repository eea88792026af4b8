/**
 * What a cluster must be when nothing happens any more: every row of unfinished work is gone; and, when it has been stopped,
 * all drives of all nodes together have every shard that the metadata names, whole, and no other.
 */
import { silentLog } from "../../src/core/log.ts";
import { systemClock } from "../../src/core/clock.ts";
import { systemRandom } from "../../src/core/random.ts";
import { fenceOthers, runDoctor } from "../../src/jobs/jobs.ts";
import type { Kv } from "../../src/kv/kv.ts";
import { readDrives } from "../../src/meta/drives.ts";
import { driveIdOf, isWholeDrive, tagRange, tags } from "../../src/meta/keys.ts";
import { systemDisk, systemProcesses } from "../../src/node/disk.system.ts";
import { markDriveClean, prepareDrive } from "../../src/node/drive.ts";
import { openLocalNode } from "../../src/node/local_node.ts";
import { openEngine } from "../../src/server/engine.ts";
import { openIndex } from "../../src/server/layout.ts";
import { lockDrives } from "../../src/server/lock.ts";

/** Rows that jobs take away. */
const unfinished = ["trash", "ended", "repair", "relocation", "stray", "abandoned", "leftover"] as const;
const rowsMax = 1_000;

/** What is still to be done, in words; undefined when nothing is. `sessions`: of the processes that run. */
export async function unfinishedWork(kv: Kv, sessions: number): Promise<string | undefined> {
  const found: string[] = [];
  const removed = new Set((await readDrives(kv)).flatMap(({ id, state }) => (state === "removed" ? [id] : [])));
  for (const name of unfinished) {
    const all = await kv.scan(tagRange(tags[name]), { limit: rowsMax });
    // One row stays of each drive that was taken out, should it come back.
    const rows = all.filter(({ key }) => name !== "stray" || !isWholeDrive(key) || !removed.has(driveIdOf(key)));
    if (rows.length > 0) found.push(`${rows.length} rows of ${name} (${rows[0]!.key.toString("hex")})`);
  }
  const standing = await kv.scan(tagRange(tags.session), { limit: rowsMax });
  if (standing.length !== sessions) found.push(`${standing.length} sessions, not ${sessions}`);
  return found.length === 0 ? undefined : found.join(", ");
}

export type Verdict = { readonly findings: readonly string[]; readonly objects: number; readonly shards: number };

/**
 * Compares everything with everything, every byte read. Nothing may run on the drives.
 *
 * What a session has stored and not published is reclaimed when it ends, so shards of those that were not swept yet are not
 * reported; where nothing went wrong there must be none (`undisturbed`), or a process that runs for months fills the drives.
 */
export async function examine(engine: string, drives: readonly string[], undisturbed: boolean): Promise<Verdict> {
  const disk = systemDisk("/");
  const lock = await lockDrives(drives, "elsewhere");
  const log = silentLog;
  try {
    for (const path of drives) await prepareDrive({ path, disk, openIndex, random: systemRandom, log });
    const processes = await systemProcesses();
    const parts = { drives, disk, openIndex, processes, clock: systemClock, random: systemRandom, log };
    const kv = await openEngine(engine, { log });
    const node = await openLocalNode(parts);
    try {
      if (undisturbed) await forgetSessions(kv);
      const findings: string[] = [];
      const run = runDoctor({ kv, node, deep: true });
      for (;;) {
        const next = await run.next();
        if (next.done) return { findings, objects: next.value.objects, shards: next.value.shards };
        findings.push(`${next.value.kind} ${next.value.where}: ${next.value.message}`);
      }
    } finally {
      await node.close();
      await kv.close();
    }
  } finally {
    for (const drive of drives) await markDriveClean(disk, drive);
    lock.release();
  }
}

/** As if they had been swept. */
async function forgetSessions(kv: Kv): Promise<void> {
  await fenceOthers(kv, []);
  const ended = await kv.scan(tagRange(tags.ended), { limit: rowsMax });
  await kv.commit({ checks: [], writes: ended.map(({ key }) => ({ kind: "delete", key })) });
}

/** After everything came to rest doctor finds nothing: nothing is lost, nothing is wrong, nothing has leaked. */
import { silentLog } from "../../src/core/log.ts";
import { createJobs, runDoctor, sweepAll } from "../../src/jobs/jobs.ts";
import { tagRange, tags } from "../../src/meta/keys.ts";
import type { Running, Started, World } from "./world.ts";

/** Runs the background jobs until none has work, then doctor; returns its findings. */
export async function balanceBooks(world: World, { first: running, sweepDue }: Started): Promise<string[]> {
  const { kv, node, blobs, session, placement } = running;
  const knownDrives = async () => node.drives.map((id) => ({ id, state: "active" as const }));
  const onDrained = async (): Promise<void> => undefined;
  const parts = {
    kv,
    node,
    blobs,
    session,
    placement,
    knownDrives,
    onDrained,
    clock: world.clock,
    random: world.random,
    log: silentLog,
  };
  if (sweepDue) await sweepAll(parts);
  const jobs = createJobs(parts);
  const { signal } = new AbortController();
  // Trash waits for two heartbeats after it was seen; a few rounds more do no harm.
  for (let round = 0; round < 12; round++) {
    for (const job of jobs) while ((await job.run(signal)).more);
    await session.heartbeat();
  }
  const wrong: string[] = [];
  const run = runDoctor({ kv, node, deep: true, signal });
  for (let next = await run.next(); !next.done; next = await run.next()) {
    wrong.push(`doctor: ${next.value.kind} ${next.value.where}: ${next.value.message}`);
  }
  for await (const left of trashLeft(running)) wrong.push(left);
  return wrong;
}

async function* trashLeft({ kv }: Running): AsyncGenerator<string> {
  const rows = await kv.scan(tagRange(tags.trash), { limit: 10 });
  if (rows.length > 0) yield `${rows.length} or more trash rows were never drained`;
}

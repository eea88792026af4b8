/** Measures the rooms from outside: a Kv and a ChunkNode that count what passes through them. */
import type { Clock } from "../core/clock.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Kv } from "../kv/kv.ts";
import type { ChunkNode } from "../node/node.ts";

export function meteredKv(kv: Kv, metrics: Metrics, clock: Clock): Kv {
  return {
    name: kv.name,
    get: (keys) => kv.get(keys),
    scan: (range, options) => kv.scan(range, options),
    commit: async (commit) => {
      const startedMs = clock.monotonicMs();
      let outcome = "failed";
      try {
        const result = await kv.commit(commit);
        outcome = result.outcome;
        return result;
      } finally {
        const operations = commit.checks.length + commit.writes.length;
        metrics.commit({ operations, outcome, durationMs: clock.monotonicMs() - startedMs });
      }
    },
    close: () => kv.close(),
  };
}

export function meteredNode(node: ChunkNode, metrics: Metrics, clock: Clock): ChunkNode {
  return {
    drives: node.drives,
    append: async (drive, shard, signal) => {
      const startedMs = clock.monotonicMs();
      let failed = true;
      try {
        await node.append(drive, shard, signal);
        failed = false;
      } finally {
        const bytes = shard.body.reduce((sum, piece) => sum + piece.length, 0);
        metrics.append({ bytes, durationMs: clock.monotonicMs() - startedMs, failed });
      }
    },
    read: (drive, ref, range, signal) => node.read(drive, ref, range, signal),
    remove: (drive, refs) => node.remove(drive, refs),
    list: (drive, options) => node.list(drive, options),
    verify: (drive, ref) => node.verify(drive, ref),
    compact: (drive, signal) => node.compact(drive, signal),
    status: (drive) => node.status(drive),
    close: () => node.close(),
  };
}

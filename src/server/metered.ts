/** Measures the rooms from outside: a Kv, a ChunkNode and a Disk that count what passes through them. */
import type { Clock } from "../core/clock.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Kv } from "../kv/kv.ts";
import type { Disk, DiskFile } from "../node/disk.ts";
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

/** Only syncs are measured: they are what a write waits for, and what a drive that is about to fail gets slow at. */
export function meteredDisk(disk: Disk, metrics: Metrics, clock: Clock): Disk {
  return {
    open: async (path, mode) => meteredFile(await disk.open(path, mode), metrics, clock),
    list: (path) => disk.list(path),
    makeDirectory: (path) => disk.makeDirectory(path),
    rename: (from, to) => disk.rename(from, to),
    remove: (path) => disk.remove(path),
    syncDirectory: (path) => disk.syncDirectory(path),
    space: (path) => disk.space(path),
    bootId: () => disk.bootId(),
  };
}

function meteredFile(file: DiskFile, metrics: Metrics, clock: Clock): DiskFile {
  return {
    writev: (pieces, offset) => file.writev(pieces, offset),
    read: (into, offset) => file.read(into, offset),
    sync: async () => {
      const startedMs = clock.monotonicMs();
      await file.sync();
      metrics.driveSync(clock.monotonicMs() - startedMs);
    },
    truncate: (lengthBytes) => file.truncate(lengthBytes),
    sizeBytes: () => file.sizeBytes(),
    close: () => file.close(),
  };
}

/** Measures the rooms from outside: a Kv, a ChunkNode, a peer and a Disk that count what passes through them. */
import type { Clock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import type { Metrics, PeerCall, PeerOutcome } from "../core/metrics.ts";
import type { Kv } from "../kv/kv.ts";
import type { Disk, DiskFile } from "../node/disk.ts";
import type { ChunkNode } from "../node/node.ts";
import type { PeerNode } from "../node/peer_node.ts";

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
    get drives() {
      return node.drives;
    },
    ...(node.distance && { distance: (drive) => node.distance!(drive) }),
    ...(node.isHeld && { isHeld: (drive) => node.isHeld!(drive) }),
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
    discard: (drive, ref) => node.discard(drive, ref),
    compact: (drive, signal, pause) => node.compact(drive, signal, pause),
    status: (drive) => node.status(drive),
    ...(node.copy && { copy: (drive, shard, signal) => node.copy!(drive, shard, signal) }),
    ...(node.readRecord && { readRecord: (...given) => node.readRecord!(...given) }),
    close: () => node.close(),
  };
}

function peerOutcomeOf(error: unknown): PeerOutcome {
  if (hasReason(error, "cancelled")) return "cancelled";
  return hasReason(error, "drive_missing", "unavailable", "slow_down") ? "failed" : "refused";
}

/** By the kind of the call and never by the peer: each of N nodes calls N - 1 others. */
export function meteredPeer(peer: PeerNode, metrics: Metrics, clock: Clock): PeerNode {
  const counted = async <T>(call: PeerCall, run: () => Promise<T>): Promise<T> => {
    const startedMs = clock.monotonicMs();
    let outcome: PeerOutcome = "ok";
    try {
      return await run();
    } catch (error) {
      outcome = peerOutcomeOf(error);
      throw error;
    } finally {
      metrics.peerCall({ call, outcome, durationMs: clock.monotonicMs() - startedMs });
    }
  };
  return {
    name: peer.name,
    get isWell() {
      return peer.isWell;
    },
    get drives() {
      return peer.drives;
    },
    append: (drive, shard, signal) => counted("append", () => peer.append(drive, shard, signal)),
    read: (drive, ref, range, signal) => counted("read", () => peer.read(drive, ref, range, signal)),
    remove: (drive, refs) => counted("remove", () => peer.remove(drive, refs)),
    discard: (drive, ref) => counted("discard", () => peer.discard(drive, ref)),
    list: (drive, options) => counted("list", () => peer.list(drive, options)),
    verify: (drive, ref) => counted("verify", () => peer.verify(drive, ref)),
    compact: (drive, signal) => peer.compact(drive, signal),
    status: (drive) => counted("status", () => peer.status(drive)),
    ...(peer.copy && { copy: (drive, shard, signal) => counted("copy", () => peer.copy!(drive, shard, signal)) }),
    ...(peer.readRecord && { readRecord: (...given) => counted("record", () => peer.readRecord!(...given)) }),
    askDrives: () => counted("drives", () => peer.askDrives()),
    close: () => peer.close(),
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

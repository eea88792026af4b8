/**
 * The chunk node of a whole cluster: this machine's drives, and those of every other node over the network.
 *
 * Promises beyond the contract's (node/node.ts):
 *  1. `drives` are those that can be asked now: this machine's own, and those of nodes that are up and answer. A node that
 *     does not answer is asked again every topologyMs, so that it comes back by itself.
 *  2. A call for a drive of a node that is away fails at once with `drive_missing`, whatever the chunk map says.
 *  3. `lastStatus` asks nobody: of another node's drive it is what that node published last, some seconds old.
 *
 * `copy` is done by the node that has the drive to copy to: it reads from whichever node has the other. So this is what a node's
 * door calls too, for drives of its own.
 *
 * `compact` is each node's own business: for drives of others it does nothing.
 */
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { HoldfastError, hasReason } from "../core/errors.ts";
import { driveMissing } from "../node/node.ts";
import type {
  ByteRange,
  ChunkNode,
  DriveStatus,
  ListedShard,
  RecordBytes,
  Removal,
  Shard,
  ShardCopy,
  ShardRef,
  VerifyResult,
} from "../node/node.ts";
import { within } from "../node/peer_deadline.ts";
import type { PeerNode } from "../node/peer_node.ts";
import { copyShard } from "../node/shard_copy.ts";
import type { NodeView, Topology } from "./topology.ts";

export type ClusterNodeParts = {
  readonly local: ChunkNode;
  readonly topology: Topology;
  /** This node's address. */
  readonly url: string;
  readonly zone: string;
  /** `onHealth` is to be told whenever the peer stops or begins to answer. */
  readonly connect: (url: string, onHealth: () => void) => PeerNode;
  readonly clock: Clock;
};

type Reach = { readonly drives: readonly DriveId[]; readonly peers: ReadonlyMap<DriveId, PeerNode> };

export class ClusterNode implements ChunkNode {
  readonly #parts: ClusterNodeParts;
  readonly #local: ReadonlySet<DriveId>;
  readonly #peers = new Map<string, PeerNode>();
  /** The run of each node that its connection is to. */
  readonly #runs = new Map<string, string>();
  /** Connections to nodes that are gone, on their way to their end. */
  readonly #leaving = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #probing: Promise<void>;
  /** Made anew when it is asked for after something may have changed. */
  #reach: Reach | undefined;
  /** The list that was given out last. */
  #drives: readonly DriveId[] = [];

  constructor(parts: ClusterNodeParts) {
    this.#parts = parts;
    this.#local = new Set(parts.local.drives);
    this.#meetNodes();
    parts.topology.onLook(() => this.#meetNodes());
    this.#probing = this.#probe();
  }

  get drives(): readonly DriveId[] {
    return this.#reached().drives;
  }

  distance(drive: DriveId): 0 | 1 | 2 {
    if (this.#local.has(drive)) return 0;
    return this.#parts.topology.nodeOf(drive)?.zone === this.#parts.zone ? 1 : 2;
  }

  isHeld(drive: DriveId): boolean {
    const { topology } = this.#parts;
    if (this.#local.has(drive) || topology.isHeld(drive)) return true;
    // Rows of drives stay: one that a chunk map names and that has none here came after the last look, and the next one shows it.
    return !topology.drives.some(({ id }) => id === drive);
  }

  /** Whether the node at this address answers; this one does. */
  isWell(url: string): boolean {
    return url === this.#parts.url || this.#peers.get(url)?.isWell === true;
  }

  /** Asks the node at this address, now, whether it has drives. */
  async hasDrives(url: string): Promise<boolean> {
    const drives = await this.#peers
      .get(url)
      ?.askDrives()
      .catch(() => undefined);
    return drives !== undefined && drives.length > 0;
  }

  async append(drive: DriveId, shard: Shard, signal?: AbortSignal): Promise<void> {
    await this.#of(drive).append(drive, shard, signal);
  }

  async read(drive: DriveId, ref: ShardRef, range: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    return this.#of(drive).read(drive, ref, range, signal);
  }

  async remove(drive: DriveId, shards: readonly Removal[]): Promise<void> {
    await this.#of(drive).remove(drive, shards);
  }

  async list(drive: DriveId, options: { readonly after?: ShardRef; readonly limit: number }): Promise<ListedShard[]> {
    return this.#of(drive).list(drive, options);
  }

  async verify(drive: DriveId, ref: ShardRef): Promise<VerifyResult> {
    return this.#of(drive).verify(drive, ref);
  }

  async discard(drive: DriveId, ref: ShardRef): Promise<"good" | "missing"> {
    return this.#of(drive).discard(drive, ref);
  }

  async compact(drive: DriveId, signal?: AbortSignal, pause?: (bytes: number) => Promise<void>): Promise<number> {
    return this.#of(drive).compact(drive, signal, pause);
  }

  async status(drive: DriveId): Promise<DriveStatus> {
    return this.#of(drive).status(drive);
  }

  async copy(drive: DriveId, shard: ShardCopy, signal?: AbortSignal): Promise<void> {
    const { local } = this.#parts;
    if (this.#local.has(drive)) {
      const read = (): Promise<RecordBytes> => this.#readInTime(shard, signal);
      return copyShard({ target: local, read }, drive, shard, signal);
    }
    const node = this.#of(drive);
    if (node.copy === undefined) throw new HoldfastError("unavailable", `The node of drive ${drive} does not copy.`);
    return node.copy(drive, shard, signal);
  }

  /** Nobody may have waited for it for some time when it is read: what is stored then is stored soon after it was asked for. */
  async #readInTime({ chunk, storedBytes, from }: ShardCopy, signal: AbortSignal | undefined): Promise<RecordBytes> {
    const ref = { chunk, shardIndex: from.shardIndex };
    try {
      return await within(this.#parts.clock, limits.recordReadMsMax, signal, (inner) =>
        this.readRecord(from.drive, ref, storedBytes, inner),
      );
    } catch (error) {
      if (signal?.aborted || !hasReason(error, "cancelled")) throw error;
      throw new HoldfastError("unavailable", `Chunk ${chunk} was not read in time.`, { cause: error });
    }
  }

  async readRecord(drive: DriveId, ref: ShardRef, storedBytes: number, signal?: AbortSignal): Promise<RecordBytes> {
    const node = this.#of(drive);
    if (node.readRecord === undefined)
      throw new HoldfastError("unavailable", `The node of drive ${drive} gives no records.`);
    return node.readRecord(drive, ref, storedBytes, signal);
  }

  async lastStatus(drive: DriveId): Promise<DriveStatus> {
    if (this.#local.has(drive)) return this.#parts.local.status(drive);
    this.#of(drive);
    const { topology } = this.#parts;
    const published = topology.published(drive);
    if (published === undefined) throw driveMissing(drive);
    return { ...published, path: topology.drives.find(({ id }) => id === drive)?.path ?? "" };
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#probing;
    for (const peer of this.#peers.values()) this.#leave(peer);
    this.#peers.clear();
    await Promise.all(this.#leaving);
    await this.#parts.local.close();
  }

  #of(drive: DriveId): ChunkNode {
    if (this.#local.has(drive)) return this.#parts.local;
    const peer = this.#reached().peers.get(drive);
    if (peer === undefined) throw driveMissing(drive);
    return peer;
  }

  #reached(): Reach {
    this.#reach ??= this.#look();
    return this.#reach;
  }

  #look(): Reach {
    const { local, topology } = this.#parts;
    const peers = new Map<DriveId, PeerNode>();
    for (const { id } of topology.drives) {
      const node = topology.nodeOf(id);
      if (this.#local.has(id) || node === undefined || !has(node, id)) continue;
      const peer = this.#peers.get(node.url);
      if (node.isUp && peer?.isWell === true) peers.set(id, peer);
    }
    const drives = [...local.drives, ...peers.keys()];
    const isSame = drives.length === this.#drives.length && drives.every((id, at) => id === this.#drives[at]);
    if (!isSame) this.#drives = drives;
    return { drives: this.#drives, peers };
  }

  /**
   * A connection for every other node. One to a node that is away stays: it may be back at any moment. A node that was started
   * again is met anew, at once, whatever was known of it before.
   */
  #meetNodes(): void {
    const { topology, url: own, connect } = this.#parts;
    const runs = new Map(topology.nodes.map(({ url, run }) => [url, run]));
    for (const [url, peer] of this.#peers) {
      if (runs.get(url) === this.#runs.get(url)) continue;
      this.#peers.delete(url);
      this.#leave(peer);
    }
    for (const [url, run] of runs) {
      if (url === own || this.#peers.has(url)) continue;
      const onHealth = (): void => void (this.#reach = undefined);
      this.#peers.set(url, connect(url, onHealth));
      this.#runs.set(url, run);
    }
    for (const url of this.#runs.keys()) if (!this.#peers.has(url)) this.#runs.delete(url);
    this.#reach = undefined;
  }

  #leave(peer: PeerNode): void {
    const ended = peer.close().finally(() => this.#leaving.delete(ended));
    this.#leaving.add(ended);
  }

  /** Nobody calls a node whose drives are not in the list: it is asked from here whether it is back. */
  async #probe(): Promise<void> {
    const { clock } = this.#parts;
    while (!this.#stop.signal.aborted) {
      await clock.sleep(limits.topologyMs, this.#stop.signal);
      if (this.#stop.signal.aborted) return;
      const away = [...this.#peers.values()].filter(({ isWell }) => !isWell);
      // Each is bounded by its own deadline; the next look comes when the last one of this one has ended.
      await Promise.allSettled(away.map((peer) => peer.askDrives()));
    }
  }
}

function has({ drives }: NodeView, drive: DriveId): boolean {
  return drives.some(({ id }) => id === drive);
}

/**
 * Which nodes and drives the store has and which of the nodes are up, as one process sees it: the rows of all nodes and drives
 * are read every topologyMs. What is seen is some seconds old and only ever a hint; nothing that must be right rests on it.
 *
 * A node is up as long as its row changes. Only time in which this process could look counts, so that one which was stopped,
 * or was cut off from the metadata store, does not take all others for away when it goes on.
 *
 * A row that this build cannot read is left out: its drives are not asked, nor are they given up as long as the row changes.
 */
import type { Clock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Kv } from "../kv/kv.ts";
import type { Drive } from "../meta/drives.ts";
import { readMembers } from "../meta/members.ts";
import type { ClusterNodeRow, PublishedDrive, UnreadNode } from "../meta/nodes.ts";

type Liveness = { readonly isUp: boolean };
export type NodeView = ClusterNodeRow & Liveness;
export type UnreadView = UnreadNode & Liveness;

export type TopologyParts = { readonly kv: Kv; readonly clock: Clock; readonly log: Log };

type Seen = { readonly rowVersion: number; silentMs: number };

export class Topology {
  readonly #parts: TopologyParts;
  readonly #stop = new AbortController();
  readonly #seen = new Map<string, Seen>();
  /** Looks that began, and which of them is known. */
  #looks = 0;
  #shown = 0;
  readonly #listeners: (() => void)[] = [];
  #lookedAtMs: number | undefined;
  #nodes: readonly NodeView[] = [];
  #unread: readonly UnreadView[] = [];
  #drives: readonly Drive[] = [];
  #nodeOf = new Map<DriveId, NodeView>();
  #watching: Promise<void> = Promise.resolve();

  private constructor(parts: TopologyParts) {
    this.#parts = parts;
  }

  /** Looks once, and from then on until it is closed. Errors: those of the store. */
  static async open(parts: TopologyParts): Promise<Topology> {
    const topology = new Topology(parts);
    await topology.look();
    topology.#watching = topology.#watch();
    return topology;
  }

  /** Every node that has a row which can be read. */
  get nodes(): readonly NodeView[] {
    return this.#nodes;
  }

  /** Those whose rows cannot be read. */
  get unread(): readonly UnreadView[] {
    return this.#unread;
  }

  /** Every drive that has a row, whatever its state. */
  get drives(): readonly Drive[] {
    return this.#drives;
  }

  /** The node that has the drive, by the drive's own row; undefined where that node has no row. */
  nodeOf(drive: DriveId): NodeView | undefined {
    return this.#nodeOf.get(drive);
  }

  /** How the drive is, as its node said last. */
  published(drive: DriveId): PublishedDrive | undefined {
    return this.#nodeOf.get(drive)?.drives.find(({ id }) => id === drive);
  }

  /** Its node is up and does not say that the drive failed: it is not lost, whoever cannot reach it. */
  isHeld(drive: DriveId): boolean {
    const node = this.#nodeOf.get(drive);
    if (node !== undefined) return node.isUp && (this.published(drive)?.state ?? "failed") !== "failed";
    const url = this.#drives.find(({ id }) => id === drive)?.node;
    return this.#unread.some((unread) => unread.url === url && unread.isUp);
  }

  /** Told after each look. */
  onLook(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Looks now. Errors: those of the store. */
  async look(): Promise<void> {
    const { kv, clock } = this.#parts;
    const turn = ++this.#looks;
    const { nodes: rows, drives, unread } = await readMembers(kv);
    // Two may be under way; what one read that began before is older than what is known.
    if (turn < this.#shown) return;
    this.#shown = turn;
    const sinceMs = this.#sinceLastLook(clock.monotonicMs());
    const nodes = rows.map((row) => ({ ...row, isUp: this.#isUp(row, sinceMs) }));
    this.#noteUnread(unread.map((row) => ({ ...row, isUp: this.#isUp(row, sinceMs) })));
    const urls = new Set([...rows, ...unread].map(({ url }) => url));
    for (const url of this.#seen.keys()) if (!urls.has(url)) this.#seen.delete(url);
    const byUrl = new Map(nodes.map((node) => [node.url, node]));
    this.#nodes = nodes;
    this.#drives = drives;
    this.#nodeOf = new Map(
      drives.flatMap(({ id, node }) => {
        const view = byUrl.get(node);
        return view === undefined ? [] : [[id, view] as const];
      }),
    );
    for (const listener of this.#listeners) listener();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }

  #noteUnread(unread: readonly UnreadView[]): void {
    for (const { url, error } of unread) {
      if (this.#unread.some((known) => known.url === url)) continue;
      const what = "The row of a node cannot be read: is it of a newer version? It is done without until it can.";
      this.#parts.log.warn({ url, err: error }, what);
    }
    this.#unread = unread;
  }

  #isUp({ url, rowVersion }: Pick<ClusterNodeRow, "url" | "rowVersion">, sinceMs: number): boolean {
    const seen = this.#seen.get(url);
    if (seen === undefined || seen.rowVersion !== rowVersion) {
      this.#seen.set(url, { rowVersion, silentMs: 0 });
      return true;
    }
    seen.silentMs += sinceMs;
    return seen.silentMs < limits.nodeSilentMsMax;
  }

  /** At most as long as a pause between two looks lasts, or little more. */
  #sinceLastLook(nowMs: number): number {
    const sinceMs = nowMs - (this.#lookedAtMs ?? nowMs);
    this.#lookedAtMs = nowMs;
    return Math.min(sinceMs, limits.topologyMs * 1.5);
  }

  async #watch(): Promise<void> {
    const { clock, log } = this.#parts;
    let isFailing = false;
    while (!this.#stop.signal.aborted) {
      await clock.sleep(limits.topologyMs, this.#stop.signal);
      if (this.#stop.signal.aborted) return;
      try {
        await this.look();
        isFailing = false;
      } catch (error) {
        if (!isFailing) log.warn({ err: error }, "The nodes of the cluster could not be read; what was known is used.");
        isFailing = true;
      }
    }
  }
}

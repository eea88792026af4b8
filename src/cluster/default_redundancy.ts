/**
 * How buckets of a cluster are stored that say nothing else: by the nodes that have drives which belong to the store, be they up or
 * away, so that it does not change when one goes.
 *
 * A node that joins counts when it has answered this process and gets shards from it: it is in the list before it serves, and
 * until then a write that needs it would be refused. Those that this process saw at its first look count at once. Where another
 * process was sooner and the store is told to bear more losses by now (meta/raised.ts), that holds here too, whether the node
 * was reached or not: nothing is stored with less than what is there is being converted to.
 *
 * Known gap: what a process that reaches the new node later than others stores within two looks (topologyMs each) after the
 * store was told so may keep the redundancy of before.
 */
import { clusterRedundancy, defaultRedundancy, type Redundancy } from "../core/redundancy.ts";
import type { Drive } from "../meta/drives.ts";
import type { Topology } from "./topology.ts";

export type DefaultRedundancyParts = {
  readonly topology: Topology;
  /** Asks a node whether it has drives. Where it has, what is written from then on can go there. Must not fail. */
  readonly reach: (url: string) => Promise<boolean>;
  /** The losses that the store was told to bear. */
  readonly raised: () => Promise<number>;
};

export class DefaultRedundancy {
  readonly #parts: DefaultRedundancyParts;
  readonly #counted: Set<string>;
  /** Nodes that have not answered yet. */
  readonly #asked = new Set<string>();
  readonly #pending = new Set<Promise<void>>();
  #raised = -1;
  #now: Redundancy;

  constructor(parts: DefaultRedundancyParts) {
    this.#parts = parts;
    this.#counted = new Set(this.#active().map(({ node }) => node));
    this.#now = this.#judge();
    parts.topology.onLook(() => this.#look());
  }

  get now(): Redundancy {
    return this.#now;
  }

  /** What was asked ends with the nodes' connections. */
  async close(): Promise<void> {
    await Promise.all(this.#pending);
  }

  #active(): Drive[] {
    return this.#parts.topology.drives.filter(({ state }) => state === "active");
  }

  #look(): void {
    const urls = new Set(this.#active().map(({ node }) => node));
    for (const url of this.#counted) if (!urls.has(url)) this.#counted.delete(url);
    const uncounted = [...urls].filter((url) => !this.#counted.has(url));
    const asks = uncounted.filter((url) => !this.#asked.has(url)).map((url) => this.#ask(url));
    for (const ask of asks) this.#follow(ask);
    // What others say comes second: who is reached by then is no reason to refuse writes. Who lets wait is not waited for again.
    if (uncounted.length > 0) this.#follow(Promise.all(asks).then(() => this.#hear()));
    this.#now = this.#judge();
  }

  async #ask(url: string): Promise<void> {
    this.#asked.add(url);
    if (await this.#parts.reach(url)) this.#counted.add(url);
    this.#asked.delete(url);
  }

  /** Where the store cannot be read, what was heard last holds until the next look. */
  async #hear(): Promise<void> {
    this.#raised = await this.#parts.raised().catch(() => this.#raised);
  }

  #follow(step: Promise<void>): void {
    const ended = step.then(() => {
      this.#pending.delete(ended);
      this.#now = this.#judge();
    });
    this.#pending.add(ended);
  }

  #judge(): Redundancy {
    const active = this.#active();
    const known = this.#given(active);
    const reached = this.#given(active.filter(({ node }) => this.#counted.has(node)));
    return reached.parityShards < Math.min(known.parityShards, this.#raised) ? known : reached;
  }

  /** By nodes where there are several, else by drives. */
  #given(drives: readonly Drive[]): Redundancy {
    const urls = new Set(drives.map(({ node }) => node));
    if (urls.size <= 1) return defaultRedundancy(Math.max(1, drives.length));
    const zones = new Set(this.#parts.topology.nodes.filter(({ url }) => urls.has(url)).map(({ zone }) => zone));
    return clusterRedundancy(urls.size, Math.max(1, zones.size));
  }
}

/**
 * Without compaction etcd keeps every state its store ever had. So every few minutes one process of all those that use the
 * store gives up the states older than that, the way Kubernetes does it for its own: each process remembers the version
 * of one row; if nobody has written it when its time has come, it writes the row and compacts up to the revision that it
 * saw a turn ago. The others see that the row has changed, and begin to wait again.
 *
 * Compaction is the whole cluster's: other users of the cluster lose their old states too. Where etcd does it by itself
 * (`--auto-compaction-retention`) this finds nothing left to do.
 */
import type { Log } from "../core/log.ts";
import { limits } from "../core/limits.ts";
import type { EtcdStore } from "./etcd_store.ts";
import { readTxn, WireReader } from "./etcd_wire.ts";
import type { Operation, TxnResult } from "./etcd_wire.ts";
import { absent } from "./kv.ts";
import type { Version } from "./kv.ts";

/** The row's version, and the store's revision, when this process last looked. */
type Seen = { readonly version: Version; readonly revision: number };

export class EtcdUpkeep {
  readonly #store: EtcdStore;
  readonly #log: Log;
  #seen: Seen = { version: absent, revision: 0 };
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(store: EtcdStore, log: Log) {
    this.#store = store;
    this.#log = log;
  }

  start(periodMs: number = limits.etcdCompactionMs): void {
    this.#timer = setInterval(() => {
      this.#running ??= this.turn().finally(() => (this.#running = undefined));
    }, periodMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Never fails: what could not be done now is done next time. */
  async turn(): Promise<void> {
    try {
      await this.#turn();
    } catch (error) {
      this.#log.warn({ err: error }, "Old states of the metadata store in etcd could not be given up.");
    }
  }

  async #turn(): Promise<void> {
    const key = this.#store.compactedKey;
    const { version, revision } = this.#seen;
    const read: Operation = { kind: "range", range: { key } };
    const reply = await this.#store.ownTxn({
      compares: [{ key, version }],
      success: [{ kind: "put", key, value: Buffer.from(String(revision)) }],
      failure: [read],
    });
    // A full database takes no put; giving up old states is what it needs most.
    if (reply.kind === "full") return this.#compact(revision);
    if (reply.kind !== "answered") return this.#log.warn({ reply }, "etcd did not take part in its compaction.");
    const result = readTxn(new WireReader(reply.message), 0);
    this.#seen = { version: versionIn(result), revision: result.revision };
    if (result.succeeded) await this.#compact(revision);
  }

  async #compact(revision: number): Promise<void> {
    if (revision === 0) return;
    const reply = await this.#store.compact(revision);
    if (reply.kind === "answered" || reply.kind === "compacted") return;
    const text = "text" in reply ? reply.text : reply.kind;
    this.#log.warn({ text }, "etcd did not compact; give it --auto-compaction-retention or this user the right to.");
  }
}

function versionIn({ succeeded, revision, results }: TxnResult): Version {
  if (succeeded) return revision;
  const [first] = results;
  return first?.kind === "rows" ? (first.rows[0]?.version ?? absent) : absent;
}

/**
 * The metadata store in an etcd cluster, for small clusters that want no database: three or five members, a few million
 * rows, 8 GiB at the most. Several stores, and others, can share a cluster; each has a name.
 *
 * How the promises are kept. A row's version is etcd's `mod_revision`: it grows with every write to the store and is never
 * used again. A commit is a nested transaction whose compares are the checks; etcd's log orders the transactions, one
 * batch of commits each (etcd_plan.ts says how a batch is ordered inside). Reads are linearizable ones, and one get is
 * one transaction. Counters are added up here and checked like rows; a wrong guess costs a second try, never a sum.
 *
 * Files: etcd_address.ts (the URL), etcd_wire.ts (the messages), etcd_member.ts (calls to one member), etcd_answers.ts and
 * etcd_cluster.ts (what an answer means; which member is asked), etcd_store.ts (this store's keys), etcd_plan.ts and
 * etcd_batches.ts (commits), etcd_reads.ts (gets), etcd_upkeep.ts (compaction).
 *
 * Failures. Reads are tried again on other members for a bounded time. A commit is sent again only when it certainly was
 * not carried out; `unavailable` leaves its outcome unknown. Nothing has to be reopened when the cluster comes back.
 *
 * Known gaps. etcd (up to 3.6) walks through the index of a whole range even when a scan wants its first rows only, and reads a
 * range whole when it is wanted in reverse: docs/decisions/0006 has the figures. A cluster restored from a backup gives
 * revisions out again that were given out after the backup: processes that ran before must not go on after it. A row
 * of counters takes part in a request with its whole value, so rows of more than a few thousand counters can make a
 * commit too large for etcd (`unavailable`, not written). Bytes of a commit must not be changed by the caller until it
 * resolves; they are not copied.
 */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { silentLog } from "../core/log.ts";
import type { Log } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { assertCommit, assertKeys, assertScan } from "./bounds.ts";
import { parseEtcdAddress } from "./etcd_address.ts";
import type { EtcdAddress } from "./etcd_address.ts";
import { EtcdBatches } from "./etcd_batches.ts";
import { EtcdCluster } from "./etcd_cluster.ts";
import type { MemberOptions } from "./etcd_member.ts";
import { entryOf, EtcdReads } from "./etcd_reads.ts";
import { EtcdStore } from "./etcd_store.ts";
import { EtcdUpkeep } from "./etcd_upkeep.ts";
import { absent } from "./kv.ts";
import type { Check, Commit, CommitResult, Entry, Key, KeyRange, Kv, ScanOptions } from "./kv.ts";
import type { BatchFacts } from "./lmdb_batches.ts";

export type EtcdKvOptions = {
  /** `etcd://user:password@host:2379,host:2379/name` or `etcds://…?ca=file&cert=file&key=file`. */
  readonly url: string;
  /** Reads the files that the URL names. */
  readonly readFile?: (path: string) => Promise<Buffer>;
  readonly log?: Log;
  /** Called after each batch that was carried out. */
  readonly onBatch?: (facts: BatchFacts) => void;
  /** How often old states are given up, by one of the processes. */
  readonly compactionMs?: number;
};

/**
 * Errors: `invalid_argument` when the URL is not right; `unavailable` when the cluster cannot be reached or takes too
 * little at once (the message names the flags); `corrupt_record` when it holds a store this build does not know.
 */
export async function openEtcdKv(options: EtcdKvOptions): Promise<Kv> {
  const address = parseEtcdAddress(options.url);
  const tls = await tlsOf(address, options.readFile);
  const cluster = new EtcdCluster({ address, random: systemRandom, ...(tls === undefined ? {} : { tls }) });
  const store = new EtcdStore(cluster, address.name);
  try {
    await store.open();
  } catch (error) {
    cluster.close();
    throw error;
  }
  return new EtcdKv({ cluster, store, options });
}

async function tlsOf(address: EtcdAddress, readFile: EtcdKvOptions["readFile"]): Promise<MemberOptions["tls"]> {
  if (address.tls === undefined) return undefined;
  const files: Record<string, Buffer> = {};
  for (const [name, path] of Object.entries(address.tls)) {
    assert(readFile !== undefined, "an address that names files comes with a way to read them");
    files[name] = await readFile(path);
  }
  return files;
}

type Parts = { readonly cluster: EtcdCluster; readonly store: EtcdStore; readonly options: EtcdKvOptions };

class EtcdKv implements Kv {
  readonly name = "etcd";
  readonly #cluster: EtcdCluster;
  readonly #store: EtcdStore;
  readonly #batches: EtcdBatches;
  readonly #reads: EtcdReads;
  readonly #upkeep: EtcdUpkeep;
  #closing: Promise<void> | undefined;

  constructor({ cluster, store, options }: Parts) {
    const log = options.log ?? silentLog;
    this.#cluster = cluster;
    this.#store = store;
    this.#batches = new EtcdBatches({
      log,
      ...(options.onBatch === undefined ? {} : { onBatch: options.onBatch }),
      send: (operations, grows) => store.send(operations, grows),
      isFull: () => store.isFull(),
      prefixBytes: store.prefixBytes,
    });
    this.#reads = new EtcdReads({ read: (operations) => store.read(operations) });
    this.#upkeep = new EtcdUpkeep(store, log);
    this.#upkeep.start(options.compactionMs);
  }

  async get(keys: readonly Key[]): Promise<(Entry | undefined)[]> {
    assertKeys(keys);
    this.#assertOpen();
    return this.#reads.get(keys);
  }

  async scan(range: KeyRange, options: ScanOptions): Promise<Entry[]> {
    assertScan(range, options);
    this.#assertOpen();
    if (Buffer.compare(range.start, range.end) >= 0) return [];
    const { limit, reverse = false } = options;
    const rows = await this.#store.range({ key: range.start, end: range.end, limit, reverse });
    return rows.map(entryOf);
  }

  async commit(commit: Commit): Promise<CommitResult> {
    const bytes = assertCommit(commit);
    this.#assertOpen();
    return commit.writes.length === 0 ? this.#confirm(commit.checks) : this.#batches.submit(commit, bytes);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#upkeep.stop();
    await this.#batches.settled();
    this.#cluster.close();
  }

  /** Checks alone are a read: it needs no turn in etcd's log. */
  async #confirm(checks: readonly Check[]): Promise<CommitResult> {
    const rows = await this.#reads.get(checks.map(({ key }) => key));
    const failed = checks.find(({ version }, index) => (rows[index]?.version ?? absent) !== version);
    return failed === undefined ? { outcome: "committed" } : { outcome: "conflict", key: failed.key };
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new HoldfastError("unavailable", "The metadata store is closed.");
  }
}

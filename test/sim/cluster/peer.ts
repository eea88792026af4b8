/**
 * A peer over the simulated network: what node/peer_node.ts promises, with its health, its deadline and its errors, and without
 * sockets. A call is served by any process of the other machine that lives; one that stands still serves it when it goes
 * on, whether anybody waits for that any more or not.
 */
import type { Clock } from "../../../src/core/clock.ts";
import { HoldfastError } from "../../../src/core/errors.ts";
import type { DriveId } from "../../../src/core/ids.ts";
import { limits } from "../../../src/core/limits.ts";
import type { Random } from "../../../src/core/random.ts";
import { driveMissing } from "../../../src/node/node.ts";
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
} from "../../../src/node/node.ts";
import type { VerifyResult } from "../../../src/node/node.ts";
import { Late, within } from "../../../src/node/peer_deadline.ts";
import { decodeError, encodeError, peerAway } from "../../../src/node/peer_errors.ts";
import { PeerHealth } from "../../../src/node/peer_health.ts";
import type { PeerNode } from "../../../src/node/peer_node.ts";
import type { Power } from "../power.ts";
import type { Network } from "./network.ts";
import type { SimTime } from "./time.ts";

/** A process that serves calls of other nodes. */
export type Server = {
  readonly power: Power;
  readonly local: ChunkNode;
  /** All drives of the cluster, as that process reaches them. */
  readonly node: ChunkNode;
};

export type PeerParts = {
  readonly from: string;
  readonly to: string;
  /** Of the process that calls. */
  readonly power: Power;
  readonly network: Network;
  /** A process of the other machine; undefined where none listens. */
  readonly serverOf: (url: string) => Server | undefined;
  /** Whether the machine itself answers, if only to say that nobody listens. */
  readonly isOn: (url: string) => boolean;
  readonly onHealth: () => void;
  readonly time: SimTime;
  readonly clock: Clock;
  readonly random: Random;
};

type Work<T> = (node: ChunkNode, signal: AbortSignal, server: Server) => Promise<T>;

type Answer<T> =
  | { readonly kind: "answered"; readonly value: T }
  | { readonly kind: "refused"; readonly error: Error }
  | {
      readonly kind: "lost";
      readonly isSent: boolean;
      readonly blame: "peer" | "connection";
      readonly why: string;
      readonly isLate?: boolean;
    };

export class SimPeer implements PeerNode {
  readonly name: string;
  readonly drives: readonly DriveId[] = [];
  readonly #parts: PeerParts;
  readonly #health = new PeerHealth();
  readonly #underWay = new Set<Promise<unknown>>();
  #isClosed = false;

  constructor(parts: PeerParts) {
    this.name = parts.to;
    this.#parts = parts;
  }

  get isWell(): boolean {
    return this.#health.isWell;
  }

  async append(drive: DriveId, shard: Shard, signal?: AbortSignal): Promise<void> {
    // What was sent does not change any more when the caller's buffer does.
    const body = shard.body.map((piece) => Buffer.from(piece));
    await this.#ask((node, inner) => node.append(drive, { ...shard, body }, inner), { changes: true, signal });
  }

  read(drive: DriveId, ref: ShardRef, range: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    return this.#ask((node, inner) => node.read(drive, ref, range, inner), { signal });
  }

  /** Whoever serves it may lose the node that it reads from. */
  copy(drive: DriveId, shard: ShardCopy, signal?: AbortSignal): Promise<void> {
    const work: Work<void> = (local, inner, { node }) => {
      if (!local.drives.includes(drive)) throw driveMissing(drive);
      return node.copy!(drive, shard, inner);
    };
    return this.#ask(work, { changes: true, signal });
  }

  readRecord(drive: DriveId, ref: ShardRef, storedBytes: number, signal?: AbortSignal): Promise<RecordBytes> {
    return this.#ask((node, inner) => node.readRecord!(drive, ref, storedBytes, inner), { signal });
  }

  async remove(drive: DriveId, shards: readonly Removal[]): Promise<void> {
    const sent = [...shards];
    await this.#ask((node) => node.remove(drive, sent));
  }

  list(drive: DriveId, options: { readonly after?: ShardRef; readonly limit: number }): Promise<ListedShard[]> {
    return this.#ask((node) => node.list(drive, options));
  }

  verify(drive: DriveId, ref: ShardRef): Promise<VerifyResult> {
    return this.#ask((node) => node.verify(drive, ref));
  }

  discard(drive: DriveId, ref: ShardRef): Promise<"good" | "missing"> {
    return this.#ask((node) => node.discard(drive, ref));
  }

  async compact(): Promise<number> {
    return 0;
  }

  status(drive: DriveId): Promise<DriveStatus> {
    return this.#ask((node) => node.status(drive));
  }

  askDrives(): Promise<DriveId[]> {
    return this.#ask(async (node) => [...node.drives]);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#underWay);
  }

  async #ask<T>(
    work: Work<T>,
    { changes = false, signal }: { changes?: boolean; signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    if (this.#isClosed) throw new HoldfastError("unavailable", "The connection to another node is closed.");
    const asked = this.#exchange(work, changes, signal);
    this.#underWay.add(asked);
    try {
      return await asked;
    } finally {
      this.#underWay.delete(asked);
    }
  }

  async #exchange<T>(work: Work<T>, changes: boolean, signal: AbortSignal | undefined): Promise<T> {
    if (signal?.aborted) throw cancelled();
    const { clock, power, to: peer } = this.#parts;
    await power.before();
    const permit = this.#health.begin(clock.monotonicMs());
    if (permit.kind === "refused") throw peerAway({ peer, why: permit.why, isOutcomeUnknown: false });
    const answer = await within(clock, limits.peerCallMsMax, signal, async (inner) => {
      const first = await this.#attempt(work, inner);
      const isWorthAnother = first.kind === "lost" && first.blame === "connection" && !(changes && first.isSent);
      return isWorthAnother && !inner.aborted ? this.#attempt(work, inner) : first;
    });
    this.#learn(answer, permit.kind === "try", signal);
    await power.after();
    if (answer.kind === "answered") return answer.value;
    if (answer.kind === "refused") throw answer.error;
    if (signal?.aborted) throw cancelled();
    throw peerAway({ peer, why: answer.why, isOutcomeUnknown: answer.isSent && changes });
  }

  #learn(answer: Answer<unknown>, wasTry: boolean, signal: AbortSignal | undefined): void {
    const { clock, random, onHealth } = this.#parts;
    const nowMs = clock.monotonicMs();
    if (answer.kind !== "lost") {
      if (this.#health.answered()) onHealth();
    } else if (signal?.aborted) {
      if (wasTry) this.#health.leftOpen(nowMs);
    } else if (answer.blame === "peer" || wasTry || answer.isLate === true) {
      if (this.#health.failed(answer.why, { nowMs, wasTry, jitter: random.below(1_000) / 1_000 })) onHealth();
    }
  }

  async #attempt<T>(work: Work<T>, signal: AbortSignal): Promise<Answer<T>> {
    const { from, to, network, serverOf, isOn, time, random } = this.#parts;
    // Half of the calls find a connection, the others have to make one.
    if (random.below(2) === 0 && (!isOn(to) || network.isCut(from, to) || network.isCut(to, from))) {
      await time.sleep(limits.peerConnectMsMax, signal);
      return { kind: "lost", isSent: false, blame: "peer", why: "cannot be reached" };
    }
    const there = network.carry(from, to);
    if (there.kind === "broken") return { kind: "lost", isSent: true, blame: "connection", why: "broke off" };
    if (there.kind === "swallowed" || !isOn(to)) return this.#silence(signal);
    if (there.afterMs > 0) await time.sleep(there.afterMs, signal);
    const server = serverOf(to);
    if (server === undefined) return { kind: "lost", isSent: false, blame: "peer", why: "refuses connections" };
    const served = this.#serve(server, work, signal);
    const answer = await Promise.race([served, this.#silence(signal)]);
    if (answer.kind === "lost") return answer;
    const back = network.carry(to, from);
    if (back.kind === "broken") return { kind: "lost", isSent: true, blame: "connection", why: "broke off" };
    if (back.kind === "swallowed") return this.#silence(signal);
    if (back.afterMs > 0) await time.sleep(back.afterMs, signal);
    return answer;
  }

  /** Over there; it goes on when nobody waits for it any more, until it hears of that. */
  async #serve<T>(server: Server, work: Work<T>, signal: AbortSignal): Promise<Answer<T>> {
    const { power, local } = server;
    const gone = new AbortController();
    const leave = (): void => void this.#tellGone(gone, power);
    signal.addEventListener("abort", leave, { once: true });
    try {
      await power.before();
      const value = await work(local, gone.signal, server);
      await power.after();
      return { kind: "answered", value };
    } catch (error) {
      if (!power.on) return { kind: "lost", isSent: true, blame: "connection", why: "broke off" };
      return { kind: "refused", error: decodeError(encodeError(error)) };
    } finally {
      signal.removeEventListener("abort", leave);
    }
  }

  async #tellGone(gone: AbortController, power: Power): Promise<void> {
    const { from, to, network, time, random } = this.#parts;
    await time.sleep(random.below(1_000));
    if (network.isCut(from, to)) return;
    if (power.isPaused) await power.moving();
    // A process that goes on may look at what came before it sees that the connection has ended.
    if (random.below(2) === 0) await time.sleep(random.below(1_000));
    gone.abort();
  }

  /** Until the caller has enough of it. */
  async #silence(signal: AbortSignal): Promise<Answer<never>> {
    await untilAborted(signal);
    const isLate = signal.reason instanceof Late;
    const why = isLate ? "did not answer in time" : "was left";
    return { kind: "lost", isSent: true, blame: "connection", why, isLate };
  }
}

function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

function cancelled(): HoldfastError {
  return new HoldfastError("cancelled", "The call was cancelled.");
}

/**
 * The chunk node of another process tree, over the network: `ChunkNode`, served there by peer_door.ts.
 *
 * Promises beyond the contract's:
 *  1. Every call ends within peerCallMsMax. A peer that cannot be reached, does not know the secret or does not answer is
 *     `drive_missing`; from then on calls fail at once, until one that is let through finds the peer well (peer_health.ts).
 *     Time in which this process itself stood still is not held against the peer (peer_deadline.ts).
 *  2. An append or a copy that failed with `isOutcomeUnknown` may have been carried out, or may still be: the shard has to be taken
 *     for a stray until it was removed or found by `list`. Any other failure of an append left nothing.
 *  3. Connections, calls that wait and bytes of replies are bounded. Bytes of an append are sent from where they lie.
 *  4. A cancelled call ends its connection, unless it was still waiting for one. Like every append that is cancelled it may
 *     have been carried out.
 *
 * `compact` does nothing: every node compacts its own drives.
 *
 * Known gaps: a peer that is frozen is known by the first call that meets its deadline, not sooner. Nodes speak to each other
 * directly: an HTTP proxy between them that shares connections breaks the seals (one that passes bytes on is fine).
 */
import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { hasReason, HoldfastError } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
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
} from "./node.ts";
import { Late, within } from "./peer_deadline.ts";
import { decodeError, peerAway, type Trouble } from "./peer_errors.ts";
import { PeerHealth } from "./peer_health.ts";
import type { Answer, LaneCall, Lost } from "./peer_lane.ts";
import { Lanes } from "./peer_lanes.ts";
import { clusterKey, peerNamePattern } from "./peer_seal.ts";
import { takeRoom, type Room } from "./record_rooms.ts";
import { openRecord } from "./shard_copy.ts";
import {
  bodyOf,
  decodeDiscarded,
  decodeDrives,
  decodeListed,
  decodeStatus,
  decodeVerified,
  encodeArgs,
  type PeerRequest,
} from "./peer_wire.ts";

export type PeerOptions = {
  /** `http://host:port` or `https://host:port`. */
  readonly url: string;
  /** What it is called in errors and the log; the URL's host and port by default. */
  readonly name?: string;
  /** What this node calls itself to the peer. */
  readonly from: string;
  readonly secret: string;
  /** PEM of the authorities that may have signed the peer's certificate; the system's by default. Only for https. */
  readonly tls?: { readonly ca: string | Buffer };
  /** Those that the metadata store says the peer has; the peer itself decides about each call. */
  readonly drives: readonly DriveId[];
  /** Told when the peer stops to answer and when it answers again. Must not throw. */
  readonly onHealth?: () => void;
  /** Tests shorten them. */
  readonly connectMsMax?: number;
  readonly callMsMax?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

export type PeerNode = ChunkNode & {
  readonly name: string;
  /** False from a failure on until the peer has answered again. */
  readonly isWell: boolean;
  /** The drives that the peer has at this moment. */
  askDrives(): Promise<DriveId[]>;
};

/** Connects when the first call is made. Errors: `invalid_argument`. */
export function connectPeer(options: PeerOptions): PeerNode {
  return new Peer(options);
}

function urlOf({ url, tls }: PeerOptions): URL {
  const parsed = URL.parse(url);
  const isPlain = parsed?.protocol === "http:";
  if (parsed === null || (!isPlain && parsed.protocol !== "https:") || parsed.host === "")
    throw invalid("The address of a node looks like http://host:port or https://host:port.");
  if (parsed.pathname !== "/" || parsed.search !== "" || parsed.hash !== "" || parsed.username !== "")
    throw invalid("The address of a node has a host and a port, and nothing else.");
  if (isPlain && tls !== undefined) throw invalid("A certificate authority belongs to an https address.");
  return parsed;
}

function invalid(message: string): HoldfastError {
  return new HoldfastError("invalid_argument", message);
}

/** What is known of a call when it begins. */
type Asked = {
  readonly wasTry: boolean;
  /** Done twice it is not what it was once. */
  readonly changes: boolean;
  readonly signal: AbortSignal | undefined;
};

class Peer implements PeerNode {
  readonly drives: readonly DriveId[];
  readonly name: string;
  readonly #options: PeerOptions;
  readonly #callMsMax: number;
  readonly #lanes: Lanes;
  readonly #health = new PeerHealth();
  readonly #underWay = new Set<Promise<unknown>>();
  /** Calls that the peer's build does not know. A peer that was started anew is met anew. */
  readonly #unknown = new Set<PeerRequest["call"]>();
  #isClosed = false;

  constructor(options: PeerOptions) {
    const url = urlOf(options);
    if (!peerNamePattern.test(options.from))
      throw invalid(`A node's name has 1 to ${limits.peerNameCharsMax} letters, digits, '.', '_', '-', ':'.`);
    this.name = options.name ?? url.host;
    this.drives = options.drives;
    this.#options = options;
    this.#callMsMax = options.callMsMax ?? limits.peerCallMsMax;
    const { from, clock, random, tls } = options;
    const connectMsMax = options.connectMsMax ?? limits.peerConnectMsMax;
    const key = clusterKey(options.secret);
    this.#lanes = new Lanes({ url, ca: tls?.ca, key, from, connectMsMax, clock, random });
  }

  get isWell(): boolean {
    return this.#health.isWell;
  }

  async append(drive: DriveId, shard: Shard, signal?: AbortSignal): Promise<void> {
    const bytes = shard.body.reduce((sum, { length }) => sum + length, 0);
    assert(bytes >= 1 && bytes <= limits.chunkBytesMax, "a body has 1..chunkBytesMax bytes");
    await this.#ask({ call: "append", drive, shard }, signal);
  }

  async read(drive: DriveId, ref: ShardRef, range: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    const { offset, length } = range;
    assert(length <= limits.readBytesPerCall, "one read is at most readBytesPerCall long");
    assert(offset >= 0 && length >= 0 && offset + length <= limits.chunkBytesMax, "the range lies within the shard");
    const bytes = await this.#ask({ call: "read", drive, ref, range }, signal);
    if (bytes.length !== length) throw this.#broken("answered a read with another number of bytes");
    return bytes;
  }

  async remove(drive: DriveId, shards: readonly Removal[]): Promise<void> {
    for (let first = 0; first === 0 || first < shards.length; first += limits.peerRemoveRefsMax)
      await this.#ask({ call: "remove", drive, shards: shards.slice(first, first + limits.peerRemoveRefsMax) });
  }

  async list(
    drive: DriveId,
    { after, limit }: { readonly after?: ShardRef; readonly limit: number },
  ): Promise<ListedShard[]> {
    assert(limit >= 1 && limit <= limits.scanEntriesMax, "a page has 1..scanEntriesMax shards");
    return this.#read(decodeListed, await this.#ask({ call: "list", drive, after, limit }));
  }

  async verify(drive: DriveId, ref: ShardRef): Promise<VerifyResult> {
    return this.#read(decodeVerified, await this.#ask({ call: "verify", drive, ref }));
  }

  async discard(drive: DriveId, ref: ShardRef): Promise<"good" | "missing"> {
    return this.#read(decodeDiscarded, await this.#ask({ call: "discard", drive, ref }));
  }

  async compact(): Promise<number> {
    return 0;
  }

  async status(drive: DriveId): Promise<DriveStatus> {
    return this.#read(decodeStatus, await this.#ask({ call: "status", drive }));
  }

  async copy(drive: DriveId, shard: ShardCopy, signal?: AbortSignal): Promise<void> {
    await this.#askNewer({ call: "copy", drive, shard }, signal);
  }

  async readRecord(drive: DriveId, ref: ShardRef, storedBytes: number, signal?: AbortSignal): Promise<RecordBytes> {
    let taken: Room | undefined;
    const room = (bytes: number): Buffer => (taken = takeRoom(bytes)).bytes;
    const bytes = await this.#askNewer({ call: "record", drive, ref, storedBytes }, signal, room);
    if (openRecord(bytes, storedBytes) === undefined) throw this.#broken("answered with what is no record");
    return { bytes, release: () => taken?.release() };
  }

  async askDrives(): Promise<DriveId[]> {
    return this.#read(decodeDrives, await this.#ask({ call: "drives" }));
  }

  /** Waits for what is under way; each call has its deadline. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#underWay);
    this.#lanes.close();
  }

  /** For a call that not every build knows which one may meet. Errors: `unavailable` where the peer does not. */
  async #askNewer(request: PeerRequest, signal: AbortSignal | undefined, room?: LaneCall["room"]): Promise<Buffer> {
    const { call } = request;
    try {
      if (!this.#unknown.has(call)) return await this.#ask(request, signal, room);
    } catch (error) {
      if (!hasReason(error, "invalid_request")) throw error;
      this.#unknown.add(call);
    }
    throw this.#broken(`does not know the call ${call}`);
  }

  /** The reply's body. */
  async #ask(request: PeerRequest, signal?: AbortSignal, room?: LaneCall["room"]): Promise<Buffer> {
    if (this.#isClosed) throw new HoldfastError("unavailable", "The connection to another node is closed.");
    const asked = this.#exchange(request, signal, room);
    this.#underWay.add(asked);
    try {
      return await asked;
    } finally {
      this.#underWay.delete(asked);
    }
  }

  async #exchange(request: PeerRequest, signal: AbortSignal | undefined, room: LaneCall["room"]): Promise<Buffer> {
    if (signal?.aborted) throw cancelled(signal);
    const { clock } = this.#options;
    const call = { name: request.call, args: encodeArgs(request), body: bodyOf(request), room };
    const permit = this.#health.begin(clock.monotonicMs());
    if (permit.kind === "refused") throw this.#away(permit.why);
    const asked: Asked = { wasTry: permit.kind === "try", changes: ["append", "copy"].includes(request.call), signal };
    const onAnswer = (answer: Answer): void => this.#learn(answer, asked);
    let answer: Answer;
    try {
      answer = await within(clock, this.#callMsMax, signal, (inner) =>
        this.#lanes.run(call, { isRepeatable: !asked.changes, signal: inner, onAnswer }),
      );
    } catch (error) {
      // It never left the queue.
      if (asked.wasTry) this.#health.leftOpen(clock.monotonicMs());
      if (signal?.aborted) throw cancelled(signal);
      throw error instanceof Late ? this.#away("has no connection free", { cause: error }) : error;
    }
    if (answer.kind === "lost") throw this.#lost(answer, asked);
    if (answer.status === 200) return answer.body;
    throw this.#read(decodeError, answer.body);
  }

  #learn(answer: Answer, { wasTry, signal }: Asked): void {
    const { clock, random, log, onHealth } = this.#options;
    const nowMs = clock.monotonicMs();
    if (answer.kind === "answered") {
      if (!this.#health.answered()) return;
      log.info({ peer: this.name }, "A node is back.");
      onHealth?.();
    } else if (signal?.aborted || (answer.cause instanceof Late && answer.cause.wasAbsent)) {
      // The caller left, or this process was elsewhere while the peer may have answered.
      if (wasTry) this.#health.leftOpen(nowMs);
    } else if (answer.blame === "peer" || wasTry || answer.cause instanceof Late) {
      // A connection that ended under a call says little of the peer: the next one will find out.
      const [why, jitter] = [whyOf(answer), random.below(1_000) / 1_000];
      if (!this.#health.failed(why, { nowMs, wasTry, jitter })) return;
      log.warn({ peer: this.name, error: answer.cause }, `A node is away: it ${why}.`);
      onHealth?.();
      this.#lanes.refuseWaiting(this.#away(why));
    }
  }

  #lost(answer: Lost, { changes, signal }: Asked): HoldfastError {
    if (signal?.aborted) return cancelled(signal);
    const { isSent, cause } = answer;
    return this.#away(whyOf(answer), { cause, isOutcomeUnknown: isSent && changes });
  }

  #away(why: string, { cause, isOutcomeUnknown = false }: Partial<Trouble> = {}): HoldfastError {
    return peerAway({ peer: this.name, why, isOutcomeUnknown, cause });
  }

  /** It bears the peer's seal and is still not what it should be: the peer is of another build. */
  #broken(why: string, cause?: unknown): HoldfastError {
    return new HoldfastError("unavailable", `Node ${this.name} ${why}; it may be of another version.`, { cause });
  }

  #read<T>(decode: (bytes: Buffer) => T, bytes: Buffer): T {
    try {
      return decode(bytes);
    } catch (error) {
      throw this.#broken("answered what this one cannot read", error);
    }
  }
}

function whyOf({ cause, why }: Lost): string {
  return cause instanceof Late ? "did not answer in time" : why;
}

function cancelled(signal: AbortSignal): HoldfastError {
  return new HoldfastError("cancelled", "The call was cancelled.", { cause: signal.reason });
}

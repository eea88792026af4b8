/**
 * The connections of one process to one peer: peerConnectionsMax at most, and a bounded queue of calls that wait for one,
 * first come, first served. The connection used last is used next, so that those that are not needed fall silent and end.
 */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { Greetings, Lane, type Answer, type LaneCall, type LaneOptions } from "./peer_lane.ts";

type Waiting = { readonly resolve: (lane: Lane) => void; readonly reject: (error: unknown) => void };

type RunOptions = {
  readonly isRepeatable: boolean;
  readonly signal: AbortSignal;
  /** Called before the connection goes to a call that waits: what is learned from an answer concerns that one too. */
  readonly onAnswer: (answer: Answer) => void;
};

export class Lanes {
  readonly #options: LaneOptions;
  readonly #all: Lane[] = [];
  readonly #free: Lane[] = [];
  readonly #waiting = new Set<Waiting>();

  constructor(options: Omit<LaneOptions, "greetings">) {
    this.#options = { ...options, greetings: new Greetings() };
  }

  /**
   * Rejects only while the call waits: with `slow_down` when too many do, with the signal's reason, or with what
   * `refuseWaiting` was given. Then nothing was sent.
   */
  async run(call: LaneCall, { isRepeatable, signal, onAnswer }: RunOptions): Promise<Answer> {
    const lane = await this.#take(signal);
    try {
      let answer = await lane.exchange(call, signal);
      if (isWorthAnother(answer, isRepeatable) && !signal.aborted) answer = await lane.exchange(call, signal);
      onAnswer(answer);
      return answer;
    } finally {
      this.#release(lane);
    }
  }

  refuseWaiting(error: unknown): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const each of waiting) each.reject(error);
  }

  close(): void {
    for (const lane of this.#all) lane.close();
  }

  #take(signal: AbortSignal): Promise<Lane> {
    const free = this.#free.pop() ?? this.#more();
    if (free !== undefined) return Promise.resolve(free);
    if (this.#waiting.size >= limits.peerQueueMax)
      return Promise.reject(new HoldfastError("slow_down", "Too many calls wait for another node."));
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.delete(waiting);
        reject(signal.reason);
      };
      const waiting: Waiting = {
        resolve: (lane) => {
          signal.removeEventListener("abort", leave);
          resolve(lane);
        },
        reject: (error) => {
          signal.removeEventListener("abort", leave);
          reject(error);
        },
      };
      if (signal.aborted) return leave();
      signal.addEventListener("abort", leave, { once: true });
      this.#waiting.add(waiting);
    });
  }

  #more(): Lane | undefined {
    if (this.#all.length >= limits.peerConnectionsMax) return undefined;
    const lane = new Lane(this.#options);
    this.#all.push(lane);
    return lane;
  }

  #release(lane: Lane): void {
    const [next] = this.#waiting;
    if (next === undefined) return void this.#free.push(lane);
    this.#waiting.delete(next);
    next.resolve(lane);
  }
}

/** The connection was an older one that ended: the process behind it may have ended while others serve on. */
function isWorthAnother(answer: Answer, isRepeatable: boolean): boolean {
  return answer.kind === "lost" && answer.blame === "connection" && (isRepeatable || !answer.isSent);
}

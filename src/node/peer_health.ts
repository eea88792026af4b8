/**
 * Whether a peer is worth a call. Pure: times are given.
 *
 * Promises: after a failure calls are refused at once until some time has passed; then one call tries (others are still
 * refused), and its outcome decides. Each failed try doubles the time, up to peerRetryMsMax. An answer of any kind that
 * bears the peer's seal makes it well again.
 */
import { limits } from "../core/limits.ts";

type State =
  | { readonly kind: "well" }
  | { readonly kind: "away"; readonly why: string; readonly untilMs: number; readonly waitMs: number }
  | { readonly kind: "tried"; readonly why: string; readonly waitMs: number };

export type Permit = { readonly kind: "go" } | { readonly kind: "try" } | { readonly kind: "refused"; why: string };

export class PeerHealth {
  #state: State = { kind: "well" };

  get isWell(): boolean {
    return this.#state.kind === "well";
  }

  /** Who is told `try` ends it with `answered`, `failed` or `leftOpen`. */
  begin(nowMs: number): Permit {
    const state = this.#state;
    if (state.kind === "well") return { kind: "go" };
    if (state.kind === "tried" || nowMs < state.untilMs) return { kind: "refused", why: state.why };
    this.#state = { kind: "tried", why: state.why, waitMs: state.waitMs };
    return { kind: "try" };
  }

  /** True when the peer was away. */
  answered(): boolean {
    const wasAway = this.#state.kind !== "well";
    this.#state = { kind: "well" };
    return wasAway;
  }

  /**
   * True when the peer was well. What began before the peer was known to be away changes nothing any more.
   * `jitter` in [0, 1): processes that lost a peer at the same moment do not all come back at one.
   */
  failed(why: string, { nowMs, wasTry, jitter }: { nowMs: number; wasTry: boolean; jitter: number }): boolean {
    const state = this.#state;
    if (state.kind === "away" || (state.kind === "tried" && !wasTry)) return false;
    const waitMs = state.kind === "well" ? limits.peerRetryMsMin : Math.min(2 * state.waitMs, limits.peerRetryMsMax);
    this.#state = { kind: "away", why, untilMs: nowMs + waitMs * (1 - jitter / 4), waitMs };
    return state.kind === "well";
  }

  /** The try told nothing (its caller left): the next call may try. */
  leftOpen(nowMs: number): void {
    const state = this.#state;
    if (state.kind === "tried") this.#state = { ...state, kind: "away", untilMs: nowMs };
  }
}

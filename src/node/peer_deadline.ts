/**
 * Deadlines of what is asked of another node, by a process that knows its own pauses.
 *
 * A timer that comes late says that this process stood still, or waited for its turn on the processor, and not that the other one was
 * silent: its answer may lie in the socket, to be read right after the timer. So a deadline is waited for in parts, and each part counts
 * once, however late it comes (compare the local health of Lifeguard, arXiv:1707.00788, and the pauses that a phi accrual detector
 * is told to accept). What was counted like that is *attended* time.
 */
import type { Clock } from "../core/clock.ts";

/** The reason of a signal that a deadline aborted. */
export class Late extends Error {
  override name = "Late";
  /** For the larger part of the time nobody here could have heard an answer: it says nothing about the other side. */
  readonly wasAbsent: boolean;

  constructor(timeoutMs: number, wasAbsent: boolean) {
    super(`no answer within ${timeoutMs} ms`);
    this.wasAbsent = wasAbsent;
  }
}

/** A reason that is given spares the making of one, with its stack, for every call. */
const isOver = new Error("The call is over.");

/** Of a deadline. */
const parts = 8;

/** Runs with a signal that aborts when the outer one does or the time is over, and leaves neither timer nor listener. */
export function within<T>(
  clock: Clock,
  timeoutMs: number,
  outer: AbortSignal | undefined,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return runUntil((over) => passed(clock, timeoutMs, over), outer, run);
}

/** Like `within`, and the time is over only when so much of it was attended: whoever calls has a bound on the whole. */
export function withinAttended<T>(
  clock: Clock,
  timeoutMs: number,
  outer: AbortSignal,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return runUntil((over) => attended(clock, timeoutMs, over), outer, run);
}

async function runUntil<T>(
  deadline: (over: AbortSignal) => Promise<Late>,
  outer: AbortSignal | undefined,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const ender = new AbortController();
  const over = new AbortController();
  const pass = (): void => ender.abort(outer?.reason);
  if (outer?.aborted === true) pass();
  else outer?.addEventListener("abort", pass, { once: true });
  void deadline(over.signal).then((late) => {
    if (!over.signal.aborted) ender.abort(late);
  });
  try {
    return await run(ender.signal);
  } finally {
    over.abort(isOver);
    outer?.removeEventListener("abort", pass);
  }
}

async function passed(clock: Clock, timeoutMs: number, over: AbortSignal): Promise<Late> {
  const sinceMs = clock.monotonicMs();
  let attendedMs = 0;
  for (let leftMs = timeoutMs; leftMs > 0 && attendedMs < timeoutMs && !over.aborted;) {
    const partMs = Math.min(timeoutMs / parts, leftMs);
    await clock.sleep(partMs, over);
    attendedMs += partMs;
    leftMs = timeoutMs - (clock.monotonicMs() - sinceMs);
  }
  return new Late(timeoutMs, attendedMs < timeoutMs / 2);
}

async function attended(clock: Clock, timeoutMs: number, over: AbortSignal): Promise<Late> {
  for (let part = 0; part < parts && !over.aborted; part++) await clock.sleep(timeoutMs / parts, over);
  return new Late(timeoutMs, false);
}

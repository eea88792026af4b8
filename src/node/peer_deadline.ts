import type { Clock } from "../core/clock.ts";

/** The reason of a signal that a deadline aborted. */
export class Late extends Error {
  override name = "Late";
}

/** A reason that is given spares the making of one, with its stack, for every call. */
const isOver = new Error("The call is over.");

/** Runs with a signal that aborts when the outer one does or the time is over, and leaves neither timer nor listener. */
export async function within<T>(
  clock: Clock,
  timeoutMs: number,
  outer: AbortSignal | undefined,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const ender = new AbortController();
  const over = new AbortController();
  const pass = (): void => ender.abort(outer?.reason);
  if (outer?.aborted === true) pass();
  else outer?.addEventListener("abort", pass, { once: true });
  const onTime = (): void => {
    if (!over.signal.aborted) ender.abort(new Late(`no answer within ${timeoutMs} ms`));
  };
  void clock.sleep(timeoutMs, over.signal).then(onTime);
  try {
    return await run(ender.signal);
  } finally {
    over.abort(isOver);
    outer?.removeEventListener("abort", pass);
  }
}

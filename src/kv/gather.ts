/**
 * When to stop gathering commits and write them together: as soon as a turn of the event loop brought no more. So a lone
 * commit waits for nobody, and a busy process makes large batches, for a batch alone costs as much as a dozen commits
 * (docs/decisions/0002). Under unbroken load a batch begins after gatherMsMax all the same.
 */
import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";

export const gatherMsMax = 3;

/** Resolves in a later turn. `count` says how many there are so far; it only grows meanwhile. */
export function gathered(count: () => number, clock: Pick<Clock, "monotonicMs"> = systemClock): Promise<void> {
  const startedMs = clock.monotonicMs();
  let before = count();
  return new Promise((resolve) => {
    const turn = (): void => {
      const now = count();
      if (now === before || clock.monotonicMs() - startedMs >= gatherMsMax) return resolve();
      before = now;
      setImmediate(turn);
    };
    setImmediate(turn);
  });
}

/** What a pattern could match, without a text to match it with. */
import type { GlobToken } from "./glob.ts";

/**
 * Whether the pattern matches `text` (`whole`), or some longer text that starts with it (`start`). All ways to read it are
 * followed at once, so that it takes the product of both lengths at most.
 */
export function reaches(tokens: readonly GlobToken[], text: string, how: "whole" | "start"): boolean {
  const steps = stepsOf(tokens);
  let states = closed(new Set([0]), steps);
  for (const char of text) {
    const next = new Set<number>();
    for (const state of states) {
      const step = steps[state];
      if (step === "any") next.add(state);
      else if (step === "one" || step === char) next.add(state + 1);
    }
    states = closed(next, steps);
    if (states.size === 0) return false;
  }
  if (how === "whole") return states.has(steps.length);
  return [...states].some((state) => state < steps.length);
}

/** One character each, or a wildcard. No character is spelled like one. */
function stepsOf(tokens: readonly GlobToken[]): string[] {
  return tokens.flatMap((token) => (token.kind === "text" ? Array.from(token.text) : [token.kind]));
}

/** An asterisk may also stand for nothing. */
function closed(states: Set<number>, steps: readonly string[]): Set<number> {
  for (const state of states) if (steps[state] === "any") states.add(state + 1);
  return states;
}

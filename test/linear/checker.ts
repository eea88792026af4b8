/**
 * A linearizability checker for one key (Wing and Gong's search with Lowe's memory of visited states): is there an order
 * of the operations that agrees with real time and in which each answer is what a single copy would have given?
 * Keys are independent objects, and linearizability is local, so a store is checked key by key.
 */

/** An ETag, or undefined for "nothing there". */
export type State = string | undefined;

export type Call =
  | { readonly kind: "get"; readonly ifMatch?: string }
  /** The three ways to put a body under a key: at once, from parts, from another key. */
  | {
      readonly kind: "put" | "complete" | "copy";
      readonly etag: string;
      readonly ifMatch?: string;
      readonly ifNoneMatch?: "*";
    }
  | { readonly kind: "delete"; readonly ifMatch?: string };

export type Answer =
  | { readonly kind: "value"; readonly etag: State }
  | { readonly kind: "done" }
  /** 412 or 404 to a condition. */
  | { readonly kind: "refused" }
  /** No answer came, or one that leaves it open: it may have happened at any time since the start, or never. */
  | { readonly kind: "unknown" };

export type Operation = {
  readonly startMs: number;
  /** Infinity where the outcome is unknown. */
  readonly endMs: number;
  readonly call: Call;
  readonly answer: Answer;
};

/** The state after the operation, or "impossible" if this answer could not be given in this state. */
function apply(state: State, { call, answer }: Operation): { next: State } | "impossible" {
  const holds = conditionHolds(state, call);
  if (answer.kind === "refused") return holds ? "impossible" : { next: state };
  if (call.kind === "get")
    return holds && answer.kind === "value" && answer.etag === state ? { next: state } : "impossible";
  // An unknown outcome whose condition fails changed nothing; a done one must have had its condition.
  if (!holds) return answer.kind === "unknown" ? { next: state } : "impossible";
  return { next: call.kind === "delete" ? undefined : call.etag };
}

function conditionHolds(state: State, call: Call): boolean {
  if (call.ifMatch !== undefined && call.ifMatch !== state) return false;
  return !("ifNoneMatch" in call && call.ifNoneMatch === "*" && state !== undefined);
}

/** Whether an operation's answer says anything about the state it found, and this state would do. */
function wouldSee(state: State, operation: Operation): boolean {
  const { call, answer } = operation;
  if (call.kind !== "get" && call.ifMatch === undefined && !("ifNoneMatch" in call)) return false;
  if (answer.kind === "unknown") return conditionHolds(state, call);
  return apply(state, operation) !== "impossible";
}

/**
 * A place in the search. Answered operations are numbered by their start: all below `low` are placed, and those in `beyond`.
 * Unanswered ones may stay out for good, so they are kept apart: those that were taken in are in `used`.
 */
type Frame = {
  readonly low: number;
  readonly beyond: readonly number[];
  readonly used: readonly number[];
  readonly state: State;
};

const gaveUp = "gave up";

/** The search was too long: such a history says nothing. */
export function isInconclusive(found: string | undefined): boolean {
  return found?.startsWith(gaveUp) ?? false;
}

/** Undefined if the history is linearizable, else a sentence. `statesMax` bounds the search. */
export function checkHistory(initial: State, history: readonly Operation[], statesMax = 500_000): string | undefined {
  const sorted = history.toSorted((a, b) => a.startMs - b.startMs);
  const answered = sorted.filter((each) => each.answer.kind !== "unknown");
  const unanswered = sorted.filter((each) => each.answer.kind === "unknown" && each.call.kind !== "get");
  const visited = new Set<string>();
  const stack: Frame[] = [{ low: 0, beyond: [], used: [], state: initial }];
  let farthest = 0;
  while (stack.length > 0) {
    const frame = stack.pop()!;
    if (frame.low === answered.length) return undefined;
    const id = `${frame.low} ${frame.beyond.join()} ${frame.used.join()} ${frame.state ?? ""}`;
    if (visited.has(id)) continue;
    visited.add(id);
    if (visited.size > statesMax) return `${gaveUp} after ${statesMax} states; use a shorter history`;
    farthest = Math.max(farthest, frame.low);
    stack.push(...successors(frame, answered, unanswered));
  }
  return `no order explains these answers: ${JSON.stringify(answered.slice(Math.max(0, farthest - 3), farthest + 10))}`;
}

/** What may come next: operations that began before any other one not yet placed has ended. The likeliest come last. */
function successors(frame: Frame, answered: readonly Operation[], unanswered: readonly Operation[]): Frame[] {
  const open: number[] = [];
  let earliestEnd = Infinity;
  for (let index = frame.low; index < answered.length && answered[index]!.startMs <= earliestEnd; index++) {
    if (frame.beyond.includes(index)) continue;
    open.push(index);
    earliestEnd = Math.min(earliestEnd, answered[index]!.endMs);
  }
  const likeliest = open
    .filter((index) => answered[index]!.startMs <= earliestEnd)
    .sort((a, b) => answered[b]!.endMs - answered[a]!.endMs);
  const next = unansweredNext(frame, { unanswered, earliestEnd, open: likeliest.map((index) => answered[index]!) });
  for (const index of likeliest) {
    const result = apply(frame.state, answered[index]!);
    if (result !== "impossible") next.push({ ...place(frame, index), state: result.next });
  }
  return next;
}

/**
 * Unanswered operations that may have happened now. One whose effect the very next operation does not see can be left out of
 * an order without making it wrong, so only those are tried that one of the next would see: without that, a few dozen of
 * them make the search endless.
 */
function unansweredNext(
  frame: Frame,
  {
    unanswered,
    earliestEnd,
    open,
  }: { unanswered: readonly Operation[]; earliestEnd: number; open: readonly Operation[] },
): Frame[] {
  const startable = [...unanswered.entries()].filter(
    ([index, { startMs }]) => startMs <= earliestEnd && !frame.used.includes(index),
  );
  const next: Frame[] = [];
  for (const [index, operation] of startable) {
    const result = apply(frame.state, operation);
    // One that changes nothing here is as good as not there.
    if (result === "impossible" || result.next === frame.state) continue;
    const isSeen =
      open.some((each) => wouldSee(result.next, each)) ||
      startable.some(([other, each]) => other !== index && wouldSee(result.next, each));
    if (!isSeen) continue;
    next.push({ ...frame, used: [...frame.used, index].sort((a, b) => a - b), state: result.next });
  }
  return next;
}

function place(frame: Frame, index: number): Frame {
  const beyond = [...frame.beyond, index].sort((a, b) => a - b);
  let { low } = frame;
  while (beyond[0] === low) {
    beyond.shift();
    low += 1;
  }
  return { ...frame, low, beyond };
}

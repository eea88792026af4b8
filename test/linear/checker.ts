/**
 * A linearizability checker for one key (Wing and Gong's search with Lowe's memory of visited states): is there an order
 * of the operations that agrees with real time and in which each answer is what a single copy would have given?
 * Keys are independent objects, and linearizability is local, so a store is checked key by key.
 */

/** An ETag, or undefined for "nothing there". */
export type State = string | undefined;

export type Operation = {
  readonly startMs: number;
  /** Infinity where the answer never came: it may have happened at any time since the start, or never. */
  readonly endMs: number;
  readonly call:
    | { readonly kind: "get" }
    | { readonly kind: "put"; readonly etag: string; readonly ifMatch?: string; readonly ifNoneMatch?: "*" }
    | { readonly kind: "delete"; readonly ifMatch?: string };
  /** What was answered; `unknown` where no answer came. `refused` is 412 or 404 to a condition. */
  readonly answer:
    | { readonly kind: "value"; readonly etag: State }
    | { readonly kind: "done" }
    | { readonly kind: "refused" }
    | { readonly kind: "unknown" };
};

/** The state after the operation, or "impossible" if this answer could not be given in this state. */
function apply(state: State, { call, answer }: Operation): { next: State } | "impossible" {
  if (call.kind === "get") return answer.kind === "value" && answer.etag === state ? { next: state } : "impossible";
  const holds = conditionHolds(state, call);
  if (answer.kind === "refused") return holds ? "impossible" : { next: state };
  // An unknown outcome whose condition fails changed nothing; a done one must have had its condition.
  if (!holds) return answer.kind === "unknown" ? { next: state } : "impossible";
  return { next: call.kind === "put" ? call.etag : undefined };
}

function conditionHolds(state: State, call: Exclude<Operation["call"], { kind: "get" }>): boolean {
  if (call.ifMatch !== undefined && call.ifMatch !== state) return false;
  return !(call.kind === "put" && call.ifNoneMatch === "*" && state !== undefined);
}

/**
 * A place in the search. Answered operations are numbered by their start: all below `low` are placed, and those in `beyond`.
 * Unanswered ones may stay out for good, so they are counted apart, as bits of `used`.
 */
type Frame = { readonly low: number; readonly beyond: readonly number[]; readonly used: number; readonly state: State };

const unansweredMax = 30;

/** Undefined if the history is linearizable, else a sentence. `statesMax` bounds the search. */
export function checkHistory(initial: State, history: readonly Operation[], statesMax = 500_000): string | undefined {
  const sorted = history.toSorted((a, b) => a.startMs - b.startMs);
  const answered = sorted.filter((each) => each.answer.kind !== "unknown");
  const unanswered = sorted.filter((each) => each.answer.kind === "unknown" && each.call.kind !== "get");
  if (unanswered.length > unansweredMax) return `${unanswered.length} unanswered operations are too many to search`;
  const visited = new Set<string>();
  const stack: Frame[] = [{ low: 0, beyond: [], used: 0, state: initial }];
  let farthest = 0;
  while (stack.length > 0) {
    const frame = stack.pop()!;
    if (frame.low === answered.length) return undefined;
    const id = `${frame.low} ${frame.beyond.join()} ${frame.used} ${frame.state ?? ""}`;
    if (visited.has(id)) continue;
    visited.add(id);
    if (visited.size > statesMax) return `gave up after ${statesMax} states; use a shorter history`;
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
  const next: Frame[] = [];
  for (const [index, operation] of unanswered.entries()) {
    if (operation.startMs > earliestEnd || (frame.used >>> index) & 1) continue;
    const result = apply(frame.state, operation);
    // One that changes nothing here is as good as not there.
    if (result === "impossible" || result.next === frame.state) continue;
    next.push({ ...frame, used: frame.used | (1 << index), state: result.next });
  }
  const likeliest = open
    .filter((index) => answered[index]!.startMs <= earliestEnd)
    .sort((a, b) => answered[b]!.endMs - answered[a]!.endMs);
  for (const index of likeliest) {
    const result = apply(frame.state, answered[index]!);
    if (result !== "impossible") next.push({ ...place(frame, index), state: result.next });
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

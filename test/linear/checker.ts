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

/** Undefined if the history is linearizable, else a sentence. `statesMax` bounds the search. */
export function checkHistory(initial: State, history: readonly Operation[], statesMax = 2_000_000): string | undefined {
  const operations = history
    .filter((each) => !(each.call.kind === "get" && each.answer.kind === "unknown"))
    .sort((a, b) => a.startMs - b.startMs);
  const visited = new Set<string>();
  type Frame = { readonly done: bigint; readonly state: State };
  const stack: Frame[] = [{ done: 0n, state: initial }];
  const required = operations.reduce(
    (mask, each, index) => (each.answer.kind === "unknown" ? mask : mask | (1n << BigInt(index))),
    0n,
  );
  while (stack.length > 0) {
    const frame = stack.pop()!;
    if ((frame.done & required) === required) return undefined;
    const id = `${frame.done.toString(36)} ${frame.state ?? ""}`;
    if (visited.has(id)) continue;
    visited.add(id);
    if (visited.size > statesMax) return `gave up after ${statesMax} states; use a shorter history`;
    for (const index of candidates(operations, frame.done)) {
      const result = apply(frame.state, operations[index]!);
      if (result !== "impossible") stack.push({ done: frame.done | (1n << BigInt(index)), state: result.next });
    }
  }
  return `no order of these ${operations.length} operations explains their answers: ${JSON.stringify(operations.slice(0, 40))}`;
}

/** Operations that may be next: those not done that began before the earliest end of any other not done. */
function candidates(operations: readonly Operation[], done: bigint): number[] {
  const open: number[] = [];
  let earliestEnd = Infinity;
  for (let index = 0; index < operations.length; index++) {
    const operation = operations[index]!;
    if (operation.startMs > earliestEnd) break;
    if ((done >> BigInt(index)) & 1n) continue;
    open.push(index);
    earliestEnd = Math.min(earliestEnd, operation.endMs);
  }
  return open.filter((index) => operations[index]!.startMs <= earliestEnd);
}

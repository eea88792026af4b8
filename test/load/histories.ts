/**
 * What was asked and answered, key by key, and what is wrong with it: found at once (bytes that are not what their ETag
 * stands for, a refusal without a reason), or by the checker for linearizability when a history is looked at.
 */
import { checkHistory, isInconclusive } from "../linear/checker.ts";
import type { Answer, Call, Operation, State } from "../linear/checker.ts";
import { makeBody, whatIs, type BodySpec } from "./bodies.ts";

type History = { initial: State; operations: Operation[] };

/** An operation without an answer is thought of for so long; no process may come back to it later. */
const unansweredKeptMs = 180_000;

export class Histories {
  readonly #histories = new Map<string, History>();
  /** Every body that was ever sent, by its ETag. */
  readonly #bodies = new Map<string, BodySpec>();
  readonly #wrong: string[] = [];
  /** Histories whose search was too long to say anything. */
  inconclusive = 0;
  checked = 0;

  keys(): string[] {
    return [...this.#histories.keys()];
  }

  /** Before it is sent: whoever reads it may be faster than its answer. */
  sending(etag: string, spec: BodySpec): void {
    this.#bodies.set(etag, spec);
  }

  sizeOf(etag: string): number | undefined {
    return this.#bodies.get(etag)?.sizeBytes;
  }

  record(key: string, { startMs, call, answer }: { startMs: number; call: Call; answer: Answer }): void {
    const endMs = answer.kind === "unknown" ? Infinity : performance.now();
    let history = this.#histories.get(key);
    if (history === undefined) this.#histories.set(key, (history = { initial: undefined, operations: [] }));
    history.operations.push({ startMs, endMs, call, answer });
  }

  wrong(sentence: string): void {
    this.#wrong.push(sentence);
  }

  /** Whether anything was found wrong that was not taken yet. */
  get isWrong(): boolean {
    return this.#wrong.length > 0;
  }

  /** Takes what was found wrong so far. */
  takeWrong(): string[] {
    return this.#wrong.splice(0);
  }

  /** Whole bodies are checked by what they say themselves, ranges by what the ETag stands for. */
  checkBody(key: string, etag: string, bytes: Buffer, range?: { readonly from: number; readonly to: number }): void {
    const sent = this.#bodies.get(etag);
    if (sent === undefined) return this.wrong(`${key}: has the ETag ${etag}, which nobody sent`);
    if (range !== undefined) {
      const expected = makeBody(sent).subarray(range.from, range.to + 1);
      if (!expected.equals(bytes)) this.wrong(`${key}: wrong bytes in ${range.from}-${range.to} of ${etag}`);
      return;
    }
    const found = whatIs(bytes);
    const size = Math.max(sent.sizeBytes, bytes.length);
    if (found?.seed !== sent.seed || bytes.length !== size)
      this.wrong(`${key}: ${bytes.length} bytes are not those of ${etag} (${JSON.stringify(sent)})`);
  }

  /**
   * Checks every history. `quiet` are the keys that were read just now while nothing else went on: their histories begin
   * anew from what was read, so that they do not grow for ever.
   */
  check(quiet: ReadonlySet<string>): void {
    for (const [key, history] of this.#histories) {
      const found = checkHistory(history.initial, history.operations);
      this.checked += 1;
      if (isInconclusive(found)) this.inconclusive += 1;
      else if (found !== undefined) this.wrong(`${key}: ${found}`);
      if (quiet.has(key)) this.#beginAnew(history);
    }
  }

  #beginAnew(history: History): void {
    const last = history.operations.findLast(({ answer }) => answer.kind === "value");
    if (last?.answer.kind !== "value") return;
    history.initial = last.answer.etag;
    const since = performance.now() - unansweredKeptMs;
    history.operations = history.operations.filter(
      ({ answer, startMs }) => answer.kind === "unknown" && startMs > since,
    );
  }
}

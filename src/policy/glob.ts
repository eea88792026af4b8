/**
 * `*` stands for any characters, none included, and `?` for exactly one. A pattern is cut at its asterisks; the pieces are then
 * looked for one after the other, each as early as it can be, so that nothing is ever tried again: matching takes time
 * in proportion to the text, times the question marks in one piece (of which a document has a bounded number).
 */

/** A part of a pattern: text that means itself, or one of the wildcards. */
export type GlobToken =
  { readonly kind: "text"; readonly text: string } | { readonly kind: "any" } | { readonly kind: "one" };

/** What stands between two asterisks: `?` signs, then runs of text, each with the `?` signs that follow it. */
type Piece = { readonly lead: number; readonly runs: readonly Run[] };
type Run = { readonly text: string; readonly gap: number };

export class Glob {
  readonly #pieces: readonly Piece[];
  /** The whole pattern, where it has no wildcard. */
  readonly literal: string | undefined;
  /** What stands before the one asterisk, at the end: most patterns are like that. */
  readonly #start: string | undefined;
  /** Any text at all matches. */
  readonly isEverything: boolean;

  constructor(tokens: readonly GlobToken[]) {
    this.#pieces = piecesOf(tokens);
    const [first] = this.#pieces as [Piece, ...Piece[]];
    const [run] = first.runs;
    const isLiteral = this.#pieces.length === 1 && isPlain(first);
    this.literal = isLiteral ? (run?.text ?? "") : undefined;
    const isStart = this.#pieces.length === 2 && isPlain(first) && isNothing(this.#pieces[1]!);
    this.#start = isStart ? (run?.text ?? "") : undefined;
    this.isEverything = this.#pieces.length > 1 && this.#pieces.every(isNothing);
  }

  matches(text: string): boolean {
    if (this.literal !== undefined) return text === this.literal;
    if (this.#start !== undefined) return text.startsWith(this.#start);
    const last = this.#pieces.length - 1;
    const first = this.#pieces[0]!;
    const start = first.lead === 0 ? 0 : skip(text, 0, first.lead);
    let at = start < 0 ? -1 : fit(first.runs, text, start);
    if (last === 0) return at === text.length;
    for (let index = 1; index < last && at >= 0; index++) at = find(this.#pieces[index]!, text, at, false);
    return at >= 0 && endsWith(this.#pieces[last]!, text, at);
  }
}

/** Without a `?`. */
function isPlain({ lead, runs }: Piece): boolean {
  return lead === 0 && (runs.length === 0 || (runs.length === 1 && runs[0]!.gap === 0));
}

function isNothing({ lead, runs }: Piece): boolean {
  return lead === 0 && runs.length === 0;
}

function piecesOf(tokens: readonly GlobToken[]): Piece[] {
  const pieces: { lead: number; runs: { text: string; gap: number }[] }[] = [{ lead: 0, runs: [] }];
  for (const token of tokens) {
    const piece = pieces.at(-1)!;
    const run = piece.runs.at(-1);
    if (token.kind === "any") pieces.push({ lead: 0, runs: [] });
    else if (token.kind === "one" && run === undefined) piece.lead += 1;
    else if (token.kind === "one") run!.gap += 1;
    else if (token.text === "") continue;
    else if (run?.gap === 0) run.text += token.text;
    else piece.runs.push({ text: token.text, gap: 0 });
  }
  return pieces;
}

/** Behind `count` characters from `at`, or -1. A character beyond the basic plane is one, though it has two code units. */
function skip(text: string, at: number, count: number): number {
  for (let left = count; left > 0; left--) {
    if (at >= text.length) return -1;
    at += text.codePointAt(at)! > 0xffff ? 2 : 1;
  }
  return at;
}

/** Where the runs end that begin at `at`, or -1 when they do not stand there. */
function fit(runs: readonly Run[], text: string, at: number): number {
  let end = at;
  for (const run of runs) {
    if (end < 0 || !text.startsWith(run.text, end)) return -1;
    end = skip(text, end + run.text.length, run.gap);
  }
  return end;
}

/**
 * Where the first such piece ends that begins at `from` or later, or -1. It stands behind an asterisk, which takes what is
 * before it; the last piece of a pattern also has to end with the text.
 */
function find({ lead, runs }: Piece, text: string, from: number, isLast: boolean): number {
  const start = lead === 0 ? from : skip(text, from, lead);
  const first = runs[0];
  if (start < 0 || first === undefined) return start < 0 || !isLast ? start : text.length;
  // What was found needs no second look where nothing follows it.
  const isAlone = runs.length === 1 && first.gap === 0;
  for (let at = text.indexOf(first.text, start); at >= 0; at = text.indexOf(first.text, at + 1)) {
    const end = isAlone ? at + first.text.length : fit(runs, text, at);
    if (end >= 0 && (!isLast || end === text.length)) return end;
  }
  return -1;
}

function endsWith(piece: Piece, text: string, from: number): boolean {
  if (!isPlain(piece)) return find(piece, text, from, true) >= 0;
  const end = piece.runs[0]?.text ?? "";
  return text.length - end.length >= from && text.endsWith(end);
}

/**
 * Which statements of a policy may be about a request, found without looking at all of them. Whether an action is meant is found out
 * once for each action. Of what is left, patterns of resources begin with text of their own, up to the first wildcard or
 * variable: these beginnings are sorted, and those that a resource begins with are found by bisection. Between a text and the longest
 * beginning of it there are only longer texts with that same beginning, so it is the one that is found or one that the found one begins with.
 */
import { limits } from "../core/limits.ts";
import type { Statement } from "./statement.ts";
import type { Token } from "./template.ts";

/** Statements by where they stand in the policy. */
type Places = ReadonlySet<number>;

/** Resources that begin with `start` and with no longer one. */
type Group = {
  readonly start: string;
  readonly own: Places;
  /** The longest other one that it begins with. */
  readonly within: Group | undefined;
  /** Of this one and all that it begins with, made when it is first found. */
  statements: readonly Statement[] | undefined;
};

export class StatementIndex {
  readonly #all: readonly Statement[];
  readonly #byAction = new Map<string, readonly Group[]>();
  /** By the places of the statements that are about an action: many actions have these in common. */
  readonly #byPlaces = new Map<string, readonly Group[]>();
  #groupsKept = 0;

  constructor(statements: readonly Statement[]) {
    this.#all = statements;
  }

  /**
   * In the order of the policy: all statements about this action (in lower case) that may be about this resource. Each of the others is
   * about another action or names no resource that begins so.
   */
  candidates(action: string, resource: string): readonly Statement[] {
    let group = lastUpTo(this.#groups(action), resource);
    while (!resource.startsWith(group.start)) group = group.within!;
    return (group.statements ??= this.#statementsOf(group));
  }

  #groups(action: string): readonly Group[] {
    const known = this.#byAction.get(action);
    if (known !== undefined) return known;
    const places = [...this.#all.keys()].filter((place) => isAbout(this.#all[place]!, action));
    const name = places.join();
    const groups = this.#byPlaces.get(name) ?? this.#kept(name, groupsOf(this.#all, places));
    // As many as there are actions at most, which are few.
    this.#byAction.set(action, groups);
    return groups;
  }

  /** Whoever writes a policy says how many beginnings it has, and whoever asks how often they are sorted anew for an action. */
  #kept(name: string, groups: readonly Group[]): readonly Group[] {
    if (this.#groupsKept + groups.length > limits.policyBeginningsKept) {
      this.#byAction.clear();
      this.#byPlaces.clear();
      this.#groupsKept = 0;
    }
    this.#byPlaces.set(name, groups);
    this.#groupsKept += groups.length;
    return groups;
  }

  #statementsOf(group: Group): Statement[] {
    const places = new Set<number>();
    for (let at: Group | undefined = group; at !== undefined; at = at.within)
      for (const place of at.own) places.add(place);
    return this.#all.filter((_, place) => places.has(place));
  }
}

function isAbout({ actions: { isNot, patterns } }: Statement, action: string): boolean {
  return patterns.some((pattern) => pattern.matches(action)) !== isNot;
}

/** Of the statements in these places: sorted by their beginnings, the empty one among them. */
function groupsOf(statements: readonly Statement[], about: readonly number[]): readonly Group[] {
  const byStart = new Map<string, Set<number>>([["", new Set()]]);
  for (const place of about) {
    for (const start of startsOf(statements[place]!)) {
      const places = byStart.get(start);
      if (places === undefined) byStart.set(start, new Set([place]));
      else places.add(place);
    }
  }
  const groups: Group[] = [];
  for (const start of [...byStart.keys()].sort(byCodeUnits)) {
    let within = groups.at(-1);
    while (within !== undefined && !start.startsWith(within.start)) within = within.within;
    groups.push({ start, own: byStart.get(start)!, within, statements: undefined });
  }
  return groups;
}

/** As JavaScript compares texts; a locale has no say in it. */
function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** What a resource must begin with, one of them, for the statement to be about it. */
function startsOf({ resources }: Statement): readonly string[] {
  if (resources === undefined || resources.isNot) return [""];
  return resources.patterns.map(({ tokens }) => textBefore(tokens[0]));
}

function textBefore(first: Token | undefined): string {
  return first?.kind === "text" ? first.text : "";
}

/** The last group whose beginning does not sort behind the text. The first one's is empty and never does. */
function lastUpTo(groups: readonly Group[], text: string): Group {
  let [low, high] = [0, groups.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (groups[middle]!.start <= text) low = middle;
    else high = middle - 1;
  }
  return groups[low]!;
}

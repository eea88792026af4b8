/**
 * Which drives hold a copy of the metadata: views, and what the views that are found at a start mean. Pure: no disk here.
 *
 * A *view* is a set of members with an id of its own; it names the views before it. What is acknowledged under a view is in
 * the copies of all its members. A member is lost by writing a new view, in which it is not, into those that are left,
 * before anything more is acknowledged. So the newest view says which copies count, provided that it is known to be the
 * newest: a new view is taken up by a majority of the one before it, and a start sees a majority of the newest view's
 * members, so the two have one in common. (With two members one is enough, or the loss of either would end the service:
 * then a copy that went on alone must not be lost before the other one is back. docs/decisions/0007 says what that means.)
 *
 * A view may have been written into some of its members and not into all when a process died. Nothing was acknowledged
 * under it then, for a batch is only written while all members have it. When two views are found of which neither
 * comes after the other, one that a member of its own has not taken up is *void*; if neither is, the store was taken two
 * ways (each half was started without the other), and nobody but the operator can say which to keep.
 */
import { assert } from "../core/assert.ts";
import { limits } from "../core/limits.ts";
import type { Random } from "../core/random.ts";

/** A drive's id: 8 bytes in hex. */
export type MemberId = string;

export type View = {
  /** The store's id: copies of two stores are never mixed. */
  readonly store: string;
  readonly id: string;
  /** One more than that of the view before. */
  readonly epoch: number;
  /** 1..metadataCopiesMax, no id twice. */
  readonly members: readonly MemberId[];
  /** Ids of the views before it, the newest first; the last viewsRememberedMax of them. */
  readonly ancestors: readonly string[];
};

export const idBytes = 8;
/** An older view counts as one that came before. */
export const viewsRememberedMax = 64;

export const newId = (random: Random): string => Buffer.from(random.bytes(idBytes)).toString("hex");

export function firstView(member: MemberId, random: Random): View {
  return { store: newId(random), id: newId(random), epoch: 1, members: [member], ancestors: [] };
}

export function nextView(view: View, members: readonly MemberId[], random: Random): View {
  assert(members.length >= 1 && members.length <= limits.metadataCopiesMax, "a view has members, and not too many");
  assert(new Set(members).size === members.length, "a drive is a member once");
  const ancestors = [view.id, ...view.ancestors].slice(0, viewsRememberedMax);
  return { store: view.store, id: newId(random), epoch: view.epoch + 1, members, ancestors };
}

/** Whether `view` is `other` or came after it. */
export function comesFrom(view: View, other: View): boolean {
  if (view.id === other.id || view.ancestors.includes(other.id)) return true;
  return other.epoch < view.epoch - viewsRememberedMax;
}

/** Whether `count` of a view's members can speak for it. */
export function isEnough(count: number, { members }: Pick<View, "members">): boolean {
  return count * 2 > members.length || (members.length === 2 && count === 1);
}

/** A copy that is there and can be read. */
export type FoundCopy = { readonly member: MemberId; readonly view: View; readonly lastVersion: number };

export type Choice<C extends FoundCopy> =
  /** `leader` has every commit that was acknowledged. `present`: members of the view that are there, it included. */
  | { readonly kind: "chosen"; readonly view: View; readonly leader: C; readonly present: readonly C[] }
  | { readonly kind: "two stores" | "split"; readonly copies: readonly C[] }
  | { readonly kind: "too few"; readonly view: View; readonly present: readonly C[] };

/** Of all copies that are there, which one has everything. Not to be called without any. */
export function chooseCopy<C extends FoundCopy>(found: readonly C[]): Choice<C> {
  const [first] = found;
  assert(first !== undefined, "there is a copy to choose");
  const stranger = found.find(({ view }) => view.store !== first.view.store);
  if (stranger !== undefined) return { kind: "two stores", copies: [first, stranger] };
  const newest = newestViews(found);
  const [top] = newest;
  assert(top !== undefined, "some view is newest");
  if (newest.length > 1) return { kind: "split", copies: newest };
  const { view } = top;
  const present = found.filter(({ member, view: own }) => view.members.includes(member) && comesFrom(view, own));
  const holders = present.filter(({ view: own }) => own.id === view.id);
  const leader = holders.reduce<C | undefined>((best, each) => (isBefore(best, each) ? each : best), undefined);
  if (leader === undefined || !isEnough(present.length, view)) return { kind: "too few", view, present };
  return { kind: "chosen", view, leader, present };
}

function isBefore(best: FoundCopy | undefined, each: FoundCopy): boolean {
  return best === undefined || each.lastVersion > best.lastVersion;
}

/** One copy for each view that no other comes from; void ones only where there are no others, and then one. */
function newestViews<C extends FoundCopy>(found: readonly C[]): C[] {
  const tops = found.filter(
    ({ view }, index) =>
      found.every((other) => other.view.id === view.id || !comesFrom(other.view, view)) &&
      found.findIndex((other) => other.view.id === view.id) === index,
  );
  if (tops.length === 1) return tops;
  const valid = tops.filter(({ view }) => !isVoid(view, found));
  if (valid.length > 0) return valid;
  // Under none of them anything was acknowledged: any will do.
  return tops.toSorted((a, b) => b.view.epoch - a.view.epoch).slice(0, 1);
}

/** A member of its own is there and has not taken it up. */
function isVoid(view: View, found: readonly FoundCopy[]): boolean {
  return found.some(({ member, view: own }) => view.members.includes(member) && !comesFrom(own, view));
}

/** What doctor learns of one key's past rows, which come in order, and what it makes of them. Pure. */
import { isNullVersion, orderOf, type HeadRecord } from "../meta/heads.ts";
import type { Finding } from "./doctor.ts";

/** A past row: `order` as its key says it, undefined for the place of a marker that is current. */
export type PastRow = { readonly order: bigint | undefined; readonly head: HeadRecord };

export class KeyHistory {
  readonly #where: string;
  /** The head or the marker row. */
  #current: HeadRecord | undefined;
  #rows = 0;
  /** Of the row before. */
  #newerOrder: bigint;

  constructor(where: string, head: HeadRecord | undefined) {
    this.#where = where;
    this.#current = head;
    this.#newerOrder = BigInt(Number.MAX_SAFE_INTEGER) + 1n;
    if (head !== undefined) this.#newerOrder = BigInt(orderOf(head));
  }

  *take({ order, head }: PastRow): Generator<Finding> {
    this.#rows += 1;
    if (order === undefined) yield* this.#takeCurrentMarker(head);
    else yield* this.#takePast(order, head);
  }

  *#takeCurrentMarker(head: HeadRecord): Generator<Finding> {
    if (head.data.kind !== "marker") yield this.#wrong("An object stands where a current delete marker should.");
    if (this.#current !== undefined)
      yield this.#wrong("It has a current object and a current delete marker; reads find the object.");
    this.#current ??= head;
    this.#newerOrder = BigInt(orderOf(this.#current));
  }

  *#takePast(order: bigint, head: HeadRecord): Generator<Finding> {
    if (this.#current === undefined && this.#rows === 1)
      yield { kind: "missing_record", where: this.#where, message: "It has versions and none of them is current." };
    if (order !== BigInt(orderOf(head)))
      yield this.#wrong(`The version at ${order} says that it stands at ${orderOf(head)}; its id leads nowhere.`);
    if (order >= this.#newerOrder)
      yield this.#wrong(`The version at ${order} is not older than the one that is said to be newer.`);
    this.#newerOrder = order;
    if (!isNullVersion(head) || this.#current === undefined) return;
    if (isNullVersion(this.#current)) yield this.#wrong("It has two null versions.");
    else if (this.#current.version?.nullOrder !== Number(order))
      yield this.#wrong(`Its null version stands at ${order}, and the current version does not know of it.`);
  }

  #wrong(message: string): Finding {
    return { kind: "wrong_version", where: this.#where, message };
  }
}

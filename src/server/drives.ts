/** The drives of the store as an operator sees them: those of the record and what is known of those that are here. */
import { DriveQuestions } from "../blob/drive_questions.ts";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { formatRedundancy, type Redundancy } from "../core/redundancy.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { changeDriveState, readDrives, type DriveState } from "../meta/drives.ts";
import { scrubKey } from "../meta/keys.ts";
import { forgetNode } from "../meta/members.ts";
import { readNode } from "../meta/nodes.ts";
import { decodeScrub } from "../meta/scrubs.ts";
import type { ChunkNode, DriveStatus } from "../node/node.ts";
import type { Objects } from "../object/object.ts";
import { refusalToLeave, type Wish } from "./leaving.ts";

export type DriveView = Omit<DriveStatus, "state"> & {
  readonly state: DriveStatus["state"] | "missing";
  readonly membership: DriveState;
  /** Which has it; both are empty on a single machine, and the zone where nothing is known of the node. */
  readonly node: string;
  readonly zone: string;
  /** When every shard on it had last been read and checked, and how many of them were damaged. */
  readonly checkedMs: number | undefined;
  readonly damagedShards: number;
  /** Undefined where there is no record of the drive. */
  readonly addedMs: number | undefined;
};

type Checked = Pick<DriveView, "checkedMs" | "damagedShards">;

export type StoreDrivesParts = {
  readonly kv: Kv;
  readonly node: Pick<ChunkNode, "drives" | "status">;
  readonly clock: Clock;
  readonly objects: Pick<Objects, "listBuckets">;
  /** Those that there are; none on a single machine. */
  readonly nodes: () => readonly { readonly url: string; readonly zone: string; readonly isUp: boolean }[];
  /** Of buckets that say nothing else. */
  readonly redundancy: () => Redundancy;
  /** What was asked for the reduced class of buckets that say nothing else. */
  readonly reducedRedundancy?: Redundancy | undefined;
};

export type Change = {
  readonly to: "active" | "draining" | "removed";
  /** Also where the loss of a node would not be survived any more. */
  readonly force: boolean;
};

const statesBefore: Readonly<Record<Change["to"], readonly DriveState[]>> = {
  active: ["active", "draining", "drained"],
  draining: ["active", "draining"],
  removed: ["drained"],
};

export class StoreDrives {
  readonly #parts: StoreDrivesParts;
  readonly #questions: DriveQuestions;

  constructor(parts: StoreDrivesParts) {
    this.#parts = parts;
    this.#questions = new DriveQuestions(parts.node, parts.clock);
  }

  /** All but those that were removed and are gone. A drive that hangs holds it up for driveStatusMsMax (blob/drive_questions.ts). */
  async list(): Promise<DriveView[]> {
    const { kv, nodes } = this.#parts;
    const zones = new Map(nodes().map(({ url, zone }) => [url, zone]));
    const records = new Map((await readDrives(kv)).map((record) => [record.id, record]));
    const here = await this.#questions.statuses();
    const there = new Set(here.map(({ id }) => id));
    const checked = await this.#checked([...new Set([...records.keys(), ...there])]);
    const recorded = (id: DriveId): Omit<DriveView, keyof DriveStatus> => {
      const { state: membership = "active", addedMs, node: url = "" } = records.get(id) ?? {};
      return { membership, addedMs, node: url, zone: zones.get(url) ?? "", ...checked.get(id)! };
    };
    const views: DriveView[] = here.map((status) => ({ ...status, ...recorded(status.id) }));
    const nothing = { freeBytes: 0, liveBytes: 0, deadBytes: 0, segments: 0 };
    for (const { id, path, sizeBytes, state } of records.values()) {
      if (state === "removed" || there.has(id)) continue;
      views.push({ id, path, totalBytes: sizeBytes, ...nothing, state: "missing", ...recorded(id) });
    }
    return views;
  }

  async #checked(ids: readonly DriveId[]): Promise<ReadonlyMap<DriveId, Checked>> {
    const rows = await this.#parts.kv.get(ids.map(scrubKey));
    const checkedOf = (row: Entry | undefined): Checked => {
      const ended = row && decodeScrub(row.value).ended;
      return { checkedMs: ended?.atMs, damagedShards: ended?.damaged ?? 0 };
    };
    return new Map(ids.map((id, index) => [id, checkedOf(rows[index])]));
  }

  /**
   * `draining`: its shards move to others. `active`: it takes shards again. `removed`: it does not belong to the store any
   * more; only for one that is drained. Errors: `invalid_argument` with what to do instead.
   */
  async change(id: DriveId, { to, force }: Change): Promise<DriveView[]> {
    const views = await this.list();
    const drive = views.find((view) => view.id === id);
    if (drive === undefined) throw refusal(`There is no drive ${id}; \`holdfast status\` lists them.`);
    return this.#changeAll(views, [drive], { to, force });
  }

  /**
   * Of all drives of a node. One that is removed is not in the list of nodes any more; one that is up has to have a drive that was
   * drained, else it may have been started just now. Errors: as of `change`.
   */
  async changeNode(url: string, { to, force }: Change): Promise<DriveView[]> {
    const { kv, nodes } = this.#parts;
    // The row before the drives: a start writes them in the other order.
    const row = to === "removed" && url !== "" ? await readNode(kv, url) : undefined;
    const views = await this.list();
    const ofNode = views.filter(({ node }) => node === url);
    const seen = nodes().find((node) => node.url === url);
    if (url === "" || (ofNode.length === 0 && seen === undefined && row === undefined))
      throw refusal(`There is no node ${url}; \`holdfast status\` lists them.`);
    if (row !== undefined && ofNode.length === 0 && seen?.isUp !== false)
      throw refusal(
        `The node ${url} is up, and none of its drives was drained. Stop it first, and wait until it is away.`,
      );
    const changed = await this.#changeAll(views, ofNode, { to, force });
    if (row !== undefined) await this.#forget(url, row.run);
    return changed;
  }

  async #forget(url: string, run: string): Promise<void> {
    const outcome = await forgetNode(this.#parts.kv, url, run);
    if (outcome === "started again")
      throw refusal(`The node ${url} was started again meanwhile; it stays in the list of nodes.`);
    if (outcome === "has drives") throw refusal(`The node ${url} still has drives; it stays in the list of nodes.`);
  }

  async #changeAll(
    views: readonly DriveView[],
    chosen: readonly DriveView[],
    { to, force }: Change,
  ): Promise<DriveView[]> {
    if (to === "draining") await this.#refuseTooFew(views, new Set(chosen.map(({ id }) => id)), force);
    // What was removed before stays so: a node's removal may have come that far.
    const mayHold = ({ membership }: DriveView): boolean => membership !== "drained" && membership !== "removed";
    const undrained = to === "removed" ? chosen.find(mayHold) : undefined;
    if (undrained !== undefined) throw refusal(notDrained(undrained));
    for (const { id } of chosen) await changeDriveState(this.#parts.kv, id, statesBefore[to], to);
    return this.list();
  }

  async #refuseTooFew(views: readonly DriveView[], leaving: ReadonlySet<DriveId>, force: boolean): Promise<void> {
    const now = views
      .filter(({ membership, state }) => membership === "active" && (state === "up" || state === "full"))
      .map(({ id, totalBytes, node, zone }) => ({ id, weightBytes: totalBytes, state: "up" as const, node, zone }));
    const left = now.filter(({ id }) => !leaving.has(id));
    const found = refusalToLeave(now, left, await this.#wishes());
    if (found === undefined || (found.mayBeForced && force)) return;
    throw refusal(found.mayBeForced ? `${found.why} With --force it is done all the same.` : found.why);
  }

  /** Every redundancy that is asked for, the store's own first. One that follows from another needs no more drives than that. */
  async #wishes(): Promise<Wish[]> {
    const { objects, redundancy, reducedRedundancy } = this.#parts;
    const wishes = new Map<string, Wish>();
    const add = (wish: Wish): void => {
      const name = formatRedundancy(wish.redundancy);
      if (!wishes.has(name)) wishes.set(name, wish);
    };
    add({ redundancy: redundancy(), whose: "The store's redundancy" });
    if (reducedRedundancy !== undefined)
      add({ redundancy: reducedRedundancy, whose: "The store's reduced redundancy" });
    for (let after: string | undefined; ;) {
      const page = await objects.listBuckets({ limit: 1_000, ...(after !== undefined && { after }) });
      for (const { name, redundancy: own, reducedRedundancy: reduced } of page.buckets) {
        if (own !== undefined) add({ redundancy: own, whose: `The redundancy of bucket ${name}` });
        if (reduced !== undefined) add({ redundancy: reduced, whose: `The reduced redundancy of bucket ${name}` });
      }
      if (page.next === undefined) return [...wishes.values()];
      after = page.next;
    }
  }
}

function refusal(message: string): HoldfastError {
  return new HoldfastError("invalid_argument", message);
}

function notDrained({ id, membership }: DriveView): string {
  return membership === "draining"
    ? `Drive ${id} is still draining; \`holdfast status\` says how far it is.`
    : `Drive ${id} may hold what nothing else has: drain it first (\`holdfast drive drain ${id}\`).`;
}

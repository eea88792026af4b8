/** The drives of the store as an operator sees them: those of the record and what is known of those that are here. */
import { HoldfastError } from "../core/errors.ts";
import type { DriveId } from "../core/ids.ts";
import { shardsOf, type Redundancy } from "../core/redundancy.ts";
import type { Kv } from "../kv/kv.ts";
import { changeDriveState, readDrives, type DriveState } from "../meta/drives.ts";
import { scrubKey } from "../meta/keys.ts";
import { decodeScrub } from "../meta/scrubs.ts";
import type { ChunkNode, DriveStatus } from "../node/node.ts";
import type { Objects } from "../object/object.ts";

export type DriveView = Omit<DriveStatus, "state"> & {
  readonly state: DriveStatus["state"] | "missing";
  readonly membership: DriveState;
  /** When every shard on it had last been read and checked. */
  readonly checkedMs: number | undefined;
};

export type StoreDrivesParts = {
  readonly kv: Kv;
  readonly node: ChunkNode;
  readonly objects: Pick<Objects, "listBuckets">;
  /** Of buckets that say nothing else. */
  readonly redundancy: Redundancy;
};

export class StoreDrives {
  readonly #parts: StoreDrivesParts;

  constructor(parts: StoreDrivesParts) {
    this.#parts = parts;
  }

  /** All but those that were removed and are gone. */
  async list(): Promise<DriveView[]> {
    const { kv, node } = this.#parts;
    const records = new Map((await readDrives(kv)).map((record) => [record.id, record]));
    const here = await Promise.all(node.drives.map((id) => node.status(id)));
    const checked = await this.#checked([...new Set([...records.keys(), ...node.drives])]);
    const views: DriveView[] = here.map((status) => ({
      ...status,
      membership: records.get(status.id)?.state ?? "active",
      checkedMs: checked.get(status.id),
    }));
    const nothing = { freeBytes: 0, liveBytes: 0, deadBytes: 0, segments: 0 };
    for (const { id, path, sizeBytes, state } of records.values()) {
      if (state === "removed" || node.drives.includes(id)) continue;
      views.push({
        id,
        path,
        totalBytes: sizeBytes,
        ...nothing,
        state: "missing",
        membership: state,
        checkedMs: checked.get(id),
      });
    }
    return views;
  }

  async #checked(ids: readonly DriveId[]): Promise<ReadonlyMap<DriveId, number | undefined>> {
    const rows = await this.#parts.kv.get(ids.map(scrubKey));
    return new Map(ids.map((id, index) => [id, rows[index] && decodeScrub(rows[index].value).ended?.atMs]));
  }

  /**
   * `draining`: its shards move to others. `active`: it takes shards again. `removed`: it does not belong to the store any
   * more; only for one that is drained. Errors: `invalid_argument` with what to do instead.
   */
  async change(id: DriveId, to: "active" | "draining" | "removed"): Promise<DriveView[]> {
    const views = await this.list();
    const drive = views.find((view) => view.id === id);
    if (drive === undefined) throw refusal(`There is no drive ${id}; \`holdfast status\` lists them.`);
    if (to === "draining") await this.#refuseTooFew(views, drive);
    if (to === "removed" && drive.membership !== "drained") throw refusal(notDrained(drive));
    const from: readonly DriveState[] = to === "removed" ? ["drained"] : ["active", "draining", "drained"];
    await changeDriveState(this.#parts.kv, id, to === "draining" ? ["active", "draining"] : from, to);
    return this.list();
  }

  /** What is left must have a drive for every shard. */
  async #refuseTooFew(views: readonly DriveView[], leaving: DriveView): Promise<void> {
    const left = views.filter(
      ({ id, membership, state }) => id !== leaving.id && membership === "active" && state !== "missing",
    ).length;
    const { shards, whose } = await this.#mostShards();
    if (left >= shards) return;
    throw refusal(
      `${whose} needs ${shards} drives, and ${left} would be left. Add a drive first (name it in the server's command ` +
        "line), or give it a redundancy that needs fewer.",
    );
  }

  async #mostShards(): Promise<{ readonly shards: number; readonly whose: string }> {
    const { objects, redundancy } = this.#parts;
    let most = { shards: shardsOf(redundancy), whose: "The store's redundancy" };
    for (let after: string | undefined; ;) {
      const page = await objects.listBuckets({ limit: 1_000, ...(after !== undefined && { after }) });
      for (const bucket of page.buckets) {
        const shards = bucket.redundancy === undefined ? 0 : shardsOf(bucket.redundancy);
        if (shards > most.shards) most = { shards, whose: `The redundancy of bucket ${bucket.name}` };
      }
      if (page.next === undefined) return most;
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

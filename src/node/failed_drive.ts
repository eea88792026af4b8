/**
 * A drive that this process could not open, in its place among the others: its status says that it failed, and every other call is
 * answered as if it were not there (`drive_missing`), so that whoever has work for it leaves that for later.
 */
import type { DriveId } from "../core/ids.ts";
import { driveMissing, type DriveStatus } from "./node.ts";
import type { SegmentStore } from "./segment_store.ts";

/** What a chunk node needs of each of its drives. */
export type DriveStore = Pick<
  SegmentStore,
  "append" | "read" | "readRecord" | "remove" | "list" | "verify" | "discard" | "compact" | "status" | "close"
>;

export class FailedDrive implements DriveStore {
  readonly #id: DriveId;
  readonly #path: string;

  constructor({ id, path }: Pick<DriveStatus, "id" | "path">) {
    this.#id = id;
    this.#path = path;
  }

  #away(): Promise<never> {
    return Promise.reject(driveMissing(this.#id));
  }

  append = (): Promise<never> => this.#away();
  read = (): Promise<never> => this.#away();
  readRecord = (): Promise<never> => this.#away();
  remove = (): Promise<never> => this.#away();
  list = (): Promise<never> => this.#away();
  verify = (): Promise<never> => this.#away();
  discard = (): Promise<never> => this.#away();
  compact = (): Promise<never> => this.#away();

  async status(): Promise<DriveStatus> {
    const nothing = { totalBytes: 0, freeBytes: 0, liveBytes: 0, deadBytes: 0, segments: 0 };
    return { id: this.#id, path: this.#path, state: "failed", ...nothing };
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}

/**
 * Pages of chunk maps that this process is working on: each by one of its jobs at a time. Other processes are kept away by a
 * page's relocation row, which says only which session is at it.
 */
import type { BlobId } from "../core/ids.ts";

export class PagesUnderWay {
  readonly #names = new Set<string>();

  /** Does the work unless the page is being worked on: undefined then. */
  async with<T>(blob: BlobId, page: number, work: () => Promise<T>): Promise<T | undefined> {
    const name = `${blob} ${page}`;
    if (this.#names.has(name)) return undefined;
    this.#names.add(name);
    try {
      return await work();
    } finally {
      this.#names.delete(name);
    }
  }
}

/** Scans of any length, in pages: each page is one state of the store, and they are read one after another. */
import { limits } from "../core/limits.ts";
import type { Entry, KeyRange, Kv } from "./kv.ts";

/** The least key that is greater than this one. */
export function keyAfter(key: Uint8Array): Buffer {
  return Buffer.concat([key, Buffer.of(0)]);
}

/** Pages of `limit` entries, the last one shorter; none is empty. */
export async function* scanPages(
  kv: Kv,
  { start, end }: KeyRange,
  limit: number = limits.scanEntriesMax,
): AsyncGenerator<Entry[], void, undefined> {
  for (let from = start; ;) {
    const page: Entry[] = await kv.scan({ start: from, end }, { limit });
    if (page.length > 0) yield page;
    if (page.length < limit) return;
    from = keyAfter(page.at(-1)!.key);
  }
}

/** Every entry, held in memory: for families of few rows. */
export async function scanAll(kv: Kv, range: KeyRange, limit?: number): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const page of scanPages(kv, range, limit)) entries.push(...page);
  return entries;
}

/** A store that counts what is asked of it, and the rows that this is about, for tests of what background work costs. */
import type { Kv } from "./kv.ts";

export type Counts = { gets: number; scans: number; commits: number };
export type CountedRows = { read: number; written: number };

export function counted(kv: Kv): { readonly kv: Kv; readonly counts: Counts; readonly rows: CountedRows } {
  const counts: Counts = { gets: 0, scans: 0, commits: 0 };
  const rows: CountedRows = { read: 0, written: 0 };
  const asked = <T>(what: keyof Counts, answer: T): T => {
    counts[what] += 1;
    return answer;
  };
  const counting: Kv = {
    name: kv.name,
    get: (keys) => {
      rows.read += keys.length;
      return asked("gets", kv.get(keys));
    },
    scan: async (range, options) => {
      const found = await asked("scans", kv.scan(range, options));
      rows.read += found.length;
      return found;
    },
    commit: (commit) => {
      rows.written += commit.writes.length;
      return asked("commits", kv.commit(commit));
    },
    close: () => kv.close(),
  };
  return { kv: counting, counts, rows };
}

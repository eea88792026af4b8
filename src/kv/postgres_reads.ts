/**
 * Gets and scans. The gets that come in one turn of the event loop, and those that come while every session is busy, go to
 * the engine in one statement; a scan is a statement of its own. One statement reads one snapshot, taken when it begins, so
 * it sees every commit that was acknowledged before.
 *
 * A read that was lost on the way is asked again, for reading twice harms nobody.
 */
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { gathered } from "./gather.ts";
import type { Entry, Key, KeyRange, ScanOptions } from "./kv.ts";
import { failureOf, reasonOf, unavailable } from "./postgres_errors.ts";
import type { Pool } from "./postgres_pool.ts";
import type { Statements } from "./postgres_schema.ts";
import type { Row, Session } from "./postgres_session.ts";
import { bytesArray, bytesOf } from "./postgres_wire.ts";

type WaitingGet = {
  readonly keys: readonly Key[];
  readonly resolve: (rows: (Entry | undefined)[]) => void;
  readonly reject: (error: unknown) => void;
};

export type PostgresReadsOptions = {
  readonly pool: Pool;
  readonly statements: Pick<Statements, "get" | "scan" | "scanReverse">;
  readonly clock: Clock;
};

const attemptsMax = 3;

export class PostgresReads {
  readonly #options: PostgresReadsOptions;
  #gets: WaitingGet[] = [];
  #gathering = false;
  /** Gets that wait for a session, and scans that wait or are under way. */
  #asking = 0;
  #underWay = 0;

  constructor(options: PostgresReadsOptions) {
    this.#options = options;
  }

  get(keys: readonly Key[]): Promise<(Entry | undefined)[]> {
    this.#assertRoom();
    return new Promise((resolve, reject) => {
      this.#gets.push({ keys, resolve, reject });
      this.#ask();
    });
  }

  async scan(range: KeyRange, { limit, reverse }: ScanOptions): Promise<Entry[]> {
    this.#assertRoom();
    const { scan, scanReverse } = this.#options.statements;
    const bounds = [range.start, range.end].map((key) => Buffer.from(key.buffer, key.byteOffset, key.byteLength));
    this.#underWay += 1;
    try {
      const rows = await this.#read((session) =>
        session.query(reverse === true ? scanReverse : scan, [...bounds, limit]),
      );
      return rows.map((row) => ({ key: bytesOf(row[0]!), value: bytesOf(row[1]!), version: versionOf(row[2]) }));
    } finally {
      this.#underWay -= 1;
    }
  }

  #assertRoom(): void {
    if (this.#gets.length + this.#underWay >= limits.postgresReadQueueMax) {
      throw new HoldfastError("slow_down", "Too many reads wait for the metadata store.");
    }
  }

  #ask(): void {
    if (this.#gathering || this.#asking >= limits.postgresReadConnectionsMax || this.#gets.length === 0) return;
    this.#gathering = true;
    void gathered(() => this.#gets.length).then(() => {
      this.#gathering = false;
      this.#asking += 1;
      void this.#run().finally(() => {
        this.#asking -= 1;
        this.#ask();
      });
      this.#ask();
    });
  }

  async #run(): Promise<void> {
    let taken: WaitingGet[] = [];
    try {
      const found = await this.#read(async (session) => {
        if (taken.length === 0) taken = this.#take();
        const keys = taken.flatMap((get) => get.keys);
        return keys.length === 0 ? [] : session.query(this.#options.statements.get, [bytesArray(keys)]);
      });
      answer(taken, found);
    } catch (error) {
      // Without a session nothing was taken: all who wait learn why.
      const refused = taken.length > 0 ? taken : this.#gets.splice(0);
      for (const { reject } of refused) reject(error);
    }
  }

  #take(): WaitingGet[] {
    let count = 0;
    for (let keys = 0; count < this.#gets.length; count++) {
      keys += this.#gets[count]!.keys.length;
      if (count > 0 && keys > limits.postgresReadKeysMax) break;
    }
    return this.#gets.splice(0, count);
  }

  /** Errors: `unavailable`. */
  async #read(query: (session: Session) => Promise<Row[]>): Promise<Row[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#options.pool.use(query);
      } catch (error) {
        if (error instanceof HoldfastError) throw error;
        const failure = failureOf(error);
        const passes = failure.what === "lost" || failure.next === "again";
        if (!passes || attempt >= attemptsMax) {
          throw unavailable(`The metadata store cannot be read: ${reasonOf(error)}.`, error);
        }
      }
      await this.#options.clock.sleep(2 ** attempt);
    }
  }
}

/** The rows found say which of all keys asked for they belong to, counted from 1. */
function answer(taken: readonly WaitingGet[], found: readonly Row[]): void {
  const keys = taken.flatMap((get) => get.keys);
  const all: (Entry | undefined)[] = Array.from({ length: keys.length }, () => undefined);
  for (const [number, value, version] of found) {
    const index = Number(number) - 1;
    all[index] = { key: Buffer.from(keys[index]!), value: bytesOf(value!), version: versionOf(version) };
  }
  let at = 0;
  for (const get of taken) {
    get.resolve(all.slice(at, at + get.keys.length));
    at += get.keys.length;
  }
}

function versionOf(text: string | null | undefined): number {
  const version = Number(text);
  if (!Number.isSafeInteger(version) || version < 1) {
    throw new HoldfastError("corrupt_record", "A row of the metadata store has no valid version.");
  }
  return version;
}

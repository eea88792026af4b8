/**
 * The metadata store that an address names, where it does not lie on the drives: PostgreSQL or etcd, by the address's scheme.
 * An engine's driver is loaded when it is asked for, so that a server without one does not pay for it.
 *
 * No error and no text made here contains a password; where an address is shown, `…` stands for user and password.
 */
import { readFile } from "node:fs/promises";
import { HoldfastError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { parseEtcdAddress } from "../kv/etcd_address.ts";
import type { Kv } from "../kv/kv.ts";
import type { BatchFacts } from "../kv/lmdb_batches.ts";
import { parsePostgresUrl } from "../kv/postgres_url.ts";

export type EngineName = "postgres" | "etcd";

export type EngineOptions = {
  readonly log: Log;
  /** Called after each batch that was committed. */
  readonly onBatch?: (facts: BatchFacts) => void;
};

const engineByScheme: Readonly<Record<string, EngineName>> = {
  postgres: "postgres",
  postgresql: "postgres",
  etcd: "etcd",
  etcds: "etcd",
};

/** Whether somebody means an address rather than a folder. */
export function isEngineUrl(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
}

/**
 * Which engine an address names, when it can be read; nothing is connected to. Errors: `invalid_argument`, with a sentence
 * that does not contain the address.
 */
export function checkEngineUrl(url: string): EngineName {
  const engine = engineOf(url);
  if (engine === "postgres") parsePostgresUrl(url);
  else parseEtcdAddress(url);
  return engine;
}

function engineOf(url: string): EngineName {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(url)?.[1];
  const engine = scheme !== undefined && Object.hasOwn(engineByScheme, scheme) ? engineByScheme[scheme] : undefined;
  if (engine !== undefined) return engine;
  throw invalid(
    `The address of the metadata store begins with ${scheme === undefined ? "no scheme" : `${scheme}://`}; ` +
      "it looks like postgres://user:password@host:5432/database or etcd://host:2379,host:2379,host:2379/name.",
  );
}

/** The address for people: without user and password. Errors: as `checkEngineUrl`. */
export function shownEngineUrl(url: string): string {
  checkEngineUrl(url);
  // Neither may contain an `@`, a slash or a question mark that is not percent-encoded.
  return url.replace(/^([a-z]+:\/\/)[^@/?#]*@/, "$1…@");
}

/**
 * Opens the store, and makes it when it is new. Errors: `invalid_argument` when the address, a file that it names, or what
 * stands there will not do; `unavailable` when the engine is away; `corrupt_record` for a store that this build does not know.
 */
export async function openEngine(url: string, { log, onBatch }: EngineOptions): Promise<Kv> {
  const options = { url, log, ...(onBatch === undefined ? {} : { onBatch }) };
  if (checkEngineUrl(url) === "postgres") {
    const { openPostgresKv } = await import("../kv/postgres.ts");
    return openPostgresKv(options);
  }
  const { openEtcdKv } = await import("../kv/etcd.ts");
  return openEtcdKv({ ...options, readFile: readNamedFile });
}

async function readNamedFile(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw invalid(`The file ${path}, which the address of the metadata store names, cannot be read: ${why}.`, error);
  }
}

function invalid(message: string, cause?: unknown): HoldfastError {
  return new HoldfastError("invalid_argument", message, { cause });
}

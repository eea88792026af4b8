/** What the settings say of a node and its cluster, with the files that they name. */
import { readFileSync } from "node:fs";
import { systemClock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { clusterKey } from "../node/peer_seal.ts";
import type { ClusterOptions } from "./membership.ts";
import { advertisedUrl, type Settings } from "./settings.ts";
import { packageVersion } from "./version.ts";

/** Undefined: no cluster. `listen` has its real port. Errors: `invalid_argument` with a sentence that names the file. */
export function clusterOf(settings: Settings, run: string): ClusterOptions | undefined {
  const { metadata, zone, workers, "cluster-secret-file": secretFile, "cluster-ca": caFile } = settings;
  if (metadata === undefined || secretFile === undefined) return undefined;
  const ca = caFile === undefined ? undefined : readNamed(caFile, "The file of cluster-ca");
  const own = { url: advertisedUrl(settings), run, zone, version: packageVersion(), startedMs: systemClock.nowMs() };
  return { own: { ...own, workers }, secret: readSecret(secretFile), ca };
}

/** White space around it does not count: editors end files with a line break. */
function readSecret(file: string): string {
  const secret = readNamed(file, "The file of cluster-secret-file").toString("utf8").trim();
  clusterKey(secret);
  return secret;
}

function readNamed(file: string, what: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new HoldfastError("invalid_argument", `${what}, ${file}, cannot be read: ${(error as Error).message}`);
  }
}

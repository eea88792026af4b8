/**
 * A run: one start of one server, from its supervisor to its last worker. Sessions bear its id in their names, so that what is
 * known of a run (its processes are dead) is known of its sessions, whatever machine they were on.
 */
import { systemRandom, type Random } from "../core/random.ts";
import { RUN_ID_BYTES } from "../meta/nodes.ts";

export function newRun(random: Random = systemRandom): string {
  return Buffer.from(random.bytes(RUN_ID_BYTES)).toString("hex");
}

/** What the session of one of its processes is called. */
export function sessionName(run: string, process: string): string {
  return `run ${run}, ${process}`;
}

export function isOfRun(name: string, run: string): boolean {
  return name.startsWith(sessionName(run, ""));
}

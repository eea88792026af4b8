/**
 * Which processes of this machine are alive: a seam, because a segment left by a killed worker may be compacted only
 * once that worker cannot append to it any more. `systemProcesses` (disk.system.ts) is the real one.
 */
export type Processes = {
  /** A token for this process that no other process of this boot will ever have. */
  readonly self: string;
  isAlive(token: string): Promise<boolean>;
};

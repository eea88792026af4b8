/**
 * One machine of a simulated cluster: its disk, its drives, its power, and what is started on it. A start does what a server's
 * does before its first worker (server/prepare_node.ts); every call of it may be the last one.
 */
import { FakeDisk } from "../../../src/node/disk.fake.ts";
import { prepareDrive, type PreparedDrive } from "../../../src/node/drive.ts";
import type { OwnNode } from "../../../src/cluster/publish.ts";
import { silentLog } from "../../../src/core/log.ts";
import type { Random } from "../../../src/core/random.ts";
import { recordDrives } from "../../../src/meta/drives.ts";
import { sweepReplayed } from "../../../src/server/prepare_drives.ts";
import { takePlace } from "../../../src/server/prepare_node.ts";
import { newRun } from "../../../src/server/run.ts";
import { SimDrives } from "../drives.ts";
import { guardedDisk, guardedKv, Power } from "../power.ts";
import type { SimEngine } from "./engine.ts";
import type { Member } from "./member.ts";
import type { SimTime } from "./time.ts";

export const diskBytes = 1 << 30;

export type MachineParts = {
  readonly url: string;
  readonly zone: string;
  readonly drives: number;
  readonly workers: number;
  readonly skewMs: number;
  readonly engine: SimEngine;
  readonly time: SimTime;
  readonly random: Random;
};

export class SimMachine {
  readonly parts: MachineParts;
  readonly url: string;
  readonly disk: FakeDisk;
  readonly drives: SimDrives;
  /** It never comes back, nor do its drives. */
  isGone = false;
  /** Nobody starts it before this. */
  startsAtMs = 0;
  /** Its processes are to end by themselves. */
  isStopping = false;
  /** Of the present run, or of the last one. */
  power: Power;
  own: OwnNode | undefined;
  members: Member[] = [];
  /** Removed shards may be there again until a sweep was finished. */
  sweepDue = false;
  /** Processes of the present run, by their tokens. */
  readonly alive = new Map<string, Power>();

  constructor(parts: MachineParts) {
    const { url, random, drives } = parts;
    this.parts = parts;
    this.url = url;
    this.disk = new FakeDisk(random, diskBytes);
    this.drives = new SimDrives(this.disk, drives);
    this.power = new Power(random, Infinity);
    this.power.cut();
  }

  get isOn(): boolean {
    return this.power.on;
  }

  openIndex(power: Power): Parameters<typeof prepareDrive>[0]["openIndex"] {
    return async ({ drivePath, wipe }) => guardedKv(this.drives.index(drivePath, wipe), power);
  }

  /** Errors: `unavailable` when the power goes or the metadata store is away. */
  async start(): Promise<void> {
    const { url, zone, workers, engine, time, random, skewMs } = this.parts;
    const power = new Power(random, Infinity);
    this.power = power;
    this.alive.clear();
    this.isStopping = false;
    const clock = time.clockOf(power, skewMs);
    const disk = guardedDisk(this.disk, power);
    const run = newRun(random);
    this.own = { url, zone, run, version: "simulated", startedMs: clock.nowMs(), workers };
    const usable: PreparedDrive[] = [];
    for (const path of this.drives.paths()) {
      await this.disk.makeDirectory(path);
      usable.push(await prepareDrive({ path, disk, openIndex: this.openIndex(power), random, log: silentLog }));
    }
    const kv = engine.doorOf({ machine: url, process: `${url} start`, power });
    const present = usable.map(({ id, path }) => ({ id, path, sizeBytes: diskBytes, node: url }));
    await recordDrives(kv, present, clock.nowMs());
    await takePlace(kv, usable, { own: this.own, disk, log: silentLog });
    await sweepReplayed(kv, usable, disk);
    this.sweepDue = usable.some(({ sweepDue }) => sweepDue);
  }
}

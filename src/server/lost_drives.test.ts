import assert from "node:assert/strict";
import { test } from "node:test";
import type { DriveId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { publishMachine, startMachine } from "../cluster/cluster.fixture.ts";
import { Topology } from "../cluster/topology.ts";
import { changeDriveState } from "../meta/drives.ts";
import { onLostDrives } from "./lost_drives.ts";

test("a drive that is lost, to leave, or back, is told once, a lost one when its node does not have it any more", async (t) => {
  const kv = openMemoryKv();
  const [here, other] = [await startMachine(kv, "a", 1), await startMachine(kv, "b", 1)];
  t.after(() => here.served.stop());
  t.after(() => other.served.stop());
  let nowMs = 0;
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep: () => new Promise<void>(() => undefined) };
  const topology = await Topology.open({ kv, clock, log: silentLog });
  const reached = new Set<DriveId>([...here.local.drives, ...other.local.drives]);
  let told = 0;
  const node = {
    get drives() {
      return [...reached];
    },
  };
  onLostDrives(topology, node, () => void (told += 1));
  const look = async (): Promise<number> => {
    nowMs += limits.topologyMs;
    await publishMachine(kv, here);
    await topology.look();
    return told;
  };
  assert.equal(await look(), 0);
  reached.delete(other.local.drives[0]!);
  assert.equal(await look(), 0, "its node says that it has it");
  for (let silentMs = 0; silentMs < limits.nodeSilentMsMax; silentMs += limits.topologyMs) await look();
  assert.equal(told, 1);
  assert.equal(await look(), 1);
  reached.add(other.local.drives[0]!);
  assert.equal(await look(), 2);
  const { status } = other.local;
  other.local.status = async (drive) => ({ ...(await status.call(other.local, drive)), state: "failed" });
  await publishMachine(kv, other);
  assert.equal(await look(), 3, "it has failed");
  await changeDriveState(kv, here.local.drives[0]!, ["active"], "draining");
  assert.equal(await look(), 4, "it is to leave");
  assert.equal(await look(), 4);
  await changeDriveState(kv, here.local.drives[0]!, ["draining"], "active");
  assert.equal(await look(), 5);
});

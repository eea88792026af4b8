/** The default of a store that grows: a node counts when it can be written to, and what was told to all holds for all. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";
import { formatRedundancy } from "../core/redundancy.ts";
import type { Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { raisedKey } from "../meta/keys.ts";
import { changeDriveState } from "../meta/drives.ts";
import { encodeRaised, readRaised } from "../meta/raised.ts";
import { serveNode } from "../node/peer.fixture.ts";
import { joinAs, startMachine, type Machine } from "./cluster.fixture.ts";
import { DefaultRedundancy } from "./default_redundancy.ts";

/** A process of the machine: `look` resolves to its default when it has heard from everybody that it asks. */
async function processOf(t: TestContext, kv: Kv, machine: Machine) {
  const { node, topology, close } = await joinAs(kv, machine);
  const redundancy = new DefaultRedundancy({
    topology,
    reach: (url) => node.hasDrives(url),
    raised: async () => (await readRaised(kv)).standard,
  });
  t.after(close);
  t.after(() => machine.served.stop());
  const look = async (): Promise<string> => {
    await topology.look();
    await redundancy.close();
    return formatRedundancy(redundancy.now);
  };
  return { look };
}

/** A node that is being started: its rows are there, and nothing answers yet. */
async function prepareMachine(kv: Kv): Promise<Machine> {
  const machine = await startMachine(kv, "a", 1);
  await machine.served.stop();
  return machine;
}

test("a node that joins counts when it answers", async (t) => {
  const kv = openMemoryKv();
  const { look } = await processOf(t, kv, await startMachine(kv, "a", 1));
  assert.equal(await look(), "replica:1");
  const other = await prepareMachine(kv);
  assert.deepEqual([await look(), await look()], ["replica:1", "replica:1"]);
  const again = await serveNode(other.local, { port: other.served.port });
  while ((await look()) !== "replica:2") await setTimeout(20);
  await again.stop();
  assert.equal(await look(), "replica:2", "it counts while it is away");
  await changeDriveState(kv, other.local.drives[0]!, ["active"], "draining");
  assert.equal(await look(), "replica:1", "it leaves");
});

test("those that were there when the process began count at once", async (t) => {
  const kv = openMemoryKv();
  const machine = await startMachine(kv, "a", 1);
  await prepareMachine(kv);
  const { look } = await processOf(t, kv, machine);
  assert.equal(await look(), "replica:2");
});

test("what the store was told to bear holds though the node was not reached from here", async (t) => {
  const kv = openMemoryKv();
  const { look } = await processOf(t, kv, await startMachine(kv, "a", 1));
  const raise = (losses: number) =>
    kv.commit({
      checks: [],
      writes: [{ kind: "put", key: raisedKey(), value: encodeRaised({ standard: losses, reduced: 0 }) }],
    });
  await raise(0);
  await prepareMachine(kv);
  assert.equal(await look(), "replica:1");
  await raise(1);
  assert.equal(await look(), "replica:2");
  for (const _more of [1, 2, 3]) await prepareMachine(kv);
  assert.equal(await look(), "ec:3+1", "it was told to bear as many losses as those five give");
});

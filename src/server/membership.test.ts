/** A process among its nodes: what it can write to, and how it is asked to write. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { createNodePlacement } from "../blob/node_placement.ts";
import { publishMachine, startMachine } from "../cluster/cluster.fixture.ts";
import { systemClock, type Clock } from "../core/clock.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { createMetrics } from "../core/metrics.ts";
import { systemRandom } from "../core/random.ts";
import { shardsOf } from "../core/redundancy.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { encodeRaised } from "../meta/raised.ts";
import { raisedKey } from "../meta/keys.ts";
import { Session } from "../meta/sessions.ts";
import { secret, serveNode } from "../node/peer.fixture.ts";
import { joinCluster } from "./membership.ts";

/** The process looks at its cluster when it is told to: never between two steps of a node that joins. */
const sleep: Clock["sleep"] = (ms, signal) => systemClock.sleep(ms === limits.topologyMs ? 3_600_000 : ms, signal);

for (const isRaised of [false, true])
  test(`no write waits for a node that joins${isRaised ? ", though another process was sooner" : ""}`, async (t) => {
    const kv = openMemoryKv();
    const seams = { clock: { ...systemClock, sleep }, random: systemRandom, log: silentLog };
    const { url, zone, local } = await startMachine(kv, "a", 1).then((machine) => {
      t.after(() => machine.served.stop());
      return machine;
    });
    const session = await Session.start({ kv, node: "a", ...seams });
    const facts = { run: "00000000000000aa", zone, version: "1", startedMs: 1, workers: 1 };
    const member = await joinCluster({
      cluster: { own: { url, ...facts }, secret, ca: undefined },
      kv,
      session,
      local,
      onOvertaken: (why) => assert.fail(why),
      metrics: createMetrics(),
      ...seams,
    });
    t.after(() => member.close());
    const { seen: node, where, onDrives, topology, redundancy } = member;
    const placement = await createNodePlacement({ node, where, onDrives, ...seams });
    const other = await startMachine(kv, "a", 1);
    await other.served.stop();
    await topology.look();
    // Whoever calls it is told at once that nothing answers there, and does not call it any more.
    while (member.node.isWell(other.url)) await setTimeout(5);
    const again = await serveNode(other.local, { port: other.served.port });
    t.after(() => again.stop());
    await publishMachine(kv, other);
    if (isRaised) {
      while (!(await member.node.hasDrives(other.url))) await setTimeout(5);
      const value = encodeRaised({ standard: 1, reduced: 1 });
      await kv.commit({ checks: [], writes: [{ kind: "put", key: raisedKey(), value }] });
    }
    while (shardsOf(redundancy()) < 2) {
      await topology.look();
      for (let turns = 0; turns < 50 && shardsOf(redundancy()) < 2; turns++) await setTimeout(1);
    }
    const up = placement.drives().filter(({ state }) => state === "up");
    assert.equal(up.length, 2, "it writes as much as it has drives for");
  });

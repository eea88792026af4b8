/**
 * Three nodes on three etcd members, under load: members are killed, the leader among them, and most of them at once; a node is
 * cut from the others, one from the metadata store, and one frozen for longer than a session may be silent.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { testMsMax } from "../bounds.ts";
import { EtcdEngine, engineMissing } from "./engine.ts";
import { pause, Trial } from "./trial.ts";

const skip = process.platform === "linux" ? engineMissing("etcd") : "NOT CHECKED: clusters. They need /proc.";
const timeout = testMsMax;
const seed = Number(process.env["HOLDFAST_TEST_SEED"] ?? 20_261_127);

test("a cluster on etcd outlives the loss of members, of the network, and of time", { skip, timeout }, async (t) => {
  const engine = await EtcdEngine.start();
  const trial = await Trial.start({
    nodes: 3,
    drives: 1,
    redundancy: "replica:2",
    driveAwaySeconds: 5,
    engine,
    seed,
    lanes: 4,
    log: (line) => t.diagnostic(line),
  });
  t.after(() => trial.dispose());
  const [first, second, third] = trial.cluster.nodes;
  trial.startLoad();
  await trial.progress(20);

  await trial.withoutMetadata(async () => {
    const leader = await engine.fixture.leader();
    await engine.down(leader);
    trial.say("the leader is killed");
    // The other two elect one of them, and everything goes on.
    await trial.progress(10);
    await engine.up(leader);
  });
  await trial.withoutMetadata(async () => {
    await engine.down(0, 1);
    trial.say("two of three members are killed");
    await trial.refusals(2);
    await engine.up(0, 1);
  });
  trial.say("all members are back");

  first!.peers.cut();
  await trial.progress(10);
  first!.peers.heal();
  second!.peers.cut(["there", "back"], third!.name);
  third!.peers.cut(["there"], second!.name);
  await trial.progress(10);
  second!.peers.heal();
  third!.peers.heal();
  for (const link of second!.metadata) link.cut();
  await trial.progress(5);
  for (const link of second!.metadata) link.heal();
  await trial.settled();
  trial.say("the network is whole again");

  third!.freeze();
  await pause(32_000);
  await third!.wake();
  await trial.settled();
  trial.say("a node slept longer than a session may be silent");
  await trial.verdict();
  assert.ok(trial.load.counts.acknowledged > 60, "the load did something");
});

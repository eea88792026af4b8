/**
 * Five nodes of two drives on PostgreSQL, under load: nodes are killed, a drive is lost and comes back, a node is added, a drive
 * drained, the metadata store restarted, and then all nodes one after another. No acknowledged change is lost, no read fails
 * at two gateways while there are enough shards, and in the end everything is whole and nothing is left over.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { testMsMax } from "../bounds.ts";
import { engineMissing, PostgresEngine } from "./engine.ts";
import { fiveNodes, pause, Trial } from "./trial.ts";

const skip = process.platform === "linux" ? engineMissing("postgres") : "NOT CHECKED: clusters. They need /proc.";
const timeout = testMsMax;
const seed = Number(process.env["HOLDFAST_TEST_SEED"] ?? 20_261_127);

test("a cluster outlives what its redundancy bears, under load", { skip, timeout }, async (t) => {
  const engine = await PostgresEngine.start();
  const trial = await Trial.start({ ...fiveNodes, engine, seed, lanes: 5, log: (line) => t.diagnostic(line) });
  t.after(() => trial.dispose());
  const { cluster } = trial;
  const [first, second, third] = cluster.nodes;
  trial.startLoad();
  await trial.progress(20);

  await trial.without(first!, () => trial.progress(20));
  await trial.untilWhole();

  let away = "";
  await trial.without(second!, async () => {
    away = second!.loseDrive(0);
    await trial.progress(10);
  });
  trial.say("with an empty folder in place of a drive");
  await pause(1_000 * fiveNodes.driveAwaySeconds);
  await trial.untilWhole();
  trial.say("what lay on it was made anew");
  await second!.stop();
  second!.bringBack(away);
  await second!.start();
  await cluster.untilAllSeen();
  trial.say("the drive is back");

  await trial.withoutMetadata(() => engine.restart(500));
  trial.say("the metadata store was restarted");

  await cluster.addNode();
  await trial.progress(10);
  await trial.drain(await cluster.driveIn(third!.drives[0]!));
  trial.say("a node came, a drive was drained");

  for (const node of cluster.nodes) await trial.restart(node);
  trial.say("all nodes were restarted");
  await trial.verdict();
  assert.ok(trial.load.counts.acknowledged > 60, "the load did something");
});

/**
 * Three nodes on a PostgreSQL with a synchronous standby, under load: at first nothing happens, and nothing is left over; then
 * the one that takes writes is lost, and the other takes over, twice.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { testMsMax } from "../bounds.ts";
import { engineMissing, StandbyEngine } from "./engine.ts";
import { Trial } from "./trial.ts";

const skip = process.platform === "linux" ? engineMissing("standby") : "NOT CHECKED: clusters. They need /proc.";
const timeout = testMsMax;
const seed = Number(process.env["HOLDFAST_TEST_SEED"] ?? 20_261_127);

test("a cluster loses nothing to a failover of its metadata, and goes on by itself", { skip, timeout }, async (t) => {
  const engine = await StandbyEngine.start();
  const trial = await Trial.start({
    nodes: 3,
    drives: 1,
    engine,
    seed,
    lanes: 4,
    log: (line: string) => t.diagnostic(line),
  });
  t.after(() => trial.dispose());
  trial.startLoad();
  await trial.progress(40);
  await trial.verdict(true);

  for (const node of trial.cluster.nodes) await node.start();
  await trial.cluster.untilAllSeen();
  trial.startLoad();
  await trial.progress(10);
  await trial.withoutMetadata(() => engine.failover(1_000));
  trial.say("failed over");
  await trial.progress(20);
  await trial.withoutMetadata(() => engine.failover(0));
  trial.say("failed over, back again");
  await trial.progress(20);
  await trial.verdict();
  assert.ok(trial.load.counts.acknowledged > 70, "the load did something");
});

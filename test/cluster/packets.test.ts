/**
 * Three nodes, each in a network namespace of its own: packets between them are dropped one way, both ways, and now and then.
 * The test starts itself again in a namespace that is the router between theirs.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { seededRandom } from "../../src/core/random.ts";
import { testMsMax } from "../bounds.ts";
import { engineMissing, PostgresEngine } from "./engine.ts";
import { namespacesMissing, Router } from "./namespaces.ts";
import { pause, Trial } from "./trial.ts";

const skip = engineMissing("postgres") || namespacesMissing();
const timeout = testMsMax;
const seed = Number(process.env["HOLDFAST_TEST_SEED"] ?? 20_261_127);
const name = "a cluster goes on while packets between its nodes are dropped";
const isInside = process.env["TEST_INSIDE_NAMESPACE"] !== undefined;

if (isInside) test(name, { timeout }, dropPackets);
else test(name, { skip, timeout }, startInside);

async function startInside(t: TestContext): Promise<void> {
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
  const args = ["-n", process.execPath, "--test-reporter=spec", fileURLToPath(import.meta.url)];
  const child = spawn("unshare", args, {
    env: { ...environment, TEST_INSIDE_NAMESPACE: "1" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGTERM"));
  let output = "";
  child.stdout.on("data", (text: Buffer) => (output += text.toString()));
  const [status] = (await once(child, "close")) as [number | null];
  for (const line of output.split("\n")) t.diagnostic(line);
  assert.equal(status, 0, output);
  assert.match(output, /pass 1\b/);
}

async function dropPackets(t: TestContext): Promise<void> {
  const router = new Router();
  const trial = await Trial.start({
    nodes: 3,
    drives: 1,
    redundancy: "replica:2",
    driveAwaySeconds: 10,
    engine: await PostgresEngine.start(),
    newPlace: () => router.place(),
    seed,
    lanes: 4,
    log: (line) => t.diagnostic(line),
  });
  t.after(() => trial.dispose());
  const [first, second, third] = trial.cluster.nodes.map(({ place }) => place);
  trial.startLoad();
  await trial.progress(20);

  router.cut(first!, second!);
  trial.say("one way between two is cut");
  await trial.progress(20);
  router.heal(first!, second!);
  await trial.settled();

  const ways = [first!, second!].flatMap((other) => [[other, third!] as const, [third!, other] as const]);
  for (const [from, to] of ways) router.cut(from, to);
  trial.say("one node is cut from the others, not from the metadata");
  await pause(15_000);
  await trial.progress(20);
  for (const [from, to] of ways) router.heal(from, to);
  await trial.settled();

  const random = seededRandom(seed);
  for (let time = 0; time < 30; time++) {
    const [from, to] = ways[random.below(ways.length)]!;
    router.cut(from, to);
    await pause(random.below(400));
    router.heal(from, to);
    await pause(random.below(400));
  }
  trial.say("packets were lost now and then");
  await trial.settled();
  await trial.verdict();
}

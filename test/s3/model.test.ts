/**
 * Versions, conditions, locks, lifecycle, uploads, checksums, encryption, copies, renames, appends, commits, tags, access control lists
 * and quotas, all at once and through HTTP: any sequence of requests is answered as a plain model of S3 says, and leaves a store in
 * which nothing leaks.
 *
 * HOLDFAST_TEST_RUNS asks for more of them, HOLDFAST_TEST_SEED for others.
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { findingsOf } from "../../src/jobs/jobs.fixture.ts";
import { Model, ModelClock } from "./model/model.ts";
import { Run, startModelServer } from "./model/run.ts";
import { step, type Step } from "./model/steps.ts";

const runsUsually = 40;
const runs = Number(process.env["HOLDFAST_TEST_RUNS"] ?? runsUsually);
const steps = fc.array(step, { minLength: 20, maxLength: 60, size: "max" });

type Counts = Map<string, { did: number; refused: number }>;

function addTo(all: Counts, { done }: Run): void {
  for (const [what, { did, refused }] of done) {
    const counts = all.get(what) ?? { did: 0, refused: 0 };
    all.set(what, { did: counts.did + did, refused: counts.refused + refused });
  }
}

/** A bucket of its own on a server of its own. */
async function runOnce(hasLock: boolean, each: readonly Step[], all: Counts): Promise<void> {
  const clock = new ModelClock();
  const server = await startModelServer(clock);
  try {
    const run = new Run(server, "model", new Model(hasLock, clock));
    await run.begin();
    for (const next of each) await run.step(next);
    await run.end();
    assert.deepEqual(await findingsOf(server), []);
    addTo(all, run);
  } finally {
    await server.close();
  }
}

const everywhere = [
  "put",
  "copy",
  "rename",
  "delete",
  "remove",
  "deleteMany",
  "commit",
  "get",
  "anonymous",
  "complete",
];

/** What never succeeds is not tested. By as many runs each of these is done more than ten times. */
function assertCovered(t: TestContext, all: Counts, also: readonly string[]): void {
  const shown = [...all].map(([what, { did, refused }]) => `${what} ${did}/${refused}`);
  t.diagnostic(`done/refused: ${shown.join(", ")}`);
  if (runs >= runsUsually)
    for (const what of [...everywhere, ...also]) assert.ok((all.get(what)?.did ?? 0) > 0, `${what} was done`);
}

for (const hasLock of [false, true])
  void test(`any requests are answered as the model says, ${hasLock ? "with object lock" : "with versions and without"}`, async (t) => {
    const all: Counts = new Map();
    await fc.assert(
      fc.asyncProperty(steps, fc.boolean(), (each, isSwitched) =>
        runOnce(hasLock, isSwitched ? each : each.filter(({ kind }) => kind !== "switch"), all),
      ),
      { numRuns: runs, unbiased: true },
    );
    assertCovered(t, all, hasLock ? ["hold", "retain"] : ["append"]);
  });

/** The model of model.test.ts put to stores whose metadata is in PostgreSQL and in etcd: short runs, in one bucket after another. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { findingsOf } from "../../src/jobs/jobs.fixture.ts";
import { EtcdFixture, etcdMissing } from "../../src/kv/etcd.fixture.ts";
import { openEtcdKv } from "../../src/kv/etcd.ts";
import type { Kv } from "../../src/kv/kv.ts";
import { postgresMissing, startPostgres } from "../../src/kv/postgres.fixture.ts";
import { openPostgresKv } from "../../src/kv/postgres.ts";
import { Model, ModelClock } from "./model/model.ts";
import { Run, startModelServer } from "./model/run.ts";
import { step } from "./model/steps.ts";

const runs = Number(process.env["HOLDFAST_TEST_RUNS"] ?? 6);

async function runAll(kv: Kv): Promise<void> {
  const clock = new ModelClock();
  const server = await startModelServer(clock, { kv });
  let buckets = 0;
  const sequence = fc.array(step, { minLength: 20, maxLength: 40, size: "max" });
  try {
    await fc.assert(
      fc.asyncProperty(sequence, fc.boolean(), async (steps, hasLock) => {
        const run = new Run(server, `model-${(buckets += 1)}`, new Model(hasLock, clock));
        await run.begin();
        for (const each of steps) await run.step(each);
        await run.end();
      }),
      { numRuns: runs, unbiased: true, endOnFailure: true },
    );
    assert.deepEqual(await findingsOf(server), []);
  } finally {
    await server.close();
  }
}

void test("the model holds on PostgreSQL", { skip: postgresMissing() }, async () => {
  const postgres = await startPostgres();
  try {
    const kv = await openPostgresKv({ url: `${postgres.url}?schema=model`, allowNoSync: true });
    try {
      await runAll(kv);
    } finally {
      await kv.close();
    }
  } finally {
    await postgres.dispose();
  }
});

void test("the model holds on etcd", { skip: etcdMissing ?? false }, async () => {
  const etcd = await EtcdFixture.start();
  try {
    const kv = await openEtcdKv({ url: etcd.url("model") });
    try {
      await runAll(kv);
    } finally {
      await kv.close();
    }
  } finally {
    await etcd.dispose();
  }
});

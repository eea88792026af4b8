import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { silentLog } from "../core/log.ts";
import { EtcdBatches } from "./etcd_batches.ts";
import type { Sent } from "./etcd_batches.ts";

void test("an answer that makes no sense fails its commits, and the next ones go on", async () => {
  const done = (succeeded: boolean): Sent => ({
    kind: "done",
    result: { revision: 7, results: [{ kind: "txn", txn: { revision: 0, succeeded, results: [] } }] },
  });
  const answers: (() => Sent)[] = [
    () => {
      throw new Error("not its protocol");
    },
    () => ({ kind: "done", result: { revision: 7, results: [] } }),
    () => done(false),
    () => done(true),
  ];
  const batches = new EtcdBatches({
    log: silentLog,
    send: async () => answers.shift()!(),
    isFull: async () => false,
    prefixBytes: 1,
  });
  const key = Buffer.from("k");
  const commit = { checks: [{ key, version: 0 }], writes: [{ kind: "put", key, value: key }] } as const;
  for (let round = 0; round < 3; round++) {
    await assert.rejects(batches.submit(commit, 2), (error) => hasReason(error, "unavailable"));
  }
  assert.deepEqual(await batches.submit(commit, 2), { outcome: "committed" });
  await batches.settled();
});

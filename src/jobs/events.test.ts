/** Delivery by the processes of a store: one of them has the lease, and another takes over when it is gone. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { systemClock } from "../core/clock.ts";
import type { BucketId } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { Destinations } from "../events/events.ts";
import { noteEvent } from "../events/note.ts";
import { transact } from "../kv/transact.ts";
import { startReceiver } from "../../test/s3/receiver.ts";
import { runJobs, type Jobs } from "./jobs.ts";
import { newWorld, startProcess, type Process, type World } from "./jobs.fixture.ts";

const until = async (isSo: () => boolean): Promise<void> => {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 10));
};

function deliver(t: TestContext, world: World, { jobs, session }: Process): Jobs {
  const running = runJobs({
    kv: world.kv,
    session,
    clock: systemClock,
    log: silentLog,
    jobs: jobs.filter(({ name }) => name === "events"),
  });
  t.after(() => running.stop());
  return running;
}

async function note(world: World, { session }: Process, keys: readonly string[]): Promise<void> {
  const rule = { id: "r", destination: "hook", events: ["s3:ObjectCreated:*"], prefix: undefined, suffix: undefined };
  for (const key of keys)
    await transact(world.kv, (tx) =>
      noteEvent(tx, session.id, [rule], {
        name: "ObjectCreated:Put",
        atMs: systemClock.nowMs(),
        bucket: "b",
        bucketId: "b1".repeat(8) as BucketId,
        region: "r",
        key: Buffer.from(key),
        object: { sizeBytes: 1, etag: "e" },
        versionId: undefined,
        origin: undefined,
      }),
    );
}

test("of several processes one delivers, everything once; when its session has ended another does", async (t) => {
  const world = newWorld();
  const processes = await Promise.all([startProcess(world), startProcess(world), startProcess(world)]);
  const receiver = await startReceiver();
  t.after(() => receiver.close());
  const [first] = processes;
  const parts = { kv: world.kv, session: first.session.id, clock: systemClock, random: systemRandom };
  await new Destinations({ ...parts, rulesOf: () => [] }).set("hook", {
    url: receiver.url,
    headers: [],
    secret: undefined,
  });
  const keys = (from: number) => Array.from({ length: 60 }, (_, at) => `k${from + at}`);
  await note(world, first, keys(0));
  const running = processes.map((process) => deliver(t, world, process));
  await until(() => receiver.taken.length >= 60);
  const states = () => running.map((jobs) => jobs.status()[0]!.state);
  await until(() => states().filter((state) => state === "elsewhere").length === 2);
  const holder = states().findIndex((state) => state !== "elsewhere");
  await note(world, first, keys(60));
  running[holder]!.poke("events");
  await until(() => receiver.taken.length >= 120);
  assert.deepEqual(
    receiver
      .events()
      .map(({ s3 }) => s3.object.key)
      .toSorted(),
    [...keys(0), ...keys(60)].toSorted(),
  );
  await running[holder]!.stop();
  await processes[holder]!.session.close();
  await note(world, processes[(holder + 1) % 3]!, keys(120));
  for (const jobs of running) jobs.poke("events");
  // The first may have ended before it heard that its last messages were taken: those are sent again.
  await until(() => new Set(receiver.events().map(({ s3 }) => s3.object.key)).size >= 180);
});

/** Many clients on all workers race conditional writes on few keys while workers are killed; the history is checked. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { S3Client, S3RequestError } from "../../src/client/s3_client.ts";
import { systemCode } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Random } from "../../src/core/random.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";
import { checkHistory } from "./checker.ts";
import type { Operation } from "./checker.ts";

const bucket = "races";
const keys = ["one", "two", "three"];
const etagOf = (body: Buffer): string => createHash("md5").update(body).digest("hex");

type History = Map<string, Operation[]>;

function condition(call: Operation["call"]): Record<string, string> {
  if (call.kind === "get") return {};
  if (call.ifMatch !== undefined) return { "if-match": `"${call.ifMatch}"` };
  return call.kind === "put" && call.ifNoneMatch ? { "if-none-match": "*" } : {};
}

async function perform(
  client: S3Client,
  key: string,
  call: Operation["call"],
  body: Buffer,
): Promise<Operation["answer"] | undefined> {
  try {
    if (call.kind === "get") {
      const { headers, body: answer } = await client.send({ method: "GET", bucket, key });
      for await (const _ of answer);
      return { kind: "value", etag: headers.etag?.replaceAll('"', "") };
    }
    const method = call.kind === "put" ? "PUT" : "DELETE";
    await client.run({ method, bucket, key, headers: condition(call), ...(call.kind === "put" && { body }) });
    return { kind: "done" };
  } catch (error) {
    // While no worker listens nothing can have been done: it is asked again.
    if (error instanceof Error && systemCode(error.cause) === "ECONNREFUSED") {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return perform(client, key, call, body);
    }
    if (!(error instanceof S3RequestError) || error.status >= 500) return { kind: "unknown" };
    if (call.kind === "get" && error.status === 404) return { kind: "value", etag: undefined };
    // 409 says that a concurrent change came first: nothing was done, whatever the condition was.
    if (error.status === 409) return undefined;
    assert.ok([404, 412].includes(error.status), `${call.kind}: ${error.status} ${error.code}`);
    return { kind: "refused" };
  }
}

function choose(random: Random, body: Buffer, lastSeen: string | undefined): Operation["call"] {
  const dice = random.below(10);
  const etag = etagOf(body);
  if (dice < 3) return { kind: "get" };
  if (dice < 5) return { kind: "put", etag, ifNoneMatch: "*" };
  if (dice < 8 && lastSeen !== undefined) return { kind: "put", etag, ifMatch: lastSeen };
  if (dice < 9) return lastSeen === undefined ? { kind: "delete" } : { kind: "delete", ifMatch: lastSeen };
  return { kind: "put", etag };
}

async function race(
  client: S3Client,
  options: { lane: number; random: Random; steps: number; history: History; onStep: () => void },
): Promise<void> {
  const { lane, random, steps, history, onStep } = options;
  const lastSeen = new Map<string, string | undefined>();
  for (let step = 0; step < steps; step++) {
    const key = keys[random.below(keys.length)]!;
    // Some bodies go through chunks, most are inline.
    const body = Buffer.alloc(random.below(8) === 0 ? 40_000 : 20, `${lane}.${step}.`);
    const call = choose(random, body, lastSeen.get(key));
    const startMs = performance.now();
    const answer = await perform(client, key, call, body);
    onStep();
    if (answer === undefined) continue;
    const endMs = answer.kind === "unknown" ? Infinity : performance.now();
    history.get(key)!.push({ startMs, endMs, call, answer });
    if (answer.kind === "value") lastSeen.set(key, answer.etag);
    else if (answer.kind === "done") lastSeen.set(key, call.kind === "put" ? call.etag : undefined);
    if (answer.kind === "unknown") await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const lanesAtOnce = 8;
const stepsPerLane = 200;
/** Of all lanes together: it is progress, not time, after which a worker goes. */
const stepsUntilKill = 300;
const killsMax = 3;
const enabled = Buffer.from("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>");

async function raceWhileWorkersDie(t: TestContext, isVersioned: boolean): Promise<void> {
  const directory = mkdtempSync(path.join(tmpdir(), "holdfast-linear-"));
  const seed = Number(process.env["HOLDFAST_TEST_SEED"] ?? 7);
  const server = await ServerProcess.start(directory, { workers: 2 });
  const clients = Array.from(
    { length: lanesAtOnce },
    () => new S3Client({ endpoint: server.url, ...testKeys, region: "us-east-1" }),
  );
  t.after(async () => {
    for (const client of clients) client.close();
    // While it runs it may make files where others were just removed.
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  });
  await clients[0]!.run({ method: "PUT", bucket });
  if (isVersioned) await clients[0]!.run({ method: "PUT", bucket, query: { versioning: "" }, body: enabled });
  const history: History = new Map(keys.map((key) => [key, []]));
  // A worker that was killed comes back before the next one goes, so that the race goes on.
  let [steps, kills] = [0, 0];
  const onStep = (): void => {
    steps += 1;
    const isDue = kills < killsMax && steps >= (kills + 1) * stepsUntilKill;
    if (isDue && server.workers().length === 2) server.killWorker(kills++);
  };
  await Promise.all(
    clients.map((client, lane) =>
      race(client, { lane, random: seededRandom(seed * 100 + lane), steps: stepsPerLane, history, onStep }),
    ),
  );
  assert.ok(kills > 0, "a worker was killed");
  for (const [key, operations] of history) {
    assert.ok(operations.length > 100, "the race ran");
    assert.ok(
      operations.some((each) => each.answer.kind === "refused"),
      "conditions were refused",
    );
    assert.equal(checkHistory(undefined, operations), undefined, `key ${key}, seed ${seed}`);
  }
}

for (const isVersioned of [false, true])
  test(
    `racing conditional writes on all workers stay linearizable while workers are killed${isVersioned ? ", with versions" : ""}`,
    { skip: process.platform !== "linux" && "needs /proc" },
    (t) => raceWhileWorkersDie(t, isVersioned),
  );

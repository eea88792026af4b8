/**
 * Notifications, to a webhook and to Redis, through kill -9 of the whole tree and of single workers, under load, while the receiver is not there, refuses, or
 * breaks off: of every acknowledged change an event arrives, and those of one key in the order of its changes.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import path from "node:path";
import { test, type TestContext } from "node:test";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  PutBucketNotificationConfigurationCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { askAdmin } from "../../src/client/admin_client.ts";
import { seededRandom } from "../../src/core/random.ts";
import { redisMissing, startRedis } from "../brokers/redis.ts";
import { temporaryFolder } from "../server/harness.ts";
import { testMsMax } from "../bounds.ts";
import { startReceiver, type EventRecord, type Receiver } from "../s3/receiver.ts";
import { doctor } from "./kill_rounds.ts";
import { ServerProcess, testKeys } from "./server_process.ts";

const skip = process.platform !== "linux" && "needs /proc";
const Bucket = "told";
const lanes = 6;
const keysOfLane = 3;
const changesOfRound = 30;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** An acknowledged change: the ETag of what was put, or undefined for a deletion. */
type Change = { readonly key: string; readonly etag: string | undefined };

class Lane {
  readonly acknowledged: Change[] = [];
  readonly #name: string;
  readonly #random = seededRandom(11);
  #made = 0;

  constructor(name: string) {
    this.#name = name;
  }

  /** Until it is told to stop, whether the server answers or not. */
  async run(s3: S3Client, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const key = `${this.#name}-${this.#random.below(keysOfLane)}`;
      const Body = `${this.#name} ${++this.#made}`;
      const isDelete = this.#random.below(4) === 0;
      try {
        if (isDelete) await s3.send(new DeleteObjectCommand({ Bucket, Key: key }));
        else await s3.send(new PutObjectCommand({ Bucket, Key: key, Body }));
      } catch {
        await sleep(50);
        continue;
      }
      if (!isDelete) this.acknowledged.push({ key, etag: createHash("md5").update(Body).digest("hex") });
    }
  }
}

async function configure(url: URL, s3: S3Client, address: string): Promise<void> {
  const target = { endpoint: url, ...testKeys };
  const { arn } = await askAdmin(target, {
    method: "PUT",
    path: "/_/admin/event-targets/hook",
    body: { url: address },
  });
  await s3.send(new CreateBucketCommand({ Bucket }));
  await s3.send(
    new PutBucketNotificationConfigurationCommand({
      Bucket,
      NotificationConfiguration: {
        QueueConfigurations: [{ QueueArn: String(arn), Events: ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"] }],
      },
      SkipDestinationValidation: true,
    }),
  );
}

/** The same record may come several times; the first time counts. */
function firstArrivals(records: readonly EventRecord[]): EventRecord[] {
  const seen = new Map<string, EventRecord>();
  for (const record of records) {
    const id = `${record.s3.object.key} ${record.s3.object.sequencer}`;
    if (!seen.has(id)) seen.set(id, record);
  }
  return [...seen.values()];
}

async function waitUntilDelivered(url: URL): Promise<void> {
  for (const giveUpMs = performance.now() + testMsMax / 2; performance.now() < giveUpMs;) {
    const path = "/_/admin/event-targets/hook";
    const view = await askAdmin({ endpoint: url, ...testKeys }, { method: "GET", path }).catch(() => undefined);
    if (view?.["waiting"] === 0) return;
    await sleep(100);
  }
  assert.fail("events still wait");
}

function clientOf(url: URL): S3Client {
  const credentials = { accessKeyId: testKeys.accessKey, secretAccessKey: testKeys.secretKey };
  return new S3Client({ endpoint: url.href, region: "us-east-1", forcePathStyle: true, maxAttempts: 1, credentials });
}

test(
  "of every acknowledged change an event arrives, through kill -9 and a receiver that comes and goes",
  { skip },
  async (t) => {
    const directory = temporaryFolder(t);
    const all = Array.from({ length: lanes }, (_, at) => new Lane(`lane${at}`));
    const { receiver, url } = await rounds(t, path.join(directory, "d1"), all);
    await waitUntilDelivered(url.current.url);
    await url.current.stop();

    t.diagnostic(`${receiver.taken.length} messages`);
    checkArrivals(t, all, receiver.events());
    await checkStore(path.join(directory, "d1"));
  },
);

function checkArrivals(t: TestContext, all: readonly Lane[], records: readonly EventRecord[]): void {
  const arrived = firstArrivals(records);
  const told = Map.groupBy(arrived, ({ s3 }) => s3.object.key);
  const acknowledged = all.flatMap((lane) => lane.acknowledged);
  assert.ok(acknowledged.length > 100, `the load did something: ${acknowledged.length}`);
  t.diagnostic(`${acknowledged.length} PUTs acknowledged, ${arrived.length} events`);
  for (const [key, changes] of Map.groupBy(acknowledged, (change) => change.key)) {
    const records = told.get(key) ?? [];
    const sequencers = records.map(({ s3 }) => s3.object.sequencer);
    assert.deepEqual(sequencers, sequencers.toSorted(), `${key}: in the order of its changes`);
    const etags = new Set(changes.map(({ etag }) => etag));
    assert.deepEqual(
      records.map(({ s3 }) => s3.object.eTag).filter((etag) => etags.has(etag)),
      changes.map(({ etag }) => etag),
      `${key}: each acknowledged PUT once, in order`,
    );
  }
}

async function checkStore(drive: string): Promise<void> {
  const report = await doctor(drive);
  assert.deepEqual(
    report.split("\n").filter((line) => line.includes('"finding"')),
    [],
    report,
  );
  assert.match(report, /"summary"/);
}

test(
  "of every acknowledged change an event is in Redis, through kill -9 of both",
  { skip: skip || redisMissing },
  async (t) => {
    const directory = temporaryFolder(t);
    const drive = path.join(directory, "d1");
    const redis = await startRedis();
    t.after(() => redis.dispose());
    const all = Array.from({ length: lanes }, (_, at) => new Lane(`lane${at}`));
    let server = await ServerProcess.start(drive, { workers: 2 });
    t.after(() => (server.isRunning() ? server.killAll() : undefined));
    await configure(server.url, clientOf(server.url), redis.url(redis.port));
    const killed = async (): Promise<void> => {
      await underLoad(server.url, all, async () => {
        await acknowledged(all, changesOfRound);
        await server.killAll();
      });
      server = await ServerProcess.start(drive, { workers: 2 });
    };
    // It is away, then there, then ends under load.
    await redis.stop();
    await killed();
    await redis.start();
    await killed();
    await underLoad(server.url, all, async () => {
      await acknowledged(all, changesOfRound);
      await redis.stop();
      await acknowledged(all, changesOfRound);
      await redis.start();
    });
    await killed();
    await waitUntilDelivered(server.url);
    await server.stop();
    const bodies = await redis.taken();
    t.diagnostic(`${bodies.length} messages`);
    checkArrivals(
      t,
      all,
      bodies.flatMap((body) => (JSON.parse(body) as { Records?: EventRecord[] }).Records ?? []),
    );
    await checkStore(drive);
  },
);

/** Load, until what is done meanwhile is done. */
async function underLoad(url: URL, all: readonly Lane[], work: () => Promise<void>): Promise<void> {
  const s3 = clientOf(url);
  const stop = new AbortController();
  const lanes = all.map((lane) => lane.run(s3, stop.signal));
  try {
    await work();
  } finally {
    stop.abort();
    await Promise.all(lanes);
    s3.destroy();
  }
}

/** Resolves when so many more changes were acknowledged. */
async function acknowledged(all: readonly Lane[], more: number): Promise<void> {
  const count = (): number => all.reduce((sum, lane) => sum + lane.acknowledged.length, 0);
  const wanted = count() + more;
  while (count() < wanted) await sleep(20);
}

type Rounds = { readonly receiver: Receiver; readonly url: { current: ServerProcess } };

/** Load, a kill, a new start; the receiver is away at first, ill in the middle and well at the end. */
async function rounds(t: TestContext, drive: string, all: readonly Lane[]): Promise<Rounds> {
  let receiver = await startReceiver();
  const { port } = receiver;
  const server = { current: await ServerProcess.start(drive, { workers: 2 }) };
  t.after(() => (server.current.isRunning() ? server.current.killAll() : undefined));
  await configure(server.current.url, clientOf(server.current.url), receiver.url);
  await receiver.close();
  const startAgain = async (): Promise<void> => {
    server.current = await ServerProcess.start(drive, { workers: 2 });
  };
  const killed = async (): Promise<void> => {
    await underLoad(server.current.url, all, async () => {
      await acknowledged(all, changesOfRound);
      await server.current.killAll();
    });
    await startAgain();
  };
  // Nobody is there.
  await killed();
  receiver = await startReceiver(port);
  t.after(() => receiver.close());
  // It refuses, hangs up, and takes what it then calls a failure.
  const random = seededRandom(5);
  receiver.answer = (received) => {
    const dice = random.below(6);
    if (dice === 0) receiver.taken.push(received);
    return dice < 3 ? [500, 503, 400][dice]! : 200;
  };
  await killed();
  await underLoad(server.current.url, all, async () => {
    for (const worker of [0, 1]) {
      await acknowledged(all, changesOfRound);
      server.current.killWorker(worker);
    }
    await acknowledged(all, changesOfRound);
  });
  await server.current.allWorkersServe();
  receiver.answer = () => 200;
  await killed();
  return { receiver, url: server };
}

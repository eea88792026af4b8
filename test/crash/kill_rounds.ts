/** Rounds of: load, kill at a random moment, start again, verify every acknowledged object by its hash. */
import { execFile } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { S3Client } from "../../src/client/s3_client.ts";
import { seededRandom } from "../../src/core/random.ts";
import { MixedLoad } from "./mixed_load.ts";
import { ServerProcess, testKeys } from "./server_process.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const run = promisify(execFile);

export type KillReport = {
  readonly wrong: string[];
  readonly acknowledged: number;
  readonly unanswered: number;
  readonly doctor: string;
};

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function openClient(server: ServerProcess): S3Client {
  return new S3Client({ endpoint: server.url, ...testKeys, region: "us-east-1" });
}

/** `holdfast doctor` on a stopped store; its findings as JSON lines. */
export async function doctor(directory: string): Promise<string> {
  const { stdout } = await run(process.execPath, [
    path.join(root, "bin/holdfast.js"),
    "doctor",
    directory,
    "--json",
    "--deep",
  ]).catch((error: { stdout?: string; stderr?: string }) => ({ stdout: `${error.stdout ?? ""}${error.stderr ?? ""}` }));
  return stdout;
}

export async function killRounds(
  directory: string,
  options: { rounds: number; seed: number; lanes: number; log(line: string): void },
): Promise<KillReport> {
  const random = seededRandom(options.seed);
  const load = new MixedLoad(options.seed);
  const wrong: string[] = [];
  let server = await ServerProcess.start(directory, { workers: 2 });
  const first = openClient(server);
  await load.prepare(first);
  first.close();
  for (let round = 0; round < options.rounds; round++) {
    const client = openClient(server);
    const stop = new AbortController();
    const lanes = Array.from({ length: options.lanes }, (_, lane) => load.runLane(client, lane, stop.signal));
    await sleep(300 + random.below(1_500));
    const workerOnly = random.below(2) === 0;
    if (workerOnly) {
      server.killWorker(random.below(2));
      await sleep(500);
    } else await server.killAll();
    stop.abort();
    await Promise.all(lanes);
    client.close();
    if (!workerOnly) server = await ServerProcess.start(directory, { workers: 2 });
    const reader = openClient(server);
    const found = await load.verify(reader).finally(() => reader.close());
    wrong.push(...found.map((each) => `round ${round}: ${each}`));
    options.log(
      `round ${round}: ${workerOnly ? "one worker" : "all"} killed, ${load.acknowledged} acknowledged, ${found.length} wrong`,
    );
    if (found.length > 0) break;
  }
  await server.stop();
  // A clean run so that the background jobs take up what the kills left, then the books must balance.
  const last = await ServerProcess.start(directory, { workers: 1 });
  await sleep(8_000);
  await last.stop();
  return { wrong, acknowledged: load.acknowledged, unanswered: load.unanswered, doctor: await doctor(directory) };
}

/** A drive that fails under a node of a cluster: the node goes on with its other drives, and says which one failed. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test, type TestContext } from "node:test";
import { S3Client } from "../../src/client/s3_client.ts";
import { silentLog } from "../../src/core/log.ts";
import { postgresMissing, startPostgres, type PostgresServer } from "../../src/kv/postgres.fixture.ts";
import { readNodes } from "../../src/meta/nodes.ts";
import { openEngine } from "../../src/server/engine.ts";
import { testMsMax } from "../bounds.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";
import { basic } from "../server/harness.ts";
import { breakFile, breaking, missingStrace } from "./break_file.fixture.ts";

const bucket = "broken";
const body = randomBytes(100_000);
/** In a row: with three drives and two copies two of three writes need a given drive. */
const enough = 25;
let stores = 0;

type Drive = { readonly path: string; readonly state: string; readonly id: string };

class Trial {
  readonly drives: readonly string[];
  readonly metadata: string;
  readonly #folder = mkdtempSync(path.join(tmpdir(), "holdfast-index-"));
  readonly #acknowledged: string[] = [];
  server!: ServerProcess;
  #client: S3Client | undefined;

  constructor(t: TestContext, postgres: PostgresServer) {
    this.drives = ["d1", "d2", "d3"].map((name) => path.join(this.#folder, name));
    this.metadata = `${postgres.url}?schema=store${(stores += 1)}`;
    writeFileSync(path.join(this.#folder, "secret"), randomBytes(32).toString("hex"));
    t.after(async () => {
      if (this.#client === undefined) return;
      this.#client.close();
      if (this.server.isRunning()) await this.server.killAll();
      rmSync(this.#folder, { recursive: true, force: true });
    });
  }

  async start(under: readonly string[] = []): Promise<void> {
    const [first, ...others] = this.drives as [string, ...string[]];
    const flags = ["--metadata", this.metadata, "--cluster-secret-file", path.join(this.#folder, "secret")];
    const args = [...others, ...flags, "--redundancy", "replica:2"];
    this.server = await ServerProcess.start(first, { workers: 2, args, under });
    this.#client = new S3Client({ endpoint: this.server.url, ...testKeys, region: "us-east-1" });
  }

  async begin(): Promise<void> {
    await this.start();
    await this.#client!.run({ method: "PUT", bucket });
    await this.putUntilWell();
  }

  /** Resolves when so many writes in a row were acknowledged. */
  async putUntilWell(): Promise<void> {
    for (let inARow = 0; inARow < enough;) {
      const key = `key-${this.#acknowledged.length}`;
      const isStored = await this.#client!.run({ method: "PUT", bucket, key, body }).then(
        () => true,
        () => false,
      );
      if (isStored) this.#acknowledged.push(key);
      else await new Promise((resolve) => setTimeout(resolve, 50));
      inARow = isStored ? inARow + 1 : 0;
    }
  }

  async assertAllThere(): Promise<void> {
    for (const key of this.#acknowledged) assert.ok((await this.#client!.read(bucket, key)).equals(body), key);
  }

  async #ask(what: string): Promise<string> {
    const headers = { ...basic(testKeys.accessKey, testKeys.secretKey), connection: "close" };
    const answer = await fetch(new URL(what, this.server.url), { headers }).catch(() => undefined);
    return (await answer?.text().catch(() => undefined)) ?? "";
  }

  /** Whether the drive is shown as failed, and the others as up: in the status, in the metrics, and in the node's own row. */
  async isShown(drive: string): Promise<boolean> {
    const answer = await this.#ask("/_/admin/cluster");
    if (!answer.startsWith("{")) return false;
    const { drives } = JSON.parse(answer) as { drives: readonly Drive[] };
    const failed = drives.filter(({ state }) => state === "failed");
    if (failed.length !== 1 || failed[0]!.path !== drive) return false;
    const { id } = failed[0]!;
    if (!(await this.#ask("/_/metrics")).includes(`holdfast_drive_failed{drive="${id}"} 1`)) return false;
    const kv = await openEngine(this.metadata, { log: silentLog });
    const [node] = await readNodes(kv);
    await kv.close();
    return node?.drives.every((each) => each.state === (each.id === id ? "failed" : "up")) === true;
  }

  async untilShown(drive: string): Promise<void> {
    while (!(await this.isShown(drive))) await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const skip = missingStrace() || postgresMissing();

describe("a drive of a cluster's node", { skip, timeout: testMsMax }, () => {
  let postgres: PostgresServer;
  before(async () => {
    postgres = await startPostgres({ fsync: true });
  });
  after(() => postgres.dispose());

  test("whose index takes no writes is done without, under the server and by a start", async (t) => {
    const trial = new Trial(t, postgres);
    await trial.begin();
    const [broken] = trial.drives as [string];
    const file = path.join(broken, "index", "index.mdb");
    const allEnded = await breakFile(t, file, [trial.server.pid(), ...trial.server.workers()]);
    await trial.putUntilWell();
    await trial.untilShown(broken);
    await trial.assertAllThere();
    await trial.server.killAll();
    await allEnded();
    await trial.start(["strace", ...breaking(file)]);
    await trial.putUntilWell();
    await trial.assertAllThere();
    assert.match(trial.server.errors(), /The drive .*d1 fails and is left out/);
  });

  test("that is not in its folder any more is done without by a worker that is started again", async (t) => {
    const trial = new Trial(t, postgres);
    await trial.begin();
    const [gone] = trial.drives as [string];
    renameSync(gone, `${gone}-away`);
    for (const pid of trial.server.workers()) process.kill(pid, "SIGKILL");
    await trial.putUntilWell();
    await trial.untilShown(gone);
    await trial.assertAllThere();
    await trial.server.stop();
    renameSync(`${gone}-away`, gone);
    await trial.start();
    await trial.putUntilWell();
    await trial.assertAllThere();
    assert.equal(await trial.isShown(gone), false);
  });
});

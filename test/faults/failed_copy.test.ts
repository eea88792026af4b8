/** A drive that fails under a running server, as far as the metadata on it goes: nothing acknowledged is lost. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { S3Client } from "../../src/client/s3_client.ts";
import { testMsMax } from "../bounds.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";
import { breakFile, missingStrace } from "./break_file.fixture.ts";

const bucket = "broken";
const timeout = testMsMax;

class Trial {
  readonly drives: readonly string[];
  readonly acknowledged: string[] = [];
  server!: ServerProcess;
  client!: S3Client;

  constructor(t: TestContext) {
    const folder = mkdtempSync(path.join(tmpdir(), "holdfast-copy-"));
    this.drives = ["d1", "d2", "d3"].map((name) => path.join(folder, name));
    t.after(async () => {
      this.client.close();
      if (this.server.isRunning()) await this.server.killAll();
      rmSync(folder, { recursive: true, force: true });
    });
  }

  async start(): Promise<void> {
    const [first, ...others] = this.drives as [string, ...string[]];
    this.server = await ServerProcess.start(first, { workers: 2, args: others });
    this.client = new S3Client({ endpoint: this.server.url, ...testKeys, region: "us-east-1" });
  }

  metaFile(drive: number): string {
    return path.join(this.drives[drive]!, "meta", "store.mdb");
  }

  /** Tries until it is acknowledged: a server that looks for another copy refuses meanwhile. */
  async put(key: string): Promise<void> {
    for (;;) {
      try {
        await this.client.run({ method: "PUT", bucket, key, body: Buffer.from(`body of ${key}`) });
        break;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    this.acknowledged.push(key);
  }

  async assertAllThere(): Promise<void> {
    for (const key of this.acknowledged) {
      assert.equal((await this.client.read(bucket, key)).toString(), `body of ${key}`);
    }
  }
}

for (const [what, drive, says] of [
  ["the one that is read", 0, /All workers are started again, from the copies of the metadata that are good/],
  ["another one", 1, /has failed and is given up; 2 left/],
] as const) {
  test(`a drive whose metadata copy fails, ${what}`, { timeout, skip: missingStrace() }, async (t) => {
    const trial = new Trial(t);
    await trial.start();
    await trial.client.run({ method: "PUT", bucket });
    await trial.put("before");
    const allEnded = await breakFile(t, trial.metaFile(drive), [trial.server.pid(), ...trial.server.workers()]);
    for (let count = 0; count < 20; count++) await trial.put(`under-${count}`);
    await trial.assertAllThere();
    assert.match(trial.server.errors(), says);
    await trial.server.killAll();
    await allEnded();
    // The copy that failed is out of date, and is made anew; then it counts like the others.
    await trial.start();
    await trial.assertAllThere();
    await trial.put("after");
    await trial.server.killAll();
    rmSync(trial.drives[(drive + 1) % 3]!, { recursive: true });
    await trial.start();
    await trial.assertAllThere();
  });
}

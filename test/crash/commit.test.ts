/** kill -9 in the middle of commits over several keys: whatever was under way happened whole, or not at all. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { S3Client } from "../../src/client/s3_client.ts";
import { seededRandom } from "../../src/core/random.ts";
import { temporaryFolder } from "../server/harness.ts";
import { doctor } from "./kill_rounds.ts";
import { ServerProcess, testKeys } from "./server_process.ts";

const skip = process.platform !== "linux" && "needs /proc";
const bucket = "releases";
const manifests = ["m/0", "m/1", "m/2", "m/3"];
const rounds = 4;

/** Publishes releases, one after the other: an object that was uploaded before, and several keys that say which one it is. */
class Publisher {
  readonly #prefix: string;
  #begun = 0;
  acknowledged = 0;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  #body(release: number): Buffer {
    return Buffer.alloc(100_000, `${this.#prefix} ${release}, `);
  }

  /** Until the server is gone. */
  async run(client: S3Client): Promise<void> {
    for (;;) {
      const release = (this.#begun += 1);
      const staged = `${this.#prefix}/staged`;
      try {
        await client.run({ method: "PUT", bucket, key: staged, body: this.#body(release) });
        const entries = [
          ...manifests.map((key) => ({ put: `${this.#prefix}/${key}`, text: String(release) })),
          { rename: staged, to: `${this.#prefix}/live` },
        ];
        const body = Buffer.from(JSON.stringify({ entries }));
        await client.run({ method: "POST", bucket, query: { "holdfast-commit": "" }, body });
      } catch {
        return;
      }
      this.acknowledged = release;
    }
  }

  async judge(client: S3Client): Promise<void> {
    const texts = await Promise.all(manifests.map((key) => client.read(bucket, `${this.#prefix}/${key}`)));
    const releases = new Set(texts.map(Number));
    assert.equal(releases.size, 1, `${this.#prefix}: ${[...releases].join()}`);
    const [release] = releases;
    assert.ok(release! >= this.acknowledged && release! <= this.#begun, `${release}, of ${this.acknowledged}`);
    const live = await client.read(bucket, `${this.#prefix}/live`);
    assert.ok(live.equals(this.#body(release!)), "what is live is the release that the manifests name");
  }
}

test("kill -9 leaves no commit half done", { skip }, async (t) => {
  const directory = temporaryFolder(t);
  const random = seededRandom(20_261_127);
  const publishers = ["a", "b", "c"].map((prefix) => new Publisher(prefix));
  for (let round = 0; round <= rounds; round++) {
    const server = await ServerProcess.start(directory, { workers: 2 });
    t.after(() => (server.isRunning() ? server.killAll() : undefined));
    const client = new S3Client({ ...testKeys, endpoint: server.url, region: "us-east-1" });
    if (round === 0) await client.run({ method: "PUT", bucket });
    else await Promise.all(publishers.map((publisher) => publisher.judge(client)));
    if (round < rounds) {
      const before = publishers.map(({ acknowledged }) => acknowledged);
      const running = publishers.map((publisher) => publisher.run(client));
      while (publishers.some(({ acknowledged }, index) => acknowledged < before[index]! + 3)) await pause(10);
      await pause(random.below(100));
      await server.killAll();
      await Promise.all(running);
    } else await server.stop();
    client.close();
  }
  assert.deepEqual(
    (await doctor(directory)).split("\n").filter((line) => line.includes('"finding"')),
    [],
  );
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

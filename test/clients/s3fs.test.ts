/** A bucket mounted as a file system by s3fs, exercised against a model, and looked at again after a new mount. */
import assert from "node:assert/strict";
import { execFile, spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { seededRandom } from "../../src/core/random.ts";
import { S3Client } from "../../src/client/s3_client.ts";
import { testKeys } from "../crash/server_process.ts";
import { FileTree } from "./file_tree.ts";
import { ClientWorld, MiB, missing } from "./world.ts";

const run = promisify(execFile);

/** False where a file system can be mounted, as far as that can be told before it is tried. */
function noMounts(): string | false {
  const absent = missing("/usr/bin/s3fs", "s3fs fuse") || missing("/usr/bin/fusermount", "fuse");
  if (absent) return absent;
  if (!existsSync("/dev/fuse")) return "there is no /dev/fuse here, so nothing can be mounted";
  try {
    closeSync(openSync("/dev/fuse", "r+"));
    return false;
  } catch (error) {
    return `/dev/fuse cannot be opened, so nothing can be mounted: ${String(error)}`;
  }
}

const isMounted = (folder: string): boolean => readFileSync("/proc/self/mountinfo", "utf8").includes(` ${folder} `);

/** s3fs in the foreground, as a child that ends with its mount. */
class Mount {
  readonly folder: string;
  readonly #child: ChildProcess;
  #errors = "";
  /** Also where the test's process ends in an unforeseen way. */
  readonly #atExit = (): void => void spawnSync("fusermount", ["-uz", this.folder]);

  constructor(world: ClientWorld, bucket: string) {
    // Not below the folder of the world, which is removed whole: a mount left behind must not be emptied by that.
    this.folder = mkdtempSync(path.join(tmpdir(), "holdfast-s3fs-mount-"));
    const passwords = world.path("passwd-s3fs");
    writeFileSync(passwords, `${testKeys.accessKey}:${testKeys.secretKey}`, { mode: 0o600 });
    const options = [`passwd_file=${passwords}`, `url=${world.origin}`, "use_path_request_style", "endpoint=us-east-1"];
    const parts = ["sigv4", "multipart_size=5", "parallel_count=3", "retries=2", "complement_stat"];
    const flags = [...options, ...parts].flatMap((option) => ["-o", option]);
    process.once("exit", this.#atExit);
    this.#child = spawn("/usr/bin/s3fs", [bucket, this.folder, "-f", ...flags], {
      env: world.environment(),
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.on("data", (bytes) => (this.#errors = (this.#errors + String(bytes)).slice(-10_000)));
  }

  /** Undefined once it is mounted, or why it cannot be. */
  async ready(): Promise<string | undefined> {
    for (let attempt = 0; attempt < 600; attempt++) {
      if (isMounted(this.folder)) return undefined;
      if (this.#child.exitCode !== null) return this.#errors;
      await sleep(50);
    }
    return `s3fs did not mount: ${this.#errors}`;
  }

  async end(): Promise<void> {
    const unmounted = isMounted(this.folder) && (await run("fusermount", ["-u", this.folder]).catch(() => undefined));
    if (!unmounted) {
      this.#atExit();
      this.#child.kill("SIGKILL");
    }
    // With its mount s3fs ends, after it has written what it still has.
    if (this.#child.exitCode === null) await once(this.#child, "exit");
    process.removeListener("exit", this.#atExit);
    rmSync(this.folder, { recursive: true });
  }
}

describe("s3fs", { skip: noMounts() }, () => {
  let world: ClientWorld;
  let client: S3Client;

  before(async () => {
    world = await ClientWorld.start("s3fs");
    client = new S3Client({ endpoint: world.server.url, ...testKeys, region: "us-east-1" });
  });
  after(async () => {
    client.close();
    await world.stop();
  });

  /** Runs with a bucket mounted; false where this machine does not let anybody mount. */
  async function mounted(bucket: string, work: (folder: string) => Promise<void>): Promise<string | undefined> {
    const mount = new Mount(world, bucket);
    try {
      const refused = await mount.ready();
      if (refused !== undefined) {
        assert.match(refused, /not permitted|mount failed|fuse/i, "s3fs ended for another reason than a mount refused");
        return refused;
      }
      await work(mount.folder);
    } finally {
      await mount.end();
    }
    return undefined;
  }

  for (const seed of [1, 2]) {
    test(`random changes to a mounted bucket, seed ${seed}, are there after the next mount`, async (t) => {
      const bucket = `mounted-${seed}`;
      await client.run({ method: "PUT", bucket });
      const options = { random: seededRandom(seed), sizeMax: 100_000 };
      let tree: FileTree | undefined;
      const refused = await mounted(bucket, async (folder) => {
        mkdirSync(path.join(folder, "work"));
        tree = new FileTree(path.join(folder, "work"), options);
        try {
          for (let count = 0; count < 150; count++) await tree.step();
          await tree.check();
        } catch (error) {
          throw new Error(`after: ${tree.done.slice(-8).join("; ")}`, { cause: error });
        }
      });
      if (refused !== undefined) {
        t.skip(`this machine lets nobody mount: ${refused}`);
        return;
      }
      await mounted(bucket, async (folder) => tree!.at(path.join(folder, "work")).check());
      for (const [name, bytes] of tree!.files()) {
        assert.ok((await client.read(bucket, `work/${name}`)).equals(bytes), `${name} as S3 gives it`);
      }
    });
  }

  test("a large file is written in parts, changed in the middle, and renamed", async (t) => {
    const bucket = "large";
    await client.run({ method: "PUT", bucket });
    const bytes = Buffer.from(seededRandom(3).bytes(17 * MiB + 5));
    const refused = await mounted(bucket, async (folder) => {
      const file = path.join(folder, "file");
      writeFileSync(file, bytes);
      const change = Buffer.from(seededRandom(4).bytes(100_000));
      const opened = openSync(file, "r+");
      try {
        writeSync(opened, change, 0, change.length, 8 * MiB);
      } finally {
        closeSync(opened);
      }
      change.copy(bytes, 8 * MiB);
      await run("mv", [file, path.join(folder, "renamed")]);
    });
    if (refused !== undefined) {
      t.skip(`this machine lets nobody mount: ${refused}`);
      return;
    }
    assert.ok((await client.read(bucket, "renamed")).equals(bytes));
    await assert.rejects(client.read(bucket, "file"));
    await mounted(bucket, async (folder) => {
      assert.ok(readFileSync(path.join(folder, "renamed")).equals(bytes));
    });
  });
});

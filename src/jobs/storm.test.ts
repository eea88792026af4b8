/**
 * Everything at once, interleaved by a seed: three processes write, copy, upload, read, delete and remake buckets over few
 * keys while their jobs run; one is fenced in the middle of it. With every second seed versioning is switched on and suspended,
 * and versions are read and removed by their ids; with every third one lifecycle rules come and go that expire at once. Every read is one whole version. Then all comes to rest:
 * doctor finds nothing, and when everything visible is deleted nothing at all is left.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason, type ErrorReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { seededRandom, type Random } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { tags } from "../meta/keys.ts";
import { lifecycleDocument } from "../object/lifecycle.fixture.ts";
import { bodyOf, noMetadata, noVerifier, patternBytes, plainPut, readAll } from "../object/object.fixture.ts";
import { drain, findingsOf, newWorld, rowsOf, startProcess } from "./jobs.fixture.ts";
import type { Process, World } from "./jobs.fixture.ts";
import { fenceOthers } from "./sessions.ts";

const runs = Number(process.env["HOLDFAST_TEST_RUNS"] ?? 15);
const firstSeed = Number(process.env["HOLDFAST_TEST_SEED"] ?? 1);
const stepsEach = 60;
const big = patternBytes(limits.partBytesMin, 9);
const buckets = ["one", "two"];
const keys = ["a", "a/b", "a\0", "z"].map((key) => Buffer.from(key));
const bodies = [Buffer.alloc(0), Buffer.from("inline"), patternBytes(20_000, 1), patternBytes(20_000, 2)];

/** What a client can meet when others change everything under its hands. */
const expected: readonly ErrorReason[] = [
  "no_such_bucket",
  "no_such_key",
  "no_such_version",
  "is_delete_marker",
  "invalid_request",
  "no_such_upload",
  "bucket_not_empty",
  "operation_aborted",
  "precondition_failed",
  "invalid_part",
  "invalid_argument",
  "entity_too_small",
  "session_fenced",
];

/** Every call waits a few turns of the event loop before it is made, and after it. */
function shuffled(kv: Kv, random: Random): Kv {
  const turns = async (): Promise<void> => {
    for (let left = random.below(4); left > 0; left--) await new Promise((resolve) => setImmediate(resolve));
  };
  const later = async <T>(run: () => Promise<T>): Promise<T> => {
    await turns();
    const result = await run();
    await turns();
    return result;
  };
  return {
    name: "shuffled",
    get: (wanted) => later(() => kv.get(wanted)),
    scan: (range, options) => later(() => kv.scan(range, options)),
    commit: (commit) => later(() => kv.commit(commit)),
    close: () => kv.close(),
  };
}

type Shared = {
  readonly random: Random;
  readonly uploads: Open[];
  readonly hasVersions: boolean;
  readonly hasRules: boolean;
};

type Open = {
  readonly bucket: string;
  readonly key: Buffer;
  readonly uploadId: string;
  readonly etags: Map<number, string>;
};

class Client {
  readonly #process: Process;
  readonly #random: Random;
  readonly #uploads: Open[];
  readonly #hasVersions: boolean;
  readonly #hasRules: boolean;

  constructor(process: Process, { random, uploads, hasVersions, hasRules }: Shared) {
    this.#process = process;
    this.#random = random;
    this.#uploads = uploads;
    this.#hasVersions = hasVersions;
    this.#hasRules = hasRules;
  }

  #one<T>(of: readonly T[]): T {
    return of[this.#random.below(of.length)]!;
  }

  #address() {
    return { bucket: this.#one(buckets), key: this.#one(keys) };
  }

  async steps(): Promise<void> {
    const acts = [this.put, this.put, this.remove, this.copy, this.copy, this.read, this.read, this.upload];
    acts.push(this.part, this.part, this.copyPart, this.complete, this.complete, this.abort, this.list, this.remake);
    if (this.#hasVersions)
      acts.push(this.keep, this.removeVersion, this.removeVersion, this.copyVersion, this.readVersion);
    if (this.#hasRules) acts.push(this.rules);
    for (let step = 0; step < stepsEach; step++) {
      try {
        await this.#one(acts).call(this);
      } catch (error) {
        if (!hasReason(error, ...expected)) throw error;
      }
    }
  }

  async rules(): Promise<void> {
    const rule = { prefix: this.#one(["a", "a/", "z", ""]), dateMs: 0, markers: undefined };
    const document = this.#one([undefined, lifecycleDocument([rule]), lifecycleDocument([{ ...rule, prefix: "a" }])]);
    await this.#process.store.setConfiguration({ bucket: this.#one(buckets), kind: "lifecycle", document });
  }

  async put(): Promise<void> {
    const condition = this.#one([undefined, { ifNoneMatch: "*" as const }, { ifMatch: "*" as const }]);
    const { bucket, key } = this.#address();
    const options = { ...plainPut(bucket, "", this.#one(bodies)), key };
    await this.#process.store.put({ ...options, ...(condition && { conditions: condition }) });
  }

  async remove(): Promise<void> {
    await this.#process.store.delete(this.#address());
  }

  async copy(): Promise<void> {
    const metadata = this.#one([undefined, noMetadata]);
    await this.#process.store.copy({ ...this.#address(), source: this.#address(), metadata });
  }

  async keep(): Promise<void> {
    await this.#process.store.setVersioning(this.#one(buckets), this.#one(["enabled", "suspended"] as const));
  }

  /** One of those that are listed, or the null version. */
  async #version(): Promise<{ bucket: string; key: Buffer; versionId: string }> {
    const bucket = this.#one(buckets);
    const { versions } = await this.#process.store.listVersions({ bucket, limit: 20 });
    const { key, versionId } = this.#one([...versions, { key: this.#one(keys), versionId: "null" }]);
    return { bucket, key, versionId };
  }

  async removeVersion(): Promise<void> {
    await this.#process.store.delete(await this.#version());
  }

  async copyVersion(): Promise<void> {
    await this.#process.store.copy({ ...this.#address(), source: await this.#version(), metadata: undefined });
  }

  async readVersion(): Promise<void> {
    await this.#readWhole(await this.#version());
  }

  async read(): Promise<void> {
    await this.#readWhole(this.#address());
  }

  async #readWhole(address: { bucket: string; key: Buffer; versionId?: string }): Promise<void> {
    const found = await this.#process.store.get(address);
    try {
      const bytes = await readAll(found);
      assert.equal(bytes.length, found.info.sizeBytes);
      const [first] = found.info.etag.split("-");
      if (found.info.partsCount !== undefined) return assertMultipart(bytes);
      assert.ok(
        bodies.some((body) => body.equals(bytes)),
        `a whole version (${first})`,
      );
    } catch (error) {
      // Only of a process that was taken for dead may a read break off.
      if (!hasReason(error, "no_such_chunk", "corrupt_record")) throw error;
      await assert.rejects(
        this.#process.session.heartbeat(),
        (after) => hasReason(after, "session_fenced"),
        String(error),
      );
    }
  }

  async upload(): Promise<void> {
    const address = this.#address();
    const { id } = await this.#process.store.createUpload({ ...address, metadata: noMetadata });
    this.#uploads.push({ ...address, uploadId: id, etags: new Map() });
  }

  async part(): Promise<void> {
    if (this.#uploads.length === 0) return;
    const { etags, ...ref } = this.#one(this.#uploads);
    const partNumber = 1 + this.#random.below(2);
    const bytes = partNumber === 1 ? big : this.#one(bodies);
    const part = await this.#process.store.uploadPart({
      ...ref,
      partNumber,
      body: bodyOf(bytes),
      verifier: noVerifier,
    });
    etags.set(partNumber, part.etag);
  }

  async copyPart(): Promise<void> {
    if (this.#uploads.length === 0) return;
    const { etags, ...ref } = this.#one(this.#uploads);
    const source = this.#address();
    const info = (await this.#process.store.head(source)).info;
    if (info.sizeBytes > 20_000) return;
    const part = await this.#process.store.uploadPartCopy({ ...ref, partNumber: 2, source });
    etags.set(2, part.etag);
  }

  async complete(): Promise<void> {
    if (this.#uploads.length === 0) return;
    const { etags, ...ref } = this.#one(this.#uploads);
    const parts = [...etags]
      .map(([partNumber, etag]) => ({ partNumber, etag }))
      .toSorted((a, b) => a.partNumber - b.partNumber);
    if (parts.length > 0) await this.#process.store.completeUpload({ ...ref, parts });
  }

  async abort(): Promise<void> {
    if (this.#uploads.length === 0 || this.#random.below(3) > 0) return;
    const { etags: _etags, ...ref } = this.#one(this.#uploads);
    await this.#process.store.abortUpload(ref);
  }

  async list(): Promise<void> {
    const bucket = this.#one(buckets);
    const { objects } = await this.#process.store.list({ bucket, limit: 10 });
    assert.deepEqual(
      objects.map(({ key }) => key),
      objects.map(({ key }) => key).toSorted((a, b) => a.compare(b)),
    );
  }

  /** Empties the bucket, deletes it and makes it again. */
  async remake(): Promise<void> {
    if (this.#random.below(4) > 0) return;
    const { store } = this.#process;
    const bucket = this.#one(buckets);
    try {
      for (const { key, versionId } of (await store.listVersions({ bucket, limit: 100 })).versions)
        await store.delete({ bucket, key, versionId });
      for (const { key, id } of (await store.listUploads({ bucket, limit: 10 })).uploads)
        await store.abortUpload({ bucket, key, uploadId: id });
      await store.deleteBucket(bucket);
    } finally {
      await store.createBucket(bucket, { region: "here" });
    }
  }
}

function assertMultipart(bytes: Buffer): void {
  const tail = bytes.subarray(0, big.length).equals(big) ? bytes.subarray(big.length) : bytes;
  assert.ok(
    bodies.some((body) => body.equals(tail)),
    `a whole multipart version of ${bytes.length} bytes`,
  );
}

async function work({ jobs, session }: Process, isOver: () => boolean): Promise<void> {
  const { signal } = new AbortController();
  while (!isOver()) {
    for (const job of jobs) await job.run(signal);
    if (!session.fenced) await session.heartbeat().catch(() => undefined);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function deleteAll({ store }: Process): Promise<void> {
  for (const { name: bucket } of (await store.listBuckets({ limit: 10 })).buckets) {
    for (const { key, versionId } of (await store.listVersions({ bucket, limit: 1_000 })).versions)
      await store.delete({ bucket, key, versionId });
    for (const { key, id } of (await store.listUploads({ bucket, limit: 100 })).uploads)
      await store.abortUpload({ bucket, key, uploadId: id });
    await store.deleteBucket(bucket);
  }
}

async function assertNothingLeft({ kv, node }: World): Promise<void> {
  const { bucket, head, body, past, blob, trash, upload, part, leftover, abandoned, ended, usage } = tags;
  const { due, lifecycle } = tags;
  const families = [bucket, head, body, past, blob, trash, upload, part, leftover, abandoned, ended, usage];
  for (const tag of [...families, due, lifecycle]) assert.deepEqual(await rowsOf(kv, tag), [], `rows of family ${tag}`);
  for (const drive of node.drives) assert.deepEqual(await node.list(drive, { limit: 10 }), []);
}

async function storm(seed: number): Promise<void> {
  const random = seededRandom(seed);
  const world = newWorld();
  const kv = shuffled(world.kv, random);
  const processes = [
    await startProcess({ ...world, kv }),
    await startProcess({ ...world, kv }),
    await startProcess({ ...world, kv }),
  ];
  for (const bucket of buckets) await processes[0]!.store.createBucket(bucket, { region: "here" });
  const uploads: Open[] = [];
  const shared = { random, uploads, hasVersions: seed % 2 === 0, hasRules: seed % 3 === 0 };
  const clients = processes.flatMap((each) => [new Client(each, shared), new Client(each, shared)]);
  const rest = { isOver: false };
  const jobs = processes.map((each) => work(each, () => rest.isOver));
  const fencing = (async () => {
    for (let turns = random.below(2_000); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
    await fenceOthers(
      world.kv,
      processes.slice(1).map(({ session }) => session.id),
    );
  })();
  await Promise.all([...clients.map((client) => client.steps()), fencing]).finally(() => (rest.isOver = true));
  await Promise.all(jobs);
  const last = await startProcess(world);
  await fenceOthers(world.kv, [last.session.id]);
  await drain(last);
  assert.deepEqual(await findingsOf(world), []);
  await deleteAll(last);
  await drain(last);
  await assertNothingLeft(world);
}

for (let seed = firstSeed; seed < firstSeed + runs; seed++)
  void test(`storm of seed ${seed} leaves everything whole and nothing behind`, { timeout: 300_000 }, () =>
    storm(seed),
  );

/**
 * What was made apart, together: appends, copies, renames, uploads, commits over several keys, quotas of bucket and account, lifecycle
 * rules, the deletion of the bucket, and a move of all rows to another store. Whatever happens in whatever order, the counters are
 * what is there, the doctor finds nothing, and when all has expired nothing is left.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { hasReason, type ErrorReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { absent } from "../kv/kv.ts";
import { copyRows } from "../kv/copy.ts";
import { tagRange, tags } from "../meta/keys.ts";
import { dayMs, lifecycleDocument, type RuleText } from "../object/lifecycle.fixture.ts";
import { bodyOf, noMetadata, noVerifier, patternBytes, plainPut, SettableClock } from "../object/object.fixture.ts";
import { drain, findingsOf, newWorld, rowsOf, startProcess, type Process, type World } from "./jobs.fixture.ts";
import { fenceOthers } from "./sessions.ts";

const bucket = "together";
const account = "123456789012";
const { signal } = new AbortController();
const rules: readonly RuleText[] = [
  { prefix: "", days: 2, abortDays: 2, noncurrentDays: 1 },
  { prefix: "", markers: true },
];
const quota = { bytesMax: 120_000, objectsMax: 9 };

/** Of pieces: whatever is read consists of whole ones. */
const sizes = [40_000, limits.inlineBytesMax + 1, limits.inlineBytesMax, 300, 7, 1];
const pieceOf = (size: number): Buffer => patternBytes(size, size);

function isWhole(bytes: Buffer): boolean {
  return (
    bytes.length === 0 ||
    sizes.some((size) => pieceOf(size).equals(bytes.subarray(0, size)) && isWhole(bytes.subarray(size)))
  );
}

const step = fc.record({
  what: fc.constantFrom(
    "put",
    "append",
    "append",
    "append",
    "read",
    "read",
    "copy",
    "rename",
    "commit",
    "delete",
    "start",
    "part",
    "complete",
    "abort",
    "expire",
    "bucket quota",
    "account quota",
    "rules",
    "no rules",
    "delete bucket",
    "move",
  ),
  name: fc.constantFrom("a", "b"),
  size: fc.constantFrom(...sizes),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const ofProcesses: readonly number[] = [tags.session, tags.heartbeat, tags.job, tags.progress];

const refusals: readonly ErrorReason[] = [
  "quota_exceeded",
  "no_such_key",
  "no_such_bucket",
  "invalid_request",
  "invalid_argument",
  "is_delete_marker",
  "bucket_not_empty",
  "too_many_parts",
  // Of two at once.
  "invalid_write_offset",
  "no_such_upload",
  "invalid_part",
  "operation_aborted",
  "slow_down",
];

class Run {
  #world: World;
  #process: Process;
  readonly #clock: SettableClock;

  private constructor(world: World, process: Process, clock: SettableClock) {
    this.#world = world;
    this.#process = process;
    this.#clock = clock;
  }

  static async start(): Promise<Run> {
    const world = newWorld();
    const clock = new SettableClock();
    return new Run(world, await startProcess(world, clock), clock);
  }

  async step(each: Step): Promise<void> {
    try {
      await this.#make(each);
    } catch (error) {
      if (!hasReason(error, ...refusals)) throw error;
    }
  }

  async #make({ what, name, size }: Step): Promise<unknown> {
    const { store } = this.#process;
    const at = { bucket, key: Buffer.from(name) };
    const other = { bucket, key: Buffer.from(name === "a" ? "b" : "a") };
    if (what === "put") return store.put(plainPut(bucket, name, pieceOf(size)));
    if (what === "append") return this.#append(at, size);
    if (what === "read") return this.#read(at);
    if (what === "copy") return store.copy({ ...at, source: other, metadata: undefined });
    if (what === "rename") return store.rename({ ...at, source: other });
    if (what === "delete") return store.delete(at);
    if (what === "commit") {
      const source = { key: other.key };
      const put = { kind: "put", key: Buffer.from("c"), bytes: pieceOf(7), metadata: noMetadata } as const;
      return store.commit({ bucket, entries: [{ kind: "copy", key: at.key, source }, put] });
    }
    if (what === "start") return store.createUpload({ ...at, metadata: noMetadata });
    if (what === "expire") return this.expire();
    if (what === "bucket quota") return store.setQuota(bucket, quota);
    if (what === "account quota") return store.setAccountQuota(account, quota);
    if (what === "rules")
      return store.setConfiguration({ bucket, kind: "lifecycle", document: lifecycleDocument(rules) });
    if (what === "no rules") return store.setConfiguration({ bucket, kind: "lifecycle", document: undefined });
    if (what === "delete bucket") return this.#deleteBucket();
    if (what === "move") return this.#move();
    return this.#upload(what, size);
  }

  /** Slowly, so that what others do comes between. */
  async #read(at: { readonly bucket: string; readonly key: Buffer }): Promise<void> {
    const found = await this.#process.store.get(at);
    assert.ok(found.outcome === "found");
    const pieces: Buffer[] = [];
    try {
      for await (const piece of found.body()) {
        pieces.push(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      found.release();
    }
    const bytes = Buffer.concat(pieces);
    assert.equal(bytes.length, found.info.sizeBytes);
    assert.ok(isWhole(bytes), `${bytes.length} bytes are whole pieces`);
  }

  async #append(at: { readonly bucket: string; readonly key: Buffer }, size: number): Promise<unknown> {
    const { store } = this.#process;
    const head = await store.head(at).catch((error: unknown) => {
      if (!hasReason(error, "no_such_key")) throw error;
    });
    const body = bodyOf(pieceOf(size));
    return store.append({
      ...at,
      body,
      metadata: noMetadata,
      verifier: noVerifier,
      offset: head?.info.sizeBytes ?? 0,
    });
  }

  async #upload(what: "part" | "complete" | "abort", size: number): Promise<unknown> {
    const { store } = this.#process;
    const [upload] = (await store.listUploads({ bucket, limit: 1 })).uploads;
    if (upload === undefined) return undefined;
    const ref = { bucket, key: upload.key, uploadId: upload.id };
    if (what === "abort") return store.abortUpload(ref);
    if (what === "part")
      return store.uploadPart({
        ...ref,
        partNumber: (size % 3) + 1,
        body: bodyOf(pieceOf(size)),
        verifier: noVerifier,
      });
    const { parts } = await store.listParts({ ...ref, after: 0, limit: 1 });
    const [first] = parts;
    if (first === undefined) return undefined;
    return store.completeUpload({ ...ref, parts: [{ partNumber: first.partNumber, etag: first.etag }] });
  }

  async #deleteBucket(): Promise<void> {
    await this.#process.store.deleteBucket(bucket);
    await this.#process.store.createBucket(bucket, { region: "here", account });
  }

  /** Another process of the same store, with the same clock. */
  async another(): Promise<Run> {
    return new Run(this.#world, await startProcess(this.#world, this.#clock), this.#clock);
  }

  /** They are done, and nobody beats for them. */
  async fenceOthers(): Promise<void> {
    await fenceOthers(this.#world.kv, [this.#process.session.id]);
  }

  /** As `metadata copy` does it: every row of every family, but of those that are about processes. */
  async #move(): Promise<void> {
    const to = openMemoryKv();
    const stretches = Object.values(tags).map((tag) => ({
      range: tagRange(tag),
      isCopied: !ofProcesses.includes(tag),
    }));
    await copyRows({ from: this.#world.kv, to, stretches, guard: { key: Buffer.of(0xff), version: absent } });
    this.#world = { ...this.#world, kv: to };
    this.#process = await startProcess(this.#world, this.#clock);
  }

  async expire(): Promise<void> {
    this.#clock.aheadMs += 4 * dayMs;
    const job = this.#process.jobs.find(({ name }) => name === "lifecycle")!;
    for (let runs = 0; (await job.run(signal)).more; runs++) assert.ok(runs < 200, "the job comes to an end");
  }

  async judge(): Promise<void> {
    await drain(this.#process);
    assert.deepEqual(await findingsOf(this.#world), []);
  }

  async end(): Promise<void> {
    const { store } = this.#process;
    await store.setConfiguration({ bucket, kind: "lifecycle", document: lifecycleDocument(rules) });
    for (let midnights = 0; midnights < 3; midnights++) await this.expire();
    await store.setQuota(bucket, quota);
    await store.setAccountQuota(account, quota);
    const nothing = { objects: 0, bytes: 0 };
    assert.deepEqual((await store.quota(bucket)).held, nothing);
    assert.deepEqual((await store.accountQuota(account)).held, nothing);
    await drain(this.#process);
    assert.deepEqual(await findingsOf(this.#world), []);
    for (const tag of [tags.blob, tags.trash, tags.leftover, tags.part, tags.past, tags.due, tags.held, tags.upload])
      assert.deepEqual(await rowsOf(this.#world.kv, tag), []);
    await store.deleteBucket(bucket);
    await this.expire();
    for (const tag of [tags.lifecycle, tags.config, tags.due, tags.usage])
      assert.deepEqual(await rowsOf(this.#world.kv, tag), []);
  }

  async create(versioning: string): Promise<void> {
    const { store } = this.#process;
    await store.createBucket(bucket, { region: "here", account });
    if (versioning !== "unversioned") await store.setVersioning(bucket, "enabled");
    if (versioning === "suspended") await store.setVersioning(bucket, "suspended");
  }
}

void test("appends, uploads, quotas, rules and deletions together leave counters that are right and nothing behind", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("unversioned", "unversioned", "unversioned", "enabled", "suspended"),
      fc.array(step, { minLength: 5, maxLength: 30 }),
      async (versioning, steps) => {
        const run = await Run.start();
        await run.create(versioning);
        for (const each of steps) await run.step(each);
        await run.judge();
        await run.end();
      },
    ),
    { numRuns: 40, seed: 7 },
  );
});

void test("and so they do when several processes do them at once", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("unversioned", "unversioned", "enabled", "suspended"),
      fc.array(
        step.filter(({ what }) => what !== "move"),
        { minLength: 9, maxLength: 30 },
      ),
      async (versioning, steps) => {
        const run = await Run.start();
        await run.create(versioning);
        const runs = [run, await run.another(), await run.another()];
        await Promise.all(
          runs.map(async (each, index) => {
            for (let at = index; at < steps.length; at += runs.length) await each.step(steps[at]!);
          }),
        );
        await run.fenceOthers();
        await run.judge();
        await run.end();
      },
    ),
    { numRuns: 40, seed: 11 },
  );
});

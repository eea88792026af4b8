/** Whole object stores for tests: real parts, a memory node, and the metadata store of one's choice. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stillClock } from "../blob/blob.fixture.ts";
import type { BlobStore, BodySource } from "../blob/blob.ts";
import { createNodePlacement } from "../blob/node_placement.ts";
import { createBlobStore } from "../blob/store.ts";
import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { IdSource } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import type { DigestPool } from "../digest/digest.ts";
import { createDigestPool } from "../digest/pool.ts";
import type { Kv } from "../kv/kv.ts";
import { openLmdbKv } from "../kv/lmdb.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { Session } from "../meta/sessions.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { ChunkNode } from "../node/node.ts";
import type { ObjectParts } from "./context.ts";
import type { BodyVerifier, GetOutcome, ObjectMetadata } from "./object.ts";
import { ObjectStore } from "./object_store.ts";

export const kvKinds = ["memory", "lmdb"] as const;
export type KvKind = (typeof kvKinds)[number];

/** Small chunks, so that small objects have several. */
export const testChunkBytes = 128 * 1024;

export type TestGateway = { readonly store: ObjectStore; readonly session: Session; readonly blobs: BlobStore };

type GatewayOptions = { readonly kv?: Kv } & Pick<ObjectParts, "eventRules" | "onQueued" | "loggedBuckets">;

export type TestStore = TestGateway & {
  readonly kv: Kv;
  readonly node: ChunkNode;
  readonly digests: DigestPool;
  /** Another process's gateway on the same data. */
  gateway(options?: GatewayOptions): Promise<TestGateway>;
  close(): Promise<void>;
};

/** A clock that shows what it is set to, and waits as the system's does. */
export class SettableClock implements Clock {
  aheadMs = 0;
  readonly #startMs = systemClock.nowMs();
  nowMs = (): number => this.#startMs + this.aheadMs;
  monotonicMs = systemClock.monotonicMs;
  sleep = systemClock.sleep;
}

/** `clock`: the object layer's own; sessions keep the system's. No drive is slow, however long this process is kept from running. */
export async function openTestStore(kind: KvKind, { clock = systemClock } = {}): Promise<TestStore> {
  const folder = kind === "lmdb" ? await mkdtemp(join(tmpdir(), "holdfast-object-")) : undefined;
  const kv = folder === undefined ? openMemoryKv() : await openLmdbKv({ path: join(folder, "meta.lmdb"), sync: false });
  const digests = createDigestPool({ threads: 0 });
  const node = createMemoryNode();
  const parts = { clock: systemClock, random: systemRandom, log: silentLog };
  const gateway = async ({ kv: own = kv, ...hooks }: GatewayOptions = {}): Promise<TestGateway> => {
    const session = await Session.start({ ...parts, kv, node: "test" });
    const placement = await createNodePlacement({ node, clock: stillClock, log: silentLog });
    const ids = new IdSource(session.id);
    const blobs = createBlobStore({ node, ids, digests, placement, log: silentLog, chunkBytes: testChunkBytes });
    const store = new ObjectStore({ ...parts, clock, kv: own, blobs, digests, session, ...hooks });
    return { store, session, blobs };
  };
  const close = async (): Promise<void> => {
    await kv.close();
    await node.close();
    await digests.close();
    if (folder !== undefined) await rm(folder, { recursive: true });
  };
  return { ...(await gateway()), kv, node, digests, gateway, close };
}

/** A gateway before each of whose commits `before` is run. */
export async function interrupted(t: TestStore, before: () => Promise<void>): Promise<TestGateway> {
  const { kv } = t;
  const commit: Kv["commit"] = async (wanted) => {
    await before();
    return kv.commit(wanted);
  };
  const slow: Kv = {
    name: "slow",
    get: (keys) => kv.get(keys),
    scan: (range, options) => kv.scan(range, options),
    commit,
    close: async () => undefined,
  };
  return t.gateway({ kv: slow });
}

/** Run the first time only. */
export function once(run: () => Promise<unknown>): () => Promise<void> {
  let isDone = false;
  return async () => {
    if (isDone) return;
    isDone = true;
    await run();
  };
}

export function bodyOf(bytes: Buffer): BodySource {
  return {
    sizeBytes: bytes.length,
    collect: async () => bytes,
    async *stream() {
      // What is read belongs to the reader.
      for (let at = 0; at < bytes.length; at += 50_000) yield Buffer.from(bytes.subarray(at, at + 50_000));
    },
  };
}

export const noMetadata: ObjectMetadata = { headers: {}, user: {} };
export const noVerifier: BodyVerifier = { digests: [], verify: () => undefined };

/** A PUT with everything that a test does not care about. */
export function plainPut(bucket: string, key: string, bytes: Buffer | string): Parameters<ObjectStore["put"]>[0] {
  const body = bodyOf(Buffer.from(bytes));
  return { bucket, key: Buffer.from(key), body, metadata: noMetadata, verifier: noVerifier };
}

/** Distinct bytes of a length, the same for the same seed. */
export function patternBytes(length: number, seed = 1): Buffer {
  const out = Buffer.alloc(length);
  let state = seed * 2_654_435_761;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    out[at] = state >>> 24;
  }
  return out;
}

/** The bytes of a found object; ends the read. */
export async function readAll(found: GetOutcome): Promise<Buffer> {
  if (found.outcome !== "found") throw new Error("nothing was found");
  try {
    const pieces: Buffer[] = [];
    for await (const piece of found.body()) pieces.push(piece);
    return Buffer.concat(pieces);
  } finally {
    found.release();
  }
}

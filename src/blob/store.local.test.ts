/** The blob store over real drives: the same promises, with real files below. */
import assert from "node:assert/strict";
import { mkdtemp, open, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import { systemClock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { IdSource, type SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { createDigestPool } from "../digest/pool.ts";
import type { Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { systemDisk, systemProcesses } from "../node/disk.system.ts";
import { prepareDrive, type OpenIndex } from "../node/drive.ts";
import { openLocalNode } from "../node/local_node.ts";
import type { ChunkNode } from "../node/node.ts";
import { stillClock } from "./blob.fixture.ts";
import type { BlobStore, BodySource, ChunkedBlob, ChunkSource, WriteBodyOptions } from "./blob.ts";
import { createNodePlacement } from "./node_placement.ts";
import { createBlobStore } from "./store.ts";

type Local = { readonly store: BlobStore; readonly node: ChunkNode; readonly paths: readonly string[] };

/** Indexes in memory that outlive being closed, as files would. */
function memoryIndexes(): OpenIndex {
  const stores = new Map<string, Kv>();
  return async ({ path, wipe }) => {
    const kept = wipe ? undefined : stores.get(path);
    const kv = kept ?? openMemoryKv();
    stores.set(path, kv);
    return {
      name: kv.name,
      get: (keys) => kv.get(keys),
      scan: (range, options) => kv.scan(range, options),
      commit: (commit) => kv.commit(commit),
      close: async () => undefined,
    };
  };
}

const root = await mkdtemp(join(tmpdir(), "holdfast-blob-"));
const digests = createDigestPool({ threads: 1 });
test.after(async () => {
  await digests.close();
  await rm(root, { recursive: true });
});

async function openLocal(name: string, driveCount: number): Promise<Local> {
  const disk = systemDisk(root);
  const openIndex = memoryIndexes();
  const seams = { disk, openIndex, random: systemRandom, log: silentLog };
  const paths = Array.from({ length: driveCount }, (_, index) => join(root, `${name}-${index}`));
  for (const path of paths) {
    await disk.makeDirectory(path);
    await prepareDrive({ ...seams, path });
  }
  const processes = await systemProcesses();
  const node = await openLocalNode({ ...seams, drives: paths, processes, clock: systemClock });
  const placement = await createNodePlacement({ node, clock: stillClock, log: silentLog });
  const ids = new IdSource("0123456789abcdef" as SessionId);
  const store = createBlobStore({ node, ids, digests, placement, log: silentLog });
  return { store, node, paths };
}

const options: WriteBodyOptions = { digests: ["md5", "crc32c"], inlineBytesMax: 0, bytesMax: 2 ** 30 };

function bodyOf(bytes: Buffer): BodySource {
  return {
    sizeBytes: bytes.length,
    collect: async () => bytes,
    async *stream() {
      // What is read belongs to the reader.
      for (let start = 0; start < bytes.length; start += 100_000)
        yield Buffer.from(bytes.subarray(start, start + 100_000));
    },
  };
}

async function write(store: BlobStore, bytes: Buffer): Promise<ChunkedBlob> {
  const written = await store.write(bodyOf(bytes), options);
  assert.ok(written.kind === "chunked");
  assert.deepEqual(written.digests, digests.whole(options.digests, bytes));
  return written.blob;
}

async function read(store: BlobStore, blob: ChunkedBlob, offset = 0, length = blob.sizeBytes): Promise<Buffer> {
  const { chunkBytes, sizeBytes, chunks } = blob;
  const source: ChunkSource = {
    blob: blob.id,
    chunkBytes,
    sizeBytes,
    chunks: async (first, count) => chunks.slice(first, first + count),
  };
  const pieces: Buffer[] = [];
  for await (const piece of store.read(source, offset, length)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Random bytes, or ones that compress. */
function bytesOf(sizeBytes: number, isText: boolean): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  for (let start = 0; start < sizeBytes; start += 50_000) {
    const part = bytes.subarray(start, start + 50_000);
    if (isText) part.fill(`line ${start} of a file; `);
    else part.set(systemRandom.bytes(part.length));
  }
  return bytes;
}

void test("bodies of any size on real drives, several at once, any range; nothing is left when they are removed", async () => {
  const { store, node } = await openLocal("round", 2);
  const size = fc.oneof(
    fc.nat(300_000),
    fc.integer({ min: limits.chunkBytesMax - 2, max: 2 * limits.chunkBytesMax + 2 }),
  );
  const plan = fc.record({ sizeBytes: size, isText: fc.boolean(), from: fc.nat(), to: fc.nat() });
  await fc.assert(
    fc.asyncProperty(fc.array(plan, { minLength: 1, maxLength: 4 }), async (plans) => {
      const blobs = await Promise.all(
        plans.map(async ({ sizeBytes, isText, from, to }) => {
          const bytes = bytesOf(sizeBytes, isText);
          const blob = await write(store, bytes);
          const [start, end] = [from % (sizeBytes + 1), to % (sizeBytes + 1)].sort((a, b) => a - b) as [number, number];
          assert.ok((await read(store, blob)).equals(bytes));
          assert.ok((await read(store, blob, start, end - start)).equals(bytes.subarray(start, end)));
          return blob;
        }),
      );
      await store.remove(blobs.flatMap(({ chunks }) => chunks));
      for (const drive of node.drives) assert.deepEqual(await node.list(drive, { limit: 10 }), []);
    }),
    { numRuns: 15 },
  );
  await node.close();
});

/** Inverts one byte of the drive's only segment file with data; returns a function that puts it back. */
async function flipByte(drivePath: string, at: number): Promise<() => Promise<void>> {
  const [name] = await readdir(join(drivePath, "segments"));
  const file = await open(join(drivePath, "segments", name!), "r+");
  const { size } = await file.stat();
  const byte = Buffer.alloc(1);
  const position = at % size;
  async function invert(): Promise<void> {
    await file.read(byte, 0, 1, position);
    byte[0] = byte[0]! ^ 0xff;
    await file.write(byte, 0, 1, position);
  }
  await invert();
  return async () => {
    await invert();
    await file.close();
  };
}

void test("a byte that rots anywhere on the drive never reaches a reader", async () => {
  const { store, node, paths } = await openLocal("rot", 1);
  const bytes = Buffer.concat([bytesOf(400_000, false), bytesOf(400_000, true)]);
  const blob = await write(store, bytes);
  let found = 0;
  for (let round = 0; round < 40; round++) {
    const restore = await flipByte(paths[0]!, systemRandom.below(2 ** 40));
    try {
      assert.ok((await read(store, blob)).equals(bytes));
    } catch (error) {
      assert.ok(hasReason(error, "corrupt_chunk"));
      found += 1;
    }
    await restore();
  }
  assert.ok(found > 0);
  await node.close();
});

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { openMemoryKv } from "../kv/memory.ts";
import type { Kv } from "../kv/kv.ts";
import type { BucketId } from "../core/ids.ts";
import { encodeHead, encodePast, orderOf, type HeadRecord } from "./heads.ts";
import { headKey, markerKey, pastKey } from "./keys.ts";
import { walkRange, walkVersions, type WalkedVersion } from "./version_walk.ts";

const bucket = "00000000000000b1" as BucketId;
const other = "00000000000000b2" as BucketId;

function version(order: number, kind: "empty" | "marker", isNull = false): HeadRecord {
  const stamp = order.toString(16).padStart(28, "0");
  const plain = { sizeBytes: 0, modifiedMs: 1, etag: "0".repeat(32), checksum: undefined, epoch: 0, stamp };
  const place = { order, isNull, nullOrder: undefined };
  return { ...plain, metadata: { headers: {}, user: {} }, data: { kind }, version: place };
}

/** A key's rows: `orders` of its versions, rising; the newest one is current. */
async function write(kv: Kv, key: Buffer, orders: readonly number[], isMarker: boolean, of = bucket): Promise<void> {
  for (const [index, order] of orders.entries()) {
    const isNewest = index === orders.length - 1;
    const head = version(order, isNewest && isMarker ? "marker" : "empty");
    const row = !isNewest ? pastKey(of, key, BigInt(order)) : isMarker ? markerKey(of, key) : headKey(of, key);
    const value = isNewest && !isMarker ? encodeHead(head) : encodePast({ head, inline: undefined });
    await kv.commit({ checks: [], writes: [{ kind: "put", key: row, value }] });
  }
}

async function walkAll(kv: Kv, prefix: Buffer, limit: number): Promise<WalkedVersion[]> {
  const { start, end } = walkRange(bucket, prefix);
  const found: WalkedVersion[] = [];
  for (let from = start, steps = 0; ; steps++) {
    assert.ok(steps < 1_000, "the walk ends");
    const step = await walkVersions(kv, bucket, { start: from, end }, limit);
    found.push(...step.versions);
    if (step.next === undefined) return found;
    from = step.next;
  }
}

const lineOf = ({ key, head, isCurrent }: WalkedVersion): string =>
  `${key.toString("hex")} ${orderOf(head)} ${isCurrent}`;

void test("a walk meets every version once, by key and the newest first, however small its steps are", async () => {
  const key = fc.uint8Array({ minLength: 1, maxLength: 3, max: 2 }).map((bytes) => Buffer.from(bytes));
  const orders = fc.uniqueArray(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 8 });
  const history = fc.record({ key, orders, isMarker: fc.boolean() });
  const histories = fc.uniqueArray(history, { maxLength: 12, selector: (each) => each.key.toString("hex") });
  const prefix = fc.uint8Array({ maxLength: 2, max: 2 }).map((bytes) => Buffer.from(bytes));
  await fc.assert(
    fc.asyncProperty(histories, prefix, fc.integer({ min: 1, max: 6 }), async (all, begins, limit) => {
      const kv = openMemoryKv();
      const expected: string[] = [];
      for (const each of all.toSorted((a, b) => Buffer.compare(a.key, b.key))) {
        const rising = each.orders.toSorted((a, b) => a - b);
        await write(kv, each.key, rising, each.isMarker);
        await write(kv, each.key, rising, each.isMarker, other);
        if (!each.key.subarray(0, begins.length).equals(begins)) continue;
        for (const order of rising.toReversed())
          expected.push(`${each.key.toString("hex")} ${order} ${order === rising.at(-1)}`);
      }
      assert.deepEqual((await walkAll(kv, begins, limit)).map(lineOf), expected);
    }),
    { numRuns: 500 },
  );
});

/** A store in which `change` happens before the scan of that number. */
function changing(kv: Kv, scan: number, change: () => Promise<void>): Kv {
  let scans = 0;
  return {
    ...kv,
    get: (keys) => kv.get(keys),
    commit: (commit) => kv.commit(commit),
    scan: async (range, options) => {
      if (++scans === scan) await change();
      return kv.scan(range, options);
    },
  };
}

const key = Buffer.from("k");
const put = (row: Buffer, value: Buffer) => ({ kind: "put", key: row, value }) as const;

void test("a version that moves between the scans is seen, once, whichever way it goes", async () => {
  for (const scan of [2, 3]) {
    const kv = openMemoryKv();
    await write(kv, key, [1, 2], false);
    // A delete of what is current: 1 is current again.
    const promotion = changing(kv, scan, async () => {
      const promoted = encodeHead(version(1, "empty"));
      const writes = [put(headKey(bucket, key), promoted), { kind: "delete", key: pastKey(bucket, key, 1n) } as const];
      await kv.commit({ checks: [], writes });
    });
    const lines = (await walkAll(promotion, Buffer.alloc(0), 5)).map(lineOf);
    assert.ok(
      lines.some((line) => line.startsWith("6b 1 ")),
      "version 1 was there throughout",
    );
    assert.equal(new Set(lines.map((line) => line.slice(0, 4))).size, lines.length);
  }
  for (const scan of [2, 3]) {
    const kv = openMemoryKv();
    await write(kv, key, [1], false);
    const overwrite = changing(kv, scan, async () => {
      const past = encodePast({ head: version(1, "empty"), inline: undefined });
      const writes = [put(headKey(bucket, key), encodeHead(version(2, "empty"))), put(pastKey(bucket, key, 1n), past)];
      await kv.commit({ checks: [], writes });
    });
    assert.deepEqual((await walkAll(overwrite, Buffer.alloc(0), 5)).map(lineOf), ["6b 2 true", "6b 1 false"]);
  }
});

void test("of a null version that is replaced between the scans only the newer one is seen", async () => {
  const kv = openMemoryKv();
  await kv.commit({ checks: [], writes: [put(headKey(bucket, key), encodeHead(version(1, "empty", true)))] });
  const replacing = changing(kv, 3, async () => {
    await kv.commit({ checks: [], writes: [put(headKey(bucket, key), encodeHead(version(2, "empty", true)))] });
  });
  assert.deepEqual((await walkAll(replacing, Buffer.alloc(0), 5)).map(lineOf), ["6b 2 true"]);
});

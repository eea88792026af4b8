import assert from "node:assert/strict";
import { test } from "node:test";
import type { Write } from "./kv.ts";
import { openMemoryKv } from "./memory.ts";
import { scanAll, scanPages } from "./scan_pages.ts";

test("pages hold every entry of the range once, and none is empty", async () => {
  const kv = openMemoryKv();
  for (let count = 0; count <= 9; count++) {
    if (count > 0) {
      const write: Write = { kind: "put", key: Buffer.from([7, count]), value: Buffer.of(count) };
      await kv.commit({
        checks: [],
        writes: [write, { kind: "put", key: Buffer.from([8, count]), value: Buffer.of() }],
      });
    }
    const range = { start: Buffer.of(7), end: Buffer.of(8) };
    const sizes: number[] = [];
    const seen: number[] = [];
    for await (const page of scanPages(kv, range, 3)) {
      sizes.push(page.length);
      seen.push(...page.map(({ value }) => value[0]!));
    }
    assert.deepEqual(
      seen,
      Array.from({ length: count }, (_, index) => index + 1),
    );
    assert.ok(sizes.every((size) => size >= 1 && size <= 3));
    assert.deepEqual((await scanAll(kv, range, 2)).length, count);
  }
});

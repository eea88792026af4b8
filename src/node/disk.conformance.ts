/** What every `Disk` must do, as far as it shows without a crash (crash.test.ts has those). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemCode } from "../core/errors.ts";
import type { Disk, DiskFile } from "./disk.ts";

export type DiskUnderTest = {
  readonly disk: Disk;
  /** An empty folder. */
  readonly path: string;
  readonly dispose: () => Promise<void>;
};

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => systemCode(error) === code;
}

async function text(file: DiskFile): Promise<string> {
  const bytes = Buffer.alloc(1_000);
  return bytes.toString("latin1", 0, await file.read(bytes, 0));
}

const cases: Readonly<Record<string, (disk: Disk, path: string) => Promise<void>>> = {
  "pieces are written one after another at an offset": async (disk, path) => {
    const file = await disk.open(`${path}/a`, "create");
    await file.writev([Buffer.from("one"), Buffer.alloc(0), Buffer.from("two")], 2);
    await file.writev([Buffer.from("__")], 0);
    await file.sync();
    assert.equal(await text(file), "__onetwo");
    assert.equal(await file.sizeBytes(), 8);
    await file.close();
  },
  "more pieces than the system takes at once": async (disk, path) => {
    const file = await disk.open(`${path}/a`, "create");
    const pieces = Array.from({ length: 3_000 }, (_, index) => Buffer.from([index & 0xff, index >> 8]));
    await file.writev(pieces, 0);
    const read = Buffer.alloc(6_000);
    assert.equal(await file.read(read, 0), 6_000);
    assert.ok(read.equals(Buffer.concat(pieces)));
    await file.close();
  },
  "a read at the end is short": async (disk, path) => {
    const file = await disk.open(`${path}/a`, "create");
    await file.writev([Buffer.from("abc")], 0);
    assert.equal(await file.read(Buffer.alloc(10), 1), 2);
    assert.equal(await file.read(Buffer.alloc(10), 3), 0);
    assert.equal(await file.read(Buffer.alloc(10), 300), 0);
    await file.close();
  },
  "truncate shortens": async (disk, path) => {
    const file = await disk.open(`${path}/a`, "create");
    await file.writev([Buffer.from("abcdef")], 0);
    await file.truncate(2);
    assert.equal(await text(file), "ab");
    await file.writev([Buffer.from("z")], 4);
    assert.equal(await text(file), "ab\0\0z");
    await file.close();
  },
  modes: async (disk, path) => {
    await assert.rejects(disk.open(`${path}/a`, "read"), hasCode("ENOENT"));
    await assert.rejects(disk.open(`${path}/a`, "write"), hasCode("ENOENT"));
    await (await disk.open(`${path}/a`, "create")).close();
    await assert.rejects(disk.open(`${path}/a`, "create"), hasCode("EEXIST"));
    const reading = await disk.open(`${path}/a`, "read");
    await assert.rejects(reading.writev([Buffer.from("x")], 0), hasCode("EBADF"));
    await reading.close();
  },
  "rename replaces, remove removes": async (disk, path) => {
    for (const name of ["a", "b"]) {
      const file = await disk.open(`${path}/${name}`, "create");
      await file.writev([Buffer.from(name)], 0);
      await file.close();
    }
    await disk.rename(`${path}/a`, `${path}/b`);
    await disk.syncDirectory(path);
    assert.deepEqual(await disk.list(path), ["b"]);
    const file = await disk.open(`${path}/b`, "read");
    assert.equal(await text(file), "a");
    await disk.remove(`${path}/b`);
    assert.deepEqual(await disk.list(path), []);
    // Open files outlive their names.
    assert.equal(await text(file), "a");
    await file.close();
    await assert.rejects(disk.remove(`${path}/b`), hasCode("ENOENT"));
    await assert.rejects(disk.rename(`${path}/b`, `${path}/c`), hasCode("ENOENT"));
  },
  folders: async (disk, path) => {
    await assert.rejects(disk.list(`${path}/deep`), hasCode("ENOENT"));
    await disk.makeDirectory(`${path}/deep/er`);
    await disk.makeDirectory(`${path}/deep/er`);
    assert.deepEqual(await disk.list(`${path}/deep`), ["er"]);
    await disk.syncDirectory(`${path}/deep`);
    const space = await disk.space(path);
    assert.ok(space.totalBytes >= space.freeBytes && space.freeBytes > 0);
    assert.equal(await disk.bootId(), await disk.bootId());
  },
};

export function diskConformance(name: string, make: () => Promise<DiskUnderTest>): void {
  for (const [title, run] of Object.entries(cases)) {
    void test(`${name}: ${title}`, async () => {
      const { disk, path, dispose } = await make();
      try {
        await run(disk, path);
      } finally {
        await dispose();
      }
    });
  }
}

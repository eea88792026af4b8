/** A bit flipped in a segment, and a segment cut short: never wrong bytes, and doctor names what is wrong. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { S3Client } from "../../src/client/s3_client.ts";
import { doctor } from "../crash/kill_rounds.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";

const bucket = "bits";

function largestSegment(directory: string): string {
  const segments = readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => name.includes("segments") && statSync(path.join(directory, name)).isFile())
    .map((name) => path.join(directory, name));
  return segments.sort((a, b) => statSync(b).size - statSync(a).size)[0]!;
}

function flipBit(file: string, offset: number): void {
  const fd = openSync(file, "r+");
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, offset);
  byte[0]! ^= 1;
  writeSync(fd, byte, 0, 1, offset);
  closeSync(fd);
}

async function damaged(
  t: { after(work: () => void): void },
  damage: (segment: string) => void,
): Promise<{ directory: string; read: () => Promise<Buffer>; body: Buffer }> {
  const directory = mkdtempSync(path.join(tmpdir(), "holdfast-bits-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const first = await ServerProcess.start(directory, { workers: 1 });
  const writer = new S3Client({ endpoint: first.url, ...testKeys, region: "us-east-1" });
  await writer.run({ method: "PUT", bucket });
  const body = randomBytes(1_000_000);
  await writer.run({ method: "PUT", bucket, key: "whole", body });
  writer.close();
  await first.stop();
  damage(largestSegment(directory));
  const read = async () => {
    const second = await ServerProcess.start(directory, { workers: 1 });
    const reader = new S3Client({ endpoint: second.url, ...testKeys, region: "us-east-1" });
    try {
      return await reader.read(bucket, "whole");
    } finally {
      reader.close();
      await second.stop();
    }
  };
  return { directory, read, body };
}

test("a flipped bit is an error for the reader, and doctor names the object", async (t) => {
  const { directory, read, body } = await damaged(t, (segment) =>
    flipBit(segment, Math.floor(statSync(segment).size / 2)),
  );
  await assert.rejects(read(), "the body must not end as if it were whole");
  const report = await doctor(directory);
  assert.match(report, /"finding"[^\n]*corrupt/);
  assert.ok(body.length > 0);
});

test("a segment cut short is an error for the reader, and doctor names the object", async (t) => {
  const { directory, read } = await damaged(t, (segment) =>
    truncateSync(segment, Math.floor(statSync(segment).size / 2)),
  );
  await assert.rejects(read());
  assert.match(await doctor(directory), /"finding"/);
});

test("without damage the same steps read the same bytes and doctor finds nothing", async (t) => {
  const { directory, read, body } = await damaged(t, () => undefined);
  assert.ok((await read()).equals(body));
  const report = await doctor(directory);
  assert.doesNotMatch(report, /"finding"/);
  assert.match(report, /"summary"/);
});

import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { readKeyFile } from "./key_file.ts";

const folder = mkdtempSync(path.join(tmpdir(), "holdfast-key-"));
test.after(() => rmSync(folder, { recursive: true }));
const key = Buffer.from(Array.from({ length: 32 }, (_, index) => index * 8));

function fileOf(content: Buffer | string, mode = 0o600): string {
  const file = path.join(folder, "master.key");
  writeFileSync(file, content);
  chmodSync(file, mode);
  return file;
}

void test("a key file holds 32 bytes, raw, in hex or in base64", () => {
  const spelled = [key, key.toString("hex"), `${key.toString("hex").toUpperCase()}\n`, ` ${key.toString("base64")}\n`];
  for (const content of spelled) assert.deepEqual(readKeyFile(fileOf(content)), key);
});

void test("anything else is refused, and the refusal shows no key", () => {
  for (const content of ["", "short", key.subarray(1), key.toString("hex").slice(1), Buffer.alloc(33, 97)])
    assert.throws(() => readKeyFile(fileOf(content)), /must hold a key of 32 bytes/);
  assert.throws(() => readKeyFile(path.join(folder, "none")), /cannot be read/);
});

void test("a file that others may read is refused", () => {
  for (const mode of [0o604, 0o602, 0o666]) assert.throws(() => readKeyFile(fileOf(key, mode)), /read by others/);
  for (const mode of [0o600, 0o400, 0o640]) assert.deepEqual(readKeyFile(fileOf(key, mode)), key);
});

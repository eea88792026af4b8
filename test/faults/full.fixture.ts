/** Small file systems, filled by objects until one is refused; for tests of what a full drive does. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { S3RequestError, type S3Client } from "../../src/client/s3_client.ts";
import { testMsMax } from "../bounds.ts";

const MiB = 1024 * 1024;
export const bucket = "full";
const objectsMax = 400;

/** Mounts one of 160 MiB. Returns why that cannot be. */
export function smallFileSystem(directory: string): string | undefined {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=160m", "tmpfs", directory], { stdio: "pipe" });
    return undefined;
  } catch {
    return "a small file system cannot be mounted here: run as root on Linux";
  }
}

/** Puts objects until one is refused, or so many; returns the refusal. */
export async function fill(
  client: S3Client,
  hashes: Map<string, string>,
  count = Infinity,
): Promise<S3RequestError | undefined> {
  for (const end = hashes.size + count; hashes.size < end;) {
    assert.ok(hashes.size < objectsMax, "the drives never were full");
    const body = randomBytes(3 * MiB);
    const key = `object ${hashes.size}`;
    try {
      await client.run({ method: "PUT", bucket, key, body });
      hashes.set(key, createHash("sha256").update(body).digest("hex"));
    } catch (error) {
      assert.ok(error instanceof S3RequestError, String(error));
      return error;
    }
  }
  return undefined;
}

export async function verify(client: S3Client, hashes: Map<string, string>): Promise<void> {
  for (const [key, hash] of hashes) {
    assert.equal(
      createHash("sha256")
        .update(await client.read(bucket, key))
        .digest("hex"),
      hash,
      key,
    );
  }
}

/** Space comes back in the background; the wait is bounded, as a test is. */
export async function writesComeBack(client: S3Client, hashes: Map<string, string>): Promise<void> {
  const body = randomBytes(3 * MiB);
  for (const endMs = performance.now() + testMsMax / 2; performance.now() < endMs;) {
    try {
      await client.run({ method: "PUT", bucket, key: "again", body });
      hashes.set("again", createHash("sha256").update(body).digest("hex"));
      return;
    } catch (error) {
      assert.ok(error instanceof S3RequestError && error.status === 507, String(error));
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
  assert.fail("writes did not come back");
}

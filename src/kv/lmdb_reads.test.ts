/** Reads of an environment whose snapshots are not what LMDB means them to be: a commit seen before it is shown. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { Reads, type ReadEnvironment } from "./lmdb_env.ts";

const key = Buffer.from("k");

/** The last versions of the snapshots that come one after another; the last one stays. */
function scripted(versions: readonly number[]): { readonly env: ReadEnvironment; snapshots(): number } {
  let at = -1;
  const stored = (): Buffer => {
    const version = versions[Math.min(at, versions.length - 1)]!;
    const bytes = Buffer.alloc(17);
    bytes.writeUInt32BE(version, 4);
    return bytes;
  };
  // The mark has its format before the version, a row has the version first.
  const mark = (): Buffer => Buffer.concat([Buffer.of(1), stored().subarray(0, 8)]);
  const env = {
    resetReadTxn: () => void (at += 1),
    getBinaryFast: (asked: Uint8Array) => (asked.length === key.length ? stored() : mark()),
  } as unknown as ReadEnvironment;
  return { env, snapshots: () => at + 1 };
}

const reads = (env: ReadEnvironment): Reads => new Reads(env, () => assert.fail("no panic"));

test("what is read before it is shown is told when it is shown, and no sooner", () => {
  const { env, snapshots } = scripted([7, 6, 6, 7]);
  assert.equal(reads(env).get([key])[0]?.version, 7);
  assert.equal(snapshots(), 4);
});

test("a state that was seen before is not looked at again", () => {
  const { env, snapshots } = scripted([7]);
  const store = reads(env);
  store.get([key]);
  assert.equal(snapshots(), 2);
  store.get([key]);
  assert.equal(snapshots(), 3);
});

test("what is never shown is not told", () => {
  const { env } = scripted([7, 6]);
  assert.throws(
    () => reads(env).get([key]),
    (error) => hasReason(error, "unavailable"),
  );
});

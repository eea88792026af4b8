/** What the code computes, frozen: shards of these bytes lie on drives. The values come from another implementation. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { encode } from "./erasure.ts";
import { parityMatrix } from "./matrix.ts";
import { multiplyPlain } from "./plain.ts";

/** 1,000 bytes that anyone can make: the SHA-256 of a sentence with a counter, one after the other. */
function shard(index: number): Buffer {
  const blocks = Array.from({ length: 32 }, (_, block) =>
    createHash("sha256").update(`holdfast erasure ${index} ${block}`).digest(),
  );
  return Buffer.concat(blocks).subarray(0, 1_000);
}

/** k, m, SHA-256 of all parity shards one after the other. */
const frozen = [
  [2, 1, "d209bd0c38766a27e0512bbf4d60d892b882d84ae22b698caf4d669d7e620c1f"],
  [2, 2, "1c041eeb43404a195695630c2e070cf1c9b2c3e1a0f68f6d105ce6036f0f0602"],
  [3, 1, "12ccb1f1307dc944aebe8adb2d857c8edb4686d0188c3d72afe6f84a9073fe3b"],
  [3, 2, "b3f12b402e3e640d971fc2934295686367b5fa556a6cfc3361f2e6ace18a91f7"],
  [4, 2, "84c11c47ec3d24c9a2a7850f9d8fb6eecb1d2dbd5de14729b2c503dbbd9c71ce"],
  [5, 3, "9cbd30dafd1b7cb22b9344330c6af47e5be61ec978d9226db0e58f6278beed5d"],
  [8, 3, "6ae8ab0b6f36f1c823507ee97058e2038aac88aafeb03aef13253f30f90d001c"],
  [8, 4, "58abee50479a61c0ac244592db835793ae7275f6a0658ce271fc47f3c3892be7"],
  [10, 4, "de6b976860d359ecca5b2ae8c40f13d600f4f59784e45f4c01f60a9a3df5e2b0"],
  [12, 4, "d8d4a106655f2186877225b7c4bf3d0a3997e97d115c4b93ec0225c3ab93da90"],
  [16, 4, "cd0889b7384864d09cade372dcf78d45c7bc924156411c485014ac87687d3c18"],
  [16, 8, "3a3f1e07392d4f942ede7f4090ce0442c7d421ef5f6ea3db3d7841c76a6f8f5c"],
] as const;

for (const [dataShards, parityShards, digest] of frozen) {
  void test(`the parity of ${dataShards}+${parityShards} is what it always was`, () => {
    const code = { dataShards, parityShards };
    const data = Array.from({ length: dataShards }, (_, index) => shard(index));
    const parity = Array.from({ length: parityShards }, () => Buffer.alloc(1_000));
    const sha256 = (): string => createHash("sha256").update(Buffer.concat(parity)).digest("hex");
    encode(code, data, parity);
    assert.equal(sha256(), digest);
    multiplyPlain(parityMatrix(code), data, parity);
    assert.equal(sha256(), digest);
  });
}

void test("the parity matrix is what it always was", () => {
  const rows = parityMatrix({ dataShards: 16, parityShards: 8 }).map((row) => Buffer.from(row).toString("hex"));
  assert.deepEqual(rows, [
    "01010101010101010101010101010101",
    "7ffc7efee97443d5d2c8028eb4ebe2e6",
    "e2ffe6fdb485ebcc02078ebad2dac876",
    "801d831bc760249e048d69473935c322",
    "c8867614d2e4dae08eefbaaa026a070d",
    "6ebd56a29a2f9f255a64495db9cb0e88",
    "c390224b391e351869714798040b8dd1",
    "d217a35761c666c8928e2dad088b0244",
  ]);
});

void test("the small vector of docs/formats/erasure.md", () => {
  const data = ["00010203", "10203040", "ff00ff00", "deadbeef"].map((hex) => Buffer.from(hex, "hex"));
  const parity = Array.from({ length: 4 }, () => Buffer.alloc(4));
  encode({ dataShards: 4, parityShards: 4 }, data, parity);
  assert.deepEqual(
    parity.map((shard) => shard.toString("hex")),
    ["318c73ac", "515f9e36", "9c48b460", "13ee40df"],
  );
});

import assert from "node:assert/strict";
import { createDecipheriv, createSecretKey, hkdfSync } from "node:crypto";
import { inspect } from "node:util";
import { test } from "node:test";
import * as fc from "fast-check";
import type { BlobId } from "../core/ids.ts";
import { seededRandom, systemRandom } from "../core/random.ts";
import { TAG_BYTES } from "./cipher.ts";
import { contextBytes } from "./crypto.ts";
import { DataKey } from "./data_key.ts";
import { openKey, SEALED_KEY_BYTES, sealKey } from "./sealed_key.ts";

const blob = "b0".repeat(16) as BlobId;
const otherBlob = "b1".repeat(16) as BlobId;
const bytesOf = (length: number, seed: number): Uint8Array => seededRandom(seed).bytes(length);

void test("a block opens at its place in its blob with its key, and nowhere else", () => {
  const place = fc.record({ chunk: fc.nat(0xffff_ffff), block: fc.nat(0xffff_ffff) });
  fc.assert(
    fc.property(place, place, fc.uint8Array({ maxLength: 300 }), (at, elsewhere, plain) => {
      const key = DataKey.generate(systemRandom);
      const { bytes, tag } = key.ofBlob(blob).seal(at, plain);
      assert.equal(bytes.length, plain.length);
      assert.deepEqual(key.ofBlob(blob).open(at, bytes, tag), Buffer.from(plain));
      assert.equal(key.ofBlob(otherBlob).open(at, bytes, tag), undefined);
      assert.equal(key.ofInline().open(at, bytes, tag), undefined);
      assert.equal(DataKey.generate(systemRandom).ofBlob(blob).open(at, bytes, tag), undefined);
      const isSame = at.chunk === elsewhere.chunk && at.block === elsewhere.block;
      if (!isSame) assert.equal(key.ofBlob(blob).open(elsewhere, bytes, tag), undefined);
    }),
  );
});

void test("a flipped bit anywhere, in bytes or tag, is found", () => {
  const cipher = DataKey.of(bytesOf(32, 1)).ofBlob(blob);
  const place = { chunk: 1, block: 2 };
  const { bytes, tag } = cipher.seal(place, bytesOf(40, 2));
  const whole = Buffer.concat([bytes, tag]);
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const changed = Buffer.from(whole);
    changed[bit >>> 3]! ^= 1 << (bit & 7);
    const end = changed.length - TAG_BYTES;
    assert.equal(cipher.open(place, changed.subarray(0, end), changed.subarray(end)), undefined);
  }
  assert.equal(cipher.open(place, bytes, tag.subarray(0, 12)), undefined, "a tag that was cut off");
});

/** Computed from the page with node's own pieces: what is written today opens with what the page says for ever. */
void test("blocks are sealed as their page says", () => {
  const dataKey = Buffer.from(bytesOf(32, 3));
  const { bytes, tag } = DataKey.of(dataKey).ofBlob(blob).seal({ chunk: 5, block: 7 }, Buffer.from("holdfast"));
  const info = Buffer.concat([Buffer.from("holdfast blob "), Buffer.from(blob, "hex")]);
  const key = Buffer.from(hkdfSync("sha256", dataKey, "", info, 32));
  const decipher = createDecipheriv("aes-256-gcm", key, Buffer.from("000000050000000700000000", "hex"));
  decipher.setAuthTag(tag);
  assert.equal(Buffer.concat([decipher.update(bytes), decipher.final()]).toString(), "holdfast");
  assert.equal(bytes.toString("hex"), "889a7083bf912e4b");
});

void test("a sealed key opens with its key and what was bound, and with nothing else", () => {
  const by = createSecretKey(bytesOf(32, 4));
  const key = Buffer.from(bytesOf(32, 5));
  const bound = Buffer.from("photos");
  const sealed = sealKey(by, key, bound, systemRandom);
  assert.equal(sealed.length, SEALED_KEY_BYTES);
  assert.deepEqual(openKey(by, sealed, bound), key);
  assert.notDeepEqual(sealKey(by, key, bound, systemRandom), sealed, "each sealing has a salt of its own");
  assert.equal(openKey(by, sealed, Buffer.from("videos")), undefined);
  assert.equal(openKey(createSecretKey(bytesOf(32, 6)), sealed, bound), undefined);
  for (let at = 0; at < sealed.length; at++) {
    const changed = Buffer.from(sealed);
    changed[at]! ^= 0x10;
    assert.equal(openKey(by, changed, bound), undefined, `byte ${at}`);
  }
  assert.equal(openKey(by, sealed.subarray(0, 40), bound), undefined);
  assert.equal(openKey(by, Buffer.alloc(0), bound), undefined);
});

void test("sealed keys written by version 1 open", () => {
  const by = createSecretKey(bytesOf(32, 4));
  const sealed = sealKey(by, bytesOf(32, 5), Buffer.from("b"), seededRandom(7));
  assert.equal(
    sealed.toString("hex"),
    "012c15ff02127fdc0f5e9e16fa968bf3b205167328adb29647029f359538852dc72dde3ec8c4d78b3b4c503f3df0d6cec0a362d9ed124839d587382ca4d08fc2e4",
  );
});

void test("a token tells nothing of the MD5, and is the same for the same bytes under one key alone", () => {
  const md5 = Buffer.alloc(16, 1);
  const [one, other] = [DataKey.of(bytesOf(32, 8)), DataKey.of(bytesOf(32, 9))];
  assert.equal(one.tokenFor(md5).length, 16);
  assert.deepEqual(one.tokenFor(md5), one.tokenFor(Buffer.from(md5)));
  assert.notDeepEqual(one.tokenFor(md5), other.tokenFor(md5));
  assert.notDeepEqual(one.tokenFor(md5), one.tokenFor(Buffer.alloc(16, 2)));
});

void test("a data key that is printed or logged shows nothing", () => {
  const bytes = Buffer.from(bytesOf(32, 10));
  const key = DataKey.of(bytes);
  const shown = inspect(key, { depth: 10, showHidden: true }) + JSON.stringify({ key });
  assert.ok(
    !shown.includes(bytes.toString("hex").slice(0, 8)) && !shown.includes(bytes.toString("base64").slice(0, 8)),
  );
  assert.deepEqual(key.export(), bytes);
});

void test("a context is the same in any order of its pairs, and any other is another", () => {
  const pairs = fc.uniqueArray(fc.tuple(fc.string(), fc.string()), { selector: ([name]) => name, maxLength: 5 });
  fc.assert(
    fc.property(pairs, pairs, (some, others) => {
      assert.deepEqual(contextBytes(new Map(some)), contextBytes(new Map(some.toReversed())));
      const isSame =
        some.length === others.length && some.every(([name, value]) => new Map(others).get(name) === value);
      assert.equal(contextBytes(new Map(some)).equals(contextBytes(new Map(others))), isSame);
    }),
  );
});

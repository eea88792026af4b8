import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { hasReason } from "./errors.ts";
import { limits } from "./limits.ts";
import {
  defaultRedundancy,
  formatRedundancy,
  isRedundancy,
  parseRedundancy,
  redundanciesOf,
  reducedFrom,
  shardsOf,
  writeQuorum,
} from "./redundancy.ts";

void test("what is written is read back, for every redundancy there is", () => {
  const seen = new Set<string>();
  for (let dataShards = 1; dataShards <= limits.dataShardsMax; dataShards++) {
    for (let parityShards = dataShards === 1 ? 0 : 1; parityShards <= limits.parityShardsMax; parityShards++) {
      const text = formatRedundancy({ dataShards, parityShards });
      assert.deepEqual(parseRedundancy(text), { dataShards, parityShards });
      seen.add(text);
    }
  }
  assert.equal(seen.size, 9 + 15 * 8);
  assert.ok(seen.has("replica:1") && seen.has("replica:9") && seen.has("ec:2+1") && seen.has("ec:16+8"));
});

void test("anything else is refused with a sentence that says what can be said", () => {
  const wrong = ["", "replica", "replica:0", "replica:10", "ec:1+1", "ec:17+1", "ec:4+0", "ec:4+9", "ec:4", "EC:4+2"];
  for (const text of [...wrong, " ec:4+2", "ec:4+2 ", "replica:-1", "replica:1.5", "ec:0+0", "replica:1e0"]) {
    assert.throws(
      () => parseRedundancy(text),
      (error) => hasReason(error, "invalid_argument") && error.message.includes("ec:K+M"),
      text,
    );
  }
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        assert.equal(
          formatRedundancy(parseRedundancy(text)).replace(/\b0+(?=\d)/g, ""),
          text.replace(/\b0+(?=\d)/g, ""),
        );
      } catch (error) {
        assert.ok(hasReason(error, "invalid_argument"));
      }
    }),
  );
});

const anyRedundancy = fc
  .record({ dataShards: fc.integer({ min: 1, max: 16 }), parityShards: fc.integer({ min: 0, max: 8 }) })
  .filter(isRedundancy);
const asked = fc.option(anyRedundancy, { nil: undefined });

void test("the reduced class never bears more losses than STANDARD, and takes no more drives unless it was asked to", () => {
  fc.assert(
    fc.property(anyRedundancy, asked, (standard, wanted) => {
      const reduced = reducedFrom(standard, wanted);
      assert.ok(isRedundancy(reduced));
      assert.ok(reduced.parityShards <= standard.parityShards);
      if (wanted !== undefined && wanted.parityShards <= standard.parityShards) assert.deepEqual(reduced, wanted);
      else assert.ok(shardsOf(reduced) <= shardsOf(standard) && reduced.dataShards === standard.dataShards);
    }),
  );
  const derived = ["replica:1", "replica:2", "replica:3", "ec:2+1", "ec:4+2", "ec:8+3"].map((text) =>
    formatRedundancy(reducedFrom(parseRedundancy(text), undefined)),
  );
  assert.deepEqual(derived, ["replica:1", "replica:2", "replica:2", "ec:2+1", "ec:4+1", "ec:8+2"]);
});

void test("a bucket's own word goes before the store's, of each class by itself", () => {
  fc.assert(
    fc.property(asked, asked, anyRedundancy, asked, (own, ownReduced, store, storeReduced) => {
      const { standard, reduced } = redundanciesOf(
        { redundancy: own, reducedRedundancy: ownReduced },
        { redundancy: store, reducedRedundancy: storeReduced },
      );
      assert.deepEqual(standard, own ?? store);
      assert.deepEqual(reduced, reducedFrom(standard, ownReduced ?? storeReduced));
    }),
  );
});

void test("the default needs no more drives than there are, and survives the loss of one drive from two on, and takes writes then from three on", () => {
  for (let drives = 1; drives <= 40; drives++) {
    const redundancy = defaultRedundancy(drives);
    assert.ok(isRedundancy(redundancy));
    assert.ok(shardsOf(redundancy) <= drives);
    assert.equal(redundancy.parityShards, drives === 1 ? 0 : drives < 6 ? 1 : 2);
    if (drives > 2) assert.ok(drives - 1 >= writeQuorum(redundancy), `${drives} drives`);
  }
});

void test("a quorum survives the loss of any one shard where there is parity", () => {
  assert.equal(writeQuorum({ dataShards: 1, parityShards: 0 }), 1);
  assert.equal(writeQuorum({ dataShards: 1, parityShards: 2 }), 2);
  assert.equal(writeQuorum({ dataShards: 4, parityShards: 2 }), 5);
});

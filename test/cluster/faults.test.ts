import assert from "node:assert/strict";
import { test } from "node:test";
import type { EngineKind } from "./engine.ts";
import { faultsOf, type Fault } from "./faults.ts";

function first(count: number, seed: number, engine: EngineKind): Fault[] {
  const faults: Fault[] = [];
  for (const fault of faultsOf(seed, engine)) {
    if (faults.length === count) break;
    faults.push(fault);
  }
  return faults;
}

test("a seed always gives the same faults, and another seed others", () => {
  assert.deepEqual(first(50, 7, "postgres"), first(50, 7, "postgres"));
  assert.notDeepEqual(first(50, 7, "postgres"), first(50, 8, "postgres"));
});

test("every kind of fault comes, and those of etcd only there", () => {
  const kinds = (engine: EngineKind): Set<string> => new Set(first(500, 1, engine).map(({ kind }) => kind));
  const [postgres, etcd] = [kinds("postgres"), kinds("etcd")];
  assert.equal(postgres.size, 10);
  assert.deepEqual([...etcd].filter((kind) => !postgres.has(kind)).sort(), [
    "engine leader down",
    "engine majority down",
  ]);
});

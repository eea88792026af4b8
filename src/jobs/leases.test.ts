import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../core/clock.ts";
import { systemRandom } from "../core/random.ts";
import { counted } from "../kv/counted.fixture.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { Session } from "../meta/sessions.ts";
import { takeLease } from "./leases.ts";

void test("to ask for a lease, one's own or another's, commits nothing", async () => {
  const { kv, counts } = counted(openMemoryKv());
  const start = (node: string) => Session.start({ kv, clock: systemClock, random: systemRandom, node });
  const [holder, other] = [await start("holder"), await start("other")];
  assert.equal(await takeLease(kv, "trash", holder.id), true);
  const before = counts.commits;
  assert.equal(await takeLease(kv, "trash", holder.id), true);
  assert.equal(await takeLease(kv, "trash", other.id), false);
  assert.equal(counts.commits, before);
});

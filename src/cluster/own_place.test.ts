/** Who was overtaken at its address, or by a copy of one of its drives, finds out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../core/clock.ts";
import type { DriveId } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import type { Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { recordDrives } from "../meta/drives.ts";
import { nodeKey } from "../meta/keys.ts";
import { encodeNode } from "../meta/nodes.ts";
import { whyNotOwn } from "./own_place.ts";
import { Topology } from "./topology.ts";

const [own, other] = ["http://own:1", "http://other:1"];
const drive = "00000000000000d1" as DriveId;
const place = { url: own, run: "00000000000000aa", local: { drives: [drive] } };

async function startAt(kv: Kv, url: string, run: string, drives: readonly DriveId[]): Promise<void> {
  await recordDrives(
    kv,
    drives.map((id) => ({ id, path: `/${id}`, sizeBytes: 1, node: url })),
    1,
  );
  const value = encodeNode({ run, zone: "", version: "1", startedMs: 1, workers: 1, drives: [] });
  await kv.commit({ checks: [], writes: [{ kind: "put", key: nodeKey(url), value }] });
}

async function whyIn(kv: Kv): Promise<string | undefined> {
  const topology = await Topology.open({ kv, clock: systemClock, log: silentLog });
  await topology.close();
  return whyNotOwn(topology, place);
}

test("a server keeps its place while nobody takes it", async () => {
  const kv = openMemoryKv();
  await startAt(kv, own, place.run, [drive]);
  await startAt(kv, other, "00000000000000bb", ["00000000000000d2" as DriveId]);
  assert.equal(await whyIn(kv), undefined);
  await kv.commit({ checks: [], writes: [{ kind: "delete", key: nodeKey(own) }] });
  assert.equal(await whyIn(kv), undefined, "it was removed");
});

test("a copy of one of its drives that another node serves ends it", async () => {
  const kv = openMemoryKv();
  await startAt(kv, own, place.run, [drive]);
  await startAt(kv, other, "00000000000000bb", [drive]);
  assert.match((await whyIn(kv)) ?? "", /00000000000000d1 is served by the node http:\/\/other:1/);
});

test("another server at its address ends it", async () => {
  const kv = openMemoryKv();
  await startAt(kv, own, place.run, [drive]);
  await startAt(kv, own, "00000000000000bb", ["00000000000000d2" as DriveId]);
  assert.match((await whyIn(kv)) ?? "", /Another server was started at this node's address, http:\/\/own:1/);
});

test("a server of a newer build at its address ends it, though its row cannot be read", async () => {
  const kv = openMemoryKv();
  await startAt(kv, own, place.run, [drive]);
  await kv.commit({ checks: [], writes: [{ kind: "put", key: nodeKey(own), value: Buffer.of(200) }] });
  assert.match((await whyIn(kv)) ?? "", /Another server was started at this node's address, http:\/\/own:1/);
});

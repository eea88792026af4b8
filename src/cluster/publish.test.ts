/** What a node says of itself, whatever its drives do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../core/clock.ts";
import { newDriveId, type DriveId } from "../core/ids.ts";
import { silentLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { nodeKey } from "../meta/keys.ts";
import { encodeNode, readNode } from "../meta/nodes.ts";
import { createMemoryNode } from "../node/node.memory.ts";
import type { DriveStatus } from "../node/node.ts";
import { keepPublished, type OwnNode } from "./publish.ts";

/** Any time is over as soon as everything that can happen at once has happened. */
const hasty: Clock = {
  nowMs: () => 1,
  monotonicMs: () => 1,
  sleep: async () => {
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  },
};

const own: OwnNode = {
  url: "http://a:9000",
  run: "00000000000000aa",
  zone: "z",
  version: "1",
  startedMs: 1,
  workers: 1,
};

test("a drive that hangs or fails is told as failed, and the node is there all the same", async () => {
  const ids = [1, 2, 3].map(() => newDriveId(systemRandom));
  const [good, hanging, failing] = ids as [DriveId, DriveId, DriveId];
  const local = createMemoryNode({ drives: ids });
  const status = local.status.bind(local);
  let [isIll, asked] = [false, 0];
  let answer: (status: DriveStatus) => void = () => undefined;
  local.status = async (drive) => {
    if (isIll && drive === failing) throw new Error("EACCES");
    if (!isIll || drive !== hanging) return status(drive);
    asked += 1;
    return new Promise((resolve) => (answer = resolve));
  };
  const kv = openMemoryKv();
  const { url, ...facts } = own;
  await kv.commit({
    checks: [],
    writes: [{ kind: "put", key: nodeKey(url), value: encodeNode({ ...facts, drives: [] }) }],
  });
  const check = { key: Buffer.from("none"), version: 0 };
  const mayPublish = async (): Promise<boolean> => true;
  const stop = keepPublished({ kv, own, local, check, mayPublish, clock: hasty, log: silentLog });
  const statesAfter = async (rounds: number): Promise<string[]> => {
    const { rowVersion: from } = (await readNode(kv, url))!;
    let row = (await readNode(kv, url))!;
    for (let seen = 0, version = from; seen < rounds; row = (await readNode(kv, url))!) {
      if (row.rowVersion !== version) seen += 1;
      version = row.rowVersion;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return [good, hanging, failing].map((id) => {
      const drive = row.drives.find((each) => each.id === id)!;
      assert.ok(drive.totalBytes > 0, "what it said last");
      return drive.state;
    });
  };
  assert.deepEqual(await statesAfter(2), ["up", "up", "up"]);
  isIll = true;
  assert.deepEqual(await statesAfter(5), ["up", "failed", "failed"]);
  assert.equal(asked, 1, "it is asked no second time while it hangs");
  isIll = false;
  answer(await status(hanging));
  assert.deepEqual(await statesAfter(3), ["up", "up", "up"]);
  await stop();
});

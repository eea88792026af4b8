/** An account's own keys are found by index rows, which older keys get when they are first asked for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../core/clock.ts";
import { systemRandom } from "../core/random.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { accessKeyKey, accountKeyKey, tags } from "../meta/keys.ts";
import { createIdentity } from "./identity.ts";
import { encodeKeyRecord } from "./key_record.ts";

async function setUp() {
  const memory = openMemoryKv();
  const scanned: number[] = [];
  const scan: typeof memory.scan = (range, options) => {
    scanned.push(range.start[0]!);
    return memory.scan(range, options);
  };
  const kv = Object.assign(Object.create(memory) as typeof memory, {
    scan,
    get: memory.get.bind(memory),
    commit: memory.commit.bind(memory),
  });
  const root = { accessKey: "root", secretKey: "root-secret" };
  const identity = createIdentity({ kv, root, clock: systemClock, random: systemRandom });
  const { account } = await identity.directory.createAccount("tenant");
  const other = await identity.directory.createAccount("other");
  const list = async (more: { after?: string; limit?: number } = {}): Promise<string[]> =>
    (await identity.directory.accountKeys({ account, limit: 100, ...more })).map(({ accessKey }) => accessKey);
  /** As a version without the index made it. */
  const older = (accessKey: string, owner: string) =>
    memory.commit({
      checks: [],
      writes: [
        {
          kind: "put",
          key: accessKeyKey(accessKey),
          value: encodeKeyRecord({
            secretKey: "secret-secret",
            createdMs: 1,
            description: "",
            owner: { kind: "account", account: owner },
          }),
        },
      ],
    });
  return { memory, identity, account, other: other.account, list, older, scanned };
}

test("keys are listed that were made before there was an index, and those made since; others' are not", async () => {
  const { identity, account, other, list, older, scanned } = await setUp();
  await older("older-b", account);
  await older("older-a", account);
  await older("older-c", other);
  for (let count = 0; count < 120; count++) await identity.create({});
  const owner = { kind: "account", account } as const;
  await identity.create({ owner, accessKey: "newer" });
  assert.deepEqual(await list(), ["newer", "older-a", "older-b"]);
  assert.deepEqual(await list({ limit: 2 }), ["newer", "older-a"]);
  assert.deepEqual(await list({ after: "older-a" }), ["older-b"]);
  assert.deepEqual(await list({ after: "x".repeat(5_000) }), []);
  scanned.length = 0;
  await identity.remove("older-a");
  await identity.create({ owner, accessKey: "another" });
  assert.deepEqual(await list(), ["another", "newer", "older-b"]);
  assert.ok(!scanned.includes(tags.accessKey), "all keys are looked through once");
});

test("a row of the index whose key is gone, or another's, is passed over and is not the end", async () => {
  const { memory, identity, account, other, list, older } = await setUp();
  await list();
  for (const gone of ["aa", "ab", "ac"])
    await memory.commit({
      checks: [],
      writes: [{ kind: "put", key: accountKeyKey(account, gone), value: Buffer.alloc(0) }],
    });
  await older("ab", other);
  for (const accessKey of ["key-1", "key-2"]) await identity.create({ owner: { kind: "account", account }, accessKey });
  assert.deepEqual(await list({ limit: 2 }), ["key-1", "key-2"]);
});

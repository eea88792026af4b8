import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { systemClock } from "../core/clock.ts";
import { HttpRefusal } from "../core/door.ts";
import { hasReason } from "../core/errors.ts";
import { seededRandom, systemRandom } from "../core/random.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { authenticateBasic } from "./basic.ts";
import { checkAccessKey, checkSecretKey, generateAccessKey, generateSecretKey } from "./credentials.ts";
import { createIdentity, type Identity } from "./identity.ts";
import { decodeKeyRecord, encodeKeyRecord } from "./key_record.ts";
import { rootKey } from "./root_key.ts";

const root = { accessKey: "root", secretKey: "root-secret" };
const fresh = () => createIdentity({ kv: openMemoryKv(), root, clock: systemClock, random: systemRandom });
const secretOf = async (identity: Identity, accessKey: string): Promise<string | undefined> =>
  (await identity.find(accessKey))?.secretKey;
const header = (accessKey: string, secretKey: string): string =>
  `Basic ${Buffer.from(`${accessKey}:${secretKey}`).toString("base64")}`;

test("keys are created, found, listed and removed", async () => {
  const identity = fresh();
  const one = await identity.create({ description: "backup" });
  assert.equal(await secretOf(identity, one.accessKey), one.secretKey);
  const two = await identity.create({ accessKey: "AAA", secretKey: "12345678" });
  assert.equal(await secretOf(identity, "AAA"), "12345678");
  const listed = await identity.list({ limit: 10 });
  assert.deepEqual(
    listed.map(({ accessKey }) => accessKey),
    ["AAA", one.accessKey],
  );
  assert.ok(!JSON.stringify(listed).includes(one.secretKey) && !JSON.stringify(listed).includes(two.secretKey));
  assert.deepEqual(
    (await identity.list({ limit: 10, after: "AAA" })).map((key) => key.description),
    ["backup"],
  );
  for (const after of ["A".repeat(2_000), `AAA${"\0".repeat(5_000)}`, ""])
    assert.equal((await identity.list({ limit: 10, after })).length, after === "" ? 2 : 1);
  await identity.remove("AAA");
  assert.equal(await secretOf(identity, "AAA"), undefined);
  await assert.rejects(identity.remove("AAA"), (error) => hasReason(error, "no_such_access_key"));
});

test("of racers for one key exactly one wins, and the root is nobody's to take or remove", async () => {
  const identity = fresh();
  const racers = Array.from({ length: 8 }, (_, index) =>
    identity.create({ accessKey: "same", secretKey: `secret-no-${index}` }),
  );
  const settled = await Promise.allSettled(racers);
  const won = settled.filter((racer) => racer.status === "fulfilled");
  assert.equal(won.length, 1);
  assert.equal(await secretOf(identity, "same"), won[0]!.value.secretKey);
  await assert.rejects(identity.create({ accessKey: "root" }), (error) =>
    hasReason(error, "access_key_already_exists"),
  );
  await assert.rejects(identity.remove("root"), (error) => hasReason(error, "invalid_argument"));
});

test("any text is looked up without harm", async () => {
  const identity = fresh();
  await fc.assert(
    fc.asyncProperty(fc.string({ maxLength: 4_000 }), async (text) => {
      fc.pre(text !== "root");
      assert.equal(await secretOf(identity, text), undefined);
    }),
  );
});

test("Basic authentication", async () => {
  const identity = fresh();
  const key = await identity.create({ accessKey: "user", secretKey: "a:b:c:d:e" });
  assert.deepEqual(await authenticateBasic(identity, { authorization: header("user", key.secretKey) }), {
    accessKey: "user",
    isRoot: false,
    access: "full",
  });
  assert.equal((await authenticateBasic(identity, { authorization: header("root", "root-secret") })).isRoot, true);
  const wrong = [
    undefined,
    "",
    "Basic",
    "Basic !",
    "Bearer x",
    header("user", "a"),
    header("nobody", ""),
    header("root", ""),
  ];
  for (const value of wrong) {
    await assert.rejects(
      authenticateBasic(identity, { authorization: value }),
      (error) => error instanceof HttpRefusal && error.status === 401,
    );
  }
});

test("generated credentials are valid and different", () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 200; seed++) {
    const random = seededRandom(seed);
    seen.add(checkAccessKey(generateAccessKey(random)));
    seen.add(checkSecretKey(generateSecretKey(random)));
  }
  assert.equal(seen.size, 400);
});

test("the record reads back, and a newer version is refused", () => {
  const record = { secretKey: "s3cret-ü", createdMs: 1_795_433_166_771, description: "für Ada" };
  const owners = [
    { kind: "none" },
    { kind: "account", account: "111122223333" },
    { kind: "user", account: "111122223333", user: "a" },
  ] as const;
  for (const owner of owners)
    assert.deepEqual(decodeKeyRecord(encodeKeyRecord({ ...record, owner })), { ...record, owner });
  const bytes = encodeKeyRecord({ ...record, owner: owners[0] });
  bytes[0] = 4;
  assert.throws(
    () => decodeKeyRecord(bytes),
    (error) => hasReason(error, "corrupt_record"),
  );
});

test("the root key's file", async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), "holdfast-root-"));
  t.after(() => rm(folder, { recursive: true }));
  const file = path.join(folder, "root-key.json");
  const one = { known: [folder], others: [] };
  // Left behind by a crash, with a mode that must not live on.
  await writeFile(`${file}.new`, "half", { mode: 0o644 });
  const made = await rootKey(one, undefined);
  assert.equal(made.from, "made");
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const kept = await rootKey(one, undefined);
  assert.deepEqual(kept, { ...made, from: "kept" });
  await chmod(file, 0o644);
  assert.equal((await rootKey(one, undefined)).isExposed, true);
  assert.deepEqual(await rootKey(one, root), { ...root, from: "given", file, isExposed: false });
  assert.equal((JSON.parse(await readFile(file, "utf8")) as { accessKey: string }).accessKey, made.accessKey);
  await writeFile(file, "{}");
  await assert.rejects(rootKey(one, undefined), /root key file .* cannot be read/);
});

test("the root key's file on several drives survives the loss of any one, and is one key", async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), "holdfast-root-"));
  t.after(() => rm(folder, { recursive: true }));
  const [a, b, c] = ["a", "b", "c"].map((name) => path.join(folder, name)) as [string, string, string];
  for (const each of [a, b, c]) await mkdir(each);
  const made = await rootKey({ known: [], others: [a, b, c] }, undefined);
  for (const lost of [a, b, c]) {
    await rm(lost, { recursive: true });
    await mkdir(lost);
    const known = [a, b, c].filter((each) => each !== lost);
    const kept = await rootKey({ known, others: [lost] }, undefined);
    assert.deepEqual([kept.accessKey, kept.secretKey, kept.from], [made.accessKey, made.secretKey, "kept"]);
  }
  // One that comes back with another key gets this one; two that count must agree.
  await rm(path.join(c, "root-key.json"));
  const other = await rootKey({ known: [c], others: [] }, undefined);
  assert.notEqual(other.accessKey, made.accessKey);
  await assert.rejects(rootKey({ known: [a, c], others: [] }, undefined), /differ/);
  assert.equal((await rootKey({ known: [a, b], others: [c] }, undefined)).accessKey, made.accessKey);
  assert.equal((await rootKey({ known: [c], others: [] }, undefined)).accessKey, made.accessKey);
});

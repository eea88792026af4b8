/** Whose key it is and what applies to it: always as the store has it now, and read at once where it can be. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { seededRandom } from "../core/random.ts";
import { counted } from "../kv/counted.fixture.ts";
import type { Kv } from "../kv/kv.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { ReadAhead } from "../kv/read_ahead.ts";
import { accessKeyKey, namedKey, tags } from "../meta/keys.ts";
import { judge } from "../policy/evaluate.ts";
import { permitAdministration, type AdminAction } from "./administration.ts";
import { authenticateBasic } from "./basic.ts";
import { createIdentity, type Identity } from "./identity.ts";

const root = { accessKey: "root", secretKey: "root-secret" };
const document = (Effect: string, Action: string): string =>
  JSON.stringify({ Version: "2012-10-17", Statement: { Effect, Action, Resource: "*" } });
const administrator = "arn:aws:iam::aws:policy/AdministratorAccess";

async function begin() {
  const { kv, counts } = counted(openMemoryKv());
  const identity = createIdentity({ kv, root, clock: systemClock, random: seededRandom(1) });
  const { account } = await identity.directory.ownAccount();
  await identity.directory.createUser({ account, name: "Ada", tags: [{ key: "team", value: "x" }] });
  const { accessKey } = await identity.create({ owner: { kind: "user", account, user: "ada" } });
  return { kv, counts, identity, directory: identity.directory, account, accessKey };
}

async function outcome(identity: Identity, accessKey: string, action = "s3:GetObject"): Promise<string> {
  const found = await identity.find(accessKey);
  assert.ok(found !== undefined);
  if (found.access === "full") return "full";
  const { caller, policies } = found.access;
  const resourceAccount = (await identity.directory.ownAccount()).account;
  return judge({ caller, action, resource: "arn:aws:s3:::b/k", resourceAccount, keys: new Map() }, policies).outcome;
}

test("the root's key and nobody's key may do everything; a new user's key may do nothing", async () => {
  const { identity, account, accessKey } = await begin();
  assert.equal(await outcome(identity, "root"), "full");
  const plain = await identity.create({});
  assert.equal(await outcome(identity, plain.accessKey), "full");
  assert.equal(await outcome(identity, accessKey), "implicit_deny");
  const found = await identity.find(accessKey);
  assert.ok(found !== undefined && found.access !== "full" && found.access.caller.kind === "user");
  assert.equal(found.access.caller.arn, `arn:aws:iam::${account}:user/Ada`);
  assert.deepEqual([...found.access.caller.tags], [["team", "x"]]);
  assert.deepEqual((await identity.list({ limit: 9 })).map(({ owner }) => owner.kind).sort(), ["none", "user"]);
});

test("an account's own key is its root: everything in its account, nothing in another", async () => {
  const { identity, directory, account } = await begin();
  const mine = await identity.create({ owner: { kind: "account", account } });
  const other = await directory.createAccount("tenant");
  const theirs = await identity.create({ owner: { kind: "account", account: other.account } });
  assert.equal(await outcome(identity, mine.accessKey), "allow");
  assert.equal(await outcome(identity, theirs.accessKey), "implicit_deny");
});

test("a user may do what its own and its groups' policies say, within its boundary", async () => {
  const { identity, directory, account, accessKey } = await begin();
  const [user, group] = [
    { kind: "user", account, name: "ada" } as const,
    { kind: "group", account, name: "G" } as const,
  ];
  await directory.createGroup({ account, name: "G" });
  await directory.attachPolicy(group, administrator);
  assert.equal(await outcome(identity, accessKey), "implicit_deny");
  await directory.setMembership(account, { user: "ada", group: "g", isMember: true });
  assert.equal(await outcome(identity, accessKey), "allow");
  await directory.putInlinePolicy(user, { name: "no", document: document("Deny", "s3:GetObject") });
  assert.equal(await outcome(identity, accessKey), "explicit_deny");
  await directory.deleteInlinePolicy(user, "no");
  const bound = await directory.createPolicy({ account, name: "bound", document: document("Allow", "s3:PutObject") });
  await directory.setBoundary(account, "ada", bound.arn);
  assert.equal(await outcome(identity, accessKey), "implicit_deny");
  assert.equal(await outcome(identity, accessKey, "s3:PutObject"), "allow");
  await directory.setPolicyDocument(account, bound.arn, document("Allow", "s3:*"));
  assert.equal(await outcome(identity, accessKey), "allow");
  await directory.putInlinePolicy(group, { name: "no", document: document("Deny", "s3:Get*") });
  assert.equal(await outcome(identity, accessKey), "explicit_deny");
  await directory.setMembership(account, { user: "ada", group: "g", isMember: false });
  assert.equal(await outcome(identity, accessKey), "implicit_deny");
  await identity.remove(accessKey);
  assert.equal(await identity.find(accessKey), undefined);
});

test("a key that is used again costs one read, until its rows name others", async () => {
  const { identity, directory, account, accessKey, counts } = await begin();
  const { arn } = await directory.createPolicy({ account, name: "p", document: document("Allow", "s3:*") });
  await directory.createGroup({ account, name: "g" });
  await directory.attachPolicy({ kind: "group", account, name: "g" }, arn);
  await directory.setMembership(account, { user: "ada", group: "g", isMember: true });
  const reads = async (): Promise<number> => {
    const before = counts.gets;
    await identity.find(accessKey);
    return counts.gets - before;
  };
  assert.equal(await reads(), 4);
  assert.equal(await reads(), 1);
  await directory.setPolicyDocument(account, arn, document("Deny", "s3:*"));
  assert.equal(await reads(), 1);
  assert.equal(await outcome(identity, accessKey), "explicit_deny");
  const more = await directory.createPolicy({ account, name: "q", document: document("Allow", "s3:*") });
  await directory.attachPolicy({ kind: "user", account, name: "ada" }, more.arn);
  assert.equal(await reads(), 2);
  assert.equal(await reads(), 1);
});

test("what another process changes holds for the next request", async () => {
  const { kv, identity, account, accessKey } = await begin();
  const elsewhere = createIdentity({ kv, root, clock: systemClock }).directory;
  assert.equal(await outcome(identity, accessKey), "implicit_deny");
  await elsewhere.attachPolicy({ kind: "user", account, name: "ada" }, administrator);
  assert.equal(await outcome(identity, accessKey), "allow");
  await elsewhere.detachPolicy({ kind: "user", account, name: "ada" }, administrator);
  assert.equal(await outcome(identity, accessKey), "implicit_deny");
});

test("rows that are read ahead are of the state that the answer is of, where that took several reads", async () => {
  const { kv, directory, account, accessKey } = await begin();
  const key = Buffer.from("what a bucket says");
  const say = (text: string) => kv.commit({ checks: [], writes: [{ kind: "put", key, value: Buffer.from(text) }] });
  await say("open");
  // Between the reads the bucket is closed, and only then the user is let in: nobody may find both open.
  let isChanged = false;
  const get: Kv["get"] = async (keys) => {
    const found = await kv.get(keys);
    if (!isChanged) {
      isChanged = true;
      await say("closed");
      await directory.attachPolicy({ kind: "user", account, name: "ada" }, administrator);
    }
    return found;
  };
  const elsewhere = createIdentity({ kv: { ...kv, get }, root, clock: systemClock });
  const ahead = new ReadAhead([key]);
  const found = await elsewhere.find(accessKey, undefined, ahead);
  assert.ok(found !== undefined && found.access !== "full");
  assert.equal(found.access.policies.identity.length, 1);
  assert.equal(String(ahead.take()?.[0]?.value), "closed");
});

test("where a row that must be there is not, nobody gets in", async () => {
  const { kv, identity, directory, account, accessKey } = await begin();
  const bound = await directory.createPolicy({ account, name: "bound", document: document("Allow", "s3:*") });
  await directory.setBoundary(account, "ada", bound.arn);
  await directory.attachPolicy({ kind: "user", account, name: "ada" }, administrator);
  assert.equal(await outcome(identity, accessKey), "allow");
  for (const key of [namedKey(tags.policy, account, "bound"), namedKey(tags.user, account, "ada")]) {
    await kv.commit({ checks: [], writes: [{ kind: "delete", key }] });
    await assert.rejects(identity.find(accessKey), (error) => hasReason(error, "corrupt_record"));
  }
  await kv.commit({ checks: [], writes: [{ kind: "delete", key: accessKeyKey(accessKey) }] });
  assert.equal(await identity.find(accessKey), undefined);
});

test("whom policies bind is known by them, and runs the store only where they allow it", async () => {
  const { identity, directory, account, accessKey } = await begin();
  const secretKey = (await identity.find(accessKey))!.secretKey;
  const header = (secret: string) => ({
    authorization: `Basic ${Buffer.from(`${accessKey}:${secret}`).toString("base64")}`,
  });
  const request = { headers: {}, remoteAddress: "192.0.2.1", connection: {} };
  const may = async (action: AdminAction): Promise<boolean> => {
    const caller = await authenticateBasic(identity, header(secretKey));
    try {
      permitAdministration(caller, { action, what: "do it", request, nowMs: 0 });
      return true;
    } catch (error) {
      assert.ok(hasReason(error, "access_denied"));
      return false;
    }
  };
  assert.equal(await may("holdfast:ReadStatus"), false);
  const own = { kind: "user", account, name: "ada" } as const;
  await directory.putInlinePolicy(own, { name: "look", document: document("Allow", "holdfast:ReadStatus") });
  assert.deepEqual([await may("holdfast:ReadStatus"), await may("holdfast:ManageIdentities")], [true, false]);
  await directory.attachPolicy(own, administrator);
  assert.equal(await may("holdfast:ManageIdentities"), true);
  const Condition = { Bool: { "aws:SecureTransport": "false" } };
  const Statement = { Effect: "Deny", Action: "*", Resource: "*", Condition };
  await directory.putInlinePolicy(own, { name: "tls", document: JSON.stringify({ Statement }) });
  assert.equal(await may("holdfast:ReadStatus"), false);
  await assert.rejects(authenticateBasic(identity, header("wrong")), { status: 401 });
});

test("temporary credentials cost one read too once they have been used, and see every change", async () => {
  const { counts, identity, directory, account } = await begin();
  const trust = JSON.stringify({
    Version: "2012-10-17",
    Statement: { Effect: "Allow", Action: "sts:AssumeRole", Principal: { AWS: account } },
  });
  const role = await directory.createRole({ account, name: "night", trust, tags: [{ key: "Team", value: "x" }] });
  const holder = { kind: "role", account, name: "night" } as const;
  await directory.attachPolicy(holder, administrator);
  const { session, token } = await identity.begin({
    principal: { kind: "role", account, role: "night", id: role.id },
    seconds: 900,
    secondsMax: 900,
    name: "work",
    sourceIdentity: "ada",
    tags: [{ key: "team", value: "y" }],
  });
  const found = await identity.find(session.accessKey, token);
  assert.ok(found !== undefined && found.access !== "full" && found.access.caller.kind === "session");
  const { arn, roleArn, sourceIdentity, tags: seen } = found.access.caller;
  assert.deepEqual([arn, roleArn], [`arn:aws:sts::${account}:assumed-role/night/work`, role.arn]);
  assert.deepEqual([sourceIdentity, [...seen]], ["ada", [["team", "y"]]]);
  const before = counts.gets;
  await identity.find(session.accessKey, token);
  assert.equal(counts.gets - before, 1);
  await directory.detachPolicy(holder, administrator);
  const after = await identity.find(session.accessKey, token);
  assert.ok(after !== undefined && after.access !== "full");
  assert.deepEqual(after.access.policies.identity, []);
});

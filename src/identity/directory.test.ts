/** Accounts, users, groups and policies: what can be made of them, and what stays true whoever else is at it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { systemClock } from "../core/clock.ts";
import { hasReason, type ErrorReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { seededRandom } from "../core/random.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { createIdentity, type Identity } from "./identity.ts";

const root = { accessKey: "root", secretKey: "root-secret" };
const open = (seed = 1): Identity =>
  createIdentity({ kv: openMemoryKv(), root, clock: systemClock, random: seededRandom(seed) });
const refused = (work: Promise<unknown>, reason: ErrorReason): Promise<void> =>
  assert.rejects(work, (error) => hasReason(error, reason));
const document = JSON.stringify({
  Version: "2012-10-17",
  Statement: { Effect: "Allow", Action: "s3:GetObject", Resource: "*" },
});
const administrator = "arn:aws:iam::aws:policy/AdministratorAccess";

test("a store has one account of its own, whose number stays, and takes others", async () => {
  const { directory } = open();
  const racers = await Promise.all(Array.from({ length: 4 }, () => directory.ownAccount()));
  assert.equal(new Set(racers.map(({ account }) => account)).size, 1);
  const [own] = racers as [(typeof racers)[0]];
  assert.match(own.account, /^[1-9]\d{11}$/);
  assert.match(own.canonicalId, /^[0-9a-f]{64}$/);
  const other = await directory.createAccount("tenant");
  assert.notEqual(other.account, own.account);
  assert.deepEqual(await directory.account(other.account), other);
  assert.deepEqual((await directory.accounts()).map(({ name }) => name).sort(), ["holdfast", "tenant"]);
  for (const account of ["", "1", "999999999999", "x".repeat(2_000)])
    await refused(directory.account(account), "no_such_entity");
});

test("users: names are one whatever their case, and one account's are not another's", async () => {
  const { directory } = open();
  const { account } = await directory.ownAccount();
  const other = await directory.createAccount("tenant");
  const ada = await directory.createUser({ account, name: "Ada", path: "/team/", tags: [{ key: "k", value: "v" }] });
  assert.equal(ada.arn, `arn:aws:iam::${account}:user/team/Ada`);
  assert.match(ada.id, /^AIDA[A-Z2-7]{17}$/);
  await refused(directory.createUser({ account, name: "ADA" }), "entity_already_exists");
  await directory.createUser({ account: other.account, name: "ada" });
  assert.equal((await directory.user(account, "aDA")).name, "Ada");
  for (const name of ["bob", "Carol"]) await directory.createUser({ account, name });
  const names = async (after?: string) => (await directory.users({ account, after, limit: 2 })).map(({ name }) => name);
  assert.deepEqual(await names(), ["Ada", "bob"]);
  assert.deepEqual(await names("BOB"), ["Carol"]);
  assert.deepEqual(await names("c".repeat(5_000)), []);
  await directory.deleteUser(account, "ada");
  await refused(directory.user(account, "Ada"), "no_such_entity");
  await refused(directory.deleteUser(account, "Ada"), "no_such_entity");
  assert.equal((await directory.user(other.account, "ada")).name, "ada");
});

test("what cannot be a name, path, tag or account is refused", async () => {
  const { directory } = open();
  const { account } = await directory.ownAccount();
  for (const name of ["", "a b", "ä", "a/b", "a".repeat(limits.userNameCharsMax + 1)])
    await refused(directory.createUser({ account, name }), "invalid_argument");
  for (const path of ["", "team", "/team", "/a b/", "/\u00e4/"])
    await refused(directory.createUser({ account, name: "a", path }), "invalid_argument");
  const twice = [
    { key: "a", value: "" },
    { key: "A", value: "" },
  ];
  await refused(directory.createUser({ account, name: "a", tags: twice }), "invalid_argument");
  await refused(directory.createUser({ account, name: "a", tags: [{ key: "<", value: "" }] }), "invalid_argument");
  const many = Array.from({ length: limits.identityTagsMax + 1 }, (_, index) => ({ key: `k${index}`, value: "" }));
  await refused(directory.createUser({ account, name: "a", tags: many }), "too_many_of_identity");
  // An account that is none must not reach another one's rows.
  for (const wrong of ["", "1", `${account}x`]) {
    await refused(directory.createUser({ account: wrong, name: `${account}a` }), "no_such_entity");
    await refused(directory.users({ account: wrong, limit: 1 }), "no_such_entity");
  }
  await refused(directory.createUser({ account: "999999999999", name: "a" }), "no_such_entity");
  await refused(directory.createGroup({ account: "999999999999", name: "a" }), "no_such_entity");
});

test("policies: documents are read before they are kept, and one that is attached stays", async () => {
  const { directory } = open();
  const { account } = await directory.ownAccount();
  await directory.createUser({ account, name: "a" });
  const user = { kind: "user", account, name: "a" } as const;
  await refused(directory.createPolicy({ account, name: "p", document: "{}" }), "malformed_policy");
  const { arn } = await directory.createPolicy({ account, name: "Read", path: "/x/", document });
  assert.equal(arn, `arn:aws:iam::${account}:policy/x/Read`);
  await refused(directory.createPolicy({ account, name: "read", document }), "entity_already_exists");
  await refused(directory.attachPolicy(user, arn.replace("/x/", "/")), "no_such_entity");
  await refused(directory.attachPolicy(user, "arn:aws:iam::aws:policy/None"), "no_such_entity");
  await directory.attachPolicy(user, arn);
  await directory.attachPolicy(user, arn);
  await directory.setBoundary(account, "a", arn);
  assert.equal((await directory.policies({ account, limit: 5 }))[0]?.attachments, 2);
  await refused(directory.deletePolicy(account, arn), "entity_in_use");
  await directory.detachPolicy(user, arn);
  await refused(directory.detachPolicy(user, arn), "no_such_entity");
  await refused(directory.deletePolicy(account, arn), "entity_in_use");
  await directory.setBoundary(account, "a", undefined);
  // A user takes its boundary along.
  await directory.setBoundary(account, "a", arn);
  await directory.deleteUser(account, "a");
  await directory.deletePolicy(account, arn);
  await refused(directory.setPolicyDocument(account, arn, document), "no_such_entity");
});

test("the operator's documents of a policy are versions: the newest counts, the oldest goes when there are too many", async () => {
  const { directory } = open();
  const { account } = await directory.ownAccount();
  const text = (action: string): string => document.replace("s3:GetObject", action);
  const { arn } = await directory.createPolicy({ account, name: "Versions", document: text("s3:Get1") });
  for (let number = 2; number <= limits.policyVersionsMax + 2; number++) {
    const changed = await directory.setPolicyDocument(account, arn, text(`s3:Get${number}`));
    assert.deepEqual([changed.defaultVersion, changed.document], [number, text(`s3:Get${number}`)]);
  }
  const numbers = async (): Promise<number[]> =>
    (await directory.managedPolicy(account, arn)).versions.map(({ number }) => number);
  assert.deepEqual(await numbers(), [3, 4, 5, 6, 7]);
  // The one that counts stays while it does.
  assert.equal((await directory.setDefaultPolicyVersion(account, arn, 3)).document, text("s3:Get3"));
  await refused(directory.createPolicyVersion(account, arn, { document, isDefault: true }), "too_many_of_identity");
  await directory.setPolicyDocument(account, arn, text("s3:Get8"));
  assert.deepEqual(await numbers(), [3, 5, 6, 7, 8]);
  await refused(directory.deletePolicyVersion(account, arn, 8), "entity_in_use");
  await refused(directory.deletePolicy(account, arn), "entity_in_use");
  await directory.deletePolicy(account, arn, { withVersions: true });
});

test("versions that are made at once get numbers of their own, and none too many is made", async () => {
  const { directory } = open();
  const { account } = await directory.ownAccount();
  const { arn } = await directory.createPolicy({ account, name: "AtOnce", document });
  const made = await Promise.allSettled(
    Array.from({ length: 8 }, () => directory.createPolicyVersion(account, arn, { document, isDefault: false })),
  );
  const numbers = made.flatMap((each) => (each.status === "fulfilled" ? [each.value.lastVersion] : []));
  assert.deepEqual(
    numbers.toSorted((a, b) => a - b),
    [2, 3, 4, 5],
  );
});

test("a group gets another name in the rows of all its members at once, or of none", async () => {
  const { directory } = open();
  const { account } = await directory.ownAccount();
  const names = Array.from({ length: limits.renamedGroupMembersMax + 1 }, (_, at) => `user-${at}`);
  await directory.createGroup({ account, name: "Old" });
  await directory.createGroup({ account, name: "taken" });
  for (const name of names) await directory.createUser({ account, name });
  const join = (user: string, isMember: boolean) => directory.setMembership(account, { user, group: "old", isMember });
  for (const name of names) await join(name, true);
  const groupsOf = async (): Promise<Set<string>> => {
    const users = await directory.users({ account, limit: 1_000 });
    return new Set(users.map(({ groups }) => groups.join()));
  };
  await refused(directory.moveGroup(account, "old", { name: "new" }), "entity_in_use");
  await join(names[0]!, false);
  await refused(directory.moveGroup(account, "old", { name: "taken" }), "entity_already_exists");
  assert.deepEqual(await groupsOf(), new Set(["", "old"]));
  // Whoever comes in or goes out meanwhile is a member of the group under the name that it has then, or is refused.
  const gone = await Promise.allSettled([
    directory.moveGroup(account, "OLD", { name: "New" }),
    join(names[1]!, false),
    directory.moveUser(account, names[2]!, { name: "moved" }),
  ]);
  const isMoved = gone[0].status === "fulfilled";
  const { members, name } = await directory.group(account, isMoved ? "new" : "old");
  assert.equal(name, isMoved ? "New" : "Old");
  const users = await directory.users({ account, limit: 1_000 });
  assert.equal(users.filter(({ groups }) => groups.includes(name.toLowerCase())).length, members);
  assert.equal(users.filter(({ groups }) => groups.length > 0).length, members);
});

test("as many policies, groups and keys as AWS allows", async () => {
  const identity = open();
  const { directory } = identity;
  const { account } = await directory.ownAccount();
  await directory.createUser({ account, name: "a" });
  const user = { kind: "user", account, name: "a" } as const;
  for (let index = 0; index <= limits.managedPoliciesMax; index++) {
    const { arn } = await directory.createPolicy({ account, name: `p${index}`, document });
    const attached = directory.attachPolicy(user, arn);
    await (index < limits.managedPoliciesMax ? attached : refused(attached, "too_many_of_identity"));
  }
  for (let index = 0; index <= limits.groupsOfUserMax; index++) {
    await directory.createGroup({ account, name: `g${index}` });
    const joined = directory.setMembership(account, { user: "a", group: `G${index}`, isMember: true });
    await (index < limits.groupsOfUserMax ? joined : refused(joined, "too_many_of_identity"));
  }
  const owner = { kind: "user", account, user: "A" } as const;
  for (let index = 0; index < limits.accessKeysOfUserMax; index++) await identity.create({ owner });
  await refused(identity.create({ owner }), "too_many_of_identity");
  await refused(identity.create({ owner: { ...owner, user: "nobody" } }), "no_such_entity");
  await refused(identity.create({ owner: { kind: "account", account: "999999999999" } }), "no_such_entity");
  const long = document.replace('"*"', `"arn:aws:s3:::b/${"k".repeat(900)}"`);
  await directory.putInlinePolicy(user, { name: "one", document: long + " ".repeat(3_000) });
  await directory.putInlinePolicy(user, { name: "one", document: long });
  await directory.putInlinePolicy(user, { name: "two", document: long });
  await refused(directory.putInlinePolicy(user, { name: "three", document: long }), "too_many_of_identity");
  await directory.deleteInlinePolicy(user, "two");
  // White space is not counted, but a row holds only so much of it.
  const wide = document + " ".repeat(8_000);
  for (const name of ["w1", "w2"]) await directory.putInlinePolicy(user, { name, document: wide });
  await refused(directory.putInlinePolicy(user, { name: "w3", document: wide }), "too_many_of_identity");
  await refused(directory.deleteInlinePolicy(user, "two"), "no_such_entity");
});

test("who still has something is not deleted", async () => {
  const identity = open();
  const { directory } = identity;
  const { account } = await directory.ownAccount();
  await directory.createUser({ account, name: "a" });
  await directory.createGroup({ account, name: "g" });
  const [user, group] = [{ kind: "user", account, name: "a" } as const, { kind: "group", account, name: "g" } as const];
  const stays = () => refused(directory.deleteUser(account, "a"), "entity_in_use");
  const groupStays = () => refused(directory.deleteGroup(account, "g"), "entity_in_use");
  await directory.setMembership(account, { user: "a", group: "g", isMember: true });
  await stays();
  await groupStays();
  await directory.setMembership(account, { user: "a", group: "g", isMember: false });
  await directory.attachPolicy(group, administrator);
  await groupStays();
  await directory.detachPolicy(group, administrator);
  await directory.putInlinePolicy(group, { name: "p", document });
  await groupStays();
  await directory.deleteInlinePolicy(group, "p");
  await directory.deleteGroup(account, "g");
  await directory.attachPolicy(user, administrator);
  await stays();
  await directory.detachPolicy(user, administrator);
  await directory.putInlinePolicy(user, { name: "p", document });
  await stays();
  await directory.deleteInlinePolicy(user, "p");
  const { accessKey } = await identity.create({ owner: { kind: "user", account, user: "a" } });
  await stays();
  await identity.remove(accessKey);
  await directory.deleteUser(account, "a");
  assert.equal(await identity.find(accessKey), undefined);
});

/** What references say must be true after any number of changes that met each other. */
async function consistent({ directory, list }: Identity, account: string): Promise<void> {
  const options = { account, limit: 1_000 };
  const [users, groups, policies, keys] = [
    await directory.users(options),
    await directory.groups(options),
    await directory.policies(options),
    await list({ limit: 1_000 }),
  ];
  for (const { name, members } of groups)
    assert.equal(users.filter((user) => user.groups.includes(name)).length, members, `members of ${name}`);
  const named = [...users, ...groups].flatMap(({ managed }) => managed);
  for (const { boundary } of users) if (boundary !== undefined) named.push(boundary);
  for (const { arn, attachments } of policies)
    assert.equal(named.filter((each) => each === arn).length, attachments, `references to ${arn}`);
  for (const arn of named)
    assert.ok(
      policies.some((policy) => policy.arn === arn),
      `${arn} is there`,
    );
  for (const user of users) {
    for (const group of user.groups)
      assert.ok(
        groups.some(({ name }) => name === group),
        `${group} is there`,
      );
    const own = keys.filter(({ owner }) => owner.kind === "user" && owner.user === user.name);
    assert.deepEqual(own.map(({ accessKey }) => accessKey).sort(), [...user.accessKeys].sort());
  }
  for (const { owner } of keys) assert.ok(owner.kind === "user" && users.some(({ name }) => name === owner.user));
}

test("changes at the same time leave no reference to what is gone, and no wrong count", async () => {
  const two = fc.constantFrom("a", "b");
  const change = fc.record({ what: fc.nat({ max: 11 }), user: two, group: two, policy: two, isMember: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(change, { maxLength: 6 }), { maxLength: 8 }), fc.nat(), async (waves, seed) => {
      const identity = open(seed);
      const { directory } = identity;
      const { account } = await directory.ownAccount();
      const apply = (each: { what: number; user: string; group: string; policy: string; isMember: boolean }) => {
        const { what, user, group, policy, isMember } = each;
        const arn = `arn:aws:iam::${account}:policy/${policy}`;
        const holder = { kind: isMember ? "user" : "group", account, name: user } as const;
        const steps: (() => Promise<unknown>)[] = [
          () => directory.createUser({ account, name: user }),
          () => directory.createGroup({ account, name: group }),
          () => directory.createPolicy({ account, name: policy, document }),
          () => directory.setMembership(account, { user, group, isMember }),
          () => directory.attachPolicy(holder, arn),
          () => directory.detachPolicy(holder, arn),
          () => directory.setBoundary(account, user, isMember ? arn : undefined),
          () => directory.deleteUser(account, user),
          () => directory.deleteGroup(account, group),
          () => directory.deletePolicy(account, arn),
          () => identity.create({ accessKey: `key-${group}`, owner: { kind: "user", account, user } }),
          () => identity.remove(`key-${group}`),
        ];
        return steps[what]!();
      };
      const expected: ErrorReason[] = ["no_such_entity", "entity_already_exists", "entity_in_use"];
      expected.push("access_key_already_exists", "no_such_access_key");
      for (const wave of waves) {
        for (const done of await Promise.allSettled(wave.map(apply)))
          if (done.status === "rejected") assert.ok(hasReason(done.reason, ...expected), String(done.reason));
        await consistent(identity, account);
      }
    }),
    { numRuns: 150 },
  );
});

/**
 * Every operation that changes what applies to a key: the next look-up knows it, in a process that has looked the key up before and
 * did not make the change. An operation that is added has to be put into one of the lists here.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../core/clock.ts";
import { seededRandom } from "../core/random.ts";
import { openMemoryKv } from "../kv/memory.ts";
import type { Policy } from "../policy/policy.ts";
import type { FoundKey } from "./callers.ts";
import type { Directory } from "./directory.ts";
import { createIdentity } from "./identity.ts";

const document = (Effect: string, Action: string): string =>
  JSON.stringify({ Version: "2012-10-17", Statement: { Effect, Action, Resource: "*" } });
const administrator = "arn:aws:iam::aws:policy/AdministratorAccess";

/** What a look-up said, as text that can be compared. */
function said(found: FoundKey | undefined): string {
  if (found === undefined || found.access === "full") return found === undefined ? "nobody" : "full";
  const { caller, policies } = found.access;
  const texts = ({ statements }: Policy): string[] =>
    statements.flatMap(({ effect, actions }) => [effect, ...actions.patterns.map(({ text }) => text)]);
  const tags = "tags" in caller ? [...caller.tags] : [];
  const { identity, boundary } = policies;
  return JSON.stringify({ ...caller, tags, identity: identity.map(texts), boundary: boundary && texts(boundary) });
}

async function begin() {
  const parts = { kv: openMemoryKv(), root: { accessKey: "root", secretKey: "root-secret" }, clock: systemClock };
  const [here, there] = [createIdentity({ ...parts, random: seededRandom(1) }), createIdentity(parts)];
  const { account } = await here.directory.ownAccount();
  return { here, there, directory: here.directory, account };
}

type Name = keyof Directory | "switchKey" | "remove";
type Change = readonly [Name, () => Promise<unknown>];

/** Each of them must change the answer. */
async function seesAll(changes: readonly Change[], lookUp: () => Promise<FoundKey | undefined>): Promise<void> {
  let before = said(await lookUp());
  for (const [name, change] of changes) {
    // Once more, so that it is answered from what is known.
    assert.equal(said(await lookUp()), before);
    await change();
    const after = said(await lookUp());
    assert.notEqual(after, before, name);
    before = after;
  }
}

const ofUsers: readonly Name[] =
  "setMembership putInlinePolicy deleteInlinePolicy attachPolicy detachPolicy setBoundary setPolicyDocument createPolicyVersion setDefaultPolicyVersion setUserTags changeUserTags moveUser switchKey remove".split(
    " ",
  ) as Name[];
const ofRoles: readonly Name[] = ["setRole", "setRoleBoundary", "deleteRole"];
/** These make, look up, or take away what is in no use, or change what no key's answer says. */
const ofNothing: readonly Name[] =
  "ownAccount createAccount account accounts createUser user users deleteUser createRole role roles createOidcProvider oidcProvider oidcProviders setOidcProvider deleteOidcProvider keys accountKeys createGroup group groups moveGroup deleteGroup createPolicy policies managedPolicy findPolicyArn deletePolicyVersion deletePolicy".split(
    " ",
  ) as Name[];

test("every operation is known here", async () => {
  const { directory } = await begin();
  const known = new Set<string>([...ofUsers, ...ofRoles, ...ofNothing]);
  assert.deepEqual(
    Object.keys(directory).filter((name) => !known.has(name)),
    [],
  );
});

test("whatever changes about a user holds for the next request in another process", async () => {
  const { here, there, directory, account } = await begin();
  await directory.createUser({ account, name: "ada" });
  await directory.createGroup({ account, name: "g" });
  const { arn } = await directory.createPolicy({ account, name: "p", document: document("Allow", "s3:Get*") });
  const { accessKey } = await here.create({ owner: { kind: "user", account, user: "ada" } });
  const [user, group] = [
    { kind: "user", account, name: "ada" } as const,
    { kind: "group", account, name: "g" } as const,
  ];
  const inline = { name: "own", document: document("Allow", "s3:PutObject") };
  const member = (isMember: boolean) => directory.setMembership(account, { user: "ada", group: "g", isMember });
  const changes: readonly Change[] = [
    ["putInlinePolicy", () => directory.putInlinePolicy(user, inline)],
    ["putInlinePolicy", () => directory.putInlinePolicy(user, { ...inline, document: document("Deny", "s3:*") })],
    ["deleteInlinePolicy", () => directory.deleteInlinePolicy(user, "own")],
    ["setMembership", () => directory.attachPolicy(group, administrator).then(() => member(true))],
    ["putInlinePolicy", () => directory.putInlinePolicy(group, inline)],
    ["deleteInlinePolicy", () => directory.deleteInlinePolicy(group, "own")],
    ["detachPolicy", () => directory.detachPolicy(group, administrator)],
    ["attachPolicy", () => directory.attachPolicy(group, arn)],
    ["setPolicyDocument", () => directory.setPolicyDocument(account, arn, document("Deny", "s3:Get*"))],
    ["setMembership", () => member(false)],
    ["attachPolicy", () => directory.attachPolicy(user, arn)],
    [
      "createPolicyVersion",
      () => directory.createPolicyVersion(account, arn, { document: document("Allow", "*"), isDefault: true }),
    ],
    ["setDefaultPolicyVersion", () => directory.setDefaultPolicyVersion(account, arn, 1)],
    ["setBoundary", () => directory.setBoundary(account, "ada", administrator)],
    ["setUserTags", () => directory.setUserTags(account, "ada", [{ key: "a", value: "a" }])],
    ["changeUserTags", () => directory.changeUserTags(account, "ada", () => [{ key: "a", value: "b" }])],
    ["detachPolicy", () => directory.detachPolicy(user, arn)],
    ["moveUser", () => directory.moveUser(account, "ada", { name: "eve" })],
    ["switchKey", () => here.switchKey(accessKey, false)],
    ["switchKey", () => here.switchKey(accessKey, true)],
    ["remove", () => here.remove(accessKey)],
  ];
  await seesAll(changes, () => there.find(accessKey));
  assert.deepEqual([...new Set(changes.map(([name]) => name))].sort(), [...ofUsers].sort());
});

test("whatever changes about a role holds for the next request of its sessions", async () => {
  const { here, there, directory, account } = await begin();
  const Statement = { Effect: "Allow", Action: "sts:AssumeRole", Principal: { AWS: account } };
  const trust = JSON.stringify({ Version: "2012-10-17", Statement });
  const role = await directory.createRole({ account, name: "night", trust });
  const holder = { kind: "role", account, name: "night" } as const;
  const principal = { kind: "role", account, role: "night", id: role.id } as const;
  const { session, token } = await here.begin({ principal, seconds: 900, secondsMax: 900, name: "work" });
  const changes: readonly Change[] = [
    ["attachPolicy", () => directory.attachPolicy(holder, administrator)],
    ["setRoleBoundary", () => directory.setRoleBoundary(account, "night", administrator)],
    ["setRole", () => directory.setRole(account, "night", { tags: [{ key: "a", value: "b" }] })],
    ["detachPolicy", () => directory.detachPolicy(holder, administrator)],
    ["deleteRole", () => directory.deleteRole(account, "night")],
  ];
  await seesAll(changes, () => there.find(session.accessKey, token));
});

test("a policy that a session names and that goes and comes again counts as long as it is there", async () => {
  const { here, there, directory, account } = await begin();
  const { id } = await directory.createUser({ account, name: "ada" });
  const policy = { account, name: "p", document: document("Allow", "s3:Get*") };
  const { arn } = await directory.createPolicy(policy);
  const principal = { kind: "user", account, user: "ada", id } as const;
  const { session, token } = await here.begin({ principal, seconds: 900, secondsMax: 900, managed: [arn] });
  const bounds = async (): Promise<string> => {
    const found = await there.find(session.accessKey, token);
    assert.ok(found !== undefined && found.access !== "full");
    const texts = found.access.policies.session?.flatMap(({ statements }) => statements.map(({ effect }) => effect));
    return String(texts);
  };
  for (let round = 0; round < 2; round++) {
    // Twice each, so that it is answered from what is known.
    assert.deepEqual([await bounds(), await bounds()], ["Allow", "Allow"]);
    await directory.deletePolicy(account, arn, { withVersions: true });
    assert.deepEqual([await bounds(), await bounds()], ["", ""]);
    await directory.createPolicy({ ...policy, document: document("Deny", "s3:Get*") });
    assert.deepEqual([await bounds(), await bounds()], ["Deny", "Deny"]);
    await directory.setPolicyDocument(account, arn, policy.document);
  }
});

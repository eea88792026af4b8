/** Temporary credentials: who gets them, what they are good for, and when they end. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { judge } from "../policy/evaluate.ts";
import {
  at,
  codeOf,
  handClock,
  openDoor,
  policyOf,
  type Answer,
  type Fields,
  type Keys,
  type TestDoor,
} from "./iam.fixture.ts";

const clock = handClock(Date.UTC(2026, 0, 2, 3, 4, 5));
let door: TestDoor;
let numbers = 0;
before(async () => {
  door = await openDoor({ clock });
});
after(() => door.close());

const newName = (): string => `n${(numbers += 1)}`;

async function newUser(...statements: object[]): Promise<Keys & { readonly name: string; readonly arn: string }> {
  const { directory } = door.identity;
  const name = newName();
  const { account } = door;
  const { arn } = await directory.createUser({ account, name });
  if (statements.length > 0)
    await directory.putInlinePolicy(
      { kind: "user", account, name },
      { name: "own", document: policyOf(...statements) },
    );
  const { accessKey, secretKey } = await door.identity.create({ owner: { kind: "user", account, user: name } });
  return { accessKey, secretKey, name, arn };
}

const trusting = (AWS: string, more: object = {}): string =>
  policyOf({ Action: ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"], Principal: { AWS }, ...more });

async function newRole(
  trust: string,
  ...statements: object[]
): Promise<{ readonly name: string; readonly arn: string }> {
  const { directory } = door.identity;
  const { account } = door;
  const name = newName();
  const role = await directory.createRole({ account, name, trust, path: "/team/", sessionSecondsMax: 7_200 });
  if (statements.length > 0)
    await directory.putInlinePolicy(
      { kind: "role", account, name },
      { name: "own", document: policyOf(...statements) },
    );
  return role;
}

function assume(arn: string, keys: Keys, more: Fields = {}): Promise<Answer> {
  return door.sts({ Action: "AssumeRole", RoleArn: arn, RoleSessionName: "work", ...more }, keys);
}

function keysIn({ xml, text }: Answer, action = "AssumeRole"): Keys & { readonly token: string } {
  const found = ["AccessKeyId", "SecretAccessKey", "SessionToken"].map((name) =>
    at(xml, `${action}Result/Credentials/${name}`),
  );
  const [accessKey, secretKey, token] = found;
  assert.ok(accessKey !== undefined && secretKey !== undefined && token !== undefined, text);
  return { accessKey, secretKey, token };
}

async function may({ accessKey, token }: Keys, action: string, resource = "arn:aws:s3:::b/k"): Promise<string> {
  const found = await door.identity.find(accessKey, token);
  if (found === undefined || found.access === "full") return found === undefined ? "nobody" : "full";
  const { caller, policies } = found.access;
  return judge({ caller, action, resource, resourceAccount: door.account, keys: new Map() }, policies).outcome;
}

test("everybody may ask who they are, and only with a signature for sts", async () => {
  const user = await newUser();
  const answer = await door.sts({ Action: "GetCallerIdentity" }, user);
  const texts = ["Arn", "Account"].map((name) => at(answer.xml, `GetCallerIdentityResult/${name}`));
  assert.deepEqual(texts, [user.arn, door.account]);
  const asRoot = await door.sts({ Action: "GetCallerIdentity" });
  assert.equal(at(asRoot.xml, "GetCallerIdentityResult/Arn"), `arn:aws:iam::${door.account}:root`);
  const form = Buffer.from("Action=GetCallerIdentity&Version=2011-06-15");
  assert.equal(codeOf(await door.send(form, "iam", user)), "400 IncompleteSignature");
  assert.equal(codeOf(await door.send(form, "sts", undefined)), "403 MissingAuthenticationToken");
  assert.equal(
    codeOf(await door.send(form, "sts", { ...user, secretKey: "another-secret" })),
    "403 SignatureDoesNotMatch",
  );
  assert.equal(codeOf(await door.send(form, "sts", { ...user, accessKey: "NOBODY" })), "403 InvalidClientTokenId");
});

test("the region that was signed for does not matter", async () => {
  const user = await newUser();
  const form = Buffer.from("Action=GetCallerIdentity&Version=2011-06-15");
  for (const region of ["", "us-east-1", "aws-global", "eu-west-3"])
    assert.equal(codeOf(await door.send(form, "sts", user, {}, region)), "200 OK");
});

test("a role is assumed by the user that its trust policy names, and by nobody else", async () => {
  const user = await newUser();
  const role = await newRole(trusting(user.arn), { Action: "s3:GetObject", Resource: "*" });
  const answer = await assume(role.arn, user);
  const keys = keysIn(answer);
  assert.equal(
    at(answer.xml, "AssumeRoleResult/AssumedRoleUser/Arn"),
    `arn:aws:sts::${door.account}:assumed-role/${role.name}/work`,
  );
  assert.deepEqual([await may(keys, "s3:GetObject"), await may(keys, "s3:PutObject")], ["allow", "implicit_deny"]);
  const who = await door.sts({ Action: "GetCallerIdentity" }, keys);
  assert.equal(at(who.xml, "GetCallerIdentityResult/Arn"), at(answer.xml, "AssumeRoleResult/AssumedRoleUser/Arn"));
  const other = await newUser({ Action: "sts:*", Resource: "*" });
  assert.equal(codeOf(await assume(role.arn, other)), "403 AccessDenied");
  assert.equal(codeOf(await assume(role.arn, { accessKey: "root", secretKey: "root-secret" })), "403 AccessDenied");
  assert.equal(codeOf(await assume(`${role.arn}x`, user)), "403 AccessDenied");
  assert.equal(codeOf(await assume(role.arn.replace("/team/", "/"), user)), "403 AccessDenied");
});

test("where the account is trusted the caller's own policies decide, and a deny of theirs always counts", async () => {
  const role = await newRole(trusting(door.account));
  assert.equal(codeOf(await assume(role.arn, await newUser())), "403 AccessDenied");
  const allowed = await newUser({ Action: "sts:AssumeRole", Resource: role.arn });
  assert.equal(codeOf(await assume(role.arn, allowed)), "200 OK");
  const denied = await newUser(
    { Action: "sts:*", Resource: "*" },
    { Effect: "Deny", Action: "sts:*", Resource: role.arn },
  );
  assert.equal(codeOf(await assume(role.arn, denied)), "403 AccessDenied");
});

test("across accounts both sides must allow it", async () => {
  const { directory } = door.identity;
  const other = await directory.createAccount("tenant");
  await directory.createUser({ account: other.account, name: "guest" });
  const guest = await door.identity.create({ owner: { kind: "user", account: other.account, user: "guest" } });
  const role = await newRole(trusting(`arn:aws:iam::${other.account}:user/guest`));
  assert.equal(codeOf(await assume(role.arn, guest)), "403 AccessDenied");
  const document = policyOf({ Action: "sts:AssumeRole", Resource: role.arn });
  await directory.putInlinePolicy({ kind: "user", account: other.account, name: "guest" }, { name: "a", document });
  assert.equal(codeOf(await assume(role.arn, guest)), "200 OK");
});

test("conditions of a trust policy see external id, session name, source identity and tags", async () => {
  const user = await newUser();
  const wants = async (condition: object, more: Fields): Promise<string> => {
    const role = await newRole(trusting(user.arn, { Condition: { StringEquals: condition } }));
    assert.equal(codeOf(await assume(role.arn, user, { RoleSessionName: "other" })), "403 AccessDenied");
    return codeOf(await assume(role.arn, user, more));
  };
  assert.equal(await wants({ "sts:ExternalId": "x1" }, { ExternalId: "x1" }), "200 OK");
  assert.equal(await wants({ "sts:RoleSessionName": "night" }, { RoleSessionName: "night" }), "200 OK");
  assert.equal(await wants({ "sts:SourceIdentity": "ada" }, { SourceIdentity: "ada" }), "200 OK");
  const tag = { "Tags.member.1.Key": "team", "Tags.member.1.Value": "x" };
  assert.equal(await wants({ "aws:RequestTag/team": "x" }, tag), "200 OK");
});

test("tags and a source identity need a permission of their own", async () => {
  const user = await newUser();
  const role = await newRole(policyOf({ Action: "sts:AssumeRole", Principal: { AWS: user.arn } }));
  assert.equal(codeOf(await assume(role.arn, user)), "200 OK");
  const tag = { "Tags.member.1.Key": "team", "Tags.member.1.Value": "x" };
  assert.equal(codeOf(await assume(role.arn, user, tag)), "403 AccessDenied");
  assert.equal(codeOf(await assume(role.arn, user, { SourceIdentity: "ada" })), "403 AccessDenied");
});

test("session policies narrow a role and never widen it", async () => {
  const user = await newUser();
  const role = await newRole(trusting(user.arn), { Action: ["s3:GetObject", "s3:PutObject"], Resource: "*" });
  const Policy = policyOf({ Action: ["s3:GetObject", "s3:DeleteObject"], Resource: "*" });
  const inline = keysIn(await assume(role.arn, user, { Policy }));
  const outcomes = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"].map((action) => may(inline, action));
  assert.deepEqual(await Promise.all(outcomes), ["allow", "implicit_deny", "implicit_deny"]);
  const arn = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
  const managed = keysIn(await assume(role.arn, user, { "PolicyArns.member.1.arn": arn }));
  assert.deepEqual(
    [await may(managed, "s3:GetObject"), await may(managed, "s3:PutObject")],
    ["allow", "implicit_deny"],
  );
  assert.equal(codeOf(await assume(role.arn, user, { Policy: "{}" })), "400 MalformedPolicyDocument");
  const gone = { "PolicyArns.member.1.arn": `arn:aws:iam::${door.account}:policy/none` };
  assert.equal(codeOf(await assume(role.arn, user, gone)), "404 NoSuchEntity");
});

test("a managed session policy that is deleted later allows nothing any more", async () => {
  const user = await newUser();
  const role = await newRole(trusting(user.arn), { Action: "*", Resource: "*" });
  const document = policyOf({ Action: "*", Resource: "*" });
  const policy = await door.identity.directory.createPolicy({ account: door.account, name: newName(), document });
  const keys = keysIn(await assume(role.arn, user, { "PolicyArns.member.1.arn": policy.arn }));
  assert.equal(await may(keys, "s3:GetObject"), "allow");
  await door.identity.directory.deletePolicy(door.account, policy.arn);
  assert.equal(await may(keys, "s3:GetObject"), "implicit_deny");
});

test("a role's boundary holds for its sessions, and what changes of a role holds at once", async () => {
  const { directory } = door.identity;
  const user = await newUser();
  const role = await newRole(trusting(user.arn), { Action: "s3:*", Resource: "*" });
  const keys = keysIn(await assume(role.arn, user));
  assert.equal(await may(keys, "s3:PutObject"), "allow");
  await directory.setRoleBoundary(door.account, role.name, "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess");
  assert.deepEqual([await may(keys, "s3:GetObject"), await may(keys, "s3:PutObject")], ["allow", "implicit_deny"]);
  await directory.deleteInlinePolicy({ kind: "role", account: door.account, name: role.name }, "own");
  assert.equal(await may(keys, "s3:GetObject"), "implicit_deny");
});

test("sessions end with their role, also where another one takes its name", async () => {
  const user = await newUser();
  const role = await newRole(trusting(user.arn));
  const keys = keysIn(await assume(role.arn, user));
  await door.identity.directory.deleteRole(door.account, role.name);
  assert.equal(await may(keys, "s3:GetObject"), "nobody");
  await door.identity.directory.createRole({ account: door.account, name: role.name, trust: trusting(user.arn) });
  assert.equal(await may(keys, "s3:GetObject"), "nobody");
  assert.equal(codeOf(await door.sts({ Action: "GetCallerIdentity" }, keys)), "403 InvalidClientTokenId");
});

test("a session ends when its time is over", async () => {
  const user = await newUser();
  const role = await newRole(trusting(user.arn));
  const keys = keysIn(await assume(role.arn, user, { DurationSeconds: "900" }));
  clock.move(900_000 - 1);
  assert.equal(await may(keys, "s3:GetObject"), "implicit_deny");
  clock.move(1);
  await assert.rejects(may(keys, "s3:GetObject"), (error) => hasReason(error, "expired_token"));
  assert.equal(codeOf(await door.sts({ Action: "GetCallerIdentity" }, keys)), "403 ExpiredToken");
});

test("how long a session may be", async () => {
  const user = await newUser();
  const role = await newRole(trusting(user.arn));
  for (const [seconds, code] of [
    ["899", "400 ValidationError"],
    ["7200", "200 OK"],
    ["7201", "400 ValidationError"],
    ["x", "400 ValidationError"],
  ] as const)
    assert.equal(codeOf(await assume(role.arn, user, { DurationSeconds: seconds })), code);
  assert.equal(codeOf(await assume(role.arn, user, { RoleSessionName: "a/b" })), "400 ValidationError");
});

test("a session of a role assumes another role for an hour at most, and keeps its source identity", async () => {
  const user = await newUser();
  const first = await newRole(trusting(user.arn));
  const second = await newRole(trusting(first.arn));
  const keys = keysIn(await assume(first.arn, user, { SourceIdentity: "ada" }));
  const document = policyOf({ Action: "sts:*", Resource: "*" });
  const holder = { kind: "role", account: door.account, name: first.name } as const;
  await door.identity.directory.putInlinePolicy(holder, { name: "on", document });
  assert.equal(codeOf(await assume(second.arn, keys, { DurationSeconds: "3601" })), "400 ValidationError");
  const further = await assume(second.arn, keys);
  assert.equal(at(further.xml, "AssumeRoleResult/SourceIdentity"), "ada");
  assert.equal(codeOf(await assume(second.arn, keys, { SourceIdentity: "bob" })), "403 AccessDenied");
});

test("a token is good for its own key only, and for nothing once a letter of it is another", async () => {
  const user = await newUser();
  const role = await newRole(trusting(user.arn));
  const [one, two] = [keysIn(await assume(role.arn, user)), keysIn(await assume(role.arn, user))];
  const isInvalid = (error: unknown): boolean => hasReason(error, "invalid_token");
  const { find } = door.identity;
  await assert.rejects(find(one.accessKey, two.token), isInvalid);
  await assert.rejects(find(user.accessKey, one.token), isInvalid);
  await assert.rejects(find("root", one.token), isInvalid);
  assert.equal(await find(one.accessKey), undefined);
  for (let index = 0; index < one.token.length; index++) {
    const letter = one.token[index] === "A" ? "B" : "A";
    const spoiled = one.token.slice(0, index) + letter + one.token.slice(index + 1);
    await assert.rejects(find(one.accessKey, spoiled), isInvalid, `letter ${index}`);
  }
  for (const token of ["", "A", one.token.slice(0, -1), `${one.token}A`, `${one.token}=`, "A".repeat(20_000), "é"])
    await assert.rejects(find(one.accessKey, token), isInvalid);
  assert.notEqual(await find(one.accessKey, one.token), undefined);
});

test("a user's own session may what the user may, ends with the user, and asks neither IAM nor for more", async () => {
  const user = await newUser({ Action: ["s3:GetObject", "iam:*"], Resource: "*" });
  const keys = keysIn(await door.sts({ Action: "GetSessionToken" }, user), "GetSessionToken");
  assert.deepEqual([await may(keys, "s3:GetObject"), await may(keys, "s3:PutObject")], ["allow", "implicit_deny"]);
  assert.equal(codeOf(await door.iam({ Action: "GetUser" }, user)), "200 OK");
  assert.equal(codeOf(await door.iam({ Action: "GetUser" }, keys)), "403 InvalidClientTokenId");
  assert.equal(codeOf(await door.sts({ Action: "GetSessionToken" }, keys)), "403 AccessDenied");
  assert.equal(codeOf(await door.sts({ Action: "GetSessionToken" })), "403 AccessDenied");
  await door.identity.remove(user.accessKey);
  assert.equal(await may(keys, "s3:GetObject"), "allow");
  const { directory } = door.identity;
  await directory.deleteInlinePolicy({ kind: "user", account: door.account, name: user.name }, "own");
  await directory.deleteUser(door.account, user.name);
  assert.equal(await may(keys, "s3:GetObject"), "nobody");
});

test("policies and tags that are too much for a token are refused", async () => {
  const user = await newUser();
  const role = await newRole(trusting(user.arn));
  const tags: Record<string, string> = {};
  for (let number = 1; number <= 50; number++) {
    tags[`Tags.member.${number}.Key`] = `key-${number}`;
    tags[`Tags.member.${number}.Value`] = "v".repeat(200);
  }
  assert.equal(codeOf(await assume(role.arn, user, tags)), "400 PackedPolicyTooLarge");
});

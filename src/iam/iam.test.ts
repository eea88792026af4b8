/** IAM's actions: what they answer, who may use them, and what the door does with what is no request. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { limits } from "../core/limits.ts";
import { signRequest } from "../gateway/sigv4.ts";
import { child } from "../gateway/xml.ts";
import { at, codeOf, openDoor, policyOf, root, type Fields, type Keys, type TestDoor } from "./iam.fixture.ts";

let door: TestDoor;
let numbers = 0;
before(async () => {
  door = await openDoor();
});
after(() => door.close());

const newName = (): string => `n${(numbers += 1)}`;
const anything = policyOf({ Action: "s3:*", Resource: "*" });
const trust = policyOf({ Action: "sts:AssumeRole", Principal: { AWS: "111122223333" } });

async function ok(fields: Fields, keys?: Keys) {
  const answer = await door.iam(fields, keys);
  assert.equal(answer.status, 200, answer.text);
  const result = child(answer.xml, `${fields["Action"]}Result`);
  return { ...answer, result, text: (path: string) => result && at(result, path) };
}

async function code(fields: Fields, keys?: Keys): Promise<string> {
  return codeOf(await door.iam(fields, keys));
}

async function newUser(...statements: object[]): Promise<Keys & { readonly name: string }> {
  const UserName = newName();
  await ok({ Action: "CreateUser", UserName });
  if (statements.length > 0)
    await ok({ Action: "PutUserPolicy", UserName, PolicyName: "own", PolicyDocument: policyOf(...statements) });
  const made = await ok({ Action: "CreateAccessKey", UserName });
  const [accessKey, secretKey] = [made.text("AccessKey/AccessKeyId")!, made.text("AccessKey/SecretAccessKey")!];
  return { accessKey, secretKey, name: UserName };
}

test("a user is made, read, moved and deleted, and its name is one however it is written", async () => {
  const UserName = newName().toUpperCase();
  const made = await ok({ Action: "CreateUser", UserName, Path: "/a/" });
  assert.equal(made.text("User/Arn"), `arn:aws:iam::${door.account}:user/a/${UserName}`);
  assert.match(made.text("User/CreateDate")!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  const lower = UserName.toLowerCase();
  assert.equal(await code({ Action: "CreateUser", UserName: lower }), "409 EntityAlreadyExists");
  assert.equal((await ok({ Action: "GetUser", UserName: lower })).text("User/UserName"), UserName);
  const NewUserName = newName();
  await ok({ Action: "UpdateUser", UserName, NewUserName, NewPath: "/b/" });
  assert.equal(await code({ Action: "GetUser", UserName }), "404 NoSuchEntity");
  const { text } = await ok({ Action: "GetUser", UserName: NewUserName });
  assert.equal(text("User/Arn"), `arn:aws:iam::${door.account}:user/b/${NewUserName}`);
  await ok({ Action: "DeleteUser", UserName: NewUserName });
  assert.equal(await code({ Action: "DeleteUser", UserName: NewUserName }), "404 NoSuchEntity");
});

test("a user that gets another name keeps its keys, which are then that one's", async () => {
  const user = await newUser({ Action: "iam:GetUser", Resource: "*" });
  const NewUserName = newName();
  await ok({ Action: "UpdateUser", UserName: user.name, NewUserName });
  assert.equal((await ok({ Action: "GetUser" }, user)).text("User/UserName"), NewUserName);
  assert.equal(await code({ Action: "DeleteUser", UserName: NewUserName }), "409 DeleteConflict");
});

test("lists come in pages, below a path, in the order of the names in lower case", async () => {
  const path = `/${newName()}/`;
  for (const name of ["b", "A", "c"]) await ok({ Action: "CreateUser", UserName: `page-${name}`, Path: path });
  await ok({ Action: "CreateUser", UserName: "page-bb", Path: "/elsewhere/" });
  const seen: string[] = [];
  for (let Marker: string | undefined, more = true; more;) {
    const fields = { Action: "ListUsers", PathPrefix: path, MaxItems: "1", ...(Marker !== undefined && { Marker }) };
    const { result, text } = await ok(fields);
    for (const member of child(result!, "Users")!.children) seen.push(at(member, "UserName")!);
    Marker = text("Marker");
    more = text("IsTruncated") === "true";
    assert.equal(Marker !== undefined, more);
  }
  assert.deepEqual(seen, ["page-A", "page-b", "page-c"]);
  for (const MaxItems of ["0", "1001", "x"])
    assert.equal(await code({ Action: "ListUsers", MaxItems }), "400 ValidationError");
});

test("an access key is made, switched off and on, listed and deleted; only the user's own", async () => {
  const user = await newUser({
    Action: ["iam:GetUser", "iam:*AccessKey*"],
    Resource: `arn:aws:iam::*:user/\${aws:username}`,
  });
  const named = { UserName: user.name, AccessKeyId: user.accessKey };
  const second = await ok({ Action: "CreateAccessKey" }, user);
  assert.equal(second.text("AccessKey/UserName"), user.name);
  assert.equal(await code({ Action: "CreateAccessKey" }, user), "409 LimitExceeded");
  await ok({ Action: "UpdateAccessKey", ...named, Status: "Inactive" });
  assert.equal(await code({ Action: "GetUser" }, user), "403 InvalidClientTokenId");
  const { result } = await ok({ Action: "ListAccessKeys", UserName: user.name });
  const keys = child(result!, "AccessKeyMetadata")!.children.map((key) => [at(key, "AccessKeyId"), at(key, "Status")]);
  assert.deepEqual(new Map(keys as [string, string][]).get(user.accessKey), "Inactive");
  await ok({ Action: "UpdateAccessKey", ...named, Status: "Active" });
  await ok({ Action: "GetUser" }, user);
  const other = await newUser();
  assert.equal(
    await code({ Action: "DeleteAccessKey", UserName: other.name, AccessKeyId: user.accessKey }),
    "404 NoSuchEntity",
  );
  assert.equal(await code({ Action: "CreateAccessKey", UserName: other.name }, user), "403 AccessDenied");
  await ok({ Action: "DeleteAccessKey", ...named });
  assert.equal(await code({ Action: "GetUser" }, user), "403 InvalidClientTokenId");
});

test("an account's root makes, sees, switches and deletes its own keys, and no user's without naming the user", async () => {
  const tenant = async (): Promise<Keys> => {
    const { account } = await door.identity.directory.createAccount(newName());
    return door.identity.create({ owner: { kind: "account", account } });
  };
  const [mine, theirs] = [await tenant(), await tenant()];
  const made = await ok({ Action: "CreateAccessKey" }, mine);
  assert.equal(made.text("AccessKey/UserName"), undefined);
  const second = { accessKey: made.text("AccessKey/AccessKeyId")!, secretKey: made.text("AccessKey/SecretAccessKey")! };
  const UserName = newName();
  await ok({ Action: "CreateUser", UserName }, second);
  const ofUser = (await ok({ Action: "CreateAccessKey", UserName }, mine)).text("AccessKey/AccessKeyId")!;
  const listed = async (): Promise<readonly (string | undefined)[]> => {
    const { result } = await ok({ Action: "ListAccessKeys" }, mine);
    return child(result!, "AccessKeyMetadata")!.children.map((key) => at(key, "AccessKeyId"));
  };
  assert.deepEqual(await listed(), [mine.accessKey, second.accessKey].sort());
  const AccessKeyId = second.accessKey;
  for (const [key, asker] of [
    [AccessKeyId, theirs],
    [ofUser, mine],
    [root.accessKey, mine],
    ["x".repeat(3_000), mine],
  ] as const)
    for (const Action of ["DeleteAccessKey", "UpdateAccessKey"])
      assert.equal(await code({ Action, AccessKeyId: key, Status: "Inactive" }, asker), "404 NoSuchEntity");
  await ok({ Action: "UpdateAccessKey", AccessKeyId, Status: "Inactive" }, mine);
  assert.equal(await code({ Action: "GetUser" }, second), "403 InvalidClientTokenId");
  await ok({ Action: "DeleteAccessKey", AccessKeyId }, mine);
  assert.deepEqual(await listed(), [mine.accessKey]);
});

test("an account's root sees its own keys at once, however many others there are", async () => {
  const { account } = await door.identity.directory.createAccount(newName());
  const mine = await door.identity.create({ owner: { kind: "account", account } });
  for (let count = 0; count <= limits.iamRowsPerPageMax; count++) await door.identity.create({});
  const second = await door.identity.create({ owner: { kind: "account", account } });
  const { result } = await ok({ Action: "ListAccessKeys" }, mine);
  const listed = child(result!, "AccessKeyMetadata")!.children.map((key) => at(key, "AccessKeyId"));
  assert.deepEqual(listed, [mine.accessKey, second.accessKey].sort());
  assert.equal(at(result!, "IsTruncated"), "false");
});

test("an account's summary counts what is there, and says what may be", async () => {
  const { account } = await door.identity.directory.createAccount(newName());
  const theirs = await door.identity.create({ owner: { kind: "account", account } });
  for (const UserName of [newName(), newName()]) await ok({ Action: "CreateUser", UserName }, theirs);
  await ok({ Action: "CreateGroup", GroupName: newName() }, theirs);
  const { result } = await ok({ Action: "GetAccountSummary" }, theirs);
  const entries = child(result!, "SummaryMap")!.children.map((entry) => [at(entry, "key"), at(entry, "value")]);
  const told = new Map(entries as [string, string][]);
  const asked = ["Users", "Groups", "Roles", "Policies", "AccessKeysPerUserQuota"].map((name) => told.get(name));
  assert.deepEqual(asked, ["2", "1", "0", "0", "2"]);
});

for (const word of ["User", "Group", "Role"]) {
  const create = (name: string): Fields => ({
    Action: `Create${word}`,
    [`${word}Name`]: name,
    ...(word === "Role" && { AssumeRolePolicyDocument: trust }),
  });

  test(`inline policies of a ${word.toLowerCase()} are put, read, listed and deleted`, async () => {
    const holder = { [`${word}Name`]: newName() };
    await ok(create(Object.values(holder)[0]!));
    const policy = { ...holder, PolicyName: "p" };
    await ok({ Action: `Put${word}Policy`, ...policy, PolicyDocument: anything });
    const read = await ok({ Action: `Get${word}Policy`, ...policy });
    assert.equal(decodeURIComponent(read.text("PolicyDocument")!), anything);
    assert.equal((await ok({ Action: `List${word}Policies`, ...holder })).text("PolicyNames/0"), "p");
    assert.equal(await code({ Action: `Delete${word}`, ...holder }), "409 DeleteConflict");
    assert.equal(
      await code({ Action: `Put${word}Policy`, ...policy, PolicyDocument: "{" }),
      "400 MalformedPolicyDocument",
    );
    await ok({ Action: `Delete${word}Policy`, ...policy });
    assert.equal(await code({ Action: `Get${word}Policy`, ...policy }), "404 NoSuchEntity");
    await ok({ Action: `Delete${word}`, ...holder });
    assert.equal(await code({ Action: `Get${word}`, ...holder }), "404 NoSuchEntity");
  });

  test(`managed policies are attached to a ${word.toLowerCase()} and detached from it`, async () => {
    const holder = { [`${word}Name`]: newName() };
    await ok(create(Object.values(holder)[0]!));
    const PolicyArn = (await ok({ Action: "CreatePolicy", PolicyName: newName(), PolicyDocument: anything })).text(
      "Policy/Arn",
    )!;
    await ok({ Action: `Attach${word}Policy`, ...holder, PolicyArn });
    const listed = await ok({ Action: `ListAttached${word}Policies`, ...holder });
    assert.equal(listed.text("AttachedPolicies/0/PolicyArn"), PolicyArn);
    assert.equal((await ok({ Action: "GetPolicy", PolicyArn })).text("Policy/AttachmentCount"), "1");
    assert.equal(await code({ Action: "DeletePolicy", PolicyArn }), "409 DeleteConflict");
    await ok({ Action: `Detach${word}Policy`, ...holder, PolicyArn });
    assert.equal(await code({ Action: `Detach${word}Policy`, ...holder, PolicyArn }), "404 NoSuchEntity");
    await ok({ Action: "DeletePolicy", PolicyArn });
    assert.equal(await code({ Action: "GetPolicy", PolicyArn }), "404 NoSuchEntity");
  });
}

async function newPolicy(PolicyDocument = anything): Promise<string> {
  return (await ok({ Action: "CreatePolicy", PolicyName: newName(), PolicyDocument })).text("Policy/Arn")!;
}

test("a managed policy is read by the id of its version, a built-in one too", async () => {
  const PolicyArn = await newPolicy();
  const VersionId = (await ok({ Action: "GetPolicy", PolicyArn })).text("Policy/DefaultVersionId")!;
  assert.equal(VersionId, "v1");
  const read = await ok({ Action: "GetPolicyVersion", PolicyArn, VersionId });
  assert.equal(decodeURIComponent(read.text("PolicyVersion/Document")!), anything);
  assert.equal((await ok({ Action: "ListPolicyVersions", PolicyArn })).text("Versions/0/VersionId"), VersionId);
  assert.equal(await code({ Action: "GetPolicyVersion", PolicyArn, VersionId: "v2" }), "404 NoSuchEntity");
  for (const bad of ["2", "v0", "v", "v1x", "V1"])
    assert.equal(await code({ Action: "GetPolicyVersion", PolicyArn, VersionId: bad }), "400 ValidationError", bad);
  const builtin = { PolicyArn: "arn:aws:iam::aws:policy/AmazonS3FullAccess" };
  assert.equal((await ok({ Action: "GetPolicy", ...builtin })).text("Policy/PolicyName"), "AmazonS3FullAccess");
  assert.equal((await ok({ Action: "ListPolicyVersions", ...builtin })).text("Versions/0/VersionId"), "v1");
  const further = { ...builtin, PolicyDocument: anything };
  assert.equal(await code({ Action: "CreatePolicyVersion", ...further }), "404 NoSuchEntity");
});

test("versions of a policy: made, listed, made the one that counts, and deleted, and no id is given twice", async () => {
  const PolicyArn = await newPolicy();
  const other = policyOf({ Action: "iam:Get*", Resource: "*" });
  const create = (more: Fields = {}) =>
    ok({ Action: "CreatePolicyVersion", PolicyArn, PolicyDocument: other, ...more });
  const made = await create();
  assert.deepEqual(
    [made.text("PolicyVersion/VersionId"), made.text("PolicyVersion/IsDefaultVersion")],
    ["v2", "false"],
  );
  assert.equal((await create({ SetAsDefault: "true" })).text("PolicyVersion/IsDefaultVersion"), "true");
  const isDefault = async (): Promise<string | undefined> =>
    (await ok({ Action: "GetPolicy", PolicyArn })).text("Policy/DefaultVersionId");
  assert.equal(await isDefault(), "v3");
  await ok({ Action: "SetDefaultPolicyVersion", PolicyArn, VersionId: "v1" });
  assert.equal(await isDefault(), "v1");
  assert.equal(await code({ Action: "SetDefaultPolicyVersion", PolicyArn, VersionId: "v9" }), "404 NoSuchEntity");
  assert.equal(await code({ Action: "DeletePolicyVersion", PolicyArn, VersionId: "v1" }), "409 DeleteConflict");
  assert.equal(await code({ Action: "DeletePolicyVersion", PolicyArn, VersionId: "v9" }), "404 NoSuchEntity");
  await ok({ Action: "DeletePolicyVersion", PolicyArn, VersionId: "v3" });
  assert.equal((await create()).text("PolicyVersion/VersionId"), "v4");
  for (let count = 3; count < limits.policyVersionsMax; count++) await create();
  const further = { Action: "CreatePolicyVersion", PolicyArn, PolicyDocument: other };
  assert.equal(await code(further), "409 LimitExceeded");
  assert.equal(await code({ ...further, PolicyDocument: "{}" }), "400 MalformedPolicyDocument");
  const ids: (string | undefined)[] = [];
  for (let marker: Fields | undefined = {}; marker !== undefined;) {
    const listed = await ok({ Action: "ListPolicyVersions", PolicyArn, MaxItems: "2", ...marker });
    ids.push(listed.text("Versions/0/VersionId"), listed.text("Versions/1/VersionId"));
    const next: string | undefined = listed.text("Marker");
    marker = next === undefined ? undefined : { Marker: next };
  }
  assert.deepEqual(
    ids.filter((each) => each !== undefined),
    ["v6", "v5", "v4", "v2", "v1"],
  );
  assert.equal(await code({ Action: "DeletePolicy", PolicyArn }), "409 DeleteConflict");
  for (const VersionId of ["v2", "v4", "v5", "v6"]) await ok({ Action: "DeletePolicyVersion", PolicyArn, VersionId });
  await ok({ Action: "DeletePolicy", PolicyArn });
});

test("what a user may do follows the version that counts, from the next request on", async () => {
  const UserName = newName();
  await ok({ Action: "CreateUser", UserName });
  const keys = await door.identity.create({ owner: { kind: "user", account: door.account, user: UserName } });
  const PolicyArn = await newPolicy(policyOf({ Action: "iam:ListUsers", Resource: "*" }));
  await ok({ Action: "AttachUserPolicy", UserName, PolicyArn });
  const may = async (): Promise<string[]> => [
    await code({ Action: "ListUsers" }, keys),
    await code({ Action: "ListRoles" }, keys),
  ];
  assert.deepEqual(await may(), ["200 OK", "403 AccessDenied"]);
  const PolicyDocument = policyOf({ Action: "iam:ListRoles", Resource: "*" });
  await ok({ Action: "CreatePolicyVersion", PolicyArn, PolicyDocument });
  assert.deepEqual(await may(), ["200 OK", "403 AccessDenied"]);
  for (const [VersionId, expected] of [
    ["v2", ["403 AccessDenied", "200 OK"]],
    ["v1", ["200 OK", "403 AccessDenied"]],
  ] as const) {
    await ok({ Action: "SetDefaultPolicyVersion", PolicyArn, VersionId });
    assert.deepEqual(await may(), expected);
  }
});

test("versions need the permission of their action on the policy", async () => {
  const UserName = newName();
  await ok({ Action: "CreateUser", UserName });
  const keys = await door.identity.create({ owner: { kind: "user", account: door.account, user: UserName } });
  const [own, other] = [await newPolicy(), await newPolicy()];
  const grant = { Action: "iam:CreatePolicyVersion", Resource: own };
  const document = { PolicyName: "own", PolicyDocument: policyOf(grant) };
  await ok({ Action: "PutUserPolicy", UserName, ...document });
  const create = (PolicyArn: string) =>
    code({ Action: "CreatePolicyVersion", PolicyArn, PolicyDocument: anything }, keys);
  assert.deepEqual([await create(own), await create(other)], ["200 OK", "403 AccessDenied"]);
  for (const Action of ["SetDefaultPolicyVersion", "DeletePolicyVersion", "GetPolicyVersion"])
    assert.equal(await code({ Action, PolicyArn: own, VersionId: "v2" }, keys), "403 AccessDenied", Action);
});

test("groups show their members, and users their groups", async () => {
  const [GroupName, UserName] = [newName(), newName()];
  await ok({ Action: "CreateGroup", GroupName });
  await ok({ Action: "CreateUser", UserName });
  await ok({ Action: "AddUserToGroup", GroupName, UserName });
  assert.equal((await ok({ Action: "GetGroup", GroupName })).text("Users/0/UserName"), UserName);
  assert.equal((await ok({ Action: "ListGroupsForUser", UserName })).text("Groups/0/GroupName"), GroupName);
  const renamed = newName();
  await ok({ Action: "UpdateGroup", GroupName, NewGroupName: renamed });
  assert.equal(await code({ Action: "GetGroup", GroupName }), "404 NoSuchEntity");
  assert.equal((await ok({ Action: "GetGroup", GroupName: renamed })).text("Users/0/UserName"), UserName);
  assert.equal((await ok({ Action: "ListGroupsForUser", UserName })).text("Groups/0/GroupName"), renamed);
  await ok({ Action: "UpdateGroup", GroupName: renamed, NewGroupName: GroupName });
  await ok({ Action: "RemoveUserFromGroup", GroupName, UserName });
  const NewGroupName = newName();
  await ok({ Action: "UpdateGroup", GroupName, NewGroupName, NewPath: "/x/" });
  assert.equal((await ok({ Action: "GetGroup", GroupName: NewGroupName })).text("Group/Path"), "/x/");
});

test("a role is made, changed, tagged and bounded", async () => {
  const RoleName = newName();
  const boundary = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
  const given = {
    AssumeRolePolicyDocument: trust,
    MaxSessionDuration: "43200",
    Description: "d",
    PermissionsBoundary: boundary,
  };
  const made = await ok({ Action: "CreateRole", RoleName, ...given });
  assert.equal(decodeURIComponent(made.text("Role/AssumeRolePolicyDocument")!), trust);
  assert.equal(made.text("Role/PermissionsBoundary/PermissionsBoundaryArn"), boundary);
  await ok({ Action: "UpdateRole", RoleName, MaxSessionDuration: "3600" });
  const changed = await ok({ Action: "GetRole", RoleName });
  assert.deepEqual([changed.text("Role/Description"), changed.text("Role/MaxSessionDuration")], ["d", "3600"]);
  await ok({ Action: "TagRole", RoleName, "Tags.member.1.Key": "Team", "Tags.member.1.Value": "x" });
  await ok({ Action: "TagRole", RoleName, "Tags.member.1.Key": "team", "Tags.member.1.Value": "y" });
  assert.equal((await ok({ Action: "ListRoleTags", RoleName })).text("Tags/0/Value"), "y");
  await ok({ Action: "UntagRole", RoleName, "TagKeys.member.1": "TEAM" });
  assert.equal((await ok({ Action: "ListRoleTags", RoleName })).text("Tags/0/Value"), undefined);
  const bad = { Action: "UpdateAssumeRolePolicy", RoleName, PolicyDocument: anything };
  assert.equal(await code(bad), "400 MalformedPolicyDocument");
  assert.equal(await code({ Action: "UpdateRole", RoleName, MaxSessionDuration: "60" }), "400 ValidationError");
  await ok({ Action: "DeleteRolePermissionsBoundary", RoleName });
  await ok({ Action: "DeleteRole", RoleName });
});

test("whoever has no policy for it may do nothing, to things that are not there either", async () => {
  const user = await newUser();
  for (const fields of [
    { Action: "GetUser" },
    { Action: "GetUser", UserName: "nobody-at-all" },
    { Action: "CreateUser", UserName: newName() },
    { Action: "ListRoles" },
    { Action: "AttachUserPolicy", UserName: user.name, PolicyArn: "arn:aws:iam::aws:policy/AdministratorAccess" },
    { Action: "PutUserPolicy", UserName: user.name, PolicyName: "p", PolicyDocument: anything },
  ])
    assert.equal(await code(fields, user), "403 AccessDenied", fields.Action);
});

test("every action is judged before it is run", async () => {
  const user = await newUser();
  const all = {
    UserName: "x",
    GroupName: "x",
    RoleName: "x",
    PolicyName: "x",
    AccessKeyId: "x",
    PolicyDocument: anything,
  };
  const more = { PolicyArn: "arn:aws:iam::aws:policy/x", AssumeRolePolicyDocument: trust, PermissionsBoundary: "x" };
  const oidc = { Url: "https://x", OpenIDConnectProviderArn: "x" };
  const { iamActionNames } = await import("./iam.ts");
  assert.ok(iamActionNames.length > 50);
  for (const Action of iamActionNames)
    assert.equal(await code({ Action, ...all, ...more, ...oidc }, user), "403 AccessDenied", Action);
});

test("policies of IAM see paths, attached policies, boundaries and tags", async () => {
  const readOnly = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
  const admin = await newUser(
    {
      Action: "iam:CreateUser",
      Resource: "arn:aws:iam::*:user/team/*",
      Condition: { StringEquals: { "iam:PermissionsBoundary": readOnly } },
    },
    { Action: "iam:AttachUserPolicy", Resource: "*", Condition: { ArnEquals: { "iam:PolicyARN": readOnly } } },
    { Action: "iam:DeleteUser", Resource: "*", Condition: { StringEquals: { "iam:ResourceTag/team": "x" } } },
    { Action: "iam:TagUser", Resource: "*", Condition: { StringEquals: { "aws:RequestTag/team": ["x", "y"] } } },
  );
  const UserName = newName();
  const create = { Action: "CreateUser", UserName, Path: "/team/" };
  assert.equal(await code(create, admin), "403 AccessDenied");
  assert.equal(await code({ ...create, Path: "/", PermissionsBoundary: readOnly }, admin), "403 AccessDenied");
  assert.equal(await code({ ...create, PermissionsBoundary: readOnly }, admin), "200 OK");
  const attach = { Action: "AttachUserPolicy", UserName };
  const everything = "arn:aws:iam::aws:policy/AdministratorAccess";
  assert.equal(await code({ ...attach, PolicyArn: everything }, admin), "403 AccessDenied");
  assert.equal(await code({ ...attach, PolicyArn: readOnly }, admin), "200 OK");
  await ok({ Action: "DetachUserPolicy", UserName, PolicyArn: readOnly });
  const tag = (value: string): Fields => ({
    Action: "TagUser",
    UserName,
    "Tags.member.1.Key": "team",
    "Tags.member.1.Value": value,
  });
  assert.equal(await code(tag("z"), admin), "403 AccessDenied");
  assert.equal(await code(tag("y"), admin), "200 OK");
  assert.equal(await code({ Action: "DeleteUser", UserName }, admin), "403 AccessDenied");
  assert.equal(await code(tag("x"), admin), "200 OK");
  assert.equal(await code({ Action: "DeleteUser", UserName }, admin), "200 OK");
});

test("a parameter that an action does nothing with makes no condition hold", async () => {
  const readOnly = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
  const bounded = { StringEquals: { "iam:PermissionsBoundary": readOnly } };
  const tagged = { StringEquals: { "aws:RequestTag/team": "x" } };
  const admin = await newUser(
    { Action: "iam:*UserPolicy", Resource: "*", Condition: bounded },
    { Action: "iam:DeleteUser", Resource: "*", Condition: tagged },
  );
  const UserName = newName();
  await ok({ Action: "CreateUser", UserName });
  const more = { UserName, PermissionsBoundary: readOnly, "Tags.member.1.Key": "team", "Tags.member.1.Value": "x" };
  const attach = { Action: "AttachUserPolicy", PolicyArn: "arn:aws:iam::aws:policy/AdministratorAccess" };
  assert.equal(await code({ ...attach, ...more }, admin), "403 AccessDenied");
  assert.equal(await code({ Action: "DeleteUser", ...more }, admin), "403 AccessDenied");
  await ok({ Action: "PutUserPermissionsBoundary", UserName, PermissionsBoundary: readOnly });
  assert.equal(await code({ ...attach, UserName }, admin), "200 OK");
});

test("a user is only moved to where the caller may move it", async () => {
  const admin = await newUser({ Action: "iam:UpdateUser", Resource: "arn:aws:iam::*:user/team/*" });
  const UserName = newName();
  await ok({ Action: "CreateUser", UserName, Path: "/team/" });
  assert.equal(await code({ Action: "UpdateUser", UserName, NewPath: "/admins/" }, admin), "403 AccessDenied");
  assert.equal(await code({ Action: "UpdateUser", UserName, NewPath: "/team/a/" }, admin), "200 OK");
});

test("a key that is nobody's manages no users: it could make one who runs the store", async () => {
  const nobodys = await door.identity.create({});
  const UserName = newName();
  assert.equal(await code({ Action: "CreateUser", UserName }, nobodys), "403 AccessDenied");
  assert.equal(await code({ Action: "ListUsers" }, nobodys), "403 AccessDenied");
  assert.equal(await code({ Action: "GetUser", UserName }), "404 NoSuchEntity");
});

test("an account's root sees and changes its own account only", async () => {
  const other = await door.identity.directory.createAccount("tenant");
  const theirs = await door.identity.create({ owner: { kind: "account", account: other.account } });
  const UserName = newName();
  await ok({ Action: "CreateUser", UserName });
  assert.equal(await code({ Action: "GetUser", UserName }, theirs), "404 NoSuchEntity");
  assert.equal((await ok({ Action: "GetUser" }, theirs)).text("User/Arn"), `arn:aws:iam::${other.account}:root`);
  await ok({ Action: "CreateUser", UserName }, theirs);
  const PolicyArn = (await ok({ Action: "CreatePolicy", PolicyName: newName(), PolicyDocument: anything })).text(
    "Policy/Arn",
  )!;
  assert.equal(await code({ Action: "GetPolicy", PolicyArn }, theirs), "404 NoSuchEntity");
  assert.equal(await code({ Action: "DeletePolicy", PolicyArn }, theirs), "404 NoSuchEntity");
});

test("what is no request of IAM's is refused in IAM's words", async () => {
  assert.equal(await code({ Action: "CreateServiceLinkedRole" }), "400 InvalidAction");
  assert.equal(await code({ Action: "GetUser", Version: "2009-01-01" }), "400 InvalidAction");
  assert.equal(await code({ Action: "CreateUser" }), "400 MissingParameter");
  assert.equal(await code({ Action: "CreateUser", UserName: "a b" }), "400 ValidationError");
  const form = (text: string, type?: string) =>
    door.send(
      Buffer.from(text, "latin1"),
      "iam",
      { accessKey: "root", secretKey: "root-secret" },
      type === undefined ? {} : { "content-type": type },
    );
  const start = "Version=2010-05-08&Action=GetUser";
  assert.equal(codeOf(await form(`${start}&UserName=%zz`)), "400 MalformedInput");
  assert.equal(codeOf(await form(`${start}&UserName=%ff`)), "400 MalformedInput");
  assert.equal(codeOf(await form(`${start}&Action=ListUsers`)), "400 MalformedInput");
  assert.equal(codeOf(await form(`${start}${"&a=b".repeat(1_001)}`)), "400 MalformedInput");
  assert.equal(codeOf(await form(`${start}&x=${"a".repeat(200_000)}`)), "413 RequestEntityTooLarge");
  assert.equal((await form(start, "application/json")).status, 418);
});

test("a body that is not the one that was signed is refused, also where it says it is", async () => {
  const { host } = new URL(door.origin);
  const type = { "content-type": "application/x-www-form-urlencoded" };
  const payloadHash = createHash("sha256").update("Version=2010-05-08&Action=GetUser").digest("hex");
  const to = { method: "POST", rawPath: "/", region: "us-east-1", service: "iam", nowMs: Date.now() };
  const { headers } = signRequest({ ...to, ...root, headers: { host, ...type }, payloadHash });
  const { host: _, ...sent } = headers;
  const answerTo = async (body: string): Promise<number> =>
    (await fetch(door.origin, { method: "POST", headers: sent, body })).status;
  assert.equal(await answerTo("Version=2010-05-08&Action=GetUser"), 200);
  assert.equal(await answerTo("Version=2010-05-08&Action=ListUsers"), 403);
});

test("whatever stands in the form, the answer is a refusal or a result and never a failure", async () => {
  const { iamActionNames } = await import("./iam.ts");
  const names = [
    "UserName",
    "GroupName",
    "RoleName",
    "PolicyArn",
    "PolicyDocument",
    "OpenIDConnectProviderArn",
    "Url",
    "ClientID",
    "Path",
    "PathPrefix",
    "Marker",
    "MaxItems",
  ];
  const field = fc.tuple(
    fc.constantFrom(...names, "Tags.member.1.Key", "Tags.member.1.Value"),
    fc.string({ unit: "binary" }),
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...iamActionNames), fc.array(field, { maxLength: 6 }), async (Action, fields) => {
      const answer = await door.iam({ Action, ...Object.fromEntries(fields) });
      assert.ok(answer.status < 500, answer.text);
    }),
    { numRuns: 150 },
  );
});

/** Identity providers, and who is let into a role by a token of theirs. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { limits } from "../core/limits.ts";
import { newKey, openIssuer, signed, type Claimed, type TestIssuer, type TestKey } from "../oidc/issuer.fixture.ts";
import { judge } from "../policy/evaluate.ts";
import { requestKeys } from "../policy/request_keys.ts";
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
let issuer: TestIssuer;
let key: TestKey;
/** Without the `http://`. */
let name: string;
let provider: string;
let numbers = 0;
before(async () => {
  door = await openDoor({ clock, allowsPlainLoopback: true });
  issuer = await openIssuer();
  key = await newKey("a key");
  issuer.publish(key);
  name = issuer.url.replace("http://", "");
  const made = await door.iam({
    Action: "CreateOpenIDConnectProvider",
    Url: issuer.url,
    "ClientIDList.member.1": "app",
  });
  provider = at(made.xml, "CreateOpenIDConnectProviderResult/OpenIDConnectProviderArn")!;
  assert.equal(provider, `arn:aws:iam::${door.account}:oidc-provider/${name}`);
});
after(async () => {
  await door.close();
  await issuer.close();
});

const newName = (): string => `n${(numbers += 1)}`;

function token(change: Claimed = {}): Promise<string> {
  const seconds = Math.floor(clock.nowMs() / 1_000);
  return signed(key, { iss: issuer.url, sub: "ada", aud: "app", iat: seconds, exp: seconds + 3_600, ...change });
}

const trusting = (more: object = {}): string =>
  policyOf({ Action: "sts:AssumeRoleWithWebIdentity", Principal: { Federated: provider }, ...more });
const withTags = (more: object = {}): string =>
  trusting({ Action: ["sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"], ...more });

async function newRole(trust: string, ...statements: object[]): Promise<string> {
  const { directory } = door.identity;
  const { account } = door;
  const role = newName();
  const { arn } = await directory.createRole({ account, name: role, trust, sessionSecondsMax: 7_200 });
  const document = policyOf(...statements);
  if (statements.length > 0)
    await directory.putInlinePolicy({ kind: "role", account, name: role }, { name: "own", document });
  return arn;
}

/** Signed by nobody. */
function assume(arn: string, jwt: string, more: Fields = {}): Promise<Answer> {
  const fields = { RoleArn: arn, RoleSessionName: "work", WebIdentityToken: jwt, ...more };
  const form = { Action: "AssumeRoleWithWebIdentity", Version: "2011-06-15", ...fields };
  return door.send(Buffer.from(new URLSearchParams(form).toString()), "sts", undefined);
}

function keysIn({ xml, text }: Answer): Keys & { readonly token: string } {
  const found = ["AccessKeyId", "SecretAccessKey", "SessionToken"].map((element) =>
    at(xml, `AssumeRoleWithWebIdentityResult/Credentials/${element}`),
  );
  const [accessKey, secretKey, sessionToken] = found;
  assert.ok(accessKey !== undefined && secretKey !== undefined && sessionToken !== undefined, text);
  return { accessKey, secretKey, token: sessionToken };
}

/** Whether the session's policies let it, with what its requests bring to conditions. */
async function may({ accessKey, token: sessionToken }: Keys, action: string, resource: string): Promise<string> {
  const found = await door.identity.find(accessKey, sessionToken);
  assert.ok(found !== undefined && found.access !== "full");
  const { caller, policies } = found.access;
  const { account: resourceAccount } = door;
  const keys = requestKeys({
    caller,
    action,
    resourceAccount,
    nowMs: clock.nowMs(),
    sourceIp: undefined,
    isSecure: false,
    tlsVersion: undefined,
    region: "",
    headers: new Map(),
    query: new Map(),
    signature: undefined,
  });
  return judge({ caller, action, resource, resourceAccount, keys }, policies).outcome;
}

test("who has a token of a trusted provider gets the role, without a key of the store's", async () => {
  const arn = await newRole(trusting(), { Action: "s3:GetObject", Resource: "*" });
  const answer = await assume(arn, await token());
  const result = (path: string) => at(answer.xml, `AssumeRoleWithWebIdentityResult/${path}`);
  const keys = keysIn(answer);
  assert.deepEqual(
    ["SubjectFromWebIdentityToken", "Audience", "Provider"].map(result),
    ["ada", "app", issuer.url],
    answer.text,
  );
  assert.match(result("AssumedRoleUser/Arn")!, /:assumed-role\/n\d+\/work$/);
  const who = await door.sts({ Action: "GetCallerIdentity" }, keys);
  assert.equal(at(who.xml, "GetCallerIdentityResult/Arn"), result("AssumedRoleUser/Arn"));
  assert.equal(await may(keys, "s3:GetObject", "arn:aws:s3:::b/k"), "allow");
  assert.equal(await may(keys, "s3:PutObject", "arn:aws:s3:::b/k"), "implicit_deny");
});

test("the trust policy decides by the token's claims", async () => {
  const audience = { StringEquals: { [`${name}:aud`]: "app", [`${name}:sub`]: "ada" } };
  const arn = await newRole(trusting({ Condition: audience }));
  assert.equal(codeOf(await assume(arn, await token())), "200 OK");
  assert.equal(codeOf(await assume(arn, await token({ sub: "bob" }))), "403 AccessDenied");
  const byMethod = await newRole(trusting({ Condition: { "ForAnyValue:StringEquals": { [`${name}:amr`]: "otp" } } }));
  assert.equal(codeOf(await assume(byMethod, await token({ amr: ["pwd", "otp"] }))), "200 OK");
  assert.equal(codeOf(await assume(byMethod, await token({ amr: ["pwd"] }))), "403 AccessDenied");
  assert.equal(codeOf(await assume(byMethod, await token())), "403 AccessDenied");
  const byName = await newRole(trusting({ Condition: { StringLike: { "sts:RoleSessionName": "w*" } } }));
  assert.equal(codeOf(await assume(byName, await token())), "200 OK");
  assert.equal(codeOf(await assume(byName, await token(), { RoleSessionName: "other" })), "403 AccessDenied");
  const denied = policyOf(
    { Action: "sts:AssumeRoleWithWebIdentity", Principal: { Federated: provider } },
    { Effect: "Deny", Action: "*", Principal: "*", Condition: { StringLike: { [`${name}:sub`]: "a*" } } },
  );
  assert.equal(codeOf(await assume(await newRole(denied), await token())), "403 AccessDenied");
});

test("`aud` is the client that a token was issued to, and `oaud` those that it is for", async () => {
  await door.iam({
    Action: "AddClientIDToOpenIDConnectProvider",
    OpenIDConnectProviderArn: provider,
    ClientID: "phone",
  });
  const arn = await newRole(
    trusting({
      Condition: {
        StringEquals: { [`${name}:aud`]: "phone" },
        "ForAllValues:StringEquals": { [`${name}:oaud`]: ["app", "more"] },
      },
    }),
  );
  const answer = await assume(arn, await token({ aud: ["app", "more"], azp: "phone" }));
  assert.equal(at(answer.xml, "AssumeRoleWithWebIdentityResult/Audience"), "phone", answer.text);
  assert.equal(codeOf(await assume(arn, await token())), "403 AccessDenied");
});

test("a role that does not trust the provider, or only with a key, is denied like one that is not there", async () => {
  const strangers = [
    trusting({ Principal: { Federated: `${provider}x` } }),
    trusting({ Action: "sts:AssumeRole" }),
    trusting({ Action: "sts:*", Principal: { AWS: door.account } }),
  ];
  const jwt = await token();
  const answers = await Promise.all(strangers.map(async (trust) => assume(await newRole(trust), jwt)));
  answers.push(await assume(`arn:aws:iam::${door.account}:role/nobody`, jwt), await assume("role", jwt));
  assert.deepEqual(
    answers.map(codeOf),
    answers.map(() => "403 AccessDenied"),
  );
  assert.equal(new Set(answers.map(({ xml }) => at(xml, "Error/Message"))).size, 1);
});

test("tokens that do not hold are refused in STS's words", async () => {
  const arn = await newRole(trusting());
  const seconds = Math.floor(clock.nowMs() / 1_000);
  const stranger = await newKey("a key");
  const claims = { iss: issuer.url, sub: "ada", aud: "app", iat: seconds, exp: seconds + 60 };
  const cases: readonly (readonly [string, string])[] = [
    ["a.b.c", "400 InvalidIdentityToken"],
    [await token({ aud: "another" }), "400 InvalidIdentityToken"],
    [await token({ iss: "https://id.test" }), "400 InvalidIdentityToken"],
    [await token({ iss: issuer.url.toUpperCase() }), "400 InvalidIdentityToken"],
    [await token({ iss: issuer.url.replace("http:", "https:") }), "400 InvalidIdentityToken"],
    [await token({ iat: seconds + 3_000 }), "400 InvalidIdentityToken"],
    [await token({ exp: seconds }), "400 ExpiredTokenException"],
    [await signed(stranger, claims), "400 InvalidIdentityToken"],
    [await token({ sub: undefined }), "400 InvalidIdentityToken"],
  ];
  for (const [jwt, code] of cases) assert.equal(codeOf(await assume(arn, jwt)), code, jwt);
  assert.equal(codeOf(await assume(arn, await token(), { WebIdentityToken: "" })), "400 MissingParameter");
  assert.equal(codeOf(await assume(arn, await token(), { ProviderId: "www.amazon.com" })), "400 ValidationError");
});

test("an issuer that is away is said to be so", async () => {
  const away = await openIssuer();
  away.answer = (_, res) => void res.destroy();
  const made = await door.identity.directory.createOidcProvider({
    account: door.account,
    url: away.url,
    clientIds: ["app"],
  });
  const arn = await newRole(trusting({ Principal: { Federated: made.arn } }));
  assert.equal(codeOf(await assume(arn, await token({ iss: away.url }))), "400 IDPCommunicationError");
  await away.close();
});

test("a session lasts as long as was asked for, within what the role allows, whatever the token's own time", async () => {
  const arn = await newRole(trusting());
  const seconds = Math.floor(clock.nowMs() / 1_000);
  const answer = await assume(arn, await token({ exp: seconds + 10 }), { DurationSeconds: "7200" });
  const ends = at(answer.xml, "AssumeRoleWithWebIdentityResult/Credentials/Expiration")!;
  assert.equal(Date.parse(ends), (seconds + 7_200) * 1_000);
  assert.equal(codeOf(await assume(arn, await token(), { DurationSeconds: "7201" })), "400 ValidationError");
  assert.equal(codeOf(await assume(arn, await token(), { DurationSeconds: "60" })), "400 ValidationError");
  assert.equal(codeOf(await assume(arn, await token(), { RoleSessionName: "a b" })), "400 ValidationError");
  assert.equal(codeOf(await assume(arn, await token(), { Policy: "{" })), "400 MalformedPolicyDocument");
});

test("session policies bound it", async () => {
  const arn = await newRole(trusting(), { Action: "s3:*", Resource: "*" });
  const Policy = policyOf({ Action: "s3:GetObject", Resource: "*" });
  const keys = keysIn(await assume(arn, await token(), { Policy }));
  assert.equal(await may(keys, "s3:GetObject", "arn:aws:s3:::b/k"), "allow");
  assert.equal(await may(keys, "s3:PutObject", "arn:aws:s3:::b/k"), "implicit_deny");
});

test("policies of the session see who is behind it: everybody has a folder of their own", async () => {
  const folder = { Action: "s3:*", Resource: `arn:aws:s3:::homes/\${${name}:sub}/*` };
  const from = { StringEquals: { "aws:FederatedProvider": provider }, Null: { [`${name}:email`]: "true" } };
  const arn = await newRole(trusting(), { ...folder, Condition: from });
  const keys = keysIn(await assume(arn, await token()));
  assert.equal(await may(keys, "s3:PutObject", "arn:aws:s3:::homes/ada/x"), "allow");
  assert.equal(await may(keys, "s3:PutObject", "arn:aws:s3:::homes/bob/x"), "implicit_deny");
  const withMail = keysIn(await assume(arn, await token({ email: "ada@id.test" })));
  assert.equal(await may(withMail, "s3:PutObject", "arn:aws:s3:::homes/ada/x"), "implicit_deny");
});

test("a token brings tags and a source identity, where the role lets them be set", async () => {
  const tagged = { "https://aws.amazon.com/tags": { principal_tags: { Team: ["blue"], Level: "7" } } };
  const flat = { "https://aws.amazon.com/tags/principal_tags/Team": ["blue"] };
  const sourced = { "https://aws.amazon.com/source_identity": "ada@work" };
  const plain = await newRole(trusting());
  for (const claims of [tagged, flat, sourced])
    assert.equal(codeOf(await assume(plain, await token(claims))), "403 AccessDenied", JSON.stringify(claims));
  const blue = { StringEquals: { "aws:RequestTag/Team": "blue" } };
  const arn = await newRole(withTags({ Condition: blue }), {
    Action: "s3:*",
    Resource: "arn:aws:s3:::teams/${aws:PrincipalTag/Team}/*",
  });
  for (const claims of [tagged, flat]) {
    const keys = keysIn(await assume(arn, await token(claims)));
    assert.equal(await may(keys, "s3:GetObject", "arn:aws:s3:::teams/blue/x"), "allow");
    assert.equal(await may(keys, "s3:GetObject", "arn:aws:s3:::teams/red/x"), "implicit_deny");
  }
  assert.equal(codeOf(await assume(arn, await token())), "403 AccessDenied", "no tag, no role");
  const open = await newRole(withTags());
  const answer = await assume(open, await token(sourced));
  assert.equal(at(answer.xml, "AssumeRoleWithWebIdentityResult/SourceIdentity"), "ada@work", answer.text);
});

test("claims for AWS that say nothing sensible are rejected", async () => {
  const arn = await newRole(withTags());
  const wrong = [
    { "https://aws.amazon.com/tags": "blue" },
    { "https://aws.amazon.com/tags": { principal_tags: { Team: ["a", "b"] } } },
    { "https://aws.amazon.com/tags": { principal_tags: { Team: 7 } } },
    { "https://aws.amazon.com/tags": { principal_tags: { Team: "a" }, transitive_tag_keys: ["Team"] } },
    { "https://aws.amazon.com/source_identity": 5 },
  ];
  for (const claims of wrong)
    assert.equal(codeOf(await assume(arn, await token(claims))), "403 IDPRejectedClaim", JSON.stringify(claims));
});

test("whatever stands in the form or in a token, the answer is a refusal or a result and never a failure", async () => {
  const open = await newRole(withTags());
  const fields = fc.dictionary(
    fc.constantFrom("RoleArn", "RoleSessionName", "DurationSeconds", "Policy", "ProviderId", "PolicyArns.member.1.arn"),
    fc.string({ unit: "binary" }),
    { maxKeys: 2 },
  );
  const names = ["iss", "sub", "aud", "azp", "amr", "email", "exp", "iat", "nbf", "__proto__"];
  const forAws = ["tags", "source_identity", "tags/principal_tags/a"].map((each) => `https://aws.amazon.com/${each}`);
  const claims = fc.dictionary(
    fc.constantFrom(...names, ...forAws),
    fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.string({ unit: "binary" }), fc.string()),
    { maxKeys: 3 },
  );
  await fc.assert(
    fc.asyncProperty(fields, claims, async (given, claimed) => {
      const answer = await assume(open, await token(claimed), given);
      assert.ok(answer.status < 500, answer.text);
    }),
    { numRuns: 200, seed: 11 },
  );
});

test("a provider that is gone, or has the client no more, lets nobody in; sessions last", async () => {
  const gone = await openIssuer("");
  gone.publish(key);
  const { url } = gone;
  const { directory } = door.identity;
  const { arn } = await directory.createOidcProvider({ account: door.account, url, clientIds: ["app"] });
  const role = await newRole(trusting({ Principal: { Federated: arn } }));
  const named = { OpenIDConnectProviderArn: arn };
  const keys = keysIn(await assume(role, await token({ iss: url })));
  const removal = { Action: "RemoveClientIDFromOpenIDConnectProvider", ...named, ClientID: "app" };
  for (let each = 0; each < 2; each++) assert.equal(codeOf(await door.iam(removal)), "200 OK");
  assert.equal(at((await assume(role, await token({ iss: url }))).xml, "Error/Message"), "Incorrect token audience");
  const deletion = { Action: "DeleteOpenIDConnectProvider", ...named };
  assert.equal(codeOf(await door.iam(deletion)), "200 OK");
  assert.equal(codeOf(await door.iam(deletion)), "404 NoSuchEntity");
  assert.match(
    at((await assume(role, await token({ iss: url }))).xml, "Error/Message")!,
    /^No OpenIDConnect provider found/,
  );
  assert.equal(codeOf(await door.sts({ Action: "GetCallerIdentity" }, keys)), "200 OK");
  await gone.close();
});

test("a provider comes back as it was made and changed", async () => {
  const thumbprint = "990F4193972F2BECF12DDEDA5237F9C952F20D9E";
  const made = await door.iam({
    Action: "CreateOpenIDConnectProvider",
    Url: "https://id.test/auth/realms/One",
    "ClientIDList.member.1": "a&b",
    "ClientIDList.member.2": "two",
    "ThumbprintList.member.1": thumbprint,
    "Tags.member.1.Key": "Team",
    "Tags.member.1.Value": "blue",
  });
  const arn = `arn:aws:iam::${door.account}:oidc-provider/id.test/auth/realms/One`;
  assert.equal(at(made.xml, "CreateOpenIDConnectProviderResult/OpenIDConnectProviderArn"), arn);
  assert.equal(at(made.xml, "CreateOpenIDConnectProviderResult/Tags/0/Value"), "blue");
  const named = { OpenIDConnectProviderArn: arn };
  const listed = await door.iam({ Action: "ListOpenIDConnectProviders" });
  assert.ok(listed.text.includes(`<member><Arn>${arn}</Arn></member>`), listed.text);
  const change = (fields: Fields) => door.iam({ ...named, ...fields });
  assert.equal(codeOf(await change({ Action: "AddClientIDToOpenIDConnectProvider", ClientID: "two" })), "200 OK");
  assert.equal(codeOf(await change({ Action: "AddClientIDToOpenIDConnectProvider", ClientID: "three" })), "200 OK");
  const other = "0".repeat(40);
  const prints = { Action: "UpdateOpenIDConnectProviderThumbprint", "ThumbprintList.member.1": other };
  assert.equal(codeOf(await change(prints)), "200 OK");
  const tag = { "Tags.member.1.Key": "Level", "Tags.member.1.Value": "7" };
  assert.equal(codeOf(await change({ Action: "TagOpenIDConnectProvider", ...tag })), "200 OK");
  assert.equal(codeOf(await change({ Action: "UntagOpenIDConnectProvider", "TagKeys.member.1": "Team" })), "200 OK");
  const { xml } = await change({ Action: "GetOpenIDConnectProvider" });
  const result = (path: string) => at(xml, `GetOpenIDConnectProviderResult/${path}`);
  assert.deepEqual(
    ["Url", "ClientIDList/0", "ClientIDList/1", "ClientIDList/2", "ClientIDList/3", "ThumbprintList/0"].map(result),
    ["id.test/auth/realms/One", "a&b", "two", "three", undefined, other],
  );
  assert.deepEqual(["Tags/0/Key", "Tags/1/Key"].map(result), ["Level", undefined]);
  const tags = await change({ Action: "ListOpenIDConnectProviderTags" });
  assert.equal(at(tags.xml, "ListOpenIDConnectProviderTagsResult/Tags/0/Value"), "7");
});

test("what is no provider is refused", async () => {
  const create = (fields: Fields) => door.iam({ Action: "CreateOpenIDConnectProvider", ...fields });
  const urls = [
    "",
    "id.test",
    "ftp://id.test",
    "https://",
    "https://id.test?x=1",
    "https://id.test/#x",
    "https://u@id.test",
    "https://id.test/a b",
    "https://id.test/%41",
    `https://id.test/${"x".repeat(250)}`,
    "https://-id.test",
  ];
  for (const Url of urls) assert.match(codeOf(await create({ Url })), /^400 (ValidationError|MissingParameter)$/, Url);
  const Url = "https://fine.test";
  assert.equal(codeOf(await create({ Url, "ClientIDList.member.1": "é" })), "400 ValidationError");
  assert.equal(codeOf(await create({ Url, "ThumbprintList.member.1": "x" })), "400 ValidationError");
  const ids = Array.from({ length: limits.oidcClientIdsMax + 1 }, (_, at) => [
    `ClientIDList.member.${at + 1}`,
    `${at}`,
  ]);
  assert.equal(codeOf(await create({ Url, ...(Object.fromEntries(ids) as Fields) })), "409 LimitExceeded");
  assert.equal(codeOf(await create({ Url })), "200 OK");
  assert.equal(codeOf(await create({ Url })), "409 EntityAlreadyExists");
  assert.equal(codeOf(await create({ Url: "https://FINE.test" })), "409 EntityAlreadyExists");
  for (const arn of [
    `arn:aws:iam::${door.account}:oidc-provider/FINE.test`,
    "x",
    `arn:aws:iam::111122223333:oidc-provider/fine.test`,
  ])
    assert.equal(
      codeOf(await door.iam({ Action: "GetOpenIDConnectProvider", OpenIDConnectProviderArn: arn })),
      "404 NoSuchEntity",
    );
});

test("without the operator's word no provider is without TLS", async () => {
  const strict = await openDoor({ clock });
  const asked = { Action: "CreateOpenIDConnectProvider", Url: issuer.url };
  assert.equal(codeOf(await strict.iam(asked)), "400 ValidationError");
  await strict.close();
});

test("an account has a hundred providers at most", async () => {
  const { account } = await door.identity.directory.createAccount("many");
  const { directory } = door.identity;
  for (let each = 0; each < limits.oidcProvidersMax; each++)
    await directory.createOidcProvider({ account, url: `https://id.test/${each}` });
  await assert.rejects(directory.createOidcProvider({ account, url: "https://id.test/more" }), /at most 100/);
  assert.equal((await directory.oidcProviders(account)).length, limits.oidcProvidersMax);
});

test("users manage providers as their policies let them, and providers of other accounts not at all", async () => {
  const { directory } = door.identity;
  const user = newName();
  const { account } = door;
  await directory.createUser({ account, name: user });
  const statement = {
    Action: "iam:*OpenIDConnectProvider*",
    Resource: `arn:aws:iam::${account}:oidc-provider/users.test/*`,
  };
  await directory.putInlinePolicy(
    { kind: "user", account, name: user },
    { name: "own", document: policyOf(statement) },
  );
  const keys = await door.identity.create({ owner: { kind: "user", account, user } });
  const create = (Url: string) => door.iam({ Action: "CreateOpenIDConnectProvider", Url }, keys);
  assert.equal(codeOf(await create("https://users.test/a")), "200 OK");
  assert.equal(codeOf(await create("https://others.test/a")), "403 AccessDenied");
  const get = { Action: "GetOpenIDConnectProvider", OpenIDConnectProviderArn: provider };
  assert.equal(codeOf(await door.iam(get, keys)), "403 AccessDenied");
});

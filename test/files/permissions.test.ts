/** Who may use the file API and the operator's door: what policies say, as at the S3 door. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { signRequest } from "../../src/gateway/sigv4.ts";
import { createServer, type HoldfastServer } from "../../src/index.ts";
import { basic } from "../server/harness.ts";

type Keys = { readonly accessKey: string; readonly secretKey: string; readonly token?: string };
let server: HoldfastServer;
before(async () => {
  server = await createServer({ memory: true });
});
after(() => server.close());

async function call(keys: Keys, method: string, place: string, body?: string): Promise<Response> {
  const { accessKey, secretKey, token } = keys;
  const headers = { ...basic(accessKey, secretKey), ...(token !== undefined && { "x-amz-security-token": token }) };
  return fetch(`${server.url}/_/${place}`, { method, headers, ...(body !== undefined && { body }) });
}

async function ask<T>(method: string, place: string, body?: object): Promise<T> {
  const answer = await call(server, method, `admin/${place}`, body && JSON.stringify(body));
  assert.ok(answer.ok, await answer.clone().text());
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

let users = 0;
async function userWith(...statements: object[]): Promise<Keys> {
  const name = `user-${(users += 1)}`;
  await ask("POST", "users", { name });
  const Statement = statements.map((each) => ({ Effect: "Allow", ...each }));
  const document = JSON.stringify({ Version: "2012-10-17", Statement });
  if (statements.length > 0) await ask("PUT", `users/${name}/inline/own`, { document });
  return ask("POST", "keys", { user: name });
}

const statusOf = async (...asked: Parameters<typeof call>): Promise<number> => (await call(...asked)).status;
const bucket = "arn:aws:s3:::files";

async function uploaded(): Promise<string> {
  const { id } = (await (await call(server, "PUT", "files?name=a.txt", "hello")).json()) as { id: string };
  return id;
}

test("a user without policies may do nothing with files", async () => {
  const id = await uploaded();
  const keys = await userWith();
  for (const [method, place] of [
    ["GET", "files"],
    ["GET", `files/${id}`],
    ["HEAD", `files/${id}`],
    ["GET", `files/${id}/chunks`],
    ["DELETE", `files/${id}`],
    ["GET", "files/nothing"],
  ] as const)
    assert.equal(await statusOf(keys, method, place), 403, `${method} ${place}`);
  assert.equal(await statusOf(keys, "PUT", "files?name=b.txt", "x"), 403);
  assert.equal(await statusOf(server, "GET", `files/${id}`), 200);
});

test("each call on files needs the action of S3 that does the same, and no more", async () => {
  const id = await uploaded();
  const reader = await userWith({ Action: "s3:GetObject", Resource: `${bucket}/*` });
  assert.equal(await (await call(reader, "GET", `files/${id}`)).text(), "hello");
  assert.equal(await statusOf(reader, "GET", `files/${id}/chunks`), 200);
  assert.equal(await statusOf(reader, "GET", "files"), 403);
  assert.equal(await statusOf(reader, "GET", "files/nothing"), 403);
  assert.equal(await statusOf(reader, "DELETE", `files/${id}`), 403);
  const lister = await userWith({ Action: "s3:ListBucket", Resource: bucket });
  assert.equal(await statusOf(lister, "GET", "files"), 200);
  assert.equal(await statusOf(lister, "GET", "files/nothing"), 404);
  assert.equal(await statusOf(lister, "GET", `files/${id}`), 403);
  const writer = await userWith({ Action: "s3:PutObject", Resource: `${bucket}/*` });
  assert.equal(await statusOf(writer, "PUT", "files?name=b.txt", "x"), 201);
  const remover = await userWith({ Action: "s3:DeleteObject", Resource: `${bucket}/*` });
  assert.equal(await statusOf(remover, "DELETE", `files/${id}`), 204);
});

test("another account's key may do nothing with files, and nothing at the operator's door", async () => {
  const id = await uploaded();
  const { account } = await ask<{ account: string }>("POST", "accounts", { name: "tenant" });
  const own = await ask<Keys>("POST", "keys", { account });
  for (const place of ["files", `files/${id}`, "admin/status", "admin/keys", "admin/users"])
    assert.equal(await statusOf(own, "GET", place), 403, place);
});

test("the operator's door: each call for whom a policy allows its action, and for nobody else", async () => {
  const all = "*";
  const store = "arn:aws:holdfast:::store";
  const looks = ["admin/status", "admin/cluster", "admin/usage", "admin/explain?bucket=files&key=x"];
  const manages = ["admin/keys", "admin/users", "admin/groups", "admin/policies", "admin/accounts"];
  const may = async (keys: Keys, places: readonly string[]): Promise<boolean[]> =>
    Promise.all(places.map(async (place) => (await statusOf(keys, "GET", place)) !== 403));
  const everywhere = [...looks, ...manages];
  const yes = (places: readonly string[]) => everywhere.map((place) => places.includes(place));
  assert.deepEqual(await may(await userWith(), everywhere), yes([]));
  assert.deepEqual(await may(await userWith({ Action: "s3:*", Resource: all }), everywhere), yes([]));
  const looker = await userWith({ Action: "holdfast:ReadStatus", Resource: store });
  assert.deepEqual(await may(looker, everywhere), yes(looks));
  const manager = await userWith({ Action: "holdfast:ManageIdentities", Resource: store });
  assert.deepEqual(await may(manager, everywhere), yes(manages));
  const everything = { Action: "*", Resource: all };
  assert.deepEqual(await may(await userWith(everything), everywhere), yes(everywhere));
  const denied = { Effect: "Deny", Action: "holdfast:Manage*", Resource: all };
  assert.deepEqual(await may(await userWith(everything, denied), everywhere), yes(looks));
  const plain = await ask<Keys>("POST", "keys", {});
  assert.deepEqual(await may(plain, everywhere), yes(looks));
  const body = JSON.stringify({ redundancy: null });
  assert.equal(await statusOf(looker, "PUT", "admin/buckets/files", body), 403);
  const changer = await userWith({ Action: "holdfast:ChangeBuckets", Resource: store });
  assert.equal(await statusOf(changer, "PUT", "admin/buckets/files", body), 200);
  const drive = JSON.stringify({ membership: "active" });
  assert.equal(await statusOf(changer, "PUT", "admin/drives/none", drive), 403);
});

const textIn = (xml: string, name: string): string => new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1] ?? "";

async function sts(keys: Keys, fields: Readonly<Record<string, string>>): Promise<Keys> {
  const body = new URLSearchParams({ Version: "2011-06-15", ...fields }).toString();
  const { headers } = signRequest({
    accessKey: keys.accessKey,
    secretKey: keys.secretKey,
    region: "us-east-1",
    service: "sts",
    method: "POST",
    rawPath: "/",
    headers: { host: new URL(server.url).host, "content-type": "application/x-www-form-urlencoded" },
    payloadHash: createHash("sha256").update(body).digest("hex"),
    nowMs: Date.now(),
  });
  const answer = await fetch(server.url, { method: "POST", headers, body });
  const xml = await answer.text();
  assert.equal(answer.status, 200, xml);
  const [accessKey, secretKey] = [textIn(xml, "AccessKeyId"), textIn(xml, "SecretAccessKey")];
  return { accessKey, secretKey, token: textIn(xml, "SessionToken") };
}

const nobodyTrusted = JSON.stringify({
  Statement: { Effect: "Deny", Action: "sts:AssumeRole", Principal: { AWS: "*" } },
});

test("the session of a role may what the role may, with files and at the operator's door", async () => {
  const id = await uploaded();
  const user = await userWith({ Action: "sts:AssumeRole", Resource: "*" });
  // Other tests make accounts too: this one's own is in the name of what is made in it.
  const { arn } = await ask<{ arn: string }>("POST", "roles", { name: "day", trust: nobodyTrusted });
  const Principal = { AWS: arn.split(":")[4] };
  const documentOf = (statement: object) => JSON.stringify({ Statement: { Effect: "Allow", ...statement } });
  const trust = documentOf({ Action: "sts:AssumeRole", Principal });
  const role = await ask<{ arn: string }>("POST", "roles", { name: "night", trust });
  const session = { Action: "AssumeRole", RoleArn: role.arn, RoleSessionName: "work" };
  const keys = await sts(user, session);
  const statuses = async (who: Keys) =>
    Promise.all(["files", `files/${id}`, "admin/status", "admin/keys"].map((place) => statusOf(who, "GET", place)));
  assert.deepEqual(await statuses(keys), [403, 403, 403, 403]);
  const document = documentOf({ Action: ["s3:GetObject", "holdfast:*"], Resource: "*" });
  await ask("PUT", "roles/night/inline/own", { document });
  assert.deepEqual(await statuses(keys), [403, 200, 200, 200]);
  const bounded = await sts(user, { ...session, Policy: documentOf({ Action: "s3:*", Resource: "*" }) });
  assert.deepEqual(await statuses(bounded), [403, 200, 403, 403]);
  const { accessKey, secretKey, token } = keys;
  assert.deepEqual(await statuses({ accessKey, secretKey }), [401, 401, 401, 401]);
  assert.deepEqual(await statuses({ accessKey, secretKey: "another-secret", token: token! }), [401, 401, 401, 401]);
  assert.equal(await statusOf({ accessKey, secretKey, token: bounded.token! }, "GET", `files/${id}`), 403);
});

test("a user's own session may what the user may, but changes no identities", async () => {
  const user = await userWith({ Action: "*", Resource: "*" });
  const keys = await sts(user, { Action: "GetSessionToken" });
  assert.equal(await statusOf(keys, "GET", "files"), 200);
  assert.equal(await statusOf(keys, "GET", "admin/status"), 200);
  assert.equal(await statusOf(keys, "GET", "admin/keys"), 403);
  assert.equal(await statusOf(user, "GET", "admin/keys"), 200);
});

/** Users, groups and policies from the command line, as far as what they may then do; and the door behind it. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { runCli, environmentFor, useCli } from "./cli.fixture.ts";

const cli = useCli();
type Json = Record<string, unknown>;

async function done(...args: string[]): Promise<string> {
  const { status, output, errors } = await cli.run(...args);
  assert.deepEqual([status, errors], [0, ""], args.join(" "));
  return output;
}

async function json(...args: string[]): Promise<Json> {
  return JSON.parse(await done(...args, "--json")) as Json;
}

/** The command as it ends for the user whose key this is. */
async function as(key: Json, ...args: string[]): Promise<{ status: number | null; errors: string }> {
  const env = { ...environmentFor(cli.server()), HOLDFAST_ACCESS_KEY: String(key["accessKey"]) };
  return runCli(args, cli.folder(), { ...env, HOLDFAST_SECRET_KEY: String(key["secretKey"]) });
}

function policyFile(name: string, statement: object): string {
  const file = path.join(cli.folder(), name);
  writeFileSync(file, JSON.stringify({ Version: "2012-10-17", Statement: { Effect: "Allow", ...statement } }));
  return file;
}

test("a user gets a key, then a policy of its own, a group's and a managed one, and loses them again", async () => {
  const list = { Action: "s3:ListBucket", Resource: "arn:aws:s3:::things" };
  assert.match(await done("user", "create", "ada"), /^user ada created: arn:aws:iam::\d{12}:user\/ada\n$/);
  const key = await json("key", "create", "--user", "ada");
  assert.match((await as(key, "ls", "things")).errors, /is not authorized to perform: s3:ListBucket/);
  await done("user", "allow", "ada", "listing", policyFile("list.json", list));
  assert.equal((await as(key, "ls", "things")).status, 0);
  await done("user", "disallow", "ada", "listing");
  assert.equal((await as(key, "ls", "things")).status, 1);

  await done("group", "create", "readers");
  await done("group", "attach", "readers", "AmazonS3ReadOnlyAccess");
  await done("user", "join", "ada", "readers");
  assert.equal((await as(key, "ls", "things")).status, 0);
  await done("policy", "create", "nothing", policyFile("nothing.json", { Action: "s3:PutObject", Resource: "*" }));
  await done("user", "bound", "ada", "nothing");
  assert.match((await as(key, "ls", "things")).errors, /no permissions boundary allows/);
  await done("policy", "set", "nothing", policyFile("more.json", { Action: "s3:*", Resource: "*" }));
  assert.equal((await as(key, "ls", "things")).status, 0);
  assert.match(await done("policy", "use", "nothing", "v1"), /policy nothing is what its version v1 says/);
  assert.match((await as(key, "ls", "things")).errors, /no permissions boundary allows/);
  assert.match((await cli.run("policy", "use", "nothing", "v9")).errors, /There is no version v9 of the policy/);
  const policy = await json("policy", "show", "nothing");
  const ids = (policy["versions"] as { version: string }[]).map(({ version }) => version);
  assert.deepEqual([policy["version"], ids], ["v1", ["v1", "v2"]]);
  await done("user", "bound", "ada", "none");

  const shown = await json("user", "show", "ada");
  assert.deepEqual([shown["groups"], shown["accessKeys"], shown["boundary"]], [["readers"], [key["accessKey"]], null]);
  assert.match(await done("key", "list"), new RegExp(`${String(key["accessKey"])}  user ada  `));
  assert.match((await cli.run("user", "remove", "ada")).errors, /still has access keys, policies or groups/);
  await done("user", "leave", "ada", "readers");
  await done("group", "detach", "readers", "AmazonS3ReadOnlyAccess");
  await done("key", "remove", String(key["accessKey"]));
  for (const args of [
    ["user", "ada"],
    ["group", "readers"],
    ["policy", "nothing"],
  ])
    await done(args[0]!, "remove", args[1]!);
  for (const what of ["user", "group", "policy"]) assert.equal(await done(what, "list"), "");
});

test("a role is made and changed, and goes again", async () => {
  const trust = { Action: "sts:AssumeRole", Principal: { AWS: "111122223333" } };
  const made = await done("role", "create", "night", policyFile("trust.json", trust), "--session-seconds", "7200");
  assert.match(made, /^role night created: arn:aws:iam::\d{12}:role\/night\n$/);
  await done("role", "attach", "night", "AmazonS3ReadOnlyAccess");
  await done("role", "allow", "night", "own", policyFile("own.json", { Action: "s3:*", Resource: "*" }));
  await done("role", "bound", "night", "AdministratorAccess");
  await done("role", "session", "night", "3600");
  await done("role", "trust", "night", policyFile("other.json", { ...trust, Principal: { AWS: "*" } }));
  const shown = await json("role", "show", "night");
  assert.deepEqual(
    [shown["sessionSecondsMax"], shown["policies"]],
    [3_600, ["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"]],
  );
  assert.match(String(shown["trust"]), /"AWS":"\*"/);
  assert.match((await cli.run("role", "session", "night", "60")).errors, /longest session of a role has/);
  assert.match((await cli.run("role", "remove", "night")).errors, /still has policies/);
  await done("role", "detach", "night", "AmazonS3ReadOnlyAccess");
  await done("role", "disallow", "night", "own");
  await done("role", "remove", "night");
  assert.equal(await done("role", "list"), "");
});

test("a policy that is none is refused in a sentence, and so is what is not there", async () => {
  await done("user", "create", "bob");
  const broken = path.join(cli.folder(), "broken.json");
  writeFileSync(broken, '{"Statement": []}');
  assert.match((await cli.run("user", "allow", "bob", "p", broken)).errors, /^holdfast: Syntax errors in policy\.\n$/);
  assert.match((await cli.run("user", "attach", "bob", "None")).errors, /There is no policy None\./);
  assert.match((await cli.run("user", "join", "bob", "nobodies")).errors, /There is no group nobodies\./);
  assert.match((await cli.run("user", "create", "Bob")).errors, /is taken already/);
  assert.match((await cli.run("key", "create", "--user", "carol")).errors, /There is no user carol\./);
  assert.equal((await cli.run("policy", "create", "p", "/no/such/file")).status, 1);
});

test("an account of its own, with its own key, sees its own buckets alone", async () => {
  const [, number] = /^account (\d{12}) created: tenant\n$/.exec(await done("account", "create", "tenant")) ?? [];
  assert.ok(number !== undefined);
  const key = await json("key", "create", "--account", number);
  assert.equal((await as(key, "bucket", "create", "of-tenant")).status, 0);
  assert.match((await as(key, "ls", "things")).errors, /not authorized|Access ?Denied/i);
});

test("the door to users is the root's, and says what it takes", async () => {
  const { url, accessKey, secretKey } = cli.server();
  const ask = async (method: string, place: string, body?: object, key = `${accessKey}:${secretKey}`) => {
    const headers = { authorization: `Basic ${btoa(key)}` };
    const answer = await fetch(`${url}/_/admin/${place}`, {
      method,
      headers,
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, allow: answer.headers.get("allow"), body: JSON.parse(text || "{}") as Json };
  };
  const plain = await json("key", "create");
  const plainKey = `${String(plain["accessKey"])}:${String(plain["secretKey"])}`;
  for (const place of ["users", "groups", "policies", "accounts", "users/bob/groups/g"])
    assert.equal((await ask("GET", place, undefined, plainKey)).status, 403, place);
  assert.equal((await ask("GET", "users", undefined, "nobody:nothing-at-all")).status, 401);
  assert.deepEqual([(await ask("PATCH", "users")).status, (await ask("PATCH", "users")).allow], [405, "GET, POST"]);
  for (const place of ["users/a/b", "users/a/groups", "policies/a/b/c", "users/a/b/c/d"])
    assert.equal((await ask("GET", place)).status, 404, place);
  assert.equal((await ask("GET", "users/nobody")).status, 404);
  assert.equal((await ask("POST", "users", {})).status, 400);
  assert.equal((await ask("POST", "users", { name: "a", colour: "red" })).status, 400);
  assert.equal((await ask("POST", "users", { name: "bob" })).status, 409);
  assert.equal((await ask("GET", "users?account=1")).status, 404);
  const builtin = (await ask("GET", "policies/AdministratorAccess")).body;
  assert.equal(builtin["arn"], "arn:aws:iam::aws:policy/AdministratorAccess");
  assert.deepEqual(Object.keys(builtin).sort(), ["arn", "document", "name", "version", "versions"]);
  const place = "policies/AdministratorAccess";
  for (const body of [{}, { document: "{}", version: "v1" }, { version: "1" }, { version: 1 }])
    assert.equal((await ask("PUT", place, body)).status, 400, JSON.stringify(body));
});

test("users of another account, and its own key, have nothing of this one", async () => {
  const { url, accessKey, secretKey } = cli.server();
  const headers = { authorization: `Basic ${btoa(`${accessKey}:${secretKey}`)}` };
  const answer = await fetch(`${url}/_/admin/accounts`, { method: "POST", headers, body: '{"name": "tenant"}' });
  const { account } = (await answer.json()) as { account: string };
  await done("user", "create", "dora", "--account", account);
  await done("user", "attach", "dora", "AdministratorAccess", "--account", account);
  const keys = [
    await json("key", "create", "--user", "dora", "--account", account),
    await json("key", "create", "--account", account),
  ];
  for (const key of keys) assert.match((await as(key, "ls", "things")).errors, /no resource-based policy allows/);
  assert.match((await cli.run("user", "show", "dora")).errors, /There is no user dora\./);
});

test("a key that clients have from another store is taken over, and is nobody else's then", async () => {
  const key = { accessKey: "AKIA.from-elsewhere_1", secretKey: "wJalr/XUtnFEMI+K7MDENG=bPx" };
  const file = path.join(cli.folder(), "secret");
  writeFileSync(file, `${key.secretKey}\r\n`);
  await done("user", "create", "moved");
  await done("user", "attach", "moved", "AmazonS3ReadOnlyAccess");
  const take = ["key", "import", key.accessKey, "--secret-file"];
  assert.match((await cli.run(...take.slice(0, 3))).errors, /required option '--secret-file <file>' not specified/);
  assert.match((await cli.run(...take, file, "--user", "nobody")).errors, /There is no user nobody\./);
  assert.equal(await done(...take, file, "--user", "moved"), `access key ${key.accessKey} taken over: user moved\n`);
  assert.equal((await as(key, "ls", "things")).status, 0);
  assert.match((await as(key, "bucket", "create", "mine")).errors, /not authorized/);
  assert.match((await cli.run(...take, file)).errors, /The access key AKIA\.from-elsewhere_1 exists already\./);

  for (const [secret, why] of [
    ["\n", /has an empty first line: there is no secret in it\./],
    ["short", /A secret key has 8 to 128 printable ASCII characters/],
  ] as const) {
    writeFileSync(file, secret);
    assert.match((await cli.run("key", "import", "another-key", "--secret-file", file)).errors, why);
  }
  writeFileSync(file, "a-secret-of-its-own");
  assert.match((await cli.run("key", "import", "a/b", "--secret-file", file)).errors, /An access key has 3 to 128/);
  assert.match(
    (await cli.run("key", "import", cli.server().accessKey, "--secret-file", file)).errors,
    /exists already/,
  );
  const shown = await json("key", "import", "another-key", "--secret-file", file);
  assert.deepEqual([shown["accessKey"], shown["secretKey"], shown["owner"]], ["another-key", undefined, null]);
});

/** The commands' manners: help, exit statuses, sentences instead of stacks, and nothing deleted that is not theirs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createServer } from "../../src/index.ts";
import { environmentFor, runCli, runCutOff, useCli } from "./cli.fixture.ts";

const cli = useCli();
const put = (bucket: string, key: string, body = "") =>
  cli.client().run({ method: "PUT", bucket, key, body: Buffer.from(body) });

test("bench never touches a bucket that was there before", async () => {
  await cli.client().run({ method: "PUT", bucket: "precious" });
  await put("precious", "keep", "me");
  const { status, errors } = await cli.run("bench", "--bucket", "precious", "--objects", "2", "--works", "put-4k");
  assert.equal(status, 1);
  assert.match(errors, /precious exists already/);
  assert.equal((await cli.client().read("precious", "keep")).toString(), "me");
});

test("bench cleans up after itself", async () => {
  const { status } = await cli.run(
    "bench",
    "--bucket",
    "mine",
    "--objects",
    "3",
    "--seconds",
    "1",
    "--works",
    "put-4k,get-4k,list",
  );
  assert.equal(status, 0);
  assert.ok((await cli.client().buckets()).every(({ name }) => name !== "mine"));
});

test("what does not exist is said in a sentence with its name, and in JSON with the server's code", async () => {
  const sentence = (errors: string): string => /^holdfast: (.*)\n$/.exec(errors)?.[1] ?? errors;
  const got = await cli.run("get", "things/nope");
  assert.deepEqual([got.status, sentence(got.errors)], [1, "There is no things/nope."]);
  const list = await cli.run("ls", "none", "--json");
  const { error } = JSON.parse(list.errors) as { error: { code: string; message: string } };
  assert.equal(error.code, "NoSuchBucket");
  const file = await cli.run("put", "no-such-file", "things/");
  assert.deepEqual([file.status, sentence(file.errors)], [1, "no-such-file: there is no such file or folder."]);
  const cat = await cli.run("cat", "things");
  assert.deepEqual([cat.status, cat.output], [1, ""]);
  assert.match(cat.errors, /is a bucket/);
});

test("a wrong secret is named as what it is", async () => {
  for (const args of [["get", "things/nope"], ["key", "list"], ["ls"]]) {
    const { status, errors } = await cli.run(...args, "--secret-key", "wrong-secret");
    assert.equal(status, 1);
    assert.match(errors, /secret|signature/i);
  }
});

test("a key that was pasted wrong, and an address that is no server's, are said in a sentence", async () => {
  const said = async (...args: string[]): Promise<string> => (await cli.run(...args)).errors;
  assert.match(
    await said("ls", "--access-key", "…"),
    /^holdfast: The access key in HOLDFAST_ACCESS_KEY has characters/,
  );
  assert.match(
    await said("status", "--secret-key", "a\nb"),
    /^holdfast: The secret key in HOLDFAST_SECRET_KEY has char/,
  );
  const overTls = cli.server().url.replace("http:", "https:");
  for (const command of ["ls", "status"])
    assert.match(
      await said(command, "--url", overTls),
      /does not speak TLS; is its address http:\/\/127\.0\.0\.1:\d+\?\n$/,
    );
});

test("a reader that leaves early ends the command without a stack", async () => {
  for (let index = 0; index < 30; index++) await put("things", `many/${index}/${"k".repeat(900)}`);
  await put("things", "large", "x".repeat(4_000_000));
  for (const args of [
    ["ls", "-r", "things/many/"],
    ["cat", "things/large"],
  ]) {
    const { errors } = await runCutOff(args, cli.folder(), environmentFor(cli.server()));
    assert.equal(errors, "");
  }
});

test("a key's control characters don't reach the terminal", async () => {
  await put("things", "odd/\u001b[31mred\nline");
  const { output } = await cli.run("ls", "-r", "things/odd/");
  assert.match(output, /odd\/\\x1b\[31mred\\x0aline\n$/);
  assert.equal(JSON.parse((await cli.run("ls", "-r", "things/odd/", "--json")).output).key, "odd/\u001b[31mred\nline");
  assert.match((await cli.run("rm", "-r", "things/odd/")).output, /^1 deleted/);
});

test("all access keys are listed, however many there are", async () => {
  const headers = { authorization: `Basic ${btoa(`${cli.server().accessKey}:${cli.server().secretKey}`)}` };
  for (let made = 0; made < 1_001; made += 1) {
    const answer = await fetch(`${cli.server().url}/_/admin/keys`, { method: "POST", headers, body: "{}" });
    assert.equal(answer.status, 201);
  }
  const { output } = await cli.run("key", "list", "--json");
  assert.equal(output.trim().split("\n").length, 1_001);
});

test("every command and subcommand says in its help what it does", async () => {
  for (const command of ["", "key", "kms", "bucket", "user", "group", "role", "policy"]) {
    const { status, output } = await cli.run(...command.split(" ").filter(Boolean), "--help");
    assert.equal(status, 0);
    const [, listed = ""] = output.split("Commands:\n");
    for (const line of listed.split("\n").filter((each) => /^ {2}\S/.test(each))) {
      assert.match(line, /^ {2}\S+( [[<]\S+)* {2,}\S/, `${command}: "${line}" says what it does`);
    }
  }
});

test("wrong usage has exit status 2", async () => {
  for (const args of [["sever"], ["ls", "--nope"], ["put"], ["key", "list", "too", "many"]]) {
    assert.equal((await cli.run(...args)).status, 2, args.join(" "));
  }
});

test("key and bucket over TLS with a certificate of our own making", async (t) => {
  const { execFileSync } = await import("node:child_process");
  const { readFileSync } = await import("node:fs");
  const [cert, key] = [`${cli.folder()}/cert.pem`, `${cli.folder()}/key.pem`];
  try {
    const made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert];
    execFileSync("openssl", [...made, "-subj", "/CN=localhost"], { stdio: "ignore" });
  } catch {
    t.skip("openssl is not there, so no certificate can be made");
    return;
  }
  const server = await createServer({ memory: true, tls: { cert: readFileSync(cert), key: readFileSync(key) } });
  try {
    for (const args of [
      ["key", "list", "--insecure"],
      ["bucket", "list", "--insecure"],
    ]) {
      const { status, errors } = await runCli(args, cli.folder(), environmentFor(server));
      assert.deepEqual([status, errors], [0, ""]);
    }
    const strict = await runCli(["key", "list"], cli.folder(), environmentFor(server));
    assert.equal(strict.status, 1);
    assert.match(strict.errors, /certificate/);
  } finally {
    await server.close();
  }
});

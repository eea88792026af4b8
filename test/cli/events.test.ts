/** `holdfast event-target`: what an operator does so that events of buckets reach a program. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { startReceiver, type Receiver } from "../s3/receiver.ts";
import { environmentFor, runCli, useCli } from "./cli.fixture.ts";

const cli = useCli();
let receiver: Receiver;
before(async () => {
  receiver = await startReceiver();
});
after(() => receiver.close());

const until = async (isSo: () => boolean): Promise<void> => {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 20));
};

async function configure(bucket: string, inner: string): Promise<void> {
  const body = Buffer.from(`<NotificationConfiguration>${inner}</NotificationConfiguration>`);
  await cli.client().run({ method: "PUT", bucket, query: { notification: "" }, body });
}

test("a target is added, named by a bucket, told of a file that is put, and cannot be removed while it is named", async () => {
  writeFileSync(path.join(cli.folder(), "secret.txt"), "hush\n");
  const words = ["add", "hook", "--webhook", receiver.url, "--header", "x-from: there", "--secret-file", "secret.txt"];
  const added = await cli.run("event-target", ...words);
  assert.equal(added.errors, "");
  const arn = /arn:holdfast:sqs::hook:webhook/.exec(added.output)?.[0];
  await configure(
    "things",
    `<QueueConfiguration><Queue>${arn}</Queue><Event>s3:ObjectCreated:*</Event></QueueConfiguration>`,
  );
  const [tested] = receiver.taken;
  assert.match(tested?.body ?? "", /s3:TestEvent/);
  assert.equal(tested?.headers["x-from"], "there");
  writeFileSync(path.join(cli.folder(), "cat.txt"), "meow");
  assert.equal((await cli.run("put", "cat.txt", "things/")).status, 0);
  await until(() => receiver.taken.length >= 2);
  const [, told] = receiver.taken;
  const signature = `sha256=${createHmac("sha256", "hush").update(told!.body).digest("hex")}`;
  assert.equal(told!.headers["x-holdfast-signature-256"], signature);
  assert.equal(receiver.events()[0]?.s3.object.key, "cat.txt");
  const refused = await cli.run("event-target", "remove", "hook");
  assert.deepEqual([refused.status, refused.output], [1, ""]);
  assert.match(refused.errors, /"hook" is named by the configuration of: things\./);
});

test("what a target does not take is shown, and where it sends can be changed meanwhile", async () => {
  receiver.answer = () => 503;
  assert.equal((await cli.run("put", "cat.txt", "things/dog.txt")).status, 0);
  for (;;) {
    const { output } = await cli.run("event-target", "list");
    if (/event target hook: 1 event waiting, in trouble since .*: It answered 503/.test(output)) break;
  }
  assert.match((await cli.run("status")).output, /event target hook: 1 event waiting/);
  const other = await startReceiver();
  assert.equal((await cli.run("event-target", "add", "hook", "--webhook", other.url)).status, 0);
  await until(() => other.taken.length === 1);
  await other.close();
  assert.equal(other.events()[0]?.s3.object.key, "dog.txt");
  const [view] = (await cli.run("event-target", "list", "--json")).output.trim().split("\n");
  assert.equal((JSON.parse(view!) as { isSigned: boolean }).isSigned, false);
  assert.equal((await cli.run("event-target", "dead", "hook")).output, "");
  assert.equal(
    (await cli.run("event-target", "dead", "hook", "--resend")).output,
    "0 events of hook wait to be delivered again\n",
  );
});

test("a broker is a target; what it needs to come in is kept and not shown", async () => {
  writeFileSync(path.join(cli.folder(), "password.txt"), "hush-hush\n");
  const url = "redis://app@127.0.0.1:1/0?stream=told";
  const added = await cli.run("event-target", "add", "stream", url, "--password-file", "password.txt");
  assert.equal(added.errors, "");
  assert.match(
    added.output,
    /event target stream sends to redis:\/\/127.0.0.1:1\/0\?stream=told, with its user, password/,
  );
  assert.match(added.output, /arn:holdfast:sqs::stream:redis/);
  const listed = (await cli.run("event-target", "list", "--json")).output;
  assert.match(listed, /"credentials":\["user","password"\]/);
  assert.doesNotMatch(listed + added.output, /hush-hush|"app"/);
  assert.equal((await cli.run("event-target", "remove", "stream")).status, 0);
});

test("targets are the root key's", async () => {
  const made = JSON.parse((await cli.run("key", "create", "--json")).output) as {
    accessKey: string;
    secretKey: string;
  };
  const env = {
    ...environmentFor(cli.server()),
    HOLDFAST_ACCESS_KEY: made.accessKey,
    HOLDFAST_SECRET_KEY: made.secretKey,
  };
  for (const words of [
    ["list"],
    ["add", "x", "--webhook", "http://h/"],
    ["remove", "hook", "--force"],
    ["dead", "hook"],
  ]) {
    const { status, errors } = await runCli(["event-target", ...words], cli.folder(), env);
    assert.equal(status, 1);
    assert.match(errors, /Only the root key may manage event targets\./);
  }
});

test("what is no target is refused with what to do", async () => {
  const cases: readonly (readonly [words: readonly string[], why: RegExp])[] = [
    [["add", "UPPER", "--webhook", "http://h/"], /The name of an event target has 1 to 64 lower-case letters/],
    [["add", "x"], /Say one address that events are sent to/],
    [["add", "x", "http://h/", "--webhook", "http://h/"], /Say one address that events are sent to/],
    [["add", "x", "redis://h/0"], /it names one of stream, list and channel/],
    [["add", "x", "mqtt://u:hush@h/a/#"], /"mqtt:\/\/…@h\/a\/#" cannot be sent to/],
    [["add", "x", "--webhook", "ftp://h/"], /is not an http:\/\/ or https:\/\/ address/],
    [["add", "x", "--webhook", "http://user:pass@h/"], /without a user's name/],
    [["add", "x", "--webhook", "http://h/", "--header", "host: h"], /The header "host" is Holdfast's own/],
    [["add", "x", "--webhook", "http://h/", "--header", "nonsense"], /is no header: write "name: value"/],
    [["add", "x", "--webhook", "http://h/", "--secret-file", "missing"], /there is no such file or folder/],
    [["remove", "nobody"], /There is no event target "nobody"\./],
    [["dead", "nobody"], /There is no event target "nobody"\./],
  ];
  for (const [words, why] of cases) {
    const { status, errors } = await cli.run("event-target", ...words);
    assert.equal(status, 1, words.join(" "));
    assert.match(errors, why);
  }
});

test("a target is removed by force, and then nobody is told", async () => {
  assert.equal((await cli.run("event-target", "remove", "hook", "--force")).output, "event target hook removed\n");
  assert.equal((await cli.run("event-target", "list")).output, "");
  assert.equal((await cli.run("put", "cat.txt", "things/cow.txt")).status, 0);
  assert.doesNotMatch((await cli.run("status")).output, /event target/);
});

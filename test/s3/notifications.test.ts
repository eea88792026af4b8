/** Notifications through the AWS SDK and a webhook that is really there: what is told, to whom, and what is refused. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test, type TestContext } from "node:test";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  DeleteObjectTaggingCommand,
  GetBucketNotificationConfigurationCommand,
  PutBucketNotificationConfigurationCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  UploadPartCommand,
  type Event,
  type NotificationConfiguration,
  type S3Client,
} from "@aws-sdk/client-s3";
import { redisMissing, startRedis } from "../brokers/redis.ts";
import { startReceiver, type EventRecord, type Receiver } from "./receiver.ts";
import { accessKey, failsWith, startTestServer, type TestServer } from "./server.ts";

let server: TestServer;
let made = 0;
before(async () => {
  server = await startTestServer();
});
after(() => server.close());

type World = { readonly Bucket: string; readonly name: string; readonly arn: string; readonly receiver: Receiver };

/** A bucket, a receiver, and a destination that leads there; nothing is configured yet. */
async function newWorld(t: TestContext): Promise<World> {
  const Bucket = `told-${made++}`;
  await server.bucket(Bucket);
  const receiver = await startReceiver();
  t.after(() => receiver.close());
  const name = `hook-${made}`;
  const { arn } = await server.destinations.set(name, { url: receiver.url, headers: [], secret: undefined });
  return { Bucket, name, arn, receiver };
}

async function configure(Bucket: string, NotificationConfiguration: NotificationConfiguration): Promise<void> {
  await server.s3.send(
    new PutBucketNotificationConfigurationCommand({
      Bucket,
      NotificationConfiguration,
      SkipDestinationValidation: true,
    }),
  );
}

const everything: Event[] = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*"];

async function worldToldAll(t: TestContext): Promise<World> {
  const world = await newWorld(t);
  await configure(world.Bucket, { QueueConfigurations: [{ Id: "all", QueueArn: world.arn, Events: everything }] });
  return world;
}

const put = (Bucket: string, Key: string, Body = "hello") =>
  server.s3.send(new PutObjectCommand({ Bucket, Key, Body }));

const summary = ({ eventName, s3 }: EventRecord): string => `${eventName} ${s3.object.key}`;

void test("a PUT is told in AWS's words: who, what, where, how large", async (t) => {
  const { Bucket, receiver } = await worldToldAll(t);
  const { ETag, $metadata } = await put(Bucket, "dir/red flower ü+.jpg");
  await server.deliver();
  const [record, ...more] = receiver.events();
  assert.equal(more.length, 0);
  assert.ok(record);
  const { eventTime, s3, ...rest } = record;
  assert.ok(Math.abs(Date.parse(eventTime) - Date.now()) < 60_000);
  assert.deepEqual(rest, {
    eventVersion: "2.2",
    eventSource: "aws:s3",
    awsRegion: "us-east-1",
    eventName: "ObjectCreated:Put",
    userIdentity: { principalId: accessKey },
    requestParameters: { sourceIPAddress: "127.0.0.1" },
    responseElements: { "x-amz-request-id": $metadata.requestId, "x-amz-id-2": $metadata.extendedRequestId },
  });
  const { sequencer, ...object } = s3.object;
  assert.match(sequencer, /^[0-9A-F]{16}$/);
  assert.deepEqual(object, { key: "dir/red+flower+%C3%BC%2B.jpg", size: 5, eTag: ETag?.replaceAll('"', "") });
  assert.deepEqual(
    { ...s3, object: undefined },
    {
      s3SchemaVersion: "1.0",
      configurationId: "all",
      bucket: { name: Bucket, ownerIdentity: { principalId: "holdfast" }, arn: `arn:aws:s3:::${Bucket}` },
      object: undefined,
    },
  );
});

void test("copies, multipart uploads, tags and deletions are told by their names", async (t) => {
  const { Bucket, receiver } = await worldToldAll(t);
  const { s3 } = server;
  await put(Bucket, "a");
  await s3.send(new CopyObjectCommand({ Bucket, Key: "b", CopySource: `${Bucket}/a` }));
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "c" }));
  const part = { Bucket, Key: "c", UploadId, PartNumber: 1 };
  const { ETag } = await s3.send(new UploadPartCommand({ ...part, Body: "part" }));
  const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
  await s3.send(new CompleteMultipartUploadCommand({ Bucket, Key: "c", UploadId, MultipartUpload }));
  const Tagging = { TagSet: [{ Key: "k", Value: "v" }] };
  await s3.send(new PutObjectTaggingCommand({ Bucket, Key: "c", Tagging }));
  await s3.send(new DeleteObjectTaggingCommand({ Bucket, Key: "c" }));
  await s3.send(new DeleteObjectCommand({ Bucket, Key: "a" }));
  await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: "b" }, { Key: "c" }] } }));
  // Nothing was there, so nothing happened.
  await s3.send(new DeleteObjectCommand({ Bucket, Key: "a" }));
  await server.deliver();
  const events = receiver.events();
  assert.deepEqual(
    events.map(summary).toSorted(),
    [
      "ObjectCreated:Put a",
      "ObjectCreated:Copy b",
      "ObjectCreated:CompleteMultipartUpload c",
      "ObjectTagging:Put c",
      "ObjectTagging:Delete c",
      "ObjectRemoved:Delete a",
      "ObjectRemoved:Delete b",
      "ObjectRemoved:Delete c",
    ].toSorted(),
  );
  assert.deepEqual(
    events.filter((record) => record.s3.object.key === "c").map(({ eventName }) => eventName),
    ["ObjectCreated:CompleteMultipartUpload", "ObjectTagging:Put", "ObjectTagging:Delete", "ObjectRemoved:Delete"],
  );
  for (const { eventName, s3: told } of events)
    assert.equal(told.object.size === undefined, eventName.startsWith("ObjectRemoved"));
});

void test("in a bucket with versions their ids are told, and markers are told as markers", async (t) => {
  const { Bucket, receiver } = await worldToldAll(t);
  const { s3 } = server;
  const VersioningConfiguration = { Status: "Enabled" } as const;
  await s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration }));
  const first = await put(Bucket, "k");
  const marker = await s3.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
  await s3.send(new DeleteObjectCommand({ Bucket, Key: "k", VersionId: marker.VersionId }));
  const Tagging = { TagSet: [{ Key: "k", Value: "v" }] };
  await s3.send(new PutObjectTaggingCommand({ Bucket, Key: "k", VersionId: first.VersionId, Tagging }));
  await server.deliver();
  assert.deepEqual(
    receiver.events().map(({ eventName, s3: told }) => [eventName, told.object.versionId]),
    [
      ["ObjectCreated:Put", first.VersionId],
      ["ObjectRemoved:DeleteMarkerCreated", marker.VersionId],
      ["ObjectRemoved:Delete", marker.VersionId],
      ["ObjectTagging:Put", first.VersionId],
    ],
  );
  assert.ok(first.VersionId);
});

void test("filters and event names decide who is told", async (t) => {
  const { Bucket, arn, receiver } = await newWorld(t);
  const other = await newWorld(t);
  await configure(Bucket, {
    QueueConfigurations: [
      {
        QueueArn: arn,
        Events: ["s3:ObjectCreated:Put"],
        Filter: {
          Key: {
            FilterRules: [
              { Name: "prefix", Value: "in/" },
              { Name: "suffix", Value: ".jpg" },
            ],
          },
        },
      },
    ],
    TopicConfigurations: [{ TopicArn: other.arn, Events: ["s3:ObjectRemoved:*"] }],
  });
  for (const key of ["in/a.jpg", "in/a.png", "out/a.jpg", "in/.jpg", "in.jpg"]) await put(Bucket, key);
  await server.s3.send(new CopyObjectCommand({ Bucket, Key: "in/c.jpg", CopySource: `${Bucket}/in/a.jpg` }));
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "in/a.png" }));
  await server.deliver();
  assert.deepEqual(receiver.events().map(summary).toSorted(), [
    "ObjectCreated:Put in/.jpg",
    "ObjectCreated:Put in/a.jpg",
  ]);
  assert.deepEqual(other.receiver.events().map(summary), ["ObjectRemoved:Delete in/a.png"]);
});

void test("a configuration comes back as it was set, with ids for rules that had none; an empty one takes it away", async (t) => {
  const { Bucket, arn, receiver } = await newWorld(t);
  const read = async (): Promise<NotificationConfiguration> => {
    const { $metadata: _, ...configuration } = await server.s3.send(
      new GetBucketNotificationConfigurationCommand({ Bucket }),
    );
    return configuration;
  };
  assert.deepEqual(await read(), {});
  const Filter = { Key: { FilterRules: [{ Name: "prefix" as const, Value: "a&b/" }] } };
  await configure(Bucket, {
    LambdaFunctionConfigurations: [
      { Id: "f", LambdaFunctionArn: arn, Events: ["s3:ObjectTagging:Put", "s3:ObjectTagging:Delete"] },
    ],
    TopicConfigurations: [{ TopicArn: arn, Events: ["s3:ObjectCreated:*"], Filter }],
  });
  const { TopicConfigurations: [topic] = [], LambdaFunctionConfigurations, QueueConfigurations } = await read();
  assert.match(topic?.Id ?? "", /^[\w-]{22}$/);
  assert.deepEqual({ ...topic, Id: "" }, { Id: "", TopicArn: arn, Events: ["s3:ObjectCreated:*"], Filter });
  assert.deepEqual(LambdaFunctionConfigurations, [
    { Id: "f", LambdaFunctionArn: arn, Events: ["s3:ObjectTagging:Put", "s3:ObjectTagging:Delete"] },
  ]);
  assert.equal(QueueConfigurations, undefined);
  await configure(Bucket, {});
  assert.deepEqual(await read(), {});
  await put(Bucket, "a&b/c");
  await server.deliver();
  assert.deepEqual(receiver.events(), []);
});

void test("when a configuration is set its destinations get a test event; one that does not take it is refused", async (t) => {
  const { Bucket, arn, receiver } = await newWorld(t);
  const NotificationConfiguration = { QueueConfigurations: [{ QueueArn: arn, Events: everything }] };
  const set = () =>
    server.s3.send(new PutBucketNotificationConfigurationCommand({ Bucket, NotificationConfiguration }));
  receiver.answer = () => 500;
  await failsWith(set(), 400, "InvalidArgument");
  const found = await server.s3.send(new GetBucketNotificationConfigurationCommand({ Bucket }));
  assert.equal(found.QueueConfigurations, undefined);
  receiver.answer = () => 200;
  const { $metadata } = await set();
  assert.equal(receiver.taken.length, 1);
  const { Time, ...message } = JSON.parse(receiver.taken[0]!.body) as Record<string, string>;
  assert.ok(Date.parse(Time!) > 0);
  assert.deepEqual(message, {
    Service: "Amazon S3",
    Event: "s3:TestEvent",
    Bucket,
    RequestId: $metadata.requestId,
    HostId: $metadata.extendedRequestId,
  });
});

void test("why a destination did not take a test is told to the store's own account alone", async (t) => {
  const { arn, receiver } = await newWorld(t);
  receiver.answer = () => 500;
  const { account } = await server.identity.directory.createAccount(`tenant-${made}`);
  const key = await server.identity.create({ owner: { kind: "account", account } });
  const tenant = server.client({ credentials: { accessKeyId: key.accessKey, secretAccessKey: key.secretKey } });
  const NotificationConfiguration = { QueueConfigurations: [{ QueueArn: arn, Events: everything }] };
  const whyFor = async (s3: S3Client, Bucket: string): Promise<string | undefined> => {
    await s3.send(new CreateBucketCommand({ Bucket }));
    const set = s3.send(new PutBucketNotificationConfigurationCommand({ Bucket, NotificationConfiguration }));
    const error: unknown = await set.catch((reason: unknown) => reason);
    assert.ok(error instanceof Error && "ArgumentValue" in error);
    return String(error.ArgumentValue);
  };
  assert.equal(await whyFor(server.s3, `why-own-${made}`), "It answered 500 Internal Server Error.");
  assert.equal(await whyFor(tenant, `why-tenant-${made}`), "It did not take a test message.");
});

void test("messages bear the headers of their destination, an id, and with a secret a signature of their body", async (t) => {
  const { Bucket, name, receiver } = await worldToldAll(t);
  const headers = [["Authorization", "Bearer t"]] as const;
  await server.destinations.set(name, { url: `${receiver.url}?x=1`, headers, secret: "s3cret" });
  await put(Bucket, "a");
  await put(Bucket, "b");
  await server.deliver();
  const [first, second] = receiver.taken;
  assert.ok(first && second);
  const signature = createHmac("sha256", "s3cret").update(first.body).digest("hex");
  assert.equal(first.path, "/hook?x=1");
  assert.equal(first.headers["authorization"], "Bearer t");
  assert.equal(first.headers["content-type"], "application/json");
  assert.equal(first.headers["x-holdfast-event"], "s3:ObjectCreated:Put");
  assert.equal(first.headers["x-holdfast-signature-256"], `sha256=${signature}`);
  assert.notEqual(first.headers["x-holdfast-delivery"], second.headers["x-holdfast-delivery"]);
});

void test("a bucket's events are delivered though it was deleted since", async (t) => {
  const { Bucket, receiver } = await worldToldAll(t);
  await put(Bucket, "k");
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
  await server.s3.send(new DeleteBucketCommand({ Bucket }));
  await server.bucket(Bucket);
  await put(Bucket, "untold");
  await server.deliver();
  assert.deepEqual(receiver.events().map(summary), ["ObjectCreated:Put k", "ObjectRemoved:Delete k"]);
});

void test("a bucket's events go to Redis as they go to a webhook, and the ARN comes back as it was set", async (t) => {
  if (redisMissing) return t.skip(redisMissing);
  const redis = await startRedis();
  t.after(() => redis.dispose());
  const { Bucket } = await newWorld(t);
  const view = await server.destinations.set("stream", { url: redis.url(redis.port), headers: [], secret: undefined });
  assert.equal(view.arn, "arn:holdfast:sqs::stream:redis");
  assert.deepEqual([view.url, view.credentials], [`redis://127.0.0.1:${redis.port}/0?stream=told`, ["password"]]);
  const QueueConfigurations = [{ Id: "all", QueueArn: view.arn, Events: everything }];
  const NotificationConfiguration = { QueueConfigurations };
  // Tested, as any other: the first message in the stream.
  await server.s3.send(new PutBucketNotificationConfigurationCommand({ Bucket, NotificationConfiguration }));
  const { QueueConfigurations: found } = await server.s3.send(
    new GetBucketNotificationConfigurationCommand({ Bucket }),
  );
  assert.deepEqual(found, QueueConfigurations);
  await put(Bucket, "k");
  await server.deliver();
  const [tested, told, ...more] = await redis.taken();
  assert.deepEqual(more, []);
  assert.equal((JSON.parse(tested!) as { Event: string }).Event, "s3:TestEvent");
  const { Records } = JSON.parse(told!) as { Records: EventRecord[] };
  assert.deepEqual(Records.map(summary), ["ObjectCreated:Put k"]);
  await redis.stop();
  await assert.rejects(
    server.s3.send(new PutBucketNotificationConfigurationCommand({ Bucket, NotificationConfiguration })),
    (error) => error instanceof Error && /Unable to validate the following destination/.test(error.message),
  );
});

const queue = (arn: string, inner: string): string =>
  `<QueueConfiguration><Queue>${arn}</Queue>${inner}</QueueConfiguration>`;
const event = "<Event>s3:ObjectCreated:*</Event>";
const filter = (...rules: readonly (readonly [string, string])[]): string =>
  `<Filter><S3Key>${rules.map(([name, value]) => `<FilterRule><Name>${name}</Name><Value>${value}</Value></FilterRule>`).join("")}</S3Key></Filter>`;

/** What is wrong → the inside of a document with it; `arn` is one that is there. */
const refused: Readonly<Record<string, (arn: string) => readonly [inner: string, code: string, status: number]>> = {
  "an unknown destination": () => [queue("arn:holdfast:sqs::nobody:webhook", event), "InvalidArgument", 400],
  "an ARN of AWS": () => [queue("arn:aws:sqs:us-east-1:123456789012:q", event), "InvalidArgument", 400],
  "an unknown event": (arn) => [queue(arn, "<Event>s3:ObjectCreated:Guess</Event>"), "InvalidArgument", 400],
  "an event that does not happen here": (arn) => [
    queue(arn, "<Event>s3:ObjectRestore:Post</Event>"),
    "InvalidArgument",
    400,
  ],
  "no event": (arn) => [queue(arn, ""), "MalformedXML", 400],
  "one event twice": (arn) => [queue(arn, event + event), "InvalidArgument", 400],
  "rules of one destination that overlap": (arn) => [
    queue(arn, event + filter(["prefix", "a"])) + queue(arn, event + filter(["prefix", "ab"])),
    "InvalidArgument",
    400,
  ],
  "one id twice": (arn) => [
    queue(arn, `<Id>i</Id>${event}`) + queue(arn, "<Id>i</Id><Event>s3:ObjectRemoved:*</Event>"),
    "InvalidArgument",
    400,
  ],
  "two prefixes": (arn) => [queue(arn, event + filter(["prefix", "a"], ["Prefix", "b"])), "InvalidArgument", 400],
  "a filter by something else": (arn) => [queue(arn, event + filter(["tag", "a"])), "InvalidArgument", 400],
  "an element that nobody knows": (arn) => [queue(arn, `${event}<Loud/>`), "MalformedXML", 400],
  EventBridge: () => ["<EventBridgeConfiguration/>", "NotImplemented", 501],
};

for (const [what, of] of Object.entries(refused))
  void test(`a configuration with ${what} is refused and changes nothing`, async (t) => {
    const { Bucket, arn, receiver } = await worldToldAll(t);
    const [inner, code, status] = of(arn);
    const body = Buffer.from(`<NotificationConfiguration>${inner}</NotificationConfiguration>`);
    const answer = await server.raw({
      method: "PUT",
      path: `/${Bucket}?notification`,
      headers: { "x-amz-skip-destination-validation": "true" },
      body,
    });
    assert.deepEqual([answer.status, /<Code>(\w+)<\/Code>/.exec(answer.text)?.[1]], [status, code], answer.text);
    const { QueueConfigurations } = await server.s3.send(new GetBucketNotificationConfigurationCommand({ Bucket }));
    assert.equal(QueueConfigurations?.[0]?.Id, "all");
    assert.deepEqual(receiver.taken, []);
  });

void test("rules that overlap are taken where they name different destinations, and each is told", async (t) => {
  const { Bucket, arn, receiver } = await newWorld(t);
  const other = await newWorld(t);
  await configure(Bucket, {
    QueueConfigurations: [arn, other.arn].map((QueueArn) => ({ QueueArn, Events: ["s3:ObjectCreated:*"] })),
  });
  await put(Bucket, "k");
  await server.deliver();
  assert.deepEqual(
    [receiver, other.receiver].map((each) => each.events().map(summary)),
    [["ObjectCreated:Put k"], ["ObjectCreated:Put k"]],
  );
});

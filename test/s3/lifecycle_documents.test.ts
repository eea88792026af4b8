/** Lifecycle documents: what is taken and shown again, in both spellings, and what is refused in AWS's words. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  DeleteBucketLifecycleCommand,
  GetBucketLifecycleConfigurationCommand,
  PutBucketLifecycleConfigurationCommand,
  type LifecycleRule,
} from "@aws-sdk/client-s3";
import { failsWith, startTestServer, type RawAnswer, type TestServer } from "./server.ts";

const Bucket = "documents";
let server: TestServer;
before(async () => {
  server = await startTestServer();
  await server.bucket(Bucket);
});
after(() => server.close());

const get = () => server.s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket }));
const set = (Rules: LifecycleRule[], more: object = {}) =>
  server.s3.send(new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules }, ...more }));
const send = (inner: string, headers: Record<string, string> = {}): Promise<RawAnswer> =>
  server.raw({
    method: "PUT",
    path: `/${Bucket}?lifecycle`,
    headers,
    body: Buffer.from(`<LifecycleConfiguration>${inner}</LifecycleConfiguration>`),
  });

test("a bucket without rules says so, and taking none away succeeds", async () => {
  await failsWith(get(), 404, "NoSuchLifecycleConfiguration");
  const { $metadata } = await server.s3.send(new DeleteBucketLifecycleCommand({ Bucket }));
  assert.equal($metadata.httpStatusCode, 204);
});

test("rules of every kind are shown again as they were set", async () => {
  const Tag = { Key: "k", Value: "v <" };
  const rules: LifecycleRule[] = [
    { ID: "days", Status: "Enabled", Filter: { Prefix: "a&b/" }, Expiration: { Days: 30 } },
    { ID: "date", Status: "Disabled", Filter: {}, Expiration: { Date: new Date("2030-01-01T00:00:00Z") } },
    { ID: "marker", Status: "Enabled", Filter: { Prefix: "" }, Expiration: { ExpiredObjectDeleteMarker: true } },
    { ID: "tag", Status: "Enabled", Filter: { Tag: { Key: "k", Value: "" } }, Expiration: { Days: 1 } },
    { ID: "size", Status: "Enabled", Filter: { ObjectSizeLessThan: 1 }, Expiration: { Days: 1 } },
    {
      ID: "and",
      Status: "Enabled",
      Filter: {
        And: {
          Prefix: "p",
          Tags: [Tag, { Key: "l", Value: "w" }].map((tag) => ({ ...tag, Value: tag.Value.replace(" <", "") })),
          ObjectSizeGreaterThan: 0,
          ObjectSizeLessThan: 5 * 1024 ** 4,
        },
      },
      NoncurrentVersionExpiration: { NoncurrentDays: 3, NewerNoncurrentVersions: 100 },
    },
    { ID: "uploads", Status: "Enabled", Filter: {}, AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 } },
  ];
  const { TransitionDefaultMinimumObjectSize: size } = await set(rules);
  assert.equal(size, "all_storage_classes_128K");
  const { Rules, TransitionDefaultMinimumObjectSize } = await get();
  assert.deepEqual(Rules, rules);
  assert.equal(TransitionDefaultMinimumObjectSize, "all_storage_classes_128K");
});

test("the older spelling, with a Prefix of the rule, is shown again as such", async () => {
  const rules = [
    { ID: "a", Status: "Enabled", Prefix: "a/", Expiration: { Days: 1 } },
    { ID: "b", Status: "Disabled", Prefix: "", NoncurrentVersionExpiration: { NoncurrentDays: 1 } },
  ] satisfies LifecycleRule[];
  await set(rules);
  assert.deepEqual((await get()).Rules, rules);
});

test("a rule without an ID gets one, which stays, and two alike get two", async () => {
  const rule = { Status: "Enabled", Filter: {}, Expiration: { Days: 1 } } satisfies LifecycleRule;
  await set([rule, rule]);
  const ids = (await get()).Rules!.map(({ ID }) => ID);
  assert.equal(new Set(ids).size, 2);
  for (const id of ids) assert.ok(id !== undefined && id.length > 0 && id.length <= 255);
  await set([rule, rule]);
  assert.deepEqual(
    (await get()).Rules!.map(({ ID }) => ID),
    ids,
  );
});

test("what is said of transitions by default is kept and told, though there are none", async () => {
  const rule = { ID: "i", Status: "Enabled", Filter: {}, Expiration: { Days: 1 } } satisfies LifecycleRule;
  const { TransitionDefaultMinimumObjectSize: answered } = await set([rule], {
    TransitionDefaultMinimumObjectSize: "varies_by_storage_class",
  });
  const { TransitionDefaultMinimumObjectSize: told, Rules } = await get();
  assert.deepEqual([answered, told, Rules], ["varies_by_storage_class", "varies_by_storage_class", [rule]]);
  const bad = set([rule], { TransitionDefaultMinimumObjectSize: "small" });
  await failsWith(bad, 400, "InvalidArgument");
});

test("as many rules as AWS takes are taken, if they say little each", async () => {
  const rule = (at: number) =>
    `<Rule><ID>${at}</ID><Prefix>${at}</Prefix>${status}<Expiration>${days(1)}</Expiration></Rule>`;
  const some = Array.from({ length: 700 }, (_, at) => rule(at)).join("");
  assert.equal((await send(some)).status, 200);
  const tooMany = await send(Array.from({ length: 1_001 }, (_, at) => rule(at)).join(""));
  assert.deepEqual([tooMany.status, /<Code>(\w+)</.exec(tooMany.text)?.[1]], [400, "InvalidRequest"]);
});

const status = "<Status>Enabled</Status>";
const days = (count: number | string): string => `<Days>${count}</Days>`;
const expiration = `<Expiration>${days(1)}</Expiration>`;
const filter = (inner: string): string => `<Filter>${inner}</Filter>`;
const rule = (inner: string): string => `<Rule>${inner}</Rule>`;
const tag = (key: string, value = "v"): string => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`;
const expires = (inner: string): string => rule(`${filter("")}${status}<Expiration>${inner}</Expiration>`);
const filtered = (inner: string, action = expiration): string => rule(`${filter(inner)}${status}${action}`);
const noncurrent = (inner: string): string =>
  rule(`${filter("")}${status}<NoncurrentVersionExpiration>${inner}</NoncurrentVersionExpiration>`);
const abort = (inner: string): string => `<AbortIncompleteMultipartUpload>${inner}</AbortIncompleteMultipartUpload>`;
const moved = (inner: string): string => rule(`${filter("")}${status}<Transition>${inner}</Transition>`);
const nDays = "<NoncurrentDays>1</NoncurrentDays>";

const refused: readonly (readonly [what: string, body: string, code: string])[] = [
  ["no rule", "", "MalformedXML"],
  ["an element that is none", rule(`${filter("")}${status}${expiration}<More/>`), "MalformedXML"],
  ["no status", rule(`${filter("")}${expiration}`), "MalformedXML"],
  ["a status in lower case", rule(`${filter("")}<Status>enabled</Status>${expiration}`), "MalformedXML"],
  ["neither filter nor prefix", rule(`${status}${expiration}`), "MalformedXML"],
  ["filter and prefix", rule(`<Prefix>a</Prefix>${filter("")}${status}${expiration}`), "MalformedXML"],
  ["two filters", rule(`${filter("")}${filter("")}${status}${expiration}`), "MalformedXML"],
  ["two prefixes beside each other", filtered("<Prefix>a</Prefix><Prefix>a</Prefix>"), "MalformedXML"],
  ["prefixes that no key has", filtered(`<Prefix>a</Prefix><And><Prefix>b</Prefix>${tag("k")}</And>`), "MalformedXML"],
  ["one tag twice, in an And and beside it", filtered(`${tag("k")}<And>${tag("k", "w")}</And>`), "InvalidRequest"],
  ["two Ands", filtered(`<And>${tag("k")}</And><And>${tag("l")}</And>`), "MalformedXML"],
  ["an empty And", filtered("<And/>"), "MalformedXML"],
  ["an empty And beside a condition", filtered("<Prefix>a</Prefix><And/>"), "MalformedXML"],
  ["no action", rule(`${filter("")}${status}`), "InvalidRequest"],
  ["two actions of a kind", rule(`${filter("")}${status}${expiration}${expiration}`), "MalformedXML"],
  [
    "an ID of 256 characters",
    rule(`<ID>${"i".repeat(256)}</ID>${filter("")}${status}${expiration}`),
    "InvalidArgument",
  ],
  ["one ID twice", rule(`<ID>i</ID>${filter("")}${status}${expiration}`).repeat(2), "InvalidArgument"],
  ["both spellings", filtered("") + rule(`<Prefix/>${status}${expiration}`), "InvalidRequest"],
  ["a prefix of 1,025 bytes", filtered(`<Prefix>${"é".repeat(512)}a</Prefix>`), "InvalidRequest"],
  ["0 days", expires(days(0)), "InvalidArgument"],
  ["-1 days", expires(days(-1)), "InvalidArgument"],
  ["half a day", expires(days("0.5")), "MalformedXML"],
  ["more days than a number of AWS's holds", expires(days(2_147_483_648)), "MalformedXML"],
  ["days and a date", expires(`${days(1)}<Date>2030-01-01</Date>`), "MalformedXML"],
  ["an empty expiration", expires(""), "MalformedXML"],
  ["a date that is none", expires("<Date>soon</Date>"), "MalformedXML"],
  ["a date that is not at midnight", expires("<Date>2030-01-01T12:00:00Z</Date>"), "InvalidArgument"],
  ["midnight elsewhere", expires("<Date>2030-01-01T00:00:00+02:00</Date>"), "InvalidArgument"],
  [
    "days and markers",
    expires(`${days(1)}<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>`),
    "MalformedXML",
  ],
  ["markers of yes", expires("<ExpiredObjectDeleteMarker>yes</ExpiredObjectDeleteMarker>"), "MalformedXML"],
  [
    "markers with a tag",
    filtered(tag("k"), "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"),
    "InvalidRequest",
  ],
  ["0 noncurrent days", noncurrent("<NoncurrentDays>0</NoncurrentDays>"), "InvalidArgument"],
  ["no noncurrent days", noncurrent("<NewerNoncurrentVersions>1</NewerNoncurrentVersions>"), "MalformedXML"],
  ["0 newer versions", noncurrent(`${nDays}<NewerNoncurrentVersions>0</NewerNoncurrentVersions>`), "InvalidArgument"],
  [
    "101 newer versions",
    noncurrent(`${nDays}<NewerNoncurrentVersions>101</NewerNoncurrentVersions>`),
    "InvalidArgument",
  ],
  [
    "newer versions in the older spelling",
    rule(
      `<Prefix/>${status}<NoncurrentVersionExpiration>${nDays}<NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration>`,
    ),
    "InvalidRequest",
  ],
  ["0 days of an upload", filtered("", abort("<DaysAfterInitiation>0</DaysAfterInitiation>")), "InvalidArgument"],
  ["an upload's end without days", filtered("", abort("")), "MalformedXML"],
  [
    "an upload's end with a tag",
    filtered(tag("k"), abort("<DaysAfterInitiation>1</DaysAfterInitiation>")),
    "InvalidRequest",
  ],
  [
    "an upload's end with a size",
    filtered("<ObjectSizeLessThan>9</ObjectSizeLessThan>", abort("<DaysAfterInitiation>1</DaysAfterInitiation>")),
    "InvalidRequest",
  ],
  ["a tag without a name", filtered(tag("")), "InvalidTag"],
  ["a tag of AWS's", filtered(tag("aws:k")), "InvalidTag"],
  ["one tag twice", filtered(`<And>${tag("k")}${tag("k", "w")}</And>`), "InvalidRequest"],
  ["a size below nothing", filtered("<ObjectSizeGreaterThan>-1</ObjectSizeGreaterThan>"), "InvalidRequest"],
  ["a size in words", filtered("<ObjectSizeGreaterThan>big</ObjectSizeGreaterThan>"), "MalformedXML"],
  [
    "sizes that nothing has",
    filtered("<And><ObjectSizeGreaterThan>9</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan></And>"),
    "InvalidRequest",
  ],
  [
    "what only the store writes",
    `${filtered("")}<TransitionDefaultMinimumObjectSize>varies_by_storage_class</TransitionDefaultMinimumObjectSize>`,
    "MalformedXML",
  ],
  ["a transition without a class", moved(days(1)), "MalformedXML"],
  [
    "a transition at noon",
    moved("<Date>2030-01-01T12:00:00Z</Date><StorageClass>GLACIER</StorageClass>"),
    "InvalidArgument",
  ],
  ["no XML", "<", "MalformedXML"],
];

test("conditions that stand beside each other are all meant, and told again in an And", async () => {
  const shown = async (inner: string): Promise<LifecycleRule["Filter"]> => {
    assert.equal((await send(filtered(inner))).status, 200);
    return (await get()).Rules?.[0]?.Filter;
  };
  const Tags = [{ Key: "k", Value: "v" }];
  assert.deepEqual(await shown(`<Prefix>a</Prefix>${tag("k")}`), { And: { Prefix: "a", Tags } });
  assert.deepEqual(await shown("<Prefix/><ObjectSizeGreaterThan>9</ObjectSizeGreaterThan>"), {
    And: { Prefix: "", ObjectSizeGreaterThan: 9 },
  });
  const mixed = await shown(`<Prefix>a/</Prefix>${tag("k")}<And><Prefix>a</Prefix>${tag("l")}</And>`);
  assert.deepEqual(mixed, { And: { Prefix: "a/", Tags: [...Tags, { Key: "l", Value: "v" }] } });
  assert.deepEqual(await shown("<Prefix>a</Prefix>"), { Prefix: "a" });
});

for (const [what, body, code] of refused)
  test(`a document with ${what} is ${code}, and nothing is changed`, async () => {
    const before = (await server.raw({ method: "GET", path: `/${Bucket}?lifecycle` })).text;
    const answer = await send(body);
    assert.deepEqual([answer.status, /<Code>(\w+)</.exec(answer.text)?.[1]], [400, code], answer.text);
    assert.equal((await server.raw({ method: "GET", path: `/${Bucket}?lifecycle` })).text, before);
  });

test("a transition is refused with its reason: there is one class of storage", async () => {
  for (const inner of [
    moved(`${days(0)}<StorageClass>STANDARD_IA</StorageClass>`),
    rule(
      `${filter("")}${status}${expiration}<NoncurrentVersionTransition><NoncurrentDays>1</NoncurrentDays><StorageClass>GLACIER</StorageClass></NoncurrentVersionTransition>`,
    ),
  ]) {
    const answer = await send(inner);
    assert.deepEqual([answer.status, /<Code>(\w+)</.exec(answer.text)?.[1]], [501, "NotImplemented"]);
    assert.match(answer.text, /one class of storage/);
  }
});

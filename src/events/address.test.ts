/** Addresses of brokers, and what an operator may say of a destination. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { parseBrokerAddress, splitLogin } from "./address.ts";
import { arnOf, destinationOfArn } from "./arn.ts";
import { checkedTarget, type NewDestination } from "./target.ts";
import { destinationKinds, type Credentials } from "../meta/destinations.ts";

const plain = (url: string, credentials: Credentials = {}): NewDestination => ({
  url,
  headers: [],
  secret: undefined,
  credentials,
});

test("an address says what, where and how", () => {
  const address = parseBrokerAddress("kafkas://one:9000,[::1],three/photos?mechanism=scram-sha-512");
  assert.deepEqual(
    { ...address, settings: Object.fromEntries(address.settings) },
    {
      kind: "kafka",
      isTls: true,
      hosts: [
        { host: "one", port: 9_000 },
        { host: "::1", port: 9_093 },
        { host: "three", port: 9_093 },
      ],
      path: "photos",
      settings: { mechanism: "scram-sha-512" },
    },
  );
  assert.equal(parseBrokerAddress("amqp://h/%2Fa?queue=q").path, "/a");
  assert.equal(parseBrokerAddress("mqtt://h//a/b").path, "/a/b");
  assert.deepEqual(parseBrokerAddress("tls://h/a.b").hosts, [{ host: "h", port: 4_222 }]);
});

const wrong: readonly (readonly [url: string, why: RegExp])[] = [
  ["nats://h", /its path is a subject/],
  ["nats://h/a..b", /its path is a subject/],
  ["nats://h/a.*", /without spaces and wildcards/],
  ["nats://h/a?jetstream=yes", /its setting "jetstream" is not right/],
  ["nats://h/a?jetsream=true", /it has no setting "jetsream"; there are jetstream/],
  ["kafka://h/a b", /its path is a topic of letters/],
  ["kafka://h/..", /its path is a topic of letters/],
  ["kafka://h/t?mechanism=gssapi", /its setting "mechanism" is not right/],
  ["amqp://h/v", /it names a queue, or an exchange/],
  ["amqp://h/v?queue=a&exchange=b", /it names a queue, or an exchange/],
  ["amqp://h/v?queue=a&routing-key=b", /it names a queue, or an exchange/],
  ["amqp://h,g/v?queue=a", /it names more than one host/],
  ["redis://h", /it names one of stream, list and channel/],
  ["redis://h?stream=a&list=b", /it names one of stream, list and channel/],
  ["redis://h/x?stream=a", /its path is the number of a database/],
  ["redis://h?list=a&max-length=3", /max-length belongs to a stream/],
  ["redis://h?stream=a&stream=b", /its setting "stream" is not right/],
  ["redis://h:0?stream=a", /its host is not host:port/],
  ["redis://h:70000?stream=a", /its host is not host:port/],
  ["redis://?stream=a", /it looks like redis:/],
  ["mqtt://h/", /its path is a topic/],
  ["mqtt://h/a/%23", /without the wildcards/],
  ["mqtt://h/%zz", /its path is percent-encoded/],
  [`nats://${"h,".repeat(limits.destinationHostsMax)}h/a`, /it names more than 8 hosts/],
];

for (const [url, why] of wrong)
  test(`refused: ${url.slice(0, 60)}`, () => {
    assert.throws(
      () => checkedTarget("one", plain(url)),
      (error) => hasReason(error, "invalid_argument") && why.test(error.message),
    );
  });

test("user and password are taken out of what is kept", () => {
  const target = checkedTarget("one", plain("redis://me:p%40ss@h/0?stream=a%40b"));
  assert.deepEqual(target, {
    kind: "redis",
    url: "redis://h/0?stream=a%40b",
    headers: [],
    secret: undefined,
    credentials: { user: "me", password: "p@ss" },
  });
  const fromFile = checkedTarget("one", plain("amqp://me@h/?queue=q", { password: "other" }));
  assert.deepEqual(fromFile.credentials, { user: "me", password: "other" });
});

test("what is split from an address comes back from it, whatever it is", () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: "grapheme" }), fc.string({ unit: "grapheme" }), (user, password) => {
      const login = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
      assert.deepEqual(splitLogin(`mqtt://${login}@host/topic`), {
        url: "mqtt://host/topic",
        credentials: { user, password },
      });
    }),
  );
});

test("no refusal says a password", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("nats", "tls", "kafka", "amqp", "redis", "mqtts", "http", "https", "ftp"),
      fc.string({ maxLength: 40 }),
      fc.constantFrom("", "/", "?", "#", "@", ":", "%"),
      (scheme, rest, odd) => {
        try {
          checkedTarget("one", plain(`${scheme}://me:${odd}hush-hush@${rest}`));
        } catch (error) {
          assert.ok(hasReason(error, "invalid_argument"), String(error));
          assert.doesNotMatch(error.message, /hush-hush/);
        }
      },
    ),
  );
});

const unfit: readonly (readonly [what: string, wanted: NewDestination, why: RegExp])[] = [
  ["headers to a broker", { ...plain("nats://h/a"), headers: [["a", "b"]] }, /Headers are a webhook's/],
  ["a signature to a broker", { ...plain("nats://h/a"), secret: "s" }, /Only what is sent to a webhook is signed/],
  ["a user of a webhook", plain("http://h/", { password: "p" }), /A webhook has no user/],
  ["a password without a user", plain("amqp://h/?queue=q", { password: "p" }), /A password needs a user/],
  ["NATS credentials elsewhere", plain("mqtt://h/a", { natsCredentials: "c" }), /is for NATS/],
  ["a certificate without its key", plain("mqtts://h/a", { certificate: "c" }), /go together/],
  ["an authority without TLS", plain("mqtt://h/a", { authority: "c" }), /are for addresses with TLS/],
  ["what is no certificate", plain("mqtts://h/a", { authority: "c" }), /are not in PEM/],
  ["an empty password", plain("mqtt://me@h/a", { password: "" }), /is empty/],
  ["too much", plain("mqtt://me@h/a", { password: "p".repeat(20_000) }), /have at most 16384 bytes together/],
  ["a long address", plain(`mqtt://h/${"a".repeat(3_000)}`), /has at most 2048 characters/],
];

for (const [what, wanted, why] of unfit)
  test(`refused: ${what}`, () => {
    assert.throws(
      () => checkedTarget("one", wanted),
      (error) => hasReason(error, "invalid_argument") && why.test(error.message),
    );
  });

test("a destination of any kind is named by its ARN", () => {
  for (const kind of destinationKinds) {
    const arn = arnOf({ name: "one", kind });
    assert.equal(arn, `arn:holdfast:sqs::one:${kind}`);
    assert.deepEqual(destinationOfArn(arn), { name: "one", kind });
  }
  assert.equal(destinationOfArn("arn:holdfast:sqs::one:pigeon"), undefined);
});

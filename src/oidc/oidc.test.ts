/** Which tokens of an issuer are taken, and when the issuer is asked for its keys. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { systemClock } from "../core/clock.ts";
import { limits } from "../core/limits.ts";
import { silentLog } from "../core/log.ts";
import { mayAsk } from "./fetch_json.ts";
import { newKey, openIssuer, signed, type Claimed, type TestIssuer, type TestKey } from "./issuer.fixture.ts";
import { createTokenVerifier, type TokenVerifier } from "./oidc.ts";

const startMs = Date.UTC(2026, 0, 2);
let nowMs = startMs;
let monotonicMs = 0;
const clock = { ...systemClock, nowMs: () => nowMs, monotonicMs: () => monotonicMs };
let issuer: TestIssuer;
let key: TestKey;
let other: TestKey;
before(async () => {
  issuer = await openIssuer();
  key = await newKey("first");
  other = await newKey("other");
});
after(() => issuer.close());

function fresh(allowsPlainLoopback = true): TokenVerifier {
  nowMs = startMs;
  monotonicMs = 0;
  issuer.answer = undefined;
  issuer.publish(key);
  (issuer.asked as string[]).length = 0;
  return createTokenVerifier({ clock, log: silentLog, allowsPlainLoopback });
}

const claims = (change: Claimed = {}): Claimed => ({
  iss: issuer.url,
  sub: "ada",
  aud: "app",
  iat: nowMs / 1_000,
  exp: nowMs / 1_000 + 3_600,
  ...change,
});

async function verdict(verifier: TokenVerifier, token: string, url = issuer.url): Promise<string> {
  const judged = await verifier.verify(token, { issuer: url, clientIds: ["app"] });
  return judged.outcome === "accepted" ? `accepted ${judged.claims.subject}` : judged.why;
}

test("a token is taken that is signed with a key of the issuer, in each of the algorithms", async () => {
  const verifier = fresh();
  const algorithms = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"];
  const keys = await Promise.all(algorithms.map((alg) => newKey(`key ${alg}`, alg)));
  issuer.publish(...keys);
  for (const each of keys)
    assert.equal(await verdict(verifier, await signed(each, claims())), "accepted ada", each.alg);
  assert.equal(issuer.asked.length, 2, "the configuration and the keys, once");
});

test("what is signed with another key is not taken, under whatever name", async () => {
  const verifier = fresh();
  assert.equal(await verdict(verifier, await signed({ ...other, kid: "first" }, claims())), "signature");
  assert.equal(await verdict(verifier, await signed(other, claims())), "signature");
  assert.equal(await verdict(verifier, await signed({ ...other, kid: undefined }, claims())), "signature");
});

test("algorithms that anybody could sign with are not taken", async () => {
  const verifier = fresh();
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const none = `${part({ alg: "none" })}.${part(claims())}.`;
  assert.equal(await verdict(verifier, none), "malformed");
  const begun = `${part({ alg: "HS256", kid: "first" })}.${part(claims())}`;
  const mac = createHmac("sha256", JSON.stringify(key.jwk)).update(begun).digest("base64url");
  assert.equal(await verdict(verifier, `${begun}.${mac}`), "malformed");
  assert.equal(issuer.asked.length, 0);
});

test("a key that is for encryption, or for another algorithm, signs nothing", async () => {
  const verifier = fresh();
  issuer.publish({ ...key, jwk: { ...key.jwk, use: "enc" } });
  assert.equal(await verdict(verifier, await signed(key, claims())), "signature");
  const again = fresh();
  issuer.publish({ ...key, jwk: { ...key.jwk, alg: "RS512" } });
  assert.equal(await verdict(again, await signed(key, claims())), "signature");
});

test("keys without ids, or with the same, are tried one after the other", async () => {
  const verifier = fresh();
  const twins = await Promise.all([newKey("twin"), newKey("twin"), newKey(undefined), newKey(undefined)]);
  issuer.publish(...twins);
  for (const each of twins) assert.equal(await verdict(verifier, await signed(each, claims())), "accepted ada");
});

test("keys of kinds that are not known hinder no others", async () => {
  const verifier = fresh();
  const odd = { kty: "LATTICE", kid: "first" };
  issuer.publish({ ...key, jwk: odd }, key);
  assert.equal(await verdict(verifier, await signed(key, claims())), "accepted ada");
});

test("a token that was changed anywhere is not taken", async () => {
  const verifier = fresh();
  const token = await signed(key, claims());
  assert.equal(await verdict(verifier, token), "accepted ada");
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  // Of the last letter not all bits count.
  const place = fc.integer({ min: 0, max: token.length - 2 }).filter((at) => token[at] !== ".");
  await fc.assert(
    fc.asyncProperty(place, fc.nat(letters.length - 1), async (at, which) => {
      const letter = letters[which]!;
      fc.pre(token[at] !== letter);
      assert.doesNotMatch(await verdict(verifier, token.slice(0, at) + letter + token.slice(at + 1)), /accepted/);
    }),
    { numRuns: 200, seed: 7 },
  );
});

test("anything that is no token is malformed, and makes nobody ask the issuer", async () => {
  const verifier = fresh();
  const long = await signed(key, claims({ long: "x".repeat(limits.webIdentityTokenCharsMax) }));
  for (const token of ["", "a", "a.b.c", "..", `${await signed(key, claims())}.x`, long, "é.é.é", "e30.e30.e30"])
    assert.equal(await verdict(verifier, token), "malformed");
  await fc.assert(
    fc.asyncProperty(fc.string(), async (text) => assert.equal(await verdict(verifier, text), "malformed")),
    { numRuns: 200, seed: 3 },
  );
  assert.equal(await verifier.issuerOf("a.b.c"), undefined);
  assert.equal(await verifier.issuerOf(await signed(key, claims({ iss: 5 }))), undefined);
  assert.equal(await verifier.issuerOf(await signed(key, claims())), issuer.url);
  assert.equal(issuer.asked.length, 0);
});

test("a token that could not hold makes nobody ask the issuer", async () => {
  const verifier = fresh();
  assert.equal(await verdict(verifier, await signed(key, claims({ aud: "another" }))), "audience");
  assert.equal(await verdict(verifier, await signed(key, claims({ exp: nowMs / 1_000 - 1 }))), "expired");
  assert.equal(issuer.asked.length, 0);
});

test("keys are kept, and asked for again when their time is over", async () => {
  const verifier = fresh();
  const token = await signed(key, claims());
  for (let each = 0; each < 5; each++) assert.equal(await verdict(verifier, token), "accepted ada");
  assert.equal(issuer.asked.length, 2);
  monotonicMs = limits.oidcKeysKeptMs;
  issuer.publish(other);
  assert.equal(await verdict(verifier, token), "signature", "the issuer has it no more");
  assert.equal(issuer.asked.length, 4);
});

test("a key that is new is found at once, and keys that nobody knows do not make the issuer be asked often", async () => {
  const verifier = fresh();
  assert.equal(await verdict(verifier, await signed(key, claims())), "accepted ada");
  monotonicMs = limits.oidcRefetchMsMin;
  issuer.publish(key, other);
  assert.equal(await verdict(verifier, await signed(other, claims())), "accepted ada");
  assert.equal(issuer.asked.length, 4);
  const stranger = await newKey("stranger");
  for (let each = 0; each < 5; each++) {
    monotonicMs += limits.oidcRefetchMsMin / 5 - 1;
    assert.equal(await verdict(verifier, await signed(stranger, claims())), "signature");
  }
  assert.equal(issuer.asked.length, 4);
  monotonicMs += 5;
  assert.equal(await verdict(verifier, await signed(stranger, claims())), "signature");
  assert.equal(issuer.asked.length, 6);
});

test("requests at one time wait for one fetch", async () => {
  const verifier = fresh();
  const token = await signed(key, claims());
  const verdicts = await Promise.all(Array.from({ length: 20 }, () => verdict(verifier, token)));
  assert.deepEqual(new Set(verdicts), new Set(["accepted ada"]));
  assert.equal(issuer.asked.length, 2);
});

test("an issuer that is away is asked again after a while, and what is known of it stays good meanwhile", async () => {
  const verifier = fresh();
  const token = await signed(key, claims());
  issuer.answer = (_, res) => void res.writeHead(500).end();
  assert.equal(await verdict(verifier, token), "unreachable");
  issuer.answer = undefined;
  assert.equal(await verdict(verifier, token), "unreachable");
  assert.equal(issuer.asked.length, 1);
  monotonicMs += limits.oidcFailedMsMin;
  assert.equal(await verdict(verifier, token), "accepted ada");
  issuer.answer = (_, res) => void res.destroy();
  monotonicMs += limits.oidcRefetchMsMin;
  assert.equal(await verdict(verifier, await signed(other, claims())), "unreachable");
  assert.equal(await verdict(verifier, token), "accepted ada");
  monotonicMs += limits.oidcKeysKeptMs;
  assert.equal(await verdict(verifier, token), "unreachable");
});

test("what an issuer must not answer counts as no answer", async () => {
  const configuration = (change: object): string =>
    JSON.stringify({ issuer: issuer.url, jwks_uri: `${issuer.url}/keys`, ...change });
  const long = JSON.stringify({ long: "x".repeat(limits.oidcDocumentBytesMax) });
  const many = JSON.stringify({ keys: Array.from({ length: limits.oidcKeysMax + 1 }, () => ({ kty: "RSA" })) });
  const answers: readonly (readonly [string, string, string?])[] = [
    ["no JSON", "<html>"],
    ["no object", "null"],
    ["another issuer", configuration({ issuer: `${issuer.url}/` })],
    ["keys nowhere", configuration({ jwks_uri: undefined })],
    ["keys elsewhere without TLS", configuration({ jwks_uri: "http://keys.test/" })],
    ["keys in a file", configuration({ jwks_uri: "file:///etc/passwd" })],
    ["too long", long],
    ["keys that are too long", configuration({}), long],
    ["too many keys", configuration({}), many],
    ["no list of keys", configuration({}), "{}"],
  ];
  for (const [what, first, second = '{"keys":[]}'] of answers) {
    const verifier = fresh();
    issuer.answer = (req, res) => void res.end(req.url!.endsWith("/keys") ? second : first);
    assert.equal(await verdict(verifier, await signed(key, claims())), "unreachable", what);
  }
});

test("redirects are not followed", async () => {
  const verifier = fresh();
  const target = await openIssuer();
  target.publish(key);
  issuer.answer = (_, res) =>
    void res.writeHead(302, { location: `${target.url}/.well-known/openid-configuration` }).end();
  assert.equal(await verdict(verifier, await signed(key, claims())), "unreachable");
  assert.equal(target.asked.length, 0);
  await target.close();
});

test("issuers are asked over TLS, or at this machine where that is allowed", async () => {
  const verifier = fresh(false);
  assert.equal(await verdict(verifier, await signed(key, claims())), "unreachable");
  assert.equal(issuer.asked.length, 0);
  const asked = ["https://id.test/x", "http://localhost:1/x", "http://127.9.0.1/", "http://[::1]:8080/a"];
  assert.deepEqual(
    asked.map((each) => mayAsk(each, true)),
    [true, true, true, true],
  );
  assert.deepEqual(
    asked.map((each) => mayAsk(each, false)),
    [true, false, false, false],
  );
  const never = [
    "http://id.test/",
    "http://localhost.id.test/",
    "http://127.0.0.1.id.test/",
    "https://u:p@id.test/",
    "ftp://localhost/",
    "x",
  ];
  for (const each of never) assert.equal(mayAsk(each, true), false, each);
});

/** What a token may say, and what is wrong with others. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { judgeClaims } from "./claims.ts";

const nowMs = 1_000_000_000;
const expected = { issuer: "https://id.test/a", clientIds: ["one", "two"], nowMs };
const good = { iss: "https://id.test/a", sub: "ada", aud: "one", iat: 999_000, exp: 1_000_001 };

function judged(change: object): string {
  const verdict = judgeClaims({ ...good, ...change }, expected);
  return verdict.outcome === "accepted" ? "accepted" : verdict.why;
}

test("a token that says all it must is accepted, and what it says is passed on", () => {
  const more = { azp: "one", amr: ["pwd", "otp"], email: "ada@id.test", groups: ["x"] };
  const verdict = judgeClaims({ ...good, ...more }, expected);
  assert.ok(verdict.outcome === "accepted");
  const { all, ...claims } = verdict.claims;
  assert.deepEqual(claims, {
    issuer: good.iss,
    subject: "ada",
    audiences: ["one"],
    authorizedParty: "one",
    methods: ["pwd", "otp"],
    email: "ada@id.test",
  });
  assert.deepEqual(all["groups"], ["x"]);
});

test("the issuer is exactly the one that was asked for", () => {
  for (const iss of ["https://id.test/a/", "https://id.test/A", "http://id.test/a", "https://id.test"])
    assert.equal(judged({ iss }), "issuer");
});

test("a token is for a client that is meant, and issued to one", () => {
  assert.equal(judged({ aud: "three" }), "audience");
  assert.equal(judged({ aud: ["one"] }), "accepted");
  assert.equal(judged({ aud: ["one", "three"] }), "audience", "it does not say to whom it was issued");
  assert.equal(judged({ aud: ["one", "three"], azp: "one" }), "accepted");
  assert.equal(judged({ aud: ["one", "three"], azp: "three" }), "audience");
  assert.equal(judged({ azp: "three" }), "audience");
  assert.equal(judged({ aud: ["three"], azp: "one" }), "audience");
  assert.equal(judgeClaims(good, { ...expected, clientIds: [] }).outcome, "refused");
});

test("a token holds until it expires, and not before its time", () => {
  assert.equal(judged({ exp: 1_000_000 }), "expired");
  assert.equal(judged({ exp: 1_000_000.5 }), "accepted");
  assert.equal(judged({ iat: 1_000_060 }), "accepted", "the issuer's clock may be ahead by a minute");
  assert.equal(judged({ iat: 1_000_061 }), "times");
  assert.equal(judged({ nbf: 1_000_061 }), "times");
  assert.equal(judged({ nbf: 999_999 }), "accepted");
});

test("what is missing, or is something else than it must be, makes it no token", () => {
  for (const name of ["iss", "sub", "aud", "iat", "exp"])
    assert.equal(judged({ [name]: undefined }), "malformed", name);
  const wrong = [
    { sub: "" },
    { sub: 1 },
    { sub: "a\u0000" },
    { sub: "\ud800" },
    { sub: "x".repeat(256) },
    { aud: [] },
    { aud: [1] },
    { aud: {} },
    { azp: 1 },
    { exp: "9" },
    { nbf: "0" },
  ];
  for (const change of wrong) assert.equal(judged(change), "malformed", JSON.stringify(change));
  assert.equal(judged({ exp: Number.NaN }), "expired");
});

/** What each condition operator makes of values, several values, and none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAddress, parseBlock, isInBlock } from "./addresses.ts";
import { normalKey, type KeyValue } from "./condition_values.ts";
import { parseConditions } from "./conditions.ts";
import { parseDate } from "./dates.ts";
import { parseJson } from "./json.ts";

type Found = Record<string, KeyValue>;

function holds(condition: object, found: Found, effect: "Allow" | "Deny" = "Allow"): boolean {
  const parsed = parseJson(JSON.stringify(condition));
  assert.ok(parsed.ok);
  const keys = new Map(Object.entries(found).map(([name, value]) => [normalKey(name), value]));
  return parseConditions(parsed.value, { effect, variables: true }).every((clause) => clause.holds(keys));
}

/** Operator, the policy's value, values that match, values that do not. */
const tables: readonly (readonly [string, unknown, string[], string[]])[] = [
  ["StringEquals", "a*", ["a*"], ["ab", "A*", ""]],
  ["StringEquals", ["a", "b"], ["a", "b"], ["ab"]],
  ["StringEquals", "${*}${?}${$}", ["*?$"], ["a"]],
  ["StringEqualsIgnoreCase", "Straße", ["STRAßE", "straße"], ["strasse"]],
  ["StringLike", "a?c*", ["abc", "a😀c", "abcd"], ["ac", "Abc"]],
  ["StringLike", "${*}*", ["*", "*a"], ["a*"]],
  ["NumericEquals", 10, ["10", "10.0"], ["11", "ten", ""]],
  ["NumericLessThan", "10", ["9", "-1"], ["10", "x"]],
  ["NumericLessThanEquals", "10", ["10"], ["10.5"]],
  ["NumericGreaterThan", "1.1", ["1.2"], ["1.1"]],
  ["NumericGreaterThanEquals", "1.2", ["1.2", "1.3"], ["1.1"]],
  ["DateEquals", "2026-01-01T00:00:00Z", ["2026-01-01T01:00:00+01:00", "1767225600"], ["2026-01-02", "soon"]],
  ["DateLessThan", "2026", ["2025-12-31T23:59:59Z"], ["2026-01-01"]],
  ["DateLessThanEquals", "2026", ["2026-01-01"], ["2026-01-01T00:00:00.001Z"]],
  ["DateGreaterThan", "2026-01", ["2026-01-01T00:00:01Z"], ["2026-01-01"]],
  ["DateGreaterThanEquals", 1767225600, ["2026-01-01"], ["2025"]],
  ["Bool", true, ["true", "True"], ["false", "1"]],
  ["BinaryEquals", "AQI=", ["AQI="], ["AQM=", "aqi="]],
  ["IpAddress", "192.0.2.0/24", ["192.0.2.255", "::ffff:192.0.2.1"], ["192.0.3.0", "2001:db8::1", "host"]],
  ["IpAddress", "2001:DB8:1234:5678::/64", ["2001:db8:1234:5678:ffff::"], ["2001:db8:1234:5679::", "32.1.13.184"]],
  [
    "ArnEquals",
    "arn:aws:iam::*:user/?",
    ["arn:aws:iam::1:user/a"],
    ["arn:aws:iam::1:2:user/a", "arn:aws:iam::1:user/ab"],
  ],
  ["ArnLike", "arn:*", ["arn:aws:iam::1:user/a"], ["arn:", "arn:aws:iam"]],
  ["ArnLike", "arn:aws:iam::1:user/*", ["arn:aws:iam::1:user/a:b/c"], ["arn:aws:iam::2:user/a", "user/a"]],
];

for (const [operator, wanted, matching, others] of tables)
  test(`${operator} ${JSON.stringify(wanted)}`, () => {
    for (const value of matching) assert.ok(holds({ [operator]: { "x:k": wanted } }, { "x:k": value }), value);
    for (const value of others) assert.ok(!holds({ [operator]: { "x:k": wanted } }, { "x:k": value }), value);
  });

const negations = [
  ["StringNotEquals", "a"],
  ["StringNotEqualsIgnoreCase", "A"],
  ["StringNotLike", "a*"],
  ["NumericNotEquals", "1"],
  ["DateNotEquals", "2026"],
  ["NotIpAddress", "10.0.0.1"],
  ["ArnNotEquals", "arn:aws:iam::1:user/a"],
  ["ArnNotLike", "arn:aws:iam::1:user/*"],
] as const;
const matched = { a: "a", A: "a", "a*": "a", "arn:aws:iam::1:user/*": "arn:aws:iam::1:user/a" } as Record<
  string,
  string
>;

for (const [operator, wanted] of negations)
  test(`${operator} holds where nothing matches, and where nothing is`, () => {
    assert.ok(!holds({ [operator]: { "x:k": [wanted, wanted] } }, { "x:k": matched[wanted] ?? wanted }));
    assert.ok(holds({ [operator]: { "x:k": wanted } }, { "x:k": "else" }));
    assert.ok(holds({ [operator]: { "x:k": wanted } }, {}));
    assert.ok(holds({ [`${operator}IfExists`]: { "x:k": wanted } }, {}));
  });

test("a missing key: positive operators do not hold, IfExists does, Null asks for it", () => {
  for (const [operator, wanted] of tables) {
    assert.ok(!holds({ [operator]: { "x:k": wanted } }, {}), operator);
    assert.ok(holds({ [`${operator}IfExists`]: { "x:k": wanted } }, {}), operator);
  }
  assert.ok(!holds({ StringEqualsIfExists: { "x:k": "a" } }, { "x:k": "b" }));
  assert.ok(holds({ Null: { "x:k": "true" } }, {}) && holds({ Null: { "x:k": true } }, { "x:k": [] }));
  assert.ok(!holds({ Null: { "x:k": "true" } }, { "x:k": "" }) && holds({ Null: { "x:k": "false" } }, { "x:k": "" }));
});

test("several values of a key: one must match without a qualifier; each or any with one", () => {
  const both = { "x:k": ["a", "b"] };
  const cases: readonly [object, Found, boolean][] = [
    [{ StringEquals: { "x:k": "a" } }, both, true],
    [{ StringNotEquals: { "x:k": "a" } }, both, false],
    [{ "ForAnyValue:StringEquals": { "x:k": "a" } }, both, true],
    [{ "ForAnyValue:StringEquals": { "x:k": "c" } }, both, false],
    [{ "ForAnyValue:StringNotEquals": { "x:k": "a" } }, both, true],
    [{ "ForAnyValue:StringNotEquals": { "x:k": ["a", "b"] } }, both, false],
    [{ "ForAllValues:StringEquals": { "x:k": "a" } }, both, false],
    [{ "ForAllValues:StringEquals": { "x:k": ["a", "b", "c"] } }, both, true],
    [{ "ForAllValues:StringNotEquals": { "x:k": "a" } }, both, false],
    [{ "ForAllValues:StringNotEquals": { "x:k": "c" } }, both, true],
    [{ "ForAllValues:StringEquals": { "x:k": "a" } }, {}, true],
    [{ "ForAllValues:StringEquals": { "x:k": "a" } }, { "x:k": [] }, true],
    [{ "ForAnyValue:StringEquals": { "x:k": "a" } }, {}, false],
    [{ "ForAnyValue:StringNotEquals": { "x:k": "a" } }, {}, false],
    [{ "ForAnyValue:StringEqualsIfExists": { "x:k": "a" } }, {}, true],
  ];
  for (const [condition, found, expected] of cases)
    assert.equal(holds(condition, found), expected, JSON.stringify(condition));
});

test("all operators and all keys must hold, and names of keys ignore case", () => {
  const condition = { StringEquals: { "x:A": "1", "x:b": "2" }, Bool: { "x:c": "true" } };
  assert.ok(holds(condition, { "X:a": "1", "x:b": "2", "x:c": "true" }));
  assert.ok(
    !holds(condition, { "x:a": "1", "x:b": "2" }) && !holds(condition, { "x:a": "1", "x:b": "3", "x:c": "true" }),
  );
  assert.ok(holds({ StringEquals: { "aws:PrincipalTag/Team": "x" } }, { "aws:principaltag/TEAM": "x" }));
  assert.ok(!holds({ StringEquals: { "s3:ExistingObjectTag/Team": "x" } }, { "s3:existingobjecttag/team": "x" }));
  assert.ok(holds({}, {}));
});

test("variables bring text, or their default; without either nothing matches and nothing is allowed", () => {
  const named = { StringLike: { "x:k": "home/${aws:username}/*" } };
  assert.ok(holds(named, { "x:k": "home/a/b", "aws:username": "a" }));
  assert.ok(
    !holds(named, { "x:k": "home/b/b", "aws:username": "*" }) &&
      holds(named, { "x:k": "home/*/b", "aws:username": "*" }),
  );
  assert.ok(!holds(named, { "x:k": "home//b" }) && !holds(named, { "x:k": "home/a/b", "aws:username": ["a"] }));
  const fallback = { StringEquals: { "x:k": "${aws:userid, 'anonymous'}" } };
  assert.ok(holds(fallback, { "x:k": "anonymous" }) && !holds(fallback, { "x:k": "anonymous", "aws:userid": "AIDA" }));
  const not = { StringNotEquals: { "x:k": "${aws:username}" } };
  assert.ok(!holds(not, { "x:k": "a" }, "Allow") && holds(not, { "x:k": "a" }, "Deny"));
  assert.ok(
    holds(
      { ArnLike: { "x:k": "${aws:PrincipalArn}" } },
      { "x:k": "arn:aws:iam::1:user/a", "aws:PrincipalArn": "arn:aws:iam::1:user/a" },
    ),
  );
});

test("addresses and blocks", () => {
  const isIn = (address: string, block: string): boolean => isInBlock(parseAddress(address)!, parseBlock(block)!);
  assert.ok(
    isIn("0.0.0.0", "255.255.255.255/0") && isIn("10.0.0.1", "10.0.0.99/24") && !isIn("10.0.1.1", "10.0.0.99/24"),
  );
  assert.ok(isIn("::1", "::/0") && !isIn("127.0.0.1", "::/0") && isIn("fe80::1", "fe80::/10"));
  assert.ok(isIn("192.0.2.7", "::ffff:192.0.2.0/120") && isIn("::ffff:c000:207", "192.0.2.7"));
  assert.ok(isIn("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:0:0/96") && isIn("64:ff9b::192.0.2.1", "64:ff9b::c000:201"));
  for (const text of [
    "",
    "1.2.3",
    "1.2.3.4/",
    "1.2.3.4/33",
    "::/129",
    "::ffff:1.2.3.4/95",
    "fe80::1%eth0",
    "1.2.3.4/-1",
    "a/8",
  ])
    assert.equal(parseBlock(text), undefined, text);
});

test("dates", () => {
  const at = (iso: string): number => Date.parse(iso);
  assert.equal(parseDate("2026-03"), at("2026-03-01T00:00:00Z"));
  assert.equal(parseDate("2026-03-04T05:06Z"), at("2026-03-04T05:06:00Z"));
  assert.equal(parseDate("2026-03-04T05:06:07.25-02:30"), at("2026-03-04T07:36:07.250Z"));
  assert.equal(parseDate("1767225600.5"), 1_767_225_600_500);
  for (const text of [
    "",
    "2026-13",
    "2026-02-29",
    "2026-03-04T05:06:07",
    "2026-03-04T24:00Z",
    "2026-03-04 05:06Z",
    "26",
    "-1",
    "2026-03-04T05:06+99:00",
  ])
    assert.equal(parseDate(text), text === "26" ? 26_000 : undefined, text);
});

/** The pure parts of websites: whose a host is, and where a rule leads. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { RoutingRule } from "../gateway/documents/website.ts";
import { S3Error } from "../gateway/errors.ts";
import { bucketsOfHost } from "./host.ts";
import { errorPage } from "./page.ts";
import { folderLocation, locationElsewhere, redirectedBy, ruleFor } from "./routing.ts";

test("a host belongs to the longest domain that it is or lies below", () => {
  const domains = { s3: ["s3.example.org", "example.net"], website: ["example.org", "web.example.net"] };
  const found = (host: string | undefined) => bucketsOfHost(host, domains);
  assert.deepEqual(found("Docs.Example.org:9000"), ["docs", "docs.example.org"]);
  assert.deepEqual(found("a.b.example.org"), ["a.b", "a.b.example.org"]);
  assert.deepEqual(found("example.org"), ["example.org"]);
  for (const host of [
    "s3.example.org",
    "b.s3.example.org",
    "example.net",
    "b.example.net",
    "anexample.org",
    "",
    "[::1]:9",
    undefined,
  ])
    assert.equal(found(host), undefined, host);
  assert.deepEqual(found("b.web.example.net"), ["b", "b.web.example.net"]);
  assert.deepEqual(found(`${"b".repeat(64)}.example.org`), []);
  assert.equal(bucketsOfHost("b.example.org", { s3: [], website: [] }), undefined);
});

const asked = {
  protocol: "http",
  host: "b.web.test:9000",
  key: "docs/a b.html",
  rawPath: "/docs/a%20b.html",
  rawQuery: "",
} as const;
const to = (redirect: Partial<RoutingRule["redirect"]>, condition?: RoutingRule["condition"]): RoutingRule => ({
  condition,
  redirect: { protocol: undefined, hostName: undefined, status: undefined, replacement: undefined, ...redirect },
});

test("a rule changes what it names and keeps the rest, the query too", () => {
  const docs = { keyPrefix: "docs/", errorStatus: undefined };
  const cases: [RoutingRule, string, number][] = [
    [to({ hostName: "a.test" }), "http://a.test/docs/a%20b.html", 301],
    [to({ protocol: "https", status: 307 }), "https://b.web.test:9000/docs/a%20b.html", 307],
    [
      to({ replacement: { of: "prefix", with: "documents/" } }, docs),
      "http://b.web.test:9000/documents/a%20b.html",
      301,
    ],
    [to({ replacement: { of: "prefix", with: "all/" } }), "http://b.web.test:9000/all/docs/a%20b.html", 301],
    [to({ replacement: { of: "prefix", with: "make?key=" } }, docs), "http://b.web.test:9000/make?key=a%20b.html", 301],
    [to({ replacement: { of: "prefix", with: "#!/" } }, docs), "http://b.web.test:9000/#!/a%20b.html", 301],
    [to({ replacement: { of: "key", with: "näh\r\nere" } }), "http://b.web.test:9000/n%C3%A4h%0D%0Aere", 301],
  ];
  for (const [rule, location, status] of cases) {
    assert.deepEqual(redirectedBy(rule, asked), { status, location });
    const mark = location.includes("?") ? "&" : "?";
    const withQuery = redirectedBy(rule, { ...asked, rawQuery: "x=1&y=%41" });
    assert.equal(withQuery.location, `${location}${mark}x=1&y=%41`);
  }
});

test("the first rule that fits counts, one with an error only after it", () => {
  const rules = [
    to({}, { keyPrefix: "a/", errorStatus: 404 }),
    to({}, { keyPrefix: "a/", errorStatus: undefined }),
    to({}, { keyPrefix: undefined, errorStatus: 404 }),
    to({}, { keyPrefix: "", errorStatus: undefined }),
  ];
  const chosen = (key: string, status?: number): number => rules.indexOf(ruleFor(rules, key, status)!);
  assert.deepEqual(
    [chosen("a/x"), chosen("b"), chosen("a/x", 404), chosen("b", 404), chosen("b", 403)],
    [1, 3, 0, 2, -1],
  );
  assert.notEqual(ruleFor([to({})], "k", undefined), undefined);
});

test("no location holds what a header or an address cannot, and none leads to a host that nobody named", () => {
  const text = fc.oneof(fc.string({ unit: "binary", maxLength: 20 }), fc.string({ maxLength: 20 }));
  const latin1 = fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes).toString("latin1"));
  fc.assert(
    fc.property(text, text, latin1, (key, replacement, raw) => {
      const visited = { ...asked, key, rawPath: `/${raw}`, rawQuery: raw };
      const locations = [
        redirectedBy(to({ replacement: { of: "key", with: replacement } }), visited).location,
        redirectedBy(to({ replacement: { of: "prefix", with: replacement } }), visited).location,
        locationElsewhere({ kind: "elsewhere", hostName: "a.test", protocol: undefined }, visited),
      ];
      for (const location of locations) {
        assert.match(location, /^[\x21-\x7e]+$/);
        assert.ok(["b.web.test:9000", "a.test"].includes(new URL(location).host), location);
      }
      // The empty one has its index at the root.
      if (key === "") return;
      const folder = folderLocation(key);
      assert.equal(new URL(folder, "http://own.test/").host, "own.test", folder);
      assert.equal(decodeURIComponent(folder), `/${key}/`);
    }),
  );
});

test("a page of an error repeats nothing that a browser would run", () => {
  const error = new S3Error("NoSuchKey", "<b>&\r\nü", { details: { Key: "<script>" } });
  const { body, headers } = errorPage({ error, key: "k" }, { error }, { requestId: "R", hostId: "H" });
  assert.ok(typeof body === "string" && !/<b>|<script>/.test(body));
  assert.ok(headers.every((text) => /^[\x20-\x7e]*$/.test(text)));
});

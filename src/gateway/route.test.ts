import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { S3Error } from "./errors.ts";
import { operations } from "./operations.ts";
import { decodeToken, encodeToken, encodeUrl } from "./params.ts";
import { decodeKey, detect, parseQuery } from "./route.ts";
import type { RouteInput } from "./route.ts";

function route(target: string, more: Partial<RouteInput> = {}) {
  return detect({
    method: "GET",
    host: "127.0.0.1:9000",
    target,
    hasCopySource: false,
    domains: ["s3.example.test"],
    ...more,
  });
}

const refusedWith = (code: string) => (error: unknown) => error instanceof S3Error && error.code === code;

void test("every operation is found by what its row says", () => {
  const targets = { service: "/", bucket: "/bucket", object: "/bucket/key" };
  for (const [name, { level, method, sub, copy, named }] of Object.entries(operations)) {
    const query = [sub, ...(named === true ? ["id=one"] : [])].join("&");
    const found = route(`${targets[level]}?${query}`, { method, hasCopySource: copy === true });
    assert.equal(found.operation, name);
  }
});

for (const [host, target, bucket, key] of [
  ["127.0.0.1:9000", "/", "", ""],
  ["127.0.0.1:9000", "/b", "b", ""],
  ["127.0.0.1:9000", "/b/", "b", ""],
  ["127.0.0.1:9000", "/b//", "b", "/"],
  ["127.0.0.1:9000", "/b/k", "b", "k"],
  ["127.0.0.1:9000", "http://127.0.0.1:9000/b/k", "b", "k"],
  ["[::1]:9000", "/b/k", "b", "k"],
  ["s3.example.test", "/b/k", "b", "k"],
  ["b.s3.example.test", "/", "b", ""],
  ["B.S3.Example.Test:9000", "/k/", "b", "k/"],
  ["a.b.s3.example.test", "//k", "a.b", "/k"],
  ["otherS3.example.test", "/b/k", "b", "k"],
  [".s3.example.test", "/b/k", "b", "k"],
] as const) {
  void test(`${host} ${target} is bucket "${bucket}", key "${key}"`, () => {
    const found = route(target, { host });
    assert.deepEqual([found.bucket, found.key.toString()], [bucket, key]);
  });
}

void test("what cannot be a path is InvalidURI", () => {
  for (const target of ["*", "b/k", "//k", "/b/%", "/b/%4", "/b/%4g", "/b/%c3", "/%ff"])
    assert.throws(() => route(target), refusedWith("InvalidURI"), target);
});

void test("sub-resources: unknown to us 501, unknown to S3 ignored, two at once refused", () => {
  assert.throws(() => route("/b?session"), refusedWith("NotImplemented"));
  assert.throws(() => route("/b/k?acl", { method: "DELETE" }), refusedWith("NotImplemented"));
  assert.throws(() => route("/b?acl&policy"), refusedWith("InvalidArgument"));
  assert.equal(route("/b/k?x-id=GetObject&whatever").operation, "GetObject");
  assert.equal(route("/b?list-type=2&prefix=acl").operation, "ListObjectsV2");
});

void test("a write of a sub-resource that nobody knows is no write of the bucket or object", () => {
  for (const method of ["PUT", "DELETE", "POST"])
    for (const target of [
      "/b?newThing",
      "/b?newThing=",
      "/b?x-id=NewThing&newThing",
      "/b/k?newThing",
      "/b/k?newThing&id=1",
    ])
      assert.throws(
        () => route(target, { method }),
        (error) => error instanceof S3Error,
        `${method} ${target}`,
      );
  assert.throws(() => route("/b?newThing", { method: "DELETE" }), refusedWith("NotImplemented"));
  assert.equal(route("/b/k?versionId=", { method: "DELETE" }).operation, "DeleteObject");
  assert.equal(route("/b/k?x-id=PutObject&lang=en", { method: "PUT" }).operation, "PutObject");
});

void test("a query is read as S3 reads it", () => {
  assert.deepEqual(
    [...parseQuery("a=1&b&c=x+y%2B&a=2&&d==&%C3%BC=%E2%82%AC")],
    [
      ["a", "1"],
      ["b", ""],
      ["c", "x y+"],
      ["d", "="],
      ["ü", "€"],
    ],
  );
});

void test("any key comes back from its encoding, and from its token", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", minLength: 1 }), (text) => {
      const key = Buffer.from(text);
      assert.ok(decodeKey(encodeUrl(key.toString())).equals(key));
      assert.ok(decodeToken(encodeToken(key)).equals(key));
    }),
  );
});

void test("any target is a route or an S3 error", () => {
  const target = fc.string({
    unit: fc.constantFrom("/", "%", "?", "&", "=", "+", "a", "4", "F", ":", ".", "\xff", "\xc3"),
  });
  fc.assert(
    fc.property(target, (text) => {
      try {
        route(`/${text}`);
      } catch (error) {
        assert.ok(error instanceof S3Error);
      }
    }),
  );
});

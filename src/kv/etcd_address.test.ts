import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../core/errors.ts";
import { parseEtcdAddress } from "./etcd_address.ts";

void test("an address names members, user, store and files", () => {
  assert.deepEqual(parseEtcdAddress("etcd://h1"), {
    endpoints: ["h1:2379"],
    credentials: undefined,
    name: "holdfast",
    tls: undefined,
  });
  assert.deepEqual(parseEtcdAddress("etcds://me:p%40ss%3A@h1:1,[::1]:2,10.0.0.3/photos?ca=/c.pem&cert=a&key=b"), {
    endpoints: ["h1:1", "[::1]:2", "10.0.0.3:2379"],
    credentials: { user: "me", password: "p@ss:" },
    name: "photos",
    tls: { ca: "/c.pem", cert: "a", key: "b" },
  });
  assert.deepEqual(parseEtcdAddress("etcds://h1/").tls, {});
});

void test("an address that is not right is refused, and its password is not repeated", () => {
  const wrong = [
    "http://h1:2379",
    "etcd://",
    "etcd:///name",
    "etcd://me:secret@",
    "etcd://secret@h1",
    "etcd://me:secret@h1,,h2",
    "etcd://me:secret@h1:99999",
    "etcd://me:secret%@h1",
    "etcd://me:secret@h1/a/b",
    "etcd://me:secret@h1/a b",
    "etcd://me:secret@h1/n?ca=x",
    "etcds://me:secret@h1/n?cert=x",
    "etcds://me:secret@h1/n?verify=no",
    `etcd://me:secret@${Array.from({ length: 17 }, () => "h").join(",")}`,
  ];
  for (const url of wrong) {
    assert.throws(
      () => parseEtcdAddress(url),
      (error) =>
        error instanceof HoldfastError && error.reason === "invalid_argument" && !error.message.includes("secret"),
      url,
    );
  }
});

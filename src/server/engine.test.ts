import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../core/errors.ts";
import { silentLog } from "../core/log.ts";
import { checkEngineUrl, isEngineUrl, openEngine, shownEngineUrl } from "./engine.ts";

const password = "s3cret-5d1c";

async function refusalOf(url: string): Promise<string> {
  const refused = await openEngine(url, { log: silentLog }).then(
    () => assert.fail("was opened"),
    (error: unknown) => error,
  );
  assert.ok(refused instanceof HoldfastError);
  assert.equal(refused.reason, "invalid_argument");
  assert.ok(!refused.message.includes(password), refused.message);
  return refused.message;
}

test("the scheme says which engine it is", () => {
  assert.equal(checkEngineUrl("postgres://h/db"), "postgres");
  assert.equal(checkEngineUrl("postgresql://h/db?schema=photos"), "postgres");
  assert.equal(checkEngineUrl("etcd://h1,h2,h3/photos"), "etcd");
  assert.equal(checkEngineUrl("etcds://h1:2379?ca=ca.pem"), "etcd");
});

test("an address is told from a folder", () => {
  for (const text of ["postgres://h/db", "etcd://h", "mysql://h"]) assert.ok(isEngineUrl(text), text);
  for (const text of ["./d1", "/srv/d1", "d1", "C:/data", "postgres", "a:b"]) assert.ok(!isEngineUrl(text), text);
});

test("what is no address of an engine is refused with what it should look like, and never repeated", async () => {
  assert.match(
    await refusalOf(`mysql://me:${password}@h/db`),
    /begins with mysql:\/\/; it looks like postgres:.*etcd:/,
  );
  assert.match(await refusalOf(`me:${password}@h/db`), /begins with no scheme/);
  assert.match(await refusalOf(`constructor://me:${password}@h/db`), /begins with constructor:/);
  assert.match(await refusalOf(`postgres://me:${password}@h:x/db`), /names a host that is none/);
  assert.match(
    await refusalOf(`postgres://me:${password}@h/db?password=${password}`),
    /"password", which is not known/,
  );
  assert.match(await refusalOf(`etcd://me:${password}@h/a/b`), /looks like etcd:/);
  assert.match(await refusalOf(`etcds://me:${password}@h?ca=/no/such/ca.pem`), /The file \/no\/such\/ca\.pem.*ENOENT/);
});

test("a shown address has neither user nor password", () => {
  assert.equal(
    shownEngineUrl(`postgres://me:${password}@h1,h2:5433/db?schema=a`),
    "postgres://…@h1,h2:5433/db?schema=a",
  );
  assert.equal(shownEngineUrl(`etcds://me:${password}@h1:2379/name?ca=a@b.pem`), "etcds://…@h1:2379/name?ca=a@b.pem");
  assert.equal(shownEngineUrl("etcd://h1/name"), "etcd://h1/name");
});

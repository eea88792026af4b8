/** createServer as a program uses it: closing, wrong options, several in one process. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { createServer, HoldfastError, type CreateServerOptions, type HoldfastServer } from "../../src/index.ts";
import { fenceOthers } from "../../src/jobs/jobs.ts";
import { openLmdbKv } from "../../src/kv/lmdb.ts";
import { metaFile } from "../../src/server/layout.ts";
import { basic, temporaryFolder } from "./harness.ts";

/** A server that ends with the test, also when it should not have started. */
async function start(t: TestContext, options: CreateServerOptions): Promise<HoldfastServer> {
  const server = await createServer(options);
  t.after(() => server.close());
  return server;
}

test("close may be called again, and every call resolves when all is closed", async (t) => {
  const drive = temporaryFolder(t);
  const server = await start(t, { drives: [drive] });
  void server.close();
  await server.close();
  await (await start(t, { drives: [drive] })).close();
  await server.close();
});

test("a server that can write no more says why, closes itself, and another may be made on its drive", async (t) => {
  const drive = temporaryFolder(t);
  const server = await start(t, { drives: [drive] });
  const kv = await openLmdbKv({ path: metaFile(drive) });
  // As whoever took this process for dead does it.
  assert.equal(await fenceOthers(kv, []), 1);
  await kv.close();
  assert.match(await server.ended, /taken for dead/);
  await server.close();
  await assert.rejects(fetch(server.url), "nobody listens any more");
  const next = await start(t, { drives: [drive] });
  assert.equal((await fetch(next.url)).status, 403);
  let isOver = false;
  void next.ended.then(() => (isOver = true));
  await next.close();
  assert.equal(isOver, false, "a server that is closed has not ended");
});

test("servers in one process share nothing", async (t) => {
  const [one, two] = await Promise.all([start(t, { memory: true }), start(t, { memory: true })]);
  assert.notEqual(one.accessKey, two.accessKey);
  const headers = basic(one.accessKey, one.secretKey);
  await fetch(`${one.url}/_/files?name=x`, { method: "PUT", headers, body: "x" });
  assert.equal((await fetch(`${two.url}/_/files`, { headers })).status, 401);
  await one.close();
  const listed = await fetch(`${two.url}/_/files`, { headers: basic(two.accessKey, two.secretKey) });
  assert.deepEqual(await listed.json(), { files: [], cursor: null });
  await two.close();
});

test("several keys are committed at once, or none", async (t) => {
  const server = await start(t, { memory: true });
  await fetch(`${server.url}/_/files?name=x`, {
    method: "PUT",
    headers: basic(server.accessKey, server.secretKey),
    body: "x",
  });
  const done = await server.commit("files", [
    { put: "a", text: "a" },
    { put: "b", base64: "Yg==" },
  ]);
  assert.deepEqual(
    done.map(({ key, etag }) => [key, etag?.length]),
    [
      ["a", 32],
      ["b", 32],
    ],
  );
  const failed = server.commit("files", [
    { rename: "a", to: "c" },
    { delete: "b", ifMatch: "0" },
  ]);
  await assert.rejects(failed, (error) => error instanceof HoldfastError && error.details["entry"] === 1);
  const wrong = server.commit("files", [{ put: "a", text: "a" }, { delete: "" }]);
  await assert.rejects(wrong, (error) => error instanceof HoldfastError && error.details["entry"] === 1);
  await server.commit("files", [
    { check: "a", ifMatch: done[0]!.etag! },
    { check: "c", ifNoneMatch: "*" },
  ]);
});

test("what is wrong with the options is a HoldfastError that says so", async (t) => {
  const wrong: [unknown, RegExp][] = [
    [undefined, /needs either/],
    [{ memory: true, drives: ["./x"] }, /needs either/],
    [{ drives: "./x" }, /drives/],
    [{ memory: "yes" }, /memory/],
    [{ memory: true, port: 9000 }, /no option "port"/],
    [{ memory: true, listen: "nowhere" }, /^The option listen must be HOST:PORT/],
    [{ memory: true, region: "a b" }, /^The option region must be/],
    [{ memory: true, tls: { cert: "no", key: "no" } }, /TLS/],
    [{ memory: true, credentials: { accessKey: "abc" } }, /secret key has/],
  ];
  for (const [options, message] of wrong) {
    await assert.rejects(start(t, options as CreateServerOptions), (error) => {
      assert.ok(error instanceof HoldfastError, String(error));
      assert.match(error.message, message);
      return true;
    });
  }
});

test("what is given back after it was sent was nobody else's: large objects come again and again, several at once", async (t) => {
  const folder = temporaryFolder(t);
  for (const options of [{ memory: true }, { drives: [path.join(folder, "data")] }]) {
    const server = await start(t, options);
    const headers = basic(server.accessKey, server.secretKey);
    for (const body of [randomBytes(5_000_000), Buffer.alloc(5_000_000, "compressible ")]) {
      const put = await fetch(`${server.url}/_/files?name=x`, { method: "PUT", headers, body });
      const { id } = (await put.json()) as { id: string };
      for (let round = 0; round < 3; round++) {
        const answers = await Promise.all([0, 1, 2].map(() => fetch(`${server.url}/_/files/${id}`, { headers })));
        for (const answer of answers) assert.ok(body.equals(Buffer.from(await answer.arrayBuffer())));
      }
    }
    await server.close();
  }
});

/** Drives in the wrong place: named in another order, alone, or not ours. Nothing is served, made or lost. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { createServer, HoldfastError, type CreateServerOptions, type HoldfastServer } from "../../src/index.ts";
import { basic, launch, temporaryFolder } from "./harness.ts";

const bytes = 100_000;
const auth = ({ accessKey, secretKey }: HoldfastServer) => basic(accessKey, secretKey);

async function upload(server: HoldfastServer): Promise<string> {
  const body = Buffer.alloc(bytes, 1);
  const answer = await fetch(`${server.url}/_/files?name=x`, { method: "PUT", headers: auth(server), body });
  return ((await answer.json()) as { id: string }).id;
}

async function readBack(server: HoldfastServer, id: string): Promise<number> {
  const answer = await fetch(`${server.url}/_/files/${id}`, { headers: auth(server) });
  return (await answer.arrayBuffer()).byteLength;
}

/** A server that ends with the test, also when it should not have started. */
async function start(t: TestContext, options: CreateServerOptions): Promise<HoldfastServer> {
  const server = await createServer(options);
  t.after(() => server.close());
  return server;
}

test("drives in any order are the same store, and a new one may stand before them", async (t) => {
  const folder = temporaryFolder(t);
  const [a, b, fresh] = [path.join(folder, "a"), path.join(folder, "b"), path.join(folder, "fresh")];
  const first = await start(t, { drives: [a, b] });
  const ids: string[] = [];
  while (ids.length < 20) ids.push(await upload(first));
  await first.close();
  for (const drives of [
    [b, a],
    [fresh, b, a],
    [a, b, fresh],
  ]) {
    const again = await start(t, { drives });
    for (const id of ids) assert.equal(await readBack(again, id), bytes);
    await again.close();
    const doctor = await launch(["doctor", ...drives]).ended;
    assert.equal(doctor.status, 0, doctor.output + doctor.errors);
  }
});

test("chunks without their metadata begin no store", async (t) => {
  const folder = temporaryFolder(t);
  const [a, b, fresh] = [path.join(folder, "a"), path.join(folder, "b"), path.join(folder, "fresh")];
  const first = await start(t, { drives: [a, b], metadataCopies: 1, redundancy: "replica:2" });
  const id = await upload(first);
  await first.close();
  for (const drives of [[b], [b, fresh], [fresh, b]]) {
    await assert.rejects(start(t, { drives }), (error) => {
      assert.ok(error instanceof HoldfastError && error.reason === "invalid_argument", String(error));
      assert.match(error.message, /has chunks, and none of the drives named has their metadata/);
      return true;
    });
  }
  const doctor = await launch(["doctor", b]).ended;
  assert.equal(doctor.status, 1);
  assert.match(doctor.errors, /none of the drives named has their metadata/);
  assert.ok(!readdirSync(b).includes("meta"), "no metadata was begun on the second drive");
  const again = await start(t, { drives: [b, a] });
  assert.equal(await readBack(again, id), bytes);
  await again.close();
});

test("nothing is left in a folder that is not ours", async (t) => {
  const foreign = temporaryFolder(t);
  writeFileSync(path.join(foreign, "thesis.doc"), "mine");
  await assert.rejects(start(t, { drives: [foreign] }), /not empty and not a Holdfast drive/);
  assert.deepEqual(readdirSync(foreign), ["thesis.doc"]);
});

test("one folder under two names is one folder named twice", async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(path.join(folder, "d"));
  const { status, errors } = await launch(["server", path.join(folder, "d"), `${folder}/./d`]).ended;
  assert.equal(status, 1);
  assert.match(errors, /names one directory twice/);
});

test("who ends before a drive was opened does not note that it was closed well", async (t) => {
  const folder = temporaryFolder(t);
  const [a, b] = [path.join(folder, "a"), path.join(folder, "b")];
  const first = await start(t, { drives: [a, b] });
  await first.close();
  // The machine lost power: what was not synced of the index may be gone.
  const state = path.join(b, "state.json");
  const lost = { ...(JSON.parse(readFileSync(state, "utf8")) as object), bootId: "an earlier one", clean: false };
  writeFileSync(state, JSON.stringify(lost));
  writeFileSync(path.join(a, "state.json"), "{");
  for (const args of [
    ["doctor", a, b],
    ["server", a, b, "--listen", "127.0.0.1:0"],
  ]) {
    const { status, errors } = await launch(args).ended;
    assert.equal(status, 1);
    assert.match(errors, /state\.json/);
    assert.deepEqual(JSON.parse(readFileSync(state, "utf8")), lost, args[0]);
  }
  rmSync(path.join(a, "state.json"));
  const again = await start(t, { drives: [a, b] });
  await again.close();
});

/** The server as real processes: start, stop, keys, settings, workers that die, a second server, TLS. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import path from "node:path";
import { test } from "node:test";
import { testMsMax } from "../bounds.ts";
import { basic, childrenOf, launch, startServer, temporaryFolder, until } from "./harness.ts";

const timeout = testMsMax;

test("the root key is made once, kept with mode 0600, and still valid after a restart", { timeout }, async (t) => {
  const drive = path.join(temporaryFolder(t), "data");
  const first = await startServer(t, [drive, "--workers", "1"]);
  assert.ok(first.secretKey !== undefined && first.secretKey.length === 40);
  const file = path.join(drive, "root-key.json");
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(statSync(path.join(drive, "meta")).mode & 0o777, 0o700);
  const auth = basic(first.accessKey, first.secretKey);
  const put = await fetch(`${first.url}/_/files?name=a.txt`, { method: "PUT", headers: auth, body: "hello" });
  assert.equal(put.status, 201);
  const { id } = (await put.json()) as { id: string };
  assert.equal((await first.stop()).status, 0);

  const second = await startServer(t, [drive, "--workers", "1"]);
  assert.equal(second.accessKey, first.accessKey);
  assert.equal(second.secretKey, undefined, "the secret is shown once");
  const got = await fetch(`${second.url}/_/files/${id}`, { headers: auth });
  assert.equal(await got.text(), "hello");
  assert.equal((await second.stop("SIGINT")).status, 0);
});

test("a root key in the environment is used and not kept", { timeout }, async (t) => {
  const drive = temporaryFolder(t);
  const environment = { HOLDFAST_ROOT_ACCESS_KEY: "root-key", HOLDFAST_ROOT_SECRET_KEY: "a-secret-of-mine" };
  const server = await startServer(t, [drive, "--workers", "1"], environment);
  assert.equal(server.accessKey, "root-key");
  const answer = await fetch(`${server.url}/_/files`, { headers: basic("root-key", "a-secret-of-mine") });
  assert.equal(answer.status, 200);
  assert.throws(() => readFileSync(path.join(drive, "root-key.json")), { code: "ENOENT" });
});

test("what is wrong at the start is one clear sentence and exit status 1", { timeout }, async (t) => {
  const folder = temporaryFolder(t);
  const drive = path.join(folder, "data");
  mkdirSync(path.join(folder, "foreign"));
  writeFileSync(path.join(folder, "foreign", "thesis.doc"), "mine");
  writeFileSync(path.join(folder, "file"), "");
  writeFileSync(path.join(folder, "config.json"), '{"lisen": "127.0.0.1:0"}');
  const config = path.join(folder, "config.json");
  const cases: [string[], Record<string, string>, RegExp][] = [
    [[], {}, /Name at least one drive/],
    [[drive, "--listen", "nowhere"], {}, /--listen must be HOST:PORT/],
    [[drive], { HOLDFAST_WORKERS: "many" }, /HOLDFAST_WORKERS must be a whole number/],
    [[drive], { HOLDFAST_LISTNE: "x" }, /HOLDFAST_LISTNE is not a setting/],
    [[drive, "--config", config], {}, /"lisen" in the config file/],
    [[drive], { HOLDFAST_ROOT_ACCESS_KEY: "only-one" }, /go together/],
    [[drive], { HOLDFAST_ROOT_ACCESS_KEY: "abc", HOLDFAST_ROOT_SECRET_KEY: "short" }, /A secret key has/],
    [[path.join(folder, "foreign")], {}, /not empty and not a Holdfast drive/],
    [[path.join(folder, "file", "below")], {}, /cannot be used as a drive/],
    [[drive, "--tls-cert", "x.pem"], {}, /tls-cert and tls-key go together/],
    [[drive, "--tls-cert", config, "--tls-key", config], {}, /TLS files .*config\.json.* cannot be used/],
  ];
  for (const [args, environment, expected] of cases) {
    const ended = await launch(["server", "--workers", "1", "--listen", "127.0.0.1:0", ...args], environment).ended;
    // All that is known of it: a signal from outside leaves a status of null and no word.
    const told = `${expected.source}: ${JSON.stringify(ended)}`;
    assert.equal(ended.status, 1, told);
    assert.ok(expected.test(ended.errors), told);
  }
});

test("a second server on the same drive is refused, and one on a used port", { timeout }, async (t) => {
  const drive = temporaryFolder(t);
  const server = await startServer(t, [drive, "--workers", "1"]);
  const same = await launch(["server", drive, "--workers", "1", "--listen", "127.0.0.1:0"]).ended;
  assert.equal(same.status, 1);
  assert.match(same.errors, /Another Holdfast server is using/);
  const listen = new URL(server.url).host;
  const port = await launch(["server", temporaryFolder(t), "--workers", "1", "--listen", listen]).ended;
  assert.equal(port.status, 1);
  assert.match(port.errors, /another program listens there already/);
});

test("workers that die together are started again, and what it acknowledged is there", { timeout }, async (t) => {
  const fixture = new URL("./dying_together.fixture.ts", import.meta.url).href;
  const environment = { NODE_OPTIONS: `--import=${fixture}` };
  const server = await startServer(t, [temporaryFolder(t), "--workers", "2"], environment);
  const auth = basic(server.accessKey, server.secretKey!);
  const upload = async (name: string): Promise<string> => {
    const answer = await fetch(`${server.url}/_/files?name=${name}`, {
      method: "PUT",
      headers: { ...auth, connection: "close" },
      body: Buffer.alloc(100_000, name),
    });
    assert.equal(answer.status, 201);
    return ((await answer.json()) as { id: string }).id;
  };
  const before = await upload("before");
  const workers = await childrenOf(server.child.pid!);
  assert.equal(workers.length, 2);
  process.kill(workers[0]!, "SIGKILL");
  await until(async () => {
    const now = await childrenOf(server.child.pid!);
    return now.length === 2 && now.every((pid) => !workers.includes(pid));
  });
  await until(() => server.errors().split("A worker was started again").length === 3);
  await upload("after");
  const got = await fetch(`${server.url}/_/files/${before}`, { headers: auth });
  assert.deepEqual(Buffer.from(await got.arrayBuffer()), Buffer.alloc(100_000, "before"));
  assert.equal((await server.stop()).status, 0);
});

test("a server whose log is on a full disk starts, replaces a worker that died, and serves", { timeout }, async (t) => {
  if (!existsSync("/dev/full")) return t.skip("NOT CHECKED: a log that is full. There is no /dev/full here.");
  const full = openSync("/dev/full", "w");
  t.after(() => closeSync(full));
  const server = await startServer(t, [temporaryFolder(t), "--workers", "1"], {}, full);
  const [worker] = await childrenOf(server.child.pid!);
  process.kill(worker!, "SIGKILL");
  await until(async () => {
    const now = await childrenOf(server.child.pid!);
    return now.length === 1 && now[0] !== worker;
  });
  const headers = basic(server.accessKey, server.secretKey!);
  const isServed = async (): Promise<boolean> => (await fetch(`${server.url}/_/files`, { headers })).status === 200;
  await until(() => isServed().catch(() => false));
  assert.equal((await server.stop()).status, 0);
});

test("a worker that is to end, and has a drive that hangs, is replaced", { timeout }, async (t) => {
  const fixture = new URL("./hanging_drive.fixture.ts", import.meta.url).href;
  const environment = { NODE_OPTIONS: `--import=${fixture}` };
  const server = await startServer(t, [temporaryFolder(t), "--workers", "1"], environment);
  const headers = basic(server.accessKey, server.secretKey!);
  const upload = async (): Promise<number> => {
    const request = { method: "PUT", headers, body: Buffer.alloc(100_000) };
    return (await fetch(`${server.url}/_/files?name=a`, request)).status;
  };
  assert.equal(await upload(), 201);
  const [worker] = await childrenOf(server.child.pid!);
  process.kill(worker!, "SIGUSR2");
  const hanging = upload().catch(() => undefined);
  await until(() => server.errors().includes("A sync hangs"));
  process.kill(worker!, "SIGTERM");
  assert.notEqual(await hanging, 201);
  await until(() =>
    upload()
      .then((status) => status === 201)
      .catch(() => false),
  );
  assert.match(server.errors(), /The store does not close/);
  assert.equal((await server.stop()).status, 0);
});

for (const workers of [1, 2]) {
  const name = `the session of a worker that died is fenced at once, by whoever is there (${workers} workers)`;
  test(name, { timeout }, async (t) => {
    const server = await startServer(t, [temporaryFolder(t), "--workers", String(workers)]);
    const [victim] = (await childrenOf(server.child.pid!)) as [number];
    process.kill(victim, "SIGKILL");
    const fencing = (): { msg: string; node: string } | undefined =>
      linesOf(server.errors()).find(({ msg, node }) => msg.includes("fenced") && node.endsWith(`pid ${victim}`));
    await until(() => fencing() !== undefined);
    assert.equal(fencing()!.msg, "The session of a worker that died was fenced.");
    const { status, errors } = await server.stop();
    assert.equal(status, 0);
    const plain = errors.split("\n").filter((line) => line !== "" && !line.startsWith("{"));
    assert.deepEqual(plain, [], "the log has JSON lines only");
  });
}

/** The lines of a server's log, as far as they are whole. */
function linesOf(errors: string): { msg: string; node: string }[] {
  const lines = errors.split("\n").filter((line) => line.startsWith("{") && line.endsWith("}"));
  return lines.map((line) => ({ msg: "", node: "", ...(JSON.parse(line) as object) }));
}

test("an error that nobody handled ends the worker with a line in the log", { timeout }, async (t) => {
  const thrower = `if(process.send)process.on("SIGUSR2",()=>{throw new Error("boom")})`;
  const environment = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(thrower)}` };
  const server = await startServer(t, [temporaryFolder(t), "--workers", "1"], environment);
  const [worker] = (await childrenOf(server.child.pid!)) as [number];
  process.kill(worker, "SIGUSR2");
  await until(() => server.errors().includes("A worker was started again"));
  const line = linesOf(server.errors()).find(({ msg }) => msg.includes("nobody handled"));
  assert.match(JSON.stringify(line), /boom/);
  assert.ok(!server.errors().includes("\n    at "), "no bare stack");
  assert.equal((await server.stop()).status, 0);
});

test("a signal while the server starts ends it quietly", { timeout }, async (t) => {
  const slow = `if(process.send)setTimeout(()=>0,1e8),process.on=()=>process`;
  const environment = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(slow)}` };
  const { child, ended } = launch(["server", temporaryFolder(t), "--listen", "127.0.0.1:0"], environment);
  await until(async () => (await childrenOf(child.pid!)).length > 0);
  child.kill("SIGTERM");
  // This worker hears nothing, so it takes the second one.
  await until(() => child.exitCode !== null || !child.kill("SIGINT") || child.exitCode !== null);
  const { status, errors } = await ended;
  assert.equal(status, 0, errors);
  assert.doesNotMatch(errors, /ended while it was starting/);
});

test("workers end with their supervisor, and the next server takes over what they had", { timeout }, async (t) => {
  const drive = temporaryFolder(t);
  const first = await startServer(t, [drive, "--workers", "2"]);
  const auth = basic(first.accessKey, first.secretKey!);
  const put = await fetch(`${first.url}/_/files?name=a`, {
    method: "PUT",
    headers: auth,
    body: Buffer.alloc(500_000, 7),
  });
  const { id } = (await put.json()) as { id: string };
  const workers = await childrenOf(first.child.pid!);
  await first.stop("SIGKILL");
  const isAlive = (pid: number): boolean => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  await until(() => !workers.some(isAlive));
  const second = await startServer(t, [drive, "--workers", "2"]);
  const got = await fetch(`${second.url}/_/files/${id}`, { headers: auth });
  assert.deepEqual(Buffer.from(await got.arrayBuffer()), Buffer.alloc(500_000, 7));
});

test("a stop lets a running upload finish and takes no new connection", { timeout }, async (t) => {
  const server = await startServer(t, [temporaryFolder(t), "--workers", "1"]);
  const url = new URL(`${server.url}/_/files?name=slow`);
  const upload = httpRequest(url, {
    method: "PUT",
    headers: { ...basic(server.accessKey, server.secretKey!), "content-length": 200_000, expect: "100-continue" },
  });
  const answered = new Promise<{ status: number; connection: string | undefined }>((resolve, reject) => {
    upload.on("response", (response) => {
      response.resume();
      resolve({ status: response.statusCode!, connection: response.headers.connection });
    });
    upload.on("error", reject);
  });
  const taken = new Promise((resolve) => void upload.once("continue", resolve));
  upload.flushHeaders();
  await taken;
  upload.write(Buffer.alloc(100_000));
  const ended = server.stop();
  await until(() =>
    fetch(`${server.url}/_/health/live`).then(
      () => false,
      () => true,
    ),
  );
  upload.end(Buffer.alloc(100_000));
  assert.deepEqual(await answered, { status: 201, connection: "close" });
  assert.equal((await ended).status, 0);
});

test("metrics are those of all workers together", { timeout }, async (t) => {
  const server = await startServer(t, [temporaryFolder(t), "--workers", "2"]);
  for (let asked = 0; asked < 10; asked++) {
    await fetch(`${server.url}/_/health/live`, { headers: { connection: "close" } });
  }
  const told = async (): Promise<number> => {
    const answer = await fetch(`${server.url}/_/metrics`);
    assert.equal(answer.status, 200);
    return Number(/^holdfast_requests_total\{[^}]*operation="Live"[^}]*\} (\d+)$/m.exec(await answer.text())?.[1] ?? 0);
  };
  // One that does not say its own in time is left out.
  let live = 0;
  await until(async () => (live = await told()) >= 10);
  assert.equal(live, 10);
  const viaProxy = await fetch(`${server.url}/_/metrics`, { headers: { "x-forwarded-for": "192.0.2.1" } });
  assert.equal(viaProxy.status, 401);
});

test("metrics tell what the drive does: commits, their batches, appends and syncs", { timeout }, async (t) => {
  const server = await startServer(t, [temporaryFolder(t), "--workers", "2"]);
  const headers = basic(server.accessKey, server.secretKey!);
  for (const [name, bytes] of [
    ["small", 100],
    ["large", 500_000],
  ] as const) {
    const put = { method: "PUT", headers, body: Buffer.alloc(bytes, 7) };
    assert.equal((await fetch(`${server.url}/_/files?name=${name}`, put)).status, 201);
  }
  let text = "";
  const value = (name: string): number =>
    Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\d+)`, "m").exec(text)?.[1] ?? 0);
  // A worker that does not say its own in time is left out.
  await until(async () => {
    text = await (await fetch(`${server.url}/_/metrics`)).text();
    return value("holdfast_append_seconds_count") > 0 && value("holdfast_commit_batch_seconds_count") >= 2;
  });
  assert.equal(value("holdfast_append_seconds_count"), 1);
  assert.ok(value("holdfast_drive_sync_seconds_count") >= 1);
  assert.ok(value("holdfast_commit_batch_seconds_count") >= 2);
  assert.equal(value("holdfast_commit_batch_commits_count"), value("holdfast_commit_batch_seconds_count"));
  assert.ok(
    value("holdfast_commit_batch_commits_sum") >= value("holdfast_commits_total"),
    "each commit was in a batch",
  );
  assert.ok(value("holdfast_drive_free_bytes") > 0);
});

test("TLS", { timeout }, async (t) => {
  const folder = temporaryFolder(t);
  const [cert, key] = [path.join(folder, "cert.pem"), path.join(folder, "key.pem")];
  try {
    const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
    const made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert];
    execFileSync("openssl", [...made, ...subject], { stdio: "ignore" });
  } catch {
    t.skip("openssl is not there, so no certificate can be made and TLS was not tested");
    return;
  }
  const drive = path.join(folder, "data");
  const server = await startServer(t, [drive, "--workers", "1", "--tls-cert", cert, "--tls-key", key]);
  assert.match(server.url, /^https:/);
  const status = await new Promise<number>((resolve, reject) => {
    httpsRequest(`${server.url}/_/health/ready`, { ca: readFileSync(cert) }, (response) => {
      response.resume();
      resolve(response.statusCode!);
    })
      .on("error", reject)
      .end();
  });
  assert.equal(status, 200);
  assert.equal((await server.stop()).status, 0);
});

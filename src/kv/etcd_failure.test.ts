import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { hasReason, HoldfastError } from "../core/errors.ts";
import { claimPort } from "../core/ports.fixture.ts";
import { silentLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { openEtcdKv } from "./etcd.ts";
import { parseEtcdAddress } from "./etcd_address.ts";
import { EtcdCluster } from "./etcd_cluster.ts";
import { EtcdFixture, etcdMissing } from "./etcd.fixture.ts";
import type { EtcdFixtureOptions } from "./etcd.fixture.ts";
import { EtcdStore } from "./etcd_store.ts";
import { EtcdUpkeep } from "./etcd_upkeep.ts";
import { readCounters } from "./kv.ts";
import type { CommitResult, Entry, Kv, Write } from "./kv.ts";

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
const put = (key: string, value: string | Buffer): Write => ({
  kind: "put",
  key: bytes(key),
  value: Buffer.from(value),
});
const range = { start: bytes("row"), end: bytes("rox") };

function onCluster(
  title: string,
  options: EtcdFixtureOptions,
  body: (etcd: EtcdFixture, t: TestContext) => Promise<void>,
): void {
  void test(title, async (t) => {
    if (etcdMissing !== undefined) return t.skip(etcdMissing);
    const etcd = await EtcdFixture.start(options);
    t.after(() => etcd.dispose());
    await body(etcd, t);
  });
}

async function opened(etcd: EtcdFixture, t: TestContext): Promise<Kv> {
  const kv = await openEtcdKv({ url: etcd.url("store") });
  t.after(() => kv.close());
  return kv;
}

async function allRows(kv: Kv): Promise<Entry[]> {
  const all: Entry[] = [];
  for (let start = range.start; ; start = Buffer.concat([all.at(-1)!.key, Buffer.from([0])])) {
    const page = await kv.scan({ start, end: range.end }, { limit: 1_000 });
    all.push(...page);
    if (page.length < 1_000) return all;
  }
}

/** Of the writers that meet it: they end there. */
const bound = 60;

/** Commits rows, each counted in the same commit, until told to stop, and knows what became of each. */
class Load {
  readonly acknowledged = new Set<string>();
  unknown = 0;
  readonly #kv: Kv;
  #going = true;
  readonly #writers: Promise<void[]>;

  constructor(kv: Kv) {
    this.#kv = kv;
    this.#writers = Promise.all(Array.from({ length: 8 }, (_, id) => this.#write(id)));
  }

  /** Waits for so many more acknowledgements. */
  async more(count: number): Promise<void> {
    const until = this.acknowledged.size + count;
    const giveUpMs = performance.now() + 60_000;
    while (this.acknowledged.size < until) {
      assert.ok(performance.now() < giveUpMs, "commits stand still");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Every acknowledged row is there, and every row there is was counted once. */
  async stopAndJudge(): Promise<void> {
    this.#going = false;
    await this.#writers;
    const { rows, counter, bounded } = await this.#state();
    const there = new Set(rows.map(({ key }) => key.toString("latin1")));
    assert.deepEqual(
      [...this.acknowledged].filter((name) => !there.has(name)),
      [],
    );
    assert.ok(there.size <= this.acknowledged.size + this.unknown);
    assert.deepEqual(readCounters(counter.value), [there.size]);
    const ofBounded = [...there].filter((name) => Number(/^row(\d+)-/.exec(name)![1]) % 3 === 0).length;
    assert.deepEqual(readCounters(bounded.value), [ofBounded]);
    assert.ok(ofBounded <= bound);
  }

  /** As it stands at one time: a member that thaws, say, may still carry out what nobody waits for any more. */
  async #state(): Promise<{ readonly rows: Entry[]; readonly counter: Entry; readonly bounded: Entry }> {
    for (;;) {
      const [counter, bounded] = await this.#kv.get([bytes("count"), bytes("bounded")]);
      const rows = await allRows(this.#kv);
      const [after] = await this.#kv.get([bytes("count")]);
      if (after!.version === counter!.version) return { rows, counter: counter!, bounded: bounded! };
    }
  }

  async #write(id: number): Promise<void> {
    for (let step = 0; this.#going; step++) {
      const name = `row${id}-${step}`;
      const writes: Write[] = [put(name, name), { kind: "add", key: bytes("count"), deltas: [1] }];
      if (id % 3 === 0) writes.push({ kind: "add", key: bytes("bounded"), deltas: [1], max: [bound] });
      try {
        const { outcome } = await this.#kv.commit({ checks: [{ key: bytes(name), version: 0 }], writes });
        if (outcome === "exceeded") return;
        assert.equal(outcome, "committed", "no row was written twice");
        this.acknowledged.add(name);
      } catch (error) {
        if (!hasReason(error, "unavailable")) throw error;
        this.unknown += 1;
      }
    }
  }
}

onCluster(
  "a follower killed, the leader killed: what was acknowledged is there, and it goes on",
  { members: 3 },
  async (etcd, t) => {
    const kv = await opened(etcd, t);
    const load = new Load(kv);
    await load.more(200);
    const follower = ((await etcd.leader()) + 1) % 3;
    await etcd.signal(follower, "SIGKILL");
    await load.more(200);
    etcd.run(follower);
    await etcd.ready();
    await load.more(200);
    const leader = await etcd.leader();
    await etcd.signal(leader, "SIGKILL");
    await load.more(200);
    etcd.run(leader);
    await load.more(200);
    await load.stopAndJudge();
  },
);

onCluster(
  "two of three killed: refused with a clear sentence, and it goes on when they are back",
  { members: 3 },
  async (etcd, t) => {
    const kv = await opened(etcd, t);
    const load = new Load(kv);
    await load.more(100);
    await etcd.signal(0, "SIGKILL");
    await etcd.signal(1, "SIGKILL");
    const isClear = (error: unknown): boolean => {
      assert.ok(error instanceof HoldfastError && error.reason === "unavailable", String(error));
      for (const endpoint of etcd.endpoints) assert.ok(error.message.includes(endpoint), error.message);
      assert.match(error.message, /most of its members run/);
      return true;
    };
    await Promise.all([
      assert.rejects(kv.commit({ checks: [], writes: [put("refused", "1")] }), isClear),
      assert.rejects(kv.get([bytes("count")]), isClear),
      assert.rejects(kv.scan(range, { limit: 1 }), isClear),
      assert.rejects(openEtcdKv({ url: etcd.url("store") }), isClear),
    ]);
    etcd.run(0);
    etcd.run(1);
    await load.more(100);
    await load.stopAndJudge();
  },
);

onCluster("a frozen leader: others answer, and its thawing does no harm", { members: 3 }, async (etcd, t) => {
  const kv = await opened(etcd, t);
  const load = new Load(kv);
  await load.more(100);
  const leader = await etcd.leader();
  await etcd.signal(leader, "SIGSTOP");
  await kv.get([bytes("count")]);
  await load.more(100);
  await etcd.signal(leader, "SIGCONT");
  await load.more(100);
  await load.stopAndJudge();
});

onCluster(
  "a cluster that takes too little at once is refused with the flags it needs",
  { flags: { "max-txn-ops": "128" } },
  async (etcd) => {
    await assert.rejects(openEtcdKv({ url: etcd.url("store") }), /--max-txn-ops=1024 --max-request-bytes=4194304/);
  },
);

onCluster(
  "and so is one that takes too small requests",
  { flags: { "max-request-bytes": "4194200" } },
  async (etcd) => {
    await assert.rejects(openEtcdKv({ url: etcd.url("store") }), /--max-txn-ops=1024 --max-request-bytes=4194304/);
  },
);

onCluster(
  "a full database refuses what needs room and takes deletes; it goes on when there is room again",
  { flags: { "quota-backend-bytes": String(24 * 2 ** 20) } },
  async (etcd, t) => {
    const kv = await opened(etcd, t);
    const value = Buffer.alloc(100_000, 1);
    const reasons: string[] = [];
    const kept: Buffer[] = [];
    for (let step = 0; reasons.length < 5 && step < 1_000; step++) {
      const key = bytes(`row${String(step).padStart(4, "0")}`);
      try {
        await kv.commit({ checks: [], writes: [{ kind: "put", key, value }] });
        kept.push(key);
      } catch (error) {
        reasons.push((error as HoldfastError).reason);
      }
    }
    // The first may have been written: etcd says the same of the one that filled it.
    assert.deepEqual(reasons, ["unavailable", "drive_full", "drive_full", "drive_full", "drive_full"]);
    assert.ok((await kv.get(kept)).every((row) => row !== undefined));
    const deletes = kept.map((key): Write => ({ kind: "delete", key }));
    assert.deepEqual(await kv.commit({ checks: [], writes: deletes }), { outcome: "committed" });
    await makeRoom(etcd);
    const giveUpMs = performance.now() + 30_000;
    for (;;) {
      const result = await kv.commit({ checks: [], writes: [put("after", "room")] }).catch((error: unknown) => error);
      if (!hasReason(result, "drive_full") || performance.now() > giveUpMs) {
        assert.deepEqual(result, { outcome: "committed" });
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  },
);

/** What the person who runs etcd does about a full database. */
async function makeRoom(etcd: EtcdFixture): Promise<void> {
  const { revision } = (await etcd.post("maintenance/status"))["header"] as Record<string, string>;
  await etcd.post("kv/compaction", { revision, physical: true });
  await etcd.post("maintenance/defragment");
  const { alarms } = (await etcd.post("maintenance/alarm")) as { alarms: { memberID: string; alarm: string }[] };
  for (const alarm of alarms) await etcd.post("maintenance/alarm", { action: "DEACTIVATE", ...alarm });
}

onCluster("one of several processes gives up the states of a turn ago, and no younger ones", {}, async (etcd, t) => {
  const kv = await opened(etcd, t);
  const cluster = new EtcdCluster({ address: parseEtcdAddress(etcd.url("store")), random: systemRandom });
  t.after(() => cluster.close());
  const store = new EtcdStore(cluster, "store");
  const [one, other] = [new EtcdUpkeep(store, silentLog), new EtcdUpkeep(store, silentLog)];
  const written = async (): Promise<number> => {
    await kv.commit({ checks: [], writes: [put("row", "1")] });
    return (await kv.get([bytes("row")]))[0]!.version;
  };
  const isKept = async (revision: number): Promise<boolean> => {
    const key = Buffer.from("store/format").toString("base64");
    return (await etcd.post("kv/range", { key, revision }))["kvs"] !== undefined;
  };
  const first = await written();
  await one.turn();
  await other.turn();
  const second = await written();
  assert.ok(await isKept(first), "nothing is given up by the first look");
  await one.turn();
  assert.deepEqual([await isKept(first), await isKept(second)], [false, true]);
  const third = await written();
  await other.turn();
  assert.ok(await isKept(second), "the other one has seen that it was done");
  await other.turn();
  assert.deepEqual([await isKept(second), await isKept(third)], [false, true]);
  assert.equal((await kv.get([bytes("row")]))[0]?.version, third);
});

onCluster("an open store does so by itself", {}, async (etcd, t) => {
  const kv = await openEtcdKv({ url: etcd.url("store"), compactionMs: 50 });
  t.after(() => kv.close());
  const key = Buffer.from("store/format").toString("base64");
  const giveUpMs = performance.now() + 30_000;
  while ((await etcd.post("kv/range", { key, revision: 2 }))["kvs"] !== undefined) {
    assert.ok(performance.now() < giveUpMs, "old states are not given up");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

onCluster(
  "a cluster with users: the password is needed, right or wrong, and a lost token is renewed",
  {},
  async (etcd, t) => {
    for (const [path, body] of [
      ["auth/user/add", { name: "root", password: "r00t" }],
      ["auth/user/grant", { user: "root", role: "root" }],
      ["auth/enable", {}],
    ] as const) {
      assert.equal((await etcd.post(path, body))["error"], undefined);
    }
    const url = (login: string): string => `etcd://${login}${etcd.endpoints.join()}/store`;
    await assert.rejects(openEtcdKv({ url: url("") }), /asks for a user and a password/);
    await assert.rejects(openEtcdKv({ url: url("root:wr0ng@") }), (error) => {
      assert.ok(hasReason(error, "unavailable") && !error.message.includes("wr0ng"));
      assert.match(error.message, /authentication failed/);
      return true;
    });
    const kv = await openEtcdKv({ url: url("root:r00t@") });
    t.after(() => kv.close());
    await kv.commit({ checks: [], writes: [put("row", "1")] });
    const { token } = await etcd.post("auth/authenticate", { name: "root", password: "r00t" });
    // A new password, be it the old one, makes a user's tokens worthless.
    await etcd.post("auth/user/changepw", { name: "root", password: "r00t" }, 0, token as string);
    const rows = await Promise.all([kv.get([bytes("row")]), kv.get([bytes("row")])]);
    assert.deepEqual(rows[0], rows[1]);
    assert.deepEqual(await kv.commit({ checks: [], writes: [put("row", "2")] }), { outcome: "committed" });
  },
);

onCluster("a commit whose answer is lost is unavailable, and is not sent a second time", {}, async (etcd, t) => {
  const proxy = await DeafProxy.start(etcd.endpoints[0]!);
  t.after(() => proxy.close());
  const kv = await openEtcdKv({ url: `etcd://${proxy.endpoint}/store` });
  t.after(() => kv.close());
  const add = (name: string): Promise<CommitResult> =>
    kv.commit({ checks: [], writes: [{ kind: "add", key: bytes(name), deltas: [1] }] });
  const countOf = async (name: string): Promise<number> => {
    const [row] = await kv.get([bytes(name)]);
    return row === undefined ? 0 : readCounters(row.value)[0]!;
  };
  const lost = Array.from({ length: 8 }, (_, round) => `lost${round}`);
  for (const name of lost) {
    await add("n");
    proxy.isDeaf = true;
    await assert.rejects(add(name), (error) => {
      assert.ok(hasReason(error, "unavailable"));
      assert.match(error.message, /whether it wrote is not known/);
      return true;
    });
    proxy.isDeaf = false;
    // Over a connection that lasts. What etcd does of a request whose sender has gone, it does when it likes: each has a row
    // of its own.
    await countOf("n");
  }
  const counts = await Promise.all(lost.map(countOf));
  assert.ok(
    counts.every((count) => count <= 1),
    `${counts.join()}: none is sent twice`,
  );
  assert.ok(counts.includes(1), "some were carried out");
  assert.equal(await countOf("n"), lost.length);
});

onCluster(
  "a member that refuses connections is passed over, and a read waits for one that comes",
  {},
  async (etcd, t) => {
    const proxy = await DeafProxy.start(etcd.endpoints[0]!);
    t.after(() => proxy.close());
    // Ends every connection, and so tells that all members have been asked.
    let asked = 0;
    const other = createServer((socket) => {
      asked += 1;
      socket.on("error", () => undefined).destroy();
    }).listen(0, "127.0.0.1");
    await once(other, "listening");
    t.after(() => other.close());
    const endpoints = ["127.0.0.1:1", proxy.endpoint, `127.0.0.1:${(other.address() as AddressInfo).port}`];
    const kv = await openEtcdKv({ url: `etcd://${endpoints.join()}/store` });
    t.after(() => kv.close());
    await kv.commit({ checks: [], writes: [put("row", "1")] });
    await proxy.leave();
    asked = 0;
    let isReadOver = false;
    const read = kv.get([bytes("row")]).finally(() => (isReadOver = true));
    const written = kv
      .commit({ checks: [], writes: [put("row", "2")] })
      // One of them may have got it, as far as is known here.
      .catch((error: unknown) => assert.ok(hasReason(error, "unavailable")));
    while (asked < 2 && !isReadOver) await new Promise((resolve) => setTimeout(resolve, 1));
    await proxy.comeBack();
    assert.ok((await read)[0] !== undefined);
    await written;
  },
);

void test("a process that waits for a cluster that is away stays, and is told in the end", async () => {
  const child = join(import.meta.dirname, "etcd_child.conformance.ts");
  const opening = spawn(process.execPath, [child, "load", "etcd://127.0.0.1:1,127.0.0.1:2/store"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const exited = once(opening, "exit");
  let printed = "";
  for await (const piece of opening.stderr.setEncoding("utf8")) printed += piece;
  assert.deepEqual(await exited, [1, null]);
  assert.match(printed, /127\.0\.0\.1:1, 127\.0\.0\.1:2, does not answer \(.*ECONNREFUSED/);
});

void test("TLS: the members' authority and this client's certificate are checked", async (t) => {
  if (etcdMissing !== undefined) return t.skip(etcdMissing);
  if (spawnSync("openssl", ["version"]).status !== 0) return t.skip("NOT CHECKED: etcd with TLS. Install openssl.");
  const folder = await mkdtemp(join(tmpdir(), "holdfast-etcd-tls-"));
  t.after(() => rm(folder, { recursive: true }));
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  const made = [
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-days",
    "2",
    "-keyout",
    key,
    "-out",
    cert,
    ...subject,
  ];
  assert.equal(spawnSync("openssl", made).status, 0);
  const flags = { "cert-file": cert, "key-file": key, "client-cert-auth": "true", "trusted-ca-file": cert };
  const etcd = await EtcdFixture.start({ scheme: "https", flags });
  t.after(() => etcd.dispose());
  const url = `etcds://${etcd.endpoints[0]!}/store`;
  const kv = await openEtcdKv({ url: `${url}?ca=${cert}&cert=${cert}&key=${key}`, readFile: (path) => readFile(path) });
  t.after(() => kv.close());
  assert.deepEqual(await kv.commit({ checks: [], writes: [put("row", "1")] }), { outcome: "committed" });
  await assert.rejects(openEtcdKv({ url }), (error) => hasReason(error, "unavailable"));
});

/** Carries bytes to etcd. While it is deaf, what etcd answers is dropped, and the connection with it. */
class DeafProxy {
  isDeaf = false;
  readonly #port: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  static async start(endpoint: string): Promise<DeafProxy> {
    const proxy = new DeafProxy(endpoint, await claimPort());
    await proxy.comeBack();
    return proxy;
  }

  private constructor(endpoint: string, ownPort: number) {
    this.#port = ownPort;
    const [host, port] = endpoint.split(":");
    this.#server = createServer((client) => {
      const etcd = connect(Number(port), host);
      this.#sockets.add(client).add(etcd);
      for (const socket of [client, etcd]) socket.on("error", () => undefined);
      client.pipe(etcd);
      etcd.on("data", (piece) => {
        if (this.isDeaf) client.destroy();
        else client.write(piece);
      });
      client.on("close", () => etcd.end());
      etcd.on("close", () => client.destroy());
    });
  }

  get endpoint(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** Connections end, and who comes is refused. */
  async leave(): Promise<void> {
    const closed = once(this.#server, "close");
    this.close();
    await closed;
  }

  async comeBack(): Promise<void> {
    await once(this.#server.listen(this.#port, "127.0.0.1"), "listening");
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

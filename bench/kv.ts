/**
 * Measures a metadata store on this machine: durable commits per second by number of concurrent writers, in one and in two
 * processes, then gets and scans. Run: node bench/kv.ts [seconds per figure] [lmdb | postgres | etcd]
 *
 * For PostgreSQL (its programs must be installed; it is started in a temporary folder, fsync on) each figure is also
 * given as a ratio to a statement per commit: through the same function ("single"), and for small commits as a plain
 * INSERT of one row with no checks ("plain"), the least that any client could do. The kinds take turns.
 *
 * For etcd (installed too; three members in a temporary folder) small commits are also compared with a request per commit
 * ("request").
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pool } from "pg";
import { openEtcdKv } from "../src/kv/etcd.ts";
import { EtcdFixture } from "../src/kv/etcd.fixture.ts";
import { EtcdMember, frameHeadBytes } from "../src/kv/etcd_member.ts";
import { WireWriter, writeTxn } from "../src/kv/etcd_wire.ts";
import { openLmdbKv } from "../src/kv/lmdb.ts";
import type { Commit, Kv, Write } from "../src/kv/kv.ts";
import { startPostgres } from "../src/kv/postgres.fixture.ts";
import { openPostgresKv } from "../src/kv/postgres.ts";

const seconds = Number(process.argv[2] ?? 2);
const rounds = 3;

type Shape = "small" | "object";

/** What the commits are measured on. */
type Committer = { readonly commit: (commit: Commit) => Promise<unknown>; readonly close: () => Promise<void> };

const openers: Readonly<Record<string, (place: string) => Promise<Committer>>> = {
  lmdb: (path) => openLmdbKv({ path }),
  postgres: (url) => openPostgresKv({ url }),
  single: (url) => openPostgresKv({ url, batchCommitsMax: 1, batchesMax: 8 }),
  plain: async (url) => {
    const pool = new Pool({ connectionString: url, max: 8 });
    const text = "INSERT INTO holdfast.rows (key, value, version) VALUES ($1, $2, 1)";
    const insert = ({ writes: [write] }: Commit): Promise<unknown> =>
      pool.query({ name: "insert", text, values: [write!.key, write!.kind === "put" ? write!.value : undefined] });
    return { commit: insert, close: () => pool.end() };
  },
  etcd: (url) => openEtcdKv({ url }),
  request: async (url) => {
    const member = new EtcdMember({ endpoint: /^etcd:\/\/([^,/]+)/.exec(url)![1]! });
    return { commit: (commit) => requestOf(member, commit), close: async () => member.close() };
  },
};

/** Of puts alone. */
async function requestOf(member: EtcdMember, { checks, writes }: Commit): Promise<void> {
  const writer = new WireWriter();
  const success = writes.filter((write) => write.kind === "put");
  writeTxn(writer, Buffer.from("request/"), { compares: checks, success, failure: [] });
  const frame = writer.finish(frameHeadBytes);
  const answer = await member.call({ path: "/etcdserverpb.KV/Txn", frame, token: undefined, timeoutMs: 10_000 });
  if (answer.kind !== "answered") throw new Error("etcd did not take a commit.");
}

function writesOf(shape: Shape, name: string, value: Buffer): Write[] {
  const small: Write = { kind: "put", key: Buffer.from(`b/${name}`), value: value.subarray(0, 300) };
  if (shape === "small") return [small];
  return [
    small,
    { kind: "put", key: Buffer.from(`a/${name}`), value },
    { kind: "add", key: Buffer.from(`u/${process.pid % 4}`), deltas: [1, 4_300] },
  ];
}

async function commitsPerSecond(kv: Committer, shape: Shape, writers: number): Promise<number> {
  const value = Buffer.alloc(4_300, process.pid & 0xff);
  const startedMs = performance.now();
  const endMs = startedMs + seconds * 1_000;
  let count = 0;
  const writer = async (): Promise<void> => {
    while (performance.now() < endMs) {
      const name = `${Math.random().toString(36).slice(2)}-${process.pid}-${count}`;
      await kv.commit({
        checks: [{ key: Buffer.from(`b/${name}`), version: 0 }],
        writes: writesOf(shape, name, value),
      });
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: writers }, writer));
  return Math.round((count / (performance.now() - startedMs)) * 1_000);
}

type Load = {
  readonly kind: string;
  readonly place: string;
  readonly shape: Shape;
  readonly processes: number;
  readonly writers: number;
};

async function inChildren({ kind, place, shape, processes, writers }: Load): Promise<number> {
  const rates = Array.from({ length: processes }, async () => {
    const child = fork(import.meta.filename, [String(seconds), kind, place, shape, String(writers)]);
    const [rate] = (await once(child, "message")) as [number];
    await once(child, "exit");
    return rate;
  });
  return (await Promise.all(rates)).reduce((sum, rate) => sum + rate, 0);
}

async function perSecond(what: string, readers: number, read: (turn: number) => Promise<number>): Promise<void> {
  let count = 0;
  let turn = 0;
  const startedMs = performance.now();
  const reader = async (): Promise<void> => {
    while (performance.now() - startedMs < seconds * 1_000) {
      // Not `count += await …`, which adds to what `count` was before the wait.
      const got = await read(turn++);
      count += got;
    }
  };
  await Promise.all(Array.from({ length: readers }, reader));
  console.log(`${what}, ${readers} reader(s): ${Math.round((count / (performance.now() - startedMs)) * 1_000)}/s`);
}

async function reads(kv: Kv): Promise<void> {
  const range = { start: Buffer.from("b/"), end: Buffer.from("b0") };
  const keys = (await kv.scan(range, { limit: 2_000 })).map((entry) => entry.key);
  for (const readers of [1, 64, 256]) {
    await perSecond("gets of one key", readers, async (turn) => (await kv.get([keys[turn % keys.length]!])).length);
  }
  await perSecond("entries scanned", 1, async () => (await kv.scan(range, { limit: 1_000 })).length);
}

const median = (figures: readonly number[]): number =>
  figures.toSorted((left, right) => left - right)[Math.floor(figures.length / 2)]!;

/** The first kind is what is measured; the others are what it is compared with. */
async function commits(place: string, kindsOf: (shape: Shape) => readonly string[]): Promise<void> {
  for (const shape of ["small", "object"] as const) {
    for (const [processes, writers] of [
      [1, 1],
      [1, 64],
      [1, 256],
      [2, 1],
      [2, 32],
      [2, 128],
    ] as const) {
      const kinds = kindsOf(shape);
      const figures = new Map<string, number[]>(kinds.map((kind) => [kind, []]));
      for (let round = 0; round < (kinds.length === 1 ? 1 : rounds); round++) {
        for (const kind of kinds) figures.get(kind)!.push(await inChildren({ kind, place, shape, processes, writers }));
      }
      const [first, ...others] = [...figures].map(([kind, all]) => ({ kind, rate: median(all) }));
      const ratios = others.map(({ kind, rate }) => `, ${(first!.rate / rate).toFixed(1)} × ${kind} (${rate}/s)`);
      console.log(
        `${shape} commits, ${processes} process(es) of ${writers} writers: ${first!.rate}/s${ratios.join("")}`,
      );
    }
  }
}

async function measureLmdb(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-bench-"));
  const path = join(folder, "meta.mdb");
  await commits(path, () => ["lmdb"]);
  const kv = await openLmdbKv({ path });
  await reads(kv);
  await kv.close();
  await rm(folder, { recursive: true });
}

async function measurePostgres(): Promise<void> {
  const server = await startPostgres({ fsync: true });
  try {
    await commits(server.url, (shape) =>
      shape === "small" ? ["postgres", "single", "plain"] : ["postgres", "single"],
    );
    const kv = await openPostgresKv({ url: server.url });
    await reads(kv);
    await kv.close();
  } finally {
    await server.dispose();
  }
}

async function measureEtcd(): Promise<void> {
  // What is measured fills the quota of 2 GiB in a moment.
  const server = await EtcdFixture.start({ members: 3, flags: { "quota-backend-bytes": String(8 * 2 ** 30) } });
  try {
    const url = server.url("bench");
    await commits(url, (shape) => (shape === "small" ? ["etcd", "request"] : ["etcd"]));
    const kv = await openEtcdKv({ url });
    await reads(kv);
    await kv.close();
  } finally {
    await server.dispose();
  }
}

const [, , , kind = "lmdb", place, shape, writers] = process.argv;
if (place !== undefined) {
  const kv = await openers[kind]!(place);
  process.send?.(await commitsPerSecond(kv, shape as Shape, Number(writers)));
  await kv.close();
  process.disconnect();
} else if (kind === "postgres") await measurePostgres();
else if (kind === "etcd") await measureEtcd();
else await measureLmdb();

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
import type { Check, Commit, Kv, Write } from "../src/kv/kv.ts";
import { startPostgres } from "../src/kv/postgres.fixture.ts";
import { openPostgresKv } from "../src/kv/postgres.ts";
import { median, share } from "./statistics.ts";

const rounds = 3;

/** `put`: what a PUT of 4 KiB commits: head, body row and usage, with checks of the bucket, the session and the head. */
export type Shape = "small" | "object" | "put";

/** What the commits are measured on. */
type Committer = {
  readonly commit: (commit: Commit) => Promise<unknown>;
  readonly get?: Kv["get"];
  readonly close: () => Promise<void>;
};

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

/** A check of a row that stands and that nobody changes. */
async function standing(kv: Committer, name: string): Promise<Check> {
  const key = Buffer.from(`s/${name}`);
  await kv.commit({ checks: [{ key, version: 0 }], writes: [{ kind: "put", key, value: Buffer.alloc(40) }] });
  const [row] = await kv.get!([key]);
  return { key, version: row!.version };
}

type Work = { readonly shape: Shape; readonly writers: number; readonly seconds: number };

async function commitsPerSecond(kv: Committer, { shape, writers, seconds }: Work): Promise<number> {
  const value = Buffer.alloc(4_300, process.pid & 0xff);
  const always = shape === "put" ? [await standing(kv, "bucket"), await standing(kv, `session ${process.pid}`)] : [];
  const startedMs = performance.now();
  const endMs = startedMs + seconds * 1_000;
  let count = 0;
  const writer = async (): Promise<void> => {
    while (performance.now() < endMs) {
      const name = `${Math.random().toString(36).slice(2)}-${process.pid}-${count}`;
      await kv.commit({
        checks: [...always, { key: Buffer.from(`b/${name}`), version: 0 }],
        writes: writesOf(shape, name, value),
      });
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: writers }, writer));
  return Math.round((count / (performance.now() - startedMs)) * 1_000);
}

export type CommitLoad = Work & {
  /** One of the openers above. */
  readonly kind: string;
  /** The folder or the address of the store. */
  readonly place: string;
  /** They share the writers out among themselves. */
  readonly processes: number;
};

/** Commits per second, all processes together. */
export async function commitRate({ kind, place, shape, processes, writers, seconds }: CommitLoad): Promise<number> {
  const rates = Array.from({ length: processes }, async (_, index) => {
    const own = share(writers, processes, index);
    const child = fork(import.meta.filename, [String(seconds), kind, place, shape, String(own)]);
    const [rate] = (await once(child, "message")) as [number];
    await once(child, "exit");
    return rate;
  });
  return (await Promise.all(rates)).reduce((sum, rate) => sum + rate, 0);
}

async function perSecond(
  seconds: number,
  what: string,
  readers: number,
  read: (turn: number) => Promise<number>,
): Promise<void> {
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

async function reads(kv: Kv, seconds: number): Promise<void> {
  const range = { start: Buffer.from("b/"), end: Buffer.from("b0") };
  const keys = (await kv.scan(range, { limit: 2_000 })).map((entry) => entry.key);
  for (const readers of [1, 64, 256]) {
    const read = async (turn: number) => (await kv.get([keys[turn % keys.length]!])).length;
    await perSecond(seconds, "gets of one key", readers, read);
  }
  await perSecond(seconds, "entries scanned", 1, async () => (await kv.scan(range, { limit: 1_000 })).length);
}

type Compared = { readonly place: string; readonly seconds: number };

/** The first kind is what is measured; the others are what it is compared with. */
async function commits({ place, seconds }: Compared, kindsOf: (shape: Shape) => readonly string[]): Promise<void> {
  for (const shape of ["small", "object"] as const) {
    for (const [processes, writers] of [
      [1, 1],
      [1, 64],
      [1, 256],
      [2, 2],
      [2, 64],
      [2, 256],
    ] as const) {
      const kinds = kindsOf(shape);
      const figures = new Map<string, number[]>(kinds.map((kind) => [kind, []]));
      for (let round = 0; round < (kinds.length === 1 ? 1 : rounds); round++) {
        for (const kind of kinds)
          figures.get(kind)!.push(await commitRate({ kind, place, shape, processes, writers, seconds }));
      }
      const [first, ...others] = [...figures].map(([kind, all]) => ({ kind, rate: median(all) }));
      const ratios = others.map(({ kind, rate }) => `, ${(first!.rate / rate).toFixed(1)} × ${kind} (${rate}/s)`);
      console.log(
        `${shape} commits, ${writers} writer(s) in ${processes} process(es): ${first!.rate}/s${ratios.join("")}`,
      );
    }
  }
}

async function measureLmdb(seconds: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-bench-"));
  const path = join(folder, "meta.mdb");
  await commits({ place: path, seconds }, () => ["lmdb"]);
  const kv = await openLmdbKv({ path });
  await reads(kv, seconds);
  await kv.close();
  await rm(folder, { recursive: true });
}

async function measurePostgres(seconds: number): Promise<void> {
  const server = await startPostgres({ fsync: true });
  try {
    await commits({ place: server.url, seconds }, (shape) =>
      shape === "small" ? ["postgres", "single", "plain"] : ["postgres", "single"],
    );
    const kv = await openPostgresKv({ url: server.url });
    await reads(kv, seconds);
    await kv.close();
  } finally {
    await server.dispose();
  }
}

async function measureEtcd(seconds: number): Promise<void> {
  // What is measured fills the quota of 2 GiB in a moment.
  const server = await EtcdFixture.start({ members: 3, flags: { "quota-backend-bytes": String(8 * 2 ** 30) } });
  try {
    const url = server.url("bench");
    await commits({ place: url, seconds }, (shape) => (shape === "small" ? ["etcd", "request"] : ["etcd"]));
    const kv = await openEtcdKv({ url });
    await reads(kv, seconds);
    await kv.close();
  } finally {
    await server.dispose();
  }
}

async function main(): Promise<void> {
  const [, , secondsText = "2", kind = "lmdb", place, shape, writers] = process.argv;
  const seconds = Number(secondsText);
  if (place !== undefined) {
    const kv = await openers[kind]!(place);
    process.send?.(await commitsPerSecond(kv, { shape: shape as Shape, writers: Number(writers), seconds }));
    await kv.close();
    process.disconnect();
  } else if (kind === "postgres") await measurePostgres(seconds);
  else if (kind === "etcd") await measureEtcd(seconds);
  else await measureLmdb(seconds);
}

if (import.meta.main) await main();

/** What engines need for rows of objects: real ones are filled, and then asked for their size. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { MapWalk } from "../src/jobs/map_walk.ts";
import { openEtcdKv } from "../src/kv/etcd.ts";
import { EtcdFixture, etcdMissing } from "../src/kv/etcd.fixture.ts";
import type { Kv, Write } from "../src/kv/kv.ts";
import { openLmdbKv } from "../src/kv/lmdb.ts";
import { postgresMissing, startPostgres } from "../src/kv/postgres.fixture.ts";
import { openPostgresKv } from "../src/kv/postgres.ts";
import { rowsOf, type Shape } from "./scaling_records.ts";

export type Filled = {
  readonly rows: number;
  readonly rowBytes: number;
  /** On disk, of one copy. */
  readonly engineBytes: number;
  /** Further figures of the engine, each for one object. */
  readonly more: Readonly<Record<string, number>>;
  /** Rows of chunk maps that one walk over all of them reads in a second. */
  readonly walkedRows: number;
};

export type Engine = { readonly name: string; fill(shape: Shape, count: number): Promise<Filled> };

const commitsAtOnce = 64;
const writesOfCommit = 200;
const bytesOfCommit = 500_000;

/** Objects as commits of bounded size; parts of large ones get their own, as parts of uploads do. */
function* commitsOf(shape: Shape, count: number, seen: { rows: number; bytes: number }): Generator<Write[]> {
  for (let index = 0; index < count; index++) {
    let writes: Write[] = [];
    let bytes = 0;
    for (const { key, value } of rowsOf(shape, index)) {
      if (writes.length >= writesOfCommit || bytes + value.length > bytesOfCommit) {
        yield writes;
        [writes, bytes] = [[], 0];
      }
      writes.push({ kind: "put", key, value });
      bytes += value.length;
      seen.rows += 1;
      seen.bytes += key.length + value.length;
    }
    yield writes;
  }
}

async function fill(kv: Kv, shape: Shape, count: number): Promise<{ readonly rows: number; readonly bytes: number }> {
  const seen = { rows: 0, bytes: 0 };
  const commits = commitsOf(shape, count, seen);
  const writer = async (): Promise<void> => {
    for (const writes of commits) {
      const { outcome } = await kv.commit({ checks: [], writes });
      if (outcome !== "committed") throw new Error("A commit without checks failed.");
    }
  };
  await Promise.all(Array.from({ length: commitsAtOnce }, writer));
  return seen;
}

async function walk(kv: Kv, shape: Shape, count: number, rows: number): Promise<number> {
  if (shape.redundancy === undefined) return 0;
  const steps = new MapWalk(kv);
  const startedMs = performance.now();
  while ((await steps.next()) !== undefined);
  return ((rows - count) / (performance.now() - startedMs)) * 1_000;
}

function lmdb(): Engine {
  return {
    name: "lmdb",
    fill: async (shape, count) => {
      const folder = await mkdtemp(join(tmpdir(), "holdfast-scaling-"));
      const kv = await openLmdbKv({ path: join(folder, "meta.mdb") });
      const { rows, bytes } = await fill(kv, shape, count);
      const { fileBytes, reusableBytes } = kv.fileSpace!();
      const walkedRows = await walk(kv, shape, count, rows);
      await kv.close();
      await rm(folder, { recursive: true });
      return { rows, rowBytes: bytes, engineBytes: fileBytes - reusableBytes, more: {}, walkedRows };
    },
  };
}

type Sizes = { readonly heap: string; readonly toast: string; readonly indexes: string; readonly total: string };

async function fillPostgres(url: string, schema: string, shape: Shape, count: number): Promise<Filled> {
  const kv = await openPostgresKv({ url: `${url}?schema=${schema}`, allowNoSync: true });
  const client = new Client({ connectionString: url });
  await client.connect();
  const logged = async (): Promise<number> =>
    Number((await client.query("SELECT pg_current_wal_lsn() - '0/0' AS bytes")).rows[0].bytes);
  const before = await logged();
  const { rows, bytes } = await fill(kv, shape, count);
  const walBytes = (await logged()) - before;
  await client.query(`VACUUM ${schema}.rows`);
  const size = `SELECT pg_relation_size('${schema}.rows') AS heap, pg_indexes_size('${schema}.rows') AS indexes,
    coalesce((SELECT pg_total_relation_size(reltoastrelid) FROM pg_class
      WHERE oid = '${schema}.rows'::regclass AND reltoastrelid <> 0), 0) AS toast,
    pg_total_relation_size('${schema}.rows') AS total`;
  const { heap, toast, indexes, total } = (await client.query<Sizes>(size)).rows[0]!;
  const walkedRows = await walk(kv, shape, count, rows);
  await kv.close();
  await client.query(`DROP SCHEMA ${schema} CASCADE`);
  await client.end();
  const more = { table: +heap, "out of line": +toast, indexes: +indexes, log: walBytes };
  const each = Object.fromEntries(Object.entries(more).map(([name, sum]) => [name, sum / count]));
  return { rows, rowBytes: bytes, engineBytes: +total, more: each, walkedRows };
}

async function fillEtcd(shape: Shape, count: number): Promise<Filled> {
  const server = await EtcdFixture.start({ flags: { "quota-backend-bytes": String(8 * 2 ** 30) } });
  try {
    const kv = await openEtcdKv({ url: server.url("scaling") });
    const { rows, bytes } = await fill(kv, shape, count);
    const walkedRows = await walk(kv, shape, count, rows);
    await kv.close();
    const status = await server.post("maintenance/status");
    const { revision } = status["header"] as { readonly revision: string };
    await server.post("kv/compaction", { revision, physical: true });
    await server.post("maintenance/defragment");
    const { dbSize } = (await server.post("maintenance/status")) as { readonly dbSize: string };
    return { rows, rowBytes: bytes, engineBytes: Number(dbSize), more: {}, walkedRows };
  } finally {
    await server.dispose();
  }
}

/** Those that are installed here; others are named on standard error. Call `end` when they are not needed any more. */
export async function engines(): Promise<{ readonly all: readonly Engine[]; end(): Promise<void> }> {
  const all = [lmdb()];
  const missing = postgresMissing();
  const server = missing === false ? await startPostgres({ settings: { shared_buffers: "256MB" } }) : undefined;
  let schemas = 0;
  if (server === undefined) console.error(missing);
  else
    all.push({
      name: "postgres",
      fill: (shape, count) => fillPostgres(server.url, `scaling${schemas++}`, shape, count),
    });
  if (etcdMissing !== undefined) console.error(etcdMissing);
  else all.push({ name: "etcd", fill: fillEtcd });
  return { all, end: async () => server?.dispose() };
}

/** The metadata engines: PUT of small objects through three nodes beside the driver alone, and the driver beside less clever ones. */
import { randomBytes } from "node:crypto";
import { EtcdFixture } from "../src/kv/etcd.fixture.ts";
import { startPostgres } from "../src/kv/postgres.fixture.ts";
import { makeBucket } from "./buckets.ts";
import type { BenchCluster } from "./cluster_nodes.ts";
import { whole, type Row } from "./cluster_rows.ts";
import { commitRate, type CommitLoad } from "./kv.ts";
import { loadNodes } from "./load_nodes.ts";
import { median, ratios } from "./statistics.ts";

export type Effort = { readonly rounds: number; readonly seconds: number };

const connections = 64;

/** The driver's rate is taken before and after each load, with as many processes as there are nodes. */
export async function smallPuts(cluster: BenchCluster, { rounds, seconds }: Effort): Promise<Row> {
  const { urls, keys, postgres } = cluster;
  const body = randomBytes(4_096);
  await makeBucket({ url: urls[0]!, keys, bucket: "small" });
  const put = (round: string, durationMsMax: number) => {
    const next = (index: number) => ({ method: "PUT" as const, target: `/small/${round}/${index}`, body });
    return loadNodes({ urls, keys, connections, durationMsMax, next });
  };
  const load: CommitLoad = {
    kind: "postgres",
    place: `${postgres.url}?schema=driver`,
    shape: "put",
    processes: urls.length,
    writers: connections,
    seconds,
  };
  await put("warm", 2_000);
  const [puts, commits]: [number[], number[]] = [[], []];
  const spentUs = { nodes: [] as number[], postgres: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    const before = await commitRate(load);
    const cpuBefore = cluster.cpuMs();
    const { perSecond, requests } = await put(String(round), seconds * 1_000);
    const cpuAfter = cluster.cpuMs();
    puts.push(perSecond);
    for (const who of ["nodes", "postgres"] as const)
      spentUs[who].push(((cpuAfter[who] - cpuBefore[who]) * 1_000) / requests);
    commits.push((before + (await commitRate(load))) / 2);
  }
  return {
    work: `PUT 4 KiB, ${urls.length} nodes, PostgreSQL, ${connections} connections`,
    figure:
      `${whole(median(puts))}/s; CPU per PUT: nodes ${whole(median(spentUs.nodes))} µs, ` +
      `PostgreSQL ${whole(median(spentUs.postgres))} µs`,
    against: `driver alone, same commits, ${connections} writers in ${urls.length} processes: ${whole(median(commits))}/s`,
    ratio: ratios(puts, commits),
    floor: 0.5,
  };
}

const writers = 256;

export async function postgresCommits(effort: Effort): Promise<Row> {
  const server = await startPostgres({ fsync: true });
  try {
    const { ours, theirs } = await inTurns(server.url, ["postgres", "single"], effort);
    return {
      work: `PostgreSQL driver, ${writers} concurrent commits`,
      figure: `${whole(median(ours))}/s`,
      against: `a statement per commit, 8 connections: ${whole(median(theirs))}/s`,
      ratio: ratios(ours, theirs),
      floor: 2,
    };
  } finally {
    await server.dispose();
  }
}

/** The client `etcd3` is not at hand: a request for each commit stands for it, on a connection that bears many at once. */
export async function etcdCommits(effort: Effort): Promise<Row> {
  const server = await EtcdFixture.start({ members: 3 });
  try {
    const { ours, theirs } = await inTurns(server.url("bench"), ["etcd", "request"], effort);
    return {
      work: `etcd driver, three members, ${writers} concurrent commits`,
      figure: `${whole(median(ours))}/s`,
      against: `a transaction of one key per request: ${whole(median(theirs))}/s`,
      ratio: ratios(ours, theirs),
      floor: 1,
    };
  } finally {
    await server.dispose();
  }
}

async function inTurns(
  place: string,
  [own, other]: readonly [string, string],
  { rounds, seconds }: Effort,
): Promise<{ readonly ours: number[]; readonly theirs: number[] }> {
  const load = { place, shape: "small", processes: 1, writers, seconds } as const;
  const [ours, theirs]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    theirs.push(await commitRate({ ...load, kind: other }));
    ours.push(await commitRate({ ...load, kind: own }));
  }
  return { ours, theirs };
}

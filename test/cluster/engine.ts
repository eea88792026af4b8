/** The metadata engine of a cluster under test: a real PostgreSQL, one with a synchronous standby, or etcd members. */
import { EtcdFixture, etcdMissing } from "../../src/kv/etcd.fixture.ts";
import { postgresMissing, postgresPassword, startPostgres } from "../../src/kv/postgres.fixture.ts";
import type { PostgresServer } from "../../src/kv/postgres.fixture.ts";

export type EngineKind = "postgres" | "standby" | "etcd";

export type Engine = {
  readonly kind: EngineKind;
  /** `host:port` of each server. */
  readonly hosts: readonly string[];
  /** The store's address, with these hosts in place of the engine's own. */
  url(hosts?: readonly string[]): string;
  dispose(): Promise<void>;
};

/** Why an engine cannot be had here. */
export function engineMissing(kind: EngineKind): string | false {
  return kind === "etcd" ? (etcdMissing ?? false) : postgresMissing();
}

export class PostgresEngine implements Engine {
  readonly kind = "postgres";
  readonly #server: PostgresServer;

  static async start(): Promise<PostgresEngine> {
    return new PostgresEngine(await startPostgres({ fsync: true, settings: { max_connections: "200" } }));
  }

  private constructor(server: PostgresServer) {
    this.#server = server;
  }

  get hosts(): readonly string[] {
    return [this.#server.host];
  }

  url(hosts: readonly string[] = this.hosts): string {
    return postgresUrl(hosts);
  }

  /** As if its machine had lost power, and came back after a while. */
  async restart(downMs: number): Promise<void> {
    await this.#server.stop("immediate");
    await pause(downMs);
    await this.#server.start();
  }

  dispose(): Promise<void> {
    return this.#server.dispose();
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function postgresUrl(hosts: readonly string[]): string {
  return `postgres://holdfast:${postgresPassword}@${hosts.join(",")}/postgres?schema=cluster`;
}

/** Two PostgreSQL servers: one takes writes, and acknowledges none before the other has it. */
export class StandbyEngine implements Engine {
  readonly kind = "standby";
  readonly #servers: [PostgresServer, PostgresServer];
  #primary = 0;

  static async start(): Promise<StandbyEngine> {
    // The standby's configuration is a copy: when it takes writes it waits for a standby of its own.
    const settings = { max_connections: "200", synchronous_standby_names: "*" };
    const first = await startPostgres({ fsync: true, settings });
    try {
      return new StandbyEngine(first, await first.standby());
    } catch (error) {
      await first.dispose();
      throw error;
    }
  }

  private constructor(first: PostgresServer, second: PostgresServer) {
    this.#servers = [first, second];
  }

  get hosts(): readonly string[] {
    return this.#servers.map(({ host }) => host);
  }

  url(hosts: readonly string[] = this.hosts): string {
    return postgresUrl(hosts);
  }

  /** The one that takes writes is lost; after a while somebody has the other one take them, and makes it a new standby. */
  async failover(downMs: number): Promise<void> {
    const lost = this.#servers[this.#primary]!;
    await lost.stop("kill");
    await pause(downMs);
    const next = this.#servers[1 - this.#primary]!;
    await next.promote();
    this.#servers[this.#primary] = await next.standby();
    this.#primary = 1 - this.#primary;
    await lost.dispose();
  }

  async dispose(): Promise<void> {
    for (const server of this.#servers) await server.dispose();
  }
}

/** Three members. */
export class EtcdEngine implements Engine {
  readonly kind = "etcd";
  readonly fixture: EtcdFixture;

  static async start(): Promise<EtcdEngine> {
    return new EtcdEngine(await EtcdFixture.start({ members: 3 }));
  }

  private constructor(fixture: EtcdFixture) {
    this.fixture = fixture;
  }

  get hosts(): readonly string[] {
    return this.fixture.endpoints;
  }

  url(hosts: readonly string[] = this.hosts): string {
    return `etcd://${hosts.join(",")}/cluster`;
  }

  async down(...members: readonly number[]): Promise<void> {
    for (const member of members) await this.fixture.signal(member, "SIGKILL");
  }

  async up(...members: readonly number[]): Promise<void> {
    for (const member of members) this.fixture.run(member);
    await this.fixture.ready();
  }

  dispose(): Promise<void> {
    return this.fixture.dispose();
  }
}

export function startEngine(kind: EngineKind): Promise<Engine> {
  const start = { postgres: PostgresEngine, standby: StandbyEngine, etcd: EtcdEngine };
  return start[kind].start();
}

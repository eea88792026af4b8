/**
 * A real etcd cluster for tests: members in a temporary folder on free loopback ports, with the flags Holdfast asks for.
 * Members can be killed, frozen and started again; what was started is ended by its id.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { limits } from "../core/limits.ts";
import { claimPort } from "../core/ports.fixture.ts";

/** Why tests on etcd cannot run here, or undefined. */
export const etcdMissing =
  spawnSync("etcd", ["--version"]).status === 0
    ? undefined
    : "NOT CHECKED: the metadata store in etcd. Install etcd (apt-get install etcd-server).";

export type EtcdFixtureOptions = {
  readonly members?: 1 | 3;
  /** Instead of, or beside, the flags that Holdfast asks for. */
  readonly flags?: Readonly<Record<string, string>>;
  readonly scheme?: "http" | "https";
};

type Member = {
  readonly name: string;
  readonly client: string;
  readonly peer: string;
  /** Where it says whether it is well, without TLS and to everybody. */
  readonly health: string;
  child: ChildProcess | undefined;
};

export class EtcdFixture {
  readonly folder: string;
  readonly #members: readonly Member[];
  readonly #options: EtcdFixtureOptions;

  static async start(options: EtcdFixtureOptions = {}): Promise<EtcdFixture> {
    const folder = await mkdtemp(join(tmpdir(), "holdfast-etcd-"));
    const count = options.members ?? 1;
    const members: Member[] = [];
    for (let index = 0; index < count; index++) {
      const address = async (): Promise<string> => `127.0.0.1:${await claimPort()}`;
      const [client, peer, health] = [await address(), await address(), await address()];
      members.push({ name: `m${index}`, client, peer, health, child: undefined });
    }
    const fixture = new EtcdFixture(folder, members, options);
    for (const index of members.keys()) fixture.run(index);
    await fixture.ready();
    return fixture;
  }

  private constructor(folder: string, members: readonly Member[], options: EtcdFixtureOptions) {
    this.folder = folder;
    this.#members = members;
    this.#options = options;
  }

  get endpoints(): string[] {
    return this.#members.map(({ client }) => client);
  }

  /** The address of a store. */
  url(name: string): string {
    return `etcd://${this.endpoints.join(",")}/${name}`;
  }

  /** Starts a member, or starts it again with what it had. */
  run(index: number): void {
    const member = this.#members[index]!;
    assert.equal(member.child, undefined);
    const scheme = this.#options.scheme ?? "http";
    const flags = {
      name: member.name,
      "data-dir": join(this.folder, member.name),
      "listen-client-urls": `${scheme}://${member.client}`,
      "advertise-client-urls": `${scheme}://${member.client}`,
      "listen-metrics-urls": `http://${member.health}`,
      "listen-peer-urls": `http://${member.peer}`,
      "initial-advertise-peer-urls": `http://${member.peer}`,
      "initial-cluster": this.#members.map(({ name, peer }) => `${name}=http://${peer}`).join(","),
      "max-txn-ops": String(limits.etcdTxnOperations),
      "max-request-bytes": String(limits.etcdRequestBytes),
      logger: "zap",
      "log-level": "error",
      ...this.#options.flags,
    };
    const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
    // Debian asks for this where it has not been tried; it changes nothing elsewhere.
    const env = { ...process.env, ETCD_UNSUPPORTED_ARCH: process.arch };
    member.child = spawn("etcd", args, { stdio: "ignore", env });
  }

  /** `SIGKILL` ends a member, `SIGSTOP` freezes it, `SIGCONT` lets it go on. */
  async signal(index: number, signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): Promise<void> {
    const member = this.#members[index]!;
    assert.ok(member.child !== undefined);
    const exited = once(member.child, "exit");
    member.child.kill(signal);
    if (signal !== "SIGKILL") return;
    await exited;
    member.child = undefined;
  }

  /** Resolves when the members that run have a leader and answer. */
  async ready(): Promise<void> {
    const giveUpMs = performance.now() + 60_000;
    for (const member of this.#members) {
      if (member.child === undefined) continue;
      while (!(await isHealthy(member))) {
        assert.ok(member.child.exitCode === null, "etcd ended by itself");
        assert.ok(performance.now() < giveUpMs, "etcd does not become healthy");
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  /** A call of etcd's JSON gateway, on the member. */
  async post(path: string, body: unknown = {}, index = 0, token?: string): Promise<Record<string, unknown>> {
    const headers = token === undefined ? {} : { authorization: token };
    const request = { method: "POST", body: JSON.stringify(body), headers };
    const response = await fetch(`http://${this.#members[index]!.client}/v3/${path}`, request);
    return (await response.json()) as Record<string, unknown>;
  }

  /** Which member leads; while they elect one, this waits, as long as the test has. */
  async leader(): Promise<number> {
    for (;;) {
      for (const index of this.#members.keys()) if (await this.#leads(index)) return index;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async #leads(index: number): Promise<boolean> {
    if (this.#members[index]!.child === undefined) return false;
    const status = await this.post("maintenance/status", {}, index).catch(() => undefined);
    const header = status?.["header"] as Record<string, unknown> | undefined;
    return header !== undefined && status!["leader"] === header["member_id"];
  }

  async dispose(): Promise<void> {
    for (const index of this.#members.keys()) {
      if (this.#members[index]!.child !== undefined) await this.signal(index, "SIGKILL");
    }
    await rm(this.folder, { recursive: true });
  }
}

async function isHealthy({ health }: Member): Promise<boolean> {
  try {
    const response = await fetch(`http://${health}/health`);
    return ((await response.json()) as { health?: string }).health === "true";
  } catch {
    return false;
  }
}

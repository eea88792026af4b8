/**
 * A PostgreSQL of its own for tests: in a temporary folder, on a free port of the loopback, with a password, ended by its
 * process id. The programs come from Debian's package or whatever stands in the PATH. PostgreSQL refuses to run as root;
 * then it runs as `nobody`.
 *
 * `fsync` is off unless asked for, which makes tests several times as fast; open the store with `allowNoSync` then.
 */
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { appendFile, chown, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { claimPort } from "../core/ports.fixture.ts";

const run = promisify(execFile);
const packages = "/usr/lib/postgresql";
const nobody = 65_534;
export const postgresPassword = "fixture-secret-5d1c";

export type PostgresServer = {
  /** With user, password and database; add `?schema=`. */
  readonly url: string;
  /** `127.0.0.1:port`. */
  readonly host: string;
  /** Starts it again after `stop`, and resolves when it takes connections. */
  start(): Promise<void>;
  /** `kill` is SIGKILL to the main process; `immediate` ends without a checkpoint, `fast` with one. */
  stop(how: "fast" | "immediate" | "kill"): Promise<void>;
  /** Adds settings to its configuration, for its next start. */
  configure(settings: Readonly<Record<string, string>>): Promise<void>;
  /** Stops its main process from running (no answer to anybody new), and lets it run again. */
  pause(): void;
  resume(): void;
  /** Another server that follows this one. */
  standby(settings?: Readonly<Record<string, string>>): Promise<PostgresServer>;
  /** Makes a standby the one that takes writes. */
  promote(): Promise<void>;
  /** What it wrote to its log so far. */
  log(): Promise<string>;
  /** Ends it and removes its folder. */
  dispose(): Promise<void>;
};

export type PostgresServerOptions = {
  readonly fsync?: boolean;
  readonly settings?: Readonly<Record<string, string>>;
  /** A certificate and its key (PEM): the server takes encrypted connections too. */
  readonly tls?: { readonly cert: string; readonly key: string };
};

/** The folder of PostgreSQL's programs; undefined where there is none. */
export function postgresPrograms(): string | undefined {
  const versions = existsSync(packages)
    ? readdirSync(packages).toSorted((left, right) => Number(right) - Number(left))
    : [];
  const folders = [
    ...(process.env["PATH"] ?? "").split(delimiter),
    ...versions.map((version) => join(packages, version, "bin")),
  ];
  return folders.find((folder) =>
    ["postgres", "initdb", "pg_ctl", "pg_basebackup"].every((name) => existsSync(join(folder, name))),
  );
}

/** Why tests skip that need it; false when it is there. */
export function postgresMissing(): string | false {
  if (postgresPrograms() !== undefined) return false;
  return "NOT CHECKED: the PostgreSQL driver. Install PostgreSQL 14 or newer (apt-get install postgresql).";
}

export async function startPostgres(options: PostgresServerOptions = {}): Promise<PostgresServer> {
  const folder = await newFolder();
  const passwordFile = join(folder, "password");
  await writeFile(passwordFile, postgresPassword);
  if (isRoot()) await chown(passwordFile, nobody, nobody);
  const who = ["--username", "holdfast", "--pwfile", passwordFile, "--auth", "scram-sha-256"];
  const how = ["--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"];
  await program(folder, "initdb", ["--pgdata", join(folder, "data"), ...who, ...how]);
  await configure(folder, {
    fsync: options.fsync === true ? "on" : "off",
    wal_sync_method: "fdatasync",
    shared_buffers: "64MB",
    unix_socket_directories: "",
    lc_messages: "C",
    ...(options.tls === undefined ? {} : await tlsSettings(folder, options.tls)),
    ...options.settings,
  });
  return started(folder);
}

async function tlsSettings(
  folder: string,
  files: Readonly<Record<"cert" | "key", string>>,
): Promise<Record<string, string>> {
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, `${name}.pem`);
    await writeFile(path, text, { mode: 0o600 });
    if (isRoot()) await chown(path, nobody, nobody);
  }
  return { ssl: "on", ssl_cert_file: join(folder, "cert.pem"), ssl_key_file: join(folder, "key.pem") };
}

async function started(folder: string): Promise<PostgresServer> {
  const server = new Server(folder, await claimPort());
  try {
    await server.start();
  } catch (error) {
    await server.dispose();
    throw error;
  }
  return server;
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

function as(): { readonly uid?: number; readonly gid?: number } {
  return isRoot() ? { uid: nobody, gid: nobody } : {};
}

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-postgres-"));
  if (isRoot()) await chown(folder, nobody, nobody);
  return folder;
}

async function program(folder: string, name: string, args: readonly string[]): Promise<void> {
  const env = { ...process.env, PGPASSWORD: postgresPassword, LC_ALL: "C" };
  await run(join(postgresPrograms()!, name), args, { cwd: folder, env, ...as() });
}

async function configure(folder: string, settings: Readonly<Record<string, string>>): Promise<void> {
  const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value}'\n`);
  await appendFile(join(folder, "data", "postgresql.conf"), lines.join(""));
}

const signals = { fast: "SIGINT", immediate: "SIGQUIT", kill: "SIGKILL" } as const;
const startMsMax = 60_000;

class Server implements PostgresServer {
  readonly url: string;
  readonly host: string;
  readonly #folder: string;
  readonly #port: number;
  #process: ChildProcess | undefined;

  constructor(folder: string, port: number) {
    this.#folder = folder;
    this.#port = port;
    this.host = `127.0.0.1:${port}`;
    this.url = `postgres://holdfast:${postgresPassword}@${this.host}/postgres`;
  }

  async start(): Promise<void> {
    const giveUpMs = performance.now() + startMsMax;
    // After a kill the main process cannot start again before its orphans have noticed.
    while (!(await this.#tryStart())) {
      if (performance.now() > giveUpMs) throw new Error(`PostgreSQL does not start:\n${await this.log()}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** Resolves when it is ready, or has ended again. */
  async #tryStart(): Promise<boolean> {
    const args = ["-D", join(this.#folder, "data"), "-p", String(this.#port), "-c", "listen_addresses=127.0.0.1"];
    const child = spawn(join(postgresPrograms()!, "postgres"), args, {
      cwd: this.#folder,
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, LC_ALL: "C" },
      ...as(),
    });
    this.#process = child;
    return new Promise((resolve, reject) => {
      let text = "";
      child.stderr.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
        void appendFile(join(this.#folder, "log"), piece).catch(() => undefined);
        if (/database system is ready to accept (read-only )?connections/.test(text)) resolve(true);
        if (text.length > 100_000) text = "";
      });
      child.once("error", reject);
      child.once("exit", () => resolve(false));
    });
  }

  async stop(how: "fast" | "immediate" | "kill"): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signals[how]);
    await exited;
  }

  configure(settings: Readonly<Record<string, string>>): Promise<void> {
    return configure(this.#folder, settings);
  }

  pause(): void {
    this.#process?.kill("SIGSTOP");
  }

  resume(): void {
    this.#process?.kill("SIGCONT");
  }

  async standby(settings: Readonly<Record<string, string>> = {}): Promise<PostgresServer> {
    const folder = await newFolder();
    const from = ["--host", "127.0.0.1", "--port", String(this.#port), "--username", "holdfast"];
    const how = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--pgdata", join(folder, "data")];
    await program(folder, "pg_basebackup", [...from, ...how]);
    await configure(folder, settings);
    return started(folder);
  }

  async promote(): Promise<void> {
    await program(this.#folder, "pg_ctl", ["promote", "--wait", "--pgdata", join(this.#folder, "data")]);
  }

  async log(): Promise<string> {
    return readFile(join(this.#folder, "log"), "utf8").catch(() => "");
  }

  async dispose(): Promise<void> {
    this.resume();
    await this.stop("immediate");
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 20 });
  }
}

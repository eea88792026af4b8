/** The command line as a user runs it: the real program in a process of its own, against a server in this one. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { S3Client } from "../../src/client/s3_client.ts";
import { createServer, type HoldfastServer } from "../../src/index.ts";

const doorstep = fileURLToPath(new URL("../../bin/holdfast.js", import.meta.url));

export type Ended = { readonly status: number | null; readonly output: string; readonly errors: string };

export type Cli = {
  readonly server: () => HoldfastServer;
  readonly client: () => S3Client;
  /** A folder for this file's tests; commands run in it. */
  readonly folder: () => string;
  run(...args: string[]): Promise<Ended>;
};

/** One server, with the bucket `things`, and one folder for all tests of a file. */
export function useCli(): Cli {
  let server: HoldfastServer;
  let client: S3Client;
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-cli-"));
  before(async () => {
    server = await createServer({ memory: true });
    const { accessKey, secretKey, region } = server;
    client = new S3Client({ endpoint: new URL(server.url), accessKey, secretKey, region });
    await client.run({ method: "PUT", bucket: "things" });
  });
  after(async () => {
    client.close();
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const run = (...args: string[]): Promise<Ended> => runCli(args, folder, environmentFor(server));
  return { server: () => server, client: () => client, folder: () => folder, run };
}

export function environmentFor({ url, accessKey, secretKey }: HoldfastServer): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("HOLDFAST_"));
  const keys = { HOLDFAST_URL: url, HOLDFAST_ACCESS_KEY: accessKey, HOLDFAST_SECRET_KEY: secretKey };
  return { ...Object.fromEntries(own), ...keys };
}

export async function runCli(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Promise<Ended> {
  const child = spawn(process.execPath, [doorstep, ...args], { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), 600_000);
  let output = "";
  let errors = "";
  child.stdout.on("data", (text: Buffer) => (output += text.toString()));
  child.stderr.on("data", (text: Buffer) => (errors += text.toString()));
  const [status] = (await once(child, "close")) as [number | null];
  clearTimeout(timer);
  return { status, output, errors };
}

/** A process that prints more than its reader takes: the reader leaves after the first bytes. */
export async function runCutOff(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Promise<Ended> {
  const child = spawn(process.execPath, [doorstep, ...args], { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  let errors = "";
  child.stderr.on("data", (text: Buffer) => (errors += text.toString()));
  child.stdout.once("data", () => child.stdout.destroy());
  const [status] = (await once(child, "close")) as [number | null];
  return { status, output: "", errors };
}

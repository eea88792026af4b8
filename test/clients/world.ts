/**
 * What the tests of real clients share: a server of their own, a folder of their own with files to store, and a way to run
 * a program there that sees nothing of this machine's settings.
 */
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { testMsMax } from "../bounds.ts";
import { ServerProcess, testKeys } from "../crash/server_process.ts";

const run = promisify(execFile);
export const MiB = 1024 * 1024;

/** A reason to skip, which says what to install; false where the program is there. */
export function missing(program: string, debianPackage: string): string | false {
  return existsSync(program) ? false : `${program} is not installed: apt-get install ${debianPackage}`;
}

/** Relative path → SHA-256 of everything below a folder. */
export function contents(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = path.join(entry.parentPath, entry.name);
    found[path.relative(folder, file)] = createHash("sha256").update(readFileSync(file)).digest("hex");
  }
  return found;
}

/** Names that need escaping, an empty file, one that compresses, and one that clients send in parts. */
function makeFiles(files: string): void {
  mkdirSync(path.join(files, "a folder/deeper"), { recursive: true });
  writeFileSync(path.join(files, "small.txt"), "hello\n");
  writeFileSync(path.join(files, "empty"), "");
  writeFileSync(path.join(files, "a folder/ünï + 100%.txt"), "names\n");
  writeFileSync(path.join(files, "a folder/deeper/compressible.log"), "the same line\n".repeat(100_000));
  writeFileSync(path.join(files, "big.bin"), randomBytes(19 * MiB + 123));
  // S3 tells times in whole seconds: what was made in the second in which it is sent looks newer than what came of it.
  const anHourAgo = new Date(Date.now() - 3_600_000);
  for (const file of Object.keys(contents(files))) utimesSync(path.join(files, file), anHourAgo, anHourAgo);
}

export type WorldOptions = {
  readonly workers?: number;
  /** Flags of the server. */
  readonly args?: readonly string[];
  /** With a master key, so that SSE-S3 and SSE-KMS can be asked for. */
  readonly encrypts?: boolean;
};

export class ClientWorld {
  readonly directory: string;
  readonly files: string;
  readonly server: ServerProcess;

  private constructor(directory: string, files: string, server: ServerProcess) {
    this.directory = directory;
    this.files = files;
    this.server = server;
  }

  static async start(name: string, options: WorldOptions = {}): Promise<ClientWorld> {
    const { workers = 2, args = [], encrypts = false } = options;
    const directory = mkdtempSync(path.join(tmpdir(), `holdfast-${name}-`));
    const files = path.join(directory, "files");
    makeFiles(files);
    mkdirSync(path.join(directory, ".aws"));
    const settings = "[default]\nregion = us-east-1\ns3 =\n  addressing_style = path\n";
    writeFileSync(path.join(directory, ".aws/config"), settings);
    const master = path.join(directory, "master.key");
    if (encrypts) writeFileSync(master, randomBytes(32), { mode: 0o600 });
    const flags = [...args, ...(encrypts ? ["--encryption-key-file", master] : [])];
    try {
      const server = await ServerProcess.start(path.join(directory, "data"), { workers, args: flags });
      return new ClientWorld(directory, files, server);
    } catch (error) {
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  }

  get origin(): string {
    return this.server.url.origin;
  }

  /** A path below the folder of this world. */
  path(...names: readonly string[]): string {
    return path.join(this.directory, ...names);
  }

  environment(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
    const { AWS_CA_BUNDLE: _bundle, AWS_PROFILE: _profile, ...rest } = process.env;
    return {
      ...rest,
      HOME: this.directory,
      AWS_ACCESS_KEY_ID: testKeys.accessKey,
      AWS_SECRET_ACCESS_KEY: testKeys.secretKey,
      AWS_DEFAULT_REGION: "us-east-1",
      AWS_EC2_METADATA_DISABLED: "true",
      BOTO_DISABLE_CRT: "true",
      ...extra,
    };
  }

  /** Runs a program to its end and gives what it wrote; fails where the program fails, with both of what it wrote. */
  async command(
    program: string,
    args: readonly string[],
    extra: Readonly<Record<string, string>> = {},
  ): Promise<{ readonly stdout: string; readonly stderr: string }> {
    return run(program, args, {
      env: this.environment(extra),
      maxBuffer: 64 * MiB,
      timeout: testMsMax,
      cwd: this.directory,
    });
  }

  async stop(): Promise<void> {
    await this.server.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

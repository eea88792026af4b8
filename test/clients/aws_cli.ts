/**
 * AWS's command line, many times. Most of what a short command costs is the start of Python and the import of the
 * program, so one process imports it and forks for each command line: each still is a process with its own arguments, its
 * own standard streams and its own end, in which the program's own `main` runs.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import type { ClientWorld } from "./world.ts";

const forker = `
import json, os, sys, tempfile
import awscli.clidriver

def child(asked, out, err):
    stdin = os.open(asked["stdin"] or os.devnull, os.O_RDONLY)
    for source, target in ((stdin, 0), (out.fileno(), 1), (err.fileno(), 2)):
        os.dup2(source, target)
    sys.argv = ["aws"] + asked["args"]
    code = 70
    try:
        code = awscli.clidriver.main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

# Its plugins are imported here, once. Nothing is run: what makes threads and connections must not be forked.
awscli.clidriver.create_clidriver()

for line in sys.stdin:
    asked = json.loads(line)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            child(asked, out, err)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        written = []
        for file in (out, err):
            file.seek(0)
            written.append(file.read().decode("utf8", "replace"))
    print(json.dumps({"code": code, "stdout": written[0], "stderr": written[1]}), flush=True)
`;

type Ended = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** What `--output json` gives; a missing member is undefined. */
export type Json = { readonly [name: string]: Json } & readonly Json[] & string;

export class AwsCli {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;
  readonly #endpoint: string;
  /** One command at a time. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(world: ClientWorld) {
    this.#endpoint = world.origin;
    const env = world.environment({ PYTHONIOENCODING: "utf8", LC_ALL: "C.UTF-8" });
    this.#child = spawn("/usr/bin/python3", ["-c", forker], {
      env,
      cwd: world.directory,
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async #ask(args: readonly string[], stdin: string): Promise<Ended> {
    const full = ["--endpoint-url", this.#endpoint, ...args];
    this.#child.stdin.write(`${JSON.stringify({ args: full, stdin })}\n`);
    const answer = await this.#lines.next();
    assert.ok(answer.done !== true, "the process that runs AWS's command line has ended");
    return JSON.parse(answer.value) as Ended;
  }

  /** How a command ended, well or not. */
  async ended(args: readonly string[], stdin = ""): Promise<Ended> {
    const asked = this.#last.then(() => this.#ask(args, stdin));
    this.#last = asked.catch(() => undefined);
    return asked;
  }

  /** What a command wrote; it must succeed. */
  async run(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.ended(args);
    assert.equal(code, 0, `aws ${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** One of `s3api`, its words separated by blanks, documents after them as they are. */
  async api(words: string, options: Readonly<Record<string, string | object>> = {}): Promise<Json> {
    const given = Object.entries(options).flatMap(([name, value]) => [
      `--${name}`,
      typeof value === "string" ? value : JSON.stringify(value),
    ]);
    const stdout = await this.run("s3api", ...words.split(" "), ...given, "--output", "json");
    return (stdout.trim() === "" ? {} : JSON.parse(stdout)) as Json;
  }

  /** A command that must fail with this code of S3. */
  async fails(code: string, ...args: readonly string[]): Promise<void> {
    const ended = await this.ended(args);
    assert.notEqual(ended.code, 0, `aws ${args.join(" ")} succeeded where ${code} was expected`);
    assert.ok(ended.stderr.includes(`(${code})`), `aws ${args.join(" ")}: ${ended.stderr}`);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.stdin.end();
    await once(this.#child, "exit");
  }
}

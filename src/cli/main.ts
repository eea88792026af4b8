/**
 * The command line. Each command lives in a file of its own that exports `register(program)`, and only the file of the
 * command asked for is loaded, so that `holdfast ls` does not pay for the server (help loads them all).
 *
 * A command fails by throwing: the message goes to standard error as one sentence (as JSON with `--json`), and the exit
 * status is 1. Wrong usage has exit status 2.
 */
import { Command, CommanderError } from "commander";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { HoldfastError, systemCode } from "../core/errors.ts";
import { printable } from "./connection.ts";

type CommandFile = { register(program: Command): void };

/** Command name → its file. A file that registers several commands stands here several times. */
const commandFiles: Readonly<Record<string, () => Promise<CommandFile>>> = {
  server: () => import("./server.ts"),
  ls: () => import("./ls.ts"),
  put: () => import("./put.ts"),
  get: () => import("./get.ts"),
  cat: () => import("./cat.ts"),
  commit: () => import("./commit.ts"),
  rm: () => import("./rm.ts"),
  du: () => import("./du.ts"),
  bucket: () => import("./bucket.ts"),
  account: () => import("./account.ts"),
  key: () => import("./key.ts"),
  user: () => import("./user.ts"),
  group: () => import("./user.ts"),
  role: () => import("./user.ts"),
  policy: () => import("./user.ts"),
  kms: () => import("./kms.ts"),
  explain: () => import("./explain.ts"),
  status: () => import("./status.ts"),
  drive: () => import("./drive.ts"),
  node: () => import("./drive.ts"),
  "event-target": () => import("./event_target.ts"),
  doctor: () => import("./doctor.ts"),
  metadata: () => import("./metadata.ts"),
  bench: () => import("./bench.ts"),
};

const whereToBegin = `
To begin:   holdfast server ./data      (it prints its address and keys)
Then:       export HOLDFAST_ACCESS_KEY=… HOLDFAST_SECRET_KEY=…   (and HOLDFAST_URL, unless it is http://127.0.0.1:9000)
            holdfast bucket create photos
            holdfast put -r ./Pictures photos/`;

function packageVersion(): string {
  // Both src/cli/main.ts and dist/cli/main.js lie two folders below package.json.
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

async function registerCommands(program: Command, asked: string | undefined): Promise<void> {
  const load = asked === undefined || !Object.hasOwn(commandFiles, asked) ? undefined : commandFiles[asked];
  if (load !== undefined) return (await load()).register(program);
  const files = await Promise.all(Object.values(commandFiles).map((loadOne) => loadOne()));
  for (const file of new Set(files)) file.register(program);
}

const systemReasons: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file or folder",
  EACCES: "this user may not do that",
  EPERM: "this user may not do that",
  EISDIR: "it is a folder",
  ENOTDIR: "a part of its path is not a folder",
  ENOSPC: "the disk is full",
  EROFS: "it is on a read-only file system",
};

/** A system error about a file says which; all others have a sentence of their own. */
function sentenceOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = systemCode(error) ?? "";
  const why = systemReasons[code];
  if (why !== undefined && "path" in error) return `${String(error.path)}: ${why}.`;
  if (code === "ECONNRESET" || code === "ERR_STREAM_PREMATURE_CLOSE") return "The connection to the server broke off.";
  return error.message;
}

/** With `--json` the code is ours, the server's or the system's. */
function report(error: unknown, asJson: boolean): void {
  const message = sentenceOf(error);
  const code = error instanceof HoldfastError ? error.reason : (systemCode(error) ?? "failed");
  if (asJson) process.stderr.write(JSON.stringify({ error: { code, message } }) + "\n");
  else process.stderr.write(`holdfast: ${printable(message)}\n`);
}

/** Whoever reads the output may have had enough (`holdfast ls | head`): the end, as if the signal had come. */
function endWithReader(): void {
  process.stdout.on("error", (error) => {
    if (systemCode(error) === "EPIPE") process.exit(128 + constants.signals.SIGPIPE);
    throw error;
  });
}

/** The command line with the command that is `asked` for, or with all of them. */
export async function commandLine(asked?: string): Promise<Command> {
  const program = new Command("holdfast")
    .description("A distributed file store that starts with one command.")
    .version(packageVersion())
    .showHelpAfterError("(add --help for what there is)")
    .addHelpText("after", whereToBegin)
    .exitOverride();
  await registerCommands(program, asked);
  return program;
}

/** Runs one command line (`argv` as in process.argv) and sets the exit status. */
export async function main(argv: readonly string[]): Promise<void> {
  endWithReader();
  try {
    const program = await commandLine(argv.slice(2).find((word) => !word.startsWith("-")));
    await program.parseAsync([...argv]);
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2;
      return;
    }
    report(error, argv.includes("--json"));
    process.exitCode = 1;
  }
}

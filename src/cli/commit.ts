import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import { readAll } from "../client/s3_client.ts";
import { print, printJson, withClient, withConnection, type ConnectionOptions } from "./connection.ts";

const answerBytesMax = 1024 * 1024;

export function register(program: Command): void {
  withConnection(program.command("commit"))
    .description("change several keys of a bucket at once, or none")
    .argument("<file>", 'JSON: {"bucket": …, "entries": […]}, as docs/atomic-commit.md says')
    .action(async (file: string, options: ConnectionOptions) => {
      const { bucket, entries } = documentOf(await readFile(file, "utf8"), file);
      await withClient(options, async (client) => {
        const body = Buffer.from(JSON.stringify({ entries }));
        const { body: answer } = await client.send({ method: "POST", bucket, query: { "holdfast-commit": "" }, body });
        const done = JSON.parse((await readAll(answer, answerBytesMax)).toString()) as { entries: unknown[] };
        if (options.json) printJson(done);
        else print(`${done.entries.length} ${done.entries.length === 1 ? "entry" : "entries"} committed`);
      });
    });
}

type CommitFile = { readonly bucket: string; readonly entries: unknown };

/** What the entries are is the server's to judge. */
function documentOf(text: string, file: string): CommitFile {
  const wrong = (why: string): HoldfastError => new HoldfastError("invalid_argument", `${file} ${why}.`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrong("is not JSON");
  }
  if (typeof value !== "object" || value === null || !("bucket" in value) || !("entries" in value))
    throw wrong("has no bucket or no entries");
  const { bucket, entries } = value;
  if (typeof bucket !== "string" || bucket === "") throw wrong("names no bucket");
  return { bucket, entries };
}

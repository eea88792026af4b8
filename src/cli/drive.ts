/** `holdfast drive …` and `holdfast node …`: what an operator does with drives, one by one or all that a node has. */
import type { Command } from "commander";
import { askAdmin } from "../client/admin_client.ts";
import { HoldfastError } from "../core/errors.ts";
import { connection, print, printJson, withConnection, type ConnectionOptions } from "./connection.ts";
import { driveLines, type Drive } from "./status_lines.ts";

type Options = ConnectionOptions & { readonly force?: boolean };

const ofDrive: Readonly<Record<string, readonly [string, string]>> = {
  drain: ["draining", "move what a drive has to the others; it takes nothing new"],
  keep: ["active", "let a drive that is draining, or drained, take data again"],
  remove: ["removed", "forget a drive that is drained; then leave it out of the server's command line"],
};

const ofNode: typeof ofDrive = {
  drain: ["draining", "move what all drives of a node have to other nodes"],
  keep: ["active", "let the drives of a node take data again"],
  remove: ["removed", "forget a node whose drives are drained; then stop it"],
};

export function register(program: Command): void {
  const drive = program.command("drive").description("take drives out of a store (asks with the root key)");
  const node = program.command("node").description("take nodes out of a cluster (asks with the root key)");
  for (const [name, [to, description]] of Object.entries(ofDrive))
    forcible(name, withConnection(drive.command(name)))
      .description(description)
      .argument("<drive>", "its id, as `holdfast status` prints it")
      .action(async (id: string, options: Options) => show(await change("drives", id, to, options), options));
  for (const [name, [to, description]] of Object.entries(ofNode))
    forcible(name, withConnection(node.command(name)))
      .description(description)
      .argument("<address>", "as `holdfast status` prints it")
      .action(async (url: string, options: Options) => show(await change("nodes", url, to, options), options));
  withConnection(drive.command("replace"))
    .description("have a drive that was added take the place of another, which is drained")
    .argument("<old>", "the drive to take out; it may be missing")
    .argument("<new>", "the drive that was added")
    .action(replace);
}

function forcible(name: string, command: Command): Command {
  if (name !== "drain") return command;
  return command.option("--force", "also where the loss of a node would not be survived any more");
}

async function change(what: "drives" | "nodes", name: string, membership: string, options: Options): Promise<object> {
  const path = `/_/admin/${what}/${encodeURIComponent(name)}`;
  const body = { membership, ...(options.force && { force: true }) };
  return askAdmin(connection(options), { method: "PUT", path, body });
}

function show(answer: object, options: Options): void {
  if (options.json) return printJson(answer);
  const { drives } = answer as { drives: readonly Drive[] };
  for (const line of driveLines(drives)) print(line);
}

/** The new one takes its share by itself; what is asked here is that it is there before the old one goes. */
async function replace(old: string, fresh: string, options: Options): Promise<void> {
  const answer = await askAdmin(connection(options), { method: "GET", path: "/_/admin/status" });
  const { drives } = answer as { drives: readonly Drive[] };
  const found = drives.find(({ id }) => id === fresh);
  if (old === fresh) throw new HoldfastError("invalid_argument", "A drive cannot take its own place.");
  if (found === undefined || found.membership !== "active" || found.state !== "up") {
    const why = found === undefined ? "is not there" : `is ${found.state}, ${found.membership}`;
    throw new HoldfastError(
      "invalid_argument",
      `The drive ${fresh} ${why}: name its folder in the server's command line and start it, and see \`holdfast status\`.`,
    );
  }
  show(await change("drives", old, "draining", options), options);
}

/** docs/commands.md has every command with its own options, and nothing that is not there. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Command } from "commander";
import { commandLine } from "../../src/cli/main.ts";
import { withConnection } from "../../src/cli/connection.ts";

const shared = new Set(withConnection(new Command()).options.map(({ long }) => long));

/** A row for each command that does something: how it is called, and options beyond those that all client commands have. */
function rowsOf(command: Command, path: string): string[] {
  if (command.commands.length > 0) return command.commands.flatMap((each) => rowsOf(each, `${path} ${each.name()}`));
  const words = command.registeredArguments.map((argument) => {
    const name = argument.variadic ? `${argument.name()}...` : argument.name();
    return argument.required ? `<${name}>` : `[${name}]`;
  });
  const options = command.options.filter(({ long }) => !shared.has(long)).map(({ flags }) => `\`${flags}\``);
  const cells = [`\`${[path, ...words].join(" ")}\``, options.join(", ")].map((cell) => cell.replaceAll("|", "\\|"));
  return [`| ${cells.join(" | ")} |`.replace("|  |", "| |")];
}

test("the table of commands is what the command line has", async () => {
  const program = await commandLine();
  const commands = program.commands.filter((command) => command.name() !== "server");
  const rows = commands.flatMap((command) => rowsOf(command, command.name()));
  const page = readFileSync(new URL("../../docs/commands.md", import.meta.url), "utf8");
  const table = page.split("## All of them\n")[1] ?? "";
  const said = table.split("\n").filter((line) => line.startsWith("| `"));
  assert.deepEqual(said.sort(), rows.sort());
});

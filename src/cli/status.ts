/** `holdfast status`: how a store is: its nodes and drives, what is stored how, and the work under way. */
import type { Command } from "commander";
import { askAdmin } from "../client/admin_client.ts";
import { connection, print, printJson, withConnection, type ConnectionOptions } from "./connection.ts";
import { statusLines, type Status } from "./status_lines.ts";

const watchMs = 2_000;

export function register(program: Command): void {
  withConnection(program.command("status"))
    .description("say how a store is: its nodes and drives, what it holds, and the work under way")
    .option("--watch", "again every two seconds")
    .action(async (options: ConnectionOptions & { readonly watch?: boolean }) => {
      do {
        const status = (await askAdmin(connection(options), { method: "GET", path: "/_/admin/cluster" })) as Status;
        if (options.watch && process.stdout.isTTY && !options.json) process.stdout.write("\x1b[H\x1b[2J");
        if (options.json) printJson(status);
        else for (const line of statusLines(status, Date.now())) print(line);
        if (options.watch) await new Promise((resolve) => setTimeout(resolve, watchMs));
      } while (options.watch);
    });
}

/** `holdfast status` and `holdfast drive …`: the drives of a server, its long work, and what an operator does with drives. */
import type { Command } from "commander";
import { askAdmin } from "../client/admin_client.ts";
import { connection, humanBytes, print, printJson, withConnection, type ConnectionOptions } from "./connection.ts";

type Drive = {
  readonly id: string;
  readonly path: string;
  readonly state: string;
  readonly membership: string;
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly liveBytes: number;
};

type Work = {
  readonly name: string;
  readonly doneBytes: number;
  readonly leftBytes: number;
  readonly startedMs: number;
  readonly atMs: number;
};

type Status = {
  readonly version: string;
  readonly startedMs: number;
  readonly workers: number;
  readonly redundancy: string;
  readonly drives: readonly Drive[];
  readonly work: readonly Work[];
};

export function register(program: Command): void {
  withConnection(program.command("status"))
    .description("say how a server is: its drives, and the work under way")
    .option("--watch", "again every two seconds")
    .action(async (options: ConnectionOptions & { readonly watch?: boolean }) => {
      do {
        const status = (await askAdmin(connection(options), { method: "GET", path: "/_/admin/status" })) as Status;
        if (options.watch && process.stdout.isTTY && !options.json) process.stdout.write("\x1b[H\x1b[2J");
        if (options.json) printJson(status);
        else for (const line of statusLines(status)) print(line);
        if (options.watch) await new Promise((resolve) => setTimeout(resolve, 2_000));
      } while (options.watch);
    });
  const drive = program.command("drive").description("take drives out of a store (asks with the root key)");
  const says: Readonly<Record<string, readonly [string, string]>> = {
    drain: ["draining", "move what a drive has to the others; it takes nothing new"],
    keep: ["active", "let a drive that is draining, or drained, take data again"],
    remove: ["removed", "forget a drive that is drained; then leave it out of the server's command line"],
  };
  for (const [name, [membership, description]] of Object.entries(says)) {
    withConnection(drive.command(name))
      .description(description)
      .argument("<drive>", "its id, as `holdfast status` prints it")
      .action((id: string, options: ConnectionOptions) => change(id, membership, options));
  }
}

async function change(id: string, membership: string, options: ConnectionOptions): Promise<void> {
  const path = `/_/admin/drives/${encodeURIComponent(id)}`;
  const answer = await askAdmin(connection(options), { method: "PUT", path, body: { membership } });
  const { drives } = answer as { drives: readonly Drive[] };
  if (options.json) return printJson(answer);
  for (const line of driveLines(drives)) print(line);
}

function statusLines(status: Status): string[] {
  const { version, workers, redundancy, drives, work } = status;
  const up = duration((Date.now() - status.startedMs) / 1_000);
  return [
    `Holdfast ${version}, ${workers} worker${workers === 1 ? "" : "s"}, up ${up}, new objects as ${redundancy}`,
    "",
    ...driveLines(drives),
    ...(work.length === 0 ? [] : ["", ...work.map(workLine)]),
  ];
}

function driveLines(drives: readonly Drive[]): string[] {
  const rows = drives.map((drive) => [
    drive.id,
    drive.membership === "active" ? drive.state : `${drive.state}, ${drive.membership}`,
    drive.state === "missing" ? "" : `${humanBytes(drive.liveBytes)} stored`,
    drive.state === "missing" ? "" : `${humanBytes(drive.freeBytes)} free of ${humanBytes(drive.totalBytes)}`,
    drive.path,
  ]);
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map((row) => row[column]!.length)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  "));
}

function workLine({ name, doneBytes, leftBytes, startedMs, atMs }: Work): string {
  const seconds = (atMs - startedMs) / 1_000;
  const rate = seconds > 0 ? doneBytes / seconds : 0;
  const end = rate > 0 ? `, about ${duration(leftBytes / rate)} left` : "";
  return `${name}: ${humanBytes(doneBytes)} done, ${humanBytes(leftBytes)} to do${end}`;
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  return seconds < 36 * 3_600 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} days`;
}

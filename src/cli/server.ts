import type { Command } from "commander";

export function register(program: Command): void {
  program.command("server").description("start a server");
}

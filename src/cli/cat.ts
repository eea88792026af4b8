import type { Command } from "commander";
import { pipeline } from "node:stream/promises";
import { parseAddress, withClient, withConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";

export function register(program: Command): void {
  withConnection(program.command("cat"))
    .description("write an object to standard output")
    .argument("<address>", "bucket/key")
    .action((address: string, options: ConnectionOptions) =>
      withClient(options, async (client) => {
        const { body } = await client.send({ method: "GET", ...parseAddress(address) });
        await pipeline(body, process.stdout, { end: false });
      }),
    );
}

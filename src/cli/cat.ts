import type { Command } from "commander";
import { pipeline } from "node:stream/promises";
import { parseObject, withClient, withConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";

export function register(program: Command): void {
  withConnection(program.command("cat"))
    .description("write an object to standard output")
    .argument("<address>", "bucket/key")
    .action((address: string, options: ConnectionOptions) =>
      withClient(options, async (client) => {
        const source = parseObject(address, "write bucket/key.");
        const { body } = await client.send({ method: "GET", ...source });
        await pipeline(body, process.stdout, { end: false });
      }),
    );
}

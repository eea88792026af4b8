import type { Command } from "commander";
import { print, printJson, withClient, withConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";
import { removeBelow } from "./rm.ts";

export function register(program: Command): void {
  const bucket = program.command("bucket").description("make, list and remove buckets");
  withConnection(bucket.command("create"))
    .argument("<name>")
    .action((name: string, options: ConnectionOptions) =>
      withClient(options, async (client) => {
        await client.run({ method: "PUT", bucket: name });
        if (options.json) printJson({ bucket: name });
        else print(`bucket ${name} created`);
      }),
    );
  withConnection(bucket.command("list")).action((options: ConnectionOptions) =>
    withClient(options, async (client) => {
      for (const each of await client.buckets()) {
        if (options.json) printJson(each);
        else print(`${each.created}  ${each.name}`);
      }
    }),
  );
  withConnection(bucket.command("remove"))
    .argument("<name>")
    .option("--force", "delete everything in it first")
    .action((name: string, options: ConnectionOptions & { force?: boolean }) =>
      withClient(options, async (client) => {
        const deleted = options.force ? await removeBelow(client, name, "") : 0;
        await client.run({ method: "DELETE", bucket: name });
        if (options.json) printJson({ bucket: name, deleted });
        else print(`bucket ${name} removed${deleted > 0 ? `, with ${deleted} objects` : ""}`);
      }),
    );
}

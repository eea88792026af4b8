import type { Command } from "commander";
import { counted, print, printJson, withClient, withConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";
import { listBuckets } from "./ls.ts";
import { removeBelow } from "./rm.ts";

export function register(program: Command): void {
  const bucket = program.command("bucket").description("make, list and remove buckets");
  withConnection(bucket.command("create"))
    .description("make a bucket")
    .argument("<name>")
    .action((name: string, options: ConnectionOptions) =>
      withClient(options, async (client) => {
        await client.run({ method: "PUT", bucket: name });
        if (options.json) printJson({ bucket: name });
        else print(`bucket ${name} created`);
      }),
    );
  withConnection(bucket.command("list"))
    .description("list all buckets")
    .action((options: ConnectionOptions) => withClient(options, (client) => listBuckets(client, options)));
  withConnection(bucket.command("remove"))
    .description("remove an empty bucket, or with --force one with everything in it")
    .argument("<name>")
    .option("--force", "delete everything in it first")
    .action((name: string, options: ConnectionOptions & { force?: boolean }) =>
      withClient(options, async (client) => {
        const deleted = options.force ? await removeBelow(client, name, "") : 0;
        await client.run({ method: "DELETE", bucket: name });
        if (options.json) printJson({ bucket: name, deleted });
        else print(`bucket ${name} removed${deleted > 0 ? `, with ${counted(deleted, "object")}` : ""}`);
      }),
    );
}

import type { Command } from "commander";
import { askAdmin } from "../client/admin_client.ts";
import { connection, counted, print, printJson, withClient, withConnection } from "./connection.ts";
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
  withConnection(bucket.command("show"))
    .description("say how a bucket is stored")
    .argument("<name>")
    .action(async (name: string, options: ConnectionOptions) => {
      tell(await askAdmin(connection(options), { method: "GET", path: addressOf(name) }), options);
    });
  withConnection(bucket.command("set"))
    .description("change how a bucket is stored; what it has is converted in the background (root key)")
    .argument("<name>")
    .requiredOption("--redundancy <replica:n|ec:k+m|default>", "copies, or erasure coding")
    .action(async (name: string, options: ConnectionOptions & { redundancy: string }) => {
      const body = { redundancy: options.redundancy === "default" ? null : options.redundancy };
      tell(await askAdmin(connection(options), { method: "PUT", path: addressOf(name), body }), options);
    });
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

function addressOf(name: string): string {
  return `/_/admin/buckets/${encodeURIComponent(name)}`;
}

function tell(facts: Readonly<Record<string, unknown>>, options: ConnectionOptions): void {
  if (options.json) return printJson(facts);
  const { name, redundancy, isDefault } = facts as { name: string; redundancy: string; isDefault: boolean };
  print(`bucket ${name}: ${redundancy}${isDefault ? " (the store's default)" : ""}`);
}

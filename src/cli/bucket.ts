import type { Command } from "commander";
import { askAdmin } from "../client/admin_client.ts";
import { HoldfastError } from "../core/errors.ts";
import { connection, counted, print, printJson, withClient, withConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";
import { quotaLines, quotaOf, type QuotaFacts, type QuotaOptions } from "./quota.ts";
import { listBuckets } from "./ls.ts";
import { removeVersions } from "./rm.ts";

export function register(program: Command): void {
  const bucket = program.command("bucket").description("make, list and remove buckets");
  withConnection(bucket.command("create"))
    .description("make a bucket")
    .argument("<name>")
    .option("--object-lock", "with versions that can be kept from being removed; it never goes off again")
    .action((name: string, options: ConnectionOptions & { objectLock?: boolean }) =>
      withClient(options, async (client) => {
        const headers = options.objectLock ? { "x-amz-bucket-object-lock-enabled": "true" } : {};
        await client.run({ method: "PUT", bucket: name, headers });
        if (options.json) printJson({ bucket: name });
        else print(`bucket ${name} created`);
      }),
    );
  withConnection(bucket.command("list"))
    .description("list all buckets")
    .action((options: ConnectionOptions) => withClient(options, (client) => listBuckets(client, options)));
  withConnection(bucket.command("show"))
    .description("say how a bucket is stored, and what it holds where it has a quota")
    .argument("<name>")
    .action(async (name: string, options: ConnectionOptions) => {
      tell(await askAdmin(connection(options), { method: "GET", path: addressOf(name) }), options);
    });
  withConnection(bucket.command("set"))
    .description(
      "change how a bucket is stored (what it has is converted in the background), and what it may hold (root key)",
    )
    .argument("<name>")
    .option("--redundancy <replica:n|ec:k+m|default>", "copies, or erasure coding")
    .option("--reduced-redundancy <replica:n|ec:k+m|default>", "the same for the storage class REDUCED_REDUNDANCY")
    .option("--quota-bytes <size|none>", "bytes of all versions and of parts of uploads, as 10GiB")
    .option("--quota-objects <number|none>", "versions of every kind")
    .action(async (name: string, options: ConnectionOptions & QuotaOptions & RedundancyOptions) => {
      const { redundancy, reducedRedundancy } = options;
      const quota = quotaOf(options);
      if (redundancy === undefined && reducedRedundancy === undefined && quota === undefined)
        throw new HoldfastError(
          "invalid_argument",
          "Nothing to set: give --redundancy, --reduced-redundancy, --quota-bytes or --quota-objects.",
        );
      const body = {
        ...(redundancy !== undefined && { redundancy: orDefault(redundancy) }),
        ...(reducedRedundancy !== undefined && { reducedRedundancy: orDefault(reducedRedundancy) }),
        ...(quota !== undefined && { quota }),
      };
      tell(await askAdmin(connection(options), { method: "PUT", path: addressOf(name), body }), options);
    });
  withConnection(bucket.command("remove"))
    .description("remove an empty bucket, or with --force one with everything in it")
    .argument("<name>")
    .option("--force", "delete everything in it first")
    .action((name: string, options: ConnectionOptions & { force?: boolean }) =>
      withClient(options, async (client) => {
        const deleted = options.force ? await removeVersions(client, { bucket: name, prefix: "" }) : 0;
        await client.run({ method: "DELETE", bucket: name });
        if (options.json) printJson({ bucket: name, deleted });
        else
          print(
            `bucket ${name} removed${deleted > 0 ? `, with ${counted(deleted, "object")}${deleted === 1 ? "" : " and versions"}` : ""}`,
          );
      }),
    );
}

type RedundancyOptions = { readonly redundancy?: string; readonly reducedRedundancy?: string };

/** The last two are not said by a server of an earlier version. */
type BucketFacts = {
  readonly name: string;
  readonly redundancy: string;
  readonly isDefault: boolean;
  readonly reducedRedundancy?: string;
  readonly isReducedDefault?: boolean;
};

function orDefault(redundancy: string): string | null {
  return redundancy === "default" ? null : redundancy;
}

function addressOf(name: string): string {
  return `/_/admin/buckets/${encodeURIComponent(name)}`;
}

function tell(facts: Readonly<Record<string, unknown>>, options: ConnectionOptions): void {
  if (options.json) return printJson(facts);
  const { name, redundancy, isDefault, reducedRedundancy, isReducedDefault } = facts as BucketFacts;
  print(`bucket ${name}: ${redundancy}${isDefault ? " (the store's default)" : ""}`);
  // Where it is not stored in another way the bucket may still ask for it.
  if (reducedRedundancy !== undefined && (reducedRedundancy !== redundancy || isReducedDefault === false))
    print(`  REDUCED_REDUNDANCY: ${reducedRedundancy}${isReducedDefault ? " (by default)" : ""}`);
  for (const line of quotaLines(facts as QuotaFacts)) print(line);
}

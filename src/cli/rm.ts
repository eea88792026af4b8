import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import type { S3Client } from "../client/s3_client.ts";
import { parseAddress, print, printJson, withClient, withConnection } from "./connection.ts";
import type { Address, ConnectionOptions } from "./connection.ts";

type Options = ConnectionOptions & { readonly recursive?: boolean };

const batchMax = 1000;

export function register(program: Command): void {
  withConnection(program.command("rm"))
    .description("delete an object, or with -r everything below a prefix")
    .argument("<address...>", "bucket/key")
    .option("-r, --recursive", "every key that begins with the given one")
    .action((addresses: string[], options: Options) =>
      withClient(options, async (client) => {
        let deleted = 0;
        for (const address of addresses) deleted += await remove(client, parseAddress(address), options);
        if (options.json) printJson({ deleted });
        else print(`${deleted} deleted`);
      }),
    );
}

async function remove(client: S3Client, { bucket, key }: Address, options: Options): Promise<number> {
  if (options.recursive) return removeBelow(client, bucket, key);
  if (key === "")
    throw new HoldfastError("invalid_argument", `"${bucket}" is a bucket: holdfast bucket remove ${bucket}.`);
  await client.run({ method: "DELETE", bucket, key });
  return 1;
}

/** Deletes every key below a prefix; returns how many. */
export async function removeBelow(client: S3Client, bucket: string, prefix: string): Promise<number> {
  let deleted = 0;
  for (;;) {
    const page = await client.listPage(bucket, { prefix });
    const keys = page.keys.map((each) => each.key).slice(0, batchMax);
    if (keys.length === 0) return deleted;
    const [failed] = await client.deleteMany(bucket, keys);
    if (failed)
      throw new HoldfastError("unavailable", `${bucket}/${failed.key} could not be deleted: ${failed.message}`);
    deleted += keys.length;
  }
}

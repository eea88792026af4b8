import type { Command } from "commander";
import { humanBytes, parseAddress, print, printJson, withClient, withConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";
import type { S3Client } from "../client/s3_client.ts";

type Options = ConnectionOptions & { readonly recursive?: boolean; readonly versions?: boolean };

export function register(program: Command): void {
  withConnection(program.command("ls"))
    .description("list buckets, or keys below bucket/prefix")
    .argument("[address]", "bucket or bucket/prefix")
    .option("-r, --recursive", "every key, not only up to the next /")
    .option("--versions", "every version and delete marker of every key")
    .action((address: string | undefined, options: Options) =>
      withClient(options, (client) => {
        if (address === undefined) return listBuckets(client, options);
        return options.versions ? listVersions(client, address, options) : listKeys(client, address, options);
      }),
    );
}

export async function listBuckets(client: S3Client, options: Options): Promise<void> {
  for (const bucket of await client.buckets()) {
    if (options.json) printJson(bucket);
    else print(`${bucket.created}  ${bucket.name}`);
  }
}

async function listKeys(client: S3Client, address: string, options: Options): Promise<void> {
  const { bucket, key: prefix } = parseAddress(address);
  let token: string | undefined;
  do {
    const page = await client.listPage(bucket, { prefix, token, ...(!options.recursive && { delimiter: "/" }) });
    for (const each of page.prefixes) {
      if (options.json) printJson({ prefix: each });
      else print(`${"".padStart(24)}  ${"".padStart(10)}  ${each}`);
    }
    for (const each of page.keys) {
      if (options.json) printJson(each);
      else print(`${each.modified}  ${humanBytes(each.sizeBytes).padStart(10)}  ${each.key}`);
    }
    token = page.token;
  } while (token !== undefined);
}

async function listVersions(client: S3Client, address: string, options: Options): Promise<void> {
  const { bucket, key: prefix } = parseAddress(address);
  for await (const version of client.listVersions(bucket, prefix)) {
    if (options.json) {
      printJson(version);
      continue;
    }
    const { modified, sizeBytes, key, versionId, isLatest, isMarker } = version;
    const size = (isMarker ? "deleted" : humanBytes(sizeBytes)).padStart(10);
    print(`${modified}  ${size}  ${versionId.padEnd(30)}  ${isLatest ? "*" : " "}  ${key}`);
  }
}

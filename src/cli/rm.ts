import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import type { S3Client } from "../client/s3_client.ts";
import { parseAddress, print, printJson, withClient, withConnection } from "./connection.ts";
import type { Address, ConnectionOptions } from "./connection.ts";

type Options = ConnectionOptions & {
  readonly recursive?: boolean;
  readonly versionId?: string;
  readonly versions?: boolean;
  readonly bypassGovernance?: boolean;
};

const batchMax = 1000;
const bypassHeader = { "x-amz-bypass-governance-retention": "true" };

export function register(program: Command): void {
  withConnection(program.command("rm"))
    .description("delete an object, or with -r everything below a prefix")
    .argument("<address...>", "bucket/key")
    .option("-r, --recursive", "every key that begins with the given one")
    .option("--version-id <id>", "that version, for good")
    .option("--versions", "with -r: every version and delete marker, for good")
    .option("--bypass-governance", "versions too that a retention in GOVERNANCE mode keeps")
    .action((addresses: string[], options: Options) =>
      withClient(options, async (client) => {
        let deleted = 0;
        for (const address of addresses) {
          const keys = await remove(client, parseAddress(address), options);
          deleted += keys;
        }
        if (options.json) printJson({ deleted });
        else print(`${deleted} deleted`);
      }),
    );
}

async function remove(client: S3Client, { bucket, key }: Address, options: Options): Promise<number> {
  if (options.versions && !options.recursive)
    throw new HoldfastError("invalid_argument", "--versions goes with -r; one version is named by --version-id.");
  if (options.recursive)
    return options.versions
      ? removeVersions(client, { bucket, prefix: key, ...options })
      : removeBelow(client, bucket, key);
  if (key === "")
    throw new HoldfastError("invalid_argument", `"${bucket}" is a bucket: holdfast bucket remove ${bucket}.`);
  const query = options.versionId === undefined ? {} : { versionId: options.versionId };
  const headers = options.bypassGovernance ? bypassHeader : {};
  await client.run({ method: "DELETE", bucket, key, query, headers });
  return 1;
}

/** Deletes every key below a prefix; returns how many. */
async function removeBelow(client: S3Client, bucket: string, prefix: string): Promise<number> {
  let deleted = 0;
  for (;;) {
    const page = await client.listPage(bucket, { prefix });
    const keys = page.keys.map(({ key }) => ({ key })).slice(0, batchMax);
    if (keys.length === 0) return deleted;
    await removeAll(client, bucket, keys);
    deleted += keys.length;
  }
}

type VersionsToRemove = {
  readonly bucket: string;
  readonly prefix: string;
  readonly bypassGovernance?: boolean | undefined;
};

/** Removes every version and delete marker below a prefix for good; returns how many. */
export async function removeVersions(
  client: S3Client,
  { bucket, prefix, bypassGovernance = false }: VersionsToRemove,
): Promise<number> {
  let deleted = 0;
  let batch: { readonly key: string; readonly versionId: string }[] = [];
  const remove = async (): Promise<void> => {
    if (batch.length > 0) await removeAll(client, bucket, batch, bypassGovernance);
    deleted += batch.length;
    batch = [];
  };
  for await (const { key, versionId } of client.listVersions(bucket, prefix)) {
    batch.push({ key, versionId });
    if (batch.length === batchMax) await remove();
  }
  await remove();
  return deleted;
}

async function removeAll(
  client: S3Client,
  bucket: string,
  wanted: Parameters<S3Client["deleteMany"]>[1],
  bypassGovernance = false,
): Promise<void> {
  const [failed] = await client.deleteMany(bucket, wanted, bypassGovernance ? bypassHeader : {});
  if (failed) throw new HoldfastError("unavailable", `${bucket}/${failed.key} could not be deleted: ${failed.message}`);
}

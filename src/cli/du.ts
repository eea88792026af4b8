import type { Command } from "commander";
import { humanBytes, parseAddress, print, printJson, withClient, withConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";

export function register(program: Command): void {
  withConnection(program.command("du"))
    .description("count objects and bytes below bucket/prefix, or of every bucket")
    .argument("[address]", "bucket or bucket/prefix")
    .action((address: string | undefined, options: ConnectionOptions) =>
      withClient(options, async (client) => {
        const asked =
          address === undefined
            ? (await client.buckets()).map(({ name }) => ({ bucket: name, key: "" }))
            : [parseAddress(address)];
        for (const { bucket, key } of asked) {
          let objects = 0;
          let bytes = 0;
          for await (const each of client.list(bucket, key)) {
            objects += 1;
            bytes += each.sizeBytes;
          }
          if (options.json) printJson({ bucket, prefix: key, objects, bytes });
          else
            print(
              `${humanBytes(bytes).padStart(10)}  ${String(objects).padStart(10)} object${objects === 1 ? " " : "s"}  ${bucket}/${key}`,
            );
        }
      }),
    );
}

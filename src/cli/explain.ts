import type { Command } from "commander";
import { askAdmin } from "../client/admin_client.ts";
import { connection, counted, humanBytes, parseObject, print, printJson, withConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";

type Chunk = {
  readonly id: string;
  readonly offset: number;
  readonly sizeBytes: number;
  readonly storedBytes: number;
  readonly redundancy: string;
  readonly missingShards: number;
  readonly survives: number;
  readonly shards: readonly {
    readonly shardIndex: number;
    readonly drive: string;
    readonly path: string | null;
    readonly state: string;
    readonly checkedAt: string | null;
  }[];
};

type Answer = {
  readonly sizeBytes: number;
  readonly inline: boolean;
  readonly chunks: readonly Chunk[];
  readonly next: number | null;
};

export function register(program: Command): void {
  withConnection(program.command("explain"))
    .description("say where an object lies: its chunks, their shards and drives, and how many losses it survives")
    .argument("<address>", "bucket/key")
    .action((address: string, options: ConnectionOptions) => explain(address, options));
}

async function explain(address: string, options: ConnectionOptions): Promise<void> {
  const { bucket, key } = parseObject(address, "name an object, bucket/key.");
  let fewest = Infinity;
  let count = 0;
  for (let after: number | null = -1; after !== null;) {
    const query = new URLSearchParams({ bucket, key, after: String(after) });
    const request = { method: "GET", path: `/_/admin/explain?${query.toString()}` };
    const answer = (await askAdmin(connection(options), request)) as Answer;
    if (after < 0 && !options.json) print(`${bucket}/${key}: ${humanBytes(answer.sizeBytes)}`);
    if (after < 0 && answer.inline) return sayInline(options);
    for (const chunk of answer.chunks) {
      count += 1;
      fewest = Math.min(fewest, chunk.survives);
      if (options.json) printJson(chunk);
      else for (const line of linesOf(chunk)) print(line);
    }
    after = answer.next;
  }
  if (!options.json && count > 0) print(verdict(count, fewest));
}

function sayInline(options: ConnectionOptions): void {
  if (options.json) printJson({ inline: true });
  else print("It lies in the metadata, which is kept on as many drives as that has copies.");
}

function* linesOf(chunk: Chunk): Generator<string> {
  const { id, offset, sizeBytes, storedBytes, redundancy, missingShards, shards } = chunk;
  const packed = storedBytes < sizeBytes ? `, ${humanBytes(storedBytes)} compressed` : "";
  yield `chunk ${id} at ${offset}: ${humanBytes(sizeBytes)}${packed}, ${redundancy}`;
  for (const { shardIndex, drive, path, state, checkedAt } of shards)
    yield `  ${String(shardIndex).padStart(2)}  ${drive}  ${state.padEnd(7)}  ${path ?? "?"}  ${
      checkedAt === null ? "not checked yet" : `drive checked ${checkedAt}`
    }`;
  if (missingShards > 0) yield `  ${counted(missingShards, "shard")} missing; to be made anew`;
}

function verdict(chunks: number, fewest: number): string {
  if (fewest < 0)
    return `It cannot be read whole: too few shards of at least one of its ${counted(chunks, "chunk")} are there.`;
  return `It survives the loss of ${fewest === 0 ? "no drive" : `any ${counted(fewest, "drive")}`} more.`;
}

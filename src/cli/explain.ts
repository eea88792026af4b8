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
  /** Losses of drives, whole nodes and whole zones, whichever they are; null on a single machine. */
  readonly survives: number;
  readonly survivesNodes: number | null;
  readonly survivesZones: number | null;
  readonly shards: readonly {
    readonly shardIndex: number;
    readonly drive: string;
    readonly path: string | null;
    readonly state: string;
    readonly node: string;
    readonly zone: string;
    readonly checkedAt: string | null;
  }[];
};

type Answer = {
  readonly sizeBytes: number;
  /** A server of an earlier version does not say. */
  readonly storageClass?: string;
  readonly inline: boolean;
  readonly chunks: readonly Chunk[];
  readonly next: number | null;
};

type Options = ConnectionOptions & { readonly versionId?: string };

export function register(program: Command): void {
  withConnection(program.command("explain"))
    .description("say where an object lies: its chunks, their shards and drives, and how many losses it survives")
    .argument("<address>", "s3://bucket/key, or bucket/key")
    .option("--version-id <id>", "that version, not the current one")
    .action((address: string, options: Options) => explain(address, options));
}

async function explain(address: string, options: Options): Promise<void> {
  const { bucket, key } = parseObject(address, "name an object, bucket/key.");
  let fewest: Survived = { drives: Infinity, nodes: Infinity, zones: Infinity };
  let count = 0;
  for (let after: number | null = -1; after !== null;) {
    const query = new URLSearchParams({ bucket, key, after: String(after) });
    if (options.versionId !== undefined) query.set("versionId", options.versionId);
    const request = { method: "GET", path: `/_/admin/explain?${query.toString()}` };
    const answer = (await askAdmin(connection(options), request)) as Answer;
    if (after < 0 && !options.json) print(headLine(`${bucket}/${key}`, answer));
    if (after < 0 && answer.inline) return sayInline(options);
    for (const chunk of answer.chunks) {
      count += 1;
      fewest = fewer(fewest, chunk);
      if (options.json) printJson(chunk);
      else for (const line of linesOf(chunk)) print(line);
    }
    after = answer.next;
  }
  if (!options.json && count > 0) print(verdict(count, fewest));
}

/** The class is a label: how each chunk is stored stands beside it. */
function headLine(name: string, { sizeBytes, storageClass = "STANDARD" }: Answer): string {
  return `${name}: ${humanBytes(sizeBytes)}${storageClass === "STANDARD" ? "" : `, ${storageClass}`}`;
}

type Survived = { readonly drives: number; readonly nodes: number; readonly zones: number };

function fewer({ drives, nodes, zones }: Survived, chunk: Chunk): Survived {
  return {
    drives: Math.min(drives, chunk.survives),
    nodes: Math.min(nodes, chunk.survivesNodes ?? Infinity),
    zones: Math.min(zones, chunk.survivesZones ?? Infinity),
  };
}

function sayInline(options: ConnectionOptions): void {
  if (options.json) printJson({ inline: true });
  else print("It lies in the metadata: it survives what that survives.");
}

function* linesOf(chunk: Chunk): Generator<string> {
  const { id, offset, sizeBytes, storedBytes, redundancy, missingShards, shards } = chunk;
  const packed = storedBytes < sizeBytes ? `, ${humanBytes(storedBytes)} compressed` : "";
  yield `chunk ${id} at ${offset}: ${humanBytes(sizeBytes)}${packed}, ${redundancy}`;
  for (const { shardIndex, drive, path, state, node, zone, checkedAt } of shards) {
    const where = node === "" ? (path ?? "?") : `${node} ${path ?? "?"}${zone === "" ? "" : `  zone ${zone}`}`;
    const checked = checkedAt === null ? "not checked yet" : `drive checked ${checkedAt}`;
    yield `  ${String(shardIndex).padStart(2)}  ${drive}  ${state.padEnd(7)}  ${where}  ${checked}`;
  }
  if (missingShards > 0) yield `  ${counted(missingShards, "shard")} missing; to be made anew`;
}

function verdict(chunks: number, { drives, nodes, zones }: Survived): string {
  if (drives < 0)
    return `It cannot be read whole: too few shards of at least one of its ${counted(chunks, "chunk")} are there.`;
  const any = (losses: number, what: string): string => (losses === 0 ? `no ${what}` : `any ${counted(losses, what)}`);
  const whole = nodes === Infinity ? "" : `, of ${any(nodes, "whole node")}, of ${any(zones, "whole zone")}`;
  return `It survives the loss of ${any(drives, "drive")} more${whole}.`;
}

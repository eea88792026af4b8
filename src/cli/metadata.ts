/**
 * `holdfast metadata copy --from PLACE --to PLACE` moves a stopped store's metadata to another engine, and `holdfast metadata
 * reopen PLACE` gives up a copy that was begun. A place is an engine's address or the store's drives.
 */
import type { Command } from "commander";
import { systemClock } from "../core/clock.ts";
import { silentLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import type { CopyPhase } from "../server/copy_metadata.ts";
import { copyPlaces, placeName, readPlace, reopenPlace } from "../server/metadata_place.ts";
import type { MetadataPlace, PlacesReport } from "../server/metadata_place.ts";
import { counted, humanBytes, print, printJson, remark } from "./connection.ts";
import { progressCounter } from "./progress.ts";

type CopyOptions = { readonly from: string[]; readonly to: string[]; readonly json?: boolean };
type ReopenOptions = { readonly force?: boolean; readonly json?: boolean };

const parts = { clock: systemClock, random: systemRandom, log: silentLog };

const placeHelp = `
A place is postgres://user:password@host:5432/database?schema=name, etcd://host:2379,host:2379,host:2379/name, or the
store's drives: --from ./d1 --from ./d2, or --from ./d1,./d2.`;

export function register(program: Command): void {
  const command = program.command("metadata").description("move a store's metadata from one engine to another");
  const many = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];
  command
    .command("copy")
    .description("copy the metadata of a stopped store, compare it, and close the store it came from")
    .requiredOption("--from <place>", "where the metadata is (may be given more than once, for drives)", many)
    .requiredOption("--to <place>", "where it is to be (the same)", many)
    .option("--json", "print JSON")
    .addHelpText("after", placeHelp)
    .action((options: CopyOptions) => copy(options));
  command
    .command("reopen")
    .description("use the metadata again where it was, though a copy was begun")
    .argument("<place...>", "where it was")
    .option("--force", "also when it was moved, and is lost where it was moved to")
    .option("--json", "print JSON")
    .addHelpText("after", placeHelp)
    .action((words: string[], options: ReopenOptions) => reopen(words, options));
}

async function copy(options: CopyOptions): Promise<void> {
  const [from, to] = [readPlace(options.from), readPlace(options.to)];
  const counter = progressCounter(options.json ?? false);
  const startedMs = performance.now();
  let phase: { readonly name: CopyPhase; readonly startedMs: number } | undefined;
  const report = await whileAwake(() =>
    copyPlaces({
      ...parts,
      from,
      to,
      onProgress: (name, { rows, bytes }) => {
        if (phase?.name !== name) phase = { name, startedMs: performance.now() };
        const perSecond = bytes / Math.max(0.001, (performance.now() - phase.startedMs) / 1_000);
        counter.show(`${name}: ${counted(rows, "row")}, ${humanBytes(bytes)}, ${humanBytes(perSecond)}/s`);
      },
    }),
  ).finally(() => counter.stop());
  const seconds = (performance.now() - startedMs) / 1_000;
  if (options.json) printJson({ ...report, seconds, from: placeName(from), to: placeName(to) });
  else for (const line of reportLines(report, { seconds, from, to })) print(line);
  for (const { id, path } of report.missing) remark(`The drive ${id} of this store, last at ${path}, was not named.`);
  if (!report.hasRootKey) {
    remark(
      "No root key is kept there: give the servers HOLDFAST_ROOT_ACCESS_KEY and HOLDFAST_ROOT_SECRET_KEY as before.",
    );
  }
}

type Run = { readonly seconds: number; readonly from: MetadataPlace; readonly to: MetadataPlace };

function reportLines(report: PlacesReport, { seconds, from, to }: Run): string[] {
  const { rows, bytes, writes, fenced, digest } = report;
  const all = `${counted(rows, "row")}, ${humanBytes(bytes)}`;
  return [
    `${all}: copied (${writes} written) and compared in ${seconds.toFixed(1)} s; ${counted(fenced, "session")} ended.`,
    `Both have the digest ${digest}.`,
    `${placeName(from)} is closed. From now on:`,
    serverLine(to),
  ];
}

function serverLine(to: MetadataPlace): string {
  if (to.kind === "drives") return `  holdfast server ${to.drives.join(" ")}`;
  return `  holdfast server DRIVES… --metadata '${placeName(to)}'`;
}

async function reopen(words: readonly string[], { force = false, json = false }: ReopenOptions): Promise<void> {
  const place = readPlace(words);
  await whileAwake(() => reopenPlace(place, { ...parts, force }));
  if (json) printJson({ reopened: placeName(place) });
  else print(`${placeName(place)} is open: servers can use it again.`);
}

const longMs = 2 ** 30;

/** Neither a wait for heartbeats nor an idle connection keeps a process alive. */
async function whileAwake<T>(work: () => Promise<T>): Promise<T> {
  const awake = setInterval(() => undefined, longMs);
  try {
    return await work();
  } finally {
    clearInterval(awake);
  }
}

/**
 * Simulates the placement of chunks (placement_simulation.ts) in stores of 10 to 1,000 drives. Prints the table of
 * docs/operations/placement.md and writes its plot.
 *
 * Run: node bench/placement.ts [shards per drive] [file of the plot]. With 10,000, the default, it takes a quarter of an hour.
 */
import { writeFileSync } from "node:fs";
import { plotOf, type Line } from "./placement_plot.ts";
import { placementRow, placementTitle, simulate, sizesTb } from "./placement_simulation.ts";
import type { Config, Result, Sizes } from "./placement_simulation.ts";

const plotFile = process.argv[3];
const extent = {
  shardsPerDrive: Number(process.argv[2] ?? 10_000),
  /** In the largest stores drives get fewer: what chance adds is given beside. */
  shardsMax: 1_000_000,
  /** Enough for a hundred shards of one drive in 1,000. */
  movedChunksMax: 20_000,
};

/** Drives in all and in each node. */
const stores = [
  [10, 2],
  [30, 3],
  [100, 5],
  [300, 10],
  [1_000, 10],
] as const;
const redundancies = ["replica:3", "ec:4+2", "ec:8+3"] as const;

console.log(placementTitle);
const results: { readonly config: Config; readonly result: Result }[] = [];
for (const [drives, perNode] of stores) {
  for (const sizes of Object.keys(sizesTb) as Sizes[]) {
    for (const zones of sizes === "by zone" ? [3] : [1, 3, 5]) {
      for (const redundancy of redundancies) {
        const config = { drives, perNode, zones, sizes, redundancy };
        const result = simulate(config, extent);
        if (result === undefined) continue;
        results.push({ config, result });
        console.log(placementRow(config, result));
      }
    }
  }
}

/** One value of the stores of these sizes in three zones with ec:4+2, by their number of drives. */
function line(name: string, sizes: Sizes, valueOf: (result: Result) => number): Line {
  const points = results
    .filter(({ config }) => config.sizes === sizes && config.zones === 3 && config.redundancy === "ec:4+2")
    .map(({ config, result }) => ({ x: config.drives, y: valueOf(result) }));
  return { name, points };
}

if (plotFile !== undefined) {
  const plot = plotOf([
    {
      title: "Standard deviation of fill, %",
      lines: [
        line("equal sizes", "equal", ({ fill }) => fill.deviation * 100),
        line("mixed sizes", "mixed", ({ fill }) => fill.deviation * 100),
        line("mixed, fair shares", "mixed", ({ fair }) => fair.deviation * 100),
        line("mixed, uncorrected", "mixed", ({ raw }) => raw.deviation * 100),
      ],
    },
    {
      title: "Moved by one drive more or less, of the least",
      lines: [
        line("equal", "equal", ({ drive }) => drive.ofLeast),
        line("mixed", "mixed", ({ drive }) => drive.ofLeast),
      ],
    },
    {
      title: "Moved by one node more or less, of the least",
      lines: [line("equal", "equal", ({ node }) => node.ofLeast), line("mixed", "mixed", ({ node }) => node.ofLeast)],
    },
  ]);
  writeFileSync(plotFile, plot);
}

/** What several rounds of a measurement come to, and how many share one. */

/** Of an odd number of figures the middle one, of an even one the upper of the two; NaN of none. */
export function median(figures: readonly number[]): number {
  return figures.toSorted((left, right) => left - right)[figures.length >> 1] ?? Number.NaN;
}

export type Spread = { readonly median: number; readonly least: number; readonly most: number };

/** Of figures taken in turns with what they are compared with, so that each ratio is of one moment. */
export function ratios(figures: readonly number[], against: readonly number[]): Spread {
  const all = figures.map((figure, round) => figure / against[round]!);
  return { median: median(all), least: Math.min(...all), most: Math.max(...all) };
}

/** The part of the one at this index when so many share `total` as evenly as whole numbers allow. */
export function share(total: number, parts: number, index: number): number {
  return Math.floor((total + index) / parts);
}

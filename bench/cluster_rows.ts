/** One row of the cluster's table: a figure, what it is compared with in the same run, and what is asked of their ratio. */
import type { Spread } from "./statistics.ts";

export type Row = {
  readonly work: string;
  /** What was measured, and what of. */
  readonly figure: string;
  readonly against: string;
  readonly ratio: Spread;
  readonly floor: number;
  /** The ratio is to be at most, not at least, the floor. */
  readonly isCeiling?: true;
};

/** Of one measurement that cannot be repeated in the time. */
export function once(ratio: number): Spread {
  return { median: ratio, least: ratio, most: ratio };
}

export function isMet({ ratio, floor, isCeiling }: Row): boolean {
  return isCeiling === true ? ratio.median <= floor : ratio.median >= floor;
}

/** As it stands in the table. */
export function cells(row: Row): string[] {
  const { work, figure, against, ratio, floor, isCeiling } = row;
  const range = ratio.least === ratio.most ? "" : `${digits(ratio.least)}–${digits(ratio.most)}`;
  const asked = `${isCeiling === true ? "≤" : "≥"} ${floor}`;
  return [work, figure, against, digits(ratio.median), range, asked, isMet(row) ? "" : "missed"];
}

export const heads = ["work", "measured", "against", "ratio", "rounds", "floor", ""] as const;

const digits = (ratio: number): string => ratio.toFixed(ratio < 0.1 ? 4 : 2);

export const whole = (figure: number): string => Math.round(figure).toLocaleString("en");

/** Quotas on the command line: how they are written, and how they are told. */
import { HoldfastError } from "../core/errors.ts";
import { humanBytes } from "./connection.ts";

export type QuotaOptions = { readonly quotaBytes?: string; readonly quotaObjects?: string };

/** Of the operator's door. */
export type QuotaFacts = {
  readonly quota: { readonly bytes: number | null; readonly objects: number | null };
  readonly held: { readonly bytes: number; readonly objects: number } | null;
};

const factors: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  pb: 1e15,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
  pib: 2 ** 50,
};

/** `10GiB`, `500MB`, `1.5 TiB`, `4096`, `none`. Errors: `invalid_argument`. */
export function parseSize(text: string): number | null {
  if (text === "none") return null;
  const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(text) ?? [];
  const factor = factors[unit.toLowerCase()];
  const bytes = Math.round(Number(number) * (factor ?? NaN));
  if (number !== "" && Number.isSafeInteger(bytes)) return bytes;
  throw new HoldfastError("invalid_argument", `"${text}" is no size: write 10GiB, 500MB, a number of bytes, or none.`);
}

/** Errors: `invalid_argument`. */
export function parseCount(text: string): number | null {
  if (text === "none") return null;
  const count = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(count)) return count;
  throw new HoldfastError("invalid_argument", `"${text}" is no number of objects: write a whole number, or none.`);
}

/** What a request says of the quota; undefined where nothing was asked for. */
export function quotaOf({ quotaBytes, quotaObjects }: QuotaOptions): object | undefined {
  if (quotaBytes === undefined && quotaObjects === undefined) return undefined;
  return {
    ...(quotaBytes !== undefined && { bytes: parseSize(quotaBytes) }),
    ...(quotaObjects !== undefined && { objects: parseCount(quotaObjects) }),
  };
}

/** A line for each, where there is something to tell. */
export function quotaLines({ quota, held }: QuotaFacts): string[] {
  if (held === null) return [];
  const bytes =
    quota.bytes === null ? "no quota" : `of ${humanBytes(quota.bytes)} (${shareOf(held.bytes, quota.bytes)})`;
  const objects = quota.objects === null ? "no quota" : `of ${quota.objects} (${shareOf(held.objects, quota.objects)})`;
  return [`  bytes    ${humanBytes(held.bytes)}, ${bytes}`, `  objects  ${held.objects}, ${objects}`].map((line) =>
    line.replace(", of", " of"),
  );
}

function shareOf(held: number, max: number): string {
  return max === 0 ? "full" : `${Math.floor((100 * held) / max)} %`;
}

/**
 * The object lock document of a bucket (kind 11 of `config`): the retention that a new version gets when its request asks for
 * none. It is S3's document in one spelling, written here and read here: the commit of every write to the bucket acts by it,
 * so the object layer must understand it, and nothing but this spelling is ever stored.
 */
import { HoldfastError } from "../core/errors.ts";
import type { RetentionRecord } from "./extras.ts";

export type DefaultRetentionRecord = {
  readonly mode: RetentionRecord["mode"];
  readonly unit: "Days" | "Years";
  readonly count: number;
};

const head =
  '<?xml version="1.0" encoding="UTF-8"?>\n' +
  '<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><ObjectLockEnabled>Enabled</ObjectLockEnabled>';
const tail = "</ObjectLockConfiguration>";
const rule =
  /^<Rule><DefaultRetention><Mode>(GOVERNANCE|COMPLIANCE)<\/Mode><(Days|Years)>(\d{1,6})<\/\2><\/DefaultRetention><\/Rule>$/;

/** Undefined: object lock is on and new versions get no retention by themselves. */
export function encodeObjectLock(retention: DefaultRetentionRecord | undefined): Buffer {
  if (retention === undefined) return Buffer.from(head + tail);
  const { mode, unit, count } = retention;
  const period = `<${unit}>${count}</${unit}>`;
  return Buffer.from(`${head}<Rule><DefaultRetention><Mode>${mode}</Mode>${period}</DefaultRetention></Rule>${tail}`);
}

/** Errors: `corrupt_record`. */
export function decodeObjectLock(document: Buffer): DefaultRetentionRecord | undefined {
  const text = document.toString();
  if (!text.startsWith(head) || !text.endsWith(tail)) throw corrupt();
  const inside = text.slice(head.length, -tail.length);
  if (inside === "") return undefined;
  const [, mode, unit, count] = rule.exec(inside) ?? [];
  if ((mode !== "GOVERNANCE" && mode !== "COMPLIANCE") || (unit !== "Days" && unit !== "Years")) throw corrupt();
  return { mode, unit, count: Number(count) };
}

function corrupt(): HoldfastError {
  return new HoldfastError("corrupt_record", "The object lock document of the bucket is none that is ever written.");
}

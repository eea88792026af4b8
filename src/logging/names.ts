/** What log objects are called, in AWS's two ways. Source: "Log object key format" of the S3 User Guide. Pure. */

/** By when the lines were written, or by the day of the requests in them. */
export type KeyFormat = "SimplePrefix" | "DeliveryTime" | "EventTime";

export type LogName = {
  readonly prefix: string;
  readonly format: KeyFormat;
  /** 12 digits. */
  readonly account: string;
  readonly region: string;
  /** The one whose requests are logged. */
  readonly bucket: string;
  /** When it is written; for EventTime any time of the day that its lines are of. */
  readonly timeMs: number;
  /** Tells it apart from all others. */
  readonly unique: string;
};

export const uniqueBytes = 8;

export function logName({ prefix, format, account, region, bucket, timeMs, unique }: LogName): string {
  const iso = new Date(timeMs).toISOString();
  const day = iso.slice(0, 10);
  // Where the day is that of the requests there is no time of it to be told.
  const time = format === "EventTime" ? "00-00-00" : iso.slice(11, 19).replaceAll(":", "-");
  const folder = format === "SimplePrefix" ? "" : `${account}/${region}/${bucket}/${day.replaceAll("-", "/")}/`;
  return `${prefix}${folder}${day}-${time}-${unique}`;
}

/** Days since 1970: the lines of one object are of one of them, where its name says which. */
export function dayOf(timeMs: number): number {
  return Math.floor(timeMs / 86_400_000);
}

/** Whose requests are logged, and where to. */
import type { Grant } from "../access/acl.ts";
import type { KeyFormat } from "./names.ts";

/** What a logging document says. */
export type LoggingSetting = {
  readonly bucket: string;
  readonly prefix: string;
  /** Of the log objects, besides what their owner has. */
  readonly grants: readonly Grant[];
  /** Undefined: nobody chose; as SimplePrefix. */
  readonly keyFormat: KeyFormat | undefined;
};

/** A bucket whose requests are logged, and how. */
export type LogSource = {
  readonly bucket: string;
  readonly region: string;
  /** Whose it is: 12 digits, and the canonical id. */
  readonly account: string;
  readonly owner: string;
  /** The canonical id of the store's own account. */
  readonly ownAccount: string;
  readonly setting: LoggingSetting;
};

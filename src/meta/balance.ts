/**
 * `balance`: for which drives what the store has was last laid out, or is being laid out. Sizes are those that placement reckoned
 * with: whoever moves shards reckons with the same ones, for they may change a little from one look to the next.
 */
import { createHash } from "node:crypto";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { DRIVE_ID_BYTES } from "../core/ids.ts";
import type { DriveId } from "../core/ids.ts";
import { tags } from "./keys.ts";

export type BalancedDrive = {
  readonly id: DriveId;
  readonly weightBytes: number;
  /** domainOf its zone and node. */
  readonly domain: string;
};

export type BalanceRecord = {
  /** Everything lies as placement would have it with these drives; else it is on its way. */
  readonly isSettled: boolean;
  readonly drives: readonly BalancedDrive[];
};

const newestVersion = 1;
const DOMAIN_BYTES = 8;

export function balanceKey(): Buffer {
  return Buffer.of(tags.balance);
}

/** Names of any length in eight bytes. */
export function domainOf(zone: string, node: string): string {
  return createHash("sha256")
    .update(JSON.stringify([zone, node]))
    .digest("hex")
    .slice(0, 2 * DOMAIN_BYTES);
}

export function encodeBalance({ isSettled, drives }: BalanceRecord): Buffer {
  const writer = new ByteWriter()
    .u8(newestVersion)
    .u8(isSettled ? 1 : 0)
    .varint(drives.length);
  for (const { id, weightBytes, domain } of drives) writer.hex(id).hex(domain).varint(weightBytes);
  return writer.finish();
}

export function decodeBalance(value: Uint8Array): BalanceRecord {
  const reader = new ByteReader(value, "balance");
  reader.version(newestVersion);
  const flag = reader.u8();
  if (flag > 1) throw reader.corrupt("it has a flag that is not known");
  const drives: BalancedDrive[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    const id = reader.hex(DRIVE_ID_BYTES) as DriveId;
    const domain = reader.hex(DOMAIN_BYTES);
    drives.push({ id, domain, weightBytes: reader.varint() });
  }
  reader.end();
  return { isSettled: flag === 1, drives };
}

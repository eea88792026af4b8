/** Which buckets' configurations name a destination: for whoever wants to remove it. Reads every bucket's row; no request does. */
import type { Kv } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { decodeBucket } from "../meta/buckets.ts";
import { configurationKinds, decodeConfiguration, hasConfiguration } from "../meta/configurations.ts";
import { bucketNameOf, configurationKey, tagRange, tags } from "../meta/keys.ts";
import type { EventRule } from "./rules.ts";

export type RulesOf = (document: Buffer) => readonly EventRule[];

/** The first few, by name. */
export async function bucketsThatName(kv: Kv, destination: string, rulesOf: RulesOf): Promise<string[]> {
  const named: string[] = [];
  for await (const rows of scanPages(kv, tagRange(tags.bucket)))
    for (const { key, value } of rows) {
      const { id, configured } = decodeBucket(value);
      if (!hasConfiguration(configured, "notification")) continue;
      const [row] = await kv.get([configurationKey(id, configurationKinds.notification)]);
      const rules = row === undefined ? [] : rulesOf(decodeConfiguration(row.value).document);
      if (rules.some((rule) => rule.destination === destination)) named.push(bucketNameOf(key));
      if (named.length > 5) return named;
    }
  return named;
}

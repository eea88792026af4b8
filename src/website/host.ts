/**
 * Which requests are a website's, by the name of their host. A name belongs to the longest of all configured domains that it is or
 * lies below: so a domain of websites may lie below one of S3's, and the other way round.
 */
import { limits } from "../core/limits.ts";

export type Domains = {
  /** Lower-case, both. */
  readonly s3: readonly string[];
  readonly website: readonly string[];
};

/** Lower-case and without its port; "" for none. */
function nameOf(host: string | undefined): string {
  return (host ?? "").toLowerCase().replace(/:\d*$/, "");
}

function isWithin(name: string, domain: string): boolean {
  return name.endsWith(domain) && (name.length === domain.length || name[name.length - domain.length - 1] === ".");
}

function longestFor(name: string, domains: readonly string[]): string {
  return domains.filter((domain) => isWithin(name, domain)).reduce((a, b) => (b.length > a.length ? b : a), "");
}

/**
 * The buckets that a host may mean, in the order in which they are looked for: BUCKET of BUCKET.DOMAIN, and one that is called as the whole
 * host is, the domain itself too. Undefined: the host is no website's.
 */
export function bucketsOfHost(host: string | undefined, { s3, website }: Domains): readonly string[] | undefined {
  if (website.length === 0) return undefined;
  const name = nameOf(host);
  const domain = longestFor(name, website);
  if (domain === "" || longestFor(name, s3).length > domain.length) return undefined;
  const label = name.slice(0, -domain.length - 1);
  return (label === "" ? [name] : [label, name]).filter((each) => each.length <= limits.bucketNameCharsMax);
}

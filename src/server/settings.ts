/**
 * The settings of a server: one table says each one's name, how it is read, and what it means. A flag `--files-bucket`,
 * the variable HOLDFAST_FILES_BUCKET and the config file's `"files-bucket"` are the same setting; flags win over
 * variables, variables over the file. What cannot be understood is refused with a sentence that names it.
 */
import { isIPv6 } from "node:net";
import { availableParallelism } from "node:os";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { parseVaultAddress } from "../keyring/vault_address.ts";
import type { VaultAddress } from "../keyring/vault_client.ts";
import { checkVaultKeyId } from "../keyring/vault_keys.ts";
import { checkEngineUrl } from "./engine.ts";
import { peerNamePattern } from "../node/peer_seal.ts";
import { defaultRedundancy, formatRedundancy, parseRedundancy, shardsOf, type Redundancy } from "../core/redundancy.ts";

const MiB = 1024 * 1024;

export type Listen = { readonly host: string; readonly port: number };
export const logLevels = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof logLevels)[number];

export type Settings = {
  readonly drives: readonly string[];
  readonly listen: Listen;
  readonly domain: readonly string[];
  /** Whose subdomains are buckets as websites. */
  readonly "website-domain": readonly string[];
  readonly region: string;
  readonly workers: number;
  readonly "files-bucket": string;
  /** Of buckets that say nothing else; undefined: by the number of drives. */
  readonly redundancy: Redundancy | undefined;
  /** Of the class REDUCED_REDUNDANCY; undefined: one loss less, where that leaves one. */
  readonly "reduced-redundancy": Redundancy | undefined;
  /** Undefined: by the number of drives. */
  readonly "metadata-copies": number | undefined;
  /** Where the metadata is kept, when not in the drives; with it the server is a node of a cluster. */
  readonly metadata: string | undefined;
  readonly "cluster-secret-file": string | undefined;
  /** How other nodes reach this one; undefined: at the address it listens on. */
  readonly advertise: string | undefined;
  readonly zone: string;
  /** Of the authority that signed the other nodes' certificates; undefined: the system's. */
  readonly "cluster-ca": string | undefined;
  /** Files of master keys; the first one seals. */
  readonly "encryption-key-file": readonly string[];
  /** An outside service of keys; with it there is a token file. */
  readonly kms: VaultAddress | undefined;
  readonly "kms-token-file": string | undefined;
  /** Of the authority that signed the service's certificate; undefined: the system's. */
  readonly "kms-ca": string | undefined;
  /** Of SSE-KMS requests that name no key, and of SSE-S3; undefined: the store's own. */
  readonly "kms-default-key": string | undefined;
  readonly "kms-s3-key": string | undefined;
  /** Seconds; 0: no data key is kept. */
  readonly "kms-cache": number;
  /** A proxy before this server has TLS. */
  readonly "customer-keys-over-http": boolean;
  /** OpenID Connect providers on this machine may be without TLS. */
  readonly "oidc-over-http": boolean;
  /** Seconds. */
  readonly "drive-away": number;
  /** Seconds. */
  readonly "access-log-interval": number;
  /** MiB per second, for each worker. */
  readonly "background-rate": number;
  /** For tests: seconds that a day of a lifecycle rule has; undefined: those of a day. */
  readonly "lifecycle-day": number | undefined;
  readonly "tls-cert": string | undefined;
  readonly "tls-key": string | undefined;
  readonly "log-level": LogLevel;
  readonly "root-access-key": string | undefined;
  readonly "root-secret-key": string | undefined;
};

export type SettingName = keyof Settings;

/** A value as it came: text from a flag or variable, anything from JSON. */
type Parse<T> = (value: unknown, refuse: (why: string) => never) => T;

type Setting<T> = {
  readonly parse: Parse<T>;
  readonly fallback: () => T;
  readonly help: string;
  /** What stands for the value in the help; absent: not a flag (secrets don't belong on a command line). */
  readonly flag?: string;
  /** May be given more than once. */
  readonly many?: true;
};

const text: Parse<string> = (value, refuse) =>
  typeof value === "string" && value !== "" ? value : refuse("must be a text that is not empty");

const matching =
  (pattern: RegExp, why: string): Parse<string> =>
  (value, refuse) =>
    typeof value === "string" && pattern.test(value) ? value : refuse(why);

/** A list, or text with commas between. */
const listOf =
  (parse: Parse<string>): Parse<readonly string[]> =>
  (value, refuse) => {
    const items: unknown[] = Array.isArray(value) ? value : typeof value === "string" ? value.split(",") : [value];
    return items.map((item) => parse(item, refuse));
  };

const listen: Parse<Listen> = (value, refuse) => {
  const why = "must be HOST:PORT, like 127.0.0.1:9000, [::1]:9000 or :9000 for all addresses";
  const found = typeof value === "string" ? /^(?:\[([^\]]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(value) : null;
  if (found === null) return refuse(why);
  const port = Number(found[3]);
  if (port > 65_535 || (found[1] !== undefined && !isIPv6(found[1]))) return refuse(why);
  return { host: found[1] ?? (found[2] || "::"), port };
};

const workers: Parse<number> = (value, refuse) => {
  const count =
    typeof value === "number" ? value : typeof value === "string" && /^\d+$/.test(value) ? Number(value) : 0;
  const isValid = Number.isInteger(count) && count >= 1 && count <= limits.workersMax;
  return isValid ? count : refuse(`must be a whole number from 1 to ${limits.workersMax}`);
};

const metadataCopies: Parse<number> = (value, refuse) => {
  const count = typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value;
  const isValid = Number.isInteger(count) && Number(count) >= 1 && Number(count) <= limits.metadataCopiesMax;
  return isValid ? Number(count) : refuse(`must be a whole number from 1 to ${limits.metadataCopiesMax}`);
};

const secondsUpTo =
  (most: number): Parse<number> =>
  (value, refuse) => {
    const seconds = typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value;
    const isValid = Number.isInteger(seconds) && Number(seconds) >= 1 && Number(seconds) <= most;
    return isValid ? Number(seconds) : refuse(`must be a whole number of seconds from 1 to ${most}`);
  };

const keptSeconds: Parse<number> = (value, refuse) => {
  const seconds = typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value;
  const most = limits.dataKeysKeptSecondsMax;
  const isValid = Number.isInteger(seconds) && Number(seconds) >= 0 && Number(seconds) <= most;
  return isValid ? Number(seconds) : refuse(`must be a whole number of seconds from 0 to ${most}`);
};

const keyService: Parse<VaultAddress> = (value, refuse) =>
  parseVaultAddress(typeof value === "string" ? value : "") ??
  refuse(
    "must be vault+https://HOST:PORT/MOUNT or, with a namespace, vault+https://HOST:PORT/MOUNT?namespace=NAME (vault+http: on this machine alone)",
  );

const vaultKeyId: Parse<string> = (value, refuse) => {
  try {
    return checkVaultKeyId(typeof value === "string" ? value : "");
  } catch {
    return refuse("must be vault:NAME, where NAME is a key of the transit engine");
  }
};

const backgroundRate: Parse<number> = (value, refuse) => {
  const rate = typeof value === "string" && /^\d{1,6}$/.test(value) ? Number(value) : value;
  const most = limits.backgroundMiBPerSecondMax;
  const isValid = Number.isInteger(rate) && Number(rate) >= 1 && Number(rate) <= most;
  return isValid ? Number(rate) : refuse(`must be a whole number of MiB per second from 1 to ${most}`);
};

const lifecycleDay: Parse<number> = (value, refuse) => {
  const seconds = typeof value === "string" && /^\d{1,5}$/.test(value) ? Number(value) : value;
  const isValid = Number.isInteger(seconds) && Number(seconds) >= 1 && Number(seconds) <= 86_400;
  return isValid ? Number(seconds) : refuse("must be a whole number of seconds from 1 to 86400");
};

const yesOrNo: Parse<boolean> = (value, refuse) => {
  if (value === true || value === "yes") return true;
  return value === false || value === "no" ? false : refuse("must be yes or no");
};

const logLevel: Parse<LogLevel> = (value, refuse) =>
  logLevels.find((level) => level === value) ?? refuse(`must be one of ${logLevels.join(", ")}`);

const redundancy: Parse<Redundancy> = (value, refuse) => {
  try {
    return parseRedundancy(String(value));
  } catch {
    return refuse(`must be replica:N or ec:K+M, like replica:2 or ec:4+2`);
  }
};

/** The address may hold a password: it is never shown. */
const engineUrl: Parse<string> = (value, refuse) => {
  const url = text(value, refuse);
  try {
    checkEngineUrl(url);
  } catch (error) {
    return refuse(`will not do: ${(error as Error).message.replace(/\.$/, "")}`);
  }
  return url;
};

const nodeUrl: Parse<string> = (value, refuse) => {
  const why = "must be http://HOST:PORT or https://HOST:PORT, as the other nodes reach this one";
  const parsed = typeof value === "string" ? URL.parse(value) : null;
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) return refuse(why);
  const isBare = parsed.pathname === "/" && parsed.search === "" && parsed.hash === "" && parsed.username === "";
  if (!isBare || !peerNamePattern.test(parsed.host)) return refuse(why);
  return parsed.origin;
};

const zoneName = matching(
  new RegExp(`^[A-Za-z0-9._-]{1,${limits.zoneNameCharsMax}}$`),
  `must be a name of 1 to ${limits.zoneNameCharsMax} letters, digits, '.', '_' and '-'`,
);

const domainName = matching(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i, "must be a domain name, like s3.example.org");
const bucketName = matching(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, "must be a bucket name");
const regionName = matching(/^[a-z0-9-]{1,32}$/i, "must be a region name, like us-east-1");
const maybe = <T>(parse: Parse<T>): Parse<T | undefined> => parse;

export const settings: { readonly [N in SettingName]: Setting<Settings[N]> } = {
  drives: { parse: listOf(text), fallback: () => [], help: "directories to keep data in", many: true },
  listen: {
    parse: listen,
    fallback: () => ({ host: "127.0.0.1", port: 9000 }),
    flag: "<host:port>",
    help: "address to listen on (default 127.0.0.1:9000)",
  },
  domain: {
    parse: listOf(domainName),
    fallback: () => [],
    flag: "<name>",
    many: true,
    help: "domain whose subdomains are buckets (may be given more than once)",
  },
  "website-domain": {
    parse: listOf(domainName),
    fallback: () => [],
    flag: "<name>",
    many: true,
    help: "domain whose subdomains are buckets as websites (may be given more than once)",
  },
  region: { parse: regionName, fallback: () => "us-east-1", flag: "<name>", help: "region name (default us-east-1)" },
  workers: {
    parse: workers,
    fallback: () => Math.min(availableParallelism(), limits.workersMax),
    flag: "<count>",
    help: "worker processes (default: one per core)",
  },
  "files-bucket": {
    parse: bucketName,
    fallback: () => "files",
    flag: "<name>",
    help: "bucket behind the plain file API (default files)",
  },
  redundancy: {
    parse: maybe(redundancy),
    fallback: () => undefined,
    flag: "<replica:n|ec:k+m>",
    help: "how buckets are stored that say nothing else (default: by the number of drives)",
  },
  "reduced-redundancy": {
    parse: maybe(redundancy),
    fallback: () => undefined,
    flag: "<replica:n|ec:k+m>",
    help: "the same for the storage class REDUCED_REDUNDANCY (default: one loss less, where that leaves one)",
  },
  "metadata-copies": {
    parse: maybe(metadataCopies),
    fallback: () => undefined,
    flag: "<count>",
    help: "drives that keep a copy of the metadata (default: 3, and 5 from six drives on)",
  },
  metadata: {
    parse: maybe(engineUrl),
    fallback: () => undefined,
    flag: "<url>",
    help: "keep the metadata in postgres://… or etcd://…: the server is a node of a cluster",
  },
  "cluster-secret-file": {
    parse: maybe(text),
    fallback: () => undefined,
    flag: "<file>",
    help: "file with the secret that all nodes of the cluster share",
  },
  advertise: {
    parse: maybe(nodeUrl),
    fallback: () => undefined,
    flag: "<url>",
    help: "how other nodes reach this one (default: the address it listens on)",
  },
  zone: {
    parse: zoneName,
    fallback: () => "default",
    flag: "<name>",
    help: "what fails together: a rack, a room, a site",
  },
  "cluster-ca": {
    parse: maybe(text),
    fallback: () => undefined,
    flag: "<file>",
    help: "authority that signed the other nodes' certificates, PEM (default: the system's)",
  },
  "encryption-key-file": {
    parse: listOf(text),
    fallback: () => [],
    flag: "<file>",
    many: true,
    help: "file with the master key of server-side encryption; given again: earlier ones, which only open",
  },
  kms: {
    parse: maybe(keyService),
    fallback: () => undefined,
    flag: "<url>",
    help: "transit engine of Vault or OpenBao whose keys seal as vault:NAME, like vault+https://vault:8200/transit",
  },
  "kms-token-file": {
    parse: maybe(text),
    fallback: () => undefined,
    flag: "<file>",
    help: "file with the token for it; read again when it changes",
  },
  "kms-ca": {
    parse: maybe(text),
    fallback: () => undefined,
    flag: "<file>",
    help: "authority that signed its certificate, PEM (default: the system's)",
  },
  "kms-default-key": {
    parse: maybe(vaultKeyId),
    fallback: () => undefined,
    flag: "<vault:name>",
    help: "key of aws:kms requests that name none (default: the store's own)",
  },
  "kms-s3-key": {
    parse: maybe(vaultKeyId),
    fallback: () => undefined,
    flag: "<vault:name>",
    help: "key of SSE-S3, AES256 (default: the store's own)",
  },
  "kms-cache": {
    parse: keptSeconds,
    fallback: () => limits.dataKeysKeptMs / 1_000,
    flag: "<seconds>",
    help: "how long the data key of an object is kept in memory before it is asked for again (default 300)",
  },
  "customer-keys-over-http": {
    parse: yesOrNo,
    fallback: () => false,
    flag: "<yes|no>",
    help: "take clients' own encryption keys without TLS, because a proxy before this server has it (default no)",
  },
  "oidc-over-http": {
    parse: yesOrNo,
    fallback: () => false,
    flag: "<yes|no>",
    help: "take OpenID Connect providers on this machine without TLS, by http://localhost (default no)",
  },
  "drive-away": {
    parse: secondsUpTo(limits.driveAwaySecondsMax),
    fallback: () => limits.driveAwayMsMax / 1_000,
    flag: "<seconds>",
    help: "how long a drive may be away until what lay on it is made anew on others (default 600)",
  },
  "access-log-interval": {
    parse: secondsUpTo(limits.accessLogIntervalSecondsMax),
    fallback: () => limits.accessLogIntervalMs / 1_000,
    flag: "<seconds>",
    help: "how long lines of buckets' access logs wait at most until they are written (default 60)",
  },
  "background-rate": {
    parse: backgroundRate,
    fallback: () => limits.backgroundBytesPerSecond / MiB,
    flag: "<MiB/s>",
    help: "what repair and other background work of a worker may move at most (default 1024)",
  },
  "lifecycle-day": {
    parse: maybe(lifecycleDay),
    fallback: () => undefined,
    flag: "<seconds>",
    help: "for tests: how long a day is for lifecycle rules",
  },
  "tls-cert": { parse: maybe(text), fallback: () => undefined, flag: "<file>", help: "TLS certificate chain, PEM" },
  "tls-key": { parse: maybe(text), fallback: () => undefined, flag: "<file>", help: "TLS private key, PEM" },
  "log-level": { parse: logLevel, fallback: () => "info", flag: "<level>", help: logLevels.join(", ") },
  "root-access-key": { parse: maybe(text), fallback: () => undefined, help: "root access key" },
  "root-secret-key": { parse: maybe(text), fallback: () => undefined, help: "root secret key" },
};

export const settingNames = Object.keys(settings) as readonly SettingName[];

export function variableOf(name: string): string {
  return `HOLDFAST_${name.toUpperCase().replaceAll("-", "_")}`;
}

/** Variables of the client commands and of the config file's place: known, but no settings of the server. */
const otherVariables = new Set(["HOLDFAST_URL", "HOLDFAST_ACCESS_KEY", "HOLDFAST_SECRET_KEY", "HOLDFAST_CONFIG"]);

function refuse(message: string): never {
  throw new HoldfastError("invalid_argument", message);
}

function fromEnvironment(environment: Readonly<Record<string, string | undefined>>): Map<SettingName, unknown> {
  const found = new Map<SettingName, unknown>();
  for (const [variable, value] of Object.entries(environment)) {
    if (!variable.startsWith("HOLDFAST_") || value === undefined || otherVariables.has(variable)) continue;
    const name = settingNames.find((known) => variableOf(known) === variable);
    if (name === undefined) refuse(`The environment variable ${variable} is not a setting of holdfast.`);
    found.set(name, value);
  }
  return found;
}

function fromFile(path: string, content: string): Map<SettingName, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(content);
  } catch (error) {
    return refuse(`The config file ${path} is not JSON: ${(error as Error).message}`);
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    return refuse(`The config file ${path} must hold one JSON object.`);
  }
  const found = new Map<SettingName, unknown>();
  for (const [name, value] of Object.entries(parsed)) {
    if (!Object.hasOwn(settings, name)) refuse(`"${name}" in the config file ${path} is not a setting of holdfast.`);
    found.set(name as SettingName, value);
  }
  return found;
}

export type SettingSources = {
  /** By setting name; undefined where the flag was not given. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly file?: { readonly path: string; readonly content: string } | undefined;
  /** What the flags are to the reader of a refusal: "flag --" on a command line, "option " of a call. */
  readonly flagsAre?: string;
};

/** Errors: `invalid_argument` with a sentence that names the setting and where it came from. */
export function readSettings({ flags, environment, file, flagsAre = "flag --" }: SettingSources): Settings {
  const variables = fromEnvironment(environment);
  const inFile = file === undefined ? new Map<SettingName, unknown>() : fromFile(file.path, file.content);
  // What is overruled is read too: a value that is wrong is wrong wherever it stands.
  const read = (name: SettingName): unknown => {
    const given: [unknown, string][] = [
      [flags[name], name === "drives" ? "The drive list" : `The ${flagsAre}${name}`],
      [variables.get(name), `The environment variable ${variableOf(name)}`],
      [inFile.get(name), `"${name}" in the config file ${file?.path}`],
    ];
    const values = given
      .filter(([value]) => value !== undefined)
      .map(([value, said]) => settings[name].parse(value, (why) => refuse(said + sentence(name, why, value))));
    return values.length === 0 ? settings[name].fallback() : values[0];
  };
  // One cast: the table's type says that each name is read as its own type.
  const found = Object.fromEntries(settingNames.map((name) => [name, read(name)])) as unknown as Settings;
  checkTogether(found);
  return found;
}

/** Never with the value of a secret. */
function sentence(name: SettingName, why: string, value: unknown): string {
  const mayBeSecret = name.startsWith("root-") || name === "metadata" || name === "kms";
  return mayBeSecret ? ` ${why}.` : ` ${why}, not ${JSON.stringify(value)}.`;
}

/** Settings that make sense only in pairs. */
function checkTogether(found: Settings): void {
  if ((found["tls-cert"] === undefined) !== (found["tls-key"] === undefined)) {
    refuse("tls-cert and tls-key go together; only one of them is set.");
  }
  if ((found["root-access-key"] === undefined) !== (found["root-secret-key"] === undefined)) {
    refuse("HOLDFAST_ROOT_ACCESS_KEY and HOLDFAST_ROOT_SECRET_KEY go together; only one of them is set.");
  }
  checkKeyService(found);
  checkDomains(found);
  if (found.metadata === undefined) checkAlone(found);
  else checkCluster(found);
  if (new Set(found.drives).size !== found.drives.length) refuse("The drive list names one directory twice.");
}

function checkKeyService(found: Settings): void {
  if (found.kms !== undefined) {
    if (found["kms-token-file"] === undefined) refuse("kms and kms-token-file go together; only one of them is set.");
    return;
  }
  for (const name of ["kms-token-file", "kms-ca", "kms-default-key", "kms-s3-key"] as const)
    if (found[name] !== undefined) refuse(`${name} and kms go together: it is about an outside service of keys.`);
}

/** A host is a bucket's or a website's. */
function checkDomains(found: Settings): void {
  const domains = new Set(found.domain.map((each) => each.toLowerCase()));
  const twice = found["website-domain"].find((each) => domains.has(each.toLowerCase()));
  if (twice !== undefined)
    refuse(`${twice} is given as domain and as website-domain; websites need a domain of their own.`);
}

/** What a store needs that is all here. */
function checkAlone(found: Settings): void {
  const { "metadata-copies": copies } = found;
  for (const redundancy of [found.redundancy, found["reduced-redundancy"]])
    if (redundancy !== undefined && shardsOf(redundancy) > Math.max(1, found.drives.length))
      refuse(`The redundancy ${formatRedundancy(redundancy)} needs ${shardsOf(redundancy)} drives.`);
  refuseStronger(redundancyOf(found), found["reduced-redundancy"]);
  if (copies !== undefined && copies > Math.max(1, found.drives.length)) {
    refuse(`metadata-copies and drives go together: ${copies} copies, and each needs a drive of its own.`);
  }
  for (const name of ["cluster-secret-file", "advertise", "cluster-ca"] as const)
    if (found[name] !== undefined)
      refuse(`${name} and metadata go together: a cluster keeps its metadata in an engine of its own.`);
}

function refuseStronger(standard: Redundancy, reduced: Redundancy | undefined): void {
  if (reduced !== undefined && reduced.parityShards > standard.parityShards)
    refuse(`The reduced redundancy ${formatRedundancy(reduced)} bears more losses than ${formatRedundancy(standard)}.`);
}

function checkCluster(found: Settings): void {
  if (found.redundancy !== undefined) refuseStronger(found.redundancy, found["reduced-redundancy"]);
  if (found["cluster-secret-file"] === undefined)
    refuse("metadata and cluster-secret-file go together: the nodes of a cluster share a secret.");
  if (found["metadata-copies"] !== undefined)
    refuse("metadata-copies is about metadata in the drives; with metadata it is in an engine of its own.");
  if (found.advertise === undefined && isAnyAddress(found.listen.host))
    refuse("The server listens on all addresses: set advertise, so that the other nodes know one to reach it at.");
  const host = (URL.parse(found.advertise ?? "")?.hostname ?? "").toLowerCase();
  const domain = found.domain.find((each) => host.endsWith(`.${each.toLowerCase()}`));
  if (domain !== undefined)
    refuse(`advertise names ${host}, which is a bucket of the domain ${domain}: give the node a name outside of it.`);
  const site = found["website-domain"].find((each) => `.${host}`.endsWith(`.${each.toLowerCase()}`));
  if (site !== undefined)
    refuse(`advertise names ${host}, which is a website of the domain ${site}: give the node a name outside of it.`);
}

function isAnyAddress(host: string): boolean {
  return host === "::" || host === "0.0.0.0";
}

/** How other nodes reach the server; `listen` has its real port. */
export function advertisedUrl({ advertise, listen: { host, port }, "tls-cert": cert }: Settings): string {
  if (advertise !== undefined) return advertise;
  return `${cert === undefined ? "http" : "https"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** How a bucket is stored that says nothing else, in a store that is all here. */
export function redundancyOf({ redundancy, drives }: Settings): Redundancy {
  return redundancy ?? defaultRedundancy(Math.max(1, drives.length));
}

/** How long a day is for lifecycle rules, where the settings say it. */
export function lifecycleDayMs({ "lifecycle-day": seconds }: Settings): number | undefined {
  return seconds === undefined ? undefined : 1_000 * seconds;
}

/** The root key that the settings give, if they give one. */
export function givenRoot(found: Settings): { readonly accessKey: string; readonly secretKey: string } | undefined {
  const { "root-access-key": accessKey, "root-secret-key": secretKey } = found;
  return accessKey === undefined || secretKey === undefined ? undefined : { accessKey, secretKey };
}

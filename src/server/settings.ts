/**
 * The settings of a server: one table says each one's name, how it is read, and what it means. A flag `--files-bucket`,
 * the variable HOLDFAST_FILES_BUCKET and the config file's `"files-bucket"` are the same setting; flags win over
 * variables, variables over the file. What cannot be understood is refused with a sentence that names it.
 */
import { isIPv6 } from "node:net";
import { availableParallelism } from "node:os";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { defaultRedundancy, formatRedundancy, parseRedundancy, shardsOf, type Redundancy } from "../core/redundancy.ts";

export type Listen = { readonly host: string; readonly port: number };
export const logLevels = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof logLevels)[number];

export type Settings = {
  readonly drives: readonly string[];
  readonly listen: Listen;
  readonly domain: readonly string[];
  readonly region: string;
  readonly workers: number;
  readonly "files-bucket": string;
  /** Of buckets that say nothing else; undefined: by the number of drives. */
  readonly redundancy: Redundancy | undefined;
  /** Undefined: by the number of drives. */
  readonly "metadata-copies": number | undefined;
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

const logLevel: Parse<LogLevel> = (value, refuse) =>
  logLevels.find((level) => level === value) ?? refuse(`must be one of ${logLevels.join(", ")}`);

const redundancy: Parse<Redundancy> = (value, refuse) => {
  try {
    return parseRedundancy(String(value));
  } catch {
    return refuse(`must be replica:N or ec:K+M, like replica:2 or ec:4+2`);
  }
};

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
  "metadata-copies": {
    parse: maybe(metadataCopies),
    fallback: () => undefined,
    flag: "<count>",
    help: "drives that keep a copy of the metadata (default: 3, and 5 from six drives on)",
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
  return name.startsWith("root-") ? ` ${why}.` : ` ${why}, not ${JSON.stringify(value)}.`;
}

/** Settings that make sense only in pairs. */
function checkTogether(found: Settings): void {
  if ((found["tls-cert"] === undefined) !== (found["tls-key"] === undefined)) {
    refuse("tls-cert and tls-key go together; only one of them is set.");
  }
  if ((found["root-access-key"] === undefined) !== (found["root-secret-key"] === undefined)) {
    refuse("HOLDFAST_ROOT_ACCESS_KEY and HOLDFAST_ROOT_SECRET_KEY go together; only one of them is set.");
  }
  const { redundancy } = found;
  if (redundancy !== undefined && shardsOf(redundancy) > Math.max(1, found.drives.length)) {
    refuse(`The redundancy ${formatRedundancy(redundancy)} needs ${shardsOf(redundancy)} drives.`);
  }
  const { "metadata-copies": copies } = found;
  if (copies !== undefined && copies > Math.max(1, found.drives.length)) {
    refuse(`metadata-copies is ${copies}, and each needs a drive of its own.`);
  }
  if (new Set(found.drives).size !== found.drives.length) refuse("The drive list names one directory twice.");
}

/** How a bucket is stored that says nothing else. */
export function redundancyOf({ redundancy, drives }: Settings): Redundancy {
  return redundancy ?? defaultRedundancy(Math.max(1, drives.length));
}

/** The root key that the settings give, if they give one. */
export function givenRoot(found: Settings): { readonly accessKey: string; readonly secretKey: string } | undefined {
  const { "root-access-key": accessKey, "root-secret-key": secretKey } = found;
  return accessKey === undefined || secretKey === undefined ? undefined : { accessKey, secretKey };
}

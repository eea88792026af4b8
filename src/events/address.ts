/**
 * Addresses of destinations that are message brokers: `redis://user:password@host:6379/0?stream=events`. Pure.
 *
 * A user and a password are taken out of an address before it is kept: what is kept can be shown. Every kind says what its path
 * means and which settings it has; what it does not know is refused, so that a slip is not taken for silence.
 */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Credentials, DestinationKind } from "../meta/destinations.ts";

export type BrokerKind = Exclude<DestinationKind, "webhook">;
export type Host = { readonly host: string; readonly port: number };

export type BrokerAddress = {
  readonly kind: BrokerKind;
  readonly isTls: boolean;
  /** At least one; several are members of one cluster. */
  readonly hosts: readonly Host[];
  /** What stands behind the host and its slash, decoded. */
  readonly path: string;
  readonly settings: ReadonlyMap<string, string>;
};

type Form = {
  readonly schemes: readonly [plain: string, tls: string];
  readonly ports: readonly [plain: number, tls: number];
  readonly hostsMax: number;
  readonly looksLike: string;
  readonly settings: Readonly<Record<string, RegExp>>;
  /** What is wrong with path and settings together. */
  readonly wrong: (path: string, settings: ReadonlyMap<string, string>) => string | undefined;
};

/** AMQP writes names of up to 255 bytes. */
const amqpName = /^.{1,255}$/s;

export const brokerForms: Readonly<Record<BrokerKind, Form>> = {
  nats: {
    schemes: ["nats", "tls"],
    ports: [4_222, 4_222],
    hostsMax: limits.destinationHostsMax,
    looksLike: "nats://host:4222/subject",
    settings: { jetstream: /^(true|false)$/ },
    wrong: (subject) =>
      /^[^\s.*>]+(\.[^\s.*>]+)*$/.test(subject) ? undefined : "its path is a subject, without spaces and wildcards",
  },
  kafka: {
    schemes: ["kafka", "kafkas"],
    ports: [9_092, 9_093],
    hostsMax: limits.destinationHostsMax,
    looksLike: "kafka://host:9092,host:9092/topic",
    settings: { mechanism: /^(plain|scram-sha-256|scram-sha-512)$/ },
    wrong: (topic) =>
      /^[A-Za-z0-9._-]{1,249}$/.test(topic) && topic !== "." && topic !== ".."
        ? undefined
        : "its path is a topic of letters, digits, '.', '_' and '-'",
  },
  amqp: {
    schemes: ["amqp", "amqps"],
    ports: [5_672, 5_671],
    hostsMax: 1,
    looksLike: "amqp://host:5672/virtual-host?queue=name or ?exchange=name&routing-key=key",
    settings: { queue: amqpName, exchange: amqpName, "routing-key": amqpName },
    wrong: (_virtualHost, settings) =>
      settings.has("queue") !== settings.has("exchange") && !(settings.has("queue") && settings.has("routing-key"))
        ? undefined
        : "it names a queue, or an exchange and perhaps a routing-key",
  },
  redis: {
    schemes: ["redis", "rediss"],
    ports: [6_379, 6_379],
    hostsMax: 1,
    looksLike: "redis://host:6379/0?stream=name",
    settings: { stream: /./s, list: /./s, channel: /./s, "max-length": /^[1-9][0-9]{0,11}$/ },
    wrong: redisWrong,
  },
  mqtt: {
    schemes: ["mqtt", "mqtts"],
    ports: [1_883, 8_883],
    hostsMax: 1,
    looksLike: "mqtt://host:1883/topic",
    settings: { version: /^(3\.1\.1|5)$/ },
    wrong: (topic) =>
      topic !== "" && !/[#+\0]/.test(topic) ? undefined : "its path is a topic, without the wildcards '+' and '#'",
  },
};

function redisWrong(database: string, settings: ReadonlyMap<string, string>): string | undefined {
  if (!/^([0-9]{1,6})?$/.test(database)) return "its path is the number of a database";
  if (["stream", "list", "channel"].filter((name) => settings.has(name)).length !== 1)
    return "it names one of stream, list and channel";
  return settings.has("max-length") && !settings.has("stream") ? "max-length belongs to a stream" : undefined;
}

const pattern = /^([a-z]+):\/\/(?:([^@/?#]*)@)?([^@/?#]+)(?:\/([^?#]*))?(?:\?([^#]*))?$/;
const hostPattern = /^(?:([A-Za-z0-9._-]+)|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?$/;

/** Whether it looks like a broker's, be it right or not. */
export function brokerKindOf(url: string): BrokerKind | undefined {
  const scheme = url.slice(0, Math.max(0, url.indexOf("://")));
  const kinds = Object.entries(brokerForms).filter(([, { schemes }]) => schemes.includes(scheme));
  return kinds[0]?.[0] as BrokerKind | undefined;
}

/** What is kept of an address as it was given. Errors: `invalid_argument`, without a password. */
export function splitLogin(url: string): { readonly url: string; readonly credentials: Credentials } {
  const login = pattern.exec(url)?.[2];
  if (login === undefined) return { url, credentials: {} };
  const bare = url.replace(`${login}@`, () => "");
  const colon = login.indexOf(":");
  const user = decoded(colon < 0 ? login : login.slice(0, colon));
  const password = colon < 0 ? undefined : decoded(login.slice(colon + 1));
  if (user === undefined || (colon >= 0 && password === undefined))
    throw invalid(url, "user and password are percent-encoded");
  return { url: bare, credentials: { ...(user !== "" && { user }), ...(password !== undefined && { password }) } };
}

/** Of one without user and password. Errors: `invalid_argument`. */
export function parseBrokerAddress(url: string): BrokerAddress {
  const kind = brokerKindOf(url);
  if (kind === undefined) throw new HoldfastError("invalid_argument", `"${shownAddress(url)}" is no broker's address.`);
  const form = brokerForms[kind];
  const match = pattern.exec(url);
  if (match === null || match[2] !== undefined) throw invalid(url, `it looks like ${form.looksLike}`);
  const [, scheme, , hosts, path = "", query = ""] = match;
  const isTls = scheme === form.schemes[1];
  const name = decoded(path);
  if (name === undefined) throw invalid(url, "its path is percent-encoded");
  const settings = settingsOf(url, form, query);
  const wrong = form.wrong(name, settings);
  if (wrong !== undefined) throw invalid(url, `${wrong}; it looks like ${form.looksLike}`);
  return { kind, isTls, hosts: hostsOf(url, hosts!, form, isTls), path: name, settings };
}

function hostsOf(url: string, text: string, { hostsMax, ports }: Form, isTls: boolean): Host[] {
  const hosts = text.split(",").map((each) => {
    const [whole, name, address, port = String(ports[isTls ? 1 : 0])] = hostPattern.exec(each) ?? [];
    if (whole === undefined || Number(port) < 1 || Number(port) > 65_535)
      throw invalid(url, "its host is not host:port");
    return { host: name ?? address!, port: Number(port) };
  });
  if (hosts.length > hostsMax)
    throw invalid(url, `it names more than ${hostsMax === 1 ? "one host" : `${hostsMax} hosts`}`);
  return hosts;
}

function settingsOf(url: string, form: Form, query: string): ReadonlyMap<string, string> {
  const settings = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    const allowed = Object.hasOwn(form.settings, name) ? form.settings[name] : undefined;
    if (allowed === undefined)
      throw invalid(
        url,
        `it has no setting ${url.includes("@") ? "of that name" : `"${name.slice(0, 50)}"`}; there are ${Object.keys(form.settings).join(", ")}`,
      );
    if (settings.has(name) || !allowed.test(value)) throw invalid(url, `its setting "${name}" is not right`);
    settings.set(name, value);
  }
  return settings;
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function invalid(url: string, why: string): HoldfastError {
  return new HoldfastError("invalid_argument", `"${shownAddress(url)}" cannot be sent to: ${why}.`);
}

/** For a message: whatever stands before an "@" may be a password, also one that was not encoded as it should be. */
export function shownAddress(url: string): string {
  return url.replace(/^([a-z+]*:\/\/)?.*@/s, "$1…@").slice(0, 200);
}

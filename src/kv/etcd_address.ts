/** The address of a store in etcd: `etcd://user:password@host:2379,host:2379,host:2379/name`, `etcds://` with TLS. */
import { HoldfastError } from "../core/errors.ts";

export type EtcdAddress = {
  /** `host:port` each, at least one. */
  readonly endpoints: readonly string[];
  readonly credentials: { readonly user: string; readonly password: string } | undefined;
  /** The store's name: all its keys begin with it and a slash. */
  readonly name: string;
  /** Undefined: no TLS. Names of files: `ca` of the authority that signed the members, `cert` and `key` of this client. */
  readonly tls: { readonly ca?: string; readonly cert?: string; readonly key?: string } | undefined;
};

const nameDefault = "holdfast";
const portDefault = 2_379;
const endpointsMax = 16;
const pattern = /^(etcds?):\/\/(?:([^@/]*)@)?([^@/?#]+)(?:\/([^/?#]*))?\/?(?:\?([^#]*))?$/;
const endpointPattern = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?$/;
const tlsNames = ["ca", "cert", "key"];

/** Errors: `invalid_argument`, without the password. */
export function parseEtcdAddress(url: string): EtcdAddress {
  const match = pattern.exec(url);
  if (match === null) throw invalid("it looks like etcd://host:2379,host:2379,host:2379/name");
  const [, scheme, login, hosts, name, query] = match;
  const parsed = new URLSearchParams(query ?? "");
  return {
    endpoints: endpointsOf(hosts!),
    credentials: login === undefined ? undefined : credentialsOf(login),
    name: nameOf(name ?? ""),
    tls: tlsOf(scheme === "etcds", parsed),
  };
}

function endpointsOf(hosts: string): string[] {
  const endpoints = hosts.split(",").map((host) => {
    const match = endpointPattern.exec(host);
    if (match === null || Number(match[1] ?? 1) > 65_535) throw invalid(`"${host}" is not host:port`);
    return match[1] === undefined ? `${host}:${portDefault}` : host;
  });
  if (endpoints.length > endpointsMax) throw invalid(`it names more than ${endpointsMax} members`);
  return endpoints;
}

function credentialsOf(login: string): NonNullable<EtcdAddress["credentials"]> {
  const colon = login.indexOf(":");
  if (colon < 1) throw invalid("a user comes with a password: user:password@");
  try {
    return { user: decodeURIComponent(login.slice(0, colon)), password: decodeURIComponent(login.slice(colon + 1)) };
  } catch {
    throw invalid("user and password are percent-encoded");
  }
}

/** No slash, so that no store's keys lie among another's. */
function nameOf(name: string): string {
  if (name === "") return nameDefault;
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(name)) throw invalid("a store's name has 1 to 64 letters, digits, '.', '_', '-'");
  return name;
}

function tlsOf(isTls: boolean, query: URLSearchParams): EtcdAddress["tls"] {
  const settings = Object.fromEntries(query);
  const unknown = Object.keys(settings).find((name) => !tlsNames.includes(name));
  if (unknown !== undefined) throw invalid(`it has no setting "${unknown}"; there are ${tlsNames.join(", ")}`);
  if (!isTls && query.size > 0) throw invalid("ca, cert and key belong to etcds://");
  if ((settings["cert"] === undefined) !== (settings["key"] === undefined)) throw invalid("cert and key go together");
  return isTls ? settings : undefined;
}

function invalid(why: string): HoldfastError {
  return new HoldfastError("invalid_argument", `The address of the etcd metadata store is not right: ${why}.`);
}

/**
 * `postgres://user:password@host1:5432,host2:5432/database?schema=holdfast&sslmode=verify-full&sslrootcert=ca.pem`.
 *
 * As libpq spells it, several hosts included, with these differences: `schema` is ours; `sslmode` is one of disable (the
 * default), require, verify-ca, verify-full (`allow` and `prefer` would fall back to plain text, which whoever is in the
 * way can bring about); other settings of libpq are refused rather than ignored. `?host=/folder` is a Unix socket.
 *
 * What is left out comes from PGUSER, PGPASSWORD and so on, as with libpq.
 */
import { HoldfastError } from "../core/errors.ts";
import { schemaPattern } from "./postgres_schema.ts";

export type PostgresHost = {
  /** For people: host and port, never a password. */
  readonly name: string;
  /** For npm `pg`: one host, the password included. Never logged, never part of a message. */
  readonly connectionString: string;
};

export type PostgresTarget = { readonly hosts: readonly PostgresHost[]; readonly schema: string };

const hostsMax = 16;
const sslModes = ["disable", "require", "verify-ca", "verify-full"];
const tlsParameters = ["sslmode", "sslrootcert", "sslcert", "sslkey"];
const known = new Set([...tlsParameters, "schema", "host", "port", "application_name"]);
const urlPattern =
  /^postgres(?:ql)?:\/\/(?:(?<user>[^@:/?#]*)(?::(?<password>[^@/?#]*))?@)?(?<hosts>[^/?#@]*)(?:\/(?<path>[^?#]*))?(?:\?(?<query>[^#]*))?$/;

/** Errors: `invalid_argument`; the message never contains the URL, which may hold a password. */
export function parsePostgresUrl(url: string, schemaOption?: string): PostgresTarget {
  const parts = urlPattern.exec(url)?.groups;
  if (parts === undefined) throw invalid("is not of the form postgres://user:password@host:5432/database");
  const query = new URLSearchParams(parts["query"] ?? "");
  for (const name of query.keys()) {
    if (!known.has(name))
      throw invalid(`has the setting "${name}", which is not known; known are ${[...known].join(", ")}`);
  }
  const sslMode = query.get("sslmode") ?? "disable";
  if (!sslModes.includes(sslMode)) throw invalid(`has an sslmode that is none of ${sslModes.join(", ")}`);
  const schema = schemaOption ?? query.get("schema") ?? "holdfast";
  if (!schemaPattern.test(schema)) throw invalid("names a schema that is not of a-z, 0-9 and _, 48 characters at most");
  const hosts = hostsOf(parts["hosts"] ?? "", query);
  const login = [parts["user"], parts["password"]].filter((part) => part !== undefined).join(":");
  return { schema, hosts: hosts.map((host) => hostOf(host, { login, path: parts["path"] ?? "", query, sslMode })) };
}

type HostAndPort = { readonly host: string; readonly port: string };

function hostsOf(authority: string, query: URLSearchParams): HostAndPort[] {
  const folder = query.get("host");
  const port = query.get("port") ?? "5432";
  if (folder !== null) return [{ host: folder, port }];
  const hosts = authority.split(",").map((each) => {
    const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]*)(?::([0-9]{1,5}))?$/.exec(each);
    if (match === null) throw invalid("names a host that is none");
    return { host: match[1] === "" ? "localhost" : match[1]!, port: match[2] ?? port };
  });
  if (hosts.length > hostsMax) throw invalid(`names more than ${hostsMax} hosts`);
  return hosts;
}

type Common = {
  readonly login: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly sslMode: string;
};

function hostOf({ host, port }: HostAndPort, { login, path, query, sslMode }: Common): PostgresHost {
  const parameters = new URLSearchParams();
  if (sslMode !== "disable") {
    // What libpq means by these modes, not what npm `pg` 8 does by itself.
    parameters.set("uselibpqcompat", "true");
    for (const name of tlsParameters) if (query.has(name)) parameters.set(name, query.get(name)!);
  }
  const isSocket = host.startsWith("/");
  if (isSocket) {
    parameters.set("host", host);
    parameters.set("port", port);
  }
  const authority = isSocket ? "" : `${host}:${port}`;
  const settings = parameters.size === 0 ? "" : `?${parameters.toString()}`;
  return {
    name: isSocket ? `${host}/.s.PGSQL.${port}` : `${host}:${port}`,
    connectionString: `postgres://${login === "" ? "" : `${login}@`}${authority}/${path}${settings}`,
  };
}

function invalid(what: string): HoldfastError {
  return new HoldfastError("invalid_argument", `The address of the metadata store ${what}.`);
}

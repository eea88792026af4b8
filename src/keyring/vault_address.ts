/**
 * `vault+https://HOST:PORT/MOUNT`, with `?namespace=NAME` where the mount is in one. Plain HTTP is taken to this machine alone (an agent or
 * proxy of Vault's beside the server), for data keys travel on it.
 */
import type { VaultAddress } from "./vault_client.ts";

const mountPattern = /^[\w.-]+(?:\/[\w.-]+)*$/;
const namespacePattern = /^[\w.-]+(?:\/[\w.-]+)*\/?$/;

function isThisMachine(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(hostname);
}

/** Undefined: it is no such address. */
export function parseVaultAddress(text: string): VaultAddress | undefined {
  if (!/^vault\+https?:\/\//.test(text)) return undefined;
  const url = URL.parse(text.slice("vault+".length));
  if (url === null || url.username !== "" || url.password !== "" || url.hash !== "") return undefined;
  if (url.protocol === "http:" && !isThisMachine(url.hostname)) return undefined;
  const mount = url.pathname.replace(/^\//, "").replace(/\/$/, "");
  if (!mountPattern.test(mount) || mount.split("/").some((part) => part === "." || part === "..")) return undefined;
  const { searchParams } = url;
  const namespace = searchParams.get("namespace") ?? undefined;
  const isKnown = [...searchParams.keys()].every((name) => name === "namespace") && searchParams.size <= 1;
  if (!isKnown || (namespace !== undefined && !namespacePattern.test(namespace))) return undefined;
  return { origin: url.origin, mount, namespace };
}

/** Certificate and key as node:tls takes them; apart from tls.ts, whose types stand without Node's. */
import type { Tls } from "./tls.ts";

export function tlsOptions({ cert, key }: Tls): { cert: string | Buffer; key: string | Buffer } {
  return { cert: pem(cert), key: pem(key) };
}

function pem(given: string | Uint8Array): string | Buffer {
  return typeof given === "string" ? given : Buffer.from(given);
}

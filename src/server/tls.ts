/** Certificate and key of the port. */
import { createSecureContext } from "node:tls";
import { HoldfastError } from "../core/errors.ts";
import { tlsOptions } from "./tls_options.ts";

/** PEM. In types that a program without Node's own types knows too: this is part of createServer's. */
export type Tls = { readonly cert: string | Uint8Array; readonly key: string | Uint8Array };

/** Errors: `invalid_argument` when no server can speak TLS with them. `name` says what they are. */
export function checkTls(tls: Tls, name: string): void {
  try {
    createSecureContext(tlsOptions(tls));
  } catch (error) {
    throw new HoldfastError("invalid_argument", `${name} cannot be used: ${(error as Error).message}.`);
  }
}

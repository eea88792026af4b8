/** Certificate and key of the port. */
import { createSecureContext } from "node:tls";
import { HoldfastError } from "../core/errors.ts";
import type { Tls } from "./http.ts";

/** Errors: `invalid_argument` when no server can speak TLS with them. `name` says what they are. */
export function checkTls({ cert, key }: Tls, name: string): void {
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    throw new HoldfastError("invalid_argument", `${name} cannot be used: ${(error as Error).message}.`);
  }
}

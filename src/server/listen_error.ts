/** Why a port cannot be had, as a sentence for the operator. */
import { HoldfastError, systemCode } from "../core/errors.ts";
import type { Listen } from "./settings.ts";

export function listenError(error: Error, { host, port }: Listen): HoldfastError {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: "another program listens there already",
    EACCES: "this user may not use that port",
    EADDRNOTAVAIL: "this machine does not have that address",
    ENOTFOUND: "the host name is not known",
  };
  const why = reasons[systemCode(error) ?? ""] ?? error.message;
  return new HoldfastError("unavailable", `Cannot listen on ${host}:${port}: ${why}.`, { cause: error });
}

/** A small JSON object from an address that an operator has named, or that was named there. */
import { limits } from "../core/limits.ts";

export type FetchOptions = { readonly allowsPlainLoopback: boolean; readonly signal: AbortSignal };

/** Addresses of this machine by their form; a name that only happens to lead here is not one. */
const loopback = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;

/** Over TLS, or plainly to this machine where that is allowed. Nothing that comes with a password. */
export function mayAsk(address: string, allowsPlainLoopback: boolean): boolean {
  if (!URL.canParse(address)) return false;
  const { protocol, hostname, username, password } = new URL(address);
  if (username !== "" || password !== "") return false;
  return protocol === "https:" || (protocol === "http:" && allowsPlainLoopback && loopback.test(hostname));
}

/** Throws with a message for the log of the server. */
export async function fetchJson(
  address: string,
  { allowsPlainLoopback, signal }: FetchOptions,
): Promise<Readonly<Record<string, unknown>>> {
  if (!mayAsk(address, allowsPlainLoopback)) throw new Error("an address of it is not https");
  const answer = await fetch(address, { redirect: "error", headers: { accept: "application/json" }, signal });
  if (answer.status !== 200) {
    await answer.body?.cancel();
    throw new Error(`it answered ${answer.status}`);
  }
  const document: unknown = JSON.parse(await textOf(answer));
  if (typeof document !== "object" || document === null) throw new Error("it answered something else than an object");
  return document as Record<string, unknown>;
}

/** Leaving the loop early lets the connection go. */
async function textOf({ body }: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of body ?? []) {
    bytes += piece.length;
    if (bytes > limits.oidcDocumentBytesMax) throw new Error("its answer is too long");
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}

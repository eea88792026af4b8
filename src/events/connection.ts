/**
 * What couriers to message brokers have in common: one connection, shared by all messages on their way, opened when one is to be
 * sent, given up with the first thing that goes wrong, and closed when nothing was sent for courierIdleMs.
 *
 * Clients of brokers like to reconnect and to try again by themselves. All of that is switched off: the line (line.ts) tries
 * again, and nothing else does, so what is tried is known, is bounded, and is seen by whoever looks.
 *
 * Their libraries are loaded with the first connection that needs them, not with this process.
 */
import { isIP } from "node:net";
import type { ConnectionOptions, TlsOptions } from "node:tls";
import { HoldfastError, systemCode } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Clock } from "../core/clock.ts";
import type { Credentials } from "../meta/destinations.ts";
import type { Courier, Delivery, Message } from "./courier.ts";

export type Connection = {
  /** May reject: then nothing is known of the message, and the connection is given up. */
  deliver(message: Message): Promise<Delivery>;
  close(): void;
};

/** `lost` is to be called when the connection ends by itself; what is on its way then is unreachable at once. */
export type OpenConnection = (lost: (why: Error) => void) => Promise<Connection>;

type Held = { readonly connection: Promise<Connection>; readonly lost: AbortController };

export class SharedConnection implements Courier {
  readonly #open: OpenConnection;
  readonly #clock: Clock;
  #held: Held | undefined;
  #underWay = 0;
  #rest: AbortController | undefined;

  constructor(open: OpenConnection, clock: Clock) {
    this.#open = open;
    this.#clock = clock;
  }

  async deliver(message: Message, signal: AbortSignal): Promise<Delivery> {
    this.#rest?.abort();
    this.#underWay += 1;
    const held = (this.#held ??= this.#connect());
    const late = AbortSignal.timeout(limits.deliveryMsMax);
    try {
      const delivery = held.connection.then((connection) => connection.deliver(message));
      return await unless([signal, late, held.lost.signal], delivery);
    } catch (error) {
      if (!signal.aborted) this.#giveUp(held);
      return { outcome: "unreachable", why: reasonOf(error, late.aborted) };
    } finally {
      this.#underWay -= 1;
      if (this.#underWay === 0) this.#closeLater();
    }
  }

  close(): void {
    this.#rest?.abort();
    if (this.#held !== undefined) this.#giveUp(this.#held);
  }

  #connect(): Held {
    const lost = new AbortController();
    const connection = this.#open((why) => {
      lost.abort(why);
      this.#giveUp(held);
    });
    const held: Held = { connection, lost };
    return held;
  }

  /** What else is on its way over it is sent again, over another. */
  #giveUp(held: Held): void {
    if (this.#held === held) this.#held = undefined;
    held.connection.then(
      (connection) => connection.close(),
      () => undefined,
    );
  }

  #closeLater(): void {
    if (this.#held === undefined) return;
    const rest = new AbortController();
    this.#rest = rest;
    void this.#clock.sleep(limits.courierIdleMs, rest.signal).then(() => {
      if (!rest.signal.aborted && this.#underWay === 0) this.close();
    });
  }
}

/** The promise's end, or the first signal's reason. Leaves no listener behind on signals that live long. */
function unless<T>(signals: readonly AbortSignal[], promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      const reason: unknown = signals.find(({ aborted }) => aborted)?.reason;
      reject(reason instanceof Error ? reason : new Error("It was told to stop."));
    };
    for (const signal of signals) signal.addEventListener("abort", stop);
    if (signals.some(({ aborted }) => aborted)) stop();
    promise.then(resolve, reject).finally(() => {
      for (const signal of signals) signal.removeEventListener("abort", stop);
    });
  });
}

function reasonOf(error: unknown, isLate: boolean): string {
  if (isLate) return `It did not answer within ${limits.deliveryMsMax / 1_000} s.`;
  return messageOf(error);
}

/** Several addresses that all failed have no message of their own. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message || (systemCode(error) ?? error.name);
}

// --- what all kinds need ---

/** A server is told the name under which it is asked for, which a number is not; it is checked in any case. */
export function serverName(host: string): Pick<ConnectionOptions, "servername"> {
  return isIP(host) === 0 ? { servername: host } : {};
}

/** For libraries that ask for TLS as Node.js does. */
export function tlsOptions({ authority, certificate, key }: Credentials): Pick<TlsOptions, "ca" | "cert" | "key"> {
  return {
    ...(authority !== undefined && { ca: authority }),
    ...(certificate !== undefined && { cert: certificate, key }),
  };
}

/** Errors: `unavailable`, which says what to install. */
export async function libraryOf<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    if (systemCode(error) === "ERR_MODULE_NOT_FOUND") throw notInstalled(name, error);
    throw error;
  }
}

export function requireLibrary(name: string): void {
  try {
    import.meta.resolve(name);
  } catch (error) {
    throw notInstalled(name, error);
  }
}

function notInstalled(name: string, cause: unknown): HoldfastError {
  const message = `The npm package "${name}", which speaks to such a target, is not installed beside Holdfast.`;
  return new HoldfastError("unavailable", message, { cause });
}

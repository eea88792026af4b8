/**
 * Ends connections whose clients keep a body moving, but hardly: a byte now and then gets round every limit on silence,
 * while the request holds its place among those that run (and a GET holds back the removal of all old data).
 *
 * Judged is only the time in which it is the client's turn: to send what it announced, when all that came has been read,
 * or to read what lies in the response's buffer. A client that moves less than bodyBytesPerSecondMin over a whole window of
 * bodyPaceWindowMs is let go.
 */
import type { Socket } from "node:net";
import { limits } from "../core/limits.ts";
import { unsentBytes } from "../core/unsent.ts";
import type { Exchange } from "./malformed.ts";

export type SlowClientsOptions = {
  /** What each busy connection runs, its oldest request first. */
  readonly running: ReadonlyMap<Socket, readonly Exchange[]>;
  /** Tests shorten it. */
  readonly windowMs?: number;
};

/** A window is looked at in this many steps; one step in which it was not the client's turn begins a new window. */
const stepsPerWindow = 6;

/** `movedBytes` counts whole writes; what has moved of the one under way shows in `unsentBytes`. */
type Progress = { readonly movedBytes: number; readonly unsentBytes: number };

type Window = { readonly exchange: Exchange; steps: number; readonly start: Progress };

export class SlowClients {
  readonly #running: ReadonlyMap<Socket, readonly Exchange[]>;
  readonly #bytesMin: number;
  readonly #windows = new WeakMap<Socket, Window>();
  readonly #timer: NodeJS.Timeout;

  constructor({ running, windowMs = limits.bodyPaceWindowMs }: SlowClientsOptions) {
    this.#running = running;
    this.#bytesMin = (limits.bodyBytesPerSecondMin * windowMs) / 1_000;
    this.#timer = setInterval(() => this.#look(), windowMs / stepsPerWindow).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    for (const [socket, [exchange]] of this.#running) {
      if (exchange === undefined || !isClientsTurn(exchange)) this.#windows.delete(socket);
      else if (this.#isTooSlow(socket, exchange)) socket.destroy();
    }
  }

  #isTooSlow(socket: Socket, exchange: Exchange): boolean {
    const now = progressOf(socket);
    const window = this.#windows.get(socket);
    if (window === undefined || window.exchange !== exchange) {
      this.#windows.set(socket, { exchange, steps: 0, start: now });
      return false;
    }
    window.steps += 1;
    if (window.steps < stepsPerWindow) return false;
    this.#windows.set(socket, { exchange, steps: 0, start: now });
    const { start } = window;
    if (now.movedBytes - start.movedBytes >= this.#bytesMin) return false;
    return start.unsentBytes - now.unsentBytes < this.#bytesMin;
  }
}

function progressOf(socket: Socket): Progress {
  const movedBytes = socket.bytesRead + socket.bytesWritten - socket.writableLength;
  return { movedBytes, unsentBytes: unsentBytes(socket) };
}

function isClientsTurn({ request, response }: Exchange): boolean {
  if (response.headersSent) return response.writableLength > 0 || (response.socket?.writableLength ?? 0) > 0;
  return !request.complete && request.readableLength === 0;
}

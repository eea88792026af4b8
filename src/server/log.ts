/** The server's log: JSON lines on standard error through pino, so that standard output stays for people. */
import { writeSync } from "node:fs";
import pino from "pino";
import { systemClock, type Clock } from "../core/clock.ts";
import { systemCode } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { LogLevel } from "./settings.ts";

export function createLog(level: LogLevel): Log {
  const errors = { err: pino.stdSerializers.err, error: pino.stdSerializers.err };
  const lines = new LogLines({ writeSome: (bytes) => writeSync(2, bytes), clock: systemClock });
  return pino({ level, base: { pid: process.pid }, serializers: errors }, lines);
}

export type LogLinesParts = {
  /** Writes some of the bytes from the first on, and returns how many. Throws the system's errors. */
  readonly writeSome: (bytes: Buffer) => number;
  readonly clock: Pick<Clock, "monotonicMs">;
};

const retryMs = 10;
const pause = new Int32Array(new SharedArrayBuffer(4));

/**
 * Promises that what becomes of a line decides nothing else: one that cannot be written, because the disk of the log is full or its reader
 * or its terminal is gone, is dropped, and the next is tried anew. (An error that left here would end the process, and the
 * one that starts it again has the same log.) A reader that takes nothing for a moment is waited for.
 */
export class LogLines {
  readonly #parts: LogLinesParts;
  /** What was written last is the beginning of a line. */
  #isTorn = false;
  /** The last line was dropped: the next is not waited for. */
  #isStuck = false;

  constructor(parts: LogLinesParts) {
    this.#parts = parts;
  }

  write(line: string): void {
    const bytes = Buffer.from(this.#isTorn ? `\n${line}` : line);
    const { clock } = this.#parts;
    const untilMs = clock.monotonicMs() + (this.#isStuck ? 0 : limits.logWaitMsMax);
    let written = 0;
    let isWorthwhile = true;
    while (written < bytes.length && isWorthwhile) {
      try {
        written += this.#parts.writeSome(bytes.subarray(written));
      } catch (error) {
        isWorthwhile = systemCode(error) === "EAGAIN" && clock.monotonicMs() < untilMs;
        // The caller's turn is not over before its line is out: a log is worth most when the process ends in this turn.
        if (isWorthwhile) Atomics.wait(pause, 0, 0, retryMs);
      }
    }
    this.#isStuck = written < bytes.length;
    if (written > 0) this.#isTorn = this.#isStuck;
  }
}

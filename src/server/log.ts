/** The server's log: JSON lines on standard error through pino, so that standard output stays for people. */
import pino from "pino";
import type { Log } from "../core/log.ts";
import type { LogLevel } from "./settings.ts";

export function createLog(level: LogLevel): Log {
  const errors = { err: pino.stdSerializers.err, error: pino.stdSerializers.err };
  return pino({ level, base: { pid: process.pid }, serializers: errors }, pino.destination({ fd: 2, sync: true }));
}

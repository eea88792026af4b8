/**
 * What an error of PostgreSQL or of a connection to it means for what was asked.
 *
 * `refused`: the engine said no, so nothing was done. `lost`: no answer came, or one that leaves open whether the
 * transaction was committed. Only codes that are known to end a transaction before its commit count as a refusal
 * (PostgreSQL's manual, appendix "PostgreSQL Error Codes"); in doubt it is `lost`.
 */
import { DatabaseError } from "pg";
import { HoldfastError, systemCode } from "../core/errors.ts";
import { notCountersCode, outOfRangeCode } from "./postgres_schema.ts";

export type Failure =
  | { readonly what: "lost" }
  | {
      readonly what: "refused";
      /**
       * `again`: the same may succeed at once. `elsewhere`: on a connection to the engine that takes writes now.
       * `impossible`: a commit in the batch can never succeed. `never`: nothing to be done here.
       */
      readonly next: "again" | "elsewhere" | "impossible" | "never";
    };

const deadlock = "40P01";
const serialization = "40001";
const lockTimeout = "55P03";
const readOnly = "25006";
const cancelled = "57014";
/** Classes: data, integrity, state and kind of the transaction, syntax and access, lack of something (disk, memory, locks). */
const refusals = /^(22|23|25|42|53|HF)/;

export function failureOf(error: unknown): Failure {
  if (!(error instanceof DatabaseError) || error.code === undefined) return { what: "lost" };
  const { code } = error;
  if (code === deadlock || code === serialization || code === lockTimeout) return { what: "refused", next: "again" };
  if (code === readOnly) return { what: "refused", next: "elsewhere" };
  if (code === notCountersCode || code === outOfRangeCode) return { what: "refused", next: "impossible" };
  if (code === cancelled || refusals.test(code)) return { what: "refused", next: "never" };
  return { what: "lost" };
}

/** What is wrong at the engine or on the way to it, in words that fit behind a colon. Never holds a password. */
export function reasonOf(error: unknown): string {
  if (error instanceof HoldfastError) return error.message;
  if (error instanceof DatabaseError) return `it answers "${error.message}" (${error.code ?? "no code"})`;
  const code = systemCode(error);
  if (code !== undefined && code in systemReasons) return systemReasons[code]!;
  return error instanceof Error ? (messages[error.message] ?? error.message) : "it cannot be reached";
}

const systemReasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there",
  ENOENT: "there is no such socket or certificate file",
  ENOTFOUND: "the name is not known",
  EAI_AGAIN: "the name cannot be looked up",
  EHOSTUNREACH: "there is no way to it",
  ENETUNREACH: "there is no way to it",
  ETIMEDOUT: "it does not answer",
  ECONNRESET: "it ended the connection",
  EPIPE: "it ended the connection",
};

/** npm `pg` says these without a code. */
const messages: Readonly<Record<string, string>> = {
  "timeout expired": "it does not answer",
  "Query read timeout": "it does not answer",
  "Connection terminated unexpectedly": "it ended the connection",
  "Connection terminated": "the connection was given up",
};

/** Errors of opening a connection that waiting does not mend: who we are, what is asked for, what the engine is. */
export function isFinal(error: unknown): boolean {
  if (error instanceof HoldfastError) return error.kind === "invalid" || error.kind === "corrupt";
  return error instanceof DatabaseError && /^(28|3D|42)/.test(error.code ?? "");
}

/** Whether the schema or its table is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof DatabaseError && (error.code === "42P01" || error.code === "3F000");
}

export function unavailable(message: string, cause?: unknown): HoldfastError {
  return new HoldfastError("unavailable", message, cause === undefined ? {} : { cause });
}

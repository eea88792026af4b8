/**
 * What V8's garbage collector is told in a worker. Bodies pass through node as buffers of 64 KiB outside V8's heap, each
 * with a small object inside it. By default V8 starts a full collection of the heap for every 64 MiB of such buffers,
 * although nearly all of them are garbage that a collection of young objects would find: a large upload or download
 * cost more CPU in marking than in everything else (docs/decisions/0004).
 *
 *  - A small young generation, so that young objects are collected often, and their buffers with them.
 *  - Buffers are counted with the heap, whose limit grows and shrinks with what survives, and have no limit of their own.
 *
 * Only for processes of our own: a program that calls createServer has its own ways.
 */
import { setFlagsFromString } from "node:v8";

/** Arguments of node for a worker; none when whoever starts the server has set the young generation's size. */
export function collectorArguments(given: readonly string[], environment: string | undefined): string[] {
  const isSet = [...given, environment ?? ""].some((text) => text.includes("semi-space-size"));
  return isSet ? [] : ["--max-semi-space-size=2"];
}

/** Versions of V8 known to have the flag; others would complain on standard error. Node 24 has 13.6. */
const knownVersions = /^13\./;

/** Takes effect at once. */
export function countBuffersWithHeap(v8Version: string = process.versions.v8): void {
  if (knownVersions.test(v8Version)) setFlagsFromString("--external-memory-accounted-in-global-limit");
}

/**
 * What V8's garbage collector is told in a worker. Bodies pass through node as buffers of 64 KiB outside V8's heap. By default
 * V8 starts a full collection of the heap for every 64 MiB of such buffers, dead or alive: a large upload or download cost
 * as much CPU in marking as in anything else. Counted with the heap, whose limit follows what survives a collection, they
 * start one far less often (docs/decisions/0004).
 *
 * Only for processes of our own: a program that calls createServer has its own ways.
 */
import { setFlagsFromString } from "node:v8";

/** Versions of V8 known to have the flag; others would complain on standard error. Node 24 has 13.6. */
const knownVersions = /^13\./;

/** Takes effect at once. */
export function countBuffersWithHeap(v8Version: string = process.versions.v8): void {
  if (knownVersions.test(v8Version)) setFlagsFromString("--external-memory-accounted-in-global-limit");
}

/**
 * What an answer of etcd, or its absence, means for the request: above all whether the request may have been carried out.
 * Only what etcd says before it hands a request to its log is taken for "was not"; the words are those of its source
 * (api/v3rpc/rpctypes/error.go), for the status codes alone do not tell.
 */
import type { Answer } from "./etcd_member.ts";

export type Meaning =
  /** Not carried out; another member, or this one in a moment, may take it. */
  | "elsewhere"
  /** Not carried out; a new token is needed. */
  | "authenticate"
  /** The database is full. A write may still have been carried out: the one that filled it is, and is refused all the same. */
  | "full"
  /** The state asked for is no longer kept. */
  | "compacted"
  /** Not carried out, and it will never be. */
  | "refused"
  /** Nobody knows. */
  | "unknown";

const elsewhereTexts = [
  "etcdserver: no leader",
  "etcdserver: not leader",
  "etcdserver: too many requests",
  "etcdserver: not capable",
  "etcdserver: rpc not supported for learner",
];
const authenticateTexts = [
  "etcdserver: invalid auth token",
  "etcdserver: revision of auth store is old",
  "etcdserver: user name is empty",
];
const fullText = "etcdserver: mvcc: database space exceeded";
const compactedText = "etcdserver: mvcc: required revision has been compacted";
export const tooManyOperationsText = "etcdserver: too many operations in txn request";
/** A gRPC server's own words for a request larger than it takes. */
export const tooLargeText = "grpc: received message larger than max";

/** INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION, UNIMPLEMENTED: the request itself is at fault. */
const faultCodes = [3, 5, 7, 9, 12];

export function meaningOf(answer: Exclude<Answer, { kind: "answered" }>): Meaning {
  if (answer.kind === "lost") return answer.sent ? "unknown" : "elsewhere";
  const { code, text } = answer;
  if (elsewhereTexts.includes(text)) return "elsewhere";
  if (authenticateTexts.includes(text)) return "authenticate";
  if (text === fullText) return "full";
  if (text === compactedText) return "compacted";
  return faultCodes.includes(code) || text.startsWith(tooLargeText) ? "refused" : "unknown";
}

/** For a person: what went wrong, without anything secret. */
export function wordsOf(answer: Exclude<Answer, { kind: "answered" }>): string {
  if (answer.kind === "refused") return answer.text;
  return answer.cause instanceof Error ? answer.cause.message : "the connection failed";
}

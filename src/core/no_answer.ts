/** What node:http tells of a request that gets no answer, and what it does not tell. */
import type { ClientRequest } from "node:http";

/**
 * Calls `fail`, once or more often, when the request ends without an answer: with the request's own error, or with one that says that the
 * connection ended. The error alone is not enough: where the other side switches protocols (status 101), which nobody
 * has asked for, node:http ends the connection and speaks of neither an answer nor an error, not even when the request's signal aborts.
 * An error that comes after the answer is told too.
 */
export function onNoAnswer(request: ClientRequest, fail: (error: Error) => void): void {
  let isAnswered = false;
  request.once("response", () => (isAnswered = true));
  request.on("error", fail);
  request.on("close", () => {
    if (!isAnswered) fail(new Error("It ended the connection without an answer."));
  });
}

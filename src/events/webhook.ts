/**
 * Messages as HTTP requests: one POST each, its body JSON. Any 2xx answer means that it was taken. Redirects are not followed: a
 * message goes where the operator said and nowhere else.
 *
 * With a secret, `x-holdfast-signature-256: sha256=<hex>` is the HMAC-SHA-256 of the body (as GitHub signs its webhooks).
 */
import { createHmac } from "node:crypto";
import * as http from "node:http";
import * as https from "node:https";
import { systemCode } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { onNoAnswer } from "../core/no_answer.ts";
import type { DestinationRecord } from "../meta/destinations.ts";
import { tlsOptions } from "./connection.ts";
import type { Courier, Delivery, Message } from "./courier.ts";

/** Answers that speak of the destination and not of the message. */
function isTemporary(status: number): boolean {
  return [408, 429, 502, 503, 504].includes(status);
}

export function openWebhook(destination: DestinationRecord): Courier {
  const isTls = destination.url.startsWith("https:");
  const options = { keepAlive: true, maxSockets: limits.deliveriesAtOnceMax };
  const agent = isTls
    ? new https.Agent({ ...options, ...tlsOptions(destination.credentials) })
    : new http.Agent(options);
  const send = isTls ? https.request : http.request;
  const post: Post = { send, agent, destination };
  return {
    deliver: async (message, signal) => {
      const late = AbortSignal.timeout(limits.deliveryMsMax);
      const ended = AbortSignal.any([signal, late]);
      const first = await exchange(post, message, ended);
      // The receiver had closed a connection that was kept open: that says nothing about it.
      const last = first.outcome === "stale" ? await exchange(post, message, ended) : first;
      if (last.outcome === "answered") return deliveryOf(last.status);
      return { outcome: "unreachable", why: reasonOf(last.error, late.aborted) };
    },
    close: () => agent.destroy(),
  };
}

type Post = {
  readonly send: typeof http.request;
  readonly agent: http.Agent;
  readonly destination: DestinationRecord;
};

type Exchange =
  | { readonly outcome: "answered"; readonly status: number }
  | { readonly outcome: "stale" | "failed"; readonly error: Error };

function exchange({ send, agent, destination }: Post, message: Message, signal: AbortSignal): Promise<Exchange> {
  return new Promise((resolve) => {
    const body = Buffer.from(message.body);
    const headers = headersOf(destination, message, body);
    const request = send(destination.url, { method: "POST", agent, headers, signal }, (response) => {
      const status = response.statusCode ?? 0;
      readOver(response, (error) => resolve(error ? { outcome: "failed", error } : { outcome: "answered", status }));
    });
    onNoAnswer(request, (error) => {
      const isStale = request.reusedSocket && systemCode(error) === "ECONNRESET";
      resolve({ outcome: isStale ? "stale" : "failed", error });
    });
    request.end(body);
  });
}

function headersOf({ headers, secret }: DestinationRecord, message: Message, body: Buffer): http.OutgoingHttpHeaders {
  const signature = secret === undefined ? undefined : createHmac("sha256", secret).update(body).digest("hex");
  return {
    "content-type": "application/json",
    "user-agent": "Holdfast",
    ...Object.fromEntries(headers),
    "content-length": body.length,
    "x-holdfast-event": message.event,
    "x-holdfast-delivery": message.id,
    ...(signature !== undefined && { "x-holdfast-signature-256": `sha256=${signature}` }),
  };
}

/** The answer's body says nothing to us, but a connection is only used again when it was read. */
function readOver(response: http.IncomingMessage, done: (error?: Error) => void): void {
  let bytes = 0;
  response.on("data", (piece: Buffer) => {
    bytes += piece.length;
    if (bytes <= limits.deliveryAnswerBytesMax) return;
    // The status is all that counts, and it is there.
    done();
    response.destroy();
  });
  response.on("end", () => done());
  response.on("error", (error) => done(error));
}

function deliveryOf(status: number): Delivery {
  if (status >= 200 && status < 300) return { outcome: "taken" };
  const why = `It answered ${status}${http.STATUS_CODES[status] ? ` ${http.STATUS_CODES[status]}` : ""}.`;
  return { outcome: isTemporary(status) ? "unreachable" : "refused", why };
}

function reasonOf(error: Error, isLate: boolean): string {
  if (isLate) return `It did not answer within ${limits.deliveryMsMax / 1_000} s.`;
  // Several addresses that all failed have no message of their own.
  return error.message || (systemCode(error) ?? error.name);
}

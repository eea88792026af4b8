/** Calls to the operator's door (`/_/admin/…`) of a server: JSON over HTTP Basic. */
import http from "node:http";
import https from "node:https";
import { text as readText } from "node:stream/consumers";
import { HoldfastError } from "../core/errors.ts";
import { onNoAnswer } from "../core/no_answer.ts";
import { connectionError } from "./s3_client.ts";

export type AdminTarget = {
  readonly endpoint: URL;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly insecure?: boolean;
};

export type AdminRequest = { readonly method: string; readonly path: string; readonly body?: unknown };

/** The answer's JSON; `{}` where it has no body. Errors: a sentence of the server's, or why it cannot be reached. */
export async function askAdmin(target: AdminTarget, request: AdminRequest): Promise<Record<string, unknown>> {
  const { status, body } = await exchange(target, request);
  const answer = parse(body);
  if (status < 300 && answer !== undefined) return answer;
  if (status === 401) throw new HoldfastError("access_denied", "The access key is unknown or its secret is wrong.");
  const { message } = (answer?.["error"] ?? {}) as { message?: string };
  const fallback = `${target.endpoint.origin} answered with status ${status}, not as Holdfast does.`;
  throw new HoldfastError(status === 403 ? "access_denied" : "invalid_argument", message ?? fallback);
}

function parse(body: string): Record<string, unknown> | undefined {
  if (body === "") return {};
  try {
    return JSON.parse(body) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

function exchange(target: AdminTarget, request: AdminRequest): Promise<{ status: number; body: string }> {
  const { endpoint, accessKey, secretKey, insecure = false } = target;
  const body = request.body === undefined ? undefined : JSON.stringify(request.body);
  const options: https.RequestOptions = {
    method: request.method,
    auth: `${accessKey}:${secretKey}`,
    rejectUnauthorized: !insecure,
    agent: false,
    headers:
      body === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(body) },
  };
  const send = endpoint.protocol === "https:" ? https.request : http.request;
  return new Promise((resolve, reject) => {
    const outgoing = send(new URL(request.path, endpoint), options, (incoming) => {
      readText(incoming).then((said) => resolve({ status: incoming.statusCode ?? 0, body: said }), reject);
    });
    onNoAnswer(outgoing, (error) => reject(connectionError(endpoint, error)));
    outgoing.end(body);
  });
}

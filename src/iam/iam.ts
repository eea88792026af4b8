/**
 * The doors of IAM and STS: AWS's query protocol, `POST /` with a form, signed for the service `iam` or `sts`.
 *
 * Promises: every request gets exactly one answer; no action is run before the caller's policies allowed it (those of an account's
 * root and of keys that may do everything allow all of `iam:*` in their account); no byte of a client can make the door throw; at
 * most requestsInFlightMax requests run at once; a form is bounded before it is read.
 *
 * An entity is judged under the path and the tags that it has when the request comes; the change itself is a commit of its own,
 * so that a path or tag that changes in between is judged as it was.
 *
 * Known gaps: see docs/iam.md for what of either service is there.
 * Source: the IAM and STS API references.
 */
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { TLSSocket } from "node:tls";
import type { Clock } from "../core/clock.ts";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { openBody } from "../gateway/body.ts";
import { expectsContinue } from "../gateway/exchange.ts";
import { send, type Reply } from "../gateway/respond.ts";
import { verifyRequest } from "../gateway/sigv4.ts";
import type { FoundKey } from "../identity/callers.ts";
import type { Identity } from "../identity/identity.ts";
import { createTokenVerifier, type TokenVerifier } from "../oidc/oidc.ts";
import { keyActions } from "./access_keys.ts";
import { answerDocument, errorDocument, type Service } from "./answer.ts";
import { actorOf, need, type Action, type Actor, type Call } from "./call.ts";
import { QueryError, toQueryError } from "./faults.ts";
import { parseForm, type Form } from "./form.ts";
import { groupActions } from "./groups.ts";
import { oidcActions } from "./oidc_providers.ts";
import { allPolicyActions } from "./policies.ts";
import { roleActions } from "./roles.ts";
import { stsActions } from "./sts.ts";
import { summaryActions } from "./summary.ts";
import { userActions } from "./users.ts";
import { openStsActions } from "./web_identity.ts";

export type QueryEvent = { readonly operation: string; readonly status: number; readonly durationMs: number };

export type QueryDoorOptions = {
  readonly identity: Identity;
  readonly region: string;
  /** Lower-case: on a bucket's own host name nothing is IAM's. */
  readonly domains: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Identity providers on this machine may be without TLS. */
  readonly allowsPlainLoopback: boolean;
  onRequest?(event: QueryEvent): void;
};

export type QueryDoor = {
  isFor(request: IncomingMessage): boolean;
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>;
};

const iamActions: ReadonlyMap<string, Action> = new Map(
  Object.entries({
    ...userActions,
    ...keyActions,
    ...groupActions,
    ...roleActions,
    ...oidcActions,
    ...allPolicyActions,
    ...summaryActions,
  }),
);
export const iamActionNames: readonly string[] = [...iamActions.keys()];
const ofSts = new Map(Object.entries(stsActions));

const serviceOfVersion: ReadonlyMap<string, Service> = new Map([
  ["2010-05-08", "iam"],
  ["2011-06-15", "sts"],
]);

export function createQueryDoor(options: QueryDoorOptions): QueryDoor {
  const door = new Door(options);
  return {
    isFor: (request) => isForm(request, options.domains),
    handle: (request, response) => door.handle(request, response),
  };
}

function isForm({ method, url = "", headers }: IncomingMessage, domains: readonly string[]): boolean {
  if (method !== "POST" || !/^(?:https?:\/\/[^/?]*)?\/?$/i.test(url)) return false;
  if (!/^application\/x-www-form-urlencoded\s*(?:;|$)/i.test(headers["content-type"] ?? "")) return false;
  const host = (headers.host ?? "").toLowerCase().replace(/:\d*$/, "");
  return !domains.some((domain) => host.endsWith(`.${domain}`));
}

/** What is known of a request while it is being answered. */
type Exchange = {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly requestId: string;
  awaitsContinue: boolean;
  service: Service;
  operation: string;
};

class Door {
  readonly #options: QueryDoorOptions;
  readonly #tokens: TokenVerifier;
  #inFlight = 0;

  constructor(options: QueryDoorOptions) {
    this.#options = options;
    this.#tokens = createTokenVerifier(options);
  }

  async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { clock, log, onRequest } = this.#options;
    const startedMs = clock.monotonicMs();
    const requestId = this.#newRequestId();
    const awaitsContinue = expectsContinue(req);
    const exchange: Exchange = { req, res, requestId, awaitsContinue, service: "iam", operation: "Other" };
    this.#inFlight += 1;
    try {
      const reply = await this.#reply(exchange);
      const common = ["x-amzn-requestid", requestId];
      await send({ req, res, reply, common, awaitsContinue: exchange.awaitsContinue });
      const { operation } = exchange;
      onRequest?.({ operation, status: reply.status, durationMs: clock.monotonicMs() - startedMs });
    } catch (error) {
      log.error({ err: error, requestId }, "the door of IAM failed to answer");
      res.destroy();
    } finally {
      this.#inFlight -= 1;
    }
  }

  /** As AWS spells them. */
  #newRequestId(): string {
    const hex = Buffer.from(this.#options.random.bytes(16)).toString("hex");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }

  async #reply(exchange: Exchange): Promise<Reply> {
    const { requestId } = exchange;
    try {
      const result = await this.#run(exchange);
      return xml(200, answerDocument(exchange.service, exchange.operation, result, requestId));
    } catch (error) {
      const failed = toQueryError(error);
      if (failed.status >= 500)
        this.#options.log.error({ err: error, requestId, operation: exchange.operation }, "request failed");
      return { ...xml(failed.status, errorDocument(exchange.service, failed, requestId)), code: failed.code };
    }
  }

  async #run(exchange: Exchange): Promise<string> {
    const { req } = exchange;
    if (this.#inFlight > limits.requestsInFlightMax) throw new QueryError("Throttling", "Rate exceeded");
    const body = await bodyOf(exchange, () => {
      if (exchange.awaitsContinue) exchange.res.writeContinue();
      exchange.awaitsContinue = false;
    });
    const form = parseForm(body);
    const action = form.text("Action") ?? "";
    const service = serviceOfVersion.get(form.text("Version") ?? "");
    exchange.service = service ?? "iam";
    const open = service === "sts" ? openStsActions.get(action) : undefined;
    const isKnown = open !== undefined || (service === "sts" ? ofSts.has(action) : iamActions.has(action));
    if (service === undefined || !isKnown) {
      const message = `Could not find operation ${action.slice(0, 64)} for version ${(form.text("Version") ?? "").slice(0, 64)}`;
      throw new QueryError("InvalidAction", message);
    }
    exchange.operation = action;
    const { identity, allowsPlainLoopback } = this.#options;
    const facts = this.#facts(req, form);
    if (open !== undefined) return open({ form, identity, facts, tokens: this.#tokens });
    const actor = await this.#authenticate(req, service, body);
    const call: Call = { action, form, identity, actor, facts, allowsPlainLoopback };
    return service === "sts" ? ofSts.get(action)!(call) : runIam(call);
  }

  async #authenticate(req: IncomingMessage, service: Service, body: Buffer): Promise<Actor> {
    const { clock, region, identity } = this.#options;
    let found: FoundKey | undefined;
    const auth = await verifyRequest({
      method: "POST",
      rawPath: "/",
      rawQuery: "",
      headers: req.headers,
      rawHeaders: req.rawHeaders,
      nowMs: clock.nowMs(),
      region,
      service,
      bodyHash: createHash("sha256").update(body).digest("hex"),
      secretFor: async (accessKey, token) => {
        found = await identity.find(accessKey, token);
        return found?.secretKey;
      },
    });
    if (auth.kind !== "authenticated" || found === undefined)
      throw new QueryError("MissingAuthenticationToken", "Request is missing Authentication Token");
    checkBody(auth.payload, body);
    return actorOf(found, auth.accessKey, identity);
  }

  #facts({ socket, headers }: IncomingMessage, form: Form): Call["facts"] {
    const isSecure = socket instanceof TLSSocket;
    return {
      nowMs: this.#options.clock.nowMs(),
      sourceIp: socket.remoteAddress,
      isSecure,
      tlsVersion: isSecure ? socket.getProtocol()?.replace(/^TLSv/, "") : undefined,
      region: this.#options.region,
      headers: {
        get: (name: string) => {
          const value = headers[name];
          return typeof value === "string" ? value : value?.join(",");
        },
      },
      query: { get: (name: string) => form.text(name) },
      signature: undefined,
    };
  }
}

async function runIam(call: Call): Promise<string> {
  const { actor, action } = call;
  // Of a user's own session AWS wants a second factor for IAM, which there is none of.
  if (actor.session !== undefined && actor.caller.kind !== "session")
    throw new QueryError("InvalidClientTokenId", "The security token included in the request is invalid");
  const { target, run } = iamActions.get(action)!;
  need(call, `iam:${action}`, await target(call));
  return run(call);
}

/** Whoever says what the body's hash is has signed that, and not the body. */
function checkBody(payload: { readonly sha256: string } | string, body: Buffer): void {
  const isSigned = typeof payload === "object" && payload.sha256 === createHash("sha256").update(body).digest("hex");
  if (!isSigned) throw new QueryError("SignatureDoesNotMatch", "The body is not the one that was signed.");
}

function xml(status: number, body: string): Reply {
  const retry = status === 503 ? ["retry-after", "1"] : [];
  return { status, headers: ["content-type", "text/xml", ...retry], body };
}

/** The whole body, which is bounded; a client that stands still is given up. */
async function bodyOf({ req, res }: Exchange, onFirstRead: () => void): Promise<Buffer> {
  const { source } = openBody({ req, payload: "unsigned", ignoreChecksumHeaders: true, onFirstRead });
  try {
    return await source.collect(limits.queryFormBytesMax);
  } catch (error) {
    if (hasReason(error, "entity_too_large"))
      throw new QueryError("RequestEntityTooLarge", `A request has at most ${limits.queryFormBytesMax} bytes.`);
    if (res.destroyed || hasReason(error, "incomplete_body", "request_timeout"))
      throw new QueryError("MalformedInput", "The body of the request did not come whole.", { cause: error });
    throw error;
  }
}

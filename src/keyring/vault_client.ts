/**
 * Calls of HashiCorp Vault's HTTP API (OpenBao's is the same): the token, the namespace, one bounded set of connections that are kept,
 * deadlines, and the one place where a call is tried again.
 *
 * Promises: every call ends within keyServiceCallMs; at most keyServiceCallsMax run at once; an answer is bounded before it is
 * read; a token and a key stand in no message of an error and in no line of a log. Every call that is made here may be made twice.
 *
 * Source: "Transit secrets engine (API)" and "HTTP API" of Vault's documentation.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { KeyServiceCallFacts } from "../core/metrics.ts";
import { onNoAnswer } from "../core/no_answer.ts";
import type { Random } from "../core/random.ts";
import { Turns } from "./turns.ts";

/** Where the service is: plain data, as it travels between processes. */
export type VaultAddress = {
  /** `https://host:port`, or `http:` on this machine. */
  readonly origin: string;
  /** Of the transit engine, without slashes at its ends. */
  readonly mount: string;
  readonly namespace: string | undefined;
};

/** The token, which may be replaced while the server runs. */
export type TokenSource = {
  current(): string;
  /** Looks for another one now. */
  renewed(): string;
};

export type VaultOptions = {
  readonly address: VaultAddress;
  readonly token: TokenSource;
  /** Authorities in PEM; the system's if left out. */
  readonly ca?: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Told of every call, of those too that never came to be sent. */
  onCall?(facts: KeyServiceCallFacts): void;
};

export type VaultCall = {
  /** What it is called in metrics. */
  readonly name: string;
  readonly method: "GET" | "POST";
  /** Below `/v1/`. */
  readonly path: string;
  readonly body?: Readonly<Record<string, unknown>>;
};

/** `data` of an answer, or what it says is wrong. */
export type VaultAnswer = {
  readonly status: number;
  readonly data: Readonly<Record<string, unknown>>;
  readonly errors: readonly string[];
};

/** The service is asked again later: it is sealed, a standby without its leader, overburdened, or its network is. */
function isPassing({ status }: VaultAnswer): boolean {
  const isElsewhere = status >= 300 && status < 400;
  return isElsewhere || status >= 500 || status === 429 || status === 412;
}

function away(cause?: unknown): HoldfastError {
  return new HoldfastError("unavailable", "The key service cannot be used at this moment.", { cause });
}

export class VaultClient {
  readonly #options: VaultOptions;
  readonly #turns = new Turns({ atOnceMax: limits.keyServiceCallsMax, waitingMax: limits.keyServiceCallsWaitingMax });
  readonly #agent: HttpAgent;
  #isAway = false;

  constructor(options: VaultOptions) {
    this.#options = options;
    const kept = { keepAlive: true, maxSockets: limits.keyServiceCallsMax, maxFreeSockets: limits.keyServiceCallsMax };
    const isTls = options.address.origin.startsWith("https:");
    this.#agent = isTls ? new HttpsAgent({ ...kept, ca: options.ca }) : new HttpAgent(kept);
  }

  get mount(): string {
    return this.#options.address.mount;
  }

  /**
   * The answer, whether it is one of success or a refusal (4xx). Errors: `unavailable` when the service cannot be reached, is sealed or
   * does not take the token; `slow_down`.
   */
  async ask(call: VaultCall): Promise<VaultAnswer> {
    const { clock, onCall } = this.#options;
    const startedMs = clock.monotonicMs();
    let outcome: KeyServiceCallFacts["outcome"] = "failed";
    try {
      const answer = await this.#within(limits.keyServiceCallMs, (signal) =>
        this.#turns.run(signal, () => this.#admitted(call, signal)),
      );
      outcome = answer.status < 400 ? "ok" : "refused";
      this.#noteWell();
      return answer;
    } finally {
      onCall?.({ call: call.name, outcome, durationMs: clock.monotonicMs() - startedMs });
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  /** With the token that there is; when it is refused, with the one that has come in its place. */
  async #admitted(call: VaultCall, signal: AbortSignal): Promise<VaultAnswer> {
    const { token } = this.#options;
    const used = token.current();
    const answer = await this.#tried(call, used, signal);
    if (answer.status !== 403) return answer;
    const renewed = token.renewed();
    const again = renewed === used ? answer : await this.#tried(call, renewed, signal);
    if (again.status === 403) await this.#checkToken(renewed, signal);
    return again;
  }

  /** Vault refuses with one status what a token may not do and a token that is none: the first is the caller's, the second ours. */
  async #checkToken(token: string, signal: AbortSignal): Promise<void> {
    const look: VaultCall = { name: "token", method: "GET", path: "auth/token/lookup-self" };
    const { status } = await this.#tried(look, token, signal);
    if (status === 200) return;
    this.#note("it does not take the token of --kms-token-file");
    throw away();
  }

  async #tried(call: VaultCall, token: string, signal: AbortSignal): Promise<VaultAnswer> {
    const { clock, random } = this.#options;
    for (let attempt = 1, pauseMs = limits.keyServicePauseMs; ; attempt++, pauseMs *= 2) {
      const found = await this.#attempt(call, token, signal).catch((error: unknown) => away(error));
      if (!(found instanceof HoldfastError) && !isPassing(found)) return found;
      const isLast = attempt >= limits.keyServiceAttemptsMax || signal.aborted;
      if (!isLast) await clock.sleep(pauseMs / 2 + random.below(pauseMs / 2), signal);
      if (!isLast && !signal.aborted) continue;
      if (found instanceof HoldfastError) this.#note(reasonOf(found.cause));
      else this.#note(`it answers ${found.status}`);
      throw found instanceof HoldfastError ? found : away();
    }
  }

  #attempt(call: VaultCall, token: string, signal: AbortSignal): Promise<VaultAnswer> {
    return this.#within(limits.keyServiceAttemptMs, async (own) => {
      const answer = await this.#send(call, token, AbortSignal.any([signal, own]));
      const { status, bytes } = answer;
      return { status, ...parsed(status, bytes) };
    });
  }

  #send(call: VaultCall, token: string, signal: AbortSignal): Promise<{ status: number; bytes: Buffer }> {
    const { origin, namespace } = this.#options.address;
    const body = call.body === undefined ? undefined : Buffer.from(JSON.stringify(call.body));
    const headers = {
      "x-vault-token": token,
      "x-vault-request": "true",
      ...(namespace !== undefined && { "x-vault-namespace": namespace }),
      ...(body && { "content-type": "application/json", "content-length": body.length }),
    };
    const send = origin.startsWith("https:") ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      const options = { method: call.method, headers, agent: this.#agent, signal };
      const request = send(`${origin}/v1/${call.path}`, options, (response) => {
        boundedBody(response).then((bytes) => resolve({ status: response.statusCode ?? 0, bytes }), reject);
      });
      onNoAnswer(request, reject);
      request.end(body);
    });
  }

  /** The work gets a signal that aborts after so long, or when the work is done. */
  async #within<T>(ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const late = new AbortController();
    const done = new AbortController();
    void this.#options.clock.sleep(ms, done.signal).then(() => {
      if (!done.signal.aborted) late.abort(new Error(`no answer within ${ms} ms`));
    });
    try {
      return await work(late.signal);
    } finally {
      done.abort();
    }
  }

  /** Once for each time that it goes away, however many requests meet it. */
  #note(why: string): void {
    if (this.#isAway) return;
    this.#isAway = true;
    this.#options.log.warn({ why }, "The key service cannot be used; what needs its keys is answered with 503.");
  }

  #noteWell(): void {
    if (!this.#isAway) return;
    this.#isAway = false;
    this.#options.log.info({}, "The key service answers again.");
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}

async function boundedBody(response: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let sizeBytes = 0;
  for await (const piece of response) {
    sizeBytes += (piece as Buffer).length;
    if (sizeBytes > limits.keyServiceAnswerBytesMax) throw new Error("its answer is too long");
    pieces.push(piece as Buffer);
  }
  return Buffer.concat(pieces);
}

/** What is no JSON is an answer of something else than the service, a proxy's perhaps. */
function parsed(status: number, bytes: Buffer): Pick<VaultAnswer, "data" | "errors"> {
  if (bytes.length === 0) return { data: {}, errors: [] };
  let found: unknown;
  try {
    found = JSON.parse(bytes.toString("utf8"));
  } catch {
    // Nothing of it is shown: it may hold a key.
    throw new Error(`its answer (${status}) is no JSON`);
  }
  const { data, errors } = asRecord(found);
  const texts = Array.isArray(errors) ? errors.filter((each): each is string => typeof each === "string") : [];
  return { data: asRecord(data), errors: texts };
}

export function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
}

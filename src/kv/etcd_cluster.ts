/**
 * The members of an etcd cluster as one: a call goes to one member for as long as that one answers, and then to the next.
 *
 * A read is tried again, on another member, until its time is up. A write is tried again only while it is certain that it
 * was not carried out; when it may have been, that is the result, and never a second attempt. Both start from where the
 * last call found an answer. A cluster that comes back is used again without anybody's doing.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import type { EtcdAddress } from "./etcd_address.ts";
import { meaningOf, wordsOf } from "./etcd_answers.ts";
import { EtcdMember, frameHeadBytes } from "./etcd_member.ts";
import type { Answer, MemberOptions } from "./etcd_member.ts";
import { WireReader, WireWriter } from "./etcd_wire.ts";

export type Method = "KV/Txn" | "KV/Range" | "KV/Compact" | "Maintenance/Alarm" | "Auth/Authenticate";

export type Request = { readonly method: Method; readonly write: (writer: WireWriter) => void };

export type Reply =
  | { readonly kind: "answered"; readonly message: Buffer }
  /** The database is full; a write may have been carried out all the same. */
  | { readonly kind: "full" }
  | { readonly kind: "compacted" }
  /** Not carried out, and never will be, in etcd's words. */
  | { readonly kind: "refused"; readonly text: string }
  /** No answer in time. `carriedOut` false: certainly not. */
  | { readonly kind: "away"; readonly carriedOut: "no" | "unknown"; readonly text: string };

export type ClusterOptions = {
  readonly address: EtcdAddress;
  readonly tls?: MemberOptions["tls"];
  readonly random: Random;
};

type Attempt = {
  readonly request: Request;
  readonly frame: Buffer;
  readonly untilMs: number;
  readonly attemptMs: number;
};

type Manner = { readonly isRead: boolean; readonly totalMs: number; readonly attemptMs: number };

const pauseMsMin = 20;
const pauseMsMax = 500;

export class EtcdCluster {
  readonly #address: EtcdAddress;
  readonly #members: readonly EtcdMember[];
  #current: number;
  #token: string | undefined;
  #renewing: Promise<string | undefined> | undefined;
  readonly #closing = new AbortController();

  constructor({ address, tls, random }: ClusterOptions) {
    this.#address = address;
    this.#members = address.endpoints.map(
      (endpoint) => new EtcdMember({ endpoint, ...(tls === undefined ? {} : { tls }) }),
    );
    // So that the processes of one server do not all lean on the first member.
    this.#current = random.below(this.#members.length);
  }

  /** Answered, compacted, refused, or away. */
  read(request: Request): Promise<Reply> {
    return this.#call(request, { isRead: true, totalMs: limits.etcdReadMsMax, attemptMs: limits.etcdReadAttemptMsMax });
  }

  write(request: Request): Promise<Reply> {
    return this.#call(request, { isRead: false, totalMs: limits.etcdWriteMsMax, attemptMs: limits.etcdWriteMsMax });
  }

  /** Asks each member by itself. Returns the first refusal; members that do not answer are left out. */
  async refusalOfAny(request: Request): Promise<{ readonly endpoint: string; readonly text: string } | undefined> {
    const frame = frameOf(request);
    const attemptMs = limits.etcdReadAttemptMsMax;
    for (const [index, { endpoint }] of this.#members.entries()) {
      const untilMs = systemClock.monotonicMs() + attemptMs;
      const answer = await this.#attempt(index, { request, frame, untilMs, attemptMs });
      if (answer.kind !== "answered" && meaningOf(answer) === "refused") return { endpoint, text: wordsOf(answer) };
    }
    return undefined;
  }

  /** What to tell somebody whose request found nobody. */
  awayError(text: string): HoldfastError {
    return new HoldfastError(
      "unavailable",
      `The metadata store, etcd at ${this.#address.endpoints.join(", ")}, does not answer (${text}). ` +
        "Check that most of its members run, have a leader and can be reached from here; this server goes on by itself then.",
    );
  }

  refusedError(text: string): HoldfastError {
    return new HoldfastError(
      "unavailable",
      `The metadata store, etcd at ${this.#address.endpoints.join(", ")}, refuses a request (${text}).`,
    );
  }

  close(): void {
    this.#closing.abort();
    for (const member of this.#members) member.close();
  }

  async #call(request: Request, { isRead, totalMs, attemptMs }: Manner): Promise<Reply> {
    const frame = frameOf(request);
    const untilMs = systemClock.monotonicMs() + totalMs;
    for (let attempt = 0; ; attempt++) {
      const [index, token] = [this.#current, this.#token];
      const answer = await this.#attempt(index, { request, frame, untilMs, attemptMs });
      if (answer.kind === "answered") return answer;
      const meaning = meaningOf(answer);
      const text = wordsOf(answer);
      if (meaning === "full" || meaning === "compacted") return { kind: meaning };
      if (meaning === "refused") return { kind: "refused", text };
      if (meaning === "authenticate") {
        const refusal = await this.#renewToken(token);
        if (refusal !== undefined) return { kind: "refused", text: refusal };
      } else this.#moveOn(index);
      if (meaning === "unknown" && !isRead) return { kind: "away", carriedOut: "unknown", text };
      const pauseMs = Math.min(pauseMsMax, pauseMsMin * 2 ** Math.max(0, attempt - this.#members.length));
      if (systemClock.monotonicMs() + pauseMs >= untilMs || this.#closing.signal.aborted) {
        return { kind: "away", carriedOut: "no", text };
      }
      await this.#pause(pauseMs);
    }
  }

  /** Unlike a Clock's sleep this keeps the process alive: somebody waits for the call, and there may be no connection. */
  #pause(pauseMs: number): Promise<void> {
    return sleep(pauseMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
  }

  #attempt(index: number, { request, frame, untilMs, attemptMs }: Attempt): Promise<Answer> {
    const leftMs = Math.max(1, untilMs - systemClock.monotonicMs());
    return this.#members[index]!.call({
      path: `/etcdserverpb.${request.method}`,
      frame,
      token: this.#token,
      timeoutMs: Math.min(leftMs, attemptMs),
    });
  }

  /** Unless another call has done so already. */
  #moveOn(index: number): void {
    if (this.#current === index) this.#current = (index + 1) % this.#members.length;
  }

  /** Once for all calls that were refused with the same token. Returns why none can be had, or undefined. */
  #renewToken(refused: string | undefined): Promise<string | undefined> {
    if (this.#token !== refused) return Promise.resolve(undefined);
    this.#renewing ??= this.#authenticate().finally(() => (this.#renewing = undefined));
    return this.#renewing;
  }

  async #authenticate(): Promise<string | undefined> {
    const { credentials } = this.#address;
    if (credentials === undefined) return "it asks for a user and a password: etcd://user:password@…";
    const request: Request = {
      method: "Auth/Authenticate",
      write: (writer) => {
        writer.bytes(2, Buffer.from(credentials.password));
        writer.bytes(1, Buffer.from(credentials.user));
      },
    };
    this.#token = undefined;
    const attemptMs = limits.etcdReadAttemptMsMax;
    const untilMs = systemClock.monotonicMs() + attemptMs;
    const index = this.#current;
    const answer = await this.#attempt(index, { request, frame: frameOf(request), untilMs, attemptMs });
    if (answer.kind === "answered") this.#token = tokenOf(answer.message);
    else if (meaningOf(answer) === "refused") return wordsOf(answer);
    else this.#moveOn(index);
    return undefined;
  }
}

function frameOf(request: Request): Buffer {
  const writer = new WireWriter();
  request.write(writer);
  return writer.finish(frameHeadBytes);
}

function tokenOf(message: Buffer): string | undefined {
  const reader = new WireReader(message);
  let token: string | undefined;
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 2) token = reader.bytes().toString();
    else reader.skip();
  }
  return token;
}

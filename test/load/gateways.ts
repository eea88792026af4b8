/**
 * The gateways of a store as an application sees them: the AWS SDK without retries, each attempt with a time limit and an
 * outcome. What a caller may conclude from an outcome is said here once.
 */
import { S3Client, S3ServiceException } from "@aws-sdk/client-s3";
import { systemCode } from "../../src/core/errors.ts";
import type { Random } from "../../src/core/random.ts";

export type Outcome<T> =
  | { readonly kind: "done"; readonly value: T }
  /** An answer below 500: nothing was done. */
  | { readonly kind: "refused"; readonly status: number; readonly code: string }
  /** No connection: nothing was sent. */
  | { readonly kind: "not sent"; readonly why: string }
  /** No answer, half of one, or one that the server failed: it may have been done, or be done later. */
  | { readonly kind: "unknown"; readonly why: string; readonly status: number | undefined };

export type Gateway = { readonly url: string; readonly s3: S3Client; isDown: boolean };

export type Keys = { readonly accessKey: string; readonly secretKey: string };

export class Gateways {
  readonly #keys: Keys;
  readonly #all: Gateway[] = [];
  readonly attemptMsMax: number;

  constructor(keys: Keys, attemptMsMax = 25_000) {
    this.#keys = keys;
    this.attemptMsMax = attemptMsMax;
  }

  add(url: string): Gateway {
    const s3 = new S3Client({
      endpoint: url,
      region: "us-east-1",
      forcePathStyle: true,
      maxAttempts: 1,
      // Bodies are checked byte by byte as it is, and the SDK computes its checksums in JavaScript.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      credentials: { accessKeyId: this.#keys.accessKey, secretAccessKey: this.#keys.secretKey },
      requestHandler: { connectionTimeout: 3_000, httpAgent: { maxSockets: 64, keepAlive: true } },
    });
    const gateway = { url, s3, isDown: false };
    this.#all.push(gateway);
    return gateway;
  }

  remove(gateway: Gateway): void {
    const index = this.#all.indexOf(gateway);
    if (index >= 0) this.#all.splice(index, 1);
    gateway.s3.destroy();
  }

  /** One that a load balancer would still ask; any where it would ask none. */
  pick(random: Random, except?: Gateway): Gateway {
    const others = this.#all.filter((each) => each !== except);
    const up = others.filter(({ isDown }) => !isDown);
    const among = [up, others, this.#all].find(({ length }) => length > 0)!;
    return among[random.below(among.length)]!;
  }

  close(): void {
    for (const gateway of this.#all.splice(0)) gateway.s3.destroy();
  }

  /** One attempt. `work` gets a signal that ends it when it has taken too long, its reading of a body included. */
  async attempt<T>(gateway: Gateway, work: (s3: S3Client, signal: AbortSignal) => Promise<T>): Promise<Outcome<T>> {
    const ending = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        ending.abort();
        reject(new Error("no answer in time"));
      }, this.attemptMsMax);
    });
    try {
      return { kind: "done", value: await Promise.race([work(gateway.s3, ending.signal), late]) };
    } catch (error) {
      return outcomeOf(error);
    } finally {
      clearTimeout(timer);
    }
  }
}

function outcomeOf(error: unknown): Exclude<Outcome<never>, { kind: "done" }> {
  const why = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const code = systemCode(error);
  if (code === "ECONNREFUSED" || code === "EHOSTUNREACH") return { kind: "not sent", why: code };
  const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
  if (error instanceof S3ServiceException && status !== undefined && status >= 300 && status < 500)
    return { kind: "refused", status, code: error.name };
  return { kind: "unknown", why, status };
}

/**
 * Single S3 operations over any gateway, recorded in the histories. Reads are tried once more at another gateway; what
 * changes something is sent once, and an answer that leaves it open is recorded as that.
 */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import type { S3Client } from "@aws-sdk/client-s3";
import type { Random } from "../../src/core/random.ts";
import type { Answer, Call, State } from "../linear/checker.ts";
import { etagOf, makeBody, type BodySpec } from "./bodies.ts";
import type { Gateway, Gateways, Outcome } from "./gateways.ts";
import type { Histories } from "./histories.ts";

export type Conditions = { readonly ifMatch?: string; readonly ifNoneMatch?: "*" };

export type Counts = {
  acknowledged: number;
  /** Conditions that did not hold. */
  refused: number;
  unanswered: number;
  /** Those of the unanswered ones to which the server said 503. */
  unavailable: number;
  notSent: number;
  reads: number;
  /** Reads that another gateway had to answer. */
  readsRetried: number;
  /** Neither did, at a time when reads may fail. */
  readsExcused: number;
};

type Send = (s3: S3Client, abortSignal: AbortSignal) => Promise<unknown>;
type Answered<T> = {
  readonly startMs: number;
  readonly outcome: Extract<Outcome<T>, { kind: "done" | "refused" }>;
};
type Read = { readonly etag: string; readonly bytes: Buffer; readonly range?: { from: number; to: number } };

const partBytes = 5 * 1024 * 1024;
const unquoted = (etag: string | undefined): string => (etag ?? "").replaceAll('"', "");

export class Operations {
  readonly bucket: string;
  readonly counts: Counts = {
    acknowledged: 0,
    refused: 0,
    unanswered: 0,
    unavailable: 0,
    notSent: 0,
    reads: 0,
    readsRetried: 0,
    readsExcused: 0,
  };
  /** So much is wrong with the store just now that a read may fail at two gateways. */
  readsMayFail = false;
  readonly #gateways: Gateways;
  readonly #histories: Histories;
  readonly #random: Random;

  constructor(options: { bucket: string; gateways: Gateways; histories: Histories; random: Random }) {
    this.bucket = options.bucket;
    this.#gateways = options.gateways;
    this.#histories = options.histories;
    this.#random = options.random;
  }

  /** Resolves to the ETag that was acknowledged, if one was. */
  async put(key: string, spec: BodySpec, conditions: Conditions): Promise<string | undefined> {
    const body = makeBody(spec);
    const etag = etagOf([body]);
    this.#histories.sending(etag, spec);
    const call: Call = { kind: "put", etag, ...conditions };
    const command = { Bucket: this.bucket, Key: key, Body: body, ...headersOf(conditions) };
    return this.#change(key, call, (s3, abortSignal) => s3.send(new PutObjectCommand(command), { abortSignal }));
  }

  async delete(key: string, ifMatch: string | undefined): Promise<boolean> {
    const call: Call = { kind: "delete", ...(ifMatch !== undefined && { ifMatch }) };
    const command = { Bucket: this.bucket, Key: key, ...(ifMatch !== undefined && { IfMatch: `"${ifMatch}"` }) };
    const send: Send = (s3, abortSignal) => s3.send(new DeleteObjectCommand(command), { abortSignal });
    return (await this.#change(key, call, send)) !== undefined;
  }

  /** Copies what has this ETag; so the answer says what the source was at some moment in between, too. */
  async copy(source: string, etag: string, key: string): Promise<string | undefined> {
    const command = {
      Bucket: this.bucket,
      Key: key,
      CopySource: encodeURI(`/${this.bucket}/${source}`),
      CopySourceIfMatch: `"${etag}"`,
    };
    const startMs = performance.now();
    const outcome = await this.#gateways.attempt(this.#gateways.pick(this.#random), async (s3, abortSignal) =>
      unquoted((await s3.send(new CopyObjectCommand(command), { abortSignal })).CopyObjectResult?.ETag),
    );
    const observe = (answer: Answer, call: Call): void => this.#histories.record(source, { startMs, call, answer });
    if (outcome.kind === "refused" && outcome.status === 412) {
      observe({ kind: "refused" }, { kind: "get", ifMatch: etag });
      this.counts.refused += 1;
    } else if (outcome.kind === "refused" && outcome.status === 404) {
      observe({ kind: "value", etag: undefined }, { kind: "get" });
    } else {
      if (outcome.kind === "done") observe({ kind: "value", etag }, { kind: "get", ifMatch: etag });
      return this.#conclude(key, { startMs, call: { kind: "copy", etag } }, outcome);
    }
    return undefined;
  }

  /** In two parts, each over another gateway. A Complete without an answer is repeated: it must be the same one. */
  async multipart(key: string, spec: BodySpec, conditions: Conditions): Promise<string | undefined> {
    const body = makeBody({ ...spec, sizeBytes: partBytes + spec.sizeBytes });
    const parts = [body.subarray(0, partBytes), body.subarray(partBytes)];
    const etag = etagOf(parts);
    this.#histories.sending(etag, { ...spec, sizeBytes: body.length });
    const upload = await this.#upload(key, parts);
    if (upload === undefined) return undefined;
    const target = { Bucket: this.bucket, Key: key, UploadId: upload.id, ...headersOf(conditions) };
    const command = { ...target, MultipartUpload: { Parts: upload.parts } };
    const send: Send = async (s3, abortSignal) => {
      const answer = await s3.send(new CompleteMultipartUploadCommand(command), { abortSignal });
      return unquoted(answer.ETag);
    };
    const startMs = performance.now();
    const gateway = this.#gateways.pick(this.#random);
    let outcome = await this.#gateways.attempt(gateway, send);
    if (outcome.kind === "unknown") {
      const again = await this.#gateways.attempt(this.#gateways.pick(this.#random, gateway), send);
      if (again.kind === "done") outcome = again;
      else if (again.kind === "refused" && again.code === "NoSuchUpload")
        this.#histories.wrong(`${key}: the upload ${upload.id} is neither there nor finished`);
    }
    return this.#conclude(key, { startMs, call: { kind: "complete", etag, ...conditions } }, outcome);
  }

  async #upload(
    key: string,
    bodies: readonly Buffer[],
  ): Promise<{ id: string; parts: { PartNumber: number; ETag: string }[] } | undefined> {
    const target = { Bucket: this.bucket, Key: key };
    const any = (): Gateway => this.#gateways.pick(this.#random);
    const begun = await this.#gateways.attempt(any(), (s3, abortSignal) =>
      s3.send(new CreateMultipartUploadCommand(target), { abortSignal }),
    );
    if (begun.kind !== "done") return this.#gaveUp(key, begun);
    const id = begun.value.UploadId!;
    const parts: { PartNumber: number; ETag: string }[] = [];
    for (const [index, Body] of bodies.entries()) {
      const command = { ...target, UploadId: id, PartNumber: index + 1, Body };
      const sent = await this.#gateways.attempt(any(), (s3, abortSignal) =>
        s3.send(new UploadPartCommand(command), { abortSignal }),
      );
      if (sent.kind !== "done") {
        const abort = new AbortMultipartUploadCommand({ ...target, UploadId: id });
        await this.#gateways.attempt(any(), (s3, abortSignal) => s3.send(abort, { abortSignal }));
        return this.#gaveUp(key, sent);
      }
      parts.push({ PartNumber: index + 1, ETag: sent.value.ETag! });
    }
    return { id, parts };
  }

  /** Nothing visible was asked for yet. */
  #gaveUp(key: string, outcome: Exclude<Outcome<unknown>, { kind: "done" }>): undefined {
    if (outcome.kind === "refused") this.#histories.wrong(`${key}: a part was refused: ${outcome.code}`);
    else this.counts.notSent += 1;
  }

  async #change(key: string, call: Call, send: Send): Promise<string | undefined> {
    const startMs = performance.now();
    const outcome = await this.#gateways.attempt(this.#gateways.pick(this.#random), async (s3, signal) =>
      unquoted(((await send(s3, signal)) as { ETag?: string }).ETag),
    );
    return this.#conclude(key, { startMs, call }, outcome);
  }

  #conclude(key: string, { startMs, call }: { startMs: number; call: Call }, outcome: Outcome<unknown>) {
    const record = (answer: Answer): void => this.#histories.record(key, { startMs, call, answer });
    switch (outcome.kind) {
      case "done": {
        record({ kind: "done" });
        this.counts.acknowledged += 1;
        const expected = "etag" in call ? call.etag : "";
        if (outcome.value !== expected)
          this.#histories.wrong(`${key}: ${call.kind} answered the ETag ${String(outcome.value)}, not ${expected}`);
        return expected;
      }
      case "not sent":
        this.counts.notSent += 1;
        return undefined;
      case "unknown":
        this.counts.unanswered += 1;
        if (outcome.status === 503) this.counts.unavailable += 1;
        record({ kind: "unknown" });
        return undefined;
      case "refused":
        this.counts.refused += 1;
        // 409 says that a concurrent change came first: nothing was done, whatever the condition was.
        if (outcome.status === 409) return undefined;
        if (isConditional(call) && (outcome.status === 412 || outcome.status === 404)) record({ kind: "refused" });
        else this.#histories.wrong(`${key}: ${call.kind} was refused: ${outcome.status} ${outcome.code}`);
        return undefined;
    }
  }

  /** A whole body, or a range of one. Without an answer it says nothing about the key. */
  async get(key: string, knownBytes?: number): Promise<{ readonly isAnswered: boolean; readonly etag: State }> {
    const range = knownBytes === undefined ? undefined : this.#range(knownBytes);
    const header = range === undefined ? {} : { Range: `bytes=${range.from}-${range.to}` };
    const command = { Bucket: this.bucket, Key: key, ...header };
    const read = await this.#read(`GET ${key}`, async (s3, abortSignal): Promise<Read> => {
      const answer = await s3.send(new GetObjectCommand(command), { abortSignal });
      const bytes = Buffer.from(await answer.Body!.transformToByteArray());
      const total = Number(answer.ContentRange?.split("/")[1] ?? bytes.length);
      // Another body stood there by then, and may have been shorter.
      const found = range === undefined ? {} : { range: { from: range.from, to: Math.min(range.to, total - 1) } };
      return { etag: unquoted(answer.ETag), bytes, ...found };
    });
    const isAnswered = read !== undefined && this.#observeGet(key, read);
    return { isAnswered, etag: isAnswered && read.outcome.kind === "done" ? read.outcome.value.etag : undefined };
  }

  #observeGet(key: string, { startMs, outcome }: Answered<Read>): boolean {
    // A body that is shorter than the range begins.
    if (outcome.kind === "refused" && outcome.status === 416) return false;
    if (outcome.kind === "refused" && outcome.status !== 404) {
      this.#histories.wrong(`${key}: GET was refused: ${outcome.status} ${outcome.code}`);
      return false;
    }
    const etag = outcome.kind === "done" ? outcome.value.etag : undefined;
    this.#histories.record(key, { startMs, call: { kind: "get" }, answer: { kind: "value", etag } });
    if (outcome.kind === "done")
      this.#histories.checkBody(key, outcome.value.etag, outcome.value.bytes, outcome.value.range);
    return true;
  }

  #range(knownBytes: number): { from: number; to: number } {
    const from = this.#random.below(knownBytes);
    return { from, to: from + this.#random.below(knownBytes - from) };
  }

  /** One page of keys is one snapshot: what it shows of each key, and that it does not show one, is a read of it. */
  async list(prefix: string, keys: readonly string[]): Promise<void> {
    const command = { Bucket: this.bucket, Prefix: prefix };
    const read = await this.#read(`LIST ${prefix}`, (s3, abortSignal) =>
      s3.send(new ListObjectsV2Command(command), { abortSignal }),
    );
    if (read === undefined) return;
    const { startMs, outcome } = read;
    if (outcome.kind !== "done") return this.#histories.wrong(`LIST ${prefix} was refused: ${outcome.code}`);
    const found = new Map(outcome.value.Contents?.map(({ Key, ETag }) => [Key!, unquoted(ETag)]));
    for (const key of keys) {
      this.#histories.record(key, { startMs, call: { kind: "get" }, answer: { kind: "value", etag: found.get(key) } });
      found.delete(key);
    }
    for (const key of found.keys()) this.#histories.wrong(`LIST ${prefix}: ${key} was never written`);
  }

  /** Undefined where neither of two gateways had an answer; that is wrong unless reads may fail. */
  async #read<T>(
    what: string,
    send: (s3: S3Client, signal: AbortSignal) => Promise<T>,
  ): Promise<Answered<T> | undefined> {
    const mayFail = this.readsMayFail;
    const failures: string[] = [];
    let gateway: Gateway | undefined;
    while (failures.length < 2) {
      gateway = this.#gateways.pick(this.#random, gateway);
      const startMs = performance.now();
      const outcome = await this.#gateways.attempt(gateway, send);
      if (outcome.kind === "done" || outcome.kind === "refused") {
        this.counts.reads += 1;
        if (failures.length > 0) this.counts.readsRetried += 1;
        return { startMs, outcome };
      }
      const tookMs = Math.round(performance.now() - startMs);
      const at = new Date(performance.timeOrigin + startMs).toISOString();
      failures.push(`${at} ${gateway.url}: ${outcome.why} after ${tookMs} ms`);
    }
    if (mayFail || this.readsMayFail) this.counts.readsExcused += 1;
    else this.#histories.wrong(`${what} failed: ${failures.join("; ")}`);
    return undefined;
  }
}

function isConditional(call: Call): boolean {
  return call.ifMatch !== undefined || ("ifNoneMatch" in call && call.ifNoneMatch !== undefined);
}

function headersOf({ ifMatch, ifNoneMatch }: Conditions): { IfMatch?: string; IfNoneMatch?: string } {
  return {
    ...(ifMatch !== undefined && { IfMatch: `"${ifMatch}"` }),
    ...(ifNoneMatch !== undefined && { IfNoneMatch: ifNoneMatch }),
  };
}

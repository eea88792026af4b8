/** Writes one log object, and says of that what a line of another log would. */
import { logDeliveryService } from "../access/acl.ts";
import type { BodySource } from "../blob/blob.ts";
import { limits } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import type { Batch } from "./batches.ts";
import type { AccessFacts, AccessLogOptions } from "./logging.ts";
import { logName, uniqueBytes } from "./names.ts";

/** As principals that are services stand in logs. */
const requester = `svc:${logDeliveryService}`;

export type Written = {
  readonly bucket: string;
  readonly key: Buffer;
  readonly sizeBytes: number;
  readonly requestId: string;
  readonly startedMs: number;
  readonly tookMs: number;
};

type Parts = Pick<AccessLogOptions, "objects" | "admit" | "clock" | "random">;

/** Errors: those of `admit` and of a PUT. */
export async function deliver(batch: Batch, { objects, admit, clock, random }: Parts): Promise<Written> {
  const { source, lines } = batch;
  const { bucket, prefix, keyFormat: format = "SimplePrefix" } = source.setting;
  const startedMs = clock.nowMs();
  const begun = clock.monotonicMs();
  const timeMs = format === "EventTime" ? batch.timeMs : startedMs;
  const { account, region, bucket: logged } = source;
  const name = logName({ prefix, format, account, region, bucket: logged, timeMs, unique: hex(random) });
  const admitted = await admit(source, name);
  const key = Buffer.from(name);
  const bytes = Buffer.from(lines.join(""), "latin1");
  const requestId = hex(random);
  await objects.put({
    bucket,
    key,
    body: bodyOf(bytes),
    metadata: { headers: { "content-type": "text/plain" }, user: {} },
    verifier: { digests: [], verify: () => undefined },
    origin: { principal: requester, sourceAddress: "", requestId, hostId: "" },
    ...admitted,
  });
  return { bucket, key, sizeBytes: bytes.length, requestId, startedMs, tookMs: clock.monotonicMs() - begun };
}

function hex(random: Random): string {
  return Buffer.from(random.bytes(uniqueBytes)).toString("hex").toUpperCase();
}

function bodyOf(bytes: Buffer): BodySource {
  return {
    sizeBytes: bytes.length,
    collect: async () => bytes,
    async *stream() {
      // What is read belongs to the reader.
      for (let at = 0; at < bytes.length; at += limits.readBytesPerCall)
        yield Buffer.from(bytes.subarray(at, at + limits.readBytesPerCall));
    },
  };
}

/** It came by no connection. */
export function deliveryFacts({ bucket, key, sizeBytes, requestId, startedMs, tookMs }: Written): AccessFacts {
  return {
    timeMs: startedMs,
    remoteAddress: undefined,
    requester,
    requestId,
    operation: "REST.PUT.OBJECT",
    key,
    request: { method: "PUT", target: `/${bucket}/${encodeURI(key.toString())}`, httpVersion: "1.1" },
    status: 200,
    code: undefined,
    bytesSent: undefined,
    objectBytes: sizeBytes,
    totalMs: tookMs,
    turnAroundMs: tookMs,
    referer: undefined,
    userAgent: undefined,
    versionId: undefined,
    hostId: undefined,
    signatureVersion: undefined,
    authType: undefined,
    cipher: undefined,
    tlsVersion: undefined,
    host: undefined,
    isByAcl: false,
  };
}

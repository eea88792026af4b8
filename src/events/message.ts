/**
 * Events as AWS spells them (event structure 2.2), so that what reads those of S3 reads these. Pure.
 *
 * Source: "Event message structure" of the S3 user guide. `userIdentity.principalId` is the access key that asked.
 */
import type { EventRecord } from "../meta/events.ts";

const owner = "holdfast";

/** The body of a message: one record. */
export function eventMessage(event: EventRecord): string {
  return JSON.stringify({ Records: [recordOf(event)] });
}

function recordOf(event: EventRecord): object {
  const { object, versionId, origin } = event;
  return {
    eventVersion: "2.2",
    eventSource: "aws:s3",
    awsRegion: event.region,
    eventTime: new Date(event.atMs).toISOString(),
    eventName: event.name,
    userIdentity: { principalId: origin?.principal ?? owner },
    requestParameters: { sourceIPAddress: origin?.sourceAddress ?? "" },
    responseElements: { "x-amz-request-id": origin?.requestId ?? "", "x-amz-id-2": origin?.hostId ?? "" },
    s3: {
      s3SchemaVersion: "1.0",
      configurationId: event.ruleId,
      bucket: { name: event.bucket, ownerIdentity: { principalId: owner }, arn: `arn:aws:s3:::${event.bucket}` },
      object: {
        key: encodedKey(event.key),
        ...(object !== undefined && { size: object.sizeBytes, eTag: object.etag }),
        ...(versionId !== undefined && { versionId }),
        sequencer: event.sequencer.toString(16).toUpperCase().padStart(16, "0"),
      },
    },
  };
}

const kept = /[A-Za-z0-9*\-._/]/;

/** As a form would: a space is `+`, and whatever is no letter, digit or one of `*-._/` is percent-encoded, byte by byte. */
export function encodedKey(key: Uint8Array): string {
  let text = "";
  for (const byte of key) {
    const char = String.fromCharCode(byte);
    if (byte < 0x80 && kept.test(char)) text += char;
    else text += byte === 0x20 ? "+" : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return text;
}

/** What a destination is sent when a configuration names it. */
export function testMessage(options: {
  readonly bucket: string;
  readonly atMs: number;
  readonly requestId: string;
  readonly hostId: string;
}): string {
  return JSON.stringify({
    Service: "Amazon S3",
    Event: "s3:TestEvent",
    Time: new Date(options.atMs).toISOString(),
    Bucket: options.bucket,
    RequestId: options.requestId,
    HostId: options.hostId,
  });
}

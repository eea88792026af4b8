/**
 * `event/<destination id><slot><place>`: something that happened to an object and that a destination is still to be told. It is
 * written by the commit that made the change and deleted when the destination has taken it. `undelivered/<destination id><time>
 * <slot><place>`: the same, of one that was given up; it waits to be sent again by hand, or to be too old.
 *
 * `sequence/<slot>`: the last place that was given in a slot. Every commit that writes an event checks and rewrites the row of the
 * slot of its key, so places of one key rise in the order in which its changes happened, and no clock has a say in it.
 */
import { assert } from "../core/assert.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { limits } from "../core/limits.ts";

/** What can happen, and its number in records. LifecycleTransition is reserved: no build makes it happen yet. */
export const eventCodes = {
  "ObjectCreated:Put": 1,
  "ObjectCreated:Post": 2,
  "ObjectCreated:Copy": 3,
  "ObjectCreated:CompleteMultipartUpload": 4,
  "ObjectRemoved:Delete": 16,
  "ObjectRemoved:DeleteMarkerCreated": 17,
  "ObjectTagging:Put": 32,
  "ObjectTagging:Delete": 33,
  "LifecycleExpiration:Delete": 48,
  "LifecycleExpiration:DeleteMarkerCreated": 49,
  LifecycleTransition: 50,
} as const;

export type EventName = keyof typeof eventCodes;

const nameOfCode = new Map<number, EventName>(
  Object.entries(eventCodes).map(([name, code]) => [code, name as EventName]),
);

/** Who asked for a change. */
export type EventOrigin = {
  /** An access key. */
  readonly principal: string;
  readonly sourceAddress: string;
  readonly requestId: string;
  readonly hostId: string;
};

export type EventRecord = {
  readonly name: EventName;
  /** Larger for later events of one key. */
  readonly sequencer: number;
  readonly atMs: number;
  /** Since when it is tried to be delivered. */
  readonly queuedMs: number;
  readonly bucket: string;
  readonly region: string;
  /** Of the rule in the bucket's configuration. */
  readonly ruleId: string;
  readonly key: Buffer;
  /** Undefined where nothing is left to have them. */
  readonly object: { readonly sizeBytes: number; readonly etag: string } | undefined;
  /** Where there are versions. */
  readonly versionId: string | undefined;
  /** Undefined: the store itself. */
  readonly origin: EventOrigin | undefined;
};

const newestVersion = 1;
const hasObject = 1;
const hasVersionId = 2;
const hasOrigin = 4;

export function encodeEvent(event: EventRecord): Buffer {
  const { object, versionId, origin } = event;
  const flags = (object ? hasObject : 0) | (versionId === undefined ? 0 : hasVersionId) | (origin ? hasOrigin : 0);
  const writer = new ByteWriter().u8(newestVersion).u8(eventCodes[event.name]).u8(flags);
  writer.varint(event.sequencer).varint(event.atMs).varint(event.queuedMs);
  writer.string(event.bucket).string(event.region).string(event.ruleId).bytes(event.key);
  if (object !== undefined) writer.varint(object.sizeBytes).string(object.etag);
  if (versionId !== undefined) writer.string(versionId);
  if (origin !== undefined)
    writer.string(origin.principal).string(origin.sourceAddress).string(origin.requestId).string(origin.hostId);
  const bytes = writer.finish();
  assert(bytes.length <= limits.eventBytesMax, "an event fits its row");
  return bytes;
}

export function decodeEvent(value: Uint8Array): EventRecord {
  const reader = new ByteReader(value, "event");
  reader.version(newestVersion);
  const name = nameOfCode.get(reader.u8());
  const flags = reader.u8();
  if (name === undefined || flags > 7) throw reader.corrupt("its kind is not known");
  const times = { sequencer: reader.varint(), atMs: reader.varint(), queuedMs: reader.varint() };
  const names = { bucket: reader.string(), region: reader.string(), ruleId: reader.string() };
  const key = Buffer.from(reader.bytes());
  const object = (flags & hasObject) === 0 ? undefined : { sizeBytes: reader.varint(), etag: reader.string() };
  const versionId = (flags & hasVersionId) === 0 ? undefined : reader.string();
  const origin = (flags & hasOrigin) === 0 ? undefined : readOrigin(reader);
  reader.end();
  return { name, ...times, ...names, key, object, versionId, origin };
}

function readOrigin(reader: ByteReader): EventOrigin {
  return {
    principal: reader.string(),
    sourceAddress: reader.string(),
    requestId: reader.string(),
    hostId: reader.string(),
  };
}

export function encodeSequence(place: number): Buffer {
  return new ByteWriter().u8(newestVersion).varint(place).finish();
}

export function decodeSequence(value: Uint8Array): number {
  const reader = new ByteReader(value, "sequence");
  reader.version(newestVersion);
  const place = reader.varint();
  reader.end();
  return place;
}

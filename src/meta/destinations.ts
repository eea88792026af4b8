/**
 * Where events are sent: `destination/<name>`, a row that every commit checks which writes an event for it. So a destination that
 * is removed is told nothing more from then on, and what is left of it (`departed/<id>`) can be taken away whole.
 *
 * `queued/<destination id><session>`: counters of a session, as usage has them: events that wait, events that were given up and are
 * kept, events that were not even written for there were too many. `trouble/<destination id>`: what is wrong with it.
 */
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { DESTINATION_ID_BYTES, type DestinationId } from "../core/ids.ts";
import { readCounters, type Kv } from "../kv/kv.ts";
import { scanPages } from "../kv/scan_pages.ts";
import { queuedRange } from "./event_keys.ts";

/** Their places are their numbers in records. */
export const destinationKinds = ["webhook", "nats", "kafka", "amqp", "redis", "mqtt"] as const;
export type DestinationKind = (typeof destinationKinds)[number];

/**
 * What a connection needs and nobody is shown. `natsCredentials` is the text of a NATS credentials file; `authority` (the one
 * that the other's certificate is signed by), `certificate` and `key` (our own) are in PEM. Their places are their numbers.
 */
export const credentialNames = ["user", "password", "natsCredentials", "authority", "certificate", "key"] as const;
export type CredentialName = (typeof credentialNames)[number];
export type Credentials = Readonly<Partial<Record<CredentialName, string>>>;

export type DestinationRecord = {
  readonly id: DestinationId;
  readonly kind: DestinationKind;
  readonly createdMs: number;
  /** Without a user and a password. */
  readonly url: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Messages are signed with it. */
  readonly secret: string | undefined;
  readonly credentials: Credentials;
  /** It is being removed: no configuration may name it any more. */
  readonly isLeaving: boolean;
  /** So many events are kept for it that no more are. */
  readonly isFull: boolean;
};

const newestVersion = 1;
/** Version 1 had no credentials, and webhooks only; what says no more is still written so, for older nodes of a cluster. */
const newestDestinationVersion = 2;
const hasSecret = 1;
const leaving = 2;
const full = 4;

export function encodeDestination(record: DestinationRecord): Buffer {
  const { kind, secret, isLeaving, isFull } = record;
  const credentials = credentialNames.filter((name) => record.credentials[name] !== undefined);
  const version = kind === "webhook" && credentials.length === 0 ? 1 : newestDestinationVersion;
  const flags = (secret === undefined ? 0 : hasSecret) | (isLeaving ? leaving : 0) | (isFull ? full : 0);
  const writer = new ByteWriter().u8(version).hex(record.id).u8(destinationKinds.indexOf(kind)).u8(flags);
  writer.varint(record.createdMs).string(record.url).varint(record.headers.length);
  for (const [name, value] of record.headers) writer.string(name).string(value);
  if (secret !== undefined) writer.string(secret);
  if (version === 1) return writer.finish();
  writer.varint(credentials.length);
  for (const name of credentials) writer.u8(credentialNames.indexOf(name)).string(record.credentials[name]!);
  return writer.finish();
}

export function decodeDestination(value: Uint8Array): DestinationRecord {
  const reader = new ByteReader(value, "destination");
  const version = reader.version(newestDestinationVersion);
  const id = reader.hex(DESTINATION_ID_BYTES) as DestinationId;
  const kind = destinationKinds[reader.u8()];
  const flags = reader.u8();
  if (kind === undefined || flags > 7) throw reader.corrupt("its kind is not known");
  const createdMs = reader.varint();
  const url = reader.string();
  const headers: [string, string][] = [];
  for (let left = reader.varint(); left > 0; left--) headers.push([reader.string(), reader.string()]);
  const secret = (flags & hasSecret) === 0 ? undefined : reader.string();
  const credentials = version === 1 ? {} : readCredentials(reader);
  reader.end();
  return {
    id,
    kind,
    createdMs,
    url,
    headers,
    secret,
    credentials,
    isLeaving: (flags & leaving) !== 0,
    isFull: (flags & full) !== 0,
  };
}

function readCredentials(reader: ByteReader): Credentials {
  const found: Partial<Record<CredentialName, string>> = {};
  for (let left = reader.varint(); left > 0; left--) {
    const name = credentialNames[reader.u8()];
    if (name === undefined) throw reader.corrupt("a credential is not known");
    found[name] = reader.string();
  }
  return found;
}

export type TroubleRecord = {
  readonly sinceMs: number;
  readonly atMs: number;
  /** Tries in a row that failed. */
  readonly failures: number;
  readonly message: string;
};

export function encodeTrouble({ sinceMs, atMs, failures, message }: TroubleRecord): Buffer {
  return new ByteWriter().u8(newestVersion).varint(sinceMs).varint(atMs).varint(failures).string(message).finish();
}

export function decodeTrouble(value: Uint8Array): TroubleRecord {
  const reader = new ByteReader(value, "trouble");
  reader.version(newestVersion);
  const trouble = { sinceMs: reader.varint(), atMs: reader.varint(), failures: reader.varint() };
  const message = reader.string();
  reader.end();
  return { ...trouble, message };
}

/** A departed row says everything in its key; its value is a format version. */
export function encodeDeparted(): Buffer {
  return new ByteWriter().u8(newestVersion).finish();
}

export function decodeDeparted(value: Uint8Array): void {
  const reader = new ByteReader(value, "departed destination");
  reader.version(newestVersion);
  reader.end();
}

/** Events: `waiting` to be delivered; `undelivered`: given up and kept; `lost`: not kept, for there were too many. */
export type EventCounters = { readonly waiting: number; readonly undelivered: number; readonly lost: number };

/** As they are added to a counter row. */
export function countDeltas({ waiting = 0, undelivered = 0, lost = 0 }: Partial<EventCounters>): number[] {
  if (lost !== 0) return [waiting, undelivered, lost];
  return undelivered === 0 ? [waiting] : [waiting, undelivered];
}

export async function readEventCounters(kv: Kv, destination: DestinationId): Promise<EventCounters> {
  const sum = { waiting: 0, undelivered: 0, lost: 0 };
  for await (const rows of scanPages(kv, queuedRange(destination)))
    for (const { value } of rows) {
      const [waiting = 0, undelivered = 0, lost = 0] = readCounters(value);
      sum.waiting += waiting;
      sum.undelivered += undelivered;
      sum.lost += lost;
    }
  return sum;
}

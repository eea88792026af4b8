/**
 * The destinations of a store, for those who look after them: add, change, list, remove; what was given up; and a test of one.
 *
 * A destination is removed only when no bucket's configuration names it, unless that is forced. That cannot be missed: first its
 * row says that it is leaving, so that no configuration that names it can be set any more (requireDestinations); then the
 * configurations are looked through; then the row goes. Whoever dies between leaves a destination that can be removed again.
 */
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { newDestinationId, type SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import type { NotificationFacts } from "../core/metrics.ts";
import type { Random } from "../core/random.ts";
import type { Entry, Kv } from "../kv/kv.ts";
import { keyAfter, scanAll } from "../kv/scan_pages.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import {
  credentialNames,
  decodeDestination,
  decodeTrouble,
  encodeDeparted,
  encodeDestination,
  readEventCounters,
  type CredentialName,
  type DestinationKind,
  type DestinationRecord,
  type EventCounters,
  type TroubleRecord,
} from "../meta/destinations.ts";
import {
  departedKey,
  destinationKey,
  destinationNameOf,
  troubleKey,
  undeliveredRange,
  undeliveredTimeOf,
} from "../meta/event_keys.ts";
import { tagRange, tags } from "../meta/keys.ts";
import { arnOf, isDestinationName } from "./arn.ts";
import { openCourier, requireCourier, type Delivery } from "./courier.ts";
import { readable } from "./line.ts";
import { bucketsThatName, type RulesOf } from "./named_by.ts";
import { encodedKey, testMessage } from "./message.ts";
import { sendAgain } from "./rows.ts";
import { checkedTarget, type NewDestination } from "./target.ts";

export type DestinationsParts = {
  readonly kv: Kv;
  readonly session: SessionId;
  readonly clock: Clock;
  readonly random: Random;
  /** What a stored notification document says. */
  readonly rulesOf: RulesOf;
  /** Told when there may be something to deliver. */
  readonly onQueued?: () => void;
};

export type DestinationView = EventCounters & {
  readonly name: string;
  readonly arn: string;
  readonly kind: DestinationKind;
  readonly url: string;
  /** Their values may be secrets. */
  readonly headers: readonly string[];
  readonly isSigned: boolean;
  /** Which there are; what they say is shown to nobody. */
  readonly credentials: readonly CredentialName[];
  readonly createdMs: number;
  readonly isFull: boolean;
  readonly trouble: TroubleRecord | undefined;
};

export type UndeliveredEvent = {
  readonly givenUpMs: number;
  readonly atMs: number;
  readonly event: string;
  readonly bucket: string;
  /** As in messages: URL-encoded. */
  readonly key: string;
};

const bucketsNamed = 5;

function noSuchDestination(name: string): HoldfastError {
  return new HoldfastError("no_such_destination", `There is no event target "${name}".`);
}

/** In the commit of a configuration that names them: they are there, and stay until it is set. */
export async function requireDestinations(tx: Transaction, names: readonly string[]): Promise<void> {
  const rows = await tx.get(names.map(destinationKey));
  const missing = names.find((_name, at) => {
    const row = rows[at];
    return row === undefined || decodeDestination(row.value).isLeaving;
  });
  if (missing !== undefined) throw unknownDestination(missing);
}

/** In AWS's words. */
export function unknownDestination(name: string, why = "The destination queue does not exist"): HoldfastError {
  const arn = `arn:holdfast:sqs::${name}`;
  return new HoldfastError("invalid_argument", "Unable to validate the following destination configurations", {
    details: { ArgumentName: arn, ArgumentValue: why },
  });
}

export class Destinations {
  readonly #parts: DestinationsParts;

  constructor(parts: DestinationsParts) {
    this.#parts = parts;
  }

  /** Adds one, or has the one of that name send elsewhere; what waits for it goes there then. Errors: `invalid_argument`. */
  async set(name: string, wanted: NewDestination): Promise<DestinationView> {
    const target = checkedTarget(name, wanted);
    requireCourier(target.kind);
    const { kv, clock, random } = this.#parts;
    await transact(
      kv,
      async (tx) => {
        const [row] = await tx.get([destinationKey(name)]);
        const before = row && decodeDestination(row.value);
        if (before === undefined) await this.#refuseTooMany();
        const made = before ?? { id: newDestinationId(random), createdMs: clock.nowMs(), isFull: false };
        const record: DestinationRecord = { ...made, ...target, isLeaving: false };
        tx.put(destinationKey(name), encodeDestination(record));
      },
      { clock, random },
    );
    this.#parts.onQueued?.();
    return this.show(name);
  }

  async #refuseTooMany(): Promise<void> {
    const rows = await this.#parts.kv.scan(tagRange(tags.destination), { limit: limits.destinationsMax });
    if (rows.length >= limits.destinationsMax)
      throw new HoldfastError(
        "invalid_argument",
        `There are ${limits.destinationsMax} event targets, the most there can be.`,
      );
  }

  async list(): Promise<DestinationView[]> {
    const rows = await scanAll(this.#parts.kv, tagRange(tags.destination));
    const views: DestinationView[] = [];
    for (const row of rows) views.push(await this.#view(row));
    return views;
  }

  /** Errors: `no_such_destination`. */
  async show(name: string): Promise<DestinationView> {
    return this.#view(await this.#read(name));
  }

  async #read(name: string): Promise<Entry> {
    const [row] = isDestinationName(name) ? await this.#parts.kv.get([destinationKey(name)]) : [];
    if (row === undefined) throw noSuchDestination(name);
    return row;
  }

  async #view({ key, value }: Entry): Promise<DestinationView> {
    const { kv } = this.#parts;
    const name = destinationNameOf(key);
    const { id, kind, url, headers, secret, credentials, createdMs, isFull } = decodeDestination(value);
    const [trouble] = await kv.get([troubleKey(id)]);
    return {
      name,
      arn: arnOf({ name, kind }),
      kind,
      url,
      headers: headers.map(([header]) => header),
      isSigned: secret !== undefined,
      credentials: credentialNames.filter((each) => credentials[each] !== undefined),
      createdMs,
      isFull,
      ...(await readEventCounters(kv, id)),
      trouble: trouble && decodeTrouble(trouble.value),
    };
  }

  /** With what waits for it. Errors: `no_such_destination`, `destination_in_use`. */
  async remove(name: string, { force }: { readonly force: boolean }): Promise<void> {
    const { kv, clock, random, rulesOf } = this.#parts;
    const mark = async (isLeaving: boolean): Promise<void> =>
      transact(
        kv,
        async (tx) => {
          const [row] = await tx.get([destinationKey(name)]);
          if (row === undefined) throw noSuchDestination(name);
          tx.put(row.key, encodeDestination({ ...decodeDestination(row.value), isLeaving }));
        },
        { clock, random },
      );
    await this.#read(name);
    await mark(true);
    const named = force ? [] : bucketsThatName(kv, name, rulesOf);
    const buckets = await Promise.resolve(named).catch(async (error: unknown) => {
      await mark(false);
      throw error;
    });
    if (buckets.length > 0) {
      await mark(false);
      const shown = buckets.slice(0, bucketsNamed).join(", ") + (buckets.length > bucketsNamed ? ", …" : "");
      throw new HoldfastError(
        "destination_in_use",
        `The event target "${name}" is named by the configuration of: ${shown}.`,
      );
    }
    await transact(
      kv,
      async (tx) => {
        const [row] = await tx.get([destinationKey(name)]);
        if (row === undefined) throw noSuchDestination(name);
        const { id, isLeaving } = decodeDestination(row.value);
        if (!isLeaving)
          throw new HoldfastError("operation_aborted", `The event target "${name}" was set anew meanwhile.`);
        tx.delete(row.key);
        tx.put(departedKey(id), encodeDeparted());
      },
      { clock, random },
    );
    this.#parts.onQueued?.();
  }

  /** What was given up, the oldest first. `after`: what the last page ended with. Errors: `no_such_destination`. */
  async undelivered(
    name: string,
    { after, limit }: { readonly after?: string | undefined; readonly limit: number },
  ): Promise<{ readonly events: readonly UndeliveredEvent[]; readonly next: string | undefined }> {
    const { id } = decodeDestination((await this.#read(name)).value);
    const { start, end } = undeliveredRange(id);
    const last = after === undefined ? undefined : Buffer.concat([start, Buffer.from(after, "hex").subarray(0, 16)]);
    const rows = await this.#parts.kv.scan({ start: last ? keyAfter(last) : start, end }, { limit });
    const events = rows.map(({ key, value }) => ({ givenUpMs: undeliveredTimeOf(key), ...shown(value) }));
    const next = rows.length < limit ? undefined : rows.at(-1)!.key.subarray(start.length).toString("hex");
    return { events, next };
  }

  /** Has some of what was given up delivered again. Returns how much; 0: there is nothing. Errors: `no_such_destination`. */
  async sendAgain(name: string): Promise<number> {
    const { kv, onQueued } = this.#parts;
    const { id } = decodeDestination((await this.#read(name)).value);
    const rows = await kv.scan(undeliveredRange(id), { limit: limits.listPageKeysMax });
    const done = await sendAgain(
      this.#parts,
      name,
      rows.filter(({ value }) => readable(value) !== undefined).map(({ key }) => key),
    );
    if (done > 0) onQueued?.();
    return done;
  }

  /** Tells each of them (destinationsOfBucketMax at most) that a configuration of the bucket names it. Returns one that did not take it. */
  async test(names: readonly string[], request: TestRequest): Promise<{ name: string; why: string } | undefined> {
    const rows = await this.#parts.kv.get(names.map(destinationKey));
    const missing = names.find((_name, at) => rows[at] === undefined);
    if (missing !== undefined) throw unknownDestination(missing);
    const { clock } = this.#parts;
    const sent = names.map((_name, at) => sendTest(decodeDestination(rows[at]!.value), request, clock));
    for (const [at, delivery] of (await Promise.all(sent)).entries())
      if (delivery.outcome !== "taken") return { name: names[at]!, why: delivery.why };
    return undefined;
  }

  /** For whoever watches. */
  async facts(): Promise<NotificationFacts> {
    const views = await this.list();
    const sum = (of: (view: DestinationView) => number): number => views.reduce((total, view) => total + of(view), 0);
    return {
      destinations: views.length,
      troubled: views.filter(({ trouble }) => trouble !== undefined).length,
      full: views.filter(({ isFull }) => isFull).length,
      waiting: sum(({ waiting }) => waiting),
      undelivered: sum(({ undelivered }) => undelivered),
      lost: sum(({ lost }) => lost),
    };
  }
}

export type TestRequest = {
  readonly bucket: string;
  readonly requestId: string;
  readonly hostId: string;
  readonly signal: AbortSignal;
};

async function sendTest(destination: DestinationRecord, test: TestRequest, clock: Clock): Promise<Delivery> {
  const courier = openCourier(destination, clock);
  try {
    const body = testMessage({ ...test, atMs: clock.nowMs() });
    const message = { id: `test-${test.requestId}`, event: "s3:TestEvent", orderedBy: "", body };
    return await courier.deliver(message, test.signal);
  } finally {
    courier.close();
  }
}

function shown(value: Buffer): Omit<UndeliveredEvent, "givenUpMs"> {
  const event = readable(value);
  if (event === undefined) return { atMs: 0, event: "unreadable", bucket: "", key: "" };
  return { atMs: event.atMs, event: `s3:${event.name}`, bucket: event.bucket, key: encodedKey(event.key) };
}

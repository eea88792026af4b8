/**
 * S3 written plainly, as a bucket of it looks to a client: of each key a list of versions, the newest first, and a list of uploads. What
 * S3 answers to a request, and does, is said by the functions of the files beside this one, each of one concern. What only the server
 * knows, ids and some ETags, is learnt from its answer (`made`) and must be the same from then on. A request with several faults
 * may be refused for any of them.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { systemClock, type Clock } from "../../../src/core/clock.ts";
import { noQuota, type Quota } from "./quotas.ts";
import { encryptionHeaders, isClients } from "./types.ts";
import type {
  ClientKey,
  Condition,
  Headers,
  Lock,
  Mode,
  NewVersion,
  Outcome,
  Part,
  Rules,
  Upload,
  Version,
} from "./types.ts";

export const dayMs = 86_400_000;
const noonMs = Date.UTC(2027, 0, 10, 12);
export const noEtag = "f".repeat(32);
export const md5 = (bytes: Uint8Array): string => createHash("md5").update(bytes).digest("hex");

/** Begins at a noon, and goes when it is told to. */
export class ModelClock implements Clock {
  aheadMs = 0;
  nowMs = (): number => noonMs + this.aheadMs;
  monotonicMs = systemClock.monotonicMs;
  sleep = systemClock.sleep;
}

type Saved = {
  readonly keys: ReadonlyMap<string, readonly Version[]>;
  readonly gone: ReadonlyMap<string, readonly string[]>;
  readonly uploads: readonly (readonly [Upload, Pick<Upload, "parts" | "state">])[];
};

export class Model {
  versioning: "unversioned" | "enabled" | "suspended" = "unversioned";
  readonly hasLock: boolean;
  /** Of requests that say nothing of it. */
  defaultMode: "plain" | "s3" | "default" = "plain";
  /** For which versions are kept that say nothing of it, where there is object lock. */
  defaultDays: number | undefined;
  rules: Rules | undefined;
  quota: Quota = noQuota;
  readonly clock: ModelClock;
  readonly uploads: Upload[] = [];
  #keys = new Map<string, readonly Version[]>();
  /** Those that were removed, or took another's place. */
  #gone = new Map<string, readonly string[]>();

  constructor(hasLock: boolean, clock: ModelClock) {
    this.hasLock = hasLock;
    this.clock = clock;
    if (hasLock) this.versioning = "enabled";
  }

  of(key: string): readonly Version[] {
    return this.#keys.get(key) ?? [];
  }

  goneOf(key: string): readonly string[] {
    return this.#gone.get(key) ?? [];
  }

  get keys(): string[] {
    const present = [...this.#keys].filter(([, versions]) => versions.length > 0).map(([key]) => key);
    return present.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  }

  /** The object that is current, if there is one. */
  current(key: string): Version | undefined {
    const [newest] = this.of(key);
    return newest === undefined || newest.isMarker ? undefined : newest;
  }

  // ---- What can be wrong ----

  failed(key: string, condition: Condition): string[] {
    const current = this.current(key);
    if (condition === "absent") return current === undefined ? [] : ["PreconditionFailed"];
    if (condition === "none" || (condition === "there" && current !== undefined)) return [];
    return [current === undefined ? "NoSuchKey" : "PreconditionFailed"];
  }

  find(key: string, id: string | undefined): Version | string {
    if (id === undefined) return this.current(key) ?? "NoSuchKey";
    const version = this.of(key).find((each) => each.id === id);
    // Where there are no versions there is one of a key or none.
    if (version === undefined)
      return this.versioning === "unversioned" && id === "null" ? "NoSuchKey" : "NoSuchVersion";
    return version.isMarker ? "MethodNotAllowed" : version;
  }

  /** What is copied, or why it cannot be. */
  source(
    key: string,
    id: string | undefined,
    { sourceKey, sourceCondition }: { sourceKey: ClientKey | undefined; sourceCondition: Condition },
  ): Version | string[] {
    const source = this.find(key, id);
    if (typeof source === "string") return [source === "MethodNotAllowed" ? "InvalidRequest" : source];
    const refused = keyFaults(source.mode, sourceKey);
    if (sourceCondition === "other" || sourceCondition === "absent") refused.push("PreconditionFailed");
    return refused.length > 0 ? refused : source;
  }

  lockFaults({ retention, held }: Lock): string[] {
    if (retention === undefined && held === undefined) return [];
    if (!this.hasLock) return ["InvalidRequest"];
    return retention !== undefined && retention.untilMs <= this.clock.nowMs() ? ["InvalidArgument"] : [];
  }

  isLocked({ retention, held }: Version, bypass: boolean): boolean {
    if (held === true) return true;
    return (retention?.untilMs ?? 0) > this.clock.nowMs() && (retention!.mode === "COMPLIANCE" || !bypass);
  }

  // ---- What is written ----

  write(key: string, made: NewVersion, isMarker = false): Version {
    const id = this.versioning === "enabled" ? undefined : "null";
    const version = { ...made, id, isMarker, madeMs: this.clock.nowMs() };
    const kept = this.versioning === "enabled" ? this.of(key) : this.of(key).filter((each) => each.id !== "null");
    this.#keys.set(key, [version, ...kept]);
    return version;
  }

  mark(key: string): Version {
    const nothing = { etag: "", bytes: Buffer.alloc(0), mode: "plain", isPublic: false } as const;
    const unsaid = { note: undefined, tag: undefined, checksum: undefined, parts: undefined };
    return this.write(key, { ...nothing, ...unsaid, retention: undefined, held: undefined }, true);
  }

  drop(key: string, gone: readonly Version[]): void {
    this.#gone.set(key, [...this.goneOf(key), ...gone.flatMap(({ id }) => id ?? [])]);
    this.place(
      key,
      this.of(key).filter((version) => !gone.includes(version)),
    );
  }

  /** These and no others are what there is of the key. */
  place(key: string, versions: readonly Version[]): void {
    this.#keys.set(key, versions);
  }

  /** What a new version is locked by: what the request asks for, or else what the bucket has it. */
  lockOf({ retention, held }: Lock): Required<Lock> {
    const days = retention === undefined ? this.defaultDays : undefined;
    const untilMs = days && this.clock.nowMs() + days * dayMs;
    return { held, retention: untilMs === undefined ? retention : { mode: "GOVERNANCE", untilMs } };
  }

  setVersioning(to: "enabled" | "suspended"): Outcome {
    if (this.hasLock && to === "suspended") return { refused: ["InvalidBucketState"] };
    this.versioning = to;
    return { status: 200, headers: {} };
  }

  /** All that a refused write might have changed. */
  save(): Saved {
    const uploads = this.uploads.map((upload) => [upload, { parts: upload.parts, state: upload.state }] as const);
    return { keys: new Map(this.#keys), gone: new Map(this.#gone), uploads };
  }

  restore({ keys, gone, uploads }: Saved): void {
    this.#keys = new Map(keys);
    this.#gone = new Map(gone);
    for (const [upload, before] of uploads) Object.assign(upload, before);
  }
}

export function keyFaults(mode: Mode, key: ClientKey | undefined): string[] {
  const isRight = isClients(mode) ? key === mode : key === undefined;
  return isRight ? [] : ["InvalidRequest"];
}

/** A write names the version that it made where every write makes one. */
export function shownOfWrite({ id, mode }: Version): Headers {
  return { ...encryptionHeaders(mode), ...(id !== undefined && { "x-amz-version-id": undefined }) };
}

/** What the server alone knew until now. */
export function learn(
  made: Version | Part | Upload,
  told: { id?: string | undefined; etag?: string | undefined },
): void {
  if ("id" in made && made.id === undefined) {
    assert.ok(told.id !== undefined && told.id !== "null", "what is new has an id");
    made.id = told.id;
  }
  if (!("etag" in made) || told.etag === undefined) return;
  if (made.etag === undefined) made.etag = told.etag;
  assert.equal(told.etag, made.etag);
}

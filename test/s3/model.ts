/**
 * S3 written plainly, as a bucket of it looks to a client: of each key a list of versions, the newest first, and a list of uploads. Every
 * method says what S3 answers to a request, and does it. What only the server knows, ids and some ETags, is learnt from its answer
 * (`made`) and must be the same from then on. A request with several faults may be refused for any of them.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { systemClock, type Clock } from "../../src/core/clock.ts";

/** How something is encrypted: not, by the store (SSE-S3), or with one of two keys that clients bring (SSE-C). */
export type Mode = "plain" | "s3" | "one" | "two";
export type ClientKey = "one" | "two";
export type Retention = { readonly mode: "GOVERNANCE" | "COMPLIANCE"; readonly untilMs: number };
export type Lock = { readonly retention?: Retention | undefined; readonly held?: boolean | undefined };
/** `there` and `other`: If-Match with the current ETag, or another. `absent`: If-None-Match of anything. */
export type Condition = "none" | "there" | "other" | "absent";
export type Kept = { readonly note?: string | undefined; readonly tag?: string | undefined };

/** What a client calls an object that it wrote: in a bucket without versions there is one. */
export type Version = {
  /** Undefined as long as no answer told it. */
  id: string | undefined;
  etag: string | undefined;
  readonly isMarker: boolean;
  readonly bytes: Buffer;
  readonly mode: Mode;
  readonly note: string | undefined;
  readonly madeMs: number;
  tag: string | undefined;
  retention: Retention | undefined;
  held: boolean | undefined;
};

export type Part = { readonly number: number; readonly bytes: Buffer; etag: string | undefined };
export type Upload = Kept & {
  readonly key: string;
  readonly mode: Mode;
  readonly lock: Lock;
  readonly startedMs: number;
  id: string | undefined;
  parts: Part[];
  state: "open" | "ended" | { readonly named: string; readonly version: Version; readonly idShown: boolean };
};

export type Rules = {
  readonly prefix: string;
  readonly expires?: boolean;
  readonly noncurrent?: boolean;
  readonly markers?: boolean;
  readonly aborts?: boolean;
};

export type Headers = Readonly<Record<string, string | undefined>>;
export type Outcome =
  | { readonly refused: readonly string[] }
  | {
      readonly status: number;
      /** Undefined: must not be there. */
      readonly headers: Headers;
      readonly body?: Buffer;
      readonly made?: Version | Part | Upload;
    };

export const dayMs = 86_400_000;
const noonMs = Date.UTC(2027, 0, 10, 12);
export const noEtag = "f".repeat(32);
export const isClients = (mode: Mode | undefined): mode is ClientKey => mode === "one" || mode === "two";
export const md5 = (bytes: Uint8Array): string => createHash("md5").update(bytes).digest("hex");
const midnightFrom = (ms: number): number => Math.ceil(ms / dayMs) * dayMs;
const smallestPart = 5 * 1024 * 1024;

/** Begins at a noon, and goes when it is told to. */
export class ModelClock implements Clock {
  aheadMs = 0;
  nowMs = (): number => noonMs + this.aheadMs;
  monotonicMs = systemClock.monotonicMs;
  sleep = systemClock.sleep;
}

export class Model {
  versioning: "unversioned" | "enabled" | "suspended" = "unversioned";
  readonly hasLock: boolean;
  /** Of requests that say nothing of it. */
  defaultMode: "plain" | "s3" = "plain";
  /** For which versions are kept that say nothing of it, where there is object lock. */
  defaultDays: number | undefined;
  rules: Rules | undefined;
  readonly clock: ModelClock;
  readonly uploads: Upload[] = [];
  readonly #keys = new Map<string, Version[]>();
  /** Those that were removed, or took another's place. */
  readonly #gone = new Map<string, string[]>();

  constructor(hasLock: boolean, clock: ModelClock) {
    this.hasLock = hasLock;
    this.clock = clock;
    if (hasLock) this.versioning = "enabled";
  }

  #nowMs(): number {
    return this.clock.nowMs();
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

  #failed(key: string, condition: Condition): string[] {
    const current = this.current(key);
    if (condition === "absent") return current === undefined ? [] : ["PreconditionFailed"];
    if (condition === "none" || (condition === "there" && current !== undefined)) return [];
    return [current === undefined ? "NoSuchKey" : "PreconditionFailed"];
  }

  #find(key: string, id: string | undefined): Version | string {
    if (id === undefined) return this.current(key) ?? "NoSuchKey";
    const version = this.of(key).find((each) => each.id === id);
    // Where there are no versions there is one of a key or none.
    if (version === undefined)
      return this.versioning === "unversioned" && id === "null" ? "NoSuchKey" : "NoSuchVersion";
    return version.isMarker ? "MethodNotAllowed" : version;
  }

  #keyFaults(mode: Mode, key: ClientKey | undefined, wrong: string): string[] {
    if (isClients(mode) !== (key !== undefined)) return ["InvalidRequest"];
    return key !== undefined && key !== mode ? [wrong] : [];
  }

  #lockFaults({ retention, held }: Lock): string[] {
    if (retention === undefined && held === undefined) return [];
    if (!this.hasLock) return ["InvalidRequest"];
    return retention !== undefined && retention.untilMs <= this.#nowMs() ? ["InvalidArgument"] : [];
  }

  #isLocked({ retention, held }: Version, bypass: boolean): boolean {
    if (held === true) return true;
    return (retention?.untilMs ?? 0) > this.#nowMs() && (retention!.mode === "COMPLIANCE" || !bypass);
  }

  // ---- What is written ----

  #write(key: string, made: Omit<Version, "id" | "isMarker" | "madeMs">, isMarker = false): Version {
    const id = this.versioning === "enabled" ? undefined : "null";
    const version = { ...made, id, isMarker, madeMs: this.#nowMs() };
    const kept = this.versioning === "enabled" ? this.of(key) : this.of(key).filter((each) => each.id !== "null");
    this.#keys.set(key, [version, ...kept]);
    return version;
  }

  #mark(key: string): Version {
    const nothing = { etag: "", bytes: Buffer.alloc(0), note: undefined, tag: undefined };
    return this.#write(key, { ...nothing, mode: "plain", retention: undefined, held: undefined }, true);
  }

  #drop(key: string, gone: readonly Version[]): void {
    this.#keys.set(
      key,
      this.of(key).filter((version) => !gone.includes(version)),
    );
    this.#gone.set(key, [...this.goneOf(key), ...gone.flatMap(({ id }) => id ?? [])]);
  }

  /** What a new version is locked by: what the request asks for, or else what the bucket has it. */
  #lock({ retention, held }: Lock): Required<Lock> {
    const days = retention === undefined ? this.defaultDays : undefined;
    const untilMs = days && this.clock.nowMs() + days * dayMs;
    return { held, retention: untilMs === undefined ? retention : { mode: "GOVERNANCE", untilMs } };
  }

  /** A write names the version that it made where every write makes one. */
  #shown({ id, mode }: Version): Headers {
    return { ...encryptionHeaders(mode), ...(id !== undefined && { "x-amz-version-id": undefined }) };
  }

  // ---- Objects ----

  put(
    key: string,
    bytes: Buffer,
    { mode: asked, condition, lock, ...kept }: Kept & { mode: Mode | undefined; condition: Condition; lock: Lock },
  ): Outcome {
    const refused = [...this.#failed(key, condition), ...this.#lockFaults(lock)];
    if (refused.length > 0) return { refused };
    const mode = asked ?? this.defaultMode;
    const etag = isClients(mode) ? undefined : md5(bytes);
    const made = this.#write(key, { etag, bytes, mode, note: kept.note, tag: kept.tag, ...this.#lock(lock) });
    return { status: 200, headers: { ...this.#shown(made), ...(etag && { etag: `"${etag}"` }) }, made };
  }

  /** Adds to the end of what is there. */
  append(key: string, bytes: Buffer, { offset, condition }: { offset: number; condition: Condition }): Outcome {
    const current = this.current(key);
    const refused = this.#failed(key, condition);
    if (this.versioning !== "unversioned" || this.defaultMode !== "plain") refused.push("InvalidRequest");
    if (bytes.length === 0 || (current && current.mode !== "plain")) refused.push("InvalidRequest");
    if (offset !== (current?.bytes.length ?? 0)) refused.push("InvalidWriteOffset");
    if (refused.length > 0) return { refused };
    const all = Buffer.concat([current?.bytes ?? Buffer.alloc(0), bytes]);
    const { note, tag } = current ?? {};
    const rest = { mode: "plain" as const, retention: undefined, held: undefined };
    const made = this.#write(key, { etag: undefined, bytes: all, note, tag, ...rest });
    return { status: 200, headers: { ...this.#shown(made), "x-amz-object-size": String(all.length) }, made };
  }

  get(
    key: string,
    {
      id,
      clientKey,
      condition,
      from,
    }: { id: string | undefined; clientKey: ClientKey | undefined; condition: Condition; from: number | undefined },
  ): Outcome {
    const version = this.#find(key, id);
    if (typeof version === "string") return { refused: [version] };
    const { bytes } = version;
    const refused = this.#keyFaults(version.mode, clientKey, "InvalidRequest");
    if (condition === "other") refused.push("PreconditionFailed");
    if (condition === "absent") refused.push("NotModified");
    if (from !== undefined && from >= bytes.length) refused.push("InvalidRange");
    if (refused.length > 0) return { refused };
    const body = from === undefined ? bytes : bytes.subarray(from);
    return {
      status: from === undefined ? 200 : 206,
      headers: { ...this.#all(version), "content-length": String(body.length) },
      body,
    };
  }

  /** All that a reader is told of a version. */
  #all(version: Version): Headers {
    const { id, etag, mode, note, tag, retention, held } = version;
    return {
      ...encryptionHeaders(mode),
      etag: `"${etag}"`,
      "x-amz-version-id": this.versioning === "unversioned" ? undefined : id,
      "x-amz-meta-note": note,
      "x-amz-tagging-count": tag === undefined ? undefined : "1",
      "x-amz-object-lock-mode": retention?.mode,
      "x-amz-object-lock-retain-until-date": retention && new Date(retention.untilMs).toISOString(),
      "x-amz-object-lock-legal-hold": held === undefined ? undefined : held ? "ON" : "OFF",
    };
  }

  delete(
    key: string,
    { id, condition, bypass }: { id: string | undefined; condition: Condition; bypass: boolean },
  ): Outcome {
    return id === undefined ? this.#deleteCurrent(key, condition) : this.#remove(key, id, { condition, bypass });
  }

  #deleteCurrent(key: string, condition: Condition): Outcome {
    const refused = this.#failed(key, condition);
    if (refused.length > 0) return { refused };
    if (this.versioning === "unversioned") {
      this.#drop(key, this.of(key));
      return { status: 204, headers: { "x-amz-version-id": undefined, "x-amz-delete-marker": undefined } };
    }
    const made = this.#mark(key);
    return {
      status: 204,
      headers: { "x-amz-delete-marker": "true", ...(made.id && { "x-amz-version-id": made.id }) },
      made,
    };
  }

  #remove(key: string, id: string, { condition, bypass }: { condition: Condition; bypass: boolean }): Outcome {
    const version = this.of(key).find((each) => each.id === id);
    const object = version?.isMarker === true ? undefined : version;
    const refused: string[] = [];
    if (condition === "there" || condition === "other") {
      if (object === undefined) refused.push("NoSuchKey");
      else if (condition === "other") refused.push("PreconditionFailed");
    }
    if (version !== undefined && this.#isLocked(version, bypass)) refused.push("AccessDenied");
    if (refused.length > 0) return { refused };
    if (version !== undefined) this.#drop(key, [version]);
    const isMarker = version?.isMarker === true ? "true" : undefined;
    return { status: 204, headers: { "x-amz-version-id": id, "x-amz-delete-marker": isMarker } };
  }

  copy(asked: {
    readonly from: string;
    readonly id: string | undefined;
    readonly sourceKey: ClientKey | undefined;
    readonly sourceCondition: Condition;
    readonly to: string;
    readonly mode: Mode | undefined;
    readonly condition: Condition;
    readonly lock: Lock;
    /** Undefined: the source's. */
    readonly replaced: Kept | undefined;
  }): Outcome {
    const { from, id, to, lock, replaced } = asked;
    const source = this.#source(from, id, asked);
    const refused = [...this.#failed(to, asked.condition), ...this.#lockFaults(lock)];
    const changesNothing = replaced === undefined && asked.mode === undefined && this.versioning === "unversioned";
    if (from === to && changesNothing) refused.push("InvalidRequest");
    if (Array.isArray(source)) refused.push(...source);
    if (refused.length > 0 || Array.isArray(source)) return { refused };
    const mode = asked.mode ?? this.defaultMode;
    const isShared = mode === source.mode && !isClients(mode);
    const etag = isShared ? source.etag : isClients(mode) ? undefined : md5(source.bytes);
    const { note, tag } = replaced ?? source;
    const sourceId = this.versioning === "unversioned" ? undefined : source.id;
    const made = this.#write(to, { etag, bytes: source.bytes, mode, note, tag, ...this.#lock(lock) });
    return { status: 200, headers: { ...this.#shown(made), "x-amz-copy-source-version-id": sourceId }, made };
  }

  /** What is copied, or why it cannot be. */
  #source(
    key: string,
    id: string | undefined,
    { sourceKey, sourceCondition }: { sourceKey: ClientKey | undefined; sourceCondition: Condition },
  ): Version | string[] {
    const source = this.#find(key, id);
    if (typeof source === "string") return [source === "MethodNotAllowed" ? "InvalidRequest" : source];
    const refused = this.#keyFaults(source.mode, sourceKey, "InvalidRequest");
    if (sourceCondition === "other" || sourceCondition === "absent") refused.push("PreconditionFailed");
    return refused.length > 0 ? refused : source;
  }

  rename(
    from: string,
    to: string,
    { condition, sourceCondition }: { condition: Condition; sourceCondition: Condition },
  ): Outcome {
    const source = this.current(from);
    const refused = from === to ? ["InvalidRequest"] : [];
    if (source === undefined) refused.push("NoSuchKey");
    else if (sourceCondition === "other" || sourceCondition === "absent") refused.push("PreconditionFailed");
    refused.push(...this.#failed(to, condition));
    if (source !== undefined && this.#isLocked(source, false)) refused.push("AccessDenied");
    if (refused.length > 0 || source === undefined) return { refused };
    const made = this.#write(to, { ...source, ...this.#lock({}) });
    if (this.versioning === "unversioned") {
      // It is the object as it was, at another key.
      this.#keys.set(to, [{ ...source }]);
      this.#drop(from, [source]);
      return { status: 200, headers: { "x-amz-version-id": undefined } };
    }
    this.#mark(from);
    return { status: 200, headers: this.versioning === "enabled" ? {} : { "x-amz-version-id": undefined }, made };
  }

  // ---- What is said of versions ----

  setTag(key: string, id: string | undefined, tag: string | undefined): Outcome {
    const version = this.#find(key, id);
    if (typeof version === "string") return { refused: [version] };
    version.tag = tag;
    return { status: tag === undefined ? 204 : 200, headers: {} };
  }

  setRetention(
    key: string,
    id: string | undefined,
    { retention, bypass }: { retention: Retention | undefined; bypass: boolean },
  ): Outcome {
    const version = this.#lockable(key, id);
    const refused = Array.isArray(version) ? version : [];
    if (retention !== undefined && retention.untilMs <= this.#nowMs()) refused.push("InvalidArgument");
    if (!Array.isArray(version)) {
      const { retention: before } = version;
      const isWeaker = before?.mode !== retention?.mode || (retention?.untilMs ?? 0) < (before?.untilMs ?? 0);
      const isKept = this.#isLocked({ ...version, held: undefined }, bypass);
      if (isWeaker && isKept) refused.push("AccessDenied");
      if (refused.length === 0) version.retention = retention;
    }
    return refused.length > 0 ? { refused } : { status: 200, headers: {} };
  }

  setHold(key: string, id: string | undefined, held: boolean): Outcome {
    const version = this.#lockable(key, id);
    if (Array.isArray(version)) return { refused: version };
    version.held = held;
    return { status: 200, headers: {} };
  }

  #lockable(key: string, id: string | undefined): Version | string[] {
    const version = this.#find(key, id);
    const refused = this.hasLock ? [] : ["InvalidRequest"];
    if (typeof version === "string") return [...refused, version];
    return refused.length > 0 ? refused : version;
  }

  setVersioning(to: "enabled" | "suspended"): Outcome {
    if (this.hasLock && to === "suspended") return { refused: ["InvalidBucketState"] };
    this.versioning = to;
    return { status: 200, headers: {} };
  }

  // ---- Uploads ----

  createUpload(key: string, { mode: asked, lock, ...kept }: Kept & { mode: Mode | undefined; lock: Lock }): Outcome {
    const refused = this.#lockFaults(lock);
    if (refused.length > 0) return { refused };
    const mode = asked ?? this.defaultMode;
    const made: Upload = {
      ...kept,
      key,
      mode,
      lock,
      startedMs: this.#nowMs(),
      id: undefined,
      parts: [],
      state: "open",
    };
    this.uploads.push(made);
    return { status: 200, headers: encryptionHeaders(mode), made };
  }

  uploadPart(
    upload: Upload,
    { number, bytes, clientKey }: { number: number; bytes: Buffer; clientKey: ClientKey | undefined },
  ): Outcome {
    if (upload.state !== "open") return { refused: ["NoSuchUpload"] };
    const refused = this.#keyFaults(upload.mode, clientKey, "InvalidRequest");
    if (refused.length > 0) return { refused };
    const etag = isClients(upload.mode) ? undefined : md5(bytes);
    const made = { number, bytes, etag };
    upload.parts = [...upload.parts.filter((part) => part.number !== number), made].toSorted(
      (a, b) => a.number - b.number,
    );
    return { status: 200, headers: { ...encryptionHeaders(upload.mode), ...(etag && { etag: `"${etag}"` }) }, made };
  }

  copyPart(
    upload: Upload,
    asked: {
      readonly number: number;
      readonly from: string;
      readonly id: string | undefined;
      readonly first: number | undefined;
      readonly sourceKey: ClientKey | undefined;
      readonly clientKey: ClientKey | undefined;
    },
  ): Outcome {
    const { number, clientKey, first } = asked;
    const source = this.#source(asked.from, asked.id, { ...asked, sourceCondition: "none" });
    const refused =
      upload.state === "open" ? this.#keyFaults(upload.mode, clientKey, "InvalidRequest") : ["NoSuchUpload"];
    if (Array.isArray(source)) refused.push(...source);
    else if (first !== undefined && first >= source.bytes.length)
      refused.push("InvalidRange", "InvalidArgument", "InvalidRequest");
    if (refused.length > 0 || Array.isArray(source)) return { refused };
    const bytes = source.bytes.subarray(first ?? 0);
    const headers = { "x-amz-copy-source-version-id": this.versioning === "unversioned" ? undefined : source.id };
    const outcome = this.uploadPart(upload, { number, bytes, clientKey });
    if ("refused" in outcome) return outcome;
    return { ...outcome, headers: { ...encryptionHeaders(upload.mode), ...headers } };
  }

  /** `named`: numbers and ETags as the request has them. */
  complete(
    upload: Upload,
    { named, condition }: { named: readonly { number: number; etag: string }[]; condition: Condition },
  ): Outcome {
    const asked = JSON.stringify(named);
    const isOrdered = named.every(({ number }, at) => at === 0 || named[at - 1]!.number <= number);
    if (upload.state !== "open") {
      if (upload.state === "ended" || upload.state.named !== asked) {
        return { refused: ["NoSuchUpload", ...(isOrdered ? [] : ["InvalidPartOrder"])] };
      }
      const { version, idShown } = upload.state;
      return { status: 200, headers: { "x-amz-version-id": idShown ? version.id : undefined }, made: version };
    }
    const refused = this.#failed(upload.key, condition);
    // Of a part that is named several times in a row, what is said last counts.
    const last = named.filter(({ number }, at) => named[at + 1]?.number !== number);
    const parts = last.map(({ number, etag }) =>
      upload.parts.find((part) => part.number === number && part.etag === etag),
    );
    if (!isOrdered) refused.push("InvalidPartOrder");
    if (parts.includes(undefined)) refused.push("InvalidPart");
    if (parts.slice(0, -1).some((part) => part !== undefined && part.bytes.length < smallestPart))
      refused.push("EntityTooSmall");
    if (refused.length > 0) return { refused };
    const version = this.#publish(upload, parts as Part[]);
    upload.state = { named: asked, version, idShown: this.versioning === "enabled" };
    // The request brought no key.
    const headers = { ...this.#shown(version), [customerHeader]: undefined };
    return { status: 200, headers, made: version };
  }

  #publish({ key, mode, note, tag, lock }: Upload, parts: readonly Part[]): Version {
    const bytes = Buffer.concat(parts.map((part) => part.bytes));
    const digest = md5(Buffer.from(parts.map((part) => part.etag!).join(""), "hex"));
    return this.#write(key, { etag: `${digest}-${parts.length}`, bytes, mode, note, tag, ...this.#lock(lock) });
  }

  abort(upload: Upload): Outcome {
    if (upload.state !== "open") return { refused: ["NoSuchUpload"] };
    upload.state = "ended";
    return { status: 204, headers: {} };
  }

  // ---- Rules ----

  /** What is due at this midnight. Days are all one. */
  expire(): void {
    const { rules } = this;
    if (rules === undefined) return;
    for (const key of this.keys.filter((each) => each.startsWith(rules.prefix))) while (this.#expireOnce(key, rules));
    for (const upload of this.uploads)
      if (
        upload.state === "open" &&
        rules.aborts === true &&
        upload.key.startsWith(rules.prefix) &&
        this.#isDay(upload.startedMs)
      )
        upload.state = "ended";
  }

  #isDay(fromMs: number): boolean {
    return midnightFrom(fromMs + dayMs) <= this.#nowMs();
  }

  /** Whether anything was done. */
  #expireOnce(key: string, { expires, noncurrent, markers }: Rules): boolean {
    const [current, ...older] = this.of(key);
    if (current === undefined) return false;
    if (expires === true && !current.isMarker && this.#isDay(current.madeMs)) {
      if (this.versioning === "unversioned") this.#drop(key, [current]);
      else this.#mark(key);
      return true;
    }
    const gone = older.filter((version, at) => {
      const isLocked = version.held === true || midnightFrom(version.retention?.untilMs ?? 0) > this.#nowMs();
      return noncurrent === true && !isLocked && this.#isDay([current, ...older][at]!.madeMs);
    });
    if (gone.length > 0) {
      this.#drop(key, gone);
      return true;
    }
    if (!current.isMarker || older.length > 0) return false;
    const isOver =
      (expires === true && this.#isDay(current.madeMs)) ||
      (markers === true && midnightFrom(current.madeMs) <= this.#nowMs());
    if (isOver) this.#drop(key, [current]);
    return isOver;
  }
}

const customerHeader = "x-amz-server-side-encryption-customer-algorithm";

function encryptionHeaders(mode: Mode): Headers {
  return {
    "x-amz-server-side-encryption": mode === "s3" ? "AES256" : undefined,
    [customerHeader]: isClients(mode) ? "AES256" : undefined,
  };
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
